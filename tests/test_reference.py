"""The reference names each key, option, error and command, and nothing else."""

import inspect
import re
from pathlib import Path

import pytest

import aioluahttp
from aioluahttp import errors, middleware, types
from aioluahttp.asgi import to_asgi
from aioluahttp.cli import COMMANDS
from aioluahttp.exchange.options import EXCHANGE_OPTIONS
from aioluahttp.server.listen import OPTIONS
from aioluahttp.tables.checks import REQUEST_CHECKS, RESPONSE_CHECKS, UPGRADE_CHECKS
from aioluahttp.tables.models import Request, Response
from aioluahttp.tls import TLS_KEYS
from aioluahttp.types import RequestTable, ResponseTable, UpgradeTable
from aioluahttp.web import to_application, to_web

DOCS = Path(__file__).parent.parent / 'docs/reference'
PAGE = (DOCS / 'tables.md').read_text()

# What incoming.read_head and read_body fill in; test_incoming looks at each.
GIVEN = set('method url scheme host port path query headers body version ip'.split())


def section_of(title: str, page: str = PAGE) -> str:
    """Give what stands below a heading."""
    return page.split(f'\n## {title}\n')[1].partition('\n## ')[0]


def rows(title: str) -> list[str]:
    """Give the first column of the table below a heading."""
    return re.findall(r'^\| `(\w+)`', section_of(title), re.MULTILINE)


def named(function: object) -> list[str]:
    """Give the parameters that have a name and a default."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is not one.empty]


@pytest.mark.parametrize(
    ('title', 'names'),
    [
        ('Request, as you write it', RequestTable.__annotations__),
        ('Request, as you write it', REQUEST_CHECKS),
        ('Response, as you are given it', set(ResponseTable.__annotations__) - {'json', 'events'}),
        ('Request, as a callback is given it', GIVEN),
        ('Response, as a callback returns it', ResponseTable.__annotations__),
        ('Response, as a callback returns it', RESPONSE_CHECKS),
        ('WebSocket', UpgradeTable.__annotations__),
        ('WebSocket', UPGRADE_CHECKS),
        ('Errors', errors.__all__),
        ('Options of `listen`', {*OPTIONS, 'on_error'}),
        ('Arguments of `Client`', named(aioluahttp.Client)),
    ],
    ids=lambda value: value if isinstance(value, str) else 'names',
)
def test_the_page_names_what_there_is(title, names):
    """A table of the page has a row for each name of the code."""
    assert sorted(names) == sorted(rows(title))


@pytest.mark.parametrize('function', [to_asgi, to_web, to_application])
def test_the_page_names_what_an_adapter_takes(function):
    """Rows say whether they are of all, or of which."""
    section = section_of('Options under other engines')
    told = re.findall(
        rf'^\| `(\w+)` \| (?:all|.*`{function.__name__}`.*?) \|', section, re.MULTILINE
    )
    assert sorted({*EXCHANGE_OPTIONS, *named(function)}) == sorted(told)


@pytest.mark.parametrize(
    ('table', 'names'),
    [
        ('`timeout`', types.TimeoutTable.__annotations__),
        ('`tls`', TLS_KEYS),
        ('part of `multipart`', types.Part.__annotations__),
        ('file of `.form()`', types.FormFile.__annotations__),
        ('event, as you write it', types.EventTable.__annotations__),
        ('event, as you are given it', types.Event.__annotations__),
        ('`Server.stats`', types.StatsTable.__annotations__),
    ],
)
def test_the_page_names_the_keys_of_a_table_in_a_table(table, names):
    """A row has those of the code, and no other."""
    row = section_of('Tables in tables').split(f'\n| {table} | ')[1].partition(' |\n')[0]
    assert sorted(names) == sorted({*re.findall(r'`(\w+)`', row)} - {'None'})


def test_the_fields_of_a_table_given_are_the_keys_of_one_written():
    """``json`` and ``form`` are methods of what is given, and events its body: never fields."""
    assert {*RequestTable.__annotations__} - {'json', 'form'} == Request.FIELDS
    assert {*ResponseTable.__annotations__} - {'json', 'events'} == Response.FIELDS


@pytest.mark.parametrize('name', sorted(aioluahttp.__all__))
def test_the_functions_page_names_every_public_name(name):
    """Each name of the root is documented."""
    page = (DOCS / 'functions.md').read_text()
    assert f':: aioluahttp.{name}\n' in page


@pytest.mark.parametrize('name', middleware.__all__)
def test_the_middleware_page_names_every_middleware(name):
    """Each has its docstring there; ``compress`` is of the root."""
    page = 'functions' if name in aioluahttp.__all__ else 'middleware'
    assert re.search(rf':: aioluahttp\.(middleware\.)?{name}\n', (DOCS / f'{page}.md').read_text())


@pytest.mark.parametrize('name', COMMANDS)
def test_the_command_line_page_names_every_option(name):
    """What ``test_cli`` compares word by word on one Python, names apart."""
    section = section_of(f'`{name}`', (DOCS / 'command-line.md').read_text())
    listed = section.partition('usage:')[2].partition('\n\n')[2]
    for names, options in COMMANDS[name].arguments:
        for one in names if names[0].startswith('-') else [options.get('metavar', names[0])]:
            assert re.search(rf'(?<![\w-]){re.escape(one)}(?![\w-])', listed), one


SECURITY = (DOCS.parent / 'explanation/security.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(test_\w+)`', SECURITY))))
def test_a_defence_is_shown_by_a_test(name):
    """Each test that the page on security names is there."""
    sources = (
        path.read_text(encoding='utf-8') for path in Path(__file__).parent.rglob('test_*.py')
    )
    assert any(f'def {name}(' in source for source in sources)


def test_every_threat_has_a_test():
    """So many rows, so many that end with one."""
    rows = re.findall(r'^\| (?!threat |---).*', SECURITY, re.MULTILINE)
    assert rows == [row for row in rows if re.search(r'`test_\w+` \|$', row)]
