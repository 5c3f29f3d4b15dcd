"""Server-sent events: parsed as the HTML standard says, however they arrive, and encoded."""

from __future__ import annotations

import doctest
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioluahttp import ProtocolError
from aioluahttp.bodies import events
from aioluahttp.bodies.events import KEYS, EventParser, EventStream, encode_event
from aioluahttp.bodies.stream import Stream
from aioluahttp.errors import BodyTooLarge, TableError
from aioluahttp.types import Event, EventTable


def feed(parser: EventParser, *chunks: bytes) -> list[Event]:
    """Return all events of the chunks."""
    return [event for chunk in chunks for event in parser.feed(chunk)]


def read(stream: bytes) -> list[Event]:
    """Parse a stream that comes in one piece."""
    return feed(EventParser(None), stream)


def pieces(stream: bytes, sizes: list[int]) -> list[bytes]:
    """Cut a stream into chunks of these sizes, repeated to its end."""
    chunks = []
    while stream:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(stream[:size])
        stream = stream[size:]
    return chunks


def by_the_standard(stream: bytes) -> list[dict[str, Any]]:
    """Parse a whole stream by the very steps of HTML 9.2.6, without regard to speed."""
    text = stream.decode('utf-8', 'replace')
    text = text[1:] if text[:1] == '\ufeff' else text
    lines = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')[:-1]
    found: list[dict[str, Any]] = []
    data = event_type = last_id = ''
    retry = None
    for line in lines:
        if line == '':
            if data != '':
                found.append(
                    {'event': event_type or 'message', 'data': data[:-1], 'id': last_id}
                    | ({} if retry is None else {'retry': retry})
                )
                retry = None
            data = event_type = ''
            continue
        if line[0] == ':':
            continue
        field, value = line, ''
        if ':' in line:
            at = line.index(':')
            field, value = line[:at], line[at + 1 :]
            value = value[1:] if value[:1] == ' ' else value
        if field == 'event':
            event_type = value
        elif field == 'data':
            data += value + '\n'
        elif field == 'id' and '\0' not in value:
            last_id = value
        elif field == 'retry' and value and set(value) <= set('0123456789') and len(value) < 16:
            retry = int(value)
    return found


def message(data: str, **others: Any) -> dict[str, Any]:
    """Make the table of an event."""
    return {'event': 'message', 'data': data, 'id': '', **others}


def test_the_examples_hold() -> None:
    """The module's doctests pass."""
    assert 0 == doctest.testmod(events).failed


def test_the_event_types_have_the_keys_that_are_checked() -> None:
    """Type checkers, the encoder and the parser know the same keys."""
    assert set(KEYS) == set(EventTable.__annotations__) == set(Event.__annotations__)


LONG = b'x' * 2048

# The streams and their events come from web-platform-tests, eventsource/format-*, whose server
# ends each with a blank line unless the test says otherwise.
FORMATS: list[tuple[str, bytes, list[dict[str, Any]]]] = [
    (
        'bom',
        b'\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n',
        [message('1'), message('3')],
    ),
    ('bom-2', b'\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n', [message('2')]),
    (
        'comments',
        b'data:1\r:\0\n:\r\ndata:2\n:%b\rdata:3\n:data:fail\r:%b\ndata:4\n\n' % (LONG, LONG),
        [message('1\n2\n3\n4')],
    ),
    (
        'data-before-final-empty-line',
        b'retry:1000\ndata:test1\n\nid:test\ndata:test2',
        [message('test1', retry=1000)],
    ),
    (
        'field-data',
        b'data:\n\ndata\ndata\n\ndata:test\n\n',
        [message(''), message('\n'), message('test')],
    ),
    (
        'field-event',
        b'event:test\ndata:x\n\ndata:x\n\n',
        [message('x', event='test'), message('x')],
    ),
    ('field-event-empty', b'event: \ndata:data\n\n', [message('data')]),
    ('field-id-2', 'id: …\ndata: hello\n\n'.encode(), [message('hello', id='…')]),
    (
        'field-id-3, persists',
        b'id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata: 3\n\ndata: 4\n\n',
        [message('1', id='1'), message('2', id='1'), message('3', id='2'), message('4', id='2')],
    ),
    (
        'field-id-3, resets',
        b'id: 1\ndata: 1\n\nid:\ndata: 2\n\ndata: 3\n\n',
        [message('1', id='1'), message('2'), message('3')],
    ),
    (
        'field-id-3, resets without colon',
        b'id: 1\ndata: 1\n\nid\ndata: 2\n\ndata: 3\n\n',
        [message('1', id='1'), message('2'), message('3')],
    ),
    *(
        ('field-id-null', b'id: %b\ndata: hello\n\n' % value, [message('hello')])
        for value in (b'\0\0', b'x\0', b'\0x', b'x\0x', b' \0')
    ),
    (
        'field-parsing',
        b'data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n'
        b' data:32\ndata:4\n\n',
        [message('\0\n 2\n1\n3\n\n4')],
    ),
    ('field-retry', b'retry:3000\ndata:x\n\n', [message('x', retry=3000)]),
    ('field-retry-bogus', b'retry:3000\nretry:1000x\ndata:x\n\n', [message('x', retry=3000)]),
    ('field-retry-empty', b'retry\ndata:test\n\n', [message('test')]),
    (
        'field-unknown',
        b'data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n',
        [message('test\n\ntest')],
    ),
    ('leading-space', b'data:\ttest\rdata: \ndata:test\n\n', [message('\ttest\n\ntest')]),
    ('newlines', b'data:test\r\ndata\ndata:test\r\n\r', [message('test\n\ntest')]),
    ('null-character', b'data:\0\n\n', [message('\0')]),
    ('utf-8', b'data:ok\xe2\x80\xa6\n\n', [message('ok…')]),
]


