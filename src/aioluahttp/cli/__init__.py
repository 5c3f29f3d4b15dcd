"""The command line: what its commands are and take."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Error, TableError
from ..server.listen import run_in_loop
from .demo import demonstrate
from .request import WORDS, run_download, run_request, to_body, to_into, to_pair, to_url
from .serve import run_serve

__all__ = ['COMMANDS', 'main', 'make_parser']

BROKEN = 130  # as shells have it: 128 and the number of SIGINT

DESCRIPTION = """
HTTP as plain tables. Without a command: start a server on loopback, send it requests, and print
the tables that went and came.
"""


class Command(NamedTuple):
    """A command: what gives its exit status, its help, and its arguments."""

    run: Callable[[argparse.Namespace], int]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]


def argument(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, options


ADDRESS = (
    argument('--host', default='127.0.0.1', help='where to listen (%(default)s)'),
    argument('--port', type=int, default=8080, help='0 picks a free one (%(default)s)'),
    argument('--unix', metavar='PATH', help='listen on a Unix socket instead'),
    argument('--cert', metavar='FILE', help='a certificate in PEM, for TLS'),
    argument('--key', metavar='FILE', help='its key, where it is in another file'),
    argument('--workers', metavar='N', type=int, default=1, help='processes on the port (1)'),
    argument('--access-log', action='store_true', help='write a line for each request'),
)
URL: dict[str, Any] = {
    'metavar': 'URL',
    'type': to_url,
    'help': 'http:// may be left out, and the host before a :port',
}

REQUEST = (
    argument('url', nargs='?', **URL),
    argument('-X', '--method', help='GET, but POST where there is a body'),
    argument(
        '-H',
        '--header',
        metavar='"NAME: VALUE"',
        action='append',
        type=to_pair,
        help='as many as you like',
    ),
    argument(
        '-d',
        '--data',
        metavar='TEXT',
        dest='body',
        type=to_body,
        help='the body: text, @FILE, or @- for the standard input',
    ),
    argument('--json', metavar='JSON', type=json.loads, help='the body as JSON'),
    argument(
        '--table',
        metavar='FILE',
        help='a request table in JSON, - for the standard input; options go before what it has',
    ),
    argument(
        '--into',
        metavar='WORD|FILE',
        type=to_into,
        help=f'what the body becomes: {", ".join(WORDS)}, or the file that it is written to; '
        'what flows is printed alone, as it comes',
    ),
    argument('--timeout', metavar='SECONDS', type=float, help='for the whole exchange (30)'),
    argument('--check', action='store_true', help='exit with 4 for a status of 4xx, 5 for 5xx'),
    argument(
        '--repr',
        dest='shape',
        action='store_const',
        const='repr',
        help='print the table as a literal of Python',
    ),
    argument(
        '--json-table', dest='shape', action='store_const', const='json', help='print it as JSON'
    ),
)
DOWNLOAD = (
    argument('url', **URL),
    argument(
        'path',
        metavar='PATH',
        nargs='?',
        type=Path,
        default=Path(),
        help='a file, or a folder for one named as the URL ends',
    ),
    argument(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='go on with what a broken download has left',
    ),
)
SERVE = (
    argument('target', metavar='MODULE:HANDLER|DIR', help='a name in a module, or a folder'),
    *ADDRESS,
    argument(
        '--reload',
        action='store_true',
        help='start anew when a file of Python in or below this folder changes',
    ),
)
PROXY = (argument('target', metavar='ORIGIN', help='such as http://localhost:9000'), *ADDRESS)

COMMANDS = {
    'request': Command(
        lambda given: run_in_loop(run_request(given)),
        'send a request table, and print the response table',
        REQUEST,
    ),
    'download': Command(
        lambda given: run_in_loop(run_download(given)),
        'write a body to a file, and go on where a download was broken off',
        DOWNLOAD,
    ),
    'serve': Command(run_serve, 'answer by a handler, or with the files of a folder', SERVE),
    'echo': Command(run_serve, 'answer each request with its own table, as JSON', ADDRESS),
    'proxy': Command(run_serve, 'send each request on to an origin', PROXY),
}


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(prog='aioluahttp', description=DESCRIPTION)
    parser.set_defaults(run=lambda given: run_in_loop(demonstrate()))
    parser.add_argument(
        '--version',
        dest='run',
        action='store_const',
        const=lambda given: print(f'aioluahttp {version("aioluahttp")}'),
        help='print the version',
    )
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command')
    for name, command in COMMANDS.items():
        # What is not given is not there, as in a table.
        added = commands.add_parser(
            name, help=command.help, description=command.help, argument_default=argparse.SUPPRESS
        )
        added.set_defaults(run=command.run)
        for names, options in command.arguments:
            added.add_argument(*names, **options)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    given = make_parser().parse_args(arguments)
    try:
        return int(given.run(given) or 0)
    except (Error, OSError, ImportError) as error:
        print(f'aioluahttp: {error}', file=sys.stderr)
        return 2 if isinstance(error, TableError) else 1
    except KeyboardInterrupt:
        return BROKEN
