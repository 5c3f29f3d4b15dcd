"""The middleware ``trace``: spans as the OpenTelemetry SDK exports them."""

import asyncio
import sys

import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.middleware.tracing import trace as traced

TRACE = '0af7651916cd43dd8448eb211c80319c'
PARENT = f'00-{TRACE}-b7ad6b7169203331-01'


class Spans:
    """The exported spans."""

    def __init__(self):
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def of(self, handler, kind):
        """Wrap a handler in ``trace``."""
        return traced(handler, kind=kind, tracer_provider=self.provider)

    def all(self):
        """Return the spans that have ended."""
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans():
    """Return ``Spans``, which are exported as they end."""
    return Spans()


async def chunks(error=None):
    """Yield a chunk, and then raise the error if there is one."""
    yield b'x'
    if error:
        raise error


async def test_a_client_span_has_the_attributes_of_the_conventions(spans):
    """Those that the conventions require and recommend."""
    given = http.Response(
        status=200, headers=http.Headers(), body='', version='1.1', ip='192.0.2.1', method='GET'
    )
    table = {'url': 'http://u:p@[::1]:8080/a?b=c&sig=x', 'headers': {'User-Agent': 'x'}}
    await spans.of(lambda request: given, 'client')(table)
    (span,) = spans.all()
    assert ('GET', SpanKind.CLIENT, StatusCode.UNSET) == (
        span.name,
        span.kind,
        span.status.status_code,
    )
    assert {
        'http.request.method': 'GET',
        'server.address': '::1',
        'server.port': 8080,
        'url.full': 'http://[::1]:8080/a?b=c&sig=REDACTED',
        'http.response.status_code': 200,
        'network.protocol.version': '1.1',
        'network.peer.address': '192.0.2.1',
    } == dict(span.attributes)
    scope = span.instrumentation_scope
    schema = 'https://opentelemetry.io/schemas/1.23.1'
    assert ('aioluahttp', schema) == (scope.name, scope.schema_url)


async def test_a_server_span_has_the_attributes_of_the_conventions(spans):
    """Bytes that are not UTF-8 are replaced."""
    request = http.to_request(
        url='https://h/a?b=c&token=x',
        headers={'User-Agent': 'x\udcff'},
        ip='192.0.2.1',
        version='1.1',
    )
    await spans.of(lambda request: {'status': 404}, 'server')(request)
    (span,) = spans.all()
    assert ('GET', SpanKind.SERVER, StatusCode.UNSET) == (
        span.name,
        span.kind,
        span.status.status_code,
    )
    assert {
        'http.request.method': 'GET',
        'server.address': 'h',
        'server.port': 443,
        'url.scheme': 'https',
        'url.path': '/a',
        'url.query': 'b=c&token=REDACTED',
        'client.address': '192.0.2.1',
        'network.protocol.version': '1.1',
        'user_agent.original': 'x\ufffd',
        'http.response.status_code': 404,
    } == dict(span.attributes)


async def test_missing_values_are_no_attributes(spans):
    """Query, address and User-Agent may be missing."""
    await spans.of(lambda request: {'status': 200}, 'server')({'host': 'h'})
    (span,) = spans.all()
    assert {
        'http.request.method',
        'server.address',
        'server.port',
        'url.scheme',
        'url.path',
        'http.response.status_code',
    } == set(span.attributes)


async def test_an_unknown_method_is_not_a_span_name(spans):
    """A peer could create any number of span names otherwise."""
    await spans.of(lambda request: {'status': 200}, 'server')({'host': 'h', 'method': 'BREW'})
    (span,) = spans.all()
    assert ('HTTP', '_OTHER', 'BREW') == (
        span.name,
        span.attributes['http.request.method'],
        span.attributes['http.request.method_original'],
    )


@pytest.mark.parametrize(
    ('kind', 'status', 'error'),
    [
        ('client', 302, None),
        ('client', 404, '404'),
        ('client', 500, '500'),
        ('server', 404, None),
        ('server', 500, '500'),
    ],
)
async def test_a_404_is_an_error_for_the_client_only(spans, kind, status, error):
    """A 500 is an error for both sides."""
    response = await spans.of(lambda request: {'status': status}, kind)({'host': 'h'})
    (span,) = spans.all()
    assert (status, status, error) == (
        response.status,
        span.attributes['http.response.status_code'],
        span.attributes.get('error.type'),
    )
    assert (StatusCode.UNSET if error is None else StatusCode.ERROR) == span.status.status_code


def unaccepted():
    """Make the error for a status that ``check`` does not accept."""
    error = http.StatusError('404')
    error.response = http.to_response({'status': 404})
    return error


