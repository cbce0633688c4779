"""How sure the mean of a few runs is: draws, seeds and examples are all drawn from more that might have been.

Runs are crossed with rows (the same questions are put to all of them), draws with seeds where each has every other.
The variance of the mean is put together from mean squares, as in generalisability theory (Brennan 2001): what is in
several of them is counted once. The interval is Student's t. Its degrees of freedom are Satterthwaite's (1946) with
unbiased squares of variances (Welch 1947): with two or three draws the plain formula gives too few. A percentile
bootstrap of two or three draws covers far less than it says. Tasks are what they are, not drawn.

Few degrees of freedom make a variance come out small by chance now and then, and any such formula then trusts the
others. So no interval is narrower than the one over runs alone (draws and seeds together). No rule covers exactly 95 %
whatever the sources' shares are (the problem of Behrens and Fisher). Simulated with normal effects over many shares
(`tests/ablation/test_coverage.py`), 95 % intervals cover 94 to 96 % with three draws or seeds and more, 94 to 97 % with
three of both, 95 to 98 % with two draws, 93 to 99 % with two of one and two or more of the other. Where a draw and a
seed do nothing but together, they cover 99 %. Where all rows agree the interval has no width.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from flan_jax.ablation.findings import Estimate
from flan_jax.ablation.table import Samples

SOURCES = ('draws', 'seeds', 'examples')
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's answers to one target.

    Attributes:
      variant: its name.
      seed: of the run.
      tasks: task -> scores (or differences of scores) row by row.
      draw: which random draw it is of.
      stratum: where it is on other axes; these are averaged over and no chance.
      cost: training tokens.
    """

    variant: str
    seed: int
    tasks: Mapping[str, Samples]
    draw: Hashable = 0
    stratum: Hashable = ()
    cost: float = 0.0

    @property
    def mean(self) -> float:
        """Of the tasks' means."""
        return float(np.mean([task.values.mean() for task in self.tasks.values()]))


@dataclasses.dataclass(frozen=True)
class Spread:
    """A mean and what it is unsure by.

    Attributes:
      mean: of the runs.
      parts: (variance of the mean, degrees of freedom) by draws, by seeds, each with what it cannot be told from.
      rows: (variance, degrees of freedom) by examples.
      left: (variance, degrees of freedom) that is in each of two `parts`: of a draw and a seed together.
      both: variance that is in `parts` and in `rows`.
      deviations: source -> standard error that it alone gives.
    """

    mean: float
    parts: tuple[tuple[float, float], ...]
    rows: tuple[float, float]
    left: tuple[float, float]
    both: float
    deviations: Mapping[str, float]

    @property
    def total(self) -> tuple[float, float]:
        """(variance of the mean, degrees of freedom), by all sources together."""
        return _together([*self.parts, self.rows], twice=[self.left, (self.both, np.inf)])

    @property
    def _tests(self) -> list[tuple[float, float]]:
        return [self.total, _together(self.parts, twice=[self.left])] if self.parts else [self.total]

    @property
    def estimate(self) -> Estimate:
        """With its 95 % interval."""
        from scipy import stats

        if not self.parts and not np.isfinite(self.rows[0]):
            return Estimate(self.mean)
        half = max(float(stats.t.ppf((1 + LEVEL) / 2, k) * np.sqrt(v)) for v, k in self._tests)
        return Estimate(self.mean, self.mean - half, self.mean + half)

    @property
    def p(self) -> float:
        """Of a mean so far from 0 by chance; below 0.05 exactly where the interval leaves 0 out."""
        from scipy import stats

        if abs(self.mean) < 1e-12 or not np.isfinite(self.total[0]):
            return 1.0
        return max(float(2 * stats.t.sf(abs(self.mean) / np.sqrt(v), k)) if v > 0 else 0.0 for v, k in self._tests)


