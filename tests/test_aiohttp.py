"""The doors to aiohttp: which modules use what it does not document.

If a test of this file fails after an update, aiohttp changed something that no documentation
promised; the module named in the message is the only place to mend.
"""

import ast
import asyncio
import importlib
import inspect
from collections import namedtuple
from importlib.util import find_spec
from pathlib import Path

import pytest

# Not imported: with another aiohttp the import may fail, and these tests say why.
FOLDER = Path(find_spec('aioluahttp').origin).parent
PATHS = {
    '/'.join(path.relative_to(FOLDER).with_suffix('').parts): path
    for path in sorted(FOLDER.rglob('*.py'))
}
TREES = {module: ast.parse(path.read_text(encoding='utf-8')) for module, path in PATHS.items()}
DOORS = {
    'server/connection',
    'server/framing',
    'transports/protocol',
    'transports/response_body',
    'transports/wire',
    'websockets/connection',
}
DOCUMENTED = {'aiohttp', 'aiohttp.abc', 'aiohttp.web'}

# Attributes that are not documented: class, attribute, and the modules that use it.
ATTRIBUTES = [
    (class_, name, modules.split())
    for class_, table in {
        'aiohttp.base_protocol:BaseProtocol': {
            'writing_paused': 'server/connection transports/wire websockets/connection',
        },
        'aiohttp.connector:BaseConnector': {
            '_factory': 'transports/wire',
            '_loop': 'transports/wire',
            'connect': 'transports/wire',
        },
        'aiohttp.client_proto:ResponseHandler': {
            'exception': 'transports/protocol transports/response_body',
            'read': 'transports/wire',
            'read_timeout': 'transports/response_body websockets/connection',
            'set_parser': 'websockets/connection',
            'set_response_params': 'transports/wire',
            'should_close': 'transports/wire',
            'start_timeout': 'transports/response_body',
            'set_exception': 'transports/protocol transports/wire',
            'transport': 'transports/wire websockets/connection',
            'upgraded': 'transports/wire',
        },
        'aiohttp.web_protocol:RequestHandler': {
            '_parser': 'server/framing',
            '_upgraded': 'server/framing',
            'connection_lost': 'server/connection server/framing',
            'connection_made': 'server/connection',
            'data_received': 'server/connection server/framing',
            'eof_received': 'server/connection',
            'pause_reading': 'server/framing',
            'peername': 'server/connection',
            'resume_reading': 'server/connection server/framing',
            'set_parser': 'websockets/connection',
            'ssl_context': 'server/framing',
            'start': 'server/framing',
            'transport': 'server/connection server/framing',
        },
        'aiohttp.http_parser:HttpRequestParser': {
            'feed_data': 'server/framing',
            'message_consumed': 'server/framing',
            'set_upgraded': 'server/framing',
        },
        'aiohttp.http_parser:RawRequestMessage': {
            '_replace': 'server/framing',
            'chunked': 'server/framing',
            'should_close': 'server/framing',
            'upgrade': 'server/framing',
        },
        'aiohttp.streams:StreamReader': {
            'exception': 'server/connection',
            'feed_eof': 'server/framing',
            'set_exception': 'server/connection server/framing transports/protocol '
            'transports/response_body transports/wire',
            'total_bytes': 'server/framing transports/protocol transports/response_body',
            'total_raw_bytes': 'transports/protocol',
        },
        'aiohttp.http_writer:StreamWriter': {
            'drain': 'server/connection transports/wire websockets/connection',
        },
        'aiohttp.http:WebSocketWriter': {'send_frame': 'websockets/connection'},
        'aiohttp.client_ws:WebSocketDataQueue': {
            'feed_data': 'websockets/connection',
            'feed_eof': 'websockets/connection',
            'read': 'websockets/connection',
            'set_exception': 'websockets/connection',
        },
        'aiohttp.http:WebSocketReader': {'feed_data': 'websockets/connection'},
        'aiohttp.client_reqrep:ConnectionKey': {'_fields': 'transports/wire'},
    }.items()
    for name, modules in table.items()
]
# Documented attributes of the classes above, and of what they wrap.
PUBLIC = {
    *('at_eof', 'is_eof', 'iter_any', 'read_nowait', 'readany', 'readline'),  # StreamReader
    'raw_headers',  # ClientResponse
    *('force_close', 'requests_count', 'closed', 'limit', 'write_eof', 'shutdown'),
}


