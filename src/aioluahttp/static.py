"""A folder as a handler: its files, and nothing that is outside or hidden."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .errors import TableError
from .tables.models import Handler, Request

__all__ = ['files']

INDEX = 'index.html'
FOLDER = ''  # what is found where a folder is asked for as if it were a file
NOT_FOUND = {'status': 404, 'body': 'Not Found'}
NOT_ALLOWED = {'status': 405, 'headers': {'Allow': 'GET, HEAD'}, 'body': 'Method Not Allowed'}


def files(directory: str | PathLike[str]) -> Handler:
    """Make a handler that answers with the files of a folder.

    A path names a file in it, or a folder with an ``index.html``; what is listed is nothing.
    Names that begin with a dot are not there, nor is what a symbolic link leads out to, nor a
    name that holds a slash, a backslash or NUL once it is decoded.

    Args:
        directory: The folder. Where it is a link, what that leads to now.

    Raises:
        TableError: There is no such folder.

    Example:
        >>> static = files('.')
        >>> async def handler(request):
        ...     if request.path.startswith('/static/'):
        ...         return await static(request | {'path': request.path.removeprefix('/static')})
        ...     return {'status': 404}
    """
    root = Path(os.path.realpath(directory))
    if not root.is_dir():
        raise TableError.of('directory', directory, 'the path of a folder')

    async def handler(request: Request) -> Mapping[str, Any]:
        if request['method'] not in ('GET', 'HEAD'):
            return NOT_ALLOWED
        names = _path_names(request['path'])
        found = await asyncio.to_thread(_find_file, root, names)
        if found == FOLDER:
            return {'status': 301, 'headers': {'Location': _with_slash(request)}}
        return NOT_FOUND if found is None else {'status': 200, 'body': Path(found)}

    return handler


def _path_names(path: str) -> list[str]:
    """Give the names on the way to a file; none where one of them may not be asked for."""
    names = [unquote(part, errors='surrogateescape') for part in path.split('/')[1:]]
    if names and not names[-1]:
        names[-1] = INDEX
    return names if all(map(_is_plain_name, names)) else []


def _is_plain_name(name: str) -> bool:
    return not (name == '' or name.startswith('.') or any(one in name for one in '/\\\0'))


def _find_file(root: Path, names: list[str]) -> str | None:
    """Find a file; the links on the way to it are followed as long as they stay within."""
    found = Path(os.path.realpath(root.joinpath(*names)))
    inside = found.is_relative_to(root) and all(map(_is_plain_name, found.relative_to(root).parts))
    if not (names and inside and os.access(found, os.R_OK)):
        return None
    if os.path.isdir(found):
        return None if names[-1] == INDEX else FOLDER
    return str(found) if os.path.isfile(found) else None


def _with_slash(request: Request) -> str:
    """Refer to a folder from where it is asked for, whatever stands before it in the URL."""
    name = request['path'].rpartition('/')[2]
    return f'./{name}/' + (f'?{request["query"]}' if request['query'] else '')
