"""Negotiate permessage-deflate (RFC 7692 5.1 and 7.1): pure functions of the extensions header.

A server declines an offer that it cannot read, or that has an unknown, repeated or invalid
parameter; a client fails on such a response. The compression itself is in ``connection``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ProtocolError

__all__ = ['NO_DEFLATE', 'OFFER', 'Deflate', 'accept_offer', 'read_response']

NAME = 'permessage-deflate'
OFFER = f'{NAME}; client_max_window_bits'
LARGEST = 15  # bits of a window; also where no parameter says another (RFC 7692 7.1.2)
UNSUPPORTED = 8  # bits that RFC 7692 allows, and that zlib cannot write

TOKEN = r"[!#$%&'*+.^`|~0-9A-Za-z_-]+"
# RFC 6455 9.1: a quoted value is a token, too, once it is unquoted.
PARAMETER = re.compile(rf'({TOKEN})(?:[ \t]*=[ \t]*(?:({TOKEN})|"({TOKEN})"))?')
BITS = re.compile('[89]|1[0-5]')

Parameters = dict[str, str | None]


class Deflate(NamedTuple):
    """How this end compresses what it sends.

    Attributes:
        window: Bits of the window; 0 where nothing is compressed.
        resets: Whether each message is compressed by itself (no context takeover).
    """

    window: int
    resets: bool


NO_DEFLATE = Deflate(0, resets=False)


def accept_offer(extensions: str) -> tuple[Deflate, str | None]:
    """Accept the first offer of a client that a server can keep.

    Args:
        extensions: The value of Sec-WebSocket-Extensions.

    Returns:
        How the server compresses, and its own Sec-WebSocket-Extensions; None where it accepts none.
    """
    for name, parameters in _extensions(extensions):
        if name != NAME or parameters is None or not _is_offer(parameters):
            continue
        bits = parameters.get('server_max_window_bits')
        window = LARGEST if bits is None else int(bits)
        if window == UNSUPPORTED:
            continue
        resets = 'server_no_context_takeover' in parameters
        response = NAME + '; server_no_context_takeover' * resets
        if bits is not None:
            response += f'; server_max_window_bits={bits}'
        return Deflate(window, resets), response
    return NO_DEFLATE, None


def read_response(extensions: str, *, offered: bool) -> Deflate:
    """Read what a server accepted of ``OFFER``.

    Args:
        extensions: The value of Sec-WebSocket-Extensions, ``''`` where there is none.
        offered: Whether the client sent ``OFFER``.

    Raises:
        ProtocolError: The server accepted what was not offered, or has a parameter that is
            unknown, repeated or invalid.
    """
    if not extensions.strip(' \t,'):
        return NO_DEFLATE
    accepted = _extensions(extensions)
    name, parameters = accepted[0]
    if not offered or len(accepted) > 1 or name != NAME or parameters is None:
        raise ProtocolError(f'the server chose an extension that was not offered: {extensions}')
    if not _is_response(parameters):
        raise ProtocolError(f'the server chose parameters that are not valid: {extensions}')
    window = int(parameters.get('client_max_window_bits') or LARGEST)
    if window == UNSUPPORTED:
        raise ProtocolError(f'the server chose a window that zlib does not have: {extensions}')
    return Deflate(window, 'client_no_context_takeover' in parameters)


def _extensions(text: str) -> list[tuple[str, Parameters | None]]:
    """List names and parameters of a header; None for parameters that cannot be read or repeat."""
    found = []
    for extension in text.split(','):
        name, *rest = (part.strip(' \t') for part in extension.split(';'))
        if name or rest:  # else an empty member of a list (RFC 9110 5.6.1)
            found.append((name, _extension_parameters(rest)))
    return found


def _extension_parameters(parts: list[str]) -> Parameters | None:
    parameters: Parameters = {}
    for part in parts:
        match = PARAMETER.fullmatch(part)
        if match is None or match[1] in parameters:
            return None
        parameters[match[1]] = match[2] or match[3]
    return parameters


FLAGS = ('server_no_context_takeover', 'client_no_context_takeover')
WINDOWS = ('server_max_window_bits', 'client_max_window_bits')


def _is_response(parameters: Parameters) -> bool:
    """Tell whether all parameters are known and have valid values (RFC 7692 7.1)."""
    return all(
        (name in FLAGS and value is None)
        or (name in WINDOWS and value is not None and BITS.fullmatch(value) is not None)
        for name, value in parameters.items()
    )


def _is_offer(parameters: Parameters) -> bool:
    """Likewise, of an offer, in which ``client_max_window_bits`` needs no value."""
    hint = 'client_max_window_bits'
    needed = {name: one for name, one in parameters.items() if name != hint or one is not None}
    return _is_response(needed)
