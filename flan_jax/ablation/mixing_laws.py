"""Formulas for a score as a function of a mixture's weights."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from flan_jax.ablation import ridge

Predict = Callable[[np.ndarray], np.ndarray]  # weights [N, P] -> scores [N]
_FLOOR = 1e-3  # a weight below it counts as so much: its logarithm would outdo all others
_FOLDS = 12
_STEPS = 40  # of Levenberg and Marquardt's method
_STEEP = 30.0  # exponents are cut there
_SHRINK = 1e-4  # of exponents, so that what the data say nothing of stays at 0


@dataclasses.dataclass(frozen=True)
class Law:
    """A formula.

    Attributes:
      name: 'log_linear', 'quadratic' or 'exponential'.
      words: the formula.
    """

    name: str
    words: str

    def fitted(self, weights: np.ndarray, scores: np.ndarray) -> Predict:
        """What it foretells after seeing [N, P] weights and [N] scores."""
        if self.name == 'exponential':
            return _exponential(weights, scores[None], seen=np.ones((1, len(scores))))[0]
        model = ridge.fit(_features(self.name, weights), scores)
        return lambda asked: model.predict(_features(self.name, asked))

    def left_out(self, weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Errors of mixtures left out in turn; f64[N]."""
        if self.name != 'exponential':
            return ridge.left_out(_features(self.name, weights), scores)
        count = len(scores)
        rest = _exponential(weights, np.tile(scores, (count, 1)), seen=1 - np.eye(count))
        return np.array([predict(weights[i : i + 1])[0] for i, predict in enumerate(rest)]) - scores

    def draws(self, weights: np.ndarray, scores: np.ndarray, *, count: int, seed: int) -> list[Predict]:
        """Formulas that might as well be true."""
        if self.name != 'exponential':
            models = ridge.draws(_features(self.name, weights), scores, count=count, seed=seed)
            return [lambda asked, model=model: model.predict(_features(self.name, asked)) for model in models]
        generator, fitted = np.random.default_rng(seed), self.fitted(weights, scores)(weights)
        degrees = max(len(scores) - weights.shape[1] - 1, 1)
        deviations = np.sqrt(((scores - fitted) ** 2).sum() / generator.chisquare(degrees, count))
        noise = deviations[:, None] * generator.normal(size=(count, len(scores)))
        return _exponential(weights, fitted + noise, seen=np.ones((count, len(scores))))


LAWS = (
    Law('log_linear', 'a + Σ b_i log w_i'),
    Law('quadratic', 'Σ b_i w_i + Σ b_ij w_i w_j'),
    Law('exponential', 'a + b exp(Σ t_i w_i)'),
)  # simplest first


def usable(weights: np.ndarray) -> tuple[Law, ...]:
    """Those that so many mixtures allow: the exponential one has as many parameters as members and one more."""
    count, members = weights.shape
    return LAWS if count >= 2 * (members + 2) else LAWS[:2]


def best(laws: Sequence[Law], weights: np.ndarray, *, scores: np.ndarray) -> Law:
    """The one with the least error on mixtures left out."""
    return laws[int(np.argmin([(law.left_out(weights, scores) ** 2).mean() for law in laws]))]


def left_out(laws: Sequence[Law], weights: np.ndarray, *, scores: np.ndarray) -> np.ndarray:
    """Error of each mixture's score, foretold by the law that other mixtures choose; f64[N], in at most 12 folds."""
    out = np.zeros(len(scores))
    fold = np.arange(len(scores)) % _FOLDS
    for mine in (fold == i for i in range(fold.max() + 1)):
        law = best(laws, weights[~mine], scores=scores[~mine])
        out[mine] = law.fitted(weights[~mine], scores[~mine])(weights[mine]) - scores[mine]
    return out


def _features(name: str, weights: np.ndarray) -> np.ndarray:
    """[N, P] or [N, P + P (P - 1) / 2].

    >>> _features('quadratic', np.array([[0.5, 0.25, 0.25]])).tolist()
    [[0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]]
    """
    if name == 'log_linear':
        return np.log(np.maximum(weights, _FLOOR))
    first, second = np.triu_indices(weights.shape[1], 1)
    return np.concatenate([weights, weights[:, first] * weights[:, second]], axis=1)


def _exponential(weights: np.ndarray, scores: np.ndarray, *, seen: np.ndarray) -> list[Predict]:
    """Least squares of a + b exp(t . (w - mean w)), several at once, by Levenberg and Marquardt's method.

    Args:
      weights: [N, P].
      scores: [K, N] of as many fits.
      seen: [K, N], 1 for scores that count.
    """
    centre = weights.mean(0)
    places = weights - centre
    found = [_descend(places, scores, seen=seen, sign=sign) for sign in (1.0, -1.0)]
    parameters = np.where((found[0][1] <= found[1][1])[:, None], found[0][0], found[1][0])

    def predict(asked: np.ndarray, a: float, b: float, t: np.ndarray) -> np.ndarray:
        return a + b * np.exp(np.clip((asked - centre) @ t, -_STEEP, _STEEP))

    return [lambda asked, p=p: predict(asked, p[0], p[1], p[2:]) for p in parameters]


def _descend(places: np.ndarray, scores: np.ndarray, *, seen: np.ndarray, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """(parameters a, b, t [K, P + 2], loss [K]) from a start with b of the given sign."""
    mean = (scores * seen).sum(1) / seen.sum(1)
    unit = np.sqrt(((scores - mean[:, None]) ** 2 * seen).sum(1) / seen.sum(1)) + 1e-12
    y = (scores - mean[:, None]) / unit[:, None]
    members = places.shape[1]
    shrink = np.diag([1e-6, 1e-6, *[_SHRINK] * members]) * len(places)
    values = np.tile([-2 * sign, 2 * sign, *[0.0] * members], (len(y), 1))

    def look(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grown = np.exp(np.clip(values[:, 2:] @ places.T, -_STEEP, _STEEP))
        rest = (y - values[:, :1] - values[:, 1:2] * grown) * seen
        loss = (rest**2).sum(1) + ((values @ shrink) * values).sum(1)
        return grown, rest, loss

    grown, rest, loss = look(values)
    damping = np.full(len(y), 1e-2)
    for _ in range(_STEPS):
        slope = np.concatenate([
            np.ones_like(grown)[..., None], grown[..., None], (values[:, 1:2] * grown)[..., None] * places
        ], axis=2) * seen[..., None]  # fmt: skip
        turned = slope.transpose(0, 2, 1)
        matrix = turned @ slope + shrink
        matrix += damping[:, None, None] * np.eye(members + 2) * np.diagonal(matrix, axis1=1, axis2=2)[:, None]
        step = np.linalg.solve(matrix, turned @ rest[..., None] - (values @ shrink)[..., None])[..., 0]
        tried = look(values + step)
        better = tried[2] < loss
        values = np.where(better[:, None], values + step, values)
        grown, rest, loss = (np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                             for new, old in zip(tried, (grown, rest, loss)))  # fmt: skip
        damping = np.where(better, damping / 3, damping * 4).clip(1e-9, 1e9)
    found = values * unit[:, None]
    return np.concatenate([found[:, :1] + mean[:, None], found[:, 1:2], values[:, 2:]], axis=1), loss
