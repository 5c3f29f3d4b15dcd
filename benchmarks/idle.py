"""Hold idle connections: ``python -m benchmarks.idle PORT NUMBER``.

Each connection sends one request and stays open. For each line of its input the program prints
how many are still open.
"""

from __future__ import annotations

import socket
import sys

SOURCES = 8  # source addresses of the connections: each has 28 000 ports


def connected(port: int, n: int) -> socket.socket:
    """Open a connection, and get one response on it."""
    client = socket.create_connection(('127.0.0.1', port), 10, (f'127.0.0.{2 + n % SOURCES}', 0))
    client.sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    response = b''
    while not response.endswith(b'Hello world'):
        if not (part := client.recv(4096)):
            raise ConnectionError(f'connection {n} got {response!r}')
        response += part
    client.setblocking(False)
    return client


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
    clients = [connected(int(sys.argv[1]), n) for n in range(int(sys.argv[2]))]
    print('ready', flush=True)
    for _ in sys.stdin:
        print(sum(map(is_open, clients)), flush=True)
