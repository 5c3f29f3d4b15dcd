"""Counters of responses, failures and faults, and the final report."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

__all__ = ['Tally']

EXAMPLES = 5  # examples kept of each kind of fault, so that a frequent one does not fill memory
WIDTH = 400  # characters of an example


@dataclass
class Tally:
    """Counters and the result of a run; any call of ``fault`` makes it fail."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)

    def failure(self, error: BaseException) -> None:
        """Count a request that ended in an exception, which may be expected."""
        self.failures[type(error).__name__] += 1

    def fault(self, kind: str, what: str) -> None:
        """Count a fault, and keep the first examples of its kind."""
        self.faults[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(what if len(what) <= WIDTH else what[:WIDTH] + '…')

    def note(self, line: str) -> None:
        """Add a line to the report."""
        self.notes.append(line)

    def report(self, always: tuple[str, ...] = ()) -> int:
        """Print the report, and return the exit code: 1 if there was any fault.

        Args:
            always: Kinds of fault whose number is printed even if it is 0.
        """
        print(f'requests: {self.requests}')
        print(f'responses by status: {counts(self.statuses)}')
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
