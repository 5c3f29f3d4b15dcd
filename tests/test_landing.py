"""What becomes of the body of an answer that is not read whole."""

import asyncio

import pytest

import aioluahttp as http
from aioluahttp import landing

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


@pytest.mark.parametrize('size', [landing.PAGE - 1, landing.PAGE, landing.PAGE + 1, 2**20])
async def test_a_page_has_a_bound(raw_server, size):
    """What is behind it is not read."""
    async with raw_server(answer(500, b'x' * size)) as peer:
        with pytest.raises(http.StatusError) as raised:
            await http.request(url=peer.url, into='raw', check=True)
    assert min(size, landing.PAGE) == len(raised.value.response.body)


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
