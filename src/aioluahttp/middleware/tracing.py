"""The middleware ``trace``: OpenTelemetry spans by its HTTP semantic conventions (1.23 and up)."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

from ..errors import StatusError, TableError
from ..headers import Headers, hide_query
from ..tables.conversion import to_request
from ..tables.handlers import response_of_handler
from ..tables.models import Handler, Request, Response, Wrapped, absolute_url
from .taps import tap

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ['trace']

SCHEMA = 'https://opentelemetry.io/schemas/1.23.1'
# RFC 9110 9 and RFC 5789. Other methods are not used as span names: a peer may invent any number.
METHODS = frozenset('GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split())
REDACTED = 'REDACTED'  # the conventions' replacement for a secret
FAILED = {'client': 400, 'server': 500}  # the lowest status that is an error for this kind


def trace(
    handler: Handler,
    *,
    kind: Literal['client', 'server'],
    tracer_provider: TracerProvider | None = None,
) -> Wrapped:
    """Create an OpenTelemetry span for each request, named and described by the conventions.

    A client sends its span in the request headers, and a server continues the trace that it
    receives there, with the propagators that are configured: by default those of W3C. The span is
    current while the handler runs, so that the handler can rename it after its route. The span of
    a streamed response ends when its body ends.

    Args:
        handler: The handler to wrap.
        kind: ``'client'`` for a handler that sends requests, ``'server'`` for one that serves them.
        tracer_provider: The provider to use; ``None`` is the global one.

    Raises:
        TableError: ``kind`` is neither of them.
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

    @wraps(handler)  # also copies ``into`` and ``max_body``, which servers read from a handler
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
    """Return headers in the form that propagators read: by name in lower case."""
    return {name.lower(): headers.getall(name) for name in headers}


def name_of(request: Request) -> str:
    return request['method'] if request['method'] in METHODS else 'HTTP'


def common_attributes(request: Request) -> dict[str, Any]:
    """Return the attributes that client and server spans share."""
    method = request['method']
    known = method in METHODS
    return {
        'http.request.method': method if known else '_OTHER',
        **({} if known else {'http.request.method_original': method}),
        'server.address': request['host'],
        'server.port': request['port'],
    }


def client_attributes(request: Request) -> dict[str, Any]:
    """Return the attributes of a client span."""
    url = hide_query(absolute_url(request), REDACTED)
    return common_attributes(request) | {'url.full': url}


def server_attributes(request: Request) -> dict[str, Any]:
    """Return the attributes of a server span."""
    agent = request['headers'].get('User-Agent')
    query = hide_query(f'?{request["query"]}', REDACTED)[1:]
    given = {
        'url.scheme': request['scheme'],
        'url.path': request['path'],
        'url.query': query or None,
        'client.address': request.get('ip'),
        'network.protocol.version': request.get('version'),
        # Exporters reject surrogate escapes, which stand for bytes that are not UTF-8.
        'user_agent.original': agent
        and agent.encode(errors='surrogateescape').decode(errors='replace'),
    }
    return common_attributes(request) | {
        key: value for key, value in given.items() if value is not None
    }


def response_attributes(response: Response[Any]) -> dict[str, Any]:
    """Return the attributes of a response."""
    given = {
        'http.response.status_code': response['status'],
        'network.protocol.version': response.get('version'),
        'network.peer.address': response.get('ip'),
    }
    return {key: value for key, value in given.items() if value is not None}


def error_of(error: BaseException | None) -> str | None:
    """Return the ``error.type`` of an exception; None for a stream that was closed early."""
    if error is None or isinstance(error, GeneratorExit):
        return None
    if isinstance(error, StatusError):
        return str(error.response['status'])
    return type(error).__qualname__
