"""Servers that misbehave, and callers that cancel: later requests get their own responses."""

import asyncio
import contextlib
import gzip
import itertools
import ssl
from typing import NamedTuple

import pytest

import aioluahttp as http

LONG = bytes(range(256)) * 8192  # 2 MiB: more than a socket takes in one go
SOON = 0.1  # seconds, for a peer that never ends its response


def echo(request, *fields, status='200 OK'):
    """Make a response whose body has the method, the target and the body length of a request."""
    body = f'{request.line.removesuffix(" HTTP/1.1")} {len(request.body)}'.encode()
    lines = [f'HTTP/1.1 {status}', *fields, f'Content-Length: {len(body)}', '\r\n']
    return '\r\n'.join(lines).encode() + body


# Servers that misbehave


async def keep(line):
    """Keep the connection open, and read the next request."""


async def close(line):
    """Close the connection with a FIN."""
    line.writer.close()


async def reset(line):
    """Reset the connection."""
    line.reset()


async def hold(line):
    """Send nothing more, and keep the connection open."""
    await line.reader.read()


def flood(drop):
    """Make a function that sends the same bytes for ever."""

    async def end(line):
        while True:
            await line.send(drop)
            await asyncio.sleep(0)

    return end


class Case(NamedTuple):
    """What a server sends, what it does then, and the outcome in the client."""

    head: str
    body: bytes
    end: object
    outcome: object


LENGTH = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'
CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
TO_THE_END = 'HTTP/1.1 200 OK\r\n\r\n'
GZIP = 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n'
PACKED = gzip.compress(LONG[:50_000], mtime=0)
BOMB = gzip.compress(bytes(1 << 20), mtime=0)
BROKEN, LATE, LARGE = http.ProtocolError, http.TimedOut, http.BodyTooLarge

