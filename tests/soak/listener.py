"""An address that is served, but for the moments in which its server is started anew."""

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
ENOUGH = 4.0  # seconds of grace in which every callback comes to its end
SETTLING = 3.0  # seconds after a restart in which pooled connections still turn out dead
LAST_PORT = 32_000  # Linux gives clients those from 32768 on
# Seconds between restarts. What hangs must not always be ended by one before it is seen to hang.
PAUSES = (0.5, 2.0, 3.0, 4.0, 5.0, 20.0)
UNANSWERED = 8.0  # seconds after which a restart does not explain that there was no answer
CLOSING = 5.0  # seconds that a close may take beyond its grace


@dataclass
class Address:
    """Where clients find a server.

    Attributes:
        table: What a request table must have to come here.
        where: What ``asyncio.open_connection`` or ``open_unix_connection`` takes to come here.
    """

    name: str
    table: dict[str, Any]
    where: dict[str, Any]

    def disturbed(self, since: float) -> bool:
        """Tell whether there is a reason why what was sent at that time failed."""
        return False

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a raw connection."""
        if path := self.where.get('path'):
            return await asyncio.open_unix_connection(path, **options)
        return await asyncio.open_connection(**self.where, **options)


@dataclass
class Listener(Address):
    """A server of ours that can be started anew under load.

    Attributes:
        options: Of ``listen``.
        promised: The tokens of requests that a graceful close has to answer.
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
        """Listen."""
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
        """Close, gracefully where there is enough grace."""
        self.down, self.closing = True, time.monotonic()
        self.promised = set(self.subject.running) if grace >= ENOUGH else set()
        await self.server.close(grace)
        if (took := time.monotonic() - self.closing) > grace + CLOSING:
            self.tally.fault('slow closes', f'{self.name}: {took:.1f} s with {grace} s of grace')

    async def restarts(self, random: Random) -> None:
        """Close and start again, for ever; with grace enough for every callback, or not."""
        while True:
            await asyncio.sleep(random.choice(PAUSES))
            await self.close(random.choice((0.0, 0.1, ENOUGH, ENOUGH)))
            await asyncio.sleep(random.choice((0, 0, 0.05, 0.3)))
            await self.start()
            self.tally.events['restarts'] += 1

    def promises(self, token: str) -> bool:
        """Tell whether the last close has to answer a request."""
        return token in self.promised

    def disturbed(self, since: float) -> bool:
        """Tell whether a restart can be why a request failed that was sent at that time."""
        hung = since < self.closing - UNANSWERED
        return (self.down or self.back + SETTLING > since) and not hung


def free_port(first: int | None = None) -> int:
    """Pick a port, from the given one on, below those that the system gives to clients.

    From among them, a client that connects while nobody listens may be connected to itself.
    Runs at the same time start at different ones, lest one takes the port of a restarting server.
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
    """Make the three: plain TCP, a Unix socket, TLS."""
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
