"""Bodies handed over within a process."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp.errors import Refused
from aioluahttp.headers import Headers
from aioluahttp.transports.delivery import Delivery
from aioluahttp.transports.handover import Answered, Sent
from aioluahttp.transports.request_body import Supply

GONE = http.ProtocolError('gone')


def delivery(body, length=None, progress=None):
    """Make what a body that is drawn is sent by."""
    return Delivery(Supply(body), length, bytes, progress)


def sending(body, **options):
    """Hand over a body that is drawn."""
    return Sent(delivery(body, **options))


class Parts:
    """Gives parts, or raises them; counts how often it is closed, which may fail too."""

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


def answering(parts, sent=None, told=None):
    """Hand over an answer; ``told`` gets the mistakes of the handler."""

    async def tell(error):
        told.append(error)

    return Answered(parts, sent or Sent(None), tell)


# The body of a request


@pytest.mark.parametrize(
    ('data', 'method', 'framing'),
    [
        (None, 'GET', {}),
        (None, 'HEAD', {}),
        (None, 'POST', {'Content-Length': '0'}),
        (None, 'DELETE', {'Content-Length': '0'}),
        (b'', 'GET', {'Content-Length': '0'}),
        (b'ab', 'GET', {'Content-Length': '2'}),
    ],
)
async def test_a_body_at_hand_has_its_length(data, method, framing):
    """As on the wire: no body has none where none is expected."""
    headers, sent = Headers(), Sent(data)
    sent.frame(method, headers)
    assert framing == dict(headers)
    assert (data or b'') == b''.join([part async for part in sent])
    assert [] == [part async for part in sent]
    assert sent.error is None
    await sent.aclose()


@pytest.mark.parametrize(
    ('length', 'framing'), [(2, {'Content-Length': '2'}), (None, {'Transfer-Encoding': 'chunked'})]
)
async def test_a_body_that_is_drawn_is_drawn_as_it_is_read(length, framing):
    """What is empty is no part of it; who watches is told of each that is."""
    drawn, told, headers = [], [], Headers()

    def chunks():
        for chunk in (b'', b'a', b'', b'b', b''):
            drawn.append(chunk)
            yield chunk

    sent = sending(chunks(), length=length, progress=lambda *one: told.append(one))
    sent.frame('POST', headers)
    assert framing == dict(headers)
    assert [] == drawn
    assert b'a' == await anext(sent)
    assert [b'', b'a'] == drawn
    assert [b'b'] == [part async for part in sent]
    assert [(1, length), (2, length)] == told
    await sent.aclose()


async def test_a_body_that_is_not_read_is_closed():
    """It counts as begun, and is for nobody else to close."""
    parts = Parts(b'a')
    body = delivery(parts)
    sent = Sent(body)
    assert body.supply.is_spent
    await sent.aclose()
    assert 1 == parts.closed


@pytest.mark.parametrize('part', [ValueError('mine'), 'text'])
async def test_a_body_that_breaks_is_the_mistake_of_who_sends_it(part):
    """Its reader is told that there is no more; the error is kept."""
    sent = sending(Parts(b'a', part))
    assert b'a' == await anext(sent)
    with pytest.raises(http.ProtocolError, match='the body broke off') as caught:
        await anext(sent)
    assert caught.value.__cause__ is sent.error
    assert isinstance(part, str) or part is sent.error


async def test_what_watches_may_fail():
    """That is a mistake of who sends it, too."""
    sent = sending([b'a'], progress=lambda *one: 1 / 0)
    with pytest.raises(http.ProtocolError):
        await anext(sent)
    assert isinstance(sent.error, ZeroDivisionError)


async def test_what_gives_no_iterator_is_the_mistake_of_who_sends_it():
    """Before anybody asks for a part."""

    class Bad:
        def __iter__(self):
            raise OSError('mine')

    body = delivery(Bad())
    with pytest.raises(OSError, match='mine') as caught:
        Sent(body)
    assert caught.value is body.supply.error


async def test_a_file_is_closed_behind_it(tmp_path):
    """Which was opened for this try."""
    (tmp_path / 'a').write_bytes(b'abc')
    body = delivery(tmp_path / 'a')
    await body.supply.open()
    sent = Sent(body)
    assert b'abc' == await anext(sent)
    await sent.aclose()
    assert body.supply._opened is None


# The body of an answer


async def test_an_answer_is_read_part_by_part():
    """The first is waited for before there is a head; what is empty is no part."""
    parts = Parts(b'a', b'', b'b')
    source = answering(parts)
    await source.begin()
    assert [b'b'] == parts.parts[1:]
    assert [b'a', b'b', b'', b''] == [await source.read(None) for _ in range(4)]
    source.finish()
    source.release()
    assert [False, False] == [source.is_empty, source.is_waited_for]
    for _ in range(2):
        await source.stop()
    assert 1 == parts.closed


async def test_an_answer_may_begin_with_nothing():
    """An empty first part sends the head alone, on the wire; so does an answer of no parts."""
    source = answering(Parts(b'', b'a'))
    await source.begin()
    assert [b'a', b''] == [await source.read(None) for _ in range(2)]
    source = answering(Parts())
    await source.begin()
    assert b'' == await source.read(None)


async def test_a_first_part_that_fails_is_no_part():
    """What is raised comes out, and the iterator is closed."""
    parts = Parts(ValueError('first'))
    with pytest.raises(ValueError, match='first'):
        await answering(parts).begin()
    assert 1 == parts.closed


async def test_a_first_part_need_not_be_waited_for():
    """Who gives up ends the handler's iterator, too."""
    parts = Parts(None)
    beginning = asyncio.create_task(answering(parts).begin())
    await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    assert 1 == parts.closed


