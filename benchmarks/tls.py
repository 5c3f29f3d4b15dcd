"""A certificate for the servers under test, made anew in each process. No client checks it."""

from __future__ import annotations

import ssl

import trustme

__all__ = ['server_context']


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert('127.0.0.1').configure_cert(context)
    return context