def imports(module: str) -> list[tuple[str, str]]:
    """List what a module imports of aiohttp: pairs of a module and a name."""
    found = []
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found += [(alias.name, '') for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.module or '', alias.name) for alias in node.names]
    return [pair for pair in found if pair[0].partition('.')[0] == 'aiohttp']


def attributes(module: str) -> set[str]:
    """Return the names of all attributes that a module uses."""
    return {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)}


def defined(module: str) -> set[str]:
    """Return the names that a module defines: functions, classes, and annotated attributes."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(getattr(node.target, 'attr', None) or getattr(node.target, 'id', ''))
    return found


def assigned(tree: ast.AST) -> set[str]:
    """Return the attributes that methods assign to ``self``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == 'self'
    }


def load(class_: str) -> type:
    """Import a class."""
    module, _, name = class_.partition(':')
    return getattr(importlib.import_module(module), name)


def source(class_: type) -> ast.AST:
    """Parse a class; one that is compiled has no source, but its attributes are in ``vars``."""
    try:
        return ast.parse(inspect.cleandoc('\n' + inspect.getsource(class_)))
    except (OSError, TypeError):
        return ast.Module([], [])


def inner_names(class_: str) -> set[str]:
    """Return the names of all attributes that a class of aiohttp, or its instances, may have."""
    bases = [base for base in load(class_).__mro__ if base.__module__.startswith('aiohttp')]
    return {name for base in bases for name in (*vars(base), *assigned(source(base)))}


CLASSES = sorted({class_ for class_, *_ in ATTRIBUTES})
# Names that an attribute of something else has: our own, and those of documented classes.
OURS = set().union(*map(defined, PATHS))
COMMON = set().union(
    PUBLIC,
    *map(dir, (asyncio.Transport, asyncio.Protocol, asyncio.Task, namedtuple('_', ''), dict, type)),
)
UNDOCUMENTED = sorted(
    (door, module, name)
    for door in DOORS
    for module, name in imports(door)
    if module not in DOCUMENTED
)


@pytest.mark.parametrize('module', PATHS)
def test_only_the_doors_import_what_aiohttp_does_not_document(module):
    """The other modules import from ``aiohttp``, ``aiohttp.web`` and ``aiohttp.abc`` alone."""
    if module not in DOORS:
        assert [] == [pair for pair in imports(module) if pair[0] not in DOCUMENTED]


@pytest.mark.parametrize(('door', 'module', 'name'), UNDOCUMENTED)
def test_aiohttp_still_has_what_a_door_imports(door, module, name):
    """Each name is where it was."""
    assert hasattr(importlib.import_module(module), name), (
        f'aiohttp: {module} has no {name} any more; {door} needs it'
    )


@pytest.mark.parametrize(('class_', 'name', 'modules'), ATTRIBUTES)
def test_aiohttp_still_has_the_attributes_that_a_door_uses(class_, name, modules):
    """Each is an attribute of its class, or assigned in a method of that."""
    assert name in inner_names(class_), (
        f'aiohttp: {class_.replace(":", ".")} has no {name} any more; {" and ".join(modules)} '
        'needs it'
    )


def test_the_attributes_that_aiohttp_does_not_document_are_listed():
    """The list has every module that uses one, and no other; all of them are doors."""
    listed = {(module, name) for _, name, modules in ATTRIBUTES for module in modules}
    assert DOORS >= {module for module, _ in listed}
    known = {(module, name) for module in DOORS for name in attributes(module) | defined(module)}
    assert set() == listed - known
    inner = set().union(*map(inner_names, CLASSES)) - COMMON - OURS
    assert set() == {
        (module, name)
        for module in PATHS
        for name in (attributes(module) & inner) - assigned(TREES[module])
        if (module, name) not in listed
    }
