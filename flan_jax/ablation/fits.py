"""Formulas over a curve: which one foretells points left out, and from where on more of it no longer pays.

Each formula is a + b g(x; c): for a given c it is linear, and c is tried on a grid, so that a fit is never caught in a
local minimum. Values weigh by how many runs they have; the noise that is made for intervals and for the test below is
each value's own, moderated towards what all values show, since two or three runs say little about their own variance.

No formula with a trend is believed that chance makes as well: the best of them must take more of the scatter than 95 %
of curves of pure noise with the same values and runs let it take, and foretell points left out better than the constant
does. Of the formulas with a trend the simplest is taken that is within one standard error of the best at that.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from flan_jax.ablation.findings import Estimate, Fit

KINDS = ('constant', 'log_linear', 'power', 'saturating')  # simplest first
LETTERS = {'constant': 'a', 'log_linear': 'ab', 'power': 'abc', 'saturating': 'abc'}
RESAMPLES, NOISE_CURVES = 400, 999
FALSE_TREND = 0.05
LINE = 60  # points of the curve that is drawn
_GRID = 120  # values of c
_MODERATION = 4.0  # runs that what all values show counts for, beside a value's own


@dataclasses.dataclass(frozen=True)
class _Design:
    """Scores at distinct values; [V] each.

    Attributes:
      x, y: values and mean scores.
      counts: of runs.
      squares: of the runs' distances from their value's mean, summed.
    """

    x: np.ndarray
    y: np.ndarray
    counts: np.ndarray
    squares: np.ndarray

    @property
    def extra(self) -> int:
        """Degrees of freedom within values."""
        return int((self.counts - 1).sum())

    def variances(self, overall: np.ndarray | float) -> np.ndarray:
        """Of a run at each value, given that over all; [..., V]."""
        return (_MODERATION * np.asarray(overall)[..., None] + self.squares) / (_MODERATION + self.counts - 1)


@dataclasses.dataclass(frozen=True)
class _Found:
    """Parameters of several fits at once: a, b, c and what is left of the weighted squares; f64[fits] each."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    left: np.ndarray


def of(
    x: np.ndarray, scores: Sequence[np.ndarray], *, shared: float = 0.0, worth: float, seed: int
) -> tuple[tuple[Fit, ...], Estimate | None]:
    """Fits all formulas that the values allow.

    Logarithms and powers need values above 0, formulas with three parameters at least five values.

    Args:
      x: [V] distinct values.
      scores: of the runs at each.
      shared: standard error that moves all points alike; it is in the intervals of `a` and of the line.
      worth: what doubling x must add to pay, in score.
      seed: of the resampling.

    Returns:
      The fits, and the value from which on doubling adds less than `worth`: None without a trend, and where it is not
      reached at twice the largest value. An upper end at that limit means: there or beyond.
    """
    design, generator = _design(x, scores), np.random.default_rng(seed)
    kinds = [kind for kind in KINDS if _allowed(kind, design.x)]
    errors = {kind: _left_out(kind, design) for kind in kinds}
    chosen = _choice(errors) if _trend(kinds, design, generator=generator) else 'constant'
    out, pays = [], None
    for kind in kinds:
        found = _solve(kind, design.x, y=design.y[None], weights=design.counts)
        draws = _resampled(kind, design, found=found, generator=generator)
        shift = generator.normal(0, shared, RESAMPLES)
        draws = dataclasses.replace(draws, a=draws.a + shift)
        line = _line(kind, design.x, found=found, draws=draws)
        told = {name: _estimate(getattr(found, name)[0], getattr(draws, name)) for name in LETTERS[kind]}
        out.append(Fit(kind, told, float(np.sqrt((errors[kind] ** 2).mean())), kind == chosen, line))
        if kind == chosen and kind != 'constant':
            pays = _pays_until(kind, design.x, found=found, draws=draws, worth=worth)
    return tuple(out), pays


def _allowed(kind: str, x: np.ndarray) -> bool:
    if kind in ('log_linear', 'power') and x.min() <= 0:
        return False
    return len(x) >= (5 if len(LETTERS[kind]) == 3 else 4)


def _design(x: np.ndarray, scores: Sequence[np.ndarray]) -> _Design:
    order = np.argsort(x)
    scores = [np.asarray(scores[i], np.float64) for i in order]
    squares = np.array([((s - s.mean()) ** 2).sum() for s in scores])
    return _Design(x[order], np.array([s.mean() for s in scores]), np.array([float(len(s)) for s in scores]), squares)


def _grid(kind: str, x: np.ndarray) -> np.ndarray:
    """Values of c: from a turn within the first step to one beyond what was measured."""
    if kind == 'power':
        return np.geomspace(0.05, 4.0, _GRID)
    if kind == 'saturating':
        return np.geomspace(np.diff(x).min() / 3, 3 * (x[-1] - x[0]), _GRID)
    return np.ones(1)


def _basis(kind: str, x: np.ndarray, *, c: np.ndarray) -> np.ndarray:
    """g of a + b g(x; c), broadcast; powers and exponentials grow towards 0."""
    if kind == 'constant':
        return np.zeros(np.broadcast_shapes(x.shape, c.shape))
    if kind == 'log_linear':
        return np.log(x) + 0 * c
    return -(x**-c) if kind == 'power' else -np.exp(-x / c)


