"""Download a file, or resume a download: ``python examples/download.py URL FILE``."""

import asyncio
import sys
from pathlib import Path

import aioluahttp as http

try:
    from rich.progress import Progress
except ImportError:  # show progress as a line of text
    Progress = None


async def download(url, path, on_progress):
    """Download a URL to a file."""
    await http.request(url=url, into=path, resume=True, check=True, on_progress=on_progress)


async def with_text(url, path):
    """Show progress as a line of text."""

    def show(done, total):
        print(f'\r{done:,} of {total or 0:,} bytes', end='', flush=True)

    await download(url, path, show)


async def with_bar(url, path):
    """Show a progress bar."""
    with Progress() as bars:
        bar = bars.add_task(path.name, total=None)
        await download(url, path, lambda done, total: bars.update(bar, completed=done, total=total))


if __name__ == '__main__':
    asyncio.run((with_bar if Progress else with_text)(sys.argv[1], Path(sys.argv[2])))
