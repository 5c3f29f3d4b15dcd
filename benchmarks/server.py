"""Run one server under test: ``python -m benchmarks.server NAME PORT LOOP [ORIGIN]``."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == '__main__':  # granian's worker imports this module again
    name, port, loop, *origin = sys.argv[1:]
    import_module(f'benchmarks.servers.{name}').serve(int(port), loop, *origin)