CASES = {
    'closes at once': Case('', b'', close, BROKEN),
    'resets at once': Case('', b'', reset, BROKEN),
    'never responds': Case('', b'', hold, LATE),
    'closes in the status': Case('HTTP/1.', b'', close, BROKEN),
    'closes in the head': Case('HTTP/1.1 200 OK\r\nContent-Le', b'', close, BROKEN),
    'resets in the head': Case('HTTP/1.1 200 OK\r\n', b'', reset, BROKEN),
    'never ends its head': Case('HTTP/1.1 200 OK\r\n', b'', hold, LATE),
    'closes in the body': Case(LENGTH, b'half', close, BROKEN),
    'resets in the body': Case(LENGTH, b'half', reset, BROKEN),
    'never ends its body': Case(LENGTH, b'half', hold, LATE),
    'closes in a chunk': Case(CHUNKED, b'5\r\nhal', close, BROKEN),
    'closes between chunks': Case(CHUNKED, b'2\r\nha\r\n', close, BROKEN),
    'closes before the last line': Case(CHUNKED, b'2\r\nha\r\n0\r\n', close, BROKEN),
    'resets between chunks': Case(CHUNKED, b'2\r\nha\r\n', reset, BROKEN),
    'resets a body to the end': Case(TO_THE_END, b'half', reset, BROKEN),
    'closes a body to the end': Case(TO_THE_END, b'whole', close, (200, 'whole')),
    'responds in HTTP/0.9': Case('<html>', b'', close, BROKEN),
    'responds in HTTP/2': Case('', b'\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80', keep, BROKEN),
    'responds in TLS': Case('', b'\x15\3\1\0\2\2\x28', keep, BROKEN),
    'responds in SMTP': Case('220 a.example ESMTP\r\n', b'', keep, BROKEN),
    'sends garbage': Case('garbage\r\n\r\n', b'', keep, BROKEN),
    'sends a request': Case('GET / HTTP/1.1\r\n\r\n', b'', keep, BROKEN),
    'sends no status': Case('HTTP/1.1 \r\n\r\n', b'', keep, BROKEN),
    'sends a long status': Case('HTTP/1.1 2000 OK\r\n\r\n', b'', keep, BROKEN),
    'sends a status below 100': Case(
        'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n', b'', keep, BROKEN
    ),
    'sends a status of 0': Case('HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n', b'', keep, BROKEN),
    'switches protocols': Case(
        'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', b'bytes', keep, BROKEN
    ),
    'switches to nothing': Case('HTTP/1.1 101 Go\r\n\r\n', b'', keep, BROKEN),
    'floods with interim responses': Case('', b'', flood(b'HTTP/1.1 103 Wait\r\n\r\n'), BROKEN),
    'floods with header lines': Case('HTTP/1.1 200 OK\r\n', b'', flood(b'X: y\r\n' * 100), BROKEN),
    'floods with one header': Case('HTTP/1.1 200 OK\r\nX: ', b'', flood(b'y' * 1000), BROKEN),
    'floods with a status': Case('HTTP/1.1 200 ', b'', flood(b'y' * 1000), BROKEN),
    'floods with trailers': Case(CHUNKED, b'0\r\n', flood(b'X: y\r\n' * 100), BROKEN),
    'floods with a chunk extension': Case(CHUNKED, b'1;', flood(b'x' * 1000), BROKEN),
    'floods with a chunk length': Case(CHUNKED, b'', flood(b'0' * 1000), BROKEN),
    'floods with a body': Case(TO_THE_END, b'', flood(b'x' * 1000), LARGE),
    'floods with chunks': Case(CHUNKED, b'', flood(b'1\r\nx\r\n' * 100), LARGE),
    'floods with empty gzip': Case(GZIP, b'', flood(gzip.compress(b'', mtime=0) * 100), BROKEN),
    'floods with bombs': Case(GZIP, b'', flood(BOMB), LARGE),
    'drips a head': Case('HTTP/1.1 200 OK\r\nX: ', b'', flood(b'y'), BROKEN),
    'drips interim responses': Case('', b'', flood(b'HTTP/1.1 100 Go\r\n\r\n'), BROKEN),
    'sends more than its length': Case(LENGTH, b'whole and more', keep, (200, 'whole')),
    'sends less than its length': Case(LENGTH, b'half', keep, LATE),
    'has a length below 0': Case(LENGTH.replace('5', '-5'), b'whole', keep, BROKEN),
    'has a length with a sign': Case(LENGTH.replace('5', '+5'), b'whole', keep, BROKEN),
    'has an endless length': Case(LENGTH.replace('5', '5' * 30), b'whole', keep, BROKEN),
    'has a length of words': Case(LENGTH.replace('5', 'five'), b'whole', keep, BROKEN),
    'has two lengths': Case(
        LENGTH.replace('\r\n\r\n', '\r\nContent-Length: 6\r\n\r\n'), b'whole', keep, BROKEN
    ),
    'has a length and chunks': Case(
        CHUNKED.replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n'), b'0\r\n\r\n', keep, BROKEN
    ),
    'has a chunk of no length': Case(CHUNKED, b'zz\r\n', keep, BROKEN),
    'has a chunk below 0': Case(CHUNKED, b'-1\r\nx\r\n', keep, BROKEN),
    'has a chunk too long': Case(CHUNKED, b'2\r\nabc\r\n0\r\n\r\n', keep, BROKEN),
    'has a chunk of more than 64 bits': Case(CHUNKED, b'f' * 17 + b'\r\nx', keep, BROKEN),
    'sends more after its chunks': Case(CHUNKED, b'1\r\na\r\n0\r\n\r\nmore', keep, (200, 'a')),
    'folds a header': Case('HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n', b'x', close, (200, 'x')),
    'has a NUL in a header': Case('HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n', b'', keep, BROKEN),
    'has a space in a name': Case('HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n', b'', keep, BROKEN),
    'sends invalid gzip': Case(GZIP, b'no gzip', close, BROKEN),
    'cuts its gzip off': Case(GZIP, PACKED[:-1], close, BROKEN),
    'has a wrong checksum in its gzip': Case(GZIP, PACKED[:-8] + bytes(8), close, BROKEN),
    'sends more after its gzip': Case(GZIP, PACKED + b'more', close, BROKEN),
    'sends a bomb': Case(GZIP, BOMB, close, LARGE),
    'sends a body with 204': Case('HTTP/1.1 204 No\r\n\r\n', b'body', keep, (204, '')),
    'sends a length with 204': Case(
        'HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n', b'', keep, (204, '')
    ),
    'sends a body with 304': Case('HTTP/1.1 304 No\r\n\r\n', b'body', keep, (304, '')),
    'responds twice': Case(LENGTH, b'whole' + LENGTH.encode() + b'other', keep, (200, 'whole')),
    'redirects for ever': Case(
        'HTTP/1.1 302 Go\r\nLocation: bad\r\nContent-Length: 0\r\n\r\n', b'', keep, (302, '')
    ),
    'redirects to nowhere': Case(
        'HTTP/1.1 302 Go\r\nLocation: http://[::\r\nContent-Length: 0\r\n\r\n', b'', keep, (302, '')
    ),
}


