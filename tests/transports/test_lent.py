"""Requests sent by a session of aiohttp's that another made."""

import asyncio
import gzip
import io
from types import SimpleNamespace

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.transports.lent import CachedBody, LentPayload
from aioluahttp.transports.request_body import BodyDelivery, BodySource

PACKED = gzip.compress(b'hello' * 1000, mtime=0)
CHALLENGE = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


async def site(request):
    """Answer by the path; what is not there is told what was asked."""
    match request.path:
        case '/packed':
            return {'status': 200, 'headers': {'Content-Encoding': 'gzip'}, 'body': PACKED}
        case '/nothing':
            return {'status': 304, 'headers': {'Content-Encoding': 'gzip'}}
        case '/moved':
            return {'status': 302, 'headers': {'Location': '/packed'}}
        case '/away':
            return {'status': 302, 'headers': {'Location': request.headers['x-to']}}
        case '/chat':
            return {'websocket': chat}
        case '/guarded' if 'Authorization' not in request.headers:
            return {'status': 401, 'headers': {'WWW-Authenticate': CHALLENGE}}
        case '/flowing':
            return {'status': 200, 'body': flowing()}
    return {'status': 404, 'headers': request.headers, 'body': request.body or ''}


class Parts:
    """A body that can be begun again."""

    def __init__(self, text):
        self.text = text

    def __iter__(self):
        return iter([self.text])


async def chat(socket):
    """Say again what is said."""
    async for message in socket:
        await socket.send(message)


async def flowing():
    """Give a body in parts, the second once the first was sent."""
    yield 'one '
    await asyncio.sleep(0.01)
    yield 'two'


@pytest.fixture
def lent():
    """Open a server, a session and a client of it: ``async with lent() as (url, client)``."""

    class Opened:
        def __init__(self, *, client=None, **options):
            self.options, self.defaults = options, client or {}

        async def __aenter__(self):
            self.server = await http.listen('127.0.0.1', 0, site)
            self.session = aiohttp.ClientSession(**self.options)
            self.client = http.Client(session=self.session, **self.defaults)
            return self.server.url, self.client

        async def __aexit__(self, *raised):
            await self.client.close()
            assert not self.session.closed
            await self.session.close()
            await self.server.close()

    return Opened


@pytest.mark.parametrize('undone', [True, False])
async def test_a_coding_is_undone_by_whom_the_session_says(lent, undone):
    """Either way the body is what was packed, and the headers say nothing of a coding."""
    async with lent(auto_decompress=undone) as (url, client):
        response = await client.request(url=f'{url}/packed')
        streamed = await client.request(url=f'{url}/packed', into='stream')
        read = b''.join([chunk async for chunk in streamed.body])
        for one in (response, streamed):
            assert {'Content-Encoding', 'Content-Length'}.isdisjoint(one.headers)
        assert 'hello' * 1000 == response.body == read.decode()
        with pytest.raises(http.BodyTooLarge):
            await client.request(url=f'{url}/packed', max_body=4999)
        assert 304 == (await client.request(url=f'{url}/nothing')).status


async def test_raw_is_refused_where_the_session_undoes_codings(lent):
    """What is no more as it came cannot be given as it came."""
    async with lent() as (url, client):
        with pytest.raises(http.TableError, match='auto_decompress False'):
            await client.request(url=url, into='raw')
    async with lent(auto_decompress=False) as (url, client):
        response = await client.request(url=f'{url}/packed', into='raw')
        assert PACKED == b''.join([chunk async for chunk in response.body])


async def test_headers_of_the_session_stand_below_those_of_client_and_table(lent):
    """They go out, those that are set later, too, but for what the client or the table has."""
    headers = {'User-Agent': 'mine', 'A': 'session', 'B': 'session', 'Authorization': 'session'}
    async with (opened := lent(headers=headers, client={'headers': {'A': 'client'}})) as (url, c):
        opened.session.headers['C'] = 'later'
        sent = (await c.request(url=url, headers={'B': 'table'}, bearer='t')).headers
    assert ['mine', 'client', 'table', 'later', 'Bearer t'] == [
        sent[name] for name in ('User-Agent', 'A', 'B', 'C', 'Authorization')
    ]


