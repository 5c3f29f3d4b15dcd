"""Verify webhooks and work on them: ``SECRET=sesame python examples/webhook_receiver.py``."""

import asyncio
import hmac
import json
import os
from contextlib import asynccontextmanager

import aioluahttp as http

SECRET = os.environ['SECRET'].encode()
running = set()


async def work(event):
    print('received', event)


async def receive(request):  # responds at once: senders do not wait for the work to be done
    body = await request.body.read() if request.body else b''
    wanted = 'sha256=' + hmac.new(SECRET, body, 'sha256').hexdigest()
    given = request.headers.get('X-Hub-Signature-256', '')
    if not hmac.compare_digest(wanted.encode(), given.encode(errors='replace')):
        return {'status': 401, 'body': 'wrong signature'}
    running.add(task := asyncio.create_task(work(json.loads(body))))
    task.add_done_callback(running.discard)
    return {'status': 202}


@asynccontextmanager
async def lifespan():
    yield
    await asyncio.gather(*running, return_exceptions=True)  # before the process ends


receive.into, receive.max_body, receive.lifespan = 'raw', 1024 * 1024, lifespan

if __name__ == '__main__':
    http.run('127.0.0.1', 8080, receive)