@pytest.mark.parametrize(
    ('stream', 'expected'), [case[1:] for case in FORMATS], ids=[case[0] for case in FORMATS]
)
def test_a_stream_is_parsed_as_browsers_do(stream: bytes, expected: list[dict[str, Any]]) -> None:
    """The streams that browsers are tested with give the same events, whole or byte by byte."""
    assert expected == read(stream)
    assert expected == feed(EventParser(None), *pieces(stream, [1]))
    assert expected == by_the_standard(stream)


@pytest.mark.parametrize(
    ('stream', 'expected'),
    [
        (b'data: \xff\xe2\x82\n\n', [message('\ufffd\ufffd')]),
        (b'retry: 5\n\n: still there\n\nid: 7\n\ndata: x\n\n', [message('x', id='7', retry=5)]),
        (b'retry: 5\ndata: x\n\ndata: y\n\n', [message('x', retry=5), message('y')]),
        (b'retry: 007\ndata: x\n\n', [message('x', retry=7)]),
        ('retry: ٣\ndata: x\n\n'.encode(), [message('x')]),
        (b'retry: %b\ndata: x\n\n' % (b'9' * 5000), [message('x')]),
        (b'retry: -1\ndata: x\n\n', [message('x')]),
        (b'event: a\n\ndata: x\n\n', [message('x')]),
        (b'data: x\n', []),
        (b'\r\r\n\n\r', []),
        (b'', []),
    ],
)
def test_the_steps_of_the_standard_are_followed(
    stream: bytes, expected: list[dict[str, Any]]
) -> None:
    """A block without data gives no event, but its id and retry last; retry is ASCII digits."""
    assert expected == read(stream) == by_the_standard(stream)


LINES = st.lists(
    st.sampled_from(
        [b'data', b'event', b'id', b'retry', b':', b' ', b'12', b'x', b'data: x\n', b'\0', b'\n']
    )
    | st.sampled_from([b'\r', b'\r\n', b'\n\n', b'\xef\xbb\xbf', b'\xe2\x82\xac', b'\xe2', b'\xff'])
    | st.binary(max_size=3)
).map(b''.join)
SIZES = st.lists(st.integers(1, 9), min_size=1)


@settings(deadline=None)
@given(LINES | st.binary(), SIZES)
def test_any_bytes_are_parsed_by_the_standard_however_cut(stream: bytes, sizes: list[int]) -> None:
    """Any bytes, wherever they are cut, give the events that the steps of the standard give."""
    assert by_the_standard(stream) == feed(EventParser(None), *pieces(stream, sizes))


TEXT = st.text(st.characters(codec='utf-8'))
TABLES = st.fixed_dictionaries(
    {'data': TEXT},
    optional={
        'event': TEXT.filter(lambda text: not {'\r', '\n'} & set(text)),
        'id': TEXT.filter(lambda text: not {'\r', '\n', '\0'} & set(text)),
        'retry': st.integers(0, 10**15 - 1),
    },
) | st.sampled_from([{}, {'id': 'x'}, {'retry': 5}, {'id': '', 'retry': 0}])


