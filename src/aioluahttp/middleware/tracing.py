"""Spans of OpenTelemetry, by its stable conventions for HTTP (semantic conventions 1.23 and up)."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

from ..errors import StatusError, TableError
from ..headers import Headers, hide_query
from ..tables.conversion import to_request
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped
from .taps import tap

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ['trace']

SCHEMA = 'https://opentelemetry.io/schemas/1.23.1'
# RFC 9110 9 and RFC 5789. A peer may make up others without end, which no name is to be made of.
METHODS = frozenset('GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split())
REDACTED = 'REDACTED'  # what the conventions put in place of a secret
FAILED = {'client': 400, 'server': 500}  # the lowest status that is an error of this side


def trace(
    handler: Handler,
    *,
    kind: Literal['client', 'server'],
    tracer_provider: TracerProvider | None = None,
) -> Wrapped:
    """Make a span of each request, with the name and the attributes that OpenTelemetry asks for.

    A client's span goes along in the headers of its request, and a server's continues the one
    that came so, by the propagators that are set: W3C's, where none are. The span is the current
    one while the handler runs, which may name it after its route. A response that flows is over
    when its body is.

    Args:
        handler: What to wrap.
        kind: ``'client'`` for what sends requests, ``'server'`` for what answers them.
        tracer_provider: Where spans go; ``None`` is the global one.

    Raises:
        TableError: ``kind`` is neither.
        ImportError: opentelemetry-api is not installed.
    """
    try:
        from opentelemetry import context, propagate
        from opentelemetry import trace as api
    except ImportError as error:
        what = "trace needs opentelemetry-api: pip install 'aioluahttp[trace]'"
        raise ImportError(what) from error
    if kind not in FAILED:
        raise TableError.of('kind', kind, "'client' or 'server'")
    client, of_kind = kind == 'client', api.SpanKind[kind.upper()]
    tracer = api.get_tracer('aioluahttp', None, tracer_provider, SCHEMA)

    @wraps(handler)  # with what listen reads from it
    async def traced(table: Any) -> Response[Any]:
        request = to_request(table)
        caller = None if client else propagate.extract(carrier_of(request['headers']))
        attributes = (client_attributes if client else server_attributes)(request)
        span = tracer.start_span(name_of(request), caller, of_kind, attributes)

        def end(error: BaseException | None) -> None:
            if what := error_of(error):
                span.set_attribute('error.type', what)
                span.set_status(api.StatusCode.ERROR)
            span.end()

        token = context.attach(api.set_span_in_context(span, caller))
        try:
            if client:
                propagate.inject(request['headers'])
            response = await response_of_handler(handler, request)
        except BaseException as error:
            if isinstance(error, StatusError):
                span.set_attributes(response_attributes(error.response))
            end(error)
            raise
        finally:
            context.detach(token)
        span.set_attributes(response_attributes(response))
        if response['status'] >= FAILED[kind]:
            span.set_attribute('error.type', str(response['status']))
            span.set_status(api.StatusCode.ERROR)
        return await tap(response, end)

    return traced


def carrier_of(headers: Headers) -> dict[str, list[str]]:
    """Give headers as propagators read them: by their lower names."""
    return {name.lower(): headers.getall(name) for name in headers}


def name_of(request: Request) -> str:
    return request['method'] if request['method'] in METHODS else 'HTTP'


def common_attributes(request: Request) -> dict[str, Any]:
    """Give what the spans of both sides tell of a request."""
    method = request['method']
    known = method in METHODS
    return {
        'http.request.method': method if known else '_OTHER',
        **({} if known else {'http.request.method_original': method}),
        'server.address': request['host'],
        'server.port': request['port'],
    }


def client_attributes(request: Request) -> dict[str, Any]:
    """Give the attributes of a client's span."""
    host = f'[{request["host"]}]' if ':' in request['host'] else request['host']
    url = f'{request["scheme"]}://{host}:{request["port"]}{request["url"]}'
    return common_attributes(request) | {'url.full': hide_query(url, REDACTED)}


def server_attributes(request: Request) -> dict[str, Any]:
    """Give the attributes of a server's span."""
    agent = request['headers'].get('User-Agent')
    query = hide_query(f'?{request["query"]}', REDACTED)[1:]
    given = {
        'url.scheme': request['scheme'],
        'url.path': request['path'],
        'url.query': query or None,
        'client.address': request.get('ip'),
        'network.protocol.version': request.get('version'),
        # Exporters take no surrogates, which stand for bytes that are no UTF-8.
        'user_agent.original': agent
        and agent.encode(errors='surrogateescape').decode(errors='replace'),
    }
    return common_attributes(request) | {
        key: value for key, value in given.items() if value is not None
    }


def response_attributes(response: Response[Any]) -> dict[str, Any]:
    """Give what the span tells of an answer."""
    given = {
        'http.response.status_code': response['status'],
        'network.protocol.version': response.get('version'),
        'network.peer.address': response.get('ip'),
    }
    return {key: value for key, value in given.items() if value is not None}


def error_of(error: BaseException | None) -> str | None:
    """Name what went wrong; a stream that is left early is no error."""
    if error is None or isinstance(error, GeneratorExit):
        return None
    if isinstance(error, StatusError):
        return str(error.response['status'])
    return type(error).__qualname__
