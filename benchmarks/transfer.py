"""Run one program that transfers 1 GiB: ``python -m benchmarks.transfer NAME URL PATH LOOP``.

For each line of its input it transfers the body once, and prints the result.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from .loops import run


async def main(name: str, url: str, path: Path) -> None:
    async with import_module(f'benchmarks.transfers.{name}').opened(url, path) as move:
        print('ready', flush=True)
        for _ in sys.stdin:  # blocks the loop: nothing needs to run between measurements
            print(await move(), flush=True)


if __name__ == '__main__':
    name, url, path, loop = sys.argv[1:]
    run(main(name, url, Path(path)), loop)
