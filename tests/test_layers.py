"""The rooms of the package import downward only, and no files import each other in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aioluahttp

# A row imports from the rows above it in this list. A name is a folder, or a file at the top.
ROWS = [
    row.split()
    for row in """
        errors semantics
        dates url headers tls parallel
        types
        bodies
        tables
        websockets middleware static
        exchange
        transports server asgi web
        client testing
        reverse_proxy
        cli
        __init__ __main__
    """.strip().splitlines()
]
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}
WITH_AIOHTTP = {'transports', 'server', 'web', 'websockets', 'client', 'bodies.multipart'}

FOLDER = Path(aioluahttp.__file__).parent
PATHS = {
    '.'.join(path.relative_to(FOLDER).with_suffix('').parts): path
    for path in sorted(FOLDER.rglob('*.py'))
}
TREES = {name: ast.parse(path.read_text(encoding='utf-8')) for name, path in PATHS.items()}


def room_of(module: str) -> str:
    """Give the folder of a module, or the module itself where it stands at the top."""
    return module.partition('.')[0]


def imports(module: str) -> list[tuple[str, str]]:
    """List the imports of a module as pairs of a module and a name, without those of checkers.

    A module of ours is spelled from the top of the package: ``tables.checks``, ``''`` for the root.
    """
    found = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            node.body = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found += [(alias.name, '') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                base = '.'.join([*parts[: len(parts) - node.level], *filter(None, [node.module])])
                base = f'.{base}'
            found += [(base, alias.name) for alias in node.names]
    return found


def ours(module: str) -> set[str]:
    """Give the modules of the package that a module imports."""
    found = set()
    for base, name in imports(module):
        if base.startswith('.'):
            inner = f'{base}.{name}'.lstrip('.')
            base = base.lstrip('.')
            found.add(
                inner
                if inner in PATHS
                else base
                if base in PATHS
                else f'{base}.__init__'.lstrip('.')
            )
    return found


OURS = {module: ours(module) for module in PATHS}


def test_every_room_has_a_row():
    """The rows name each folder and each file at the top once, and no other."""
    assert sorted({room_of(module) for module in PATHS}) == sorted(ROW_OF)


@pytest.mark.parametrize('module', PATHS)
def test_a_module_imports_from_rows_below_its_own(module):
    """What a module imports stands in its own room or in a lower row."""
    room = room_of(module)
    assert set() == {
        other
        for other in OURS[module]
        if room_of(other) != room and ROW_OF[room_of(other)] >= ROW_OF[room]
    }


def test_no_files_import_each_other_in_a_circle():
    """There is an order in which each file imports only files before it."""
    try:
        list(TopologicalSorter(OURS).static_order())
    except CycleError as error:
        pytest.fail(' imports '.join(reversed(error.args[1])))


@pytest.mark.parametrize('module', PATHS)
def test_aiohttp_is_imported_where_connections_are(module):
    """The tables and their rules stand without the transport."""
    if not WITH_AIOHTTP & {room_of(module), module}:
        assert [] == [base for base, _ in imports(module) if base.startswith('aiohttp')]


@pytest.mark.parametrize('module', PATHS)
def test_nothing_private_of_aiohttp_is_imported(module):
    """No name of aiohttp's with an underscore in front is imported."""
    names = {
        part
        for base, name in imports(module)
        if base.startswith('aiohttp')
        for part in (*base.split('.'), name)
    }
    assert set() == {name for name in names if name.startswith('_')}


@pytest.mark.parametrize('module', PATHS)
def test_a_module_says_its_job_in_a_line(module):
    """The first line of a module's docstring is a sentence."""
    docstring = ast.get_docstring(TREES[module])
    assert docstring is not None
    assert docstring.splitlines()[0].endswith('.')


# What these import beside docstrings is public, or the code of the command line.
IMPORTING = {'__init__', 'tables.__init__', 'middleware.__init__', 'cli.__init__'}


@pytest.mark.parametrize('module', [name for name in PATHS if name.endswith('__init__')])
def test_a_room_imports_nothing_by_itself(module):
    """An import of one module of a room does not load the others."""
    assert module in IMPORTING or 1 == len(TREES[module].body)
