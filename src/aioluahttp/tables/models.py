"""The classes ``Request`` and ``Response``: dicts whose fields also read as attributes.

The types of the tables that one writes are in ``aioluahttp.types``.
"""

from __future__ import annotations

import json
import pickle
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeAlias

from .. import url
from ..bodies import text
from ..errors import BodyTooLarge, ProtocolError, Refused, TableError
from ..headers import Headers, hide, parse_cookies, parse_links, to_headers
from ..types import CommonTable, FormFile, RequestTable, ResponseTable

if TYPE_CHECKING:
    from multidict import MultiDict
    from typing_extensions import TypeVar

    Body = TypeVar('Body', default=str)
else:
    from typing import TypeVar

    Body = TypeVar('Body')

__all__ = [
    'Handler',
    'Request',
    'Response',
    'ResponseLike',
    'SentRequest',
    'Wrapped',
    'absolute_url',
    'bracketed',
    'describe_request',
    'to_json_body',
]

STREAMED_FORM = 8 * 1024 * 1024  # bytes: the default of max_body for bodies in memory
LOGIN = r'(^|//)[^/?#]*@'  # in a URL, also in one without a scheme
# A '/', '?' or '#' in a password ends what looks like the host, and its port is no number.
CUT_LOGIN = r'(?:[^/?#]*//)?[^/?#@\[]*:(?![0-9]*[/?#])[^/?#@]*[/?#].*@'

Data: TypeAlias = bytes  # ``Table.bytes`` hides the built-in name


class JsonText(str):
    """A body that was decoded from JSON and is a str: ``json`` returns it as it is."""

    __slots__ = ()


# What JSON decodes to, but for None, and text that was not decoded.
DECODED = (dict, list, int, float, JsonText)


def to_json_body(value: Any) -> Any:
    """Return a value decoded from JSON as a body, in which text is marked as decoded."""
    return JsonText(value) if isinstance(value, str) else value


class Table(dict[str, Any]):
    """Base of ``Request`` and ``Response``."""

    __slots__ = ()
    FIELDS: ClassVar[frozenset[str]] = frozenset()

    if not TYPE_CHECKING:  # type checkers see only the declared fields

        def __getattr__(self, name):
            try:
                return self[name]
            except KeyError:
                if name in self.FIELDS:
                    return None
            raise AttributeError(f'{type(self).__name__} has no field {name!r}')

        def __setattr__(self, name, value):
            if name not in self.FIELDS:
                raise AttributeError(f'{type(self).__name__} has no field {name!r}')
            self[name] = value

    def __repr__(self) -> str:
        return f'{type(self).__name__}({super().__repr__()})'

    def __or__(self, other: Mapping[str, Any]) -> Self:  # type: ignore[override]
        table = type(self)({**self, **other})
        if 'headers' in other:
            table['headers'] = to_headers(other['headers'])
        return table

    def copy(self) -> Self:
        """Copy the table. The values are not copied."""
        return type(self)(self)

    def _headers(self) -> Headers:
        headers = self.get('headers')
        return headers if isinstance(headers, Headers) else to_headers(headers)

    def _content_type(self) -> str | None:
        return self._headers().get('Content-Type')

    def bytes(self) -> Data:
        """Return the bytes of the body, which text is encoded back to without loss.

        They are the bytes after decompression: if the message had a Content-Encoding, they are
        not those that came over the network. For these, for example to verify the signature of
        a webhook, read the stream of ``into='raw'``.

        Raises:
            TableError: The body is neither text nor bytes (``into='json'``, or a stream).
        """
        match self.get('body'):
            case None:
                return b''
            case Data() as data:
                return data
            case str(body):
                return text.to_bytes(body, self._content_type())
            case body:
                raise TableError.of('body', body, 'a str or bytes; a stream gives them by read()')

    def text(self) -> str:
        """Return the body as text for people to read.

        It is decoded with the charset of the Content-Type, or UTF-8 if it has none, without a
        byte order mark, and with replacement characters for bytes that the charset lacks.
        """
        return text.readable(self.bytes(), self._content_type())

    def json(self) -> Any:
        """Decode the body as JSON (UTF-8, UTF-16 or UTF-32); after ``into='json'``, return it.

        Raises:
            TableError: The body is not valid JSON. If it is that of a server's request and the
                handler does not catch the error, the client gets a 400.
        """
        body = self.get('body')
        if isinstance(body, DECODED) or (body is None and 'body' in self):
            return body
        # ASCII is the same bytes in each charset. With a NUL it may be UTF-16 or UTF-32.
        is_plain = type(body) is str and body.isascii() and '\0' not in body
        data: Any = body if is_plain else self.bytes()
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            wrong = TableError.of('body', self.bytes(), f'valid JSON ({error})')
            raise wrong from self._fault(error)

    def _fault(self, error: Exception) -> Exception:
        """Return the cause of the error for a body that is not JSON."""
        return error

    def plain(self) -> dict[str, Any]:
        """Return a copy of the table that can be written as JSON; ``from_plain`` reverses it.

        Headers become a list of pairs. A text body is unchanged; bytes become
        ``{'base64': …}``, text with surrogate escapes ``{'base64': …, 'text': True}``, and a
        value decoded from JSON ``{'json': …}``.

        Raises:
            TableError: JSON has no form for a value, such as an ``ssl.SSLContext``.
        """
        return {key: self._plain(key, value) for key, value in self.items()}

    def _plain(self, key: str, value: Any) -> Any:
        if key == 'headers':
            return [list(pair) for pair in to_headers(value).items()]
        if key == 'history':
            return [Response(one).plain() for one in value]
        decoded = isinstance(value, JsonText)
        if key == 'body' and (decoded or not (isinstance(value, str) and text.is_clean(value))):
            if isinstance(value, str | Data) and not decoded:
                coded = {'base64': b64encode(self.bytes()).decode()}
                return coded | {'text': True} if isinstance(value, str) else coded
            value = {'json': value}
        try:
            return json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise TableError.of(key, value, 'a value that JSON can hold') from error

    @classmethod
    def from_plain(cls, table: Mapping[str, Any]) -> Self:
        """Return the table that ``plain`` was called on."""
        given = cls(table)
        if 'headers' in given:
            given['headers'] = to_headers(given['headers'])
        if 'history' in given:
            given['history'] = [Response.from_plain(one) for one in given['history']]
        match given.get('body'):
            case {'json': value}:
                given['body'] = to_json_body(value)
            case {'base64': coded, 'text': True}:
                given['body'] = text.from_bytes(b64decode(coded), given._content_type())
            case {'base64': coded}:
                given['body'] = b64decode(coded)
        return given


