"""Weights a new run begins with: another model's, as far as they fit; what was taken and what was not is told."""

import dataclasses
import fnmatch
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from flan_jax import errors
from flan_jax.config import Config, resolve
from flan_jax.data import vocabulary
from flan_jax.interop import gguf, hugging_face
from flan_jax.interop.config_keys import differing, essential
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.training import checkpoint
from flan_jax.training import state as state_lib
from flan_jax.training.state import TrainState

ROWS = {'embedding.table': 0, 'head.kernel': 1}  # weights with an entry a piece, and along which axis


@dataclasses.dataclass(frozen=True)
class Account:
    """What became of the weights, by dotted path.

    Attributes:
      source: where they come from.
      loaded: taken whole.
      partly: taken for the pieces both vocabularies have: (theirs, ours).
      skipped: there, but without a place in this model.
      fresh: of this model, and not there: they stay random.
    """

    source: str
    loaded: tuple[str, ...]
    partly: Mapping[str, tuple[int, int]]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]

    def told(self) -> str:
        """For a person.

        >>> print(Account('a.gguf', ('stack.norm.scale',), {'embedding.table': (5, 8)}, (), ('head.kernel',)).told())
        weights from a.gguf: 1 loaded, 1 partly, 0 skipped, 1 fresh
          partly: embedding.table, 5 rows of 8
          fresh: head.kernel
        """
        counts = f'{len(self.loaded)} loaded, {len(self.partly)} partly, {len(self.skipped)} skipped'
        lines = [f'weights from {self.source}: {counts}, {len(self.fresh)} fresh']
        lines += [f'  partly: {path}, {min(both)} rows of {both[1]}' for path, both in self.partly.items()]
        lines += [f'  {word}: {", ".join(paths)}' for word, paths in vars(self).items() if word in _LISTED and paths]
        return '\n'.join(lines)


_LISTED = ('skipped', 'fresh')


def begin(
    state: TrainState, config: Config, *, model: ModelConfig, mesh: jax.sharding.Mesh
) -> tuple[TrainState, Account]:
    """A fresh state with the weights of `config.checkpoint.warm_start` in it, each on its sharding.

    Args:
      state: fresh; its weights are given up.
      config: of the run.
      model: its model, the vocabulary filled in.
      mesh: the devices.

    Raises:
      ConfigError: the source holds another model; names the fields.
      CheckpointError: it is missing, broken, or of no known kind.
    """
    source = config.checkpoint.warm_start
    path, theirs = _same_model(source, model)
    bones = state_lib.skeleton(theirs, config.execution)
    fresh, shapes = flat(state.params), flat(bones.shapes)
    account = _account(source, fresh, shapes=shapes, leave=config.checkpoint.warm_start_leave)
    shardings = {p: fresh[p].sharding for p in account.loaded}
    for name in account.loaded:
        fresh[name].delete()  # room for what takes its place
    shardings = flat(state_lib.weight_shardings(bones, mesh)) | shardings
    loaded = flat(load(path, theirs, shardings=nested({p: shardings[p] for p in shapes}), shapes=bones.shapes))
    out = {name: loaded[name] if name in account.loaded else value for name, value in fresh.items()}
    for name in account.partly:
        out[name] = _fitted(loaded[name], fresh[name].shape, axis=ROWS[name], sharding=fresh[name].sharding)
    return dataclasses.replace(state, params=nested(out)), account


def _same_model(source: str, model: ModelConfig) -> tuple[str, ModelConfig]:
    """`describe`, and refuses another model than `model` but for its pieces."""
    path, theirs = describe(source)
    own = dataclasses.replace(essential(theirs), vocab_size=model.vocab_size)
    if differences := differing(essential(model), own):
        told = ', '.join(f'model.{field}={ours!r}, there {other!r}' for field, ours, other in differences)
        raise errors.ConfigError(f'checkpoint.warm_start={source!r} holds another model: {told}')
    return path, theirs


def each_weight(
    config: Config, *, model: ModelConfig, mesh: jax.sharding.Mesh
) -> tuple[Account, Iterator[tuple[str, jax.Array]]] | None:
    """The weights of `config.checkpoint.warm_start` one after the other, for who does not want to hold them all in f32.

    Returns:
      The account, and (dotted path, f32 weight on its sharding); None if some weights of the model are not there.

    Raises:
      ConfigError, CheckpointError: see `begin`.
    """
    source = config.checkpoint.warm_start
    path, theirs = _same_model(source, model)
    bones = state_lib.skeleton(theirs, config.execution)
    own = state_lib.skeleton(model, config.execution)
    ours, there = flat(own.shapes), flat(state_lib.weight_shardings(own, mesh))
    account = _account(source, ours, shapes=flat(bones.shapes), leave=config.checkpoint.warm_start_leave)
    if account.fresh:
        return None
    placed = state_lib.weight_shardings(bones, mesh)
    if path.endswith('.gguf'):
        found = gguf.each_weight(path, theirs, shardings=placed)
    elif not _checkpoints(path).is_dir():
        found = hugging_face.each_weight(path, theirs, shardings=placed)
    else:
        found = checkpoint_weights(_newest(path), bones.shapes, placed=placed)

    def as_ours(name: str, weight: jax.Array) -> tuple[str, jax.Array]:
        if name not in account.partly:
            return name, weight
        return name, _fitted(weight, ours[name].shape, axis=ROWS[name], sharding=there[name])

    return account, (as_ours(*one) for one in found if one[0] not in account.skipped)


