"""What two ends agree upon before a WebSocket opens, on either side (RFC 6455 4)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha1
from os import urandom
from typing import Any

from aiohttp.http_websocket import WS_KEY, WSHandshakeError, ws_ext_gen, ws_ext_parse

from ..errors import ProtocolError
from ..headers import Headers, listed
from ..tables.checks import PORTS
from ..tables.models import Request
from .connection import PeerOptions

__all__ = [
    'is_allowed',
    'max_message',
    'protocol_of',
    'read_agreement',
    'refusal_status',
    'request_fields',
    'response_fields',
    'to_pairs',
    'without_handshake',
]

MAX_MESSAGE = 4 * 1024 * 1024
HEARTBEAT = 20.0  # below the idle minute of common proxies
VERSION = '13'
WINDOW = 15  # bits: the largest that there is (RFC 7692 7.1.2)

UPGRADE = 'Upgrade: websocket'
REFUSALS = {  # the fields that a status needs, beside those of every answer
    426: ('Connection: Upgrade', UPGRADE, f'Sec-WebSocket-Version: {VERSION}'),
}


def accept_of(key: str) -> str:
    """Give what proves that a key was read as one of a WebSocket (RFC 6455 4.2.2)."""
    return b64encode(sha1(key.encode('utf-8', 'surrogateescape') + WS_KEY).digest()).decode()


def without_handshake(headers: Headers) -> Headers:
    """Copy headers without what belongs to a handshake, which is made anew for each."""
    own = 'sec-websocket-'
    return Headers([pair for pair in headers.items() if not pair[0].lower().startswith(own)])


def to_peer_options(
    options: Mapping[str, Any], protocol: str | None, window: int, resets: bool
) -> PeerOptions:
    heartbeat = options.get('heartbeat', HEARTBEAT)
    return PeerOptions(protocol, window, resets, max_message(options), heartbeat)


def max_message(options: Mapping[str, Any]) -> int | None:
    """Give the limit of a message in bytes; None where there is none."""
    limit: int | None = options.get('max_message', MAX_MESSAGE)
    return limit


# The client.


def request_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """Make the fields with which a client asks for a WebSocket."""
    fields = {
        'Connection': 'Upgrade',
        'Upgrade': 'websocket',
        'Sec-WebSocket-Version': VERSION,
        'Sec-WebSocket-Key': b64encode(urandom(16)).decode(),
    }
    if options.get('protocols'):
        fields['Sec-WebSocket-Protocol'] = ', '.join(options['protocols'])
    if options.get('compress', True):
        fields['Sec-WebSocket-Extensions'] = ws_ext_gen(WINDOW)
    return fields


def read_agreement(
    options: Mapping[str, Any], asked: Mapping[str, str], status: int, headers: Headers
) -> PeerOptions:
    """Read what a server has agreed to.

    Args:
        options: What the client wants.
        asked: The fields with which it asked.

    Raises:
        ProtocolError: The server declined, or agreed to what it was not asked.
    """
    if status != 101:
        raise ProtocolError(f'the server declined a WebSocket: {status}')
    if headers.get('Sec-WebSocket-Accept') != accept_of(asked['Sec-WebSocket-Key']):
        raise ProtocolError('the server did not understand that a WebSocket was asked for')
    chosen = listed(headers, 'Sec-WebSocket-Protocol')
    if len(chosen) > 1 or not set(chosen) <= set(options.get('protocols', ())):
        raise ProtocolError(f'the server chose a subprotocol that was not offered: {chosen}')
    window, resets = _window(asked, ', '.join(headers.getall('Sec-WebSocket-Extensions', ())))
    return to_peer_options(options, chosen[0] if chosen else None, window, resets)


def _window(asked: Mapping[str, str], extensions: str) -> tuple[int, bool]:
    window, resets = 0, False
    try:
        if 'Sec-WebSocket-Extensions' in asked:
            window, resets = ws_ext_parse(extensions)
    except WSHandshakeError:
        pass
    if extensions and not window:
        raise ProtocolError(f'the server chose an extension that was not offered: {extensions}')
    return window, resets


# The server.


def refusal_status(
    options: Mapping[str, Any], request: Request, *, upgrades: bool
) -> tuple[int, Sequence[str]] | None:
    """Find why a request opens no WebSocket; None where it does.

    Args:
        options: Of the answer that would open it.
        upgrades: Whether the connection is ready for it.

    Returns:
        The status, and the fields that it needs: 426 for a request that asks for none (RFC 9110
        15.5.22) or for another version (RFC 6455 4.4), 400 for a bad key, 403 for a page of
        another origin (RFC 6455 10.2).
    """
    headers = request['headers']
    version = headers.getall('Sec-WebSocket-Version', ())
    if not upgrades or request['method'] != 'GET' or list(version) != [VERSION]:
        return 426, REFUSALS[426]
    if not _is_key(headers.getall('Sec-WebSocket-Key', ())):
        return 400, ()
    return None if is_allowed(options.get('origins'), request) else (403, ())


def _is_key(keys: Sequence[str]) -> bool:
    try:
        return len(keys) == 1 and len(b64decode(keys[0], validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def is_allowed(origins: Sequence[str] | str | None, request: Request) -> bool:
    """Tell whether a page may connect; what is no browser names no origin, and may."""
    given = [one.lower() for one in request['headers'].getall('Origin', ())]
    if not given or origins == '*':
        return True
    if len(given) > 1 or origins is not None:
        return len(given) == 1 and given[0] in (origins or ())
    # The scheme is not compared: a proxy may have ended the TLS.
    host, port = request['host'], request['port']
    host = f'[{host}]' if ':' in host else host
    own = {request['headers'].get('Host', '').lower(), f'{host}:{port}'}
    if port == PORTS[request['scheme']]:
        own.add(host)
    return given[0].partition('://')[2] in own


def protocol_of(options: Mapping[str, Any], offered: Sequence[str]) -> str | None:
    """Choose a subprotocol: the first that the client offers, of those that are known."""
    known = options.get('protocols', ())
    return next((one for one in offered if one in known), None)


def to_pairs(fields: Sequence[str]) -> list[tuple[str, str]]:
    """Take fields apart that were made here."""
    return [(name, value) for name, _, value in (field.partition(': ') for field in fields)]


def response_fields(options: Mapping[str, Any], request: Request) -> tuple[PeerOptions, list[str]]:
    """Agree to a request that was not refused.

    Returns:
        What was agreed upon, and the fields that say so.
    """
    headers = request['headers']
    fields = [
        UPGRADE,
        'Connection: Upgrade',
        f'Sec-WebSocket-Accept: {accept_of(headers["Sec-WebSocket-Key"])}',
    ]
    protocol = protocol_of(options, listed(headers, 'Sec-WebSocket-Protocol'))
    if protocol:
        fields.append(f'Sec-WebSocket-Protocol: {protocol}')
    window, resets = 0, False
    if options.get('compress', True):
        offered = ', '.join(headers.getall('Sec-WebSocket-Extensions', ()))
        window, resets = ws_ext_parse(offered, isserver=True)
        if window:
            fields.append(
                f'Sec-WebSocket-Extensions: {_choose_deflate(offered, window, resets=resets)}'
            )
    return to_peer_options(options, protocol, window, resets), fields


def _choose_deflate(offered: str, window: int, *, resets: bool) -> str:
    chosen = ws_ext_gen(window, isserver=True, server_notakeover=resets)
    if window == WINDOW and 'server_max_window_bits' in offered:
        # aiohttp leaves out the largest, which declines it (RFC 7692 7.1.2.1).
        chosen += f'; server_max_window_bits={WINDOW}'
    return chosen