class Request(Table):
    """A request as a handler receives it.

    A dict whose fields also read as attributes; a known field that is absent reads as None.
    """

    __module__ = 'aioluahttp.tables'  # the public path, which pickles contain
    __slots__ = ()
    FIELDS: ClassVar[frozenset[str]] = frozenset(CommonTable.__annotations__) - {'json', 'form'} | {
        'into'
    }

    if TYPE_CHECKING:
        method: str
        url: str
        scheme: str
        host: str
        port: int
        path: str
        query: str
        headers: Headers
        body: Any
        version: str
        ip: str | None
        into: Any
        resume: bool | None
        on_progress: Any
        timeout: Any
        redirects: int | None
        max_body: int | None
        max_header: int | None
        check: Any
        tls: Any
        proxy: str | None
        unix: str | None

    def _fault(self, error: Exception) -> Exception:
        refused = Refused(400)  # what a server responds, unless the handler catches the TableError
        refused.__cause__ = error
        return refused

    def cookies(self) -> dict[str, str]:
        """Return the cookies of the request by name."""
        return parse_cookies('; '.join(self._headers().getall('Cookie', ())).split(';'))

    async def form(
        self,
        *,
        max_fields: int | None = 1000,
        max_files: int | None = 100,
        max_text: int | None = 1024 * 1024,
        max_size: int | None = STREAMED_FORM,
        spool: int | None = None,
    ) -> MultiDict[str | FormFile]:
        """Read the body as a form, urlencoded or multipart, into fields and files by name.

        A field is text. A file is a table of ``filename`` (chosen by the client: never use it as
        a path to write to), ``content_type`` and ``body``.

        Args:
            max_fields: Maximum number of fields. Here and below ``None`` is no limit.
            max_files: Maximum number of files.
            max_text: Maximum bytes of all fields together.
            max_size: Maximum bytes of a streamed body; ``max_body`` limits the others.
            spool: ``None`` makes the body of each file bytes. A number makes it an open file,
                which is on disk if it has more bytes than that and is deleted on close.

        Raises:
            BodyTooLarge: The form exceeds a limit. A server responds with 413.
            ProtocolError: The body is not a form, or is malformed. A server responds with 400.
        """
        from ..bodies.multipart import read_form

        streamed = isinstance(self.get('body'), AsyncIterable)
        content: Any = self['body'] if streamed else self.bytes()
        limits = {'max_fields': max_fields, 'max_files': max_files, 'max_text': max_text}
        try:
            return await read_form(
                self._headers(),
                content,
                max_size=max_size if streamed else None,
                spool=spool,
                **limits,
            )
        except (BodyTooLarge, ProtocolError) as error:
            if isinstance(error.__cause__, Refused):  # from reading the stream
                raise
            status = 413 if isinstance(error, BodyTooLarge) else 400
            raise type(error)(str(error)) from Refused(status)


