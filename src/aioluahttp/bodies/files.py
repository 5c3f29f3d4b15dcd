"""Tell open files that are bodies, whether they can be sent again, and what their names are."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable
from typing import Any

from ..errors import TableError

__all__ = ['can_rewind', 'check_file', 'file_name_of', 'is_file']


def is_file(body: Any) -> bool:
    """Tell whether a body is an open file, which is read in pieces instead of iterated."""
    return hasattr(body, 'read') and not isinstance(body, AsyncIterable)


def can_rewind(file: Any) -> bool:
    """Tell whether an open file can be read again from where it stands."""
    return hasattr(file, 'seekable') and bool(file.seekable())


def check_file(key: str, body: Any) -> Any:
    """Return a body, unless it is a file that is open as text, or closed.

    Raises:
        TableError: It is; the message names ``key``.
    """
    file = is_file(body)
    if file and (isinstance(body, io.TextIOBase) or hasattr(body, 'encoding')):
        raise TableError.of(key, body, "a file opened in binary mode ('rb'), not as text")
    if file and getattr(body, 'closed', False):
        raise TableError.of(key, body, 'a file that is open')
    return body


def file_name_of(body: Any) -> str | None:
    """Return the name of a path or an open file, without its folder; None if it has none.

    Example:
        >>> import pathlib
        >>> file_name_of(pathlib.PurePosixPath('/srv/table.csv')), file_name_of(io.BytesIO())
        ('table.csv', None)
    """
    name = os.fspath(body) if isinstance(body, os.PathLike) else getattr(body, 'name', None)
    if not isinstance(name, str | bytes):  # a file that was opened by its descriptor has an int
        return None
    text = os.path.basename(os.fsdecode(name))
    return None if not text or text.startswith('<') else text  # such as <stdin>
