"""Write what ``--help`` says: ``python docs/command_line.py``, on Python 3.13 or later.

Before that argparse worded options otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

from aioluahttp.cli import COMMANDS, make_parser

PAGE = Path(__file__).parent / 'reference' / 'command-line.md'
WIDTH = '100'

HEAD = """# Command line

`aioluahttp` and `python -m aioluahttp` are the same. With `pip install 'aioluahttp[cli]'` tables
have colours on a terminal, downloads have a bar, and `--reload` works; with `[speedups]` servers
run on uvloop.

"""


def page() -> str:
    """Give the page: the help of the whole, and of each command."""
    os.environ['COLUMNS'] = WIDTH
    parser = make_parser()
    commands = parser._subparsers._group_actions[0].choices
    parts = {'Commands': parser, **{f'`{name}`': commands[name] for name in COMMANDS}}
    texts = (f'## {title}\n\n```text\n{part.format_help()}```\n' for title, part in parts.items())
    return HEAD + '\n'.join(texts)


if __name__ == '__main__':
    PAGE.write_text(page(), 'utf-8')