@settings(deadline=None)
@given(st.lists(TABLES), SIZES)
def test_encoded_events_are_parsed_back(tables: list[dict[str, Any]], sizes: list[int]) -> None:
    """Events are equal after parsing, with line feeds for line ends, wherever the stream is cut."""
    stream = b''.join(encode_event(table) for table in tables)
    expected, last, retry = [], '', None
    for table in tables:
        last, retry = table.get('id', last), table.get('retry', retry)
        if 'data' in table:
            data = table['data'].replace('\r\n', '\n').replace('\r', '\n')
            expected.append(message(data, event=table.get('event') or 'message', id=last))
            if retry is not None:
                expected[-1]['retry'], retry = retry, None
    assert expected == feed(EventParser(None), *pieces(stream, sizes))


@pytest.mark.parametrize('chunk', [b'data: x\n', b'x', b'\n', b'\r'])
def test_a_chunk_may_be_empty(chunk: bytes) -> None:
    """An empty chunk between the halves of a CRLF, or of anything, changes nothing."""
    assert [message('a\nb')] == feed(
        EventParser(), b'data: a\r', b'', b'\ndata: b\r', b'', b'', b'\n\r\n', b''
    )
    assert [] == feed(EventParser(), b'', chunk, b'')


def test_the_parser_has_the_id_and_retry_for_reconnecting() -> None:
    """The id is set by the blank line after it, retry at once; both are kept after the events."""
    parser = EventParser()
    assert ('', None) == (parser.id, parser.retry)
    assert [] == feed(parser, b'id: 1\nretry: 5\n')
    assert ('', 5) == (parser.id, parser.retry)
    assert [message('x', id='1', retry=5)] == feed(parser, b'\ndata: x\n\n')
    assert [] == feed(parser, b'id: 2\n\nid: 3\n')
    assert ('2', 5) == (parser.id, parser.retry)


@pytest.mark.parametrize(
    'stream',
    [
        b'data: ' + b'x' * 50,
        b'data: x\n' * 8,
        b': ' + b'x' * 50,
        b'id: ' + b'x' * 50,
        b'x' * 51 + b'\n',
    ],
)
@pytest.mark.parametrize('size', [1, 7, 1000])
def test_an_event_beyond_the_limit_is_too_large(stream: bytes, size: int) -> None:
    """All that the parser keeps is limited, and the events before it are yielded."""
    parser, found = EventParser(50), []
    chunks = pieces(b'data: before\n\n' + stream, [size])
    with pytest.raises(BodyTooLarge, match='limit of 50 bytes'):
        found.extend(event for chunk in chunks for event in parser.feed(chunk))
    assert [message('before')] == found


@pytest.mark.parametrize(
    'stream', [b': ping\n', b'data: x\n\n', b'event: x\n', b'id: x\n', b'retry: 5\n', b'\n']
)
def test_the_length_of_a_stream_is_not_limited(stream: bytes) -> None:
    """Only what is kept counts: comments and complete events may come without end."""
    feed(EventParser(50), *[stream] * 1000)


@pytest.mark.parametrize('line', [b'data: ' + b'x' * 50, b': ' + b'x' * 100])
def test_a_limit_of_none_is_no_limit(line: bytes) -> None:
    """With None an event and a line may have any length."""
    parser = EventParser(None)
    assert [] == feed(parser, *pieces(line * 20_000, [4096]))


def test_a_long_line_takes_little_memory_however_it_arrives() -> None:
    """A line that arrives byte by byte is kept in one buffer, not as many objects."""
    parser, byte = EventParser(), b'x'
    tracemalloc.start()
    for _ in range(50_000):
        for _ in parser.feed(byte):
            pytest.fail('no event')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_an_event_is_yielded_as_soon_as_it_is_complete() -> None:
    """An event is yielded with the chunk in which its blank line arrives."""
    parser, chunks = EventParser(), (b'data: 1\n\ndata', b': 2\n', b'\n', b'data: 3\n')
    events = [[event['data'] for event in parser.feed(chunk)] for chunk in chunks]
    assert [['1'], [], ['2'], []] == events


def test_an_event_has_a_limit() -> None:
    """The limit holds for each event, and is 1 MiB by default."""
    line = b'data: ' + b'x' * 1000 + b'\n'
    with pytest.raises(BodyTooLarge, match='limit of 5 bytes'):
        feed(EventParser(5), b'data: x\n\n')
    with pytest.raises(BodyTooLarge, match='limit of 1048576 bytes'):
        feed(EventParser(), *[line] * 1050)
    short = [line] * 1000 + [b'\n']
    assert 2 == len(feed(EventParser(), *short, *short))
    assert 1 == len(feed(EventParser(None), *[line] * 1050, b'\n'))


