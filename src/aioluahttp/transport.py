"""One table sent over the network by aiohttp, and the one that came back."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any, TypeAlias
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp.abc import AbstractCookieJar
from aiohttp.http import HttpProcessingError

from . import attempts, direct, passing, text, url
from .attempts import (
    Answer,
    LostConnection,
    Received,
    Sending,
    StaleConnection,
    Switching,
    once,
    reason,
)
from .bodies import Body, Terms
from .checks import EVENTS, check_body, check_userinfo
from .codings import ACCEPT_ENCODING
from .conversion import wire_body
from .delivery import Delivery
from .errors import (
    BodyTooLarge,
    ConnectError,
    Error,
    ProtocolError,
    Refused,
    TableError,
    TimedOut,
)
from .headers import ONE_HOP, Headers, given_length, is_secret
from .landing import PAGES, flows, is_whole, to_body
from .streams import Stream
from .supply import Supply, Whole
from .tables import Request, Response, SentRequest, described
from .tls import client_context

__all__ = ['Transport']

MAX_BODY = 64 * 1024 * 1024
READ = 30.0  # seconds for one read of a body that comes as it is read
LARGE = 1024 * 1024  # bytes from which a body goes out piece by piece, so as not to block
DEFAULTS = {'Accept': '*/*', 'Accept-Encoding': ACCEPT_ENCODING, 'User-Agent': 'aioluahttp'}

QUERY = re.compile(r'\?\S*')  # of the URL that some of aiohttp's messages repeat

Exchange: TypeAlias = Callable[[Request], Awaitable[Response[Any]]]

# aiohttp's exceptions and ours, the first match counts.
TRANSLATIONS: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], type[Error]], ...
] = (
    (BodyTooLarge, BodyTooLarge),
    (TimeoutError, TimedOut),
    (
        (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, ConnectError),
        ConnectError,
    ),
    ((aiohttp.ClientError, HttpProcessingError, OSError, ProtocolError), ProtocolError),
)


def translated(error: BaseException, request: Request, *, sent: bool) -> Error | None:
    """Give our exception for one of aiohttp's, with the request in its text; None for others.

    A ``ConnectError`` says that nothing was sent, so it is none where something was before. What
    is the fault of a client whose body is sent on stays as it is.
    """
    if isinstance(error.__cause__, Refused):
        return None
    for theirs, ours in TRANSLATIONS:
        if isinstance(error, theirs):
            text = f'{described(request)}: {QUERY.sub("", reason(error))}'
            if sent and ours is ConnectError:
                return ProtocolError(f'{text}, after a request had been sent')
            return ours(text)
    return None


class Transport:
    """A pool of connections.

    Args:
        limit: Connections at once; ``None`` is no limit.
        limit_per_host: Likewise to one origin.
        cookies: Where cookies are kept.
    """

    def __init__(
        self, limit: int | None, limit_per_host: int | None, cookies: AbstractCookieJar
    ) -> None:
        self._limits: dict[str, Any] = {'limit': limit or 0, 'limit_per_host': limit_per_host or 0}
        self._cookies = cookies
        # By Unix socket; those of WebSockets apart, which would keep requests from their turn.
        self._sessions: dict[tuple[str | None, bool], aiohttp.ClientSession] = {}
        self._bodies: WeakSet[Body] = WeakSet()  # those that come as they are read
        self._closed = False

    async def close(self) -> None:
        """Close every connection, and make no more."""
        self._closed = True
        for body in list(self._bodies):
            body.close('the client was closed')
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _session(self, request: Request, *, switches: bool = False) -> aiohttp.ClientSession:
        if self._closed:
            raise ConnectError('the client is closed')
        unix = request.get('unix')
        if unix and (request['scheme'] == 'https' or 'proxy' in request):
            raise TableError.of('unix', unix, 'absent for https and beside a proxy')
        if session := self._sessions.get((unix, switches)):
            return session
        limits = {'limit': 0, 'force_close': True} if switches else self._limits
        connector = (
            aiohttp.TCPConnector(**limits)
            if unix is None
            else aiohttp.UnixConnector(unix, **limits)
        )
        session = self._sessions[unix, switches] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=self._cookies,
            request_class=Sending,
            response_class=Switching if switches else Answer,
            middlewares=(once,),
            auto_decompress=False,  # codings undoes it: within the limit, and up to its end
            skip_auto_headers=('Content-Type',),
        )
        return session

    async def send(
        self, request: Request, *, sent: bool = False, exchange: Exchange | None = None
    ) -> Response[Any]:
        """Send a request in normal form and read the whole response. Follows no redirect.

        Args:
            request: What to send.
            sent: Whether it follows one that was sent, as those of redirects do.
            exchange: What sends it once; by default ``request``'s own way.

        Raises:
            Error: Of the kinds that say what went wrong, each from aiohttp's own.
        """
        repeated = False
        if exchange is None:
            exchange, request = self._exchange, _in_pieces(request)
        while True:
            try:
                return await exchange(request)
            except StaleConnection:  # ends, for each takes a connection out of the pool
                continue
            except Exception as error:
                supply = _supply_of(request)
                if supply and error is supply.error:
                    raise
                lost = isinstance(error, LostConnection) and error.repeatable
                if lost and not repeated and not (supply and supply.is_spent):
                    repeated = True
                elif ours := translated(error, request, sent=sent or repeated):
                    raise ours from error
                else:
                    raise

    async def switch(self, request: Request, fields: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a request in normal form that asks for another protocol, on a connection of its own.

        Args:
            request: What to send.
            fields: Headers that ask for it.

        Returns:
            The answer, whatever it is; who calls has to close it.

        Raises:
            Error: Of the kinds that say what went wrong, each from aiohttp's own.
        """
        try:
            target = _target(request['scheme'], request['host'], request['port'], request['url'])
            arguments = _arguments(request, target)
            arguments['allow_redirects'] = arguments['read_until_eof'] = False
            arguments['headers'].update(fields)
            session = self._session(request, switches=True)
            return await session.get(target, **arguments)
        except Exception as error:
            if ours := translated(error, request, sent=False):
                raise ours from error
            raise

    async def _exchange(self, request: Request) -> Response[Any]:
        """Make one try."""
        supply = _supply_of(request)
        if supply is None:
            return await self._try(request)
        try:
            await supply.open()
            return await self._try(request)
        except BaseException as error:
            await supply.end()
            if supply.error is None or not isinstance(error, Exception):
                raise
            mistake: Exception = supply.error
        raise mistake  # here, or what it was raised from would be another

    async def _try(self, request: Request) -> Response[Any]:
        method = request['method']
        target = _target(request['scheme'], request['host'], request['port'], request['url'])
        arguments = _arguments(request, target)
        session = self._session(request)
        way = direct if direct.is_open(session, method, arguments) else attempts
        limit = request.get('max_body', MAX_BODY)
        terms = _terms(request, limit) if flows(request) else None
        answer = await way.ask(session, method, target, arguments, limit, terms)
        if isinstance(answer.data, Body):
            self._bodies.add(answer.data)
            if 'on_progress' in request and answer.status < PAGES:
                answer.data.watch(request['on_progress'])
        return _response(answer, _body(request, answer), str(target), method)

    async def pass_on(self, request: Request, length: int | None) -> Response[Any]:
        """Send a request whose headers are whole, as ``passing`` does; nothing is added to it.

        Args:
            request: What to send.
            length: Bytes of its body; None for chunks.

        Returns:
            The response; its body is a stream as it came, or with the status 101 the ``Line``.

        Raises:
            Error: As ``send`` does.
        """

        async def exchange(request: Request) -> Response[Any]:
            origin = _target(request['scheme'], request['host'], request['port'], '/')
            session, arguments = self._session(request), _reached(request)
            terms = _terms(request, None)._replace(early=True)
            answer, line = await passing.ask(session, request, length, origin, arguments, terms)
            body: Any = line
            if isinstance(answer.data, Body):
                self._bodies.add(answer.data)
                body = Stream(answer.data, answer.headers.get('Content-Type'))
            return _response(answer, body, str(origin.origin()) + request['url'], request['method'])

        return await self.send(request, exchange=exchange)


