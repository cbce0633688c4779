"""A run's weights when only a part is trained: what stays, what begins, and the fingerprint that ties them."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from flan_jax import errors
from flan_jax.config import Config
from flan_jax.interop import peft, warm_start
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.adapters_weights import size
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.training import checkpoint
from flan_jax.training import state as state_lib
from flan_jax.training.state import Skeleton, TrainState


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What is trained of a model.

    Attributes:
      adapter: as asked, its targets filled in if it begins with another one's.
      model: the model without its weights.
      bones: the same of what is trained.
    """

    adapter: AdapterConfig
    model: Skeleton
    bones: Skeleton

    @property
    def part(self) -> Any:
        """Shapes of what is trained, if it is not all."""
        return None if self.adapter.kind == 'none' else self.bones.shapes

    def whole(self, frozen: Any, trained: Any) -> Any:
        """All weights, as the model takes them."""
        if self.adapter.kind == 'none':
            return trained
        return adapters.assemble(frozen, trained, config=self.adapter, axes=self.model.axes)


@dataclasses.dataclass(frozen=True)
class Base:
    """What is not trained.

    Attributes:
      tuned: see there.
      frozen: weights on the mesh; None if all are trained.
      first: first values of what is trained; None: likewise.
      fingerprint: of what the frozen weights are made of, for checkpoints; None: likewise.
      account: what is told of them.
    """

    tuned: Tuned
    frozen: Any = None
    first: Any = None
    fingerprint: str | None = None
    account: str = ''

    def whole(self, trained: Any) -> Any:
        return self.tuned.whole(self.frozen, trained)

    def begin(self, tx: optax.GradientTransformation, placed: TrainState) -> TrainState:
        """The state before the first step."""
        zero = jnp.zeros((), jnp.int32)
        make = jax.jit(lambda first: TrainState(zero, first, tx.init(first), zero), out_shardings=placed)
        return make(self.first)


def tuned(config: Config, bones: Skeleton, *, model: ModelConfig) -> Tuned:
    """What a config trains.

    Raises:
      ConfigError: a target the model does not have, or another adapter than `adapter.source` holds.
      CheckpointError: `adapter.source` belongs to another base.
    """
    adapter = config.adapter
    if adapter.kind == 'none':
        return Tuned(adapter, bones, bones)
    if adapter.source is not None:
        theirs, _ = peft.load(adapter.source, model)
        same = ('kind', 'prompt_tokens') if adapter.kind == 'prompt' else ('kind', 'rank', 'alpha', 'rank_stabilised')
        for name in same[:1] if adapter.kind == 'ia3' else same:
            if vars(adapter)[name] != vars(theirs)[name]:
                raise errors.ConfigError(
                    f'adapter.{name}={vars(adapter)[name]!r}, but adapter.source={adapter.source!r} has '
                    f'{vars(theirs)[name]!r}; set it to that'
                )
        adapter = dataclasses.replace(adapter, targets=theirs.targets, layers=theirs.layers)
    shapes, axes = adapters.parts(adapter, bones.shapes, axes=bones.axes)
    return Tuned(adapter, bones, Skeleton(bones.graph, shapes, axes))


def base(config: Config, part: Tuned, *, model: ModelConfig, mesh: jax.sharding.Mesh) -> Base:
    """The frozen weights: the warm start's, or random ones from the seed, with the adapters trained before.

    Where they are kept in fewer bits, one weight is read after the other, and never more than one is there in f32.

    Raises:
      CheckpointError: an adapter belongs to another base; names tensor and file.
    """
    adapter = part.adapter
    if adapter.kind == 'none':
        return Base(part)
    loaded = _others(adapter, model)
    frozen = _read_narrow(config, part, model=model, mesh=mesh, loaded=loaded)
    if frozen is None:
        frozen = _read_wide(config, part, model=model, mesh=mesh, loaded=loaded)
    account, told, params, frozen = frozen
    fingerprint = _fingerprint(adapter, told, loaded=loaded)
    for how, theirs, values in loaded:
        frozen = _with(frozen, theirs, values=values, bones=part.model, mesh=mesh) if how == 'frozen' else frozen
    where = state_lib.weight_shardings(part.bones, mesh)
    if adapter.source is not None:
        first = jax.device_put(peft.load(adapter.source, model)[1], where)
    else:
        own = frozen if params is None else params
        make = functools.partial(
            adapters.begin, adapter, shapes=part.bones.shapes, axes=part.model.axes, seed=config.seed
        )
        first = jax.jit(make, out_shardings=where)(own)
    trained, kept = size(first), size(frozen)
    account += (
        f'\nadapter {adapter.name!r} ({adapter.kind}): {trained / 1e6:.2f} MB trained, {kept / 1e6:.2f} MB of base '
        f'weights kept as {adapter.base}, {len(loaded)} other adapters'
    )
    return Base(part, frozen, first, fingerprint, account)