def checkpoint_weights(step: pathlib.Path, shapes: Any, *, placed: Any) -> Iterator[tuple[str, jax.Array]]:
    """Path and weight of a run's checkpoint, one after the other.

    Raises:
      CheckpointError: they cannot be read, or have other shapes.
    """
    where = flat(placed)
    for name, shape in flat(shapes).items():
        found = checkpoint.weights(step, nested({name: shape}), placed=nested({name: where[name]}))
        yield name, jax.block_until_ready(flat(found)[name])


def _fitted(theirs: jax.Array, shape: tuple[int, ...], *, axis: int, sharding: jax.sharding.Sharding) -> jax.Array:
    return jax.jit(functools.partial(_resized, rows=shape[axis], axis=axis), out_shardings=sharding)(theirs)


def _resized(theirs: jax.Array, *, rows: int, axis: int) -> jax.Array:
    """Their rows; added pieces begin as the mean of theirs, so that no logit stands out before they are trained."""
    theirs = jnp.moveaxis(theirs, axis, 0)
    kept = min(rows, len(theirs))
    mean = jnp.mean(theirs, axis=0, keepdims=True, dtype=jnp.float32).astype(theirs.dtype)
    out = jnp.broadcast_to(mean, (rows, *theirs.shape[1:])).at[:kept].set(theirs[:kept])
    return jnp.moveaxis(out, 0, axis)


def _account(source: str, ours: Mapping[str, Any], *, shapes: Mapping[str, Any], leave: Sequence[str] = ()) -> Account:
    """
    >>> import numpy as np
    >>> ours = {'embedding.table': np.zeros((8, 2)), 'stack.norm.scale': np.zeros(2)}
    >>> theirs = {'embedding.table': np.zeros((5, 2)), 'head.kernel': np.zeros((2, 5))}
    >>> account = _account('x', ours, shapes=theirs)
    >>> account.partly, account.skipped, account.fresh
    ({'embedding.table': (5, 8)}, ('head.kernel',), ('stack.norm.scale',))
    """
    left = {name for name in ours for pattern in leave if fnmatch.fnmatch(name, pattern)}
    both = [name for name in ours if name in shapes and name not in left]
    partly = {
        name: (shapes[name].shape[ROWS[name]], ours[name].shape[ROWS[name]])
        for name in both
        if shapes[name].shape != ours[name].shape
    }
    return Account(
        source,
        tuple(name for name in both if name not in partly),
        partly,
        tuple(name for name in shapes if name not in ours or name in left),
        tuple(name for name in ours if name not in shapes or name in left),
    )


def describe(source: str) -> tuple[str, ModelConfig]:
    """Where the weights lie, and of what model.

    Raises:
      CheckpointError: nothing of a known kind is there.
    """
    path = vocabulary.load(source).path if source == vocabulary.SMOLLM2 else source
    if path.endswith('.gguf'):
        return path, gguf.read_config(path)
    if _checkpoints(path).is_dir():
        return path, _run_model(path)
    if os.path.isfile(f'{path}/config.json'):
        return path, hugging_face.read_config(path)
    raise errors.CheckpointError(
        f'checkpoint.warm_start={source!r} is no .gguf file, no Hugging Face directory (config.json), no run directory '
        f'(checkpoints/){"" if os.path.exists(path) else "; nothing is there"}; {vocabulary.SMOLLM2!r} needs none'
    )


def load(path: str, theirs: ModelConfig, *, shardings: Any, shapes: Any) -> Any:
    if path.endswith('.gguf'):
        return gguf.load(path, theirs, shardings=shardings)
    if not _checkpoints(path).is_dir():
        return hugging_face.load(path, theirs, shardings=shardings)
    return checkpoint.weights(_newest(path), shapes, placed=shardings)


def _checkpoints(path: str) -> pathlib.Path:
    return pathlib.Path(path).absolute() / 'checkpoints'


def _newest(path: str) -> pathlib.Path:
    """A run's newest whole checkpoint; one that is not whole has another name.

    Raises:
      CheckpointError: it has none.
    """
    steps = [int(place.name) for place in _checkpoints(path).iterdir() if place.name.isdecimal()]
    if not steps:
        raise errors.CheckpointError(f'{_checkpoints(path)} holds no checkpoint; let that run make one')
    return _checkpoints(path) / str(max(steps))


def _run_model(path: str) -> ModelConfig:
    """What a run's newest checkpoint says of its model, the vocabulary filled in."""
    step = _newest(path)
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            told = reader.restore(step / 'description')['config']
            model = resolve(told['model'], ModelConfig, path='model.')
        kind = told['adapter']['kind'] if 'adapter' in told else 'none'  # older runs train all
        if kind != 'none':
            raise errors.CheckpointError(
                f'checkpoint {step} holds what adapter.kind={kind!r} trains, not a model; export it merged, or give '
                'its own checkpoint.warm_start and, as adapter.others or adapter.source, its adapter in the PEFT format'
            )
        with ocp.PyTreeCheckpointer() as reader:
            rows = reader.metadata(step / 'state').item_metadata.tree['params']['embedding']['table'].shape[0]
    except (OSError, ValueError, KeyError, errors.ConfigError) as e:
        raise errors.CheckpointError(f'checkpoint {step} does not say what model it holds: {e}') from e
    return dataclasses.replace(model, vocab_size=rows)
