"""aiohttp's connections: what is no HTTP, and what fails before there is a request."""

import asyncio
import logging

import pytest

from aioluahttp.connections import Connections
from aioluahttp.exchange import Exchange, Settings


class Broken(Exchange):
    """An exchange with a fault of its own, for which no handler is to blame."""

    async def __call__(self, raw):
        raise ValueError('a fault of the library')


@pytest.mark.parametrize(
    ('request_bytes', 'status', 'level'),
    [
        (b'GET / HTTP/1.1\r\nHost: h\r\n\r\n', 500, logging.ERROR),
        (b'no HTTP at all\r\n\r\n', 400, logging.INFO),
    ],
)
async def test_a_fault_of_ours_is_told_with_its_traceback(caplog, request_bytes, status, level):
    """A bad request is a line below WARNING; what is not the peer's fault is an error."""
    caplog.set_level(logging.INFO)
    connections = Connections(Broken(lambda request: {'status': 200}, Settings()), access_log=None)
    server = await asyncio.get_running_loop().create_server(connections, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(request_bytes)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    await connections.close_all(1)
    await server.wait_closed()
    assert answer.startswith(f'HTTP/1.1 {status} '.encode())
    assert b'Connection: close\r\n' in answer
    (record,) = caplog.records
    assert (level, level == logging.ERROR) == (record.levelno, bool(record.exc_info))
