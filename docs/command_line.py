"""Write the reference page of the command line: ``python docs/command_line.py``.

Needs Python 3.13 or later: earlier versions of argparse format options differently.
"""

from __future__ import annotations

import os
from pathlib import Path

from aioluahttp.cli import COMMANDS, make_parser

PAGE = Path(__file__).parent / 'reference' / 'command-line.md'
WIDTH = '100'

HEAD = """# Command line

`aioluahttp` and `python -m aioluahttp` are the same command. With `pip install 'aioluahttp[cli]'`
it shows responses in colour on a terminal, shows a progress bar for downloads, and supports
`--reload`; with `[speedups]` servers run on uvloop. For examples see
[Use the command line](../how-to/command-line.md).

"""


def page() -> str:
    """Return the page: the ``--help`` of the command and of each subcommand."""
    os.environ['COLUMNS'] = WIDTH
    parser = make_parser()
    commands = parser._subparsers._group_actions[0].choices
    parts = {'Commands': parser, **{f'`{name}`': commands[name] for name in COMMANDS}}
    texts = (f'## {title}\n\n```text\n{part.format_help()}```\n' for title, part in parts.items())
    return HEAD + '\n'.join(texts)


if __name__ == '__main__':
    PAGE.write_text(page(), 'utf-8')
