"""Response bodies are turned into what ``into`` asks for: pages, JSON and events."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp.transports import into

pytestmark = pytest.mark.usefixtures('both_routes')


def response_bytes(status, body, *fields):
    """Make the bytes of a response."""
    lines = [f'HTTP/1.1 {status} X', *fields, f'Content-Length: {len(body)}', '\r\n']
    return '\r\n'.join(lines).encode() + body


async def test_the_error_of_check_carries_the_page(raw_server):
    """The page is text, and the connection is used again."""
    async with raw_server(response_bytes(404, b'gone')) as peer:
        for _ in range(2):
            with pytest.raises(http.StatusError) as raised:
                await http.request(url=peer.url, into='stream', check=True)
            assert 'gone' == raised.value.response.body
    assert 1 == peer.connections


async def test_a_status_that_check_accepts_has_its_stream(raw_server):
    """This includes an error page."""
    async with raw_server(response_bytes(404, b'gone')) as peer:
        for check in (False, [404]):
            response = await http.request(url=peer.url, into='stream', check=check)
            assert (404, b'gone') == (response.status, await response.body.read())


@pytest.mark.parametrize('size', [into.PAGE - 1, into.PAGE, into.PAGE + 1, 2**20])
async def test_a_page_is_read_up_to_a_limit(raw_server, size):
    """The rest is not read."""
    async with raw_server(response_bytes(500, b'x' * size)) as peer:
        with pytest.raises(http.StatusError) as raised:
            await http.request(url=peer.url, into='raw', check=True)
    assert min(size, into.PAGE) == len(raised.value.response.body)


async def test_a_page_that_is_cut_off_is_kept_in_part(raw_server):
    """The part that arrived is the body; the status matters more than the page."""

    async def handler(line):
        await line.request()
        await line.send(b'HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nhalf')

    async with raw_server(handler) as peer:
        with pytest.raises(http.StatusError) as raised:
            await http.request(url=peer.url, into='stream', check=True)
    assert 'half' == raised.value.response.body


async def test_the_page_of_a_followed_redirect_is_read(raw_server):
    """Its response in the history has the text of the page, and no open stream."""

    async def handler(line):
        while True:
            if (await line.request()).line.startswith('GET /a'):
                await line.send(response_bytes(200, b'there'))
            else:
                await line.send(response_bytes(302, b'elsewhere', 'Location: /a'))

    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, into='stream')
        assert b'there' == await response.body.read()
        assert ['elsewhere'] == [one.body for one in response.history]
        last = await http.request(url=peer.url, into='stream', redirects=0)
        assert b'elsewhere' == await last.body.read()
    assert 1 == peer.connections


async def test_the_total_timeout_ends_a_page_that_does_not_end(raw_server):
    """The total timeout ends it, and the connection is closed."""
    left = asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(b'HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nhalf')
        assert b'' == await line.reader.read()
        left.set()

    async with raw_server(handler) as peer:
        with pytest.raises(http.TimedOut):
            await http.request(url=peer.url, into='stream', check=True, timeout=0.1)
        await left.wait()


async def test_a_body_with_progress_is_whole(raw_server):
    """``max_body`` holds as without ``on_progress``."""
    async with raw_server(response_bytes(200, b'[1]')) as peer:
        table = {'url': peer.url, 'on_progress': lambda done, total: None}
        assert [1] == (await http.request({**table, 'into': 'json'})).body
        with pytest.raises(http.BodyTooLarge):
            await http.request({**table, 'max_body': 2})


@pytest.mark.parametrize('watched', [{}, {'on_progress': lambda done, total: None}], ids=str)
async def test_a_body_that_is_not_json_is_an_error(raw_server, watched):
    """For a success it is an error; the page of an error is text."""
    async with raw_server(response_bytes(200, b'no')) as peer:
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: the body is not JSON'):
            await http.request(url=peer.url, into='json', **watched)
    async with raw_server(response_bytes(404, b'no')) as peer:
        assert 'no' == (await http.request(url=peer.url, into='json', **watched)).body


@pytest.mark.parametrize('watched', [{}, {'on_progress': lambda done, total: None}], ids=str)
async def test_the_error_of_a_body_that_is_cut_off_names_the_request_once(raw_server, watched):
    """The message names the request once."""

    async def handler(line):
        await line.request()
        await line.send(response_bytes(200, b'whole')[:-1])

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError) as raised:
            await http.request(url=peer.url, **watched)
    assert 1 == str(raised.value).count(peer.url)


EVENTS = response_bytes(200, b'data: a\n\n', 'Content-Type: Text/Event-Stream; charset=utf-8')


async def test_events_are_requested_and_read(raw_server):
    """The Accept header of the table is kept, if it has one."""
    async with raw_server(EVENTS) as peer:
        for headers, accept in (({}, 'text/event-stream'), ({'accept': 'a/b'}, 'a/b')):
            response = await http.request(url=peer.url, into='events', headers=headers)
            assert ['a'] == [event['data'] async for event in response.body]
            assert [accept] == peer.requests[-1].values('Accept')
    assert 1 == peer.connections


@pytest.mark.parametrize('kind', [('Content-Type: text/html',), ()])
async def test_a_body_that_is_no_event_stream_is_an_error(raw_server, kind):
    """Without an error one would wait for events for ever; the connection is closed."""
    async with raw_server(response_bytes(200, b'data: a\n\n', *kind)) as peer:
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: Content-Type is '):
            await http.request(url=peer.url, into='events')


async def test_a_204_has_no_events(raw_server):
    """A 204 ends the events (HTML 9.2.3); the body of an error is its page."""
    async with raw_server(b'HTTP/1.1 204 X\r\n\r\n') as peer:
        response = await http.request(url=peer.url, into='events')
        assert [] == [event async for event in response.body]
    async with raw_server(response_bytes(503, b'later')) as peer:
        assert 'later' == (await http.request(url=peer.url, into='events')).body


async def test_reading_events_has_no_default_timeout(raw_server, monkeypatch):
    """Reading events has no timeout unless one is given."""
    monkeypatch.setattr('aioluahttp.transports.encode.READ', 0.01)

    async def handler(line):
        await line.request()
        await line.send(EVENTS[:-1])
        await asyncio.sleep(0.05)
        await line.send(EVENTS[-1:])

    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, into='events')
        async with response.body as events:
            assert 'a' == (await anext(events))['data']
        response = await http.request(url=peer.url, into='events', timeout={'read': 0.02})
        with pytest.raises(http.TimedOut):
            await anext(response.body)
