"""What a run computes with: a model without its weights, what is trained of it, and the compiled functions.

Learning rates and the seed are arguments of the step, not constants in it, so that runs that differ in data, length,
learning rate or seed alone share one executable.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
import optax

from flan_jax import run_adapters
from flan_jax.batch import Batch
from flan_jax.config import Config, ScheduleConfig
from flan_jax.models.config import ModelConfig
from flan_jax.run_adapters import Tuned
from flan_jax.training import optimizer, step
from flan_jax.training import state as state_lib
from flan_jax.training.state import Skeleton, TrainState


@dataclasses.dataclass(frozen=True)
class Machine:
    """Everything of a run that its data do not change.

    Attributes:
      bones: the model.
      tuned: what is trained of it.
      tx: its optimizer.
      placed: where each leaf of the state lies.
      step: (state, batch, frozen weights or None, learning rates f32[steps], seed) -> (state, metrics), jitted with the
        state donated.
      fresh: key -> state with random weights, jitted.
    """

    bones: Skeleton
    tuned: Tuned
    tx: optax.GradientTransformation
    placed: TrainState
    step: Callable[..., tuple[TrainState, step.Metrics]]
    fresh: Callable[[jax.Array], TrainState]


def key(config: Config, model: ModelConfig, *, mesh: jax.sharding.Mesh) -> Hashable:
    """All that a machine depends on."""
    training = dataclasses.replace(config.training, steps=1, epochs=None, positions=None, max_nonfinite=1)
    optimizing = config.optimizer
    ratio = optimizer.adam_ratio(optimizing)
    optimizing = dataclasses.replace(optimizing, learning_rate=1.0, adam_learning_rate=ratio, schedule=ScheduleConfig())
    return model, config.execution, config.adapter, training, optimizing, mesh


def make(config: Config, model: ModelConfig, *, mesh: jax.sharding.Mesh) -> Machine:
    """The machine of a config; nothing is compiled before it is used.

    Raises:
      ConfigError: a dimension does not divide over the mesh, or the adapter has no such target.
    """
    bones = state_lib.skeleton(model, config.execution)
    tuned = run_adapters.tuned(config, bones, model=model)
    tx, _ = optimizer.make(config.optimizer, tuned.bones.axes, steps=1)
    placed = state_lib.shardings(tuned.bones, tx, mesh=mesh)

    def one_step(
        state: TrainState, batch: Batch, frozen: Any, rates: jax.Array, seed: jax.Array
    ) -> tuple[TrainState, step.Metrics]:
        own, schedule = optimizer.make(config.optimizer, tuned.bones.axes, rates=rates)
        run = step.make(
            bones.graph, own, training=config.training, schedule=schedule,
            dropout_seed=seed if model.dropout else None, whole=tuned.whole,
        )  # fmt: skip
        return run(state, batch, frozen)

    return Machine(
        bones,
        tuned,
        tx,
        placed,
        jax.jit(one_step, donate_argnums=0, out_shardings=(placed, None)),
        state_lib.initialiser(model, config.execution, tx=tx, placed=placed),
    )


def base_key(config: Config, model: ModelConfig, *, mesh: jax.sharding.Mesh) -> Hashable:
    """All that the weights which are not trained depend on."""
    start = config.checkpoint
    return start.warm_start, start.warm_start_leave, config.adapter, config.execution, config.seed, model, mesh


def arguments(config: Config, steps: int, *, mesh: jax.sharding.Mesh) -> tuple[jax.Array, jax.Array]:
    """What a machine's step takes beside state, batch and frozen weights: (learning rates f32[steps], seed).

    The rates are filled up to a power of two, 4096 at least, so that runs of other lengths have arguments of the same
    shape.
    """
    schedule = optimizer.schedule(config.optimizer.schedule, peak=config.optimizer.learning_rate, steps=steps)
    rates = optimizer.table(schedule, max(4096, 1 << (steps - 1).bit_length()))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.device_put((np.asarray(rates), np.asarray(config.seed, np.uint32)), everywhere)