async def test_a_secret_of_the_session_is_not_sent_to_another_origin(lent):
    """aiohttp would add it to each request, so a redirect to elsewhere is not followed."""
    async with (
        lent(headers={'Authorization': 'secret', 'X': 'y'}) as (url, client),
        http.listen('localhost', 0, site) as other,
    ):
        assert 200 == (await client.request(url=f'{url}/moved')).status
        with pytest.raises(http.TableError, match='would send it to http://localhost') as raised:
            await client.request(url=f'{url}/away', headers={'X-To': other.url})
        assert 0 == other.stats['requests']
    assert 'secret' not in str(raised.value)


async def test_a_status_is_no_error_and_redirects_are_ours(lent):
    """Whatever ``raise_for_status`` says; the history has what was followed."""
    async with lent(raise_for_status=True) as (url, client):
        assert 404 == (await client.request(url=url)).status
        response = await client.request(url=f'{url}/moved')
    assert [302] == [one.status for one in response.history]


async def test_a_body_flows_over_the_session(lent):
    """It is read as it comes, and tells its peer while its connection is there."""
    async with lent() as (url, client):
        response = await client.request(url=f'{url}/flowing', into='stream')
        assert '127.0.0.1' == response.ip
        assert b'one two' == b''.join([chunk async for chunk in response.body])
        async with (await client.request(url=f'{url}/flowing', into='stream')).body as body:
            assert b'one ' == await anext(body)


async def test_what_a_middleware_has_read_is_there(lent):
    """A middleware of aiohttp's may read a body before we do."""

    async def reads(request, handler):
        response = await handler(request)
        await response.read()
        return response

    async with lent(middlewares=(reads,)) as (url, client):
        assert 'one two' == (await client.request(url=f'{url}/flowing')).body
        assert 'hello' * 1000 == (await client.request(url=f'{url}/packed')).body


@pytest.mark.parametrize('into', ['text', 'stream'])
@pytest.mark.parametrize('kind', ['text', 'file', 'path', 'parts'])
async def test_a_middleware_may_send_a_body_again(lent, tmp_path, kind, into):
    """aiohttp's digest authentication sends a request twice, with the whole body each time."""
    text = 'x' * 2**21 if kind == 'text' else 'some text'
    (path := tmp_path / 'file').write_text(text)
    bodies = {'text': text, 'file': io.BytesIO(text.encode()), 'path': path, 'parts': Parts(text)}
    table = {'method': 'POST', 'body': bodies[kind], 'into': into}
    async with lent(middlewares=(aiohttp.DigestAuthMiddleware('me', 'pw'),)) as (url, client):
        response = await client.request(table, url=f'{url}/guarded')
        got = response.bytes() if into == 'text' else b''.join([one async for one in response.body])
    assert text == got.decode()


async def test_a_body_that_can_be_sent_but_once_is_sent_once(lent):
    """It is no empty body the second time, but an error."""

    def once():
        yield b'text'

    async with lent(middlewares=(aiohttp.DigestAuthMiddleware('me', 'pw'),)) as (url, client):
        assert 'text' == (await client.request(url=url, method='POST', body=once())).body
        with pytest.raises(http.ProtocolError, match='can be sent but once'):
            await client.request(url=f'{url}/guarded', method='POST', body=once())


@pytest.mark.parametrize('mistake', [OSError('disk'), ValueError('text')])
async def test_what_drawing_a_body_raises_is_raised(lent, mistake):
    """aiohttp does not send it again after an OSError of ours, as it would after one of its own."""
    begun = []

    class Broken:
        def __iter__(self):
            begun.append(self)
            yield b'x'
            raise mistake

    async with lent() as (url, client):
        with pytest.raises(type(mistake)) as raised:
            await client.request(url=url, method='PUT', body=Broken())
    assert raised.value is mistake
    assert 1 == len(begun)


async def test_a_peer_that_hangs_up_ends_what_is_sent(raw_server):
    """The connection ends midway, in the body: a ProtocolError."""

    async def hangs_up(line):
        await line.reader.readuntil(b'\r\n\r\n')
        line.reset()

    async with (
        raw_server(hangs_up) as peer,
        aiohttp.ClientSession() as session,
        http.Client(session=session) as client,
    ):
        with pytest.raises(http.ProtocolError):
            await client.request(url=peer.url, method='POST', body=Parts('x' * 2**24))


