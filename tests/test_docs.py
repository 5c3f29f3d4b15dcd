"""Every Python example in the README and the docs runs, and every command line parses."""

import ast
import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aioluahttp.cli import make_parser
from aioluahttp.testing import serve_in_thread

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FENCE = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FILE = re.compile(r'# (\w+\.py)\n')  # the first line of a block that is one of several files
INDEX = re.compile(r'^```\{index\} (.+)$', re.MULTILINE)
COMMAND = re.compile(r'^ {4}aioluahttp (.+?)(?: +#.*)?$', re.MULTILINE)


def blocks():
    """Yield each block, padded so that its lines have the same numbers as in the page."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for found in FENCE.finditer(text):
            if FILE.match(found[1]):
                continue
            line = text.count('\n', 0, found.start(1))
            name = f'{page.relative_to(ROOT)}:{line + 1}'
            yield pytest.param(page, '\n' * line + found[1], id=name)


@pytest.mark.parametrize(('page', 'source'), list(blocks()))
def test_an_example_runs(page, source):
    """A block runs by itself; it may use ``await`` at its top level."""
    code = compile(source, page, 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        result = eval(code, {'__name__': '__main__'})
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except ModuleNotFoundError as error:
        if error.name != 'orjson':
            raise
        pytest.skip('orjson is not installed')


def test_the_readme_is_short():
    """It has at most 100 lines."""
    assert len(PAGES[0].read_text(encoding='utf-8').splitlines()) <= 100


@pytest.fixture
def application(tmp_path, monkeypatch):
    """Write the files of the tutorial to a folder in Python's import path."""
    text = (ROOT / 'docs/tutorial.md').read_text(encoding='utf-8')
    for source in FENCE.findall(text):
        if name := FILE.match(source):
            (tmp_path / name[1]).write_text(source, encoding='utf-8')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(sys.path))
    yield tmp_path
    for path in tmp_path.glob('*.py'):
        sys.modules.pop(path.stem, None)


def python(*arguments):
    """Run Python; return its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_application_of_the_tutorial_works(application):
    """Its tests pass, its client prints the notes, and an ASGI server can import it."""
    assert '2 passed' in python(
        '-m', 'pytest', '-p', 'no:cacheprovider', application / 'test_notes.py'
    )
    from notes import handler

    with serve_in_thread(handler) as server:
        assert "['bread', 'milk', 'tea']\n" == python(application / 'client.py', server.url)
    assert 'application' == python('-c', 'import main; print(main.app.__name__)').strip()


LEADS = {
    'timeouts-and-errors': ('timeout',),
    'lifespan': ('lifespan', 'startup'),
    'graceful-shutdown': ('shutdown', 'signal'),
    'webhooks': ('HMAC', 'webhook'),
    'json-encoders': ('orjson',),
    'middleware': ('retry', 'rate limit'),
    'clients': ('cookie',),
    'reverse-proxy': ('proxy',),
    'server-sent-events': ('SSE',),
    'uploads': ('upload',),
    'client-streams': ('progress',),
}


def test_the_search_leads_to_the_page_about_a_word():
    """A main index entry ranks highest in the search of the built site; each has one page."""
    found = [
        (page.stem, word)
        for page in sorted((ROOT / 'docs').rglob('*.md'))
        for words in INDEX.findall(page.read_text(encoding='utf-8'))
        for word in words.removeprefix('! ').split(', ! ')
    ]
    assert len(found) == len({word for _, word in found})
    assert {(page, word) for page, words in LEADS.items() for word in words} <= set(found)


@pytest.mark.parametrize('name', ['gateway', 'webhook-receiver'])
def test_the_tests_of_the_cookbook_pass(name, tmp_path, monkeypatch):
    """A page of the cookbook has a test of its example."""
    (source,) = FENCE.findall((ROOT / f'docs/cookbook/{name}.md').read_text(encoding='utf-8'))
    path = tmp_path / FILE.match(source)[1]
    path.write_text(source, encoding='utf-8')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT / 'examples'), *sys.path]))
    assert ' passed' in python('-m', 'pytest', '-p', 'no:cacheprovider', path)


def test_a_page_of_the_cookbook_shows_an_example():
    """The pages include the files of examples/ and are in the index."""
    index = (ROOT / 'docs/index.md').read_text(encoding='utf-8')
    for page in (ROOT / 'docs/cookbook').glob('*.md'):
        assert f'\ncookbook/{page.stem}\n' in index
        assert '{literalinclude} ../../examples/' in page.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    'line',
    sorted({line for page in PAGES for line in COMMAND.findall(page.read_text(encoding='utf-8'))}),
)
def test_a_command_line_parses(line):
    """The parser accepts each command line in the pages."""
    make_parser().parse_args(shlex.split(line))
