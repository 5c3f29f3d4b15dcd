"""Plot the CPU time per request of all subjects."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .rows import FETCH, HELLO, LOOPS

__all__ = ['plot']

PANELS = {HELLO: 'linear', FETCH: 'log'}  # the clients are too far apart for a linear scale
COLOURS = ('#4c72b0', '#dd8452')
BAR = 0.38


def plot(every: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw results into an SVG file, one row of panels for each Python."""
    # The same figures give the same bytes.
    matplotlib.rcParams.update({'svg.hashsalt': 'benchmarks', 'svg.fonttype': 'none'})
    figure = Figure(figsize=(11, 3.8 * len(every)), layout='constrained')
    axes = figure.subplots(len(every), len(PANELS), squeeze=False)
    for results, line in zip(every, axes, strict=True):
        for (group, scale), panel in zip(PANELS.items(), line, strict=True):
            panel.set_xscale(scale)
            panel.set_title(f'{group}, Python {results["python"]}')
            draw(panel, results['groups'][group])
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc='outside upper center', ncols=2)
    figure.savefig(path, metadata={'Date': None})


def draw(panel: Axes, measured: dict[str, Any]) -> None:
    """Draw a bar for each subject and loop, the cheapest subject at the top."""
    medians = {
        loop: {name: median(figures) for name, figures in measured[loop]['figures'].items()}
        for loop in LOOPS
    }
    cheapest_last = sorted(
        {name for of_loop in medians.values() for name in of_loop},
        key=lambda name: -min(of_loop.get(name, inf) for of_loop in medians.values()),
    )
    for offset, loop, colour in zip((BAR / 2, -BAR / 2), LOOPS, COLOURS, strict=True):
        names = [name for name in cheapest_last if name in medians[loop]]
        places = [cheapest_last.index(name) + offset for name in names]
        widths = [medians[loop][name] for name in names]
        bars = panel.barh(places, widths, BAR, color=colour, label=loop)
        panel.bar_label(bars, fmt='{:.0f}', padding=2, fontsize=8)
    panel.set_yticks(range(len(cheapest_last)), cheapest_last)
    for label in panel.get_yticklabels():
        if label.get_text() == 'ours':
            label.set_fontweight('bold')
    panel.set_xlabel('µs of CPU per request')
    panel.margins(x=0.12)
    panel.spines[['top', 'right']].set_visible(False)
