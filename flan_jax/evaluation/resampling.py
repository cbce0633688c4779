"""Error bars and paired tests. The unit is the source row: templates of a row are asked together and err together."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 500
PERMUTATIONS = 2000
EXACT_ROWS = 12  # up to so many rows that differ, all sign patterns are tried

Seed = int | Sequence[int]
Statistic = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two runs on the same rows.

    Attributes:
      difference: second minus first.
      draws: [RESAMPLES] the same with rows drawn anew.
      p: of a difference so large by chance, two-sided: by swapping the runs' values row by row, or of a metric that is
        no mean over rows by the paired bootstrap.
      p_sign: by counting the rows where one is better; with one template and right or wrong as values this is McNemar's
        exact test (1947). None for a metric that is no mean over rows.
      better, worse: rows where the second run is better, worse.
      rows: all.
    """

    difference: float
    draws: np.ndarray
    p: float
    p_sign: float | None
    better: int
    worse: int
    rows: int


def row_draws(rows: np.ndarray, *, seed: Seed) -> tuple[np.ndarray, np.ndarray]:
    """(place of every prompt's row among the distinct ones, [RESAMPLES, distinct rows] rows drawn with replacement)."""
    distinct, inverse = np.unique(rows, return_inverse=True)
    return inverse, np.random.default_rng(seed).integers(0, len(distinct), (RESAMPLES, len(distinct)))


def means(values: np.ndarray, rows: np.ndarray, *, seed: Seed) -> np.ndarray:
    """Means of the values with source rows drawn anew, [RESAMPLES]."""
    inverse, draws = row_draws(rows, seed=seed)
    count = draws.shape[1]
    totals, sizes = np.bincount(inverse, values, count), np.bincount(inverse, minlength=count)
    return totals[draws].sum(axis=1) / sizes[draws].sum(axis=1)


def picks(rows: np.ndarray, *, seed: Seed) -> list[np.ndarray]:
    """The same resamples as places of prompts, for metrics that are no means.

    >>> found = picks(np.array([7, 7, 9]), seed=0)
    >>> len(found) == RESAMPLES and {2, 3, 4} >= {len(places) for places in found}
    True
    """
    inverse, draws = row_draws(rows, seed=seed)
    order = np.argsort(inverse, kind='stable')
    starts = np.searchsorted(inverse[order], np.arange(draws.shape[1] + 1))
    places = [order[a:b] for a, b in zip(starts, starts[1:])]
    return [np.concatenate([places[row] for row in drawn]) for drawn in draws]


def interval(draws: np.ndarray) -> list[float]:
    """95 %, by percentiles (Efron & Tibshirani 1993)."""
    # More digits than are shown: what is rounded twice may leave the score it belongs to outside.
    return [round(float(q), 6) for q in np.quantile(draws, [0.025, 0.975])]


def halves(rows: np.ndarray, *, seed: Seed) -> np.ndarray:
    """bool for each prompt: whether its row is in the first of two random halves."""
    distinct, inverse = np.unique(rows, return_inverse=True)
    first = np.zeros(len(distinct), bool)
    first[np.random.default_rng(seed).permutation(len(distinct))[: (len(distinct) + 1) // 2]] = True
    return first[inverse]


def paired(first: np.ndarray, second: np.ndarray, *, rows: np.ndarray, seed: Seed) -> Paired:
    """Compares two runs' values of the same prompts.

    >>> found = paired(np.zeros(8), np.ones(8), rows=np.arange(8), seed=0)
    >>> found.difference, found.better, round(found.p_sign, 4), round(found.p, 4)
    (1.0, 8, 0.0078, 0.0078)

    Args:
      first, second: f64[prompts] values, such as 1 for a right answer.
      rows: the source row of each prompt; a row's templates are averaged, and rows are the units.
      seed: of the resampling.
    """
    _, inverse = np.unique(rows, return_inverse=True)
    sizes = np.bincount(inverse)
    change = np.bincount(inverse, second - first) / sizes
    better, worse = int((change > 1e-12).sum()), int((change < -1e-12).sum())
    return Paired(
        difference=float(np.mean(second - first)),
        draws=means(second - first, rows, seed=seed),
        p=_permuted(change * sizes, seed=seed),  # a row weighs as its prompts do in the score
        p_sign=sign_test(better, worse),
        better=better,
        worse=worse,
        rows=len(change),
    )


def paired_statistic(
    first: Statistic, second: Statistic, *, rows: np.ndarray, seed: Seed
) -> tuple[tuple[float, float], Paired]:
    """Compares two runs by a metric that is no mean over rows, such as BLEU, by the paired bootstrap.

    p is twice the share of resamples in which the sign of the difference turns (Koehn 2004), never below 1 / RESAMPLES.

    Args:
      first, second: places of prompts, several times -> the metric on each.
      rows: the source row of each prompt.
      seed: of the resampling.

    Returns:
      Both runs' metric on all prompts, and the difference.
    """
    # One call a side: what each prompt contributes is worked out once a call.
    one, other = (side([np.arange(len(rows)), *picks(rows, seed=seed)]) for side in (first, second))
    draws = other[1:] - one[1:]
    turned = min(np.mean(draws <= 0), np.mean(draws >= 0))
    p = float(min(max(2 * turned, 1 / RESAMPLES), 1.0))
    difference = Paired(float(other[0] - one[0]), draws, p, None, 0, 0, len(np.unique(rows)))
    return (float(one[0]), float(other[0])), difference


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values of several tests made at once, corrected (Holm 1979); None stays None.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(values) if p is not None)
    out, highest = list(values), 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(p * (len(order) - rank), 1.0))
        out[i] = round(highest, 6)
    return out


def _permuted(change: np.ndarray, *, seed: Seed) -> float:
    """Share of sign patterns whose sum is as far from 0 as the one found."""
    change = change[np.abs(change) > 1e-12]
    if not len(change):
        return 1.0
    if len(change) <= EXACT_ROWS:
        signs = ((np.arange(2 ** len(change))[:, None] >> np.arange(len(change))) & 1) * 2.0 - 1.0
        extra = 0
    else:
        signs = np.random.default_rng(seed).integers(0, 2, (PERMUTATIONS, len(change))) * 2.0 - 1.0
        extra = 1  # the pattern found counts as one of those drawn, so that p is never 0
    far = int((np.abs(signs @ change) >= abs(change.sum()) - 1e-9).sum())
    return (far + extra) / (len(signs) + extra)


def sign_test(better: int, worse: int) -> float:
    """Two-sided exact binomial test that both are as likely.

    >>> round(sign_test(1, 9), 4)
    0.0215
    """
    count = better + worse
    if not count:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    tail = np.arange(max(better, worse), count + 1)
    chances = np.exp(logs[count] - logs[tail] - logs[count - tail] - count * np.log(2.0))
    return float(min(2 * chances.sum(), 1.0))