# How each of the adapters trained before stays, its config and its weights.
_Others = list[tuple[str, AdapterConfig, Any]]


def _others(adapter: AdapterConfig, model: ModelConfig) -> _Others:
    return [(other.how, *peft.load(other.path, model)) for other in adapter.others]


def _fingerprint(adapter: AdapterConfig, told: Sequence[str], *, loaded: _Others) -> str:
    """Of what it is all made of: sums made of it may be rounded otherwise on another mesh."""
    others = {str(i): values for i, (_, _, values) in enumerate(loaded)}
    how_made = str([adapter.base, *((how, theirs.kind, theirs.scale) for how, theirs, _ in loaded)])
    return adapters.digest([*told, *adapters.sums({'others': others})], salt=how_made)


# Account, sums for the fingerprint, all weights in f32 if what is trained begins as some of them, frozen weights.
_Read = tuple[str, list[str], Any, Any]


def _read_narrow(
    config: Config, part: Tuned, *, model: ModelConfig, mesh: jax.sharding.Mesh, loaded: _Others
) -> _Read | None:
    """The frozen weights, each in the type it is kept in as soon as it is read; None where that cannot be."""
    adapter = part.adapter
    if adapter.base == 'float32' or adapter.kind in ('bias', 'weights') or config.checkpoint.warm_start is None:
        return None
    found = warm_start.each_weight(config, model=model, mesh=mesh)
    if found is None:
        return None
    told, frozen = [], {}
    for _, kept in _each_kept(part, found[1], loaded=loaded, told=told):
        frozen |= jax.block_until_ready(flat(kept))
    return found[0].told(), told, None, nested(frozen)


def _read_wide(config: Config, part: Tuned, *, model: ModelConfig, mesh: jax.sharding.Mesh, loaded: Sequence) -> _Read:
    """The frozen weights by way of a whole state in f32, with `loaded` adapters merged into them as they ask."""
    adapter, nothing = part.adapter, optax.identity()
    placed = state_lib.shardings(part.model, nothing, mesh=mesh)
    state = state_lib.fresh(model, config.execution, tx=nothing, seed=config.seed, placed=placed)
    account = 'weights: random'
    if config.checkpoint.warm_start is not None:
        state, taken = warm_start.begin(state, config, model=model, mesh=mesh)
        account = taken.told()
    params = state.params
    around = functools.partial(_with, bones=part.model, mesh=mesh)
    unchanged = adapters.keep(
        dataclasses.replace(adapter, base='float32'), params, shapes=part.bones.shapes, axes=part.model.axes
    )
    told = adapters.sums({'base': unchanged})
    for how, theirs, values in loaded:
        if how == 'merged':
            together = lambda params, theirs=theirs, values=values: adapters.merge(  # noqa: E731
                around(params, theirs, values=values)
            )
            params = jax.jit(together, out_shardings=placed.params)(params)
    frozen = adapters.keep(adapter, params, shapes=part.bones.shapes, axes=part.model.axes)
    return account, told, params if adapter.kind in ('bias', 'weights') else None, frozen


def _with(frozen: Any, theirs: AdapterConfig, *, values: Any, bones: Skeleton, mesh: jax.sharding.Mesh) -> Any:
    """Weights with one more adapter around them."""
    shapes, axes = adapters.parts(theirs, bones.shapes, axes=bones.axes)
    values = jax.device_put(values, state_lib.weight_shardings(Skeleton(bones.graph, shapes, axes), mesh))
    return adapters.assemble(frozen, values, config=theirs, axes=bones.axes)


