"""The command line: its commands with their arguments and help, and `main`.

The commands are run by ``request``, ``serve`` and ``demo``; ``values`` parses arguments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from ..server.listen import run_in_loop
from .demo import demonstrate
from .request import run_download, run_request
from .serve import LIMITS, run_serve
from .statuses import exit_status
from .values import (
    WORDS,
    or_none,
    to_body,
    to_count,
    to_field,
    to_header,
    to_into,
    to_json,
    to_part,
    to_port,
    to_seconds,
    to_url,
)

__all__ = ['COMMANDS', 'main', 'make_parser']

DESCRIPTION = """
HTTP as plain tables. Without a command: start a server on loopback, send it requests, and print
the request and response tables.
"""
STATUSES = """
The exit status is 0; 1 if something failed: there is no response, or a server cannot start; 2 if
the command line is wrong, or names a file or a module that is not there; 130 after Ctrl-C.
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
    argument(
        '--port',
        type=to_port,
        metavar='N',
        default=8080,
        help='port, 0 for any free one (%(default)s)',
    ),
    argument('--unix', metavar='PATH', help='listen on a Unix socket instead'),
    argument('--cert', metavar='FILE', help='certificate in PEM; turns TLS on'),
    argument('--key', metavar='FILE', help='private key, if it is not in the file of --cert'),
    argument(
        '--workers',
        metavar='N',
        type=to_count,
        default=1,
        help='number of processes (%(default)s)',
    ),
    argument('--access-log', action='store_true', help='log a line for each request'),
    *(argument(f'--{key.replace("_", "-")}', **options) for key, options in LIMITS.items()),
)
URL: dict[str, Any] = {
    'metavar': 'URL',
    'type': to_url,
    'help': 'URL to request; http:// may be left out, and localhost before :PORT',
}

SENDING = (
    argument(
        '-H',
        '--header',
        metavar='"NAME: VALUE"',
        action='append',
        type=to_header,
        help='request header; may be repeated',
    ),
    argument('--auth', metavar='USER:PASSWORD', help='log in with a user and a password'),
    argument('--bearer', metavar='TOKEN', help='log in with a token'),
    argument(
        '--query',
        metavar='NAME=VALUE',
        action='append',
        type=to_field,
        help='add a field to the query of the URL; may be repeated',
    ),
    argument('--redirects', metavar='N', type=int, help='number of redirects to follow (10)'),
    argument(
        '--timeout',
        metavar='SECONDS',
        type=or_none(to_seconds),
        help='timeout of the whole exchange, or of the head of a stream or download; or none (30)',
    ),
    argument('--proxy', metavar='URL', type=to_url, help='proxy to send the request by'),
    argument(
        '--insecure',
        dest='tls',
        action='store_const',
        const={'verify': False},
        help='do not verify the certificate of the server',
    ),
)
REQUEST = (
    argument('url', nargs='?', default=None, **URL),
    argument('-X', '--method', help='request method (GET, or POST with a body)'),
    *SENDING,
    argument(
        '-d',
        '--data',
        metavar='TEXT',
        dest='body',
        type=to_body,
        help='request body: text, @FILE, or @- for standard input',
    ),
    argument('--json', metavar='JSON', type=to_json, help='request body in JSON'),
    argument(
        '--form',
        metavar='NAME=VALUE',
        action='append',
        type=to_field,
        help='field of a form; may be repeated',
    ),
    argument(
        '--multipart',
        metavar='NAME=VALUE',
        action='append',
        type=to_part,
        help='field of a multipart form, or a file: NAME=@FILE; may be repeated',
    ),
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
    argument('--check', action='store_true', help='exit with 4 for a 4xx status, 5 for 5xx'),
    argument(
        '--body',
        dest='shape',
        action='store_const',
        const='body',
        help='print only the response body',
    ),
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
        default='.',
        help='file to write, or folder for a file named after the end of the URL (.)',
    ),
    argument(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='continue a download that broke off (default)',
    ),
    *SENDING,
)
SERVE = (
    argument('target', metavar='MODULE:HANDLER|DIR', help='handler in a module, or a folder'),
    *ADDRESS,
    argument(
        '--lifespan',
        metavar='MODULE:NAME',
        help='function that returns a context manager, entered at the start and left at the end',
    ),
    argument(
        '--reload',
        action='store_true',
        help='restart when a Python file in or below the current folder changes',
    ),
)
PROXY = (
    argument(
        'target',
        metavar='ORIGIN',
        type=to_url,
        help='URL, such as http://localhost:9000; http:// may be left out',
    ),
    *ADDRESS,
    argument(
        '--cache',
        metavar='FILE',
        nargs='?',
        const='',
        help='store responses, in memory or in a file that survives restarts',
    ),
)

COMMANDS = {
    'request': Command(
        lambda given: run_in_loop(run_request(given)),
        'send a request and print the response',
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
    parser = argparse.ArgumentParser(prog='aioluahttp', description=DESCRIPTION, epilog=STATUSES)
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
    return exit_status(lambda: given.run(given))
