"""Run one server under test: ``python -m benchmarks.server MODULE[.KIND] PORT LOOP [ORIGIN]``."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == '__main__':  # granian's worker imports this module again
    name, port, loop, *origin = sys.argv[1:]
    module, *kind = name.split('.')
    import_module(f'benchmarks.servers.{module}').serve(int(port), loop, *kind, *origin)
