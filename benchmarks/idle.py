"""Hold idle connections: ``python -m benchmarks.idle PORT NUMBER``.

Each makes one request and stays. To each line of its input it says how many are left open.
"""

from __future__ import annotations

import socket
import sys

SOURCES = 8  # addresses that connections come from: each has 28 000 ports


def connected(port: int, n: int) -> socket.socket:
    """Open a connection that has had one answer."""
    client = socket.create_connection(('127.0.0.1', port), 10, (f'127.0.0.{2 + n % SOURCES}', 0))
    client.sendall(b'GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    answer = b''
    while not answer.endswith(b'Hello world'):
        if not (part := client.recv(4096)):
            raise ConnectionError(f'connection {n} got {answer!r}')
        answer += part
    client.setblocking(False)
    return client


def is_open(client: socket.socket) -> bool:
    """Tell whether a connection was left open."""
    try:
        client.recv(1)  # an end, or what nobody asked for
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
