"""A handler as an ASGI 3 application, for uvicorn, hypercorn, granian and their like."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, Unpack

from .bodies.chunks import call
from .errors import ProtocolError
from .exchange.adapting import Adapter
from .exchange.options import (
    EXCHANGE_OPTIONS,
    ExchangeOptions,
    Hook,
    OnError,
    check_hook,
    checked,
    to_settings,
)
from .scopes import Receive, Scope, ScopeLine, Send
from .tables.models import Handler

__all__ = ['to_asgi']

logger: logging.Logger = logging.getLogger('aioluahttp')

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def to_asgi(
    handler: Handler,
    on_error: OnError | None = None,
    *,
    on_startup: Hook = None,
    on_shutdown: Hook = None,
    **options: Unpack[ExchangeOptions],
) -> Application:
    """Make an ASGI application of a handler.

    Requests and answers are as with ``listen``: the same tables, checks, limits and mistakes.
    Connections are the engine's, and so are their deadlines, TLS, the fields ``Date`` and
    ``Server``, and a WebSocket's pings and compression. Mounted below a path (``root_path``), the
    handler sees what is behind that.

    Args:
        handler: ``async`` or plain: takes a ``Request``, returns a response table.
        on_error: Called with the exception and the request, and awaited where it can be.
        on_startup: Called before the first request, plain or ``async``; if it fails, the engine
            does not start. Engines call it once in each of their workers.
        on_shutdown: Called after the last request, likewise.
        options: Those of ``listen`` that are about one exchange: ``into``, ``max_body``,
            ``max_concurrent``, ``body_timeout``, ``handler_timeout``, ``cancel_on_disconnect``,
            ``trusted_proxies`` and ``access_log``. ``into`` and ``max_body`` the handler may have
            as attributes instead.

    Raises:
        TableError: An option is unknown, or its value is not what it takes.

    Example:
        >>> async def hello(request):
        ...     return {'status': 200, 'body': 'Hello'}
        >>> app = to_asgi(hello)  # uvicorn module:app
    """
    hooks = [check_hook('on_startup', on_startup), check_hook('on_shutdown', on_shutdown)]
    made = checked(handler, options, EXCHANGE_OPTIONS)
    adapter = Adapter(handler, to_settings(made, on_error))

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] in ('http', 'websocket'):
            await adapter(ScopeLine(scope, receive, send))
        elif scope['type'] == 'lifespan':
            await _live(hooks, receive, send)
        else:
            raise ProtocolError(f'ASGI has no scope of the type {scope["type"]!r}')

    return application


async def _live(hooks: list[Hook], receive: Receive, send: Send) -> None:
    """Call what is for the begin and the end, and tell the engine how it went."""
    for phase, hook in zip(('startup', 'shutdown'), hooks, strict=True):
        await receive()  # lifespan.startup, lifespan.shutdown
        try:
            if hook is not None:
                await call(hook)
        except Exception as error:
            logger.exception('on_%s failed', phase)
            message = f'{type(error).__name__}: {error}'
            await send({'type': f'lifespan.{phase}.failed', 'message': message})
            return
        await send({'type': f'lifespan.{phase}.complete'})
