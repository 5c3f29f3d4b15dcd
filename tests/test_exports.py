"""The public names of the root, and the modules that importing it loads."""

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

import aioluahttp

ROOT = {
    'client.client': {'Client'},
    'middleware.compression': {'compress'},
    'tables.conversion': {'to_request', 'to_response'},
    'dates': {'format_date', 'parse_date'},
    'errors': {
        'BodyTooLarge',
        'ConnectError',
        'Error',
        'ProtocolError',
        'StatusError',
        'TableError',
        'TableWarning',
        'TimedOut',
    },
    'exchange.options': {'ExchangeOptions'},
    'static': {'files'},
    'headers': {'Headers'},
    'bodies.events': {'EventStream'},
    'bodies.stream': {'Stream'},
    'server.listen': {'ListenOptions', 'listen', 'run'},
    'client.per_loop': {'request', 'websocket'},
    'reverse_proxy.proxy': {'forward', 'proxy'},
    'server.server': {'Server'},
    'websockets.socket': {'Socket'},
    'types': {'RequestTable', 'ResponseTable'},
    'tables': {'Handler', 'Request', 'Response'},
    'tables.models': {'ResponseLike'},
}
AS_MODULES = {'parallel', 'url'}


def test_the_root_exports_these_names_and_no_others():
    """The public names of the root are those listed here, and the public modules."""
    assert sorted({*AS_MODULES, *(name for names in ROOT.values() for name in names)}) == sorted(
        aioluahttp.__all__
    )


@pytest.mark.parametrize(('module', 'name'), [(m, n) for m, names in ROOT.items() for n in names])
def test_the_root_exports_the_objects_of_its_modules(module, name):
    """A name of the root is the same object in its module, which lists it in ``__all__``."""
    source = importlib.import_module(f'aioluahttp.{module}')
    assert getattr(source, name) is getattr(aioluahttp, name)
    assert name in source.__all__


@pytest.mark.parametrize('name', sorted(aioluahttp.__all__))
def test_a_public_name_has_a_docstring(name):
    """Every public name but a type alias has a docstring."""
    assert name in ('Handler', 'ResponseLike') or getattr(aioluahttp, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    """The error names the module and the attribute."""
    with pytest.raises(AttributeError, match="'aioluahttp' has no attribute 'lisen'"):
        aioluahttp.lisen  # noqa: B018


def test_no_module_has_the_name_of_a_function():
    """Importing a module must not hide a function of the root."""
    modules = set(sys.modules) - {f'aioluahttp.{name}' for name in AS_MODULES}
    assert set() == {name for name in aioluahttp.__all__ if f'aioluahttp.{name}' in modules}


def test_importing_it_loads_nothing_that_aiohttp_does_not():
    """``import aioluahttp`` loads no modules but aiohttp's and its own (promise 10)."""
    script = (
        'import sys, aiohttp; before = set(sys.modules); import aioluahttp; '
        'print(*{n for n in set(sys.modules) - before if not n.startswith("aioluahttp")})'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    )
    assert '' == done.stdout.strip()


def test_the_version_is_that_of_the_package():
    """``__version__`` is the version that is installed."""
    assert importlib.metadata.version('aioluahttp') == aioluahttp.__version__
