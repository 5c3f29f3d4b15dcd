"""Rooms (folders) of the package import earlier rows only, and imports form no circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aioluahttp

# A row may import from those above it in this list. A name is a folder, or a top-level module.
ROWS = [
    row.split()
    for row in """
        errors semantics media_types
        dates url headers tls timers parallel
        types conditions
        bodies
        tables
        caches
        websockets middleware static
        exchange
        transports server asgi web
        client
        reverse_proxy testing
        cli
        __init__ __main__
    """.strip().splitlines()
]
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}
WITH_AIOHTTP = {'transports', 'server', 'web', 'websockets', 'client'}

FOLDER = Path(aioluahttp.__file__).parent
PATHS = {
    '.'.join(path.relative_to(FOLDER).with_suffix('').parts): path
    for path in sorted(FOLDER.rglob('*.py'))
}
TREES = {name: ast.parse(path.read_text(encoding='utf-8')) for name, path in PATHS.items()}


def room_of(module: str) -> str:
    """Return the folder of a module, or the module itself if it is at the top level."""
    return module.partition('.')[0]


def imports(module: str) -> list[tuple[str, str]]:
    """Return the imports of a module as pairs of module and name, without those for checkers.

    A module of the package is spelled from its root: ``.tables.checks``, and ``.`` for the root.
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
    """Return the modules of the package that a module imports."""
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
    """The rows name each folder and each top-level module, and no others."""
    assert sorted({room_of(module) for module in PATHS}) == sorted(ROW_OF)


@pytest.mark.parametrize('module', PATHS)
def test_a_module_imports_only_from_earlier_rows(module):
    """A module imports only from its own room and from earlier rows."""
    room = room_of(module)
    assert set() == {
        other
        for other in OURS[module]
        if room_of(other) != room and ROW_OF[room_of(other)] >= ROW_OF[room]
    }


def test_no_files_import_each_other_in_a_circle():
    """The modules can be sorted so that each imports only modules before it."""
    try:
        list(TopologicalSorter(OURS).static_order())
    except CycleError as error:
        pytest.fail(' imports '.join(reversed(error.args[1])))


@pytest.mark.parametrize('module', PATHS)
def test_aiohttp_is_imported_where_connections_are(module):
    """Only modules that deal with connections import aiohttp."""
    if not WITH_AIOHTTP & {room_of(module), module}:
        assert [] == [base for base, _ in imports(module) if base.startswith('aiohttp')]


@pytest.mark.parametrize('module', PATHS)
def test_nothing_private_of_aiohttp_is_imported(module):
    """No name of aiohttp that starts with an underscore is imported."""
    names = {
        part
        for base, name in imports(module)
        if base.startswith('aiohttp')
        for part in (*base.split('.'), name)
    }
    assert set() == {name for name in names if name.startswith('_')}


@pytest.mark.parametrize('module', PATHS)
def test_a_module_docstring_starts_with_a_sentence(module):
    """The first line of a module's docstring is a sentence."""
    docstring = ast.get_docstring(TREES[module])
    assert docstring is not None
    assert docstring.splitlines()[0].endswith('.')


# These export public names, or hold code of the command line.
IMPORTING = {
    '__init__',
    'tables.__init__',
    'caches.__init__',
    'middleware.__init__',
    'cli.__init__',
}


@pytest.mark.parametrize('module', [name for name in PATHS if name.endswith('__init__')])
def test_the_init_file_of_a_room_imports_nothing(module):
    """Importing one module of a room does not load the others."""
    assert module in IMPORTING or 1 == len(TREES[module].body)
