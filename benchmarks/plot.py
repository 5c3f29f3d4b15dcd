"""Plot the cost of each kind of work as a ratio to aiohttp, which is the line at 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .rows import LOOPS, PANELS, Row

__all__ = ['plot', 'ratios']

COLOURS = ('#4c72b0', '#dd8452')
STEP = 0.32  # between the marks of two loops
HIGHEST = 2.0  # of the axis


def ratios(row: Row, measured: dict[str, Any]) -> list[float]:
    """Return the ratio of each round, or the figures themselves if they have a target of their own.

    Args:
        row: The subject, and what it is compared to.
        measured: The figures of its group on one loop.
    """
    found: list[float] = measured['figures'].get(row.subject, [])
    if row.against is None:
        return found
    theirs = measured['figures'].get(row.against, [])
    return [one / other for one, other in zip(found, theirs, strict=False)]


def plot(every: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw results into an SVG file: a column for each Python, a panel for each kind of work."""
    # The same figures give the same bytes.
    matplotlib.rcParams.update({'svg.hashsalt': 'benchmarks', 'svg.fonttype': 'none'})
    heights = [len(rows) + 1 for rows in PANELS.values()]
    figure = Figure(figsize=(6 + 3 * len(every), 0.28 * sum(heights) + 1), layout='constrained')
    axes = figure.subplots(
        len(PANELS), len(every), squeeze=False, sharex=True, height_ratios=heights
    )
    for column, results in enumerate(every):
        for number, (name, rows) in enumerate(PANELS.items()):
            panel = axes[number][column]
            panel.set_title(f'{name}, Python {results["python"]}', loc='left', fontsize=9)
            draw(panel, rows, results['groups'], named=column == 0)
        axes[-1][column].set_xlabel('CPU time or memory, aiohttp is 1; less is better')
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc='outside upper center', ncols=3)
    figure.savefig(path, metadata={'Date': None})


def draw(panel: Axes, rows: Sequence[Row], groups: dict[str, Any], *, named: bool) -> None:
    """Draw a line for each row: the median on each loop, and the lowest and highest ratio."""
    panel.axvline(1, color='#444444', linewidth=1, label='aiohttp')
    for offset, loop, colour in zip((-STEP / 2, STEP / 2), LOOPS, COLOURS, strict=True):
        for place, row in enumerate(rows):
            found = ratios(row, groups.get(row.group, {}).get(loop, {'figures': {}}))
            if not found:
                continue
            label = loop if place == 0 else None
            panel.plot([min(found), max(found)], [place + offset] * 2, color=colour, alpha=0.35)
            panel.plot(median(found), place + offset, 'o', color=colour, markersize=4, label=label)
    titles = [row.title.replace('`', '') for row in rows]
    panel.set_yticks(range(len(rows)), titles if named else [''] * len(rows), fontsize=8)
    panel.set_xlim(0, HIGHEST)
    panel.invert_yaxis()
    panel.grid(axis='x', alpha=0.3)
    panel.spines[['top', 'right']].set_visible(False)
