"""Hold idle connections: ``python -m benchmarks.idle PORT NUMBER KIND``.

Each connection sends one request and stays open; with the kind ``websocket``, it opens a
WebSocket. For each line of its input the program prints how many are still open.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from .echo import open_websocket

SOURCES = 8  # source addresses of the connections: each has 28 000 ports


def connected(port: int, n: int, begin: Callable[[socket.socket], None]) -> socket.socket:
    """Open a connection, and begin with one request on it."""
    client = socket.create_connection(('127.0.0.1', port), 10, (f'127.0.0.{2 + n % SOURCES}', 0))
    begin(client)
    client.setblocking(False)
    return client


def get_hello(client: socket.socket) -> None:
    """Get one response on a connection."""
    client.sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    response = b''
    while not response.endswith(b'Hello world'):
        if not (part := client.recv(4096)):
            raise ConnectionError(f'the response is {response!r}')
        response += part


def is_open(client: socket.socket) -> bool:
    """Return whether a connection is still open."""
    try:
        client.recv(1)  # end of input, or unexpected data
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


if __name__ == '__main__':
    port, number, kind = sys.argv[1:]
    begin = open_websocket if kind == 'websocket' else get_hello
    clients = [connected(int(port), n, begin) for n in range(int(number))]
    print('ready', flush=True)
    for _ in sys.stdin:
        print(sum(map(is_open, clients)), flush=True)
