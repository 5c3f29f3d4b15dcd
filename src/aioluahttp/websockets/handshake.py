"""The opening handshake of a WebSocket, for clients and servers (RFC 6455 4).

Subprotocol, compression, key and origin are negotiated here; ``connection`` does the rest.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha1
from os import urandom
from typing import Any

from ..errors import ProtocolError
from ..headers import Headers, list_items
from ..tables.checks import PORTS
from ..tables.models import Request, bracketed
from .connection import PeerOptions
from .deflate import NO_DEFLATE, OFFER, Deflate, accept_offer, read_response

__all__ = [
    'check_handshake',
    'is_allowed',
    'max_message',
    'protocol_of',
    'read_agreement',
    'request_fields',
    'response_fields',
    'to_pairs',
    'wants_websocket',
    'without_handshake',
]

MAX_MESSAGE = 4 * 1024 * 1024  # bytes
HEARTBEAT = 20.0  # seconds: common proxies drop connections after an idle minute
VERSION = '13'
GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'  # RFC 6455 1.3

UPGRADE = 'Upgrade: websocket'
REFUSALS = {  # header lines that a response with this status must have
    426: ('Connection: Upgrade', UPGRADE, f'Sec-WebSocket-Version: {VERSION}'),
}


def accept_of(key: str) -> str:
    """Compute Sec-WebSocket-Accept from Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    return b64encode(sha1(key.encode('utf-8', 'surrogateescape') + GUID).digest()).decode()


def without_handshake(headers: Headers) -> Headers:
    """Copy headers without Upgrade and the Sec-WebSocket fields: each handshake makes its own."""
    return Headers([pair for pair in headers.items() if not _is_of_handshake(pair[0].lower())])


def _is_of_handshake(name: str) -> bool:
    return name == 'upgrade' or name.startswith('sec-websocket-')


def to_peer_options(
    options: Mapping[str, Any], protocol: str | None, deflate: Deflate
) -> PeerOptions:
    heartbeat = options.get('heartbeat', HEARTBEAT)
    return PeerOptions(protocol, *deflate, max_message(options), heartbeat)


def max_message(options: Mapping[str, Any]) -> int | None:
    """Return the size limit of a received message in bytes; ``None`` is no limit."""
    limit: int | None = options.get('max_message', MAX_MESSAGE)
    return limit


# Client side.


def request_fields(options: Mapping[str, Any]) -> dict[str, str]:
    """Make the header fields of a client's handshake request."""
    fields = {
        'Connection': 'Upgrade',
        'Upgrade': 'websocket',
        'Sec-WebSocket-Version': VERSION,
        'Sec-WebSocket-Key': b64encode(urandom(16)).decode(),
    }
    if options.get('protocols'):
        fields['Sec-WebSocket-Protocol'] = ', '.join(options['protocols'])
    if options.get('compress', True):
        fields['Sec-WebSocket-Extensions'] = OFFER
    return fields


def read_agreement(
    options: Mapping[str, Any], asked: Mapping[str, str], response: Mapping[str, Any]
) -> PeerOptions:
    """Check a server's handshake response, and return what was negotiated.

    Args:
        options: The client's options.
        asked: The header fields of the handshake request.
        response: Its table; one without ``version`` did not come over a connection.

    Raises:
        ProtocolError: The server declined, or chose something that was not offered.
    """
    headers, status = response['headers'], response['status']
    if status != 101:
        raise ProtocolError(f'the server declined a WebSocket: {status}')
    if (version := response.get('version', '1.1')) != '1.1':  # RFC 9110 7.8
        raise ProtocolError(f'the server switched protocols in HTTP/{version}, which cannot')
    upgrade = [one.lower() for one in list_items(headers, 'Upgrade')]
    if not upgrade:
        raise ProtocolError('the server did not switch protocols, or closed the connection')
    if upgrade != ['websocket']:  # RFC 6455 4.1
        raise ProtocolError(f'the server switched to another protocol than a WebSocket: {upgrade}')
    proofs = headers.getall('Sec-WebSocket-Accept', ())
    if list(proofs) != [accept_of(asked['Sec-WebSocket-Key'])]:
        raise ProtocolError('the server did not understand that a WebSocket was asked for')
    chosen = list_items(headers, 'Sec-WebSocket-Protocol')
    if len(chosen) > 1 or not set(chosen) <= set(options.get('protocols', ())):
        raise ProtocolError(f'the server chose a subprotocol that was not offered: {chosen}')
    accepted = ', '.join(headers.getall('Sec-WebSocket-Extensions', ()))
    deflate = read_response(accepted, offered='Sec-WebSocket-Extensions' in asked)
    return to_peer_options(options, chosen[0] if chosen else None, deflate)


