"""A transport watched for its end."""

import asyncio

from aioluahttp.watching import Watched


class Counts(asyncio.Protocol):
    """Counts what it hears."""

    def __init__(self):
        self.data, self.lost = b'', asyncio.Event()

    def connection_made(self, transport):
        """Begin."""
        self.transport = transport

    def data_received(self, data):
        """Read."""
        self.data += data

    def connection_lost(self, exc):
        """End."""
        self.lost.set()


async def test_the_protocol_hears_all_and_so_does_who_waits(until):
    """What comes, and the end; who waits no more leaves no trace."""
    protocol = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol, '127.0.0.1', 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: hasattr(protocol, 'transport'))

    waiting = asyncio.create_task(Watched(protocol.transport).left())
    await asyncio.sleep(0)
    assert protocol is not protocol.transport.get_protocol()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert protocol is protocol.transport.get_protocol()

    waiting = asyncio.create_task(Watched(protocol.transport).left())
    writer.write(b'hello')
    await until(lambda: protocol.data == b'hello')
    assert not waiting.done()
    writer.close()
    await waiting
    assert protocol.lost.is_set()
    server.close()
    await server.wait_closed()


async def test_who_takes_the_transport_over_keeps_it(until):
    """The protocol that was there is not put back."""
    protocol, other = Counts(), Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol, '127.0.0.1', 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: hasattr(protocol, 'transport'))
    waiting = asyncio.create_task(Watched(protocol.transport).left())
    await asyncio.sleep(0)
    protocol.transport.set_protocol(other)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert other is protocol.transport.get_protocol()
    writer.close()
    await other.lost.wait()
    server.close()
    await server.wait_closed()
