"""Requests that are sent by an ``aiohttp.ClientSession`` of the user."""

import asyncio
import gzip
import io
from types import SimpleNamespace

import aiohttp
import pytest

import aioluahttp as http
from aioluahttp.transports.failures import BodyFailed
from aioluahttp.transports.request_body import BodyDelivery, BodySource
from aioluahttp.transports.session import CachedBody, SessionPayload

PACKED = gzip.compress(b'hello' * 1000, mtime=0)
CHALLENGE = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


async def site(request):
    """Respond by the path; echo the request with a 404 for other paths."""
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
    """A body that can be read again."""

    def __init__(self, text):
        self.text = text

    def __iter__(self):
        return iter([self.text])


async def chat(socket):
    """Echo each message."""
    async for message in socket:
        await socket.send(message)


async def flowing():
    """Yield a body in two parts, the second a moment after the first."""
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
async def test_a_body_is_decoded_by_the_session_or_by_us(lent, undone):
    """The body is decoded, and no header names a coding, whoever decodes it."""
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


async def test_raw_is_refused_if_the_session_decodes(lent):
    """A body that aiohttp decodes cannot be returned as it was sent."""
    async with lent() as (url, client):
        with pytest.raises(http.TableError, match='auto_decompress=False'):
            await client.request(url=url, into='raw')
    async with lent(auto_decompress=False) as (url, client):
        response = await client.request(url=f'{url}/packed', into='raw')
        assert PACKED == b''.join([chunk async for chunk in response.body])


async def test_headers_of_client_and_table_override_those_of_the_session(lent):
    """Headers of the client and the table override them, even those that are set later."""
    headers = {'User-Agent': 'mine', 'A': 'session', 'B': 'session', 'Authorization': 'session'}
    async with (opened := lent(headers=headers, client={'headers': {'A': 'client'}})) as (url, c):
        opened.session.headers['C'] = 'later'
        sent = (await c.request(url=url, headers={'B': 'table'}, bearer='t')).headers
    assert ['mine', 'client', 'table', 'later', 'Bearer t'] == [
        sent[name] for name in ('User-Agent', 'A', 'B', 'C', 'Authorization')
    ]


async def test_a_secret_of_the_session_is_not_sent_to_another_origin(lent):
    """aiohttp would add it to each request, so such a redirect is not followed."""
    async with (
        lent(headers={'Authorization': 'secret', 'X': 'y'}) as (url, client),
        http.listen('localhost', 0, site) as other,
    ):
        assert 200 == (await client.request(url=f'{url}/moved')).status
        with pytest.raises(http.TableError, match='would send it to http://localhost') as raised:
            await client.request(url=f'{url}/away', headers={'X-To': other.url})
        assert 0 == other.stats['requests']
    assert 'secret' not in str(raised.value)


async def test_a_status_is_no_error_and_redirects_are_followed_by_us(lent):
    """``raise_for_status`` has no effect; the history has the redirect."""
    async with lent(raise_for_status=True) as (url, client):
        assert 404 == (await client.request(url=url)).status
        response = await client.request(url=f'{url}/moved')
    assert [302] == [one.status for one in response.history]


async def test_a_body_that_a_middleware_has_read_is_complete(lent):
    """A middleware of aiohttp may read a body before we do."""

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


async def test_a_body_that_can_be_sent_only_once_is_sent_once(lent):
    """Sending it again is an error, and sends no empty body."""

    def once():
        yield b'text'

    async with lent(middlewares=(aiohttp.DigestAuthMiddleware('me', 'pw'),)) as (url, client):
        assert 'text' == (await client.request(url=url, method='POST', body=once())).body
        with pytest.raises(http.ProtocolError, match='can be sent only once'):
            await client.request(url=f'{url}/guarded', method='POST', body=once())


async def test_a_peer_that_closes_ends_the_request_body(raw_server):
    """A connection that ends in the middle of the body is a ProtocolError."""

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


async def test_a_peer_that_stops_reading_is_an_oserror_for_aiohttp():
    """aiohttp handles it as with a body of its own."""

    class Gone:
        async def write(self, data):
            raise ConnectionResetError('gone')

    delivery = BodyDelivery(BodySource([b'x', b'y']), 1, bytes)
    payload = SessionPayload(delivery)
    assert (1, True) == (payload.size, payload.autoclose)
    with pytest.raises(TypeError):
        payload.decode()
    with pytest.raises(OSError, match='gone'):
        await payload.write(Gone())


async def test_a_peer_that_takes_nothing_in_time_fails_the_body():
    """aiohttp gets a BodyFailed; the request raises the TimedOut."""

    class Stuck:
        async def write(self, data):
            raise TimeoutError

    payload = SessionPayload(BodyDelivery(BodySource([b'x', b'y']), None, bytes, seconds=1))
    with pytest.raises(BodyFailed, match=r'within 1 s \(timeout\[write\]\)'):
        await payload.write(Stuck())
    assert isinstance(payload.failure, http.TimedOut)


@pytest.mark.parametrize(
    ('mistake', 'ours'),
    [(KeyError('no route'), http.ConnectError), (TimeoutError(), http.TimedOut)],
)
async def test_an_exception_of_a_connector_is_a_connect_error(mistake, ours):
    """Any exception of a connector is a ConnectError, but a timeout a TimedOut."""

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


