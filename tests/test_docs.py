"""Every Python example in the README and the docs runs."""

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FENCE = re.compile(r'^```python\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks():
    """Give each block, moved down to its line in the page, so that a traceback tells that."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for found in FENCE.finditer(text):
            line = text.count('\n', 0, found.start(1))
            name = f'{page.relative_to(ROOT)}:{line + 1}'
            yield pytest.param(page, '\n' * line + found[1], id=name)


@pytest.mark.parametrize(('page', 'source'), list(blocks()))
def test_an_example_runs(page, source):
    """A block runs on its own; ``await`` may stand at its top level."""
    code = compile(source, page, 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {'__name__': '__main__'})
    if inspect.iscoroutine(result):
        asyncio.run(result)
