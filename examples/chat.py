"""A chat room over WebSocket: ``python examples/chat.py``, and ``… chat.py Ada`` to join it."""

import asyncio
import sys

import aioluahttp as http

room = set()


async def chat(socket):
    """Send each message of one client to everybody in the room."""
    room.add(socket)
    try:
        async for message in socket:
            await asyncio.gather(*(other.send(message) for other in room), return_exceptions=True)
    finally:
        room.remove(socket)


async def talk(name, lines, url='ws://127.0.0.1:8080/'):
    """Join with a name, send lines, and print one message for each."""
    async with http.websocket(url=url) as socket:
        async for line in lines:
            await socket.send(f'{name}: {line}')
            print(await anext(socket))


async def typed():
    """Yield the lines typed on standard input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip()


if __name__ == '__main__':
    if len(sys.argv) > 1:
        asyncio.run(talk(sys.argv[1], typed()))
    else:
        http.run('127.0.0.1', 8080, lambda request: {'websocket': chat})
