"""An exchange: one request and its response, on any engine (our server, ASGI, aiohttp.web)."""
