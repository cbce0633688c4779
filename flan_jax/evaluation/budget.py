"""A budget of seconds for evaluations during training: how many rows a task fit, found out once and kept.

Scores of one run can be compared only if they are of the same rows. So two small evaluations find out what a row costs,
and every later one asks the same rows, unless the machine turns slower.
"""

import dataclasses

FIRST_ROWS = 2  # while a row's cost is not known
_ROOM = 0.9  # of the budget that is planned for
_PATIENCE = 2  # evaluations in a row that take too long before fewer rows are asked: a new shape is compiled but once


@dataclasses.dataclass
class Budget:
    """Rows a task and template that fit.

    Attributes:
      seconds: for one evaluation; None: no limit.
      most: rows if there is room for them.
      rows: of the next evaluation.
      settled: whether `rows` is what fits.
    """

    seconds: float | None
    most: int
    rows: int = 0
    _taken: int = 0
    _late: int = 0

    def __post_init__(self):
        self.rows = self.most if self.seconds is None else min(FIRST_ROWS, self.most)

    @property
    def settled(self) -> bool:
        return self.seconds is None or self._taken >= 2

    def took(self, seconds: float) -> None:
        """Plans the next evaluation from the last one's time, which must be the same number on every process.

        The first time is mostly compilation and says nothing; the second one decides.

        >>> budget, rows = Budget(10.0, most=100), []
        >>> for seconds in (30.0, 1.0, 12.0, 9.0, 12.0, 12.0):
        ...     rows.append(budget.rows)
        ...     budget.took(seconds)
        >>> rows, budget.rows
        ([2, 2, 18, 18, 18, 18], 13)
        """
        if self.seconds is None:
            return
        self._taken += 1
        if self._taken == 1:
            return
        fits = max(min(int(self.rows * self.seconds * _ROOM / max(seconds, 1e-6)), self.most), 1)
        if self._taken == 2:
            self.rows = fits
            return
        self._late = self._late + 1 if seconds > self.seconds else 0
        if self._late == _PATIENCE:
            self.rows, self._late = min(fits, self.rows), 0