def _response(answer: Received, body: Any, target: str, method: str) -> Response[Any]:
    return Response(
        {
            'status': answer.status,
            'reason': answer.reason or '',
            'headers': answer.headers,
            'body': body,
            'url': target,
            'method': method,
            'version': '{}.{}'.format(*(answer.version or (1, 1))),
            'ip': answer.peer,
            'history': [],
        }
    )


@lru_cache(256)
def _target(scheme: str, host: str, port: int, url: str) -> yarl.URL:
    # As the path, path and query go out as they are; yarl would drop a lone question mark.
    path, _, query = (url, '', '') if url.endswith('?') else url.partition('?')
    return yarl.URL.build(
        scheme=scheme,
        host=f'[{host}]' if ':' in host else host,
        port=port,
        path=path,
        query_string=query,
        encoded=True,
    )


@lru_cache(256)
def _timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # The total is the client's own, over redirects too.
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)


def _arguments(request: Request, target: yarl.URL) -> dict[str, Any]:
    headers = _headers(request, target)
    arguments: dict[str, Any] = {'headers': headers, **_reached(request)}
    if 'body' in request:
        arguments['data'] = _data(request, headers)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    if 'proxy' in request:
        arguments |= _proxy(request, headers)
    return arguments


def _reached(request: Request) -> dict[str, Any]:
    """Give what aiohttp has to know of how an origin is reached."""
    timeout = request.get('timeout')
    limits: Mapping[str, Any] = timeout if isinstance(timeout, Mapping) else {}
    arguments: dict[str, Any] = {'timeout': _timeout(limits.get('connect'), limits.get('read'))}
    if 'tls' in request:
        arguments['ssl'] = client_context(request['tls'])
        if isinstance(request['tls'], dict):
            arguments['server_hostname'] = request['tls'].get('server_name')
    return arguments