def each_merged(
    config: Config, part: Tuned, *, model: ModelConfig, mesh: jax.sharding.Mesh, step: pathlib.Path
) -> Iterator[tuple[str, jax.Array]]:
    """A checkpoint's weights one after the other, its adapter merged into each, for who does not want to hold them all.

    The last one is given only when all were seen to be what the adapter was trained on.

    Args:
      config: of the run.
      part: what it trained; not all.
      model: its model.
      mesh: the devices.
      step: the checkpoint's folder.

    Yields:
      (dotted path, weight in the type that the base is kept in).

    Raises:
      CheckpointError: weights cannot be read, or belong to another base.
      ConfigError: a tuned prompt, which cannot be merged.
    """
    own = checkpoint.weights(step, part.bones.shapes, placed=state_lib.weight_shardings(part.bones, mesh))
    found = None if config.checkpoint.warm_start is None else warm_start.each_weight(config, model=model, mesh=mesh)
    if found is None:  # random weights are drawn together
        whole = base(config, part, model=model, mesh=mesh)
        check_base(step, whole.fingerprint)
        weights = flat(whole.whole(own))
        del whole  # each of its weights is let go when its turn has come
        for name in [*weights]:
            yield name, adapters.merge({name: weights.pop(name)})[name]
        return
    adapter, told, last = part.adapter, [], {}
    loaded = _others(adapter, model)
    for names, kept in _each_kept(part, found[1], loaded=loaded, told=told):
        for how, theirs, values in loaded:
            kept = _around(kept, theirs, values=values, names=names, part=part) if how == 'frozen' else kept
        yield from last.items()
        last = jax.block_until_ready(flat(adapters.merge(_around(kept, adapter, values=own, names=names, part=part))))
    check_base(step, _fingerprint(adapter, told, loaded=loaded))
    yield from last.items()


def _each_kept(
    part: Tuned, found: Iterable[tuple[str, jax.Array]], *, loaded: _Others, told: list[str]
) -> Iterator[tuple[set[str], dict[str, Any]]]:
    """Weights with their biases, one after the other: their names, and what is kept of them, others merged into it.

    Args:
      part: what is trained.
      found: (dotted path, f32 weight).
      loaded: adapters trained before.
      told: the sums for the fingerprint are added to it.
    """
    unchanged = dataclasses.replace(part.adapter, base='float32')
    some_replaced = part.adapter.kind in ('bias', 'weights')
    keep = functools.partial(adapters.keep, shapes=part.bones.shapes, axes=part.model.axes)
    shapes, waiting = flat(part.model.shapes), {}
    for name, weight in found:
        stem = name.removesuffix('_bias')
        waiting.setdefault(stem, {})[name] = weight
        names = {stem, f'{stem}_bias'} & shapes.keys()
        if waiting[stem].keys() != names:
            continue
        one = nested(waiting.pop(stem))
        told += adapters.sums({'base': keep(unchanged, one) if some_replaced else one})
        for how, theirs, values in loaded:
            if how == 'merged':
                around = functools.partial(_around, theirs=theirs, values=values, names=names, part=part)
                one = jax.jit(lambda one, around=around: adapters.merge(around(one)))(one)
        yield names, keep(part.adapter, one)


def _around(one: Any, theirs: AdapterConfig, *, values: Any, names: set[str], part: Tuned) -> Any:
    """A few weights, by name, with their part of an adapter around them."""
    own = {name: jnp.asarray(value) for name, value in flat(values).items() if name.rpartition('.')[0] in names}
    return adapters.assemble(one, nested(own), config=theirs, axes=part.model.axes)


def check_base(step: pathlib.Path, fingerprint: str | None) -> None:
    """Refuses base weights that a checkpoint's adapter was not trained on.

    Args:
      step: the checkpoint's folder.
      fingerprint: of the base weights that the config gives.

    Raises:
      CheckpointError: with both fingerprints and the remedy.
    """
    import orbax.checkpoint as ocp

    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            told = reader.restore(step / 'description')['base']
    except (OSError, ValueError, KeyError) as e:
        raise errors.CheckpointError(f'checkpoint {step} does not say what base weights it is for: {e}') from e
    if told != fingerprint:
        raise errors.CheckpointError(
            f'checkpoint {step} was trained on base weights {told}, the config it has now gives {fingerprint}; '
            'bring back what checkpoint.warm_start and adapter.others name'
        )
