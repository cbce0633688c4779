"""The knobs of a study: a base run, axes along which it varies, and what is held equal between variants.

`configs/studies/X.py` has `get_config()`, which starts from `default()` and may use `axis` and `choice`.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

from flan_jax import config as run_config
from flan_jax import errors
from flan_jax.config import Config, TrainingConfig

Kind = Literal[
    'knob', 'choices', 'task_count', 'cluster_count', 'leave_out', 'total_examples', 'weights', 'stage_order'
]  # see `ablation.axes`
NUMBERS = ('task_count', 'cluster_count', 'total_examples')  # kinds whose values are whole numbers


@dataclasses.dataclass(frozen=True)
class ChoiceConfig:
    label: str  # what it is called
    value: float | None = None  # where it is drawn, if it is a number
    knobs: tuple[str, ...] = ()  # of the run's config that it sets, 'format.shots'
    values: tuple[Any, ...] = ()  # one a knob; of `model`, the name of a preset


@dataclasses.dataclass(frozen=True)
class AxisConfig:
    name: str  # in tables, plots and names of variants
    kind: Kind = 'knob'  # what varies
    knob: str = ''  # knob: which
    values: tuple[
        Any, ...
    ] = ()  # what it takes; leave_out: clusters, (): each in turn; stage_order: names, (): all orders
    choices: tuple[ChoiceConfig, ...] = ()  # choices: what there is
    draws: int = 1  # task_count, cluster_count: random nested orders; weights: random mixtures
    spread: Literal['tasks', 'clusters'] = 'tasks'  # task_count: tasks are drawn from all, or from each cluster in turn
    order: tuple[str, ...] = ()  # cluster_count: clusters in the order they are added; (): drawn
    design: Literal['grid', 'simplex', 'one_factor', 'random'] = 'random'  # weights: which mixtures are tried
    parts: int = 4  # weights: grid and simplex: weights are multiples of 1 / parts
    factors: tuple[float, ...] = (0.5, 2.0)  # weights: one_factor: what one member's weight is multiplied with
    propose: bool = False  # weights: fit the scores, predict the best mixture, and run it
    log: bool = False  # drawn on a log scale
    published: str = ''  # what a paper reports along this axis, shown beside ours


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """A whole study."""

    name: str = 'study'  # of its folder
    study_root: str = 'studies'  # folder of studies
    description: str = ''  # what it asks, for the report
    base: Config = dataclasses.field(default_factory=lambda: Config(training=TrainingConfig(steps=1000)))
    axes: tuple[AxisConfig, ...] = ()  # what varies
    combine: Literal['list', 'product', 'pairs', 'zip'] = 'list'  # one axis at a time, all together, every two, in step
    seeds: tuple[int, ...] = ()  # every variant is run with each; (): the base's
    equalise: Literal['steps', 'tokens', 'supervised_tokens', 'epochs'] = 'steps'  # what all variants spend alike
    budget: float | None = None  # so much of it; None: what the base spends
    worth: float = 0.01  # score that doubling a number must add to pay
    keep_checkpoints: bool = False  # of finished variants; off: their weights are removed

    def __post_init__(self):
        check(self)

    @property
    def folder(self) -> str:
        return f'{self.study_root}/{self.name}'


def default() -> 'ml_collections.ConfigDict':  # noqa: F821
    """All knobs of a study at their defaults, as the `ConfigDict` a config file changes."""
    return run_config.to_config_dict(StudyConfig())


def axis(**knobs: Any) -> 'ml_collections.ConfigDict':  # noqa: F821
    """An axis, as a config file writes it; keywords are the fields of `AxisConfig`."""
    return run_config.to_config_dict(AxisConfig(**knobs))


def choice(label: str, changes: Mapping[str, Any], *, value: float | None = None) -> ChoiceConfig:
    """A choice, as a config file writes it.

    >>> choice('few-shot', {'format.shots': 5, 'format.few_shot_share': 1.0}).knobs
    ('format.shots', 'format.few_shot_share')
    """
    return ChoiceConfig(label, value, tuple(changes), tuple(map(_plain, changes.values())))


def _plain(value: Any) -> Any:
    """As `study.json` will hold it, so that what is read there is what was set here."""
    match value:
        case list() | tuple():
            return [_plain(one) for one in value]
        case _ if dataclasses.is_dataclass(value):
            return run_config.to_dict(value)
    return value


def check(study: StudyConfig) -> None:
    """Refuses what makes no sense before anything is read.

    Raises:
      ConfigError: with the axis, the values and the remedy.
    """
    names = [one.name for one in study.axes]
    if len(set(names)) < len(names) or not all(names):
        raise errors.ConfigError(f'axes need names, each another one: {names}')
    for one in study.axes:
        _check_axis(one, study.base)
    if len(set(study.seeds)) < len(study.seeds):
        raise errors.ConfigError(f'seeds={study.seeds} names one twice')
    least = 1.0 if study.equalise == 'steps' else 0.0
    if study.budget is not None and not max(least, 1e-12) <= study.budget < math.inf:
        what = f'at least {least:g}' if least else 'above 0'
        raise errors.ConfigError(f'budget={study.budget} must be {what} and finite; None: what the base spends')
    if not 0 < study.worth < math.inf:
        raise errors.ConfigError(f'worth={study.worth} must be above 0: score that doubling a number must add to pay')
    if study.combine == 'pairs' and len(study.axes) < 2:
        raise errors.ConfigError(f"combine='pairs' pairs axes, and there is {len(study.axes)}; set combine to 'list'")
    if study.base.stages and (study.equalise != 'steps' or study.budget is not None):
        raise errors.ConfigError(
            f'equalise={study.equalise!r} with budget={study.budget}: the stages of the base say how long each lasts, '
            "so that variants can only be equalised in 'steps', with budget=None"
        )
    if not study.base.evaluation.at_end:
        raise errors.ConfigError('base.evaluation.at_end=False: a study compares scores; set it to True')
    touched = [knob for one in study.axes for knob in knobs(one)]
    length = 'training.epochs' if study.equalise == 'epochs' else 'training.steps'
    for knob in touched:
        if knob in ('training.steps', 'training.epochs') and (knob == length or study.equalise != 'epochs'):
            raise errors.ConfigError(
                f'an axis sets {knob}, and equalise={study.equalise!r} holds it equal; equalise something else'
            )
        if knob == 'evaluation.at_end':
            raise errors.ConfigError('an axis sets evaluation.at_end; a variant without it has no scores to compare')
        if knob in ('seed', 'name', 'run_root'):
            raise errors.ConfigError(f"an axis sets {knob!r}; use the study's own `seeds` or `name`")


def knobs(one: AxisConfig) -> list[str]:
    """The knobs of a run that an axis may set."""
    match one.kind:
        case 'knob':
            return [one.knob]
        case 'choices':
            return list(dict.fromkeys(itertools.chain.from_iterable(choice.knobs for choice in one.choices)))
        case 'task_count' | 'cluster_count':
            return ['mixture.train_only']
        case 'leave_out':
            return ['mixture.held_out_clusters']
        case 'total_examples':
            return ['mixture.max_examples']
        case 'weights':
            return ['mixture.rule', 'mixture.weights']
        case 'stage_order':
            return ['stages']


def _check_axis(one: AxisConfig, base: Config) -> None:
    where = f'axis {one.name!r}'
    if one.draws < 1 or one.parts < 1:
        raise errors.ConfigError(f'{where}: draws={one.draws} and parts={one.parts} must be at least 1')
    if one.kind == 'knob' and not one.knob:
        raise errors.ConfigError(f"{where} names no knob; set knob='mixture.cap', say, or another kind")
    for knob in knobs(one):
        try:
            run_config.check_name(knob)
        except errors.ConfigError as e:
            raise errors.ConfigError(f'{where}: {e}') from e
    if one.kind in ('knob', *NUMBERS) and not one.values:
        raise errors.ConfigError(f'{where} has no values')
    if one.kind in NUMBERS:
        odd = [v for v in one.values if not isinstance(v, int) or isinstance(v, bool) or v < 1]
        if odd:
            raise errors.ConfigError(f'{where}: values={one.values} must be whole numbers from 1')
    if one.kind == 'choices':
        _check_choices(one, where)
    if one.kind == 'weights' and one.propose and one.design == 'one_factor':
        raise errors.ConfigError(f"{where}: a proposal needs mixtures all over; set design to 'random' or 'simplex'")
    if one.kind == 'stage_order' and len(base.stages) < 2:
        raise errors.ConfigError(f'{where} orders stages, but the base has {len(base.stages)}; give it base.stages')


def _check_choices(one: AxisConfig, where: str) -> None:
    labels = [choice.label for choice in one.choices]
    if not labels or len(set(labels)) < len(labels):
        raise errors.ConfigError(f'{where} needs choices, each with another label: {labels}')
    for choice in one.choices:
        if len(choice.knobs) != len(choice.values):
            raise errors.ConfigError(
                f'{where}, choice {choice.label!r}: {len(choice.knobs)} knobs and {len(choice.values)} values'
            )
