"""Chat in a browser: ``python examples/chat_room.py``, and open http://127.0.0.1:8080/."""

import asyncio

import aioluahttp as http

page = http.files(__file__.removesuffix('.py'))  # the folder chat_room
members = set()  # functions that send a message to somebody


async def talk(socket):
    members.add(socket.send)
    try:
        async for text in socket:
            await asyncio.gather(*(send(text) for send in members), return_exceptions=True)
    finally:
        members.remove(socket.send)


async def listen():
    queue = asyncio.Queue()  # short, because a browser that reads nothing for 30 s is cut off
    members.add(queue.put)
    try:
        yield {}  # so that the browser gets a response before the first message
        while True:
            yield {'data': str(await queue.get())}
    finally:
        members.remove(queue.put)


async def room(request):
    if request.path == '/events':
        return {'status': 200, 'events': listen()}
    return {'websocket': talk} if request.path == '/socket' else await page(request)


if __name__ == '__main__':
    http.run('127.0.0.1', 8080, room)
