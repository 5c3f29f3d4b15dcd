"""What becomes of the body of an answer that is not read whole."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp.transports import into

pytestmark = pytest.mark.usefixtures('both_routes')


def answer(status, body, *fields):
    """Make the bytes of a response."""
    lines = [f'HTTP/1.1 {status} X', *fields, f'Content-Length: {len(body)}', '\r\n']
    return '\r\n'.join(lines).encode() + body


async def test_a_status_that_check_refuses_carries_its_page(raw_server):
    """As text, for that is what one wants to see of an error; the connection goes back."""
    async with raw_server(answer(404, b'gone')) as peer:
        for _ in range(2):
            with pytest.raises(http.StatusError) as raised:
                await http.request(url=peer.url, into='stream', check=True)
            assert 'gone' == raised.value.response.body
    assert 1 == peer.connections


async def test_a_status_that_check_lets_pass_has_its_stream(raw_server):
    """An error page, too."""
    async with raw_server(answer(404, b'gone')) as peer:
        for check in (False, [404]):
            response = await http.request(url=peer.url, into='stream', check=check)
            assert (404, b'gone') == (response.status, await response.body.read())


@pytest.mark.parametrize('size', [into.PAGE - 1, into.PAGE, into.PAGE + 1, 2**20])
async def test_a_page_has_a_bound(raw_server, size):
    """What is behind it is not read."""
    async with raw_server(answer(500, b'x' * size)) as peer:
        with pytest.raises(http.StatusError) as raised:
            await http.request(url=peer.url, into='raw', check=True)
    assert min(size, into.PAGE) == len(raised.value.response.body)


async def test_a_page_that_is_cut_off_is_what_came(raw_server):
    """The status tells more than how its page ends."""

    async def handler(line):
        await line.request()
        await line.send(b'HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nhalf')

    async with raw_server(handler) as peer:
        with pytest.raises(http.StatusError) as raised:
            await http.request(url=peer.url, into='stream', check=True)
    assert 'half' == raised.value.response.body


async def test_a_redirect_that_is_followed_is_read_away(raw_server):
    """Its table in the history holds text, and nothing open."""

    async def handler(line):
        while True:
            if (await line.request()).line.startswith('GET /a'):
                await line.send(answer(200, b'there'))
            else:
                await line.send(answer(302, b'elsewhere', 'Location: /a'))

    async with raw_server(handler) as peer:
        response = await http.request(url=peer.url, into='stream')
        assert b'there' == await response.body.read()
        assert ['elsewhere'] == [one.body for one in response.history]
        last = await http.request(url=peer.url, into='stream', redirects=0)
        assert b'elsewhere' == await last.body.read()
    assert 1 == peer.connections


async def test_a_page_that_does_not_end_is_within_the_total(raw_server):
    """The timeout is that of the answer; the connection is closed."""
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


async def test_a_whole_body_that_is_watched_is_whole(raw_server):
    """Within ``max_body``, as one that is not."""
    async with raw_server(answer(200, b'[1]')) as peer:
        table = {'url': peer.url, 'on_progress': lambda done, total: None}
        assert [1] == (await http.request({**table, 'into': 'json'})).body
        with pytest.raises(http.BodyTooLarge):
            await http.request({**table, 'max_body': 2})


@pytest.mark.parametrize('watched', [{}, {'on_progress': lambda done, total: None}], ids=str)
async def test_what_is_no_json_is_told(raw_server, watched):
    """But for a page, which is text then."""
    async with raw_server(answer(200, b'no')) as peer:
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: the body is no JSON'):
            await http.request(url=peer.url, into='json', **watched)
    async with raw_server(answer(404, b'no')) as peer:
        assert 'no' == (await http.request(url=peer.url, into='json', **watched)).body


@pytest.mark.parametrize('watched', [{}, {'on_progress': lambda done, total: None}], ids=str)
async def test_a_whole_body_that_is_cut_off_is_told_once(raw_server, watched):
    """With the request in front."""

    async def handler(line):
        await line.request()
        await line.send(answer(200, b'whole')[:-1])

    async with raw_server(handler) as peer:
        with pytest.raises(http.ProtocolError) as raised:
            await http.request(url=peer.url, **watched)
    assert 1 == str(raised.value).count(peer.url)


EVENTS = answer(200, b'data: a\n\n', 'Content-Type: Text/Event-Stream; charset=utf-8')


async def test_events_are_asked_for_and_given(raw_server):
    """Accept is the table's own, where it has one."""
    async with raw_server(EVENTS) as peer:
        for headers, accept in (({}, 'text/event-stream'), ({'accept': 'a/b'}, 'a/b')):
            response = await http.request(url=peer.url, into='events', headers=headers)
            assert ['a'] == [event['data'] async for event in response.body]
            assert [accept] == peer.asked[-1].values('Accept')
    assert 1 == peer.connections


@pytest.mark.parametrize('kind', [('Content-Type: text/html',), ()])
async def test_what_is_no_stream_of_events_is_told(raw_server, kind):
    """Else one would wait for events that never come; the connection is closed."""
    async with raw_server(answer(200, b'data: a\n\n', *kind)) as peer:
        with pytest.raises(http.ProtocolError, match=f'^GET {peer.url}/: Content-Type is '):
            await http.request(url=peer.url, into='events')


async def test_no_content_is_no_event(raw_server):
    """By 204 a server says that there are to be no more (HTML, 9.2.3); by an error its page."""
    async with raw_server(b'HTTP/1.1 204 X\r\n\r\n') as peer:
        response = await http.request(url=peer.url, into='events')
        assert [] == [event async for event in response.body]
    async with raw_server(answer(503, b'later')) as peer:
        assert 'later' == (await http.request(url=peer.url, into='events')).body


async def test_events_may_be_as_rare_as_they_like(raw_server, monkeypatch):
    """There is no deadline for one, but where it is given."""
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
