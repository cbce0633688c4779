"""The knobs of mixtures, stages and filters; `config.Config` has them as `mixture`, `stages` and `filters`."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from flan_jax import errors


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    members: tuple[str, ...] = ('mini_*',)  # tasks, clusters, named mixtures, name patterns; 'x?' may be unknown
    leave_out: tuple[str, ...] = ()  # tasks, clusters or patterns that are not members after all
    rule: Literal['proportional', 'equal', 'weights'] = 'proportional'  # how members share; weights: see below
    unit: Literal['examples', 'tokens'] = 'examples'  # what the shares are shares of
    weights: tuple[float, ...] = ()  # one a member, for rule 'weights'
    cap: int | None = None  # examples a task counts at most, for 'proportional'
    temperature: float = 1.0  # rates ** (1 / temperature); above 1 flattens
    max_epochs: float | None = None  # passes over a task's examples at most; what is cut goes to the other tasks
    max_examples: int | None = None  # source rows of a task at most; a smaller number's rows are among a larger one's
    max_templates: int | None = None  # templates of a task trained on at most; drawn by the seed, nested likewise
    held_out_clusters: tuple[str, ...] = ()  # or named mixtures: never trained on, nor what shares texts with them
    held_out_tasks: tuple[str, ...] = ()  # the same by task
    train_only: tuple[str, ...] = ()  # members trained on; the others are only scored, as unseen tasks; (): all
    hold_out_related: bool = True  # nor clusters that are too much like a held-out one, as the task modules say


@dataclasses.dataclass(frozen=True)
class StageConfig:
    name: str  # in the plan's summary
    mixture: MixtureConfig | None = None  # trained on in this stage; None: the run's `mixture`
    steps: int | None = None  # optimizer steps; exactly one of `steps` and `epochs`
    epochs: float | None = None  # passes over the capped examples of the stage's mixture


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    duplicates: Literal['off', 'exact', 'near'] = 'off'  # training rows with a text seen before are left out
    near_threshold: float = 0.8  # Jaccard similarity of their 5-word shingles from which two texts are near duplicates
    contamination: Literal['off', 'report', 'remove'] = 'off'  # of evaluation rows by training rows
    ngram: int = 13  # words that a training and an evaluation row must share in a row to count


def check_mixture(mixture: MixtureConfig, where: str) -> None:
    """Refuses values of a mixture that make no sense.

    Args:
      where: what the knobs' names begin with in messages.

    Raises:
      ConfigError: with the knob, its value and the remedy.
    """
    if not mixture.members:
        raise errors.ConfigError(f'{where}members is empty; name tasks, clusters, mixtures or patterns')
    if mixture.rule == 'weights' and len(mixture.weights) != len(mixture.members):
        raise errors.ConfigError(
            f'{where}weights has {len(mixture.weights)} values for {len(mixture.members)} {where}members; '
            'give one for each'
        )
    if mixture.rule != 'weights' and mixture.weights:
        raise errors.ConfigError(
            f"{where}weights={mixture.weights} count for nothing with {where}rule={mixture.rule!r}; set it to 'weights'"
        )
    shares = (mixture.temperature, *mixture.weights, sum(mixture.weights, 1.0))
    if not all(0 < share < math.inf for share in shares):  # a NaN is neither
        raise errors.ConfigError(
            f'{where}temperature and {where}weights must be above 0 and finite, not {mixture.temperature} and '
            f'{mixture.weights}; leave a member out that is to have no share'
        )
    if mixture.max_epochs is not None and not 0 < mixture.max_epochs < math.inf:
        raise errors.ConfigError(f'{where}max_epochs={mixture.max_epochs} must be above 0; None is off')
    for name in ('cap', 'max_examples', 'max_templates'):
        value = vars(mixture)[name]
        if value is not None and value < 1:
            raise errors.ConfigError(f'{where}{name}={value} must be at least 1; None is off')


def check_stages(stages: Sequence[StageConfig], *, steps: int | None, epochs: float | None) -> None:
    """Stages say how long a run is; what `training` says must agree.

    Args:
      stages: of the run.
      steps: `training.steps`.
      epochs: `training.epochs`.

    Raises:
      ConfigError: with the knobs, their values and the remedy.
    """
    if not stages:
        return
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names) or '' in names:
        raise errors.ConfigError(f'stages need names, each another one: {names}')
    for i, stage in enumerate(stages):
        if (stage.steps is None) == (stage.epochs is None):
            raise errors.ConfigError(
                f'stages[{i}] ({stage.name}): steps={stage.steps}, epochs={stage.epochs}: set exactly one of them'
            )
        if not 0 < (stage.steps or stage.epochs or 0) < math.inf:
            raise errors.ConfigError(f'stages[{i}] ({stage.name}) must last: {stage.steps=}, {stage.epochs=}')
        if stage.mixture is not None:
            check_mixture(stage.mixture, f'stages[{i}].mixture.')
    total = None if any(stage.steps is None for stage in stages) else sum(stage.steps for stage in stages)
    if epochs is not None or steps not in (None, total):
        told = f'the stages have {total} steps' if total is not None else 'a stage is counted in epochs'
        raise errors.ConfigError(
            f'training.steps={steps} and training.epochs={epochs}, but {told}; with stages, set both to None'
        )
