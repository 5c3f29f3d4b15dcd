"""Save results: a JSON file for each Python, and RESULTS.md and the plot from all of them.

``python -m benchmarks.report`` rewrites RESULTS.md and the plot without measuring.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .plot import plot, ratios
from .rows import GROUPS, LOOPS, PEERS, ROWS, Row

__all__ = ['save', 'section', 'surroundings', 'write']

FOLDER = Path(__file__).parent
DATA = FOLDER / 'data'

Results = dict[str, Any]

EMPTY: Results = {'figures': {}, 'missing': {}}
OLDER = 'these results are older than this row'

HEAD = """# Results

`nox -s bench` writes this file; [README.md](README.md) says how to read it.

![CPU per request of each subject](results.svg)
"""


def surroundings() -> dict[str, Any]:
    """Return the versions, the machine, the date and the commit of a run."""
    versions = {}
    for name in ('aioluahttp', *PEERS):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = 'not installed'
    load = subprocess.check_output(['h2load', '--version'], text=True).split()
    return {
        'python': platform.python_version(),
        'date': f'{datetime.now(UTC):%Y-%m-%d}',
        'machine': f'{_processor()}, {os.cpu_count()} cores, {platform.system()}',
        'commit': _commit(),
        'versions': {**versions, load[0]: load[-1]},
    }


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.partition(': ')[2] for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the last commit that changed the library, and whether there are changes since."""

    def git(*arguments: str) -> str:
        command = ['git', *arguments, '--', '../src']
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = ' with changes' if git('status', '--porcelain') else ''
    return (git('log', '-1', '--format=%h') or 'unknown') + changed


def save(results: Results) -> None:
    """Save the results of this Python; they replace earlier ones."""
    DATA.mkdir(exist_ok=True)
    minor = '.'.join(platform.python_version_tuple()[:2])
    text = json.dumps(results, indent=1, ensure_ascii=False)
    Path(DATA, f'{minor}.json').write_text(text + '\n', 'utf-8')


def write() -> None:
    """Write RESULTS.md, with a section for each Python, and the plot beside it."""
    paths = sorted(DATA.glob('*.json'), key=lambda path: int(path.stem.partition('.')[2]))
    every = [json.loads(path.read_text('utf-8')) for path in paths]
    plot(every, FOLDER / 'results.svg')
    Path(FOLDER, 'RESULTS.md').write_text('\n'.join([HEAD, *map(section, every)]), 'utf-8')


def section(results: Results) -> str:
    """Return the results of one Python as Markdown."""
    return '\n'.join(_lines(results))


def _lines(results: Results) -> Iterator[str]:
    yield f'## Python {results["python"]}\n'
    sizes, versions = results['sizes'], results['versions']
    kind = 'A quick run, less precise than a full one. ' if results['quick'] else ''
    yield f'{kind}{results["date"]}, library at commit {results["commit"]}. {results["machine"]}.\n'
    yield ', '.join(f'{name} {number}' for name, number in versions.items()) + '.\n'
    yield ', '.join(f'{number} {name}' for name, number in sizes.items()) + '.\n'
    yield '### Ratios and targets\n'
    yield 'The median of the ratios of all rounds, with the lowest and the highest. *Equal*: 1 lies'
    yield 'between the quartiles of the ratios, so the two are within the noise of each other.\n'
    yield f'| subject | against | {" | ".join(LOOPS)} | target |'
    yield '| --- | --- |' + ' --- |' * (len(LOOPS) + 1)
    for row in ROWS:
        cells = ' | '.join(_ratio(results, row, loop) for loop in LOOPS)
        yield f'| {row.title} | {row.against or "–"} | {cells} | ≤ {_target(row)} |'
    for name, group in GROUPS.items():
        yield f'\n### {name[0].upper()}{name[1:]}, {group.unit}\n'
        yield f'| subject | {" | ".join(group.loops)} |'
        yield '| --- |' + ' --- |' * len(group.loops)
        for subject in group.subjects:
            cells = ' | '.join(_figure(results, name, subject, loop) for loop in group.loops)
            yield f'| {subject} | {cells} |'
    yield ''


def _ratio(results: Results, row: Row, loop: str) -> str:
    if loop not in GROUPS[row.group].loops:
        return ''
    measured = results['groups'].get(row.group, {}).get(loop, EMPTY)
    for name in filter(None, (row.subject, row.against)):
        if name not in measured['figures']:
            return f'not measured: {name}: {measured["missing"].get(name, OLDER)}'
    found = ratios(row, measured)
    equal = ' *equal*' if row.against and _is_within_noise(found) else ''
    mark = '' if median(found) <= row.target_on(loop) else ' **missed**'
    return f'{_spread(found)}{equal}{mark}'


def _target(row: Row) -> str:
    return ' / '.join(f'{goal:g}' for goal in dict.fromkeys(map(row.target_on, LOOPS)))


def _is_within_noise(found: list[float]) -> bool:
    """Tell whether 1 lies between the quartiles of some ratios."""
    if len(found) < 4:
        return False
    first, _, third = quantiles(found, n=4)
    return first < 1 < third


def _figure(results: Results, group: str, subject: str, loop: str) -> str:
    measured = results['groups'].get(group, {}).get(loop, EMPTY)
    if figures := measured['figures'].get(subject):
        return _spread(figures)
    return f'not measured: {measured["missing"].get(subject, OLDER)}'


def _spread(figures: list[float]) -> str:
    """Format median, lowest and highest, with three significant digits."""
    low, middle, high = (
        f'{n:.2f}' if n < 10 else f'{n:.1f}' if n < 100 else f'{n:.0f}'
        for n in (min(figures), median(figures), max(figures))
    )
    return f'{middle} ({low}–{high})'


if __name__ == '__main__':
    write()
