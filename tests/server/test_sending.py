"""Answers that write themselves, and how aiohttp's responses do."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp.web_request import BaseRequest

from aioluahttp.server.connection import Connection, Connections
from aioluahttp.server.sendfile import Writer, as_aiohttp_has_it


class Aiohttps:
    """Answers with a response of aiohttp's."""

    status = 200

    def __init__(self, headers):
        self.headers = headers

    async def send(self, connection):
        loop = asyncio.get_running_loop()
        request = as_aiohttp_has_it(connection, Writer(connection, loop), loop)
        text = f'{request.method} {request.path} {request.remote}'
        response = web.Response(text=text, headers=self.headers)
        await response.prepare(request)
        await response.write_eof()
        return connection.keeps


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


@pytest.mark.parametrize('name', [None, 'me'])
async def test_a_response_of_aiohttps_can_be_sent(self_sent, wire, name):
    """It finds the request in aiohttp's own form, makes no mention of aiohttp, and goes on."""
    answer = Aiohttps({'Server': name} if name else {})
    async with self_sent(answer) as server, wire(server) as client:
        for _ in range(2):
            client.ask('GET /a')
            status, headers, body = await client.answer()
            assert (200, b'GET /a 127.0.0.1', name) == (status, body, headers.get('Server'))


@pytest.mark.parametrize(('length', 'left'), [(None, None), (5, 2)])
async def test_what_goes_another_way_is_counted(length, left):
    """Of the size, and of what is left where that is known."""
    writer = Writer(Connection(Connections(None)), asyncio.get_running_loop())
    writer.length = length
    writer.sent(3)
    assert (3, left) == (writer.output_size, writer.length)