class Response(Table, Generic[Body]):
    """A response as ``request`` returns it.

    A dict whose fields also read as attributes; a known field that is absent reads as None.
    """

    __module__ = 'aioluahttp.tables'  # the public path, which pickles contain
    __slots__ = ()
    FIELDS: ClassVar[frozenset[str]] = frozenset(ResponseTable.__annotations__) - {
        'json',
        'events',
    }

    if TYPE_CHECKING:
        status: int
        headers: Headers
        body: Body
        reason: str
        version: str
        url: str
        method: str
        ip: str | None
        history: list[Response[Any]]
        websocket: Any

    def cookies(self) -> dict[str, str]:
        """Return the cookies that the response sets, by name, without their attributes."""
        values = self._headers().getall('Set-Cookie', ())
        return parse_cookies(value.partition(';')[0] for value in values)

    def links(self) -> dict[str, dict[str, str]]:
        """Return the links of the Link header by ``rel``, each a table with an absolute ``url``."""
        links = parse_links(', '.join(self._headers().getall('Link', ())))
        base = self.get('url') or ''
        return {
            name: {**link, 'url': url.relative(base, link['url'])} for name, link in links.items()
        }


class SentRequest(Request):
    """The request of an error: its ``repr`` and its pickle hide secrets."""

    __module__ = 'aioluahttp.tables'  # the public path, which pickles contain
    __slots__ = ()

    def _hidden(self) -> dict[str, Any]:
        hidden: dict[str, Any] = dict(self)
        for key in ('auth', 'bearer'):
            if key in hidden:
                hidden[key] = '***'
        for key in ('url', 'proxy'):
            if key in hidden:
                hidden[key] = _without_login(str(hidden[key]))
        if 'headers' in hidden:
            try:
                hidden['headers'] = hide(to_headers(hidden['headers']))
            except TableError:
                hidden['headers'] = '***'
        return hidden

    def __repr__(self) -> str:
        return f'Request({self._hidden()!r})'

    def __reduce__(self) -> tuple[Any, ...]:
        kept = {key: value for key, value in self._hidden().items() if _pickles(value)}
        return type(self), (kept,)


def _without_login(written: str) -> str:
    if re.match(CUT_LOGIN, written):
        return '***'
    return re.sub(LOGIN, r'\1***@', written)


def _pickles(value: Any) -> bool:
    """Tell whether a value can be pickled: not an open file, a lambda or a TLS context."""
    if isinstance(value, str | int | float | None):
        return True
    try:
        pickle.dumps(value)
    except Exception:  # a class can raise any exception in __reduce__
        return False
    return True


def bracketed(host: str) -> str:
    """Return a host as URLs have it: an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f'[{host}]' if ':' in host else host


def absolute_url(request: Request) -> str:
    """Return the URL of a request in normal form, always with its port."""
    return f'{request["scheme"]}://{bracketed(request["host"])}:{request["port"]}{request["url"]}'


def describe_request(request: Request) -> str:
    """Name a request in a message, without query and login, which may be secret."""
    return '{method} {scheme}://{host}:{port}{path}'.format_map(request)


# What a typed handler says that it returns. A Response is a mapping too, but says more.
ResponseLike: TypeAlias = ResponseTable | Response[Any]
Handler: TypeAlias = Callable[
    [Request],
    Awaitable[ResponseLike | Mapping[str, Any]] | ResponseLike | Mapping[str, Any],
]
# The handler that a middleware returns: always async, with a response in normal form.
Wrapped: TypeAlias = Callable[[RequestTable | Request], Coroutine[Any, Any, Response[Any]]]
