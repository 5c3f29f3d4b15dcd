"""Answers that write themselves, and how aiohttp's responses do."""

import asyncio
import contextlib

import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest

import aioluahttp as http
from aioluahttp.exchange import Exchange, Settings
from aioluahttp.sending import Writer, as_aiohttp_has_it
from aioluahttp.server import Server


class Parts:
    """Answers in parts, each when it is told to."""

    status = 200

    def __init__(self):
        self.parts, self.ended = asyncio.Queue(), asyncio.Event()

    async def send(self, connection):
        try:
            while part := await self.parts.get():
                if isinstance(part, Exception):
                    raise part
                connection.begun = True
                await connection.write(part)
            return connection.keeps
        finally:
            self.ended.set()


class Aiohttps:
    """Answers with a response of aiohttp's."""

    status = 200

    async def send(self, connection):
        loop = asyncio.get_running_loop()
        request = as_aiohttp_has_it(connection, Writer(connection, loop), loop)
        response = web.Response(text=f'{request.method} {request.path} {request.remote}')
        await response.prepare(request)
        await response.write_eof()
        return connection.keeps


@contextlib.asynccontextmanager
async def serving(answer, **settings):
    """Answer each request with what writes itself."""

    class Sends(Exchange):
        def sending(self, connection, response):
            return answer

    exchange = Sends(lambda request: http.to_response({'status': 200}), Settings(**settings))
    async with await Server.start(exchange, '127.0.0.1', 0, {}) as server:
        yield server


@pytest.mark.parametrize(
    ('function', 'expected'),
    [
        (BaseRequest, ['message', 'payload', 'protocol', 'payload_writer', 'task', 'loop']),
        (StreamWriter, ['protocol', 'loop', 'on_chunk_sent', 'on_headers_sent']),
        (StreamWriter.write_headers, ['self', 'status_line', 'headers']),
    ],
    ids=lambda value: getattr(value, '__qualname__', ''),
)
def test_aiohttp_takes_the_same_arguments(parameters, function, expected):
    """What is overridden or called has the parameters that it had."""
    name = function.__qualname__
    assert expected == parameters(function), f'aiohttp: {name} takes other arguments now'


async def test_a_response_of_aiohttps_can_be_sent(wire):
    """It finds the request in aiohttp's own form, makes no mention of aiohttp, and goes on."""
    async with serving(Aiohttps()) as server, wire(server) as client:
        for _ in range(2):
            client.ask('GET /a')
            status, headers, body = await client.answer()
            assert (200, b'GET /a 127.0.0.1', None) == (status, body, headers.get('Server'))


async def test_an_answer_may_take_its_time_and_the_connection_goes_on(wire):
    """Each part goes out when it is written; the next request waits for the last of them."""
    answer = Parts()
    async with serving(answer) as server, wire(server) as client:
        for _ in range(2):
            client.ask('GET /')
            for part in (b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n', b'a', b'b'):
                answer.parts.put_nowait(part)
                assert part == await client.reader.readexactly(len(part))
            answer.parts.put_nowait(None)


@pytest.mark.parametrize('begun', [False, True])
async def test_a_mistake_is_a_500_or_breaks_off(wire, caplog, begun):
    """It is logged and told in any case."""
    told, answer = [], Parts()
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
    async with (
        serving(answer, on_error=lambda error, request: told.append(str(error))) as server,
        wire(server) as client,
    ):
        client.ask('GET /')
        if begun:
            answer.parts.put_nowait(head)
        answer.parts.put_nowait(ConnectionError('oops'))
        if begun:
            assert head == await client.rest()
        else:
            assert 500 == (await client.answer())[0]
        assert (1, ['oops']) == (server.stats['errors'], told)
    assert ['GET / failed'] == [record.getMessage() for record in caplog.records]


async def test_who_leaves_ends_its_answer(wire, caplog):
    """It is cancelled where it waits, and no mistake; the access log has it all the same."""
    answer, logged = Parts(), asyncio.Queue()
    log = lambda request, response: logged.put_nowait(response.status)  # noqa: E731
    async with serving(answer, access_log=log) as server:
        async with wire(server) as client:
            client.ask('GET /')
            answer.parts.put_nowait(b'HTTP/1.1 200 OK\r\n')
            await client.reader.readline()
        await answer.ended.wait()
        assert 200 == await logged.get()
    assert [] == caplog.records


async def test_a_server_that_closes_ends_its_answers(wire, until):
    """They have the same time as callbacks."""
    answer = Parts()
    async with serving(answer) as server, wire(server) as client:
        client.ask('GET /')
        await until(lambda: server.stats['in_flight'])
        await server.close(grace=0)
        assert answer.ended.is_set()
        assert b'' == await client.rest()


def test_the_hook_is_off_unless_there_is_such_an_answer():
    """Most tables are answered with one block of bytes."""
    assert None is Exchange(None, Settings()).sending(None, http.Response(status=200))
