"""What a study says, as values: made by `analysis`, read by the page, the plots and the tables."""

import dataclasses
from collections.abc import Mapping, Sequence

TITLES = {
    'held_in': 'trained tasks',
    'held_out_templates': 'trained tasks, templates not trained on',
    'unseen': 'tasks not trained on',
    'held_out': 'held-out clusters',
}  # of the targets in `table.TARGETS`


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; the interval is None where nothing says how sure it is."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of an axis.

    Attributes:
      x: where it is drawn; None where it is no number.
      label: what it is called.
      estimate: mean score, its interval over draws, seeds and examples together.
      deviations: source ('draws', 'seeds', 'examples') -> standard error of the mean that it alone would give; sources
        with a single value are not in it.
      cost: mean training tokens of a variant.
      variants: that it is the mean of.
    """

    x: float | None
    label: str
    estimate: Estimate
    deviations: Mapping[str, float]
    cost: float
    variants: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fit:
    """A formula fitted to a curve.

    Attributes:
      kind: 'constant', 'log_linear' (a + b log x), 'power' (a - b x^-c), 'saturating' (a - b exp(-x / c)).
      parameters: with bootstrap intervals.
      held_out_error: root mean square error at points left out in turn.
      chosen: preferred: a trend beyond chance, the simplest within one standard error of the least held-out error.
      line: x, mean, low, high of the fitted curve.
    """

    kind: str
    parameters: Mapping[str, Estimate]
    held_out_error: float
    chosen: bool
    line: tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Scores along one axis.

    Attributes:
      axis: its name.
      target: one of `table.TARGETS`.
      points: in order.
      base: the base's own score.
      fits: all that were tried; () where the axis is not of numbers or has fewer than four.
      pays_until: value from which on doubling it adds less than `worth`; None: not reached, or no trend.
      worth: in score.
      log: whether the values are spread evenly on a log scale.
    """

    axis: str
    target: str
    points: tuple[Point, ...]
    base: Estimate | None
    fits: tuple[Fit, ...] = ()
    pays_until: Estimate | None = None
    worth: float = 0.01
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Difference:
    """A value of an axis against the base, on the same prompts.

    Attributes:
      axis, label, target: where.
      difference: in score, paired by seed, task and row.
      p: of one so large by chance.
      p_corrected: for all differences of the study (Holm).
      better, worse: tasks.
    """

    axis: str
    label: str
    target: str
    difference: Estimate
    p: float
    p_corrected: float
    better: int
    worse: int


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What training clusters (or tasks) do for a score.

    Attributes:
      target: cluster or target whose score it is.
      method: 'leave_one_out' (base minus the variant without it) or 'regression' (over random subsets).
      effects: source -> score it adds.
      held_out_error: of the regression, on variants left out; None for leave-one-out.
      baseline_error: the same of the plain mean.
    """

    target: str
    method: str
    effects: Mapping[str, Estimate]
    held_out_error: float | None = None
    baseline_error: float | None = None


@dataclasses.dataclass(frozen=True)
class Proposal:
    """The mixture that a fit over small random mixtures calls best.

    Attributes:
      members: of the mixture.
      target: whose score is to be high.
      weights: proposed, sum to 1.
      predicted: its score.
      others: mixture ('proportional', 'equal', 'proposal') -> (predicted, measured or None).
      model: the formula, in words.
      held_out_error, baseline_error: of the formula and of the plain mean, on variants left out.
      trusted: whether the formula predicts better than the mean.
      shares: mixture -> its weights, of those that are known.
      gains: other mixture -> the proposal's measured score minus its, paired by seed, task and row.
      fitted: which of the fitted mixtures it is; '': none of them. Chosen for its score, such a one looks too good.
    """

    members: tuple[str, ...]
    target: str
    weights: tuple[float, ...]
    predicted: Estimate
    others: Mapping[str, tuple[Estimate, Estimate | None]]
    model: str
    held_out_error: float
    baseline_error: float
    trusted: bool
    shares: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    gains: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    fitted: str = ''


@dataclasses.dataclass(frozen=True)
class Findings:
    """All of a study.

    Attributes:
      sentences: axis -> what it came to, in words, significant or not.
      failed: variant -> why.
      notes: what a reader should know (few seeds, missing variants, ...).
    """

    study: str
    curves: tuple[Curve, ...]
    differences: tuple[Difference, ...]
    attributions: tuple[Attribution, ...]
    proposals: tuple[Proposal, ...]
    sentences: Mapping[str, tuple[str, ...]]
    failed: Mapping[str, str]
    notes: tuple[str, ...]