def _together(parts: Sequence[tuple[float, float]], *, twice: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(variance, degrees of freedom) of a sum of variances, some of which are counted twice in it.

    >>> _together([(2.0, 3.0)], twice=[])
    (2.0, 3.0)
    """
    variance = max(sum(v for v, _ in parts) - sum(v for v, _ in twice), *(v for v, _ in parts))
    known = [(v, k) for v, k in parts if v > 0]
    if not known or not np.isfinite(variance):
        return variance, np.inf
    # A mean square's square is (k + 2) / k times too large in the mean; of one source this gives k.
    squares = sum(v**2 / (k + 2) for v, k in (*known, *twice))
    degrees = variance**2 / squares - 2 if squares else np.inf
    return variance, max(degrees, min(k for _, k in known))


def of(runs: Sequence[Run]) -> Spread:
    """The mean over runs: strata weigh alike, in them draws, in them seeds.

    >>> from flan_jax.ablation.table import Samples
    >>> rows = np.arange(4)
    >>> low, high = Samples(rows, np.array([0.0, 0, 0, 1])), Samples(rows, np.array([0.0, 1, 1, 1]))
    >>> spread = of([Run('a', 0, {'t': low}), Run('b', 1, {'t': high})])
    >>> spread.mean, {name: round(error, 3) for name, error in spread.deviations.items()}
    (0.5, {'seeds': 0.204, 'examples': 0.204})
    """
    weights = _weights(runs)
    means = np.array([run.mean for run in runs])
    rows, both = _rows(runs, weights)
    parts, shares, left = _units(runs, means)
    deviations = {name: float(np.sqrt(max(share, 0.0))) for name, share in shares.items()}
    if shares:  # the chance of examples is in the last of them
        last = list(shares)[-1]
        deviations[last] = float(np.sqrt(max(shares[last] - both, 0.0)))
    if np.isfinite(rows[0]):
        deviations['examples'] = float(np.sqrt(rows[0]))
    else:
        rows = (0.0, np.inf) if parts else rows
    return Spread(float(weights @ means), tuple(parts), rows, left, both if parts else 0.0, deviations)


def common(runs: Sequence[Run]) -> float:
    """Standard error that examples give to all of several runs alike, as easy rows make all of them look good."""
    (variance, _), both = _rows(runs, np.full(len(runs), 1 / len(runs)))
    return float(np.sqrt(max(variance - both, 0.0))) if np.isfinite(variance) else 0.0


def _weights(runs: Sequence[Run]) -> np.ndarray:
    """f64[runs], sum to 1."""
    strata = [run.stratum for run in runs]
    draws = [(run.stratum, run.draw) for run in runs]
    in_stratum = {stratum: len({draw for s, draw in draws if s == stratum}) for stratum in set(strata)}
    return np.array([1 / (len(in_stratum) * in_stratum[s] * draws.count(d)) for s, d in zip(strata, draws)])


def _units(
    runs: Sequence[Run], means: np.ndarray
) -> tuple[list[tuple[float, float]], dict[str, float], tuple[float, float]]:
    """((variance, degrees of freedom) by draws, by seeds; source -> variance of the mean by it; what is in both)."""
    none = (0.0, np.inf)
    strata = {run.stratum: means[[r.stratum == run.stratum for r in runs]].mean() for run in runs}
    cells: dict[tuple[Hashable, int], list[float]] = {}
    for run, value in zip(runs, means):
        cells.setdefault((run.draw, run.seed), []).append(value - strata[run.stratum])
    draws, seeds = (list(dict.fromkeys(key[i] for key in cells)) for i in range(2))
    if len(cells) < 2:
        return [], {}, none
    if len(draws) == 1 or len(seeds) == 1:
        found = _mean_variance([np.mean(values) for values in cells.values()])
        return [found], {'draws' if len(draws) > 1 else 'seeds': found[0]}, none
    if len(cells) < len(draws) * len(seeds):  # seeds are in the draws: what they do shows in the draws' means
        found = _mean_variance([np.mean([np.mean(v) for key, v in cells.items() if key[0] == draw]) for draw in draws])
        return [found], {'draws': found[0]}, none
    grid = np.array([[np.mean(cells[draw, seed]) for seed in seeds] for draw in draws])
    by_draw, by_seed = _mean_variance(grid.mean(1)), _mean_variance(grid.mean(0))
    rest = grid - grid.mean(0) - grid.mean(1)[:, None] + grid.mean()
    degrees = float((len(draws) - 1) * (len(seeds) - 1))
    left = float((rest**2).sum() / degrees / grid.size)
    return [by_draw, by_seed], {'draws': by_draw[0] - left, 'seeds': by_seed[0]}, (left, degrees)


def _mean_variance(values: Sequence[float]) -> tuple[float, float]:
    """(variance of their mean, degrees of freedom)."""
    return float(np.var(values, ddof=1) / len(values)), len(values) - 1.0


def _rows(runs: Sequence[Run], weights: np.ndarray) -> tuple[tuple[float, float], float]:
    """((variance of the mean by examples, degrees of freedom), what of it is in the runs' differences as well)."""
    total, squares, both, known = 0.0, 0.0, 0.0, False
    for name in dict.fromkeys(name for run in runs for name in run.tasks):
        mine = [(weight / len(run.tasks), run) for weight, run in zip(weights, runs) if name in run.tasks]
        rows = np.unique(np.concatenate([run.tasks[name].rows for _, run in mine]))
        if len(rows) < 2:
            continue
        known = True
        summed = np.zeros(len(rows))
        for weight, task in ((weight, run.tasks[name]) for weight, run in mine):
            summed[np.searchsorted(rows, task.rows)] += weight * task.values * (len(rows) / len(task.rows))
        variance = np.var(summed, ddof=1) / len(rows)
        total, squares = total + variance, squares + variance**2 / (len(rows) - 1)
        both += variance if len(mine) == 1 else _noise(mine, name, count=len(rows))
    if not known:
        return (np.inf, np.inf), 0.0
    return (float(total), float(total**2 / squares) if squares else np.inf), float(both)


def _noise(mine: Sequence[tuple[float, Run]], name: str, *, count: int) -> float:
    """Variance of a task's part of the mean that is in the rows' differences and in the runs' as well."""
    if any(len(run.tasks[name].rows) != count for _, run in mine):
        return 0.0  # not every row was put to every run: nothing is taken off, so the interval is wide
    weights = np.array([weight for weight, _ in mine])
    grid = _grid([run for _, run in mine], name) if np.ptp(weights) < 1e-12 else None
    if grid is None:
        return _interaction(np.array([run.tasks[name].values for _, run in mine])) * len(mine) * (weights**2).sum()
    # How a row goes with a draw, and with a seed; what is in both of these is taken off once.
    draws, seeds = grid.mean(1), grid.mean(0)
    rest = grid - draws[:, None] - seeds[None] + grid.mean((0, 1))
    rest = rest - rest.mean(2, keepdims=True)
    third = (rest**2).sum() / np.prod([n - 1 for n in grid.shape]) / grid.size
    return max(_interaction(draws) + _interaction(seeds) - third, 0.0) * weights.sum() ** 2


def _grid(runs: Sequence[Run], name: str) -> np.ndarray | None:
    """f64[draws, seeds, rows] of a task, over strata; None where draws and seeds are not several and fully crossed."""
    cells: dict[tuple[Hashable, int], list[np.ndarray]] = {}
    for run in runs:
        cells.setdefault((run.draw, run.seed), []).append(run.tasks[name].values)
    draws, seeds = (list(dict.fromkeys(key[i] for key in cells)) for i in range(2))
    if (
        min(len(draws), len(seeds)) < 2
        or len(cells) < len(draws) * len(seeds)
        or len(set(map(len, cells.values()))) > 1
    ):
        return None
    return np.array([[np.mean(cells[draw, seed], axis=0) for seed in seeds] for draw in draws])


def _interaction(values: np.ndarray) -> float:
    """Variance of the mean of [units, rows] by what is neither of a unit nor of a row."""
    rest = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    return float((rest**2).sum() / ((values.shape[0] - 1) * (values.shape[1] - 1)) / values.size)