async def test_a_peer_that_reads_no_more_is_an_oserror_for_aiohttp():
    """What is written to nobody is aiohttp's affair, as with a body of its own."""

    class Gone:
        async def write(self, data):
            raise ConnectionResetError

    delivery = BodyDelivery(BodySource([b'x']), 1, bytes)
    loan = LentPayload(delivery)
    assert (1, True) == (loan.size, loan.autoclose)
    with pytest.raises(TypeError):
        loan.decode()
    with pytest.raises(OSError, match='reads no more'):
        await loan.write(Gone())


@pytest.mark.parametrize(
    ('mistake', 'ours'),
    [(KeyError('no route'), http.ConnectError), (TimeoutError(), http.TimedOut)],
)
async def test_what_a_connector_raises_is_no_connection(mistake, ours):
    """Whatever it is, for nothing was sent; but a timeout is one."""

    class Odd(aiohttp.TCPConnector):
        async def _create_connection(self, *arguments):
            raise mistake

    async with (
        aiohttp.ClientSession(connector=Odd()) as session,
        http.Client(session=session) as client,
    ):
        with pytest.raises(ours) as raised:
            await client.request(url='http://127.0.0.1:1')
    assert raised.value.__cause__ is not None


async def test_what_a_middleware_raises_is_raised(lent):
    """It is no fault of a connection."""

    async def refuses(request, handler):
        raise LookupError('no such tenant')

    async with lent(middlewares=(refuses,)) as (url, client):
        with pytest.raises(LookupError):
            await client.request(url=url)


async def test_a_websocket_goes_over_the_connector_of_the_session(lent):
    """Its middlewares are not asked; the session and its connector stay open."""
    async with lent(headers={'X': 'y'}) as (url, client):
        async with client.websocket(url=f'{url}/chat') as socket:
            await socket.send('hello')
            assert 'hello' == await anext(socket)
        assert 404 == (await client.request(url=url)).status


async def test_a_websocket_outlives_a_connection_that_the_session_has_used(raw_server):
    """The peer may close that as the handshake is sent; it is sent again on a new one."""

    async def answers_once(line):
        await line.request()
        await line.send(b'HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n')
        await line.request()

    async with (
        raw_server(answers_once) as peer,
        aiohttp.ClientSession() as session,
        http.Client(session=session) as client,
    ):
        await client.request(url=peer.url)
        with pytest.raises(http.ProtocolError, match='418'):
            async with client.websocket(url=peer.url):
                pass
    assert (3, 2) == (len(peer.asked), peer.connections)


async def test_cookies_are_the_sessions(lent):
    """What it keeps goes along."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with lent(cookies={'a': 'b'}, cookie_jar=jar) as (url, client):
        assert 'a=b' == (await client.request(url=url)).headers['cookie']


async def test_a_unix_socket_is_for_the_sessions_connector_to_say(lent):
    """A path in the table would count for nothing."""
    async with lent() as (_, client):
        with pytest.raises(http.TableError, match='UnixConnector'):
            await client.request(url='http://h', unix='/tmp/no')


async def test_a_closed_session_and_a_closed_client_send_nothing(lent):
    """Each is a ConnectError that says which it was."""
    async with (opened := lent()) as (url, client):
        await client.request(url=url)
        await client.close()
        with pytest.raises(http.ConnectError, match='client is closed'):
            await client.request(url=url)
    other = http.Client(session=opened.session)
    with pytest.raises(http.ConnectError, match='session is closed'):
        await other.request(url=url)


async def test_closing_the_client_ends_a_stream(lent):
    """What flows ends with the client, though the session goes on."""
    async with lent() as (url, client):
        response = await client.request(url=f'{url}/flowing', into='stream')
        await client.close()
        with pytest.raises(http.ProtocolError):
            _ = [chunk async for chunk in response.body]


async def test_a_whole_body_is_given_once():
    """There is nothing to give back."""
    whole = CachedBody(b'text', SimpleNamespace(), None)
    assert [b'text', b''] == [await whole.read(None), await whole.read(None)]
    whole.finish()
    whole.release()
    await whole.stop()
