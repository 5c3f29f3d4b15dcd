"""No sequence of responses, requests, clocks and failures makes a cache break RFC 9111.

The model here is independent of the rules in ``aioluahttp.caches``: the body of each response names
it, and so what it allows is known from how it was made.
"""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

import aioluahttp as http
from aioluahttp.bodies.stream import Stream
from aioluahttp.caches import MemoryStorage
from aioluahttp.middleware import cache

START = 784111777.0
TARGETS = ('/a', '/b')
VALUES = ('1', '2')

made = st.fixed_dictionaries(
    {
        'max_age': st.sampled_from([None, 0, 5, 50]),
        'private': st.booleans(),
        'public': st.booleans(),
        'no_store': st.booleans(),
        'no_cache': st.booleans(),
        'must_revalidate': st.booleans(),
        'while_revalidate': st.sampled_from([None, 7]),
        'if_error': st.sampled_from([None, 9]),
        'vary': st.booleans(),
        'tagged': st.booleans(),
        'cookie': st.booleans(),
        'age': st.sampled_from([None, 3]),
        'how': st.sampled_from(['text', 'stream', 'long', 'broken', 'error', 'status']),
    }
)
asked = st.fixed_dictionaries(
    {
        'target': st.sampled_from(TARGETS),
        'value': st.sampled_from(VALUES),
        'user': st.sampled_from([None, 'ann', 'bob']),
        'login': st.booleans(),
        'method': st.sampled_from(['GET', 'GET', 'GET', 'HEAD', 'POST']),
        'control': st.sampled_from(
            [None, None, 'no-cache', 'max-age=2', 'no-store', 'max-stale=3']
        ),
        'at_once': st.integers(1, 3),
    }
)
steps = st.lists(
    st.tuples(made, asked, st.sampled_from([0, 1, 4, 6, 60]), st.booleans()), max_size=12
)


