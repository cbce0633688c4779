"""Values of an axis against the base: the same seeds, the same tasks, the same rows.

With one run on either side the rows are what chance has drawn: p is by changing the signs of their differences, the
interval is over rows. With several draws or seeds these are drawn, too, and rows besides: interval and p are those of
`uncertainty`. Tasks are what they are. With a single seed what another seed would change is in neither.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from flan_jax.ablation import uncertainty
from flan_jax.ablation.findings import Difference, Estimate
from flan_jax.ablation.table import Samples
from flan_jax.ablation.uncertainty import Run
from flan_jax.evaluation import resampling

PATTERNS, CHUNK = 2000, 250
FEW = 10  # patterns; where fewer are as far, the normal tail says how many of more there would be
EXACT = 12  # rows that differ: up to so many all sign patterns are tried


def of(axis: str, label: str, *, target: str, base: Sequence[Run], runs: Sequence[Run]) -> Difference | None:
    """Mean over tasks of the runs' scores minus the base's; not yet corrected for the number of differences.

    Returns:
      None where no run has a base of its seed with a common row.
    """
    changes = paired(base, runs)
    if not changes:
        return None
    spread = uncertainty.of(changes)
    p = spread.p
    if not spread.parts:
        p = flipped(weighted(changes), seed=zlib.crc32(f'{axis} {label} {target}'.encode()))
    tasks: dict[str, list[float]] = {}
    for change in changes:
        for name, task in change.tasks.items():
            tasks.setdefault(name, []).append(float(task.values.mean()))
    means = [np.mean(values) for values in tasks.values()]
    better, worse = sum(m > 1e-12 for m in means), sum(m < -1e-12 for m in means)
    return Difference(axis, label, target, _possible(spread.estimate), p, p, int(better), int(worse))


def _possible(found: Estimate) -> Estimate:
    """An interval without what no difference of scores from 0 to 1 can be."""
    if found.low is None or abs(found.mean) > 1:
        return found
    return dataclasses.replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def negated(found: Difference) -> Difference:
    """The base minus the runs."""
    low, high = (None if end is None else -end for end in (found.difference.high, found.difference.low))
    change = Estimate(-found.difference.mean, low, high)
    return dataclasses.replace(found, difference=change, better=found.worse, worse=found.better)


def paired(base: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """Each run minus the base of its seed, on rows that both answered; runs without any are left out.

    Of several bases of that seed those of the run's stratum and draw are taken, if there are any, else their mean.
    """
    out = []
    for run in runs:
        near = [other for other in base if other.seed == run.seed]
        for name in ('stratum', 'draw'):
            near = [other for other in near if vars(other)[name] == vars(run)[name]] or near
        if near and (tasks := _minus(run.tasks, [other.tasks for other in near])):
            out.append(dataclasses.replace(run, tasks=tasks))
    return out


def _minus(first: Mapping[str, Samples], others: Sequence[Mapping[str, Samples]]) -> dict[str, Samples]:
    """The first minus the others' mean, on tasks and rows that all have."""
    out = {}
    for name, mine in first.items():
        if not all(name in other for other in others):
            continue
        rows = mine.rows
        for other in others:
            rows = np.intersect1d(rows, other[name].rows, assume_unique=True)
        if len(rows):
            mean = np.mean([_at(other[name], rows) for other in others], axis=0)
            out[name] = Samples(rows, _at(mine, rows) - mean)
    return out


def _at(task: Samples, rows: np.ndarray) -> np.ndarray:
    return task.values[np.searchsorted(task.rows, rows)]


def weighted(changes: Sequence[Run]) -> np.ndarray:
    """What each row of a task adds to the mean over runs and tasks; f64[rows of all tasks]."""
    parts = []
    for name in dict.fromkeys(name for run in changes for name in run.tasks):
        mine = [(run, run.tasks[name]) for run in changes if name in run.tasks]
        rows = np.unique(np.concatenate([task.rows for _, task in mine]))
        summed = np.zeros(len(rows))
        for run, task in mine:
            share = len(changes) * len(run.tasks) * len(task.rows)
            summed[np.searchsorted(rows, task.rows)] += task.values / share
        parts.append(summed)
    return np.concatenate(parts)


def flipped(change: np.ndarray, *, seed: int) -> float:
    """Share of sign patterns under which the sum is as far from 0 as it is; two-sided.

    Patterns drawn can say no less than 1 / 2000, too much where hundreds of differences are corrected for; a smaller
    share is read from the normal tail of the same distribution (variance: the sum of squares).

    >>> flipped(np.ones(8), seed=0), flipped(np.array([1.0, -1, 1, -1]), seed=0), flipped(np.ones(40), seed=0) < 1e-8
    (0.0078125, 1.0, True)
    """
    from scipy import stats

    change = change[np.abs(change) > 1e-12]
    if len(change) <= EXACT:  # all patterns
        nothing, rows = np.zeros(len(change)), np.arange(len(change))
        return resampling.paired(nothing, change, rows=rows, seed=seed).p if len(change) else 1.0
    total = abs(change.sum())
    generator, far = np.random.default_rng(seed), 0
    for _ in range(PATTERNS // CHUNK):
        bits = np.frombuffer(generator.bytes(CHUNK * -(-len(change) // 8)), np.uint8).reshape(CHUNK, -1)
        signs = np.unpackbits(bits, axis=1, count=len(change)).astype(np.float32) * 2 - 1
        far += int((np.abs(signs @ change) >= total * (1 - 1e-6)).sum())
    if far >= FEW:
        return (far + 1) / (PATTERNS + 1)
    return float(2 * stats.norm.sf(total / np.sqrt((change**2).sum())))


def corrected(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """All differences of a study with p corrected for their number (Holm 1979)."""
    values = resampling.holm([difference.p for difference in differences])
    return tuple(dataclasses.replace(d, p_corrected=p) for d, p in zip(differences, values, strict=True))
