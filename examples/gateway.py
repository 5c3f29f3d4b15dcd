"""A gateway: logins, two origins, a rate limit, retries: ``python examples/gateway.py``."""

import hmac
import logging

import aioluahttp as http
from aioluahttp.middleware import limit, retry

TOKENS = {'ada': b'Bearer sesame', 'bob': b'Bearer tahini'}
ORIGINS = {'users': 'http://127.0.0.1:9001', 'orders': 'http://127.0.0.1:9002/v1'}


def user_of(request):
    given = request.headers.get('Authorization', '').encode(errors='replace')
    return next((user for user in TOKENS if hmac.compare_digest(TOKENS[user], given)), None)


@retry  # what may be sent twice; an upload is sent once
async def forward(request):
    """Forward a request to its origin, which trusts X-User and never sees the token."""
    name, _, rest = request.url.removeprefix('/').partition('/')
    headers = {'X-User': user_of(request), 'Authorization': None}
    return await http.forward(request | {'url': f'/{rest}'}, ORIGINS[name], headers=headers)


async def gateway(request):
    if not user_of(request):
        return {'status': 401, 'headers': {'WWW-Authenticate': 'Bearer'}}
    if request.url.removeprefix('/').partition('/')[0] not in ORIGINS:
        return {'status': 404}
    return await forward(request)


gateway.into, gateway.max_body = 'raw', None  # bodies of any size are streamed
limited = limit(gateway, rate=10, burst=20, key=lambda request: request.ip, refuse=True)

if __name__ == '__main__':
    logging.basicConfig(level='INFO')
    http.run('127.0.0.1', 8080, limited, access_log=logging.getLogger('access'))
