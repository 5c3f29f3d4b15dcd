"""Tables as the command line shows them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from os import PathLike, fspath
from pprint import pformat
from typing import Any

from ..headers import Headers
from ..tables.models import Response

__all__ = ['SHAPES', 'show']

WIDTH = 96


def literal(value: Any) -> Any:
    """Make a value that has a literal in Python: headers as pairs, a path as text."""
    match value:
        case Headers():
            return list(value.items())
        case Mapping():
            return {key: literal(one) for key, one in value.items()}
        case list():
            return [literal(one) for one in value]
        case PathLike():
            return fspath(value)
    return value


def show_for_people(table: Response[Any]) -> None:
    """Print a table in lines; on a terminal in colours, where rich is installed."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.pretty import Pretty
        except ImportError:
            pass
        else:
            Console().print(Pretty(literal(table), expand_all=True))
            return
    print(pformat(literal(table), sort_dicts=False, width=WIDTH))


def show_literal(table: Response[Any]) -> None:
    """Print a table as a literal of Python in one line."""
    print(repr(literal(table)))


def show_json(table: Response[Any]) -> None:
    """Print a table as JSON in one line: what ``plain`` gives."""
    print(json.dumps(Response(literal(table)).plain()))


SHAPES = {None: show_for_people, 'repr': show_literal, 'json': show_json}


def show(table: Response[Any], shape: str | None = None) -> None:
    """Print a table: ``None`` for people, ``'repr'`` as Python, ``'json'`` as JSON."""
    SHAPES[shape](table)