def misbehaving(case):
    """Make the handler of a server that misbehaves only for ``/bad``."""

    async def handler(line):
        while True:
            request = await line.request()
            if request.line.split()[1] != '/bad':
                await line.send(echo(request))
                continue
            await line.send(case.head.encode() + case.body)
            await case.end(line)

    return handler


async def outcome_of(request):
    """Return status and body of a response, or the type of its error."""
    try:
        response = await request
    except http.Error as error:
        return type(error)
    return response.status, response.body


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'kept-alive'])
@pytest.mark.parametrize('case', [pytest.param(case, id=name) for name, case in CASES.items()])
async def test_a_peer_that_misbehaves_harms_its_own_answer_alone(raw_server, case, warm):
    """The request has the expected outcome, and the next requests get their own responses."""
    timeout = SOON if case.outcome is LATE else 30
    async with (
        raw_server(misbehaving(case)) as peer,
        http.Client(base_url=peer.url, limit=1, max_body=100_000) as client,
    ):
        for number in range(warm):
            assert f'GET /{number} 0' == (await client.request(url=f'/{number}')).body
        assert case.outcome == await outcome_of(client.request(url='/bad', timeout=timeout))
        for method in ('POST', 'GET'):
            response = await client.request(url='/next', method=method, body='x')
            assert f'{method} /next 1' == response.body


VERSIONS = {
    None: ssl.TLSVersion.MAXIMUM_SUPPORTED,
    '1.2': ssl.TLSVersion.TLSv1_2,
    '1.3': ssl.TLSVersion.TLSv1_3,
}


@pytest.mark.parametrize('end', [close, reset])
@pytest.mark.parametrize('tls', VERSIONS)
async def test_a_peer_that_hangs_up_before_the_request_raises(raw_server, certificates, tls, end):
    """The request is not sent again; the next request is sent on a new connection."""

    async def handler(line):
        if peer.connections == 1:
            await end(line)
        else:
            await polite(line)

    trust = ssl.create_default_context(cafile=certificates.ca)
    trust.maximum_version = VERSIONS[tls]
    async with (
        raw_server(handler, tls=certificates.server if tls else None) as peer,
        http.Client(base_url=peer.url, limit=1, tls=trust) as client,
    ):
        assert await outcome_of(client.request()) in (BROKEN, http.ConnectError)
        assert 'GET /next 0' == (await client.request(url='/next')).body


# Callers that cancel


async def polite(line):
    """Send the response of ``echo`` to each request; ``/moved`` redirects to ``/there``."""
    while True:
        request = await line.request()
        moved = ('Location: /there',) * (request.line.split()[1] == '/moved')
        await line.send(echo(request, *moved, status='307 There' if moved else '200 OK'))


async def restless(line):
    """Respond to one request, and close the connection when another one arrives."""
    await line.send(echo(await line.request()))
    await line.request()


async def is_done_after(steps, coroutine):
    """Cancel a coroutine after so many iterations of the loop; return whether it was done."""
    task = asyncio.create_task(coroutine)
    for _ in range(steps):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return done


@pytest.mark.parametrize('warm', [False, True], ids=['new', 'kept-alive'])
@pytest.mark.parametrize('tls', [False, True], ids=['plain', 'tls'])
@pytest.mark.parametrize(
    ('handler', 'fields'),
    [
        (polite, {}),
        (polite, {'method': 'POST', 'body': 'text'}),
        (polite, {'method': 'PUT', 'body': LONG}),
        (polite, {'url': '/moved', 'method': 'POST', 'body': 'text'}),
        (restless, {}),
    ],
    ids=['get', 'body', 'long body', 'redirect', 'repeat'],
)
async def test_a_request_may_be_cancelled_at_every_await(
    raw_server, certificates, handler, fields, tls, warm
):
    """Wherever a request is cancelled, the next requests get their own responses."""
    async with raw_server(handler, tls=certificates.server if tls else None) as peer:
        where = {'scheme': 'https' if tls else 'http', 'host': '127.0.0.1', 'port': peer.port}
        for steps in itertools.count():
            async with http.Client(**where, tls={'ca': certificates.ca}, limit=1) as client:
                if warm:
                    await client.request(url='/warm')
                done = await is_done_after(steps, client.request(fields))
                for number in range(2):
                    response = await client.request(url=f'/{steps}/{number}')
                    assert f'GET /{steps}/{number} 0' == response.body
            if done:
                break
