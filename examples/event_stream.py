"""Server-sent events: ``python examples/event_stream.py``, and open http://127.0.0.1:8080/."""

import asyncio
import itertools

import aioluahttp as http

HOST, PORT = '127.0.0.1', 8080
PAGE = """<!doctype html>
<title>Counting</title>
<h1>…</h1>
<script>
  new EventSource("/count").onmessage = (event) => {
    document.querySelector("h1").textContent = event.data;
  };
</script>
"""


async def count(start, seconds=1.0):
    """Yield numbered events until the client leaves."""
    try:
        for number in itertools.count(start):
            yield {'data': f'{number} …', 'id': str(number)}
            await asyncio.sleep(seconds)
    finally:
        print(f'left at {number}')


def callback(request):
    """Return the page, or the events; a client that reconnects continues after its last number."""
    if request.path == '/count':
        last = request.headers.get('Last-Event-ID', '')
        return {'status': 200, 'events': count(int(last) + 1 if last.isdecimal() else 1)}
    return {'status': 200, 'headers': {'Content-Type': 'text/html'}, 'body': PAGE}


if __name__ == '__main__':
    http.run(HOST, PORT, callback)
