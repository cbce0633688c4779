"""Budgets: how long each variant trains so that all spend alike, and what that comes to.

steps               the same number of optimizer steps
tokens              as many steps as give the same tokens, padding not counted
supervised_tokens   likewise the same tokens with a loss: what the model is taught, whatever the prompts' length
epochs              the same passes over each variant's own examples: more data, more steps
"""

import dataclasses

from flan_jax import errors, run_data
from flan_jax.config import Config
from flan_jax.data import shares
from flan_jax.data.planning import Plan
from flan_jax.run_data import Data

CLOSE = 0.02  # share of the budget that a variant may miss, or else half a step


@dataclasses.dataclass(frozen=True)
class Spent:
    """What a plan comes to."""

    steps: int
    tokens: int
    supervised_tokens: int
    examples: int
    epochs: float


def spent(plan: Plan, data: Data, *, steps: int) -> Spent:
    """What training by a plan spends."""
    tasks = shares.of_tasks(plan, data.lengths)
    totals = (sum(task[key] for task in tasks) for key in ('tokens', 'supervised_tokens', 'examples'))
    tokens, supervised, examples = totals
    drawn = (int(plan.row_starts[s.last] - plan.row_starts[s.first]) / s.recipe.epoch_examples for s in plan.stages)
    return Spent(steps, tokens, supervised, examples, sum(drawn))


def with_steps(config: Config, steps: int) -> Config:
    """A config of another length; one with stages has its length from them."""
    if config.stages:
        return config
    return dataclasses.replace(config, training=dataclasses.replace(config.training, steps=steps, epochs=None))


def with_epochs(config: Config, epochs: float) -> Config:
    """A config of so many epochs."""
    return dataclasses.replace(config, training=dataclasses.replace(config.training, steps=None, epochs=epochs))


def fitted(config: Config, data: Data, *, equalise: str, budget: float, name: str) -> tuple[Config, Plan, Spent]:
    """A variant's config with the length that spends the budget, its plan, and what it spends.

    Args:
      config: of the variant.
      data: its own.
      equalise: of what; see above.
      budget: so much.
      name: of the variant, for messages.

    Raises:
      ConfigError: no whole number of steps comes near the budget, or the data cannot fill it.
    """
    match equalise:
        case 'steps':
            config = with_steps(config, round(budget))
        case 'epochs':
            config = with_epochs(config, budget)
        case _:
            return _searched(config, data, equalise=equalise, budget=budget, name=name)
    plan, steps = run_data.make_plan(config, data)
    return config, plan, spent(plan, data, steps=steps)


def _searched(config: Config, data: Data, *, equalise: str, budget: float, name: str) -> tuple[Config, Plan, Spent]:
    """By trying: tokens of a step differ little within a mixture, so that two or three plans are enough."""
    steps, tried = 0, {}
    guess = config.training.steps or 100
    while guess not in tried:
        steps = guess
        config = with_steps(config, steps)
        try:
            plan, made = run_data.make_plan(config, data)
        except errors.FlanJaxError as e:  # `mixture.max_epochs` allows no more
            raise errors.ConfigError(
                f'variant {name}: {equalise} cannot be equalised at {budget:,.0f}, about {steps} steps: {e}'
            ) from e
        found = spent(plan, data, steps=made)
        tried[steps] = config, plan, found
        guess = max(round(steps * budget / vars(found)[equalise]), 1)
        if len(tried) > 8:
            break
    best = min(tried.values(), key=lambda one: abs(vars(one[2])[equalise] - budget))
    reached = vars(best[2])[equalise]
    if abs(reached - budget) > max(CLOSE * budget, 0.5 * reached / best[2].steps):
        raise errors.ConfigError(
            f'variant {name}: {equalise} cannot be equalised: the nearest to {budget:,.0f} is {reached:,} '
            f'({best[2].steps} steps); raise the budget, lower training.batch_rows, or raise mixture.max_epochs='
            f'{config.mixture.max_epochs}'
        )
    return best


def base_budget(config: Config, data: Data, *, equalise: str) -> float:
    """What the base itself spends."""
    plan, steps = run_data.make_plan(config, data)
    return float(vars(spent(plan, data, steps=steps))[equalise])
