"""How sure the mean of a few runs is: draws, seeds and examples are all drawn from more that might have been.

Runs are crossed with rows (the same questions are put to all of them), draws with seeds where each has every other.
The variance of the mean is put together from mean squares, as in generalisability theory (Brennan 2001), and the
interval is Student's t with Satterthwaite's degrees of freedom (1946). A percentile bootstrap of two or three draws
covers far less than it says. Tasks are what they are, not drawn.

Simulated with normal effects (`tests/ablation/test_curves.py`, `test_differences.py`), 95 % intervals cover 94 to 96 %
with three draws or seeds and more; with draws and seeds at once, or two of either, they cover 95 to 99 % and are wider
than they need be. Where all rows agree the interval has no width.
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
      both: variance that is in `parts` and in `rows`.
      deviations: source -> standard error that it alone gives.
    """

    mean: float
    parts: tuple[tuple[float, float], ...]
    rows: tuple[float, float]
    both: float
    deviations: Mapping[str, float]

    @property
    def variance(self) -> float:
        """Of the mean, by all sources together."""
        single = [v for v, _ in (*self.parts, self.rows)]
        return max(sum(single) - self.both, *single)

    @property
    def degrees(self) -> float:
        """Of freedom, after Satterthwaite."""
        known = [(v, k) for v, k in (*self.parts, self.rows) if v > 0]
        return max(self.variance**2 / sum(v**2 / k for v, k in known), 1.0) if known else np.inf

    @property
    def _tests(self) -> list[tuple[float, float]]:
        # With one or two degrees of freedom Satterthwaite's formula trusts a draw variance that came out small by
        # chance; no interval is narrower than the one by draws (or seeds) alone.
        return [(self.variance, self.degrees), *self.parts]

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

        if abs(self.mean) < 1e-12 or not np.isfinite(self.variance):
            return 1.0
        return max(float(2 * stats.t.sf(abs(self.mean) / np.sqrt(v), k)) if v > 0 else 0.0 for v, k in self._tests)


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
    return Spread(float(weights @ means), tuple(parts), rows, both + left if parts else 0.0, deviations)


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


def _units(runs: Sequence[Run], means: np.ndarray) -> tuple[list[tuple[float, float]], dict[str, float], float]:
    """((variance, degrees of freedom) by draws, by seeds; source -> variance of the mean by it; what is in both)."""
    strata = {run.stratum: means[[r.stratum == run.stratum for r in runs]].mean() for run in runs}
    cells: dict[tuple[Hashable, int], list[float]] = {}
    for run, value in zip(runs, means):
        cells.setdefault((run.draw, run.seed), []).append(value - strata[run.stratum])
    draws, seeds = (list(dict.fromkeys(key[i] for key in cells)) for i in range(2))
    if len(cells) < 2:
        return [], {}, 0.0
    if len(draws) == 1 or len(seeds) == 1:
        found = _mean_variance([np.mean(values) for values in cells.values()])
        return [found], {'draws' if len(draws) > 1 else 'seeds': found[0]}, 0.0
    if len(cells) < len(draws) * len(seeds):  # seeds are in the draws: what they do shows in the draws' means
        found = _mean_variance([np.mean([np.mean(v) for key, v in cells.items() if key[0] == draw]) for draw in draws])
        return [found], {'draws': found[0]}, 0.0
    grid = np.array([[np.mean(cells[draw, seed]) for seed in seeds] for draw in draws])
    by_draw, by_seed = _mean_variance(grid.mean(1)), _mean_variance(grid.mean(0))
    rest = grid - grid.mean(0) - grid.mean(1)[:, None] + grid.mean()
    left = (rest**2).sum() / ((len(draws) - 1) * (len(seeds) - 1)) / grid.size
    return [by_draw, by_seed], {'draws': by_draw[0] - left, 'seeds': by_seed[0]}, float(left)


def _mean_variance(values: Sequence[float]) -> tuple[float, float]:
    """(variance of their mean, degrees of freedom)."""
    return float(np.var(values, ddof=1) / len(values)), len(values) - 1.0


def _rows(runs: Sequence[Run], weights: np.ndarray) -> tuple[tuple[float, float], float]:
    """((variance of the mean by examples, degrees of freedom), what of it is in the runs' differences as well)."""
    total, squares, both, known = 0.0, 0.0, 0.0, False
    for name in dict.fromkeys(name for run in runs for name in run.tasks):
        mine = [(weight / len(run.tasks), run.tasks[name]) for weight, run in zip(weights, runs) if name in run.tasks]
        rows = np.unique(np.concatenate([task.rows for _, task in mine]))
        if len(rows) < 2:
            continue
        known = True
        summed = np.zeros(len(rows))
        for weight, task in mine:
            summed[np.searchsorted(rows, task.rows)] += weight * task.values * (len(rows) / len(task.rows))
        variance = np.var(summed, ddof=1) / len(rows)
        total, squares = total + variance, squares + variance**2 / (len(rows) - 1)
        both += variance if len(mine) == 1 else _noise(mine, len(rows))
    if not known:
        return (np.inf, np.inf), 0.0
    return (float(total), float(total**2 / squares) if squares else np.inf), float(both)


def _noise(mine: Sequence[tuple[float, Samples]], count: int) -> float:
    """Variance of a task's part of the mean by what is neither of a row nor of a run."""
    if any(len(task.rows) != count for _, task in mine):
        return 0.0  # not every row was put to every run: nothing is taken off, so the interval is wide
    values = np.array([task.values for _, task in mine])
    rest = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    variance = (rest**2).sum() / ((len(mine) - 1) * (count - 1))
    return variance / count * sum(weight**2 for weight, _ in mine)
