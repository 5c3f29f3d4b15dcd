"""The short way of a request: the same bytes on the same connections, or not at all."""

import asyncio

import aiohttp
import pytest
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

import aioluahttp as http
from aioluahttp.transports import direct
from aioluahttp.transports import session as session_module
from aioluahttp.transports.session import Answer, Sending, once

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
TIMEOUT = aiohttp.ClientTimeout(total=None)


def session(**options):
    """Make a session as a client does."""
    return aiohttp.ClientSession(
        **{'cookie_jar': aiohttp.DummyCookieJar(), **options},
        request_class=Sending,
        response_class=Answer,
        middlewares=(once,),
        auto_decompress=False,
        skip_auto_headers=('Content-Type',),
    )


# What aiohttp must go on to do


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (aiohttp.BaseConnector.connect, ['self', 'req', 'traces', 'timeout']),
        (ResponseHandler.start_timeout, ['self']),
        (ResponseHandler.read, ['self']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


def test_aiohttp_knows_a_connection_by_the_same_things():
    """If this fails, the pool keeps apart, or takes for one, what it did not before."""
    fields = ('host', 'port', 'is_ssl', 'ssl', 'proxy', 'proxy_auth')
    assert (*fields, 'proxy_headers_hash', 'server_hostname') == ConnectionKey._fields


@pytest.mark.parametrize('tls', [True, False, 'context'])
@pytest.mark.parametrize('name', [None, 'other'])
@pytest.mark.parametrize('url', ['http://h/', 'https://h:81/a?b', 'https://[::1]/', 'http://ü/'])
async def test_both_ways_use_the_same_connections(certificates, url, tls, name):
    """The pool knows them by the same key."""
    url, tls = yarl.URL(url), certificates.server if tls == 'context' else tls
    loop = asyncio.get_running_loop()
    theirs = aiohttp.ClientRequest('GET', url, loop=loop, ssl=tls, server_hostname=name)
    ours = direct.Origin(url, tls, name)
    assert theirs.connection_key == ours.connection_key
    found = [(one.host, one.port, one.is_ssl(), one.ssl) for one in (theirs, ours)]
    assert found[0] == found[1]


# The two ways to send


@pytest.mark.parametrize(
    ('method', 'data'),
    [
        *((method, None) for method in ('GET', 'HEAD', 'OPTIONS', 'TRACE')),
        *((method, b'a\0b') for method in ('GET', 'POST', 'PUT', 'DELETE', 'PURGE')),
        ('POST', b''),
    ],
)
async def test_both_ways_put_the_same_bytes_on_the_same_connection(raw_server, method, data):
    """If this fails, aiohttp sends a request, or knows a connection, in another way than before."""
    headers = [('Host', 'host:81'), ('Accept', '*/*'), ('Accept-Encoding', 'x'), ('A', 'b')]
    headers += [('User-Agent', 'é'), ('A', 'c')]
    arguments = {'headers': headers, 'timeout': TIMEOUT} | ({} if data is None else {'data': data})
    found = []
    async with raw_server(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nB: c\r\n\r\n') as peer:
        url = yarl.URL(peer.url + '/%41?a=%2C', encoded=True)
        async with session() as one:
            for way in (session_module, direct, session_module):
                given = dict(arguments, headers=http.Headers(headers))
                assert direct.is_open(one, method, given)
                found.append(await way.ask(one, method, url, given, None))
    assert peer.asked[0] == peer.asked[1] == peer.asked[2]
    assert found[0] == found[1] == found[2]
    assert 1 == peer.connections


@pytest.mark.parametrize(
    ('method', 'arguments'),
    [
        ('POST', {}),  # aiohttp knows which of these have a length of 0
        ('DELETE', {}),
        ('GET', {'proxy': 'http://h/'}),
        ('POST', {'data': b'x' * 20_000}),
        ('POST', {'data': object()}),
    ],
)
async def test_what_is_not_short_and_plain_goes_the_long_way(method, arguments):
    """So does what somebody else has a part in."""
    async with session() as one:
        assert direct.is_open(one, 'GET', {})
        assert not direct.is_open(one, method, arguments)


async def test_a_session_with_cookies_goes_the_long_way():
    """aiohttp sees to them."""
    async with session(cookie_jar=aiohttp.CookieJar()) as one:
        assert not direct.is_open(one, 'GET', {})


async def test_who_traces_aiohttp_sees_all_of_it(raw_server, monkeypatch):
    """A session with traces sends as aiohttp does; so do those that tools instrument."""
    seen = []
    trace = aiohttp.TraceConfig()

    async def note(session, context, params):
        seen.append(type(params).__name__)

    for signal in (trace.on_request_start, trace.on_request_headers_sent, trace.on_request_end):
        signal.append(note)
    made = aiohttp.ClientSession.__init__

    def instrumented(self, *arguments, **options):
        made(self, *arguments, **{**options, 'trace_configs': [trace]})

    monkeypatch.setattr(aiohttp.ClientSession, '__init__', instrumented)
    async with raw_server(OK) as peer, http.Client(cookies=False) as client:
        assert 'hi' == (await client.request(url=peer.url)).body
    expected = ['TraceRequestStartParams', 'TraceRequestHeadersSentParams', 'TraceRequestEndParams']
    assert expected == seen


async def test_who_takes_the_place_of_aiohttp_gets_the_request(raw_server, monkeypatch):
    """As recorders, tracers and test doubles do, with the name that they have to use for it."""
    seen = []
    theirs = aiohttp.ClientSession._request

    async def recorded(self, method, url, **options):
        seen.append((method, str(url)))
        return await theirs(self, method, url, **options)

    async with raw_server(OK) as peer, http.Client(cookies=False) as client:
        await client.request(url=peer.url)
        assert [] == seen
        monkeypatch.setattr(aiohttp.ClientSession, '_request', recorded)
        assert 'hi' == (await client.request(url=peer.url)).body
    assert [('GET', peer.url + '/')] == seen


async def test_a_connection_that_does_not_come_about_in_time_is_told_as_aiohttp_tells_it(
    raw_server, both_routes
):
    """Here because the pool is used up."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def handler(line):
        await line.request()
        asked.set()
        await go_on.wait()
        await line.send(OK)

    async with raw_server(handler) as peer, http.Client(cookies=False, limit=1) as client:
        first = asyncio.create_task(client.request(url=peer.url))
        await asked.wait()
        with pytest.raises(http.TimedOut, match=f'Connection timeout to host {peer.url}/$'):
            await client.request(url=peer.url, timeout={'connect': 0.01})
        go_on.set()
        assert 'hi' == (await first).body