def _solve(kind: str, x: np.ndarray, *, y: np.ndarray, weights: np.ndarray) -> _Found:
    """Least squares for several curves over the same values.

    Args:
      y: [curves, V].
    """
    grid = _grid(kind, x)
    mean = y @ weights / weights.sum()
    total = (weights * (y - mean[:, None]) ** 2).sum(1)
    if kind == 'constant':
        return _Found(mean, np.zeros(len(y)), np.ones(len(y)), total)
    basis = _basis(kind, x, c=grid[:, None])  # [C, V]
    middle = basis @ weights / weights.sum()
    centred = basis - middle[:, None]
    size = (weights * centred**2).sum(1)
    product = (y * weights) @ centred.T  # [curves, C]
    taken = product**2 / np.maximum(size, 1e-300)
    best = taken.argmax(1)
    rows = np.arange(len(y))
    b = product[rows, best] / size[best]
    return _Found(mean - b * middle[best], b, grid[best], np.maximum(total - taken[rows, best], 0.0))


def _left_out(kind: str, design: _Design) -> np.ndarray:
    """Errors at each value, foretold from the others; f64[V]."""
    out = []
    for i, x in enumerate(design.x):
        keep = np.arange(len(design.x)) != i
        found = _solve(kind, design.x[keep], y=design.y[None, keep], weights=design.counts[keep])
        out.append(found.a[0] + found.b[0] * _basis(kind, x, c=found.c[0]) - design.y[i])
    return np.array(out)


def _trend(kinds: Sequence[str], design: _Design, *, generator: np.random.Generator) -> bool:
    """Whether some formula takes more of the scatter than noise lets the best of them take."""
    # In units of the variance within values, if there is any: the ratio knows no unit.
    overall = design.squares.sum() / design.extra if design.extra else 0.0
    variances = design.variances(overall if overall > 0 else 1.0)
    curves = generator.normal(0, np.sqrt(variances / design.counts), (NOISE_CURVES, len(design.x)))
    within = (generator.chisquare(design.counts - 1 + 1e-9, curves.shape) * variances).sum(1)
    y, within = np.concatenate([design.y[None], curves]), np.concatenate([[design.squares.sum()], within])
    flat = _solve('constant', design.x, y=y, weights=design.counts).left
    left = np.min(
        [_solve(kind, design.x, y=y, weights=design.counts).left for kind in kinds if kind != 'constant'], axis=0
    )
    if flat[0] < 1e-18:
        return False
    ratio = (left + within) / (flat + within)
    return bool(1 + (ratio[1:] <= ratio[0]).sum() <= FALSE_TREND * (NOISE_CURVES + 1))


def _choice(errors: dict[str, np.ndarray]) -> str:
    """The simplest formula with a trend within noise of the best, if it foretells better than the constant."""
    squares = {kind: values**2 for kind, values in errors.items()}
    trends = [kind for kind in KINDS if kind in errors and kind != 'constant']
    best = min(trends, key=lambda kind: squares[kind].mean())
    for kind in trends:
        worse = squares[kind] - squares[best]
        fewer = len(LETTERS[kind]) < len(LETTERS[best])
        if kind == best or (fewer and worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse))):
            break
    return kind if squares[kind].mean() < squares['constant'].mean() else 'constant'


def _resampled(kind: str, design: _Design, *, found: _Found, generator: np.random.Generator) -> _Found:
    """Fits of curves with new noise about the fitted one, of a variance that is itself unsure; [RESAMPLES]."""
    degrees = max(len(design.x) + design.extra - len(LETTERS[kind]), 1)
    overall = (found.left[0] + design.squares.sum()) / generator.chisquare(degrees, RESAMPLES)
    fitted = found.a[0] + found.b[0] * _basis(kind, design.x, c=found.c[0])
    noise = generator.normal(0, np.sqrt(design.variances(overall) / design.counts))
    return _solve(kind, design.x, y=fitted + noise, weights=design.counts)


def _line(kind: str, x: np.ndarray, *, found: _Found, draws: _Found) -> tuple[list, list, list, list]:
    places = np.geomspace(x[0], x[-1], LINE) if x[0] > 0 else np.linspace(x[0], x[-1], LINE)
    mean = found.a[0] + found.b[0] * _basis(kind, places, c=found.c[0])
    many = draws.a[:, None] + draws.b[:, None] * _basis(kind, places, c=draws.c[:, None])
    low, high = np.quantile(many, [0.025, 0.975], axis=0)
    return places.tolist(), mean.tolist(), low.tolist(), high.tolist()


def _pays_until(kind: str, x: np.ndarray, *, found: _Found, draws: _Found, worth: float) -> Estimate | None:
    smallest = x[x > 0].min()
    places = np.geomspace(smallest, 2 * x[-1], 300)

    def until(fits: _Found) -> np.ndarray:
        c = fits.c[:, None]
        gain = fits.b[:, None] * (_basis(kind, 2 * places, c=c) - _basis(kind, places, c=c))
        last = np.where(gain >= worth, np.arange(len(places)), -1).max(1)
        return np.where(last + 1 < len(places), places[np.minimum(last + 1, len(places) - 1)], np.inf)

    mean, many = until(found)[0], np.minimum(until(draws), places[-1])
    return _estimate(mean, many) if np.isfinite(mean) else None


def _estimate(mean: float, draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(mean), float(min(low, mean)), float(max(high, mean)))
