"""Serve the files of a folder: ``files`` returns a handler for it.

The handler chooses the file; ranges, conditional requests and sending are in ``exchange``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .errors import TableError
from .tables.conversion import status_page, to_response
from .tables.models import Request, Response

__all__ = ['files']

INDEX = 'index.html'
FOLDER = ''  # the path is a folder, requested without a slash at its end


def files(
    directory: str | PathLike[str],
) -> Callable[[Request], Coroutine[Any, Any, Response[Any]]]:
    """Return a handler that serves the files of a folder.

    A path names a file, or a folder that has an ``index.html``; there are no folder listings.
    The response is 404 for a name that begins with a dot, for a symbolic link to a place outside
    the folder, and for a name that contains a slash, a backslash or NUL after decoding.

    Args:
        directory: The folder. If it is a symbolic link, the link is resolved once, now.

    Raises:
        TableError: The folder does not exist.

    Example:
        >>> static = files('.')
        >>> async def handler(request):
        ...     if request.path.startswith('/static/'):
        ...         return await static(request | {'path': request.path.removeprefix('/static')})
        ...     return {'status': 404}
    """
    root = Path(os.path.realpath(directory))
    if not root.is_dir():
        raise TableError.of('directory', directory, 'the path of a folder that exists')

    async def handler(request: Request) -> Response[Any]:
        if request['method'] not in ('GET', 'HEAD'):
            return status_page(405, {'Allow': 'GET, HEAD'})
        names = _path_names(request['path'])
        found = await asyncio.to_thread(_find_file, root, names)
        if found == FOLDER:
            return to_response({'status': 301, 'headers': {'Location': _with_slash(request)}})
        return to_response({'status': 200, 'body': Path(found)}) if found else status_page(404)

    return handler


def _path_names(path: str) -> list[str]:
    """Split a path into decoded names; return none if one of them is not allowed."""
    names = [unquote(part, errors='surrogateescape') for part in path.split('/')[1:]]
    if names and not names[-1]:
        names[-1] = INDEX
    return names if all(map(_is_plain_name, names)) else []


def _is_plain_name(name: str) -> bool:
    return not (name == '' or name.startswith('.') or any(one in name for one in '/\\\0'))


def _find_file(root: Path, names: list[str]) -> str | None:
    """Find a file. Symbolic links are followed if they lead to a place inside ``root``."""
    found = Path(os.path.realpath(root.joinpath(*names)))
    inside = found.is_relative_to(root) and all(map(_is_plain_name, found.relative_to(root).parts))
    if not (names and inside and os.access(found, os.R_OK)):
        return None
    if os.path.isdir(found):
        return None if names[-1] == INDEX else FOLDER
    return str(found) if os.path.isfile(found) else None


def _with_slash(request: Request) -> str:
    """Return the Location of a folder, relative because the URL may have a prefix."""
    name = request['path'].rpartition('/')[2]
    return f'./{name}/' + (f'?{request["query"]}' if request['query'] else '')
