"""Send WebSocket messages and read their echoes: ``python -m benchmarks.echo PORT BATCH``.

Each line of its input is a number of messages. The program sends them on one connection, BATCH
frames in one write, and waits for the echoes of a batch before it sends the next: with many
connections, or with frames sent one by one, chance would decide how many the server reads at once.
It prints ``done``; a wrong echo ends the program.
"""

from __future__ import annotations

import random
import socket
import sys

__all__ = ['ASKING', 'open_websocket']

MESSAGE = b'a message of thirty-two bytes...'
WHOLE_TEXT, MASKED = 0x81, 0x80  # first byte of a frame, and a bit of the second (RFC 6455 5.2)
ASKING = (  # without Sec-WebSocket-Extensions: no message is compressed
    b'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    b'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
)
END = b'\r\n\r\n'
PING, PONG = b'\x89\x00', b'\x8a\x80MASK'  # a server may send pings without payload at any time


def open_websocket(client: socket.socket) -> None:
    """Do the opening handshake on a connection.

    Raises:
        ConnectionError: The server declined, or sent more than the handshake.
    """
    client.sendall(ASKING)
    response = b''
    while not response.endswith(END):
        if not (part := client.recv(4096)):
            break
        response += part
    if not response.startswith(b'HTTP/1.1 101 ') or response.find(END) + len(END) < len(response):
        raise ConnectionError(f'the server did not open a WebSocket: {response!r}')


def masked(message: bytes) -> bytes:
    """Return a text frame as a client sends it, with a mask that is not zero."""
    mask = random.randbytes(4)
    data = bytes(byte ^ mask[n % 4] for n, byte in enumerate(message))
    return bytes([WHOLE_TEXT, MASKED | len(message)]) + mask + data


def echo(client: socket.socket, sent: bytes, expected: bytes) -> None:
    """Send a batch of frames, wait for its echoes, and answer pings.

    Raises:
        ConnectionError: The echoes are wrong, or the connection has ended.
    """
    client.sendall(sent)
    got = b''
    while left := len(expected) - len(got):
        # Not woken for each echo: the server would pay for that, or not, by chance.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, left)
        if not (part := client.recv(65536)):
            break
        got += part
        if PING in got:
            got = got.replace(PING, b'')
            client.sendall(PONG)
    if got != expected:
        raise ConnectionError(f'the echoes are {got!r}')


if __name__ == '__main__':
    port, batch = map(int, sys.argv[1:])
    client = socket.create_connection(('127.0.0.1', port), 10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    open_websocket(client)
    sent = b''.join(masked(MESSAGE) for _ in range(batch))
    expected = (bytes([WHOLE_TEXT, len(MESSAGE)]) + MESSAGE) * batch
    print('ready', flush=True)
    for line in sys.stdin:
        for _ in range(int(line) // batch):
            echo(client, sent, expected)
        print('done', flush=True)
