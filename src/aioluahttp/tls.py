"""TLS settings as tables, and SSL contexts made from them, cached by value."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache
from os import PathLike, fsencode, fspath
from os.path import isdir
from typing import Any

from .errors import TableError

__all__ = ['TlsLike', 'check_tls', 'client_context', 'server_context']

TlsLike = ssl.SSLContext | Mapping[str, Any] | bool

TLS_KEYS = ('verify', 'ca', 'cert', 'key', 'server_name')
PATHS = ('ca', 'cert', 'key')


def check_tls(tls: Any) -> ssl.SSLContext | bool | dict[str, Any]:
    """Check TLS settings as users write them; paths become str.

    Args:
        tls: A context, False (trust any certificate), True (the system's trust store), or a table
            of ``verify`` (bool), ``ca`` (path of a PEM file or a folder), ``cert`` and ``key``
            (paths of PEM files) and ``server_name`` (the name that the certificate must have).
    """
    if isinstance(tls, bool | ssl.SSLContext):
        return tls
    if not isinstance(tls, Mapping):
        raise TableError.of('tls', tls, 'an ssl.SSLContext, a table, or False')
    checked: dict[str, Any] = {}
    for key, value in tls.items():
        if key not in TLS_KEYS:
            raise TableError.unknown(key, TLS_KEYS)
        if value is not None:
            checked[key] = _check(key, value)
    if 'key' in checked and 'cert' not in checked:
        raise TableError.of('tls', tls, 'a table with cert as well as key')
    return checked


def _check(key: str, value: Any) -> Any:
    if key == 'verify':
        if not isinstance(value, bool):
            raise TableError.of('tls.verify', value, 'True or False')
        return value
    if key in PATHS and isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str) or not _is_usable(key, value):
        raise TableError.of(f'tls.{key}', value, 'a path' if key in PATHS else 'a name')
    return value


def _is_usable(key: str, value: str) -> bool:
    """Tell whether ``ssl`` can take the text; if not, it would raise an error of its own."""
    try:
        data = fsencode(value) if key in PATHS else value.encode('idna')
    except UnicodeError:
        return False
    return bool(data) and b'\0' not in data


def client_context(tls: ssl.SSLContext | bool | dict[str, Any]) -> ssl.SSLContext | bool:
    """Return what aiohttp takes as ``ssl``: a context, True (the default) or False (no checks)."""
    if not isinstance(tls, dict):
        return tls
    settings = {key: value for key, value in tls.items() if key != 'server_name'}
    return _client(**settings) if settings else True


@lru_cache(64)
def _client(
    verify: bool = True, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load(context, ca, cert, key)
    return context


def server_context(tls: Any) -> ssl.SSLContext:
    """Return a server's context: ``cert`` and ``key``, and ``ca`` to verify client certificates."""
    checked = check_tls(tls)
    if isinstance(checked, ssl.SSLContext):
        return checked
    if isinstance(checked, bool) or 'cert' not in checked:
        raise TableError.of('tls', tls, 'an ssl.SSLContext or a table with cert and key')
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, checked.get('ca'), checked['cert'], checked.get('key'))
    if 'ca' in checked and checked.get('verify', True):
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, ca: str | None, cert: str | None, key: str | None) -> None:
    try:
        if ca:
            context.load_verify_locations(**{'capath' if isdir(ca) else 'cafile': ca})
        if cert:
            context.load_cert_chain(cert, key, password='')  # or OpenSSL asks at the terminal
    except OSError as error:  # includes ssl.SSLError
        wrong = {'ca': ca, 'cert': cert, 'key': key}
        raise TableError(f"'tls' is {wrong}; the files cannot be loaded: {error}") from error
