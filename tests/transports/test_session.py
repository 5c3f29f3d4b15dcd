"""One try of a request over one connection, and what counts as its answer."""

import asyncio
import contextlib
import ssl

import pytest

import aioluahttp as http

pytestmark = pytest.mark.usefixtures('both_routes')

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
INTERIM = b'HTTP/1.1 103 Early\r\nLink: x\r\n\r\n'
LONG = bytes(range(256)) * 8192  # 2 MiB: more than is read in one go


def answer(body, *fields, length=True):
    """Make the bytes of a response."""
    lines = ['HTTP/1.1 200 OK', *fields, *([f'Content-Length: {len(body)}'] if length else [])]
    return '\r\n'.join((*lines, '\r\n')).encode() + body


# What may be sent on


async def test_a_connection_on_which_the_peer_spoke_is_left_out(raw_server):
    """However many there are; nothing is sent on them, and what is not idempotent is sent once."""
    everyone, lines = asyncio.Barrier(20), []

    async def handler(line):
        lines.append(line)
        while True:
            asked = await line.request()
            if asked.line.startswith('GET /together'):
                await everyone.wait()
            await line.send(OK)

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        await asyncio.gather(*(client.request(url='/together') for _ in range(20)))
        for line in lines:
            await line.send(b'HTTP/1.1 408 Bye\r\nContent-Length: 0\r\n\r\n')
        for _ in range(5):  # turns of the loop, in which the client reads it
            await asyncio.sleep(0)
        assert 'hi' == (await client.request(method='POST')).body
    assert (21, 21) == (peer.connections, len(peer.asked))


async def test_a_peer_that_speaks_first_is_refused(certificates):
    """Here its words come with the end of the handshake. It is asked nothing, and no more."""

    class Talker(asyncio.Protocol):
        def connection_made(self, transport):
            talkers.append(transport)
            transport.write(OK)

        def data_received(self, data):
            asked.append(data)

    talkers, asked = [], []
    certificates.tls12.maximum_version = ssl.TLSVersion.TLSv1_2
    server = await asyncio.get_running_loop().create_server(
        Talker, '127.0.0.1', 0, ssl=certificates.tls12
    )
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(http.ProtocolError) as caught:
            await http.request(url=f'https://127.0.0.1:{port}/', tls={'ca': certificates.ca})
        for talker in talkers:
            talker.abort()
    assert (1, []) == (len(talkers), asked)
    expected = f'GET https://127.0.0.1:{port}/: the peer speaks, or hangs up, before it is asked'
    assert expected == str(caught.value)


@pytest.mark.parametrize(('method', 'asked'), [('GET', 3), ('POST', 2)])
async def test_a_reused_connection_that_is_lost_is_told_from_a_new_one(raw_server, method, asked):
    """Only there another try may follow, and only where the method is idempotent."""

    async def handler(line):
        await line.request()
        if len(peer.asked) == 1:
            await line.send(OK)
            await line.request()

    async with raw_server(handler) as peer, http.Client(base_url=peer.url) as client:
        await client.request()
        with pytest.raises(http.ProtocolError) as caught:
            await client.request(method=method)
        assert ('a reused one' in str(caught.value)) == (method == 'POST')
        with pytest.raises(http.ConnectError):
            await client.request(port=1)
    assert (asked, 2 - (method == 'POST')) == (len(peer.asked), peer.connections)


# What comes before the answer


@pytest.mark.parametrize(('count', 'passes'), [(0, True), (1000, True), (1001, False)])
@pytest.mark.parametrize('more', [b'', OK], ids=['', 'and one more'])
async def test_so_many_interim_answers_are_passed_over_and_no_more(raw_server, count, passes, more):
    """The answer is the one behind them, and not the one behind that."""

    async def handler(line):
        await line.request()
        await line.send(INTERIM * count + answer(b'mine') + more)

    async with raw_server(handler) as peer:
        if passes:
            assert 'mine' == (await http.request(url=peer.url)).body
        else:
            with pytest.raises(http.ProtocolError, match='over 1000 interim answers'):
                await http.request(url=peer.url)
    assert 1 == len(peer.asked)


@pytest.mark.parametrize(
    'status', ['000 X', '099 X', '101 X', '101 X\r\nConnection: upgrade\r\nUpgrade: x']
)
async def test_a_status_below_200_is_no_answer(raw_server, status):
    """Not one below 100, and not a switch of protocols; the connection is closed."""
    raw = f'HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n'.encode()
    async with raw_server(raw) as peer:
        for _ in range(2):
            with pytest.raises(http.ProtocolError, match=f'answered {int(status[:3])}, '):
                await http.request(url=peer.url)
    assert 2 == peer.connections


# What ends a body