async def test_a_failure_after_aiohttp_has_sent_a_request_again_is_no_connect_error():
    """The peer may have acted on the first attempt."""

    async def serve(reader, writer):
        await reader.readuntil(b'\r\n\r\n')
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        await reader.readuntil(b'\r\n\r\n')
        listening.close()
        writer.close()

    listening = await asyncio.start_server(serve, '127.0.0.1', 0)
    url = f'http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/'
    async with aiohttp.ClientSession() as session, http.Client(session=session) as client:
        await client.request(url=url)
        with pytest.raises(http.ProtocolError, match='after a request had been sent'):
            await client.request(url=url)
        with pytest.raises(http.ConnectError):
            await client.request(url=url)


@pytest.mark.parametrize('method', ['GET', 'POST'])
@pytest.mark.parametrize('body', [None, 'x', 'x' * 2**21, ('x', 'y')], ids=type)
async def test_a_peer_that_was_reached_is_no_connect_error(raw_server, method, body):
    """Whether or not it read anything."""

    async def hangs_up(line):
        line.reset()

    async with (
        raw_server(hangs_up) as peer,
        aiohttp.ClientSession() as session,
        http.Client(session=session) as client,
    ):
        with pytest.raises(http.ProtocolError):
            await client.request(url=peer.url, method=method, body=body)


async def test_a_middleware_that_sends_again_gets_the_same_exception_of_the_body(lent):
    """The body is not begun again."""
    begun, mistake = [], ValueError('mine')

    async def insists(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientError:
            return await handler(request)

    class Broken:
        def __iter__(self):
            begun.append(self)
            raise mistake

    async with lent(middlewares=(insists,)) as (url, client):
        with pytest.raises(ValueError, match='mine') as caught:
            await client.request(url=url, method='POST', body=Broken())
    assert (mistake, 1) == (caught.value, len(begun))


def test_a_body_that_ends_with_a_lost_connection_is_incomplete():
    """One that ends with its connection; a Content-Length says where another one ends."""
    lost = SimpleNamespace(protocol=SimpleNamespace(exception=lambda: OSError('reset')), tls=None)
    CachedBody(b'text', http.Headers({'Content-Length': '4'}), lost, None).finish()
    with pytest.raises(OSError, match='reset'):
        CachedBody(b'text', http.Headers(), lost, None).finish()


async def test_a_body_that_has_failed_breaks_a_response_that_comes_later():
    """Reading the response raises the failure."""
    payload = SessionPayload(BodyDelivery(BodySource(iter([5])), 1, bytes.decode))
    with pytest.raises(BodyFailed) as caught:
        await payload.write(None)
    source = CachedBody(b'text', http.Headers(), None, None)
    payload.bind(source)
    with pytest.raises(BodyFailed) as again:
        await source.read(None)
    assert again.value is caught.value is payload.failure


@pytest.mark.parametrize('error', [ValueError('mine'), ConnectionResetError('mine')])
@pytest.mark.parametrize('into', ['text', 'stream'])
async def test_an_exception_of_the_body_ends_the_response(raw_server, lent, into, error):
    """Though its head has arrived, and its body would look complete at the end."""
    began = asyncio.Event()

    async def sent():
        yield b'a'
        await began.wait()
        raise error

    async def handler(line):
        await line.reader.readuntil(b'a\r\n')
        await line.send(b'HTTP/1.1 200 OK\r\n\r\nbegins')
        if into == 'text':
            began.set()
        await line.reader.read()

    async def read(asking):
        response = await asking
        began.set()
        await response.body.read()

    async with raw_server(handler) as peer, lent() as (_, client):
        with pytest.raises(type(error)) as caught:
            await read(client.request(url=peer.url, body=sent(), into=into))
    assert error is caught.value


async def test_an_exception_of_a_middleware_is_raised(lent):
    """It is not translated into an error of a connection."""

    async def refuses(request, handler):
        raise LookupError('no such tenant')

    async with lent(middlewares=(refuses,)) as (url, client):
        with pytest.raises(LookupError):
            await client.request(url=url)


async def test_a_websocket_uses_the_connector_of_the_session(lent):
    """Without the middlewares of the session; session and connector stay open."""
    async with lent(headers={'X': 'y'}) as (url, client):
        async with client.websocket(url=f'{url}/chat') as socket:
            await socket.send('hello')
            assert 'hello' == await anext(socket)
        assert 404 == (await client.request(url=url)).status


async def test_a_websocket_handshake_on_a_lost_reused_connection_is_retried(raw_server):
    """The handshake is sent again if the peer closes a reused connection."""

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
    assert (3, 2) == (len(peer.requests), peer.connections)


async def test_cookies_are_those_of_the_session(lent):
    """The cookie jar of the session is used."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with lent(cookies={'a': 'b'}, cookie_jar=jar) as (url, client):
        assert 'a=b' == (await client.request(url=url)).headers['cookie']


async def test_a_unix_socket_in_the_table_is_refused(lent):
    """A path in the table would have no effect, so it is refused."""
    async with lent() as (_, client):
        with pytest.raises(http.TableError, match='UnixConnector'):
            await client.request(url='http://h', unix='/tmp/no')


async def test_a_closed_session_and_a_closed_client_send_nothing(lent):
    """Each is a ConnectError that says which one is closed."""
    async with (opened := lent()) as (url, client):
        await client.request(url=url)
        await client.close()
        with pytest.raises(http.ConnectError, match='client is closed'):
            await client.request(url=url)
    other = http.Client(session=opened.session)
    with pytest.raises(http.ConnectError, match='session is closed'):
        await other.request(url=url)


async def test_a_cached_body_is_read_once():
    """``release`` and ``finish`` do nothing."""
    whole = CachedBody(b'text', http.Headers(), None, None)
    assert [b'text', b''] == [await whole.read(None), await whole.read(None)]
    whole.finish()
    whole.release()
    await whole.stop()