@pytest.mark.parametrize(
    ('table', 'written'),
    [
        ({'data': 'x'}, b'data: x\n\n'),
        ({'data': ''}, b'data: \n\n'),
        ({'data': 'a\r\nb\rc\nd\n'}, b'data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n'),
        ({'data': 'a\x0bb\u2028c\x85d'}, 'data: a\x0bb\u2028c\x85d\n\n'.encode()),
        (
            {'retry': 10, 'id': 'é', 'data': ' x', 'event': 'tick'},
            'event: tick\ndata:  x\nid: é\nretry: 10\n\n'.encode(),
        ),
        ({'data': 'x', 'event': None, 'id': None, 'retry': None}, b'data: x\n\n'),
        ({'data': '\udcff'}, b'data: \xff\n\n'),
        ({'id': ''}, b'id: \n\n'),
        ({'retry': 0}, b'retry: 0\n\n'),
        ({'data': None}, b':\n\n'),
        ({}, b':\n\n'),
    ],
)
def test_an_event_is_encoded_line_by_line(table: dict[str, Any], written: bytes) -> None:
    """Each field is a line, data as many as it has; None counts as absent."""
    before = dict(table)
    assert written == encode_event(table)
    assert before == table


@pytest.mark.parametrize(
    ('table', 'error'),
    [
        ('data: x', "'events' is 'data: x'; it must be tables of event, data, id, retry"),
        ({'dat': 'x'}, "unknown key 'dat': did you mean 'data'?"),
        ({'comment': 'x'}, "unknown key 'comment'"),
        ({'data': {'a': 1}}, r"'data' is {'a': 1}; it must be a str, such as json.dumps makes"),
        ({'data': b'x'}, "'data' is b'x'; it must be a str"),
        ({'data': 'x', 'event': 5}, "'event' is 5; it must be a str"),
        ({'data': 'x', 'event': 'a\nb'}, "'event' is 'a.nb'; it must be a str without line ends"),
        ({'data': 'x', 'event': 'a\r'}, 'without line ends'),
        ({'event': 'ping'}, "'data' is None; it must be a str, such as ''"),
        ({'data': 'x', 'id': 5}, "'id' is 5; it must be a str"),
        ({'data': 'x', 'id': 'a\rb'}, "'id' is 'a.rb'; it must be a str without line ends"),
        ({'data': 'x', 'id': '\n'}, 'without line ends'),
        ({'data': 'x', 'id': 'a\0'}, 'it must be a str without NUL'),
        ({'data': 'x', 'retry': True}, "'retry' is True; it must be milliseconds, an int from 0"),
        ({'data': 'x', 'retry': -1}, "'retry' is -1"),
        ({'data': 'x', 'retry': 1.5}, "'retry' is 1.5"),
        ({'data': 'x', 'retry': '5'}, "'retry' is '5'"),
        ({'data': 'x', 'retry': 10**15}, "'retry' is 1000000000000000"),
        ({'data': '\ud800'}, 'text that UTF-8 can encode'),
    ],
)
def test_an_invalid_event_is_a_table_error(table: Any, error: str) -> None:
    """The error names the key, the value and what would be right."""
    with pytest.raises(TableError, match=error):
        encode_event(table)


class Source:
    """An async iterable of chunks that records whether it was closed."""

    def __init__(self, *chunks):
        self.closed = False
        self.chunks = self.give(chunks)

    async def give(self, chunks):
        """Yield one after the other."""
        for chunk in chunks:
            yield chunk

    def __aiter__(self):
        return self.chunks

    def close(self):
        """Record the call."""
        self.closed = True


async def test_each_event_is_a_table():
    """Wherever the stream is cut; ``id`` and ``retry`` are those of the last event returned."""
    source = Source(b'id: 1\ndata: a\n\nid: 2\nretry: 50\nda', b'ta: b\n\n', b'data: lost\n')
    async with EventStream(Stream(source)) as events:
        assert ('', None) == (events.id, events.retry)
        assert {'event': 'message', 'data': 'a', 'id': '1'} == await anext(events)
        assert ('1', None) == (events.id, events.retry)
        assert ['b'] == [event['data'] async for event in events]
        assert ('2', 50) == (events.id, events.retry)
    assert source.closed


async def test_a_closed_event_stream_cannot_be_read():
    """Events that had arrived before are dropped too."""
    events = EventStream(Stream(Source(b'data: a\n\ndata: b\n\n')))
    await anext(events)
    await events.close()
    with pytest.raises(ProtocolError, match='the stream is closed'):
        await anext(events)


async def test_an_event_that_is_too_large_closes_the_stream():
    """An event has at most 1 MiB, so that a peer cannot fill the memory."""
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
def test_the_content_type_of_events_is_recognised(kind, expected):
    """Case and parameters do not matter."""
    assert expected == EventStream.is_type(kind)
