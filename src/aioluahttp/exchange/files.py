"""Files as response bodies: conditional requests and ranges (RFC 9110 13 and 14).

The headers and body of the response are made in ``response``; ``static`` serves folders.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from errno import EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from math import ceil
from os import fsdecode, stat
from stat import S_ISREG
from time import time
from typing import Any, BinaryIO, NamedTuple

from ..bodies.encoders import choose_coding
from ..conditions import failed_condition, if_range_holds, requested_range
from ..dates import format_date
from ..headers import Headers
from ..media_types import UNKNOWN, type_of, with_charset

__all__ = ['SelectedFile', 'select_file', 'tag_of']

MISSING = frozenset({ENOENT, ENOTDIR, ENAMETOOLONG})

CODED = {'br': '.br', 'gzip': '.gz'}  # precompressed variants beside a file, smallest first


class SelectedFile(NamedTuple):
    """The status, header fields and bytes of a file with which to respond.

    Attributes:
        file: Open, and positioned at ``start``; ``None`` if no byte of it is sent.
        path: Path of the file.
        start: Offset of the first byte to send.
        size: Number of bytes to send.
    """

    status: int
    fields: dict[str, str]
    file: BinaryIO | None = None
    path: str = ''
    start: int = 0
    size: int = 0


def select_file(path: Any, method: str, headers: Headers, status: int) -> SelectedFile | None:
    """Select the part of a file to respond with; ``None`` if there is no such file.

    Args:
        path: Path of the file. Its name gives the Content-Type; a compressed variant beside it is
            sent if the client accepts it.
        headers: Headers of the request. Conditions apply to a GET or HEAD whose
            response would be a 200 (RFC 9110 13.2.1), ranges to a GET.
        status: Status that the handler gave the response.

    Raises:
        OSError: The path is not a regular file, or cannot be read.
    """
    name = fsdecode(path)
    asked = headers if status == 200 and method in ('GET', 'HEAD') else Headers()
    if not (tag := tag_of(name)):
        return None
    fields = {'Content-Type': with_charset(type_of(name) or UNKNOWN)}
    variants = _variants(name)
    # A client that has a part of the file itself gets the rest of that, not of a variant.
    coding = None if asked.get('If-Range') == tag else _choose_variant(asked, variants)
    if coding:
        fields['Content-Encoding'] = coding
    found = variants[coding] if coding else name
    with ExitStack() as opened:
        file = opened.enter_context(open(found, 'rb'))
        selected = _select_range(file, method, status, asked)
        if method != 'HEAD' and selected.size:
            opened.pop_all()  # the caller closes it
        else:
            selected = selected._replace(file=None)
    kept = fields if selected.status in (status, 206) else {}
    if variants:  # also on the file itself and on a 304 (RFC 9110 12.5.5, 15.4.5)
        kept = {**kept, 'Vary': 'Accept-Encoding'}
    return selected._replace(path=found, fields=kept | selected.fields)


def _variants(name: str) -> dict[str, str]:
    """Find the compressed variants of a file: their paths, by content coding."""
    found = {}
    for coding, ending in CODED.items():
        with suppress(OSError, ValueError):
            if S_ISREG(os.lstat(name + ending).st_mode):
                found[coding] = name + ending
    return found


def _choose_variant(asked: Headers, variants: dict[str, str]) -> str | None:
    accepted = ','.join(asked.getall('Accept-Encoding', ()))
    return choose_coding(accepted, variants) if variants else None


def _select_range(file: BinaryIO, method: str, status: int, asked: Headers) -> SelectedFile:
    """Evaluate conditions, then Range, in the order of RFC 9110 13.2.2."""
    found, now = os.fstat(file.fileno()), int(time())
    # Never later than Date, whatever the clock of the file system says (RFC 9110 8.8.2.1).
    size, modified = found.st_size, min(ceil(found.st_mtime), now)
    tag = _tag(found)
    fields = {'ETag': tag, 'Last-Modified': format_date(modified), 'Accept-Ranges': 'bytes'}
    if (missed := failed_condition(asked, tag, modified)) is not None:
        return SelectedFile(missed, {} if missed == 412 else fields)
    whole = SelectedFile(status, fields, file, size=size)
    wanted = requested_range(asked, size) if method == 'GET' else None  # RFC 9110 14.2
    if wanted is None or not if_range_holds(asked, tag, modified, now):
        return whole
    start, end = wanted
    if start == end:
        return SelectedFile(416, {'Content-Range': f'bytes */{size}'})
    file.seek(start)
    fields['Content-Range'] = f'bytes {start}-{end - 1}/{size}'
    return whole._replace(status=206, start=start, size=end - start)


def tag_of(path: str) -> str:
    """Return the entity tag of a file; ``''`` if there is no such file.

    Raises:
        OSError: The path is not a regular file, or cannot be read.
    """
    try:
        found = stat(path)
    except ValueError:  # no file can have this name
        return ''
    except OSError as error:
        if error.errno in MISSING:
            return ''
        raise
    if not S_ISREG(found.st_mode):
        raise OSError(EISDIR, 'a body must be a regular file', path)
    with open(path, 'rb'):
        return _tag(found)


def _tag(found: os.stat_result) -> str:
    return f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
