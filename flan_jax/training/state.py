"""The state of a run: weights, optimizer moments, step; made and placed on a mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from flan_jax.models import presets
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import axes as axes_lib
from flan_jax.training import optimizer as optimizer_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a step reads and writes.

    Attributes:
      step: optimizer steps done; also the next batch's place in the plan.
      params: f32 weights that are trained, nested dictionaries.
      moments: the optimizer's state.
      nonfinite: steps in a row whose loss or gradient was no number, and which changed nothing.
    """

    step: Int[Array, '']
    params: Any
    moments: Any
    nonfinite: Int[Array, '']


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A model without its weights.

    Attributes:
      graph: makes a model of weights, `nnx.merge(graph, params)`.
      shapes: of the weights.
      axes: logical axes of the weights.
    """

    graph: Any
    shapes: Any
    axes: Any


def skeleton(model: ModelConfig, execution: ExecutionConfig) -> Skeleton:
    """Shapes and axes of a model; allocates nothing."""
    abstract = nnx.eval_shape(lambda: presets.build(model, execution, key=jax.random.key(0)))
    graph, state = nnx.split(abstract)
    variables = jax.tree.map(lambda v: v.get_metadata('axes'), state, is_leaf=lambda v: isinstance(v, nnx.Variable))
    return Skeleton(graph, nnx.to_pure_dict(state), _plain(variables))


def _plain(tree: Any) -> Any:
    """An nnx state of axis tuples as nested dictionaries."""
    if isinstance(tree, tuple):
        return tree
    return {key: _plain(tree[key]) for key in tree}


def weight_shardings(bones: Skeleton, mesh: Mesh) -> Any:
    """Where each weight lies.

    Raises:
      ConfigError: a dimension does not divide; names the weight.
    """

    def place(path, shape, axes):
        name = '.'.join(str(key.key) for key in path)
        return axes_lib.sharding(mesh, axes, shape=shape.shape, name=name)

    return jax.tree_util.tree_map_with_path(place, bones.shapes, bones.axes)


def shardings(bones: Skeleton, tx: optax.GradientTransformation, *, mesh: Mesh) -> TrainState:
    """Where each leaf of the state lies: moments beside their weights, scalars and factored statistics everywhere."""
    weights = weight_shardings(bones, mesh)
    everywhere = NamedSharding(mesh, PartitionSpec())
    moments = jax.eval_shape(tx.init, bones.shapes)
    by_path = {jax.tree_util.keystr(p): s for p, s in jax.tree_util.tree_leaves_with_path(weights)}
    mirrored = optimizer_lib.moments_like(bones.shapes, moments)
    placed = jax.tree.map(
        lambda key: everywhere if key is None else by_path[key], mirrored, is_leaf=lambda key: key is None
    )
    return TrainState(everywhere, weights, placed, everywhere)


def shapes(bones: Skeleton, tx: optax.GradientTransformation) -> TrainState:
    """The state's shapes."""
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    return TrainState(scalar, bones.shapes, jax.eval_shape(tx.init, bones.shapes), scalar)


def initialiser(
    model: ModelConfig, execution: ExecutionConfig, *, tx: optax.GradientTransformation, placed: TrainState
) -> Callable[[jax.Array], TrainState]:
    """Key -> new state, jitted; it is made where it belongs, so that no device ever holds more than its part."""

    def make(key: jax.Array) -> TrainState:
        params = nnx.to_pure_dict(nnx.split(presets.build(model, execution, key=key))[1])
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, params, tx.init(params), zero)

    return jax.jit(make, out_shardings=placed)


def fresh(
    model: ModelConfig, execution: ExecutionConfig, *, tx: optax.GradientTransformation, seed: int, placed: TrainState
) -> TrainState:
    """A new state of a seed; see `initialiser`."""
    return initialiser(model, execution, tx=tx, placed=placed)(jax.random.key(seed))
