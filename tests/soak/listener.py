"""Servers under test, which are restarted under load, and their addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aioluahttp as http
from subject import Subject
from tally import Tally

__all__ = ['ENOUGH', 'HANDLER_TIMEOUT', 'MAX_BODY', 'Address', 'Listener', 'free_port', 'listeners']

MAX_BODY = 256 * 1024
HANDLER_TIMEOUT = 1.0
ENOUGH = 4.0  # seconds of grace in which every handler can finish
SETTLING = 3.0  # seconds after a restart in which pooled connections may still be dead
LAST_PORT = 32_000  # Linux gives clients ports from 32768 on
# Seconds between restarts. The long one leaves time to notice that something hangs.
PAUSES = (0.5, 2.0, 3.0, 4.0, 5.0, 20.0)
UNANSWERED = 8.0  # seconds after which a restart does not explain a missing response
CLOSING = 5.0  # seconds that a close may take in addition to its grace


@dataclass
class Address:
    """Address of a server.

    Attributes:
        table: Keys of a request table that is sent to it.
        where: Arguments of ``asyncio.open_connection`` or ``open_unix_connection``.
    """

    name: str
    table: dict[str, Any]
    where: dict[str, Any]

    def disturbed(self, since: float) -> bool:
        """Return whether a restart may explain the failure of a request sent at that time."""
        return False

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection for raw bytes."""
        if path := self.where.get('path'):
            return await asyncio.open_unix_connection(path, **options)
        return await asyncio.open_connection(**self.where, **options)


@dataclass
class Listener(Address):
    """A server that can be restarted under load.

    Attributes:
        options: Options of ``listen``.
        promised: Tokens of requests that must get a response in spite of a graceful close.
    """

    tally: Tally
    options: dict[str, Any]
    promised: set[str] = field(default_factory=set)
    down: bool = True
    closing: float = 0.0
    back: float = 0.0

    def __post_init__(self) -> None:
        self.subject = Subject(self.tally)

    async def start(self) -> None:
        """Start to listen."""
        self.server = await http.listen(
            self.where.get('host'),
            self.where.get('port'),
            self.subject,
            self.subject.on_error,
            handler_timeout=HANDLER_TIMEOUT,
            max_body=MAX_BODY,
            **self.options,
        )
        self.down, self.back = False, time.monotonic()

    async def close(self, grace: float = ENOUGH) -> None:
        """Close the server, gracefully if there is enough grace."""
        self.down, self.closing = True, time.monotonic()
        self.promised = set(self.subject.running) if grace >= ENOUGH else set()
        await self.server.close(grace)
        if (took := time.monotonic() - self.closing) > grace + CLOSING:
            self.tally.fault('slow closes', f'{self.name}: {took:.1f} s with {grace} s of grace')

    async def restarts(self, random: Random) -> None:
        """Restart the server for ever, with enough grace for every handler or with less."""
        while True:
            await asyncio.sleep(random.choice(PAUSES))
            await self.close(random.choice((0.0, 0.1, ENOUGH, ENOUGH)))
            await asyncio.sleep(random.choice((0, 0, 0.05, 0.3)))
            await self.start()
            self.tally.events['restarts'] += 1

    def promises(self, token: str) -> bool:
        """Return whether a request must get a response in spite of the last close."""
        return token in self.promised

    def disturbed(self, since: float) -> bool:
        """Return whether a restart may explain the failure of a request sent at that time."""
        hung = since < self.closing - UNANSWERED
        return (self.down or self.back + SETTLING > since) and not hung


def free_port(first: int | None = None) -> int:
    """Return a free port, from ``first`` on, below those that the system gives to clients.

    With one of the latter, a client that connects while nobody listens may connect to itself.
    Parallel runs begin at different ports, so that none takes the port of a restarting server.
    """
    for port in range(first or 20_000 + os.getpid() % 10_000, LAST_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                continue
            return port
    raise OSError(f'no free port below {LAST_PORT}')


def listeners(tally: Tally, folder: str, ca: str, server: ssl.SSLContext) -> list[Listener]:
    """Return three servers: plain TCP, a Unix socket, TLS."""
    plain, unix = free_port(), f'{folder}/socket'
    secure = free_port(plain + 1)
    trusting = ssl.create_default_context(cafile=ca)
    at = {'host': '127.0.0.1'}
    return [
        Listener(
            name='tcp',
            tally=tally,
            table=at | {'port': plain},
            where=at | {'port': plain},
            options={},
        ),
        Listener(
            name='unix',
            tally=tally,
            table={'host': 'localhost', 'unix': unix},
            where={'path': unix},
            options={'unix': unix, 'into': 'bytes'},
        ),
        Listener(
            name='tls',
            tally=tally,
            table=at | {'port': secure, 'scheme': 'https', 'tls': {'ca': ca}},
            where=at | {'port': secure, 'ssl': trusting},
            options={'tls': server},
        ),
    ]