class Origin:
    """Respond as the step says; the body names the response, and whom it is for."""

    def __init__(self, clock):
        self.clock = clock
        self.kind = None
        self.numbers = itertools.count()
        self.responses = {}  # by number: how it was made, when, and the request

    async def __call__(self, request):
        kind, number = self.kind, next(self.numbers)
        await asyncio.sleep(0)
        tag = f'"{request.path}{request.headers["Value"]}{kind["no_cache"]}"'
        headers = [('Cache-Control', self.control(kind)), ('Date', http.format_date(self.clock()))]
        headers += [('Vary', 'Value')] * kind['vary'] + [('ETag', tag)] * kind['tagged']
        headers += [('Set-Cookie', 'a=b')] * kind['cookie']
        headers += [('Age', str(kind['age']))] * (kind['age'] is not None)
        if kind['how'] == 'error':
            raise http.ConnectError('the origin is down')
        if kind['how'] == 'status':
            return {'status': 503, 'body': 'down'}
        if kind['tagged'] and request.headers.get('If-None-Match') == tag:
            return {'status': 304, 'headers': headers}
        self.responses[number] = kind, self.clock(), request
        body = self.body(number, request)
        if kind['how'] in ('long', 'broken'):
            body *= 20_000
        if kind['how'] != 'text':
            body = Stream(self.chunks(body, broken=kind['how'] == 'broken'))
        return http.to_response({'status': 200}) | {'headers': headers, 'body': body}

    def body(self, number, request):
        return f'{number} {request.path} {request.headers.get("Cookie", "")};'.encode()

    def control(self, kind):
        words = [name.replace('_', '-') for name in CONTROL if kind[name]]
        seconds = {
            'max-age': kind['max_age'],
            'stale-while-revalidate': kind['while_revalidate'],
            'stale-if-error': kind['if_error'],
        }
        words += [f'{name}={one}' for name, one in seconds.items() if one is not None]
        return ', '.join(words)

    async def chunks(self, body, *, broken):
        yield body[: len(body) // 2]
        await asyncio.sleep(0)
        if broken:
            raise http.ProtocolError('the origin broke off')
        yield body[len(body) // 2 :]


CONTROL = ('private', 'public', 'no_store', 'no_cache', 'must_revalidate')


class Crashing(MemoryStorage):
    """A storage that fails as long as it is told to."""

    failing = False

    def crash(self):
        if self.failing:
            raise OSError('the storage is down')

    async def get(self, key):
        self.crash()
        return await super().get(key)

    async def put(self, key, entry, replaced=None):
        self.crash()
        await super().put(key, entry, replaced)

    async def write(self, id, number, piece):
        self.crash()
        await super().write(id, number, piece)

    async def read(self, id, number):
        self.crash()
        return await super().read(id, number)


async def ask(handler, table):
    """Return a response with its whole body; None if there was none."""
    try:
        response = await handler(table)
        body = response['body']
        data = await body.read() if isinstance(body, Stream) else response.bytes()
    except (http.ConnectError, http.ProtocolError):
        return None
    return response, data


def table_of(step):
    headers = {'Value': step['value']}
    if step['user']:
        headers['Cookie'] = f'user={step["user"]}'
    if step['login']:
        headers['Authorization'] = f'{step["user"]}'
    if step['control']:
        headers['Cache-Control'] = step['control']
    target = {'url': f'http://h{step["target"]}', 'method': step['method'], 'into': 'bytes'}
    if step['method'] == 'GET':
        target['into'] = 'stream'
    return target | {'headers': headers}


def check(origin, step, response, data, now):
    """Check that this response may be given for this request."""
    status = response.headers['Cache-Status']
    if response.status != 200 or step['method'] != 'GET':
        return
    number = int(data.split(b' ', 1)[0])
    kind, when, request = origin.responses[number]
    once = origin.body(number, request)
    assert data == once * (20_000 if kind['how'] == 'long' else 1)  # all of it, and nothing else
    assert kind['how'] != 'broken'
    assert request.path == step['target']
    if 'hit' not in status and 'collapsed' not in status:
        return
    assert step['control'] not in ('no-store', 'no-cache')
    assert not kind['no_store']
    assert not kind['private']
    assert not kind['no_cache']
    assert not kind['vary'] or request.headers['Value'] == step['value']
    assert kind['public'] or not (kind['cookie'] or 'Cookie' in request.headers)
    allowed = kind['public'] or kind['must_revalidate']
    assert allowed or 'Authorization' not in request.headers
    if 'hit' in status and not kind['tagged']:  # one with a tag may have been validated since
        age = now - when + (kind['age'] or 0)
        assert int(age) <= int(response.headers['Age'])
        assert age <= (kind['max_age'] or 0) + most_stale(kind, step, status)
        assert step['control'] != 'max-age=2' or age <= 2


def most_stale(kind, step, status):
    if kind['must_revalidate']:
        return 0
    seconds = [kind['while_revalidate'] or 0]
    if step['control'] == 'max-stale=3':
        seconds.append(3)
    if 'stale-if-error' in status:
        seconds.append(kind['if_error'])
    return max(seconds)


async def run(given_steps):
    now = START
    origin, storage = Origin(lambda: now), Crashing()
    handler = cache(origin, storage=storage, clock=lambda: now)
    for kind, step, passed, failing in given_steps:
        now += passed
        origin.kind, storage.failing = kind, failing
        table = table_of(step)
        answers = await asyncio.gather(*(ask(handler, table) for _ in range(step['at_once'])))
        for answer in answers:
            if answer is not None:
                check(origin, step, *answer, now)
        if step['method'] == 'POST' and not failing and answers[0] and answers[0][0].status < 400:
            found = await ask(handler, table_of(step | {'method': 'GET', 'control': None}))
            assert found is None or 'hit' not in found[0].headers['Cache-Status']
        await asyncio.gather(*handler._tasks, return_exceptions=True)
    await handler.close()


@settings(max_examples=100, deadline=None)
@given(steps)
def test_no_client_gets_what_rfc_9111_forbids(given_steps):
    """Nor what is another client's own, half a body, or another target's."""
    asyncio.run(run(given_steps))