async def test_one_task_asks_for_all_parts():
    """So what an iterator has around them, such as a deadline, is not left to who reads."""

    async def parts():
        async with asyncio.timeout(0.01):
            yield b'a'
            await asyncio.Event().wait()

    source = answering(parts(), told=[])
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='broke off') as caught:
        await source.read(None)
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize('cause', [None, Refused(400)])
async def test_an_answer_that_breaks_is_the_mistake_of_the_handler(cause):
    """Unless who sent the request is at fault; for who reads it is broken either way."""
    error, told = ValueError('midway'), []
    error.__cause__ = cause
    source = answering(Parts(b'a', error), told=told)
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='the handler broke off its answer') as caught:
        await source.read(None)
    assert caught.value.__cause__ is error
    assert ([] if cause else [error]) == told


@pytest.mark.parametrize('cause', [None, Refused(400)])
async def test_an_iterator_that_cannot_be_closed_is_the_mistake_of_the_handler(cause):
    """What was sent is closed all the same."""
    error, told, body = ValueError('closing'), [], Parts()
    error.__cause__ = cause
    source = answering(Parts(b'a', fails=error), sending(body), told)
    assert [b'a', b''] == [await source.read(None) for _ in range(2)]
    await source.stop()
    assert ([] if cause else [error]) == told
    assert 1 == body.closed


async def test_a_cancelled_stop_closes_what_was_sent():
    """Though the iterator of the handler takes its time to be closed."""

    class Slow(Parts):
        async def aclose(self):
            await asyncio.Event().wait()

    body = Parts()
    stopping = asyncio.create_task(answering(Slow(), sending(body)).stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert 1 == body.closed


async def test_the_mistake_of_who_sent_the_request_is_not_lost():
    """Though the handler makes nothing of it, and goes on."""
    sent = sending(Parts(ValueError('mine')))

    async def parts():
        try:
            await anext(sent)
        except http.ProtocolError:
            yield b'never mind'

    source = answering(parts(), sent)
    for _ in range(2):
        with pytest.raises(http.ProtocolError, match='sent broke off') as caught:
            await source.read(None)
        assert 'mine' == str(caught.value.__cause__)
    await source.stop()


async def test_a_part_may_not_come_in_time():
    """The handler is cancelled; its own deadlines are its own."""
    source = answering(Parts(None))
    with pytest.raises(http.TimedOut, match=r'within 0.01 s'):
        await source.read(0.01)
    await source.stop()
    with pytest.raises(http.ProtocolError, match='the handler broke off'):
        await answering(Parts(TimeoutError()), told=[]).read(60)


async def reads(source):
    """Begin to read in a task."""
    task = asyncio.create_task(source.read(None))
    await asyncio.sleep(0)
    return task


async def test_a_close_interrupts_who_reads():
    """With its error, for good; the task itself is not cancelled by that."""
    source = answering(Parts(None))

    async def read():
        with pytest.raises(http.ProtocolError, match='gone'):
            await source.read(None)
        return asyncio.current_task().cancelling()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    source.close(GONE)
    await source.stop()  # leaves that to who reads
    assert 0 == await task
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)


@pytest.mark.parametrize('parts', ['goes on', 'fails'])
async def test_a_close_holds_whatever_the_handler_makes_of_it(parts):
    """One that goes on is not listened to, one that fails has made a mistake."""
    told = []

    begun = asyncio.Event()

    async def stubborn():
        yield b'x'
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if parts == 'fails':
                raise ValueError from None
            yield b'a'

    source = answering(stubborn(), told=told)

    assert b'x' == await source.read(None)
    task = await reads(source)
    await begun.wait()
    source.close(GONE)
    with pytest.raises(http.ProtocolError, match='gone'):
        await task
    await source.stop()
    assert ('fails' == parts) == bool(told)


async def test_a_cancellation_is_one_though_it_is_closed_just_then():
    """Who cancels is heard."""
    source = answering(Parts(None, None))
    for closes in (False, True):
        task = await reads(source)
        task.cancel()
        if closes:
            source.close(GONE)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_handler_itself_may_close_it():
    """Which interrupts nobody: the part is not given, that is all."""

    async def parts():
        source.close(GONE)
        yield b'a'

    source = answering(parts())
    with pytest.raises(http.ProtocolError, match='gone'):
        await source.read(None)
    await source.stop()


async def test_one_task_reads():
    """A second is refused, and the first goes on."""
    source = answering(Parts(None))
    task = await reads(source)
    with pytest.raises(RuntimeError, match='another task'):
        await source.read(None)
    task.cancel()
    await asyncio.wait([task])
    await source.stop()


async def test_an_iterator_may_stop_what_reads_it():
    """As one does that closes the response it is the body of; it waits not for itself."""

    async def parts():
        yield b'a'
        await source.stop()
        yield b'b'

    source = answering(parts())
    assert b'a' == await source.read(None)
    with pytest.raises(http.ProtocolError, match='the body is closed'):
        await source.read(None)
