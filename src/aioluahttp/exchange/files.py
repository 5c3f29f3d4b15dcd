"""Files as response bodies: conditional requests and ranges (RFC 9110 13 and 14).

The headers and body of the response are made in ``response``; ``static`` serves folders.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, suppress
from errno import EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR
from math import ceil
from os import fsdecode, stat
from stat import S_ISREG
from time import time
from typing import Any, BinaryIO, NamedTuple

from ..bodies.encoders import choose_coding
from ..dates import format_date, parse_date
from ..headers import Headers
from ..media_types import UNKNOWN, type_of, with_charset

__all__ = ['RANGE', 'SelectedFile', 'select_file', 'tag_of']

MISSING = frozenset({ENOENT, ENOTDIR, ENAMETOOLONG})
# A single range of bytes. A server may ignore any other Range (RFC 9110 14.2).
RANGE = re.compile('bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))')
ETAG = re.compile('(W/)?("[^"]*")')
MEMBER = re.compile('(?:[^",]|"[^"]*")+')  # of a list of entity tags, in which commas may stand

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
    if (missed := _failed_condition(asked, tag, modified)) is not None:
        return SelectedFile(missed, {} if missed == 412 else fields)
    whole = SelectedFile(status, fields, file, size=size)
    wanted = RANGE.fullmatch(_only(asked, 'Range')) if method == 'GET' else None  # RFC 9110 14.2
    if not wanted or not _if_range_holds(asked, tag, modified, now):
        return whole
    first, last, tail = wanted.groups()
    start = max(size - int(tail), 0) if tail else int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start > end:
        return SelectedFile(416, {'Content-Range': f'bytes */{size}'})
    file.seek(start)
    fields['Content-Range'] = f'bytes {start}-{end}/{size}'
    return whole._replace(status=206, start=start, size=end - start + 1)


def _only(asked: Headers, field: str) -> str:
    """Return a field that must not be a list; ``''`` if it is absent or there are several."""
    values = asked.getall(field, ())
    return values[0] if len(values) == 1 else ''


def _failed_condition(asked: Headers, tag: str, modified: int) -> int | None:
    """Return 412 or 304 for the first condition that fails; ``None`` if all hold.

    A date that cannot be read is ignored (RFC 9110 13.1.3, 13.1.4).
    """
    since = parse_date(_only(asked, 'If-Unmodified-Since'))
    late = since is not None and modified > since
    if not _matches_tag(asked, 'If-Match', tag, weak=False) if 'If-Match' in asked else late:
        return 412
    if 'If-None-Match' in asked:
        return 304 if _matches_tag(asked, 'If-None-Match', tag, weak=True) else None
    since = parse_date(_only(asked, 'If-Modified-Since'))
    return 304 if since is not None and modified <= since else None


def _matches_tag(asked: Headers, field: str, tag: str, *, weak: bool) -> bool:
    value = ','.join(asked.getall(field))
    found = (ETAG.fullmatch(one.strip()) for one in MEMBER.findall(value))
    return value.strip() == '*' or any(
        one is not None and one[2] == tag and (weak or not one[1]) for one in found
    )


def _if_range_holds(asked: Headers, tag: str, modified: int, now: int) -> bool:
    """Tell whether If-Range matches this version of the file (RFC 9110 13.1.5).

    A date matches exactly or not at all, and only one that no later change can bear, too (8.8.2.2).
    """
    if 'If-Range' not in asked:
        return True
    validator = _only(asked, 'If-Range')
    return validator == tag or (parse_date(validator) == modified and modified < now)


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
