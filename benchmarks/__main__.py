"""Run all benchmarks on this Python: ``python -m benchmarks [--quick]``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import asdict
from typing import Any

from . import report
from .measure import measure
from .meters import Sizes
from .process import LOAD, pin
from .rows import GROUPS

FULL = Sizes(runs=2, rounds=8, transfers=3, requests=5000, fetches=1000, messages=4800, held=5000)
QUICK = Sizes(runs=1, rounds=3, transfers=1, requests=1000, fetches=200, messages=1600, held=500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m benchmarks')
    parser.add_argument('--quick', action='store_true', help='measure less, less precisely')
    quick = parser.parse_args().quick
    if not shutil.which('h2load'):
        sys.exit('h2load is needed: apt install nghttp2-client')
    pin(os.getpid(), LOAD)  # h2load inherits it
    sizes = QUICK if quick else FULL
    surroundings = report.surroundings()
    groups: dict[str, dict[str, Any]] = {}
    for name, group in GROUPS.items():
        groups[name] = {}
        for loop in group.loops:
            began = time.monotonic()
            figures, missing = measure(group, loop, sizes)
            groups[name][loop] = {'figures': figures, 'missing': missing}
            print(f'{name}, {loop}: {time.monotonic() - began:.0f} s', file=sys.stderr)
    results = {**surroundings, 'quick': quick, 'sizes': asdict(sizes), 'groups': groups}
    print(report.section(results))
    report.save(results)
    report.write()


if __name__ == '__main__':
    main()
