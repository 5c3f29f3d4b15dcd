"""Modules import downward only."""

import ast
from pathlib import Path

import pytest

import aioluahttp

ROWS = [
    set(row.split())
    for row in """
        deadlines errors hiding messages outbox pairs semantics threads watching workers
        binding calling channels dates events headers parallel text tls url
        codings encoders forms forwarded framing multipart ranges selection shapes streams
        checks eventstreams sendfile sending sinks uploads
        tables
        conversion display downloads environment folders handshakes heads options sockets supply taps
        answers delivery dialing failures handling hops landing redirects scopes taking
        answering bodies compression defaults incoming limits linting logs origins recordings retrying tracing
        adapting direct flowing handover outbound outgoing replays
        asgi attempts inprocess lean middleware pacing passing paths streaming upgrading web
        bridging exchange transport
        connections lending
        acceptor client
        pool server
        asking listening relay
        __init__ demonstration hosting testing
        cli
        __main__
    """.strip().splitlines()
]
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}
FOLDER = Path(aioluahttp.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob('*.py'))
# What does no network I/O and knows no aiohttp.
WITH_AIOHTTP = {
    'channels',
    'framing',
    'handshakes',
    'messages',
    'multipart',
    'outbox',
    'pairs',
    'sendfile',
    'sockets',
}
WITHOUT_AIOHTTP = {name for row in ROWS[:6] for name in row} - WITH_AIOHTTP | set(
    """
    adapting answering answers asgi defaults environment handling landing limits linting logs
    options outgoing recordings redirects replays scopes taking tracing
    """.split()
)


def imports(module: str) -> set[tuple[str, str]]:
    """Give each import of a module as its package and its name, those for type checkers apart."""
    tree = ast.parse((FOLDER / f'{module}.py').read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, '') for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = '.' * node.level + (node.module or '')
            found |= {(package, alias.name) for alias in node.names}
    return found


def ours(module: str) -> set[str]:
    """Give the modules of ours that a module imports."""
    return {
        name if package == '.' else package.removeprefix('.')
        for package, name in imports(module)
        if package.startswith('.')
    }


def test_every_module_has_a_row():
    """The rows name each module once, and no other."""
    assert MODULES == sorted(ROW_OF)


@pytest.mark.parametrize('module', MODULES)
def test_a_module_imports_from_rows_below_its_own(module):
    """What a module imports of ours stands in a lower row."""
    assert set() == {name for name in ours(module) if ROW_OF[name] >= ROW_OF[module]}


@pytest.mark.parametrize('module', sorted(WITHOUT_AIOHTTP))
def test_the_tables_know_no_aiohttp(module):
    """The rows of tables and their rules stand without the transport."""
    assert set() == {package for package, _ in imports(module) if package.startswith('aiohttp')}


@pytest.mark.parametrize('module', MODULES)
def test_nothing_private_of_aiohttp_is_imported(module):
    """No name of aiohttp's with an underscore in front is imported."""
    names = {
        part
        for package, name in imports(module)
        if package.startswith('aiohttp')
        for part in (*package.split('.'), name)
    }
    assert set() == {name for name in names if name.startswith('_')}


@pytest.mark.parametrize('module', MODULES)
def test_a_module_says_its_job_in_a_line(module):
    """The first line of a module's docstring is a sentence."""
    docstring = ast.get_docstring(ast.parse((FOLDER / f'{module}.py').read_text()))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith('.')
