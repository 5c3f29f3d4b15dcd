"""What came of the requests, counted, and what of it must not be."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

__all__ = ['Tally']

EXAMPLES = 5  # of each kind of fault that are printed: a fault that recurs must not fill memory
WIDTH = 400  # characters of an example


@dataclass
class Tally:
    """Counts, and the verdict on them: whatever ``fault`` was told makes a run fail."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def failure(self, error: BaseException) -> None:
        """Count a request that ended in an exception, which may be as it should."""
        self.failures[type(error).__name__] += 1

    def fault(self, kind: str, what: str) -> None:
        """Count what must not be, with its first examples."""
        self.faults[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(what if len(what) <= WIDTH else what[:WIDTH] + '…')

    def note(self, line: str) -> None:
        """Add a line of figures to what is printed."""
        self.notes.append(line)

    def report(self, always: tuple[str, ...] = ()) -> int:
        """Print all, and give the exit code: 1 where there was any fault.

        Args:
            always: Kinds of fault of which the number is printed, 0 included.
        """
        print(f'requests: {self.requests}')
        print(f'answers by status: {counts(self.statuses)}')
        print(f'failures by kind: {counts(self.failures)}')
        if self.events:
            print(f'provoked: {counts(self.events)}')
        for kind in (*always, *sorted(self.faults.keys() - {*always})):
            print(f'{kind}: {self.faults[kind]}')
        for line in self.notes:
            print(line)
        for kind, examples in self.examples.items():
            for example in examples:
                print(f'  {kind}: {example}')
        print('FAILED' if self.faults else 'passed')
        return int(bool(self.faults))


def counts(counter: Counter[int] | Counter[str]) -> str:
    return ', '.join(f'{key} {number}' for key, number in sorted(counter.items())) or 'none'