# Server side.


def wants_websocket(headers: Any) -> bool:
    """Tell whether a request asks to switch to a WebSocket (RFC 9110 7.8); HTTP/1.0 cannot.

    Connection and Upgrade are lists, in any case and on any number of lines. The WebSocket may be
    one of several protocols that the client can use.
    """
    return 'upgrade' in map(str.lower, list_items(headers, 'Connection')) and (
        'websocket' in map(str.lower, list_items(headers, 'Upgrade'))
    )


def check_handshake(
    options: Mapping[str, Any], request: Request, *, upgrades: bool
) -> tuple[int, Sequence[str]] | None:
    """Check a handshake request; return why it is refused, or ``None`` if it is acceptable.

    Args:
        options: The ``websocket`` options of the response that would open it.
        upgrades: Whether the connection can be upgraded after this request.

    Returns:
        The status and its header lines: 426 if the request does not ask for a WebSocket (RFC 9110
        15.5.22) or asks for another version (RFC 6455 4.4), 400 for a bad key, 403 for a page of
        a forbidden origin (RFC 6455 10.2).
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
    """Tell whether the Origin of a request is allowed; one without Origin (not a browser) is.

    Args:
        origins: Allowed origins; ``'*'`` allows all, ``None`` only the host of the request.
    """
    given = [one.lower() for one in request['headers'].getall('Origin', ())]
    if not given or origins == '*':
        return True
    if len(given) > 1 or origins is not None:
        return len(given) == 1 and given[0] in (origins or ())
    # The scheme is not compared: a proxy in front may have terminated TLS.
    host, port = bracketed(request['host']), request['port']
    own = {request['headers'].get('Host', '').lower(), f'{host}:{port}'}
    if port == PORTS[request['scheme']]:
        own.add(host)
    authority = given[0].partition('://')[2]  # '' of ``null``, which an empty Host must not equal
    return authority != '' and authority in own


def protocol_of(options: Mapping[str, Any], offered: Sequence[str]) -> str | None:
    """Choose the first subprotocol of the client's that ``options`` list; ``None`` if none is."""
    known = options.get('protocols', ())
    return next((one for one in offered if one in known), None)


def to_pairs(fields: Sequence[str]) -> list[tuple[str, str]]:
    """Split header lines made by this module into names and values."""
    return [(name, value) for name, _, value in (field.partition(': ') for field in fields)]


def response_fields(options: Mapping[str, Any], request: Request) -> tuple[PeerOptions, list[str]]:
    """Accept a handshake request that ``check_handshake`` did not refuse.

    Returns:
        What was negotiated, and the header lines of the 101 response.
    """
    headers = request['headers']
    fields = [
        UPGRADE,
        'Connection: Upgrade',
        f'Sec-WebSocket-Accept: {accept_of(headers["Sec-WebSocket-Key"])}',
    ]
    protocol = protocol_of(options, list_items(headers, 'Sec-WebSocket-Protocol'))
    if protocol:
        fields.append(f'Sec-WebSocket-Protocol: {protocol}')
    deflate = NO_DEFLATE
    if options.get('compress', True):
        deflate, extension = accept_offer(', '.join(headers.getall('Sec-WebSocket-Extensions', ())))
        if extension:
            fields.append(f'Sec-WebSocket-Extensions: {extension}')
    return to_peer_options(options, protocol, deflate), fields
