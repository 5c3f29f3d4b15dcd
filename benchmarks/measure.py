"""Measure the subjects of a group in turn, in rounds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from .check import WrongResponse
from .meters import Reading, Sizes
from .process import Unavailable
from .rows import Group

__all__ = ['measure']

Figures = dict[str, list[float]]
Missing = dict[str, str]

FAULTS = (Unavailable, WrongResponse, OSError, psutil.Error, subprocess.SubprocessError)


def measure(group: Group, loop: str, sizes: Sizes) -> tuple[Figures, Missing]:
    """Return the figures of each subject, one per round, and the reasons of missing ones.

    A subject that fails once, because it does not start or sends a wrong response, is left out.
    """
    figures: Figures = {name: [] for name in group.subjects}
    missing: Missing = {}

    @contextmanager
    def subject(name: str) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            missing[name] = str(error)
            del figures[name]

    for _ in range(sizes.runs):
        with ExitStack() as stack:
            readings: dict[str, Reading] = {}
            for name in list(figures):
                with subject(name):
                    opened = group.subjects[name].opened(loop, sizes)
                    readings[name] = stack.enter_context(opened)
            for _ in range(group.rounds(sizes)):
                for name in list(figures):
                    with subject(name):
                        figures[name].append(round(readings[name](), 3))
    return figures, missing
