"""The command line: its commands with their arguments and help, and `main`.

The commands are run by ``request``, ``serve`` and ``demo``.
"""

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

INTERRUPTED = 130  # as in shells: 128 and the number of SIGINT

DESCRIPTION = """
HTTP as plain tables. Without a command: start a server on loopback, send it requests, and print
the request and response tables.
"""


class Command(NamedTuple):
    """A command: a function that runs it and returns its exit status, its help and arguments."""

    run: Callable[[argparse.Namespace], int]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...]


def argument(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, options


ADDRESS = (
    argument('--host', default='127.0.0.1', help='address or name to listen on (%(default)s)'),
    argument('--port', type=int, default=8080, help='port, 0 for any free one (%(default)s)'),
    argument('--unix', metavar='PATH', help='listen on a Unix socket instead'),
    argument('--cert', metavar='FILE', help='certificate in PEM; turns TLS on'),
    argument('--key', metavar='FILE', help='private key, if it is not in the file of --cert'),
    argument(
        '--workers',
        metavar='N',
        type=int,
        default=1,
        help='number of processes (1)',
    ),
    argument('--access-log', action='store_true', help='log a line for each request'),
)
URL: dict[str, Any] = {
    'metavar': 'URL',
    'type': to_url,
    'help': 'URL to request; http:// may be left out, and localhost before :PORT',
}

REQUEST = (
    argument('url', nargs='?', **URL),
    argument('-X', '--method', help='request method (GET, or POST with a body)'),
    argument(
        '-H',
        '--header',
        metavar='"NAME: VALUE"',
        action='append',
        type=to_pair,
        help='request header; may be repeated',
    ),
    argument(
        '-d',
        '--data',
        metavar='TEXT',
        dest='body',
        type=to_body,
        help='request body: text, @FILE, or @- for standard input',
    ),
    argument('--json', metavar='JSON', type=json.loads, help='request body in JSON'),
    argument(
        '--table',
        metavar='FILE',
        help='request table in JSON, - for standard input; other options override its keys',
    ),
    argument(
        '--into',
        metavar='WORD|FILE',
        type=to_into,
        help=f'form of the response body: {", ".join(WORDS)}, or a file to write it to; '
        'streams, raw bodies and events are printed alone, as they arrive',
    ),
    argument('--timeout', metavar='SECONDS', type=float, help='timeout of the whole exchange (30)'),
    argument('--check', action='store_true', help='exit with 4 for a 4xx status, 5 for 5xx'),
    argument(
        '--repr',
        dest='shape',
        action='store_const',
        const='repr',
        help='print the response table as a Python literal',
    ),
    argument(
        '--json-table',
        dest='shape',
        action='store_const',
        const='json',
        help='print the response table as JSON',
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
        help='file to write, or folder for a file named after the end of the URL (.)',
    ),
    argument(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='continue a download that broke off (default)',
    ),
)
SERVE = (
    argument('target', metavar='MODULE:HANDLER|DIR', help='handler in a module, or a folder'),
    *ADDRESS,
    argument(
        '--reload',
        action='store_true',
        help='restart when a Python file in or below the current folder changes',
    ),
)
PROXY = (
    argument('target', metavar='ORIGIN', help='URL, such as http://localhost:9000'),
    *ADDRESS,
)

COMMANDS = {
    'request': Command(
        lambda given: run_in_loop(run_request(given)),
        'send a request table and print the response table',
        REQUEST,
    ),
    'download': Command(
        lambda given: run_in_loop(run_download(given)),
        'write a response body to a file, and resume a download that broke off',
        DOWNLOAD,
    ),
    'serve': Command(run_serve, 'serve a handler, or the files of a folder', SERVE),
    'echo': Command(run_serve, 'respond to each request with its own table, as JSON', ADDRESS),
    'proxy': Command(run_serve, 'forward each request to an origin', PROXY),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
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
        # An option that is not given is absent, as in a table.
        added = commands.add_parser(
            name, help=command.help, description=command.help, argument_default=argparse.SUPPRESS
        )
        added.set_defaults(run=command.run)
        for names, options in command.arguments:
            added.add_argument(*names, **options)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    given = make_parser().parse_args(arguments)
    try:
        return int(given.run(given) or 0)
    except (Error, OSError, ImportError) as error:
        print(f'aioluahttp: {error}', file=sys.stderr)
        return 2 if isinstance(error, TableError) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