@pytest.mark.parametrize(
    ('error', 'kind', 'status'),
    [
        (http.ConnectError('secret'), 'ConnectError', None),
        (KeyError('secret'), 'KeyError', None),
        (unaccepted(), '404', 404),
    ],
)
async def test_an_exception_is_an_error(spans, error, kind, status):
    """Its class is recorded, but not its text, which may be secret; it is raised."""

    async def handler(request):
        raise error

    with pytest.raises(type(error)):
        await spans.of(handler, 'client')({'host': 'h'})
    (span,) = spans.all()
    assert (kind, status, StatusCode.ERROR) == (
        span.attributes['error.type'],
        span.attributes.get('http.response.status_code'),
        span.status.status_code,
    )
    assert 'secret' not in span.to_json()


async def test_a_cancelled_request_ends_the_span(spans):
    """It is an error by the conventions."""
    task = asyncio.create_task(
        spans.of(lambda request: asyncio.Event().wait(), 'client')({'host': 'h'})
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ['CancelledError'] == [span.attributes['error.type'] for span in spans.all()]


@pytest.mark.parametrize(
    ('read', 'error', 'kind'),
    [
        (Stream.read, None, None),
        (Stream.close, None, None),
        (Stream.read, http.ProtocolError('x'), 'ProtocolError'),
    ],
    ids=['read', 'left', 'broken'],
)
async def test_the_span_of_a_stream_ends_with_it(spans, read, error, kind):
    """Only a stream that fails is an error, not one that is closed early."""
    response = await spans.of(
        lambda request: {'status': 200, 'body': Stream(chunks(error))}, 'client'
    )({'host': 'h'})
    assert () == spans.all()
    if error:
        with pytest.raises(http.ProtocolError):
            await read(response.body)
    else:
        await read(response.body)
    assert [kind] == [span.attributes.get('error.type') for span in spans.all()]


async def test_the_span_is_current_while_the_handler_runs(spans):
    """The handler can rename it after its route; afterwards it is not current."""

    async def handler(request):
        span = trace.get_current_span()
        span.update_name('GET /users/{id}')
        span.set_attribute('http.route', '/users/{id}')
        return {'status': 200}

    await spans.of(handler, 'server')({'host': 'h'})
    assert ['GET /users/{id}'] == [span.name for span in spans.all()]
    assert trace.INVALID_SPAN is trace.get_current_span()


async def test_a_received_trace_is_continued(spans):
    """W3C Trace Context in headers of any case and on several lines, and baggage."""
    seen = []

    async def handler(request):
        seen.append(baggage.get_baggage('a'))
        return {'status': 200}

    headers = [('TraceParent', PARENT), ('tracestate', 'a=1'), ('tracestate', 'b=2')]
    await spans.of(handler, 'server')({'host': 'h', 'headers': [*headers, ('Baggage', 'a=b')]})
    (span,) = spans.all()
    assert (TRACE, 'b7ad6b7169203331') == (
        f'{span.context.trace_id:032x}',
        f'{span.parent.span_id:016x}',
    )
    assert ({'a': '1', 'b': '2'}, ['b']) == (dict(span.context.trace_state), seen)


async def test_a_trace_is_sent_over_the_network(spans):
    """The server's span is the child of the client's; the given table is not changed."""
    table = {'url': '', 'headers': {'traceparent': PARENT}}
    server_side = spans.of(lambda request: {'status': 200}, 'server')
    async with http.listen('127.0.0.1', 0, server_side) as server:
        table['url'] = server.url
        with spans.provider.get_tracer('test').start_as_current_span('outer') as outer:
            await spans.of(http.request, 'client')(table)
    by_kind = {span.kind: span for span in spans.all()}
    client, served = by_kind[SpanKind.CLIENT], by_kind[SpanKind.SERVER]
    assert outer.get_span_context().span_id == client.parent.span_id
    assert client.context.span_id == served.parent.span_id
    assert client.context.trace_id == served.context.trace_id
    assert PARENT == table['headers']['traceparent']


def test_an_unknown_kind_is_rejected():
    """The error names the valid kinds."""
    with pytest.raises(http.TableError, match="'kind' is 'both'; it must be 'client' or 'server'"):
        traced(http.request, kind='both')


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch):
    """The message is one line."""
    monkeypatch.setitem(sys.modules, 'opentelemetry', None)
    what = r"^trace needs opentelemetry-api: pip install 'aioluahttp\[trace\]'$"
    with pytest.raises(ImportError, match=what):
        traced(http.request, kind='client')
