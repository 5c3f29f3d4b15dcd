"""The doors to aiohttp: which modules use what it does not document.

If a test of this file fails after an update, aiohttp changed something that no documentation
promised; the module named in the message is the only place to mend.
"""

import ast
import importlib
from pathlib import Path

import pytest

import aioluahttp

FOLDER = Path(aioluahttp.__file__).parent
PATHS = {
    '/'.join(path.relative_to(FOLDER).with_suffix('').parts): path
    for path in sorted(FOLDER.rglob('*.py'))
}
DOORS = {
    'server/connection',
    'server/framing',
    'transports/protocol',
    'transports/response_body',
    'transports/wire',
    'websockets/connection',
}
DOCUMENTED = {'aiohttp', 'aiohttp.abc', 'aiohttp.web'}


def imports(path: Path) -> list[tuple[str, str]]:
    """List what a file imports of aiohttp: pairs of a module and a name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(alias.name, '') for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.module or '', alias.name) for alias in node.names]
    return [pair for pair in found if pair[0].partition('.')[0] == 'aiohttp']


UNDOCUMENTED = sorted(
    (door, module, name)
    for door in DOORS
    for module, name in imports(PATHS[door])
    if module not in DOCUMENTED
)


@pytest.mark.parametrize('module', PATHS)
def test_only_the_doors_import_what_aiohttp_does_not_document(module):
    """The other modules import from ``aiohttp``, ``aiohttp.web`` and ``aiohttp.abc`` alone."""
    if module not in DOORS:
        assert [] == [pair for pair in imports(PATHS[module]) if pair[0] not in DOCUMENTED]


@pytest.mark.parametrize(('door', 'module', 'name'), UNDOCUMENTED)
def test_aiohttp_still_has_what_a_door_imports(door, module, name):
    """Each name is where it was."""
    assert hasattr(importlib.import_module(module), name), (
        f'aiohttp: {module} has no {name} any more; {door} needs it'
    )