@pytest.mark.parametrize(
    ('fields', 'fits'), [({}, True), ({'max_body': 1}, False), ({'into': 'json'}, True)]
)
async def test_a_body_that_is_refused_ends_its_connection(raw_server, fields, fits):
    """Also where all of it has come; a body in good order that is no JSON does not."""
    async with raw_server(OK) as peer, http.Client() as client:
        for _ in range(2):
            with contextlib.suppress(http.BodyTooLarge, http.ProtocolError):
                await client.request(url=peer.url, **fields)
    assert 2 - fits == peer.connections


RESETS = [
    (b'', 'GET', False),
    (b'HTTP/1.1 200 OK\r\n', 'GET', False),
    (answer(b'half', length=False), 'GET', False),
    (answer(b'', length=False), 'GET', False),
    (answer(b'half', 'Transfer-Encoding: gzip', length=False), 'GET', False),
    (answer(b'half', 'Transfer-Encoding: xchunked', length=False), 'GET', False),
    (answer(b'half', 'Transfer-Encoding: chunked, gzip', length=False), 'GET', False),
    (answer(b'half', 'Transfer-Encoding: chunked', length=False), 'GET', False),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', 'GET', False),
    (answer(b'whole'), 'GET', True),
    (answer(b'1\r\nx\r\n0\r\n\r\n', 'Transfer-Encoding: Chunked', length=False), 'GET', True),
    (b'HTTP/1.1 200 OK\r\n\r\n', 'HEAD', True),
    (b'HTTP/1.1 204 OK\r\n\r\n', 'GET', True),
]


@pytest.mark.parametrize(('raw', 'method', 'whole'), RESETS)
async def test_a_reset_ends_no_body(raw_server, raw, method, whole):
    """A body that ends with its connection must not end in a reset; any other may."""

    written, read = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.request()
        await line.send(raw)
        written.set()
        await read.wait()
        line.reset()

    async with raw_server(handler) as peer:
        asking = asyncio.ensure_future(http.request(url=peer.url, method=method))
        await written.wait()
        for _ in range(20):  # turns of the loop: the client reads before the reset drops it all
            await asyncio.sleep(0)
        read.set()
        if whole:
            assert int(raw.split()[1]) == (await asking).status
        else:
            with pytest.raises(http.ProtocolError):
                await asking


async def cut(line):
    """End TLS without saying so, as one does who cuts the line."""
    line.writer.transport.abort()


async def say(line):
    """End TLS in good order."""
    line.writer.close()


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(('end', 'whole'), [(say, True), (cut, False)])
@pytest.mark.parametrize('body', [b'', b'text', LONG], ids=len)
async def test_tls_that_is_cut_off_ends_no_body(
    raw_server, certificates, version, end, whole, body
):
    """A body that ends with its connection is whole only where the peer says that it ends."""

    async def handler(line):
        await line.request()
        await line.send(answer(body, length=False))
        await end(line)

    trust = ssl.create_default_context(cafile=certificates.ca)
    trust.maximum_version = version
    async with raw_server(handler, tls=certificates.server) as peer:
        if whole:
            response = await http.request(url=peer.url, tls=trust, into='bytes')
            assert body == response.body
        else:
            with pytest.raises(http.ProtocolError, match='TLS connection was cut off'):
                await http.request(url=peer.url, tls=trust)


@pytest.mark.parametrize(
    'raw',
    [answer(b'x'), answer(b'1\r\nx\r\n0\r\n\r\n', 'Transfer-Encoding: chunked', length=False)],
)
async def test_a_body_with_an_end_of_its_own_may_be_cut_off_behind_it(
    raw_server, certificates, raw
):
    """What follows it is nothing."""

    async def handler(line):
        await line.request()
        await line.send(raw)
        await cut(line)

    async with raw_server(handler, tls=certificates.server) as peer:
        response = await http.request(url=peer.url, tls={'ca': certificates.ca})
    assert 'x' == response.body


# Bodies that are sent as they come; test_delivery has more of them


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('make', [lambda: iter(['a', 'b']), lambda: 'ab'])
async def test_a_body_flows_both_ways(into, make):
    """The answer is read, and the body is sent, whole or as it comes."""

    async def echo(request):
        return {'status': 200, 'body': request.body}

    async with http.listen('127.0.0.1', 0, echo, into='stream') as server:
        response = await http.request(url=server.url, body=make(), into=into)
        got = await response.body.read() if into == 'stream' else response.bytes()
    assert b'ab' == got


async def test_the_page_of_who_refuses_a_body_need_not_end_well(raw_server):
    """The reset is for the rest of the body, which nobody reads."""

    async def handler(line):
        await line.reader.readuntil(b'\r\n\r\n')
        await line.send(b'HTTP/1.1 413 Too Large\r\n\r\nno')
        line.reset()

    async with raw_server(handler) as peer:
        body = (bytes(65536) for _ in range(1000))
        response = await http.request(url=peer.url, method='POST', body=body)
    assert (413, 'no') == (response.status, response.body)
