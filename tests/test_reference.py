"""The reference pages document each key, option, error and command, and no others."""

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

# What exchange.head.to_head sets, and the body; tests/exchange checks each.
RECEIVED = set('method url scheme host port path query headers body version ip'.split())


def section_of(title: str, page: str = PAGE) -> str:
    """Return the text below a heading."""
    return page.split(f'\n## {title}\n')[1].partition('\n## ')[0]


def rows(title: str) -> list[str]:
    """Return the first column of the table below a heading."""
    return re.findall(r'^\| `(\w+)`', section_of(title), re.MULTILINE)


def named(function: object) -> list[str]:
    """Return the names of the parameters that have a default."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is not one.empty]


@pytest.mark.parametrize(
    ('title', 'names'),
    [
        ('Request, as you write it', RequestTable.__annotations__),
        ('Request, as you write it', REQUEST_CHECKS),
        ('Response, as you receive it', set(ResponseTable.__annotations__) - {'json', 'events'}),
        ('Request, as a handler receives it', RECEIVED),
        ('Response, as a handler returns it', ResponseTable.__annotations__),
        ('Response, as a handler returns it', RESPONSE_CHECKS),
        ('WebSocket', UpgradeTable.__annotations__),
        ('WebSocket', UPGRADE_CHECKS),
        ('Errors', errors.__all__),
        ('Options of `listen`', {*OPTIONS, 'on_error'}),
        ('Arguments of `Client`', named(aioluahttp.Client)),
    ],
    ids=lambda value: value if isinstance(value, str) else 'names',
)
def test_a_table_of_the_page_has_the_names_of_the_code(title, names):
    """A table of the page has a row for each name in the code, and no other row."""
    assert sorted(names) == sorted(rows(title))


@pytest.mark.parametrize('function', [to_asgi, to_web, to_application])
def test_the_page_lists_the_options_of_each_adapter(function):
    """The second column says which adapters take the option."""
    section = section_of('Options of `to_asgi`, `to_web` and `to_application`')
    documented = re.findall(
        rf'^\| `(\w+)` \| (?:all|.*`{function.__name__}`.*?) \|', section, re.MULTILINE
    )
    assert sorted({*EXCHANGE_OPTIONS, *named(function)}) == sorted(documented)


@pytest.mark.parametrize(
    ('table', 'names'),
    [
        ('`timeout`', types.TimeoutTable.__annotations__),
        ('`tls`', TLS_KEYS),
        ('attributes of `client.cookies.set`', types.CookieAttributes.__annotations__),
        ('part of `multipart`', types.Part.__annotations__),
        ('`on_progress`', types.ProgressTable.__annotations__),
        ('file of `.form()`', types.FormFile.__annotations__),
        ('event, as you write it', types.EventTable.__annotations__),
        ('event, as you receive it', types.Event.__annotations__),
        ('`Server.stats`', types.StatsTable.__annotations__),
    ],
)
def test_the_page_lists_the_keys_of_a_nested_table(table, names):
    """A row has the keys in the code, and no others."""
    row = section_of('Nested tables').split(f'\n| {table} | ')[1].partition(' |\n')[0]
    assert sorted(names) == sorted({*re.findall(r'`(\w+)`', row)} - {'None'})


def test_a_received_table_has_the_keys_of_a_written_one():
    """Except ``json`` and ``form``, which are methods there, and ``events``, which is its body."""
    assert {*RequestTable.__annotations__} - {'json', 'form'} == Request.FIELDS
    assert {*ResponseTable.__annotations__} - {'json', 'events'} == Response.FIELDS


@pytest.mark.parametrize('name', sorted(aioluahttp.__all__))
def test_a_page_documents_every_public_name(name):
    """Each public name of ``aioluahttp`` has one entry, on one page."""
    pages = [path.read_text() for path in DOCS.glob('*.md')]
    assert 1 == sum(page.count(f':: aioluahttp.{name}\n') for page in pages)


@pytest.mark.parametrize('name', middleware.__all__)
def test_the_middleware_page_names_every_middleware(name):
    """Each is documented there; ``compress``, a name of the package, is with the servers."""
    page = 'servers' if name in aioluahttp.__all__ else 'middleware'
    assert re.search(rf':: aioluahttp\.(middleware\.)?{name}\n', (DOCS / f'{page}.md').read_text())


@pytest.mark.parametrize('name', COMMANDS)
def test_the_command_line_page_names_every_option(name):
    """On every Python; ``test_cli`` compares the whole help text, on one Python."""
    section = section_of(f'`{name}`', (DOCS / 'command-line.md').read_text())
    listed = section.partition('usage:')[2].partition('\n\n')[2]
    for names, options in COMMANDS[name].arguments:
        for one in names if names[0].startswith('-') else [options.get('metavar', names[0])]:
            assert re.search(rf'(?<![\w-]){re.escape(one)}(?![\w-])', listed), one


SECURITY = (DOCS.parent / 'explanation/security.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(test_\w+)`', SECURITY))))
def test_a_defence_is_shown_by_a_test(name):
    """Each test that the security page names exists."""
    sources = (
        path.read_text(encoding='utf-8') for path in Path(__file__).parent.rglob('test_*.py')
    )
    assert any(f'def {name}(' in source for source in sources)


def test_every_threat_has_a_test():
    """Each row of the table of threats ends with the name of a test."""
    rows = re.findall(r'^\| (?!threat |---).*', SECURITY, re.MULTILINE)
    assert rows == [row for row in rows if re.search(r'`test_\w+` \|$', row)]
