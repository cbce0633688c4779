"""Who runs what: variants handed to workers as they become free, and again when a worker ends in the middle of one."""

import collections
import dataclasses
import sys
from collections.abc import Callable, Iterable

from flan_jax.ablation import runner, table
from flan_jax.ablation.study import Study
from flan_jax.ablation.table import Result

STRIKES = 2  # workers that may end in the middle of a variant before it counts as failed


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Variants that wait, and how often each was lost.

    Attributes:
      found: the study.
      said: told every row.
      waiting: names, in order.
      lost: name -> workers that ended in the middle of it.
    """

    found: Study
    said: Callable[[Result], None]
    waiting: collections.deque[str]
    lost: collections.Counter

    def next(self) -> str | None:
        """A variant for a worker that is free; None if there is none."""
        return self.waiting.popleft() if self.waiting else None

    def done(self, name: str) -> None:
        """A worker has written a variant's row."""
        self.said(table.read_rows(self.found.config.folder, fingerprint=self.found.identity)[name])

    def ended(self, name: str, why: str) -> None:
        """A worker ended in the middle of a variant: it is run again, or counts as failed."""
        self.lost[name] += 1
        if self.lost[name] < STRIKES:
            print(f'{why} in the middle of {name}; it goes on in another worker', file=sys.stderr, flush=True)
            self.waiting.append(name)
            return
        variant = next(one for one in self.found.variants if one.name == name)
        row = runner.failed(variant, f'{self.lost[name]} workers ended in the middle of it, the last: {why}')
        table.write_row(self.found.config.folder, row, fingerprint=self.found.identity)
        self.said(row)


def of(found: Study, names: Iterable[str], *, said: Callable[[Result], None]) -> Assignment:
    """All that is to be run of a study."""
    return Assignment(found, said, collections.deque(names), collections.Counter())
