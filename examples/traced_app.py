"""An aiohttp.web application with a handler at a route, traced by OpenTelemetry.

Needs ``pip install opentelemetry-instrumentation-aiohttp-server opentelemetry-sdk``.
"""

import warnings

from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from aioluahttp.web import to_web

with warnings.catch_warnings():
    warnings.simplefilter('ignore', DeprecationWarning)  # of aiohttp, caused by the instrumentation
    from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    AioHttpServerInstrumentor().instrument(tracer_provider=provider)


async def user(request):
    """Respond with the last part of the path."""
    return {'status': 200, 'body': request.path.rpartition('/')[2]}


app = web.Application()
app.router.add_get('/users/{id}', to_web(user))

if __name__ == '__main__':
    web.run_app(app, host='127.0.0.1', port=8080)
