"""A request and its response in memory: the bodies, and the end of either side."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp.exchange.options import Settings
from aioluahttp.exchange.responder import Responder
from aioluahttp.headers import Headers
from aioluahttp.transports.failures import BodyFailed
from aioluahttp.transports.memory import MemoryExchange, SentBody
from aioluahttp.transports.request_body import BodyDelivery, BodySource


def delivery(body, length=None, progress=None):
    """Make the delivery of a body in parts."""
    return BodyDelivery(BodySource(body), length, bytes, progress)


def sending(body, **options):
    """Make the request body of a source."""
    return SentBody(delivery(body, **options))


class Parts:
    """An async iterator that yields or raises its parts; it counts its closes, which may fail."""

    def __init__(self, *parts, fails=None):
        self.parts, self.closed, self.fails = list(parts), 0, fails

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.parts:
            raise StopAsyncIteration
        part = self.parts.pop(0)
        if part is None:
            await asyncio.Event().wait()
        if isinstance(part, BaseException):
            raise part
        return part

    async def aclose(self):
        self.closed += 1
        if self.fails:
            raise self.fails


async def test_a_body_that_is_not_read_is_closed():
    """It counts as begun, so that its source does not close it."""
    parts = Parts(b'a')
    body = delivery(parts)
    sent = SentBody(body)
    assert body.source.is_spent
    await sent.aclose()
    assert 1 == parts.closed


@pytest.mark.parametrize('part', [ValueError('mine'), 'text'])
async def test_an_exception_of_a_source_is_kept(part):
    """Its reader gets a ProtocolError; ``failure`` has what was raised."""
    sent = sending(Parts(b'a', part))
    assert b'a' == await anext(sent)
    with pytest.raises(http.ProtocolError, match='the request body was cut off') as caught:
        await anext(sent)
    assert caught.value.__cause__ is sent.failure.error
    assert isinstance(part, str) or part is sent.failure.error


async def test_an_exception_of_on_progress_is_kept():
    """It is kept like an exception of the source."""
    sent = sending([b'a'], progress=lambda *one: 1 / 0)
    with pytest.raises(http.ProtocolError):
        await anext(sent)
    assert isinstance(sent.failure.error, ZeroDivisionError)


async def test_an_exception_of_iter_is_raised():
    """It is raised before a part is read."""

    class Bad:
        def __iter__(self):
            raise OSError('mine')

    with pytest.raises(BodyFailed, match='mine') as caught:
        SentBody(delivery(Bad()))
    assert isinstance(caught.value.error, OSError)


async def test_a_file_is_closed_after_the_body(tmp_path):
    """``open`` opened it for this attempt."""
    (tmp_path / 'a').write_bytes(b'abc')
    body = delivery(tmp_path / 'a')
    await body.source.open()
    sent = SentBody(body)
    assert b'abc' == await anext(sent)
    await sent.aclose()
    assert body.source._opened is None


GONE = http.ProtocolError('gone')


async def begin(parts, body=None, told=None, **settings):
    """Begin a response with a body in parts; ``told`` gets the exceptions of the handler."""
    settings['on_error'] = lambda error, request: told.append(error)
    respond = Responder(lambda request: {'status': 200, 'body': parts}, Settings(**settings))
    request = http.to_request(url='http://h/')
    exchange = MemoryExchange(request, Headers(Host='h'), body or SentBody(None))
    await respond(exchange)
    return exchange


async def reads(exchange):
    """Start a task that reads."""
    task = asyncio.create_task(exchange.read(None))
    await asyncio.sleep(0)
    return task


async def test_a_body_in_memory_is_read_in_one_part():
    """An empty one has none."""
    for data in (b'ab', b'', None):
        sent = SentBody(data)
        assert [data] * bool(data) == [part async for part in sent]
        assert [] == [part async for part in sent]
        await sent.aclose()


async def test_a_source_is_read_when_the_body_is_read():
    """Empty chunks are skipped; progress is reported for each other one."""
    drawn, told = [], []

    def chunks():
        for chunk in (b'', b'a', b'', b'b', b''):
            drawn.append(chunk)
            yield chunk

    sent = sending(chunks(), progress=lambda *one: told.append(one))
    assert [] == drawn
    assert b'a' == await anext(sent)
    assert [b'', b'a'] == drawn
    assert [b'b'] == [part async for part in sent]
    assert [(1, None), (2, None)] == told
    await sent.aclose()


async def test_a_response_body_is_read_in_parts():
    """Each is drawn when it is wanted; empty parts are skipped."""
    parts = Parts(b'', b'a', b'', b'b')
    exchange = await begin(parts)
    assert (200, True, False, False) == (
        exchange.response[0],
        exchange.begun,
        exchange.is_empty,
        exchange.is_pending,
    )
    assert b'a' == await exchange.read(None)
    assert [b'', b'b'] == parts.parts
    assert [b'b', b''] == [await exchange.read(None) for _ in range(2)]
    exchange.finish()
    exchange.release()
    for _ in range(2):
        await exchange.stop()
    assert 1 == parts.closed


async def test_one_task_reads_all_parts_of_the_iterator():
    """A timeout inside the iterator is not one of the task that reads."""

    async def parts():
        async with asyncio.timeout(0.01):
            yield b'a'
            await asyncio.Event().wait()

    exchange = await begin(parts(), told=[])
    assert b'a' == await exchange.read(None)
    with pytest.raises(http.ProtocolError, match='the handler failed') as caught:
        await exchange.read(60)
    assert isinstance(caught.value.__cause__, TimeoutError)
    await exchange.stop()


async def test_an_exception_of_closing_the_iterator_is_reported():
    """The request body is closed in any case."""
    error, told, body = ValueError('closing'), [], Parts()
    exchange = await begin(Parts(b'a', fails=error), sending(body), told)
    assert [b'a', b''] == [await exchange.read(None) for _ in range(2)]
    await exchange.stop()
    assert ([error], 1) == (told, body.closed)


async def test_a_cancelled_stop_closes_the_request_body():
    """Even while closing the iterator of the handler waits."""

    class Slow(Parts):
        async def aclose(self):
            await asyncio.Event().wait()

    body = Parts()
    exchange = await begin(Slow(b'a'), sending(body))
    stopping = asyncio.create_task(exchange.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert 1 == body.closed
    exchange.task.cancel()
    await asyncio.wait([exchange.task])


async def test_an_exception_of_the_request_body_is_not_lost():
    """Even if the handler catches it and goes on."""
    sent = sending(Parts(ValueError('mine')))

    async def parts():
        yield b'first'
        with pytest.raises(http.ProtocolError):
            await anext(sent)
        yield b'never mind'

    exchange = await begin(parts(), sent)
    assert b'first' == await exchange.read(None)
    for _ in range(2):
        with pytest.raises(BodyFailed, match='mine'):
            await exchange.read(None)
    await exchange.stop()


async def test_a_read_may_time_out():
    """A timeout of a read is TimedOut; the next one may get the part."""
    exchange = await begin(Parts(b'a', None))
    assert b'a' == await exchange.read(0.01)
    with pytest.raises(http.TimedOut, match=r'within 0.01 s'):
        await exchange.read(0.01)
    await exchange.stop()


@pytest.mark.parametrize('goes_on', [True, False])
async def test_a_close_interrupts_a_read(goes_on):
    """It and later reads raise its error; what a stubborn iterator yields is dropped."""

    async def parts():
        try:
            yield b'x'
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not goes_on:
                raise
            yield b'a'

    told = []
    exchange = await begin(parts(), told=told)
    assert b'x' == await exchange.read(None)
    task = await reads(exchange)
    exchange.close(GONE)
    for reading in (task, exchange.read(None)):
        with pytest.raises(http.ProtocolError, match='gone'):
            await reading
    await exchange.stop()
    assert ([], True) == (told, exchange.gone)


async def test_only_one_task_may_read():
    """A second one is refused; the first may be cancelled."""
    exchange = await begin(Parts(b'a', None))
    assert b'a' == await exchange.read(None)
    task = await reads(exchange)
    with pytest.raises(RuntimeError, match='another task'):
        await exchange.read(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await exchange.stop()


async def test_the_iterator_itself_may_stop_the_body():
    """As one that closes its own response; ``stop`` does not wait for its own task."""

    async def parts():
        yield b'a'
        await exchange.stop()
        yield b'b'

    exchange = await begin(parts())
    assert b'a' == await exchange.read(None)
    with pytest.raises(http.ProtocolError, match='the body is closed'):
        await exchange.read(None)
    await asyncio.wait([exchange.task])


async def test_a_cancellation_that_is_none_of_the_client_is_passed_on():
    """The reader gets an error."""
    exchange = await begin(Parts(b'a', None))
    assert b'a' == await exchange.read(None)
    task = await reads(exchange)
    exchange.task.cancel()
    with pytest.raises(http.ProtocolError, match='the handler failed') as caught:
        await task
    assert 'the handler was cancelled' == str(caught.value.__cause__)
    await exchange.stop()
    assert exchange.task.cancelled()


async def test_a_part_of_the_request_body_must_arrive_in_time():
    """``body_timeout``, as over a connection: a 408."""
    seen = []
    respond = Responder(seen.append, Settings(body_timeout=0.01))
    request, headers = http.to_request(url='http://h/', method='POST'), Headers(Host='h')
    exchange = MemoryExchange(request, headers, sending(Parts(b'a', None)))
    await respond(exchange)
    assert (408, b'Request Timeout', []) == (exchange.response[0], exchange.body, seen)
    await exchange.stop()
