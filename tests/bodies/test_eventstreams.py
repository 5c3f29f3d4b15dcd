"""Server-sent events of an answer, as they come."""

import pytest

from aioluahttp import BodyTooLarge, ProtocolError
from aioluahttp.bodies.eventstreams import EventStream
from aioluahttp.bodies.stream import Stream


class Source:
    """Gives chunks, and notes that it was closed."""

    def __init__(self, *chunks):
        self.closed = False
        self.chunks = self.give(chunks)

    async def give(self, chunks):
        """Give one after the other."""
        for chunk in chunks:
            yield chunk

    def __aiter__(self):
        return self.chunks

    def close(self):
        """Note it."""
        self.closed = True


async def test_each_event_is_a_table():
    """However the stream is cut; the ID and the time to wait are those of the last one given."""
    source = Source(b'id: 1\ndata: a\n\nid: 2\nretry: 50\nda', b'ta: b\n\n', b'data: lost\n')
    async with EventStream(Stream(source)) as events:
        assert ('', None) == (events.id, events.retry)
        assert {'event': 'message', 'data': 'a', 'id': '1'} == await anext(events)
        assert ('1', None) == (events.id, events.retry)
        assert ['b'] == [event['data'] async for event in events]
        assert ('2', 50) == (events.id, events.retry)
    assert source.closed


async def test_what_is_closed_is_read_no_more():
    """Not even what had come."""
    events = EventStream(Stream(Source(b'data: a\n\ndata: b\n\n')))
    await anext(events)
    await events.close()
    with pytest.raises(ProtocolError, match='the stream is closed'):
        await anext(events)


async def test_an_event_has_a_limit():
    """A peer cannot fill the memory with one; the connection is closed."""
    source = Source(b'data: ' + bytes(1024 * 1024), b'data: b\n\n')
    with pytest.raises(BodyTooLarge):
        await anext(EventStream(Stream(source)))
    assert source.closed


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('text/event-stream', True),
        ('TEXT/Event-Stream ;charset=x', True),
        ('text/event-streams', False),
        ('', False),
    ],
)
def test_a_type_is_that_of_events_or_not(kind, expected):
    """Its parameters do not count."""
    assert expected == EventStream.is_type(kind)
