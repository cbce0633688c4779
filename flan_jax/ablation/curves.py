"""Scores along an axis: a point a value, with what draws, seeds and examples leave open, and the formulas over them."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from flan_jax.ablation import fits, uncertainty
from flan_jax.ablation.findings import Curve, Estimate, Point
from flan_jax.ablation.uncertainty import Run

FIT_VALUES = 4  # fewer say nothing of a shape


@dataclasses.dataclass(frozen=True)
class Axis:
    """What a study says of an axis.

    Attributes:
      name, kind: of it.
      base_value: where the base is on it; None: nowhere, or not known.
      log: whether its values are spread on a log scale.
    """

    name: str
    kind: str = ''
    base_value: float | None = None
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of an axis and the runs that have it.

    Attributes:
      x: where it is drawn; None where it is no number.
      label: what it is called.
      runs: their answers to one target.
    """

    x: float | None
    label: str
    runs: tuple[Run, ...]


def of(axis: Axis, target: str, *, values: Sequence[Value], base: Sequence[Run], worth: float) -> Curve | None:
    """The curve of one axis and target.

    Args:
      values: with their runs; those without any are left out. Numbers are put in order, names keep theirs.
      base: the base's runs.
      worth: in score.

    Returns:
      None where fewer than two values have runs.
    """
    values = [value for value in values if value.runs]
    if len(values) < 2:
        return None
    numbers = all(value.x is not None for value in values)
    if numbers:
        values = sorted(values, key=lambda value: value.x)
    points = tuple(_point(value) for value in values)
    own = uncertainty.of(base).estimate if base else None
    tried, pays = (), None
    if numbers and len({value.x for value in values}) >= FIT_VALUES:
        tried, pays = _fits(axis, target, values=values, worth=worth)
    return Curve(axis.name, target, points, own, tried, pays, worth, axis.log)


def _point(value: Value) -> Point:
    spread = uncertainty.of(value.runs)
    cost = float(np.mean([run.cost for run in value.runs]))
    names = tuple(run.variant for run in value.runs)
    return Point(value.x, value.label, _possible(spread.estimate), spread.deviations, cost, names)


def _possible(estimate: Estimate) -> Estimate:
    """An interval without what no score can be: below 0 (if the mean is not) or above 1."""
    if estimate.low is None:
        return estimate
    low = max(estimate.low, 0.0) if estimate.mean >= 0 else estimate.low
    return dataclasses.replace(estimate, low=low, high=min(estimate.high, max(1.0, estimate.mean)))


def _fits(
    axis: Axis, target: str, *, values: Sequence[Value], worth: float
) -> tuple[tuple[fits.Fit, ...], Estimate | None]:
    strata = {run.stratum for value in values for run in value.runs}
    scores = [_scores(value, len(strata) > 1) for value in values]
    return fits.of(
        np.array([value.x for value in values], np.float64), scores,
        shared=uncertainty.common([run for value in values for run in value.runs]),
        worth=worth, seed=zlib.crc32(f'{axis.name} {target}'.encode()),
    )  # fmt: skip


def _scores(value: Value, crossed: bool) -> np.ndarray:
    """A score for each draw and seed, over the other axes' values."""
    if not crossed:
        return np.array([run.mean for run in value.runs])
    cells: dict[tuple, list[float]] = {}
    for run in value.runs:
        cells.setdefault((run.draw, run.seed), []).append(run.mean)
    return np.array([np.mean(means) for means in cells.values()])
