"""A chat room: ``python examples/chat.py`` in one terminal, ``… chat.py Ada`` in others."""

import asyncio
import sys

import aioluahttp as http

room = set()


async def chat(socket):
    """Tell everybody in the room what one of them says."""
    room.add(socket)
    try:
        async for message in socket:
            await asyncio.gather(*(other.send(message) for other in room), return_exceptions=True)
    finally:
        room.remove(socket)


async def talk(name, lines, url='ws://127.0.0.1:8080/'):
    """Say lines as somebody, and give what is said, until there is no line more."""
    async with http.websocket(url=url) as socket:
        async for line in lines:
            await socket.send(f'{name}: {line}')
            print(await anext(socket))


async def typed():
    """Give the lines that are typed."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip()


if __name__ == '__main__':
    if len(sys.argv) > 1:
        asyncio.run(talk(sys.argv[1], typed()))
    else:
        http.run('127.0.0.1', 8080, lambda request: {'websocket': chat})
