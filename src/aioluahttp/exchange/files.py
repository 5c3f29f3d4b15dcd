"""A file, or the part of it, that answers a request (RFC 9110 13 and 14)."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from errno import EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from math import ceil
from mimetypes import MimeTypes
from os import fsdecode, stat
from stat import S_ISREG
from typing import Any, BinaryIO, NamedTuple

from ..dates import format_date, parse_date
from ..headers import Headers

__all__ = ['RANGE', 'SelectedFile', 'select_file', 'tag_of']

MISSING = frozenset({ENOENT, ENOTDIR, ENAMETOOLONG})
# One range of bytes. Whatever else is asked for may be ignored (RFC 9110 14.2).
RANGE = re.compile('bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))')
ETAG = re.compile('(W/)?("[^"]*")')

CODED = {'br': '.br', 'gzip': '.gz'}  # what may lie beside a file, the smaller first
DEFAULT = 'application/octet-stream'
TYPES = MimeTypes()
TYPES.encodings_map.clear()  # a file is sent as it is
TYPES.add_type('application/gzip', '.gz')
TYPES.add_type('application/x-brotli', '.br')
TYPES.add_type('application/x-bzip2', '.bz2')
TYPES.add_type('application/x-compress', '.Z')
TYPES.add_type('application/x-xz', '.xz')


class SelectedFile(NamedTuple):
    """What answers a request: the bytes of a file from ``start`` on, ``size`` of them.

    ``file`` is open, and at ``start``; None where no byte of it is sent. ``path`` is the file's.
    """

    status: int
    fields: dict[str, str]
    file: BinaryIO | None = None
    path: str = ''
    start: int = 0
    size: int = 0


def select_file(path: Any, method: str, headers: Headers, status: int) -> SelectedFile | None:
    """Find what of a file answers a request; None where there is no such file.

    Args:
        path: Of the file; it decides on the type, and others may lie beside it, compressed.
        headers: Those of the request. Ranges and conditions are for what would be a 200 (RFC
            9110 13.2.1 and 14.2).
        status: That the answer would have.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    name = fsdecode(path)
    asked = headers if status == 200 and method in ('GET', 'HEAD') else Headers()
    coding, found = _nearest(name, asked)
    if not tag_of(found):
        return None
    fields = {'Content-Type': TYPES.guess_type(name)[0] or DEFAULT}
    if coding:
        fields |= {'Content-Encoding': coding, 'Vary': 'Accept-Encoding'}
    with ExitStack() as opened:
        selected = _select_range(opened.enter_context(open(found, 'rb')), status, asked)
        if method != 'HEAD' and selected.size:
            opened.pop_all()  # it is for the caller to close
        else:
            selected = selected._replace(file=None)
    kept = fields if selected.status in (status, 206) else {}
    return selected._replace(path=found, fields=kept | selected.fields)


def _nearest(name: str, asked: Headers) -> tuple[str, str]:
    """Find the file itself, or one beside it that is compressed as the client takes it."""
    takes = ','.join(asked.getall('Accept-Encoding', ())).lower()
    for coding, ending in CODED.items():
        if re.search(rf'(?:^|[ ,]){coding}(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))', takes):
            try:
                if S_ISREG(os.lstat(name + ending).st_mode):
                    return coding, name + ending
            except (OSError, ValueError):
                pass
    return '', name


def _select_range(file: BinaryIO, status: int, asked: Headers) -> SelectedFile:
    """Heed what was asked for, in the order of RFC 9110 13.2.2."""
    now = os.fstat(file.fileno())
    size, modified = now.st_size, ceil(now.st_mtime)
    tag = _tag(now)
    fields = {'ETag': tag, 'Last-Modified': format_date(modified), 'Accept-Ranges': 'bytes'}
    if (missed := _failed_condition(asked, tag, modified)) is not None:
        return SelectedFile(missed, {} if missed == 412 else fields)
    whole = SelectedFile(status, fields, file, size=size)
    wanted = RANGE.fullmatch(asked.get('Range', ''))
    if not wanted or not _if_range_holds(asked.get('If-Range'), tag, modified):
        return whole
    first, last, tail = wanted.groups()
    start = max(size - int(tail), 0) if tail else int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start > end:
        return SelectedFile(416, {'Content-Range': f'bytes */{size}'})
    file.seek(start)
    fields['Content-Range'] = f'bytes {start}-{end}/{size}'
    return whole._replace(status=206, start=start, size=end - start + 1)


def _failed_condition(asked: Headers, tag: str, modified: int) -> int | None:
    """Find the status for a condition that the file does not meet."""
    since = parse_date(asked.get('If-Unmodified-Since', ''))
    late = since is not None and modified > since
    if not _entity_tags(asked, 'If-Match', tag, weak=False) if 'If-Match' in asked else late:
        return 412
    if 'If-None-Match' in asked:
        return 304 if _entity_tags(asked, 'If-None-Match', tag, weak=True) else None
    since = parse_date(asked.get('If-Modified-Since', ''))
    return 304 if since is not None and modified <= since else None


def _entity_tags(asked: Headers, field: str, tag: str, *, weak: bool) -> bool:
    value = ','.join(asked.getall(field))
    return value.strip() == '*' or any(
        one == tag and (weak or not mark) for mark, one in ETAG.findall(value)
    )


def _if_range_holds(validator: str | None, tag: str, modified: int) -> bool:
    """Tell whether a client has parts of this very file (RFC 9110 13.1.5)."""
    return validator is None or validator == tag or parse_date(validator) == modified


def tag_of(path: str) -> str:
    """Give the entity tag of a file, as aiohttp makes it; ``''`` where there is none.

    Raises:
        OSError: It is no file, or cannot be read.
    """
    try:
        found = stat(path)
    except ValueError:  # no name of a file
        return ''
    except OSError as error:
        if error.errno in MISSING:
            return ''
        raise
    if not S_ISREG(found.st_mode):
        raise OSError(EISDIR, 'a body has to be a file', path)
    with open(path, 'rb'):
        return _tag(found)


def _tag(found: os.stat_result) -> str:
    return f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