def _supply_of(request: Request) -> Supply | None:
    body = request.get('body')
    return body if isinstance(body, Supply) else None


def _data(request: Request, headers: Headers) -> bytes | Delivery:
    """Give what goes out as the body; ``headers`` get the Content-Type that it has by default."""
    progress = request.get('on_progress')
    supply = _supply_of(request)
    if supply is None:
        return wire_body(headers, request['body'])
    headers.setdefault('Content-Type', supply.kind or 'application/octet-stream')
    length = given_length(request['headers'])
    if supply.length is not None and length not in (None, supply.length):
        raise TableError.of('headers[Content-Length]', length, f'{supply.length}, as the file has')
    # What it adds to headers comes too late.
    encode = partial(_encoded, headers.copy())
    return Delivery(supply, supply.length if length is None else length, encode, progress)


def _encoded(headers: Headers, chunk: Any) -> bytes:
    return wire_body(headers, check_body(chunk))


def _in_pieces(request: Request) -> Request:
    """Give a large body piece by piece, where it is there whole."""
    body = request.get('body')
    if not isinstance(body, str | bytes) or len(body) < LARGE / 4:  # bytes of a character
        return request
    headers = request['headers'].copy()
    headers.popall('Content-Length', None)  # it may be wrong, as for any other that is whole
    data = wire_body(headers, body)
    if len(data) < LARGE:
        return request
    return request | {'headers': headers, 'body': Whole(body, data)}


def _headers(request: Request, target: yarl.URL) -> Headers:
    spelling: dict[str, str] = {}  # aiohttp keeps a repeated header only under one spelling
    kept = Headers(Host=target.host_port_subcomponent or '')
    for name, value in request['headers'].items():
        lower = name.lower()
        if not text.is_clean(value):  # aiohttp would leave out what it cannot encode
            right = 'text in UTF-8 to be sent'
            raise TableError.of(f'headers[{name}]', value, right, secret=is_secret(name))
        if lower == 'host':
            kept[name] = value
        elif lower not in ONE_HOP:
            kept.add(spelling.setdefault(lower, name), value)
    return kept


def _proxy(request: Request, headers: Headers) -> dict[str, Any]:
    parts = url.split(request['proxy'])
    userinfo = parts.pop('userinfo', None)
    arguments: dict[str, Any] = {'proxy': url.join(parts)}
    if userinfo:
        login = check_userinfo(userinfo)
        if request['scheme'] == 'https':  # the proxy reads no more than the CONNECT
            arguments['proxy_headers'] = {'Proxy-Authorization': login}
        else:
            headers['Proxy-Authorization'] = login
    return arguments


def _terms(request: Request, limit: int | None) -> Terms:
    into, timeout = request.get('into', 'text'), request.get('timeout', READ)
    whole = is_whole(into)
    default = None if whole or into == EVENTS else READ
    seconds = timeout.get('read', default) if isinstance(timeout, Mapping) else timeout and default
    limit = limit if whole else request.get('max_body')
    return Terms(into == 'raw', limit, seconds, partial(_failed, request))


def _failed(request: Request, error: BaseException) -> Error | None:
    if supply := _supply_of(request):
        if supply.error:
            raise supply.error
        request = request | {'body': supply.body}
    if ours := translated(error, request, sent=True):
        ours.request = SentRequest(request)
    return ours


def _body(request: Request, answer: attempts.Received) -> Any:
    headers, data = answer.headers, answer.data
    if isinstance(data, Body):
        return Stream(data, headers.get('Content-Type'), decoded=data.decoded)
    return to_body(request.get('into', 'text'), answer.status, headers, data)
