"""The reference page names each key, option and error, and nothing else."""

import re
from pathlib import Path

import pytest

import aioluahttp
from aioluahttp import errors
from aioluahttp.checks import REQUEST_CHECKS, RESPONSE_CHECKS, UPGRADE_CHECKS
from aioluahttp.listening import OPTIONS
from aioluahttp.shapes import RequestTable, ResponseTable, UpgradeTable
from aioluahttp.tables import Request, Response

DOCS = Path(__file__).parent.parent / 'docs/reference'
PAGE = (DOCS / 'tables.md').read_text()

# What incoming.read_head and read_body fill in; test_incoming looks at each.
GIVEN = set('method url scheme host port path query headers body version ip'.split())


def rows(title: str) -> list[str]:
    """Give the first column of the table below a heading."""
    section = PAGE.split(f'\n## {title}\n')[1].split('\n## ')[0]
    return re.findall(r'^\| `(\w+)`', section, re.MULTILINE)


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
    ],
    ids=str,
)
def test_the_page_names_what_there_is(title, names):
    """A table of the page has a row for each name of the code."""
    assert sorted(names) == sorted(rows(title))


def test_the_fields_of_a_table_given_are_the_keys_of_one_written():
    """``json`` and ``form`` are methods of what is given, and events its body: never fields."""
    assert {*RequestTable.__annotations__} - {'json', 'form'} == Request.FIELDS
    assert {*ResponseTable.__annotations__} - {'json', 'events'} == Response.FIELDS


@pytest.mark.parametrize('name', sorted(aioluahttp.__all__))
def test_the_functions_page_names_every_public_name(name):
    """Each name of the root is documented."""
    page = (DOCS / 'functions.md').read_text()
    assert f':: aioluahttp.{name}\n' in page


SECURITY = (DOCS.parent / 'explanation/security.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('name', sorted(set(re.findall(r'`(test_\w+)`', SECURITY))))
def test_a_defence_is_shown_by_a_test(name):
    """Each test that the page on security names is there."""
    sources = (path.read_text(encoding='utf-8') for path in Path(__file__).parent.glob('test_*.py'))
    assert any(f'def {name}(' in source for source in sources)


def test_every_threat_has_a_test():
    """So many rows, so many that end with one."""
    rows = re.findall(r'^\| (?!threat |---).*', SECURITY, re.MULTILINE)
    assert rows == [row for row in rows if re.search(r'`test_\w+` \|$', row)]
