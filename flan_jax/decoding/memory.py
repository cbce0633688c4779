"""What a model remembers of a beginning that many rows share: read once, seen by all of them.

The keys and values of a layer lie beside its weights while the rows run (`Attention.before`), so they exist once
whatever the number of rows. Not for models whose keys depend on what follows: an encoder, which reads both ways, and
the RoPE rules that look at a text's length.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_jax.batch import Rows
from flan_jax.models import adapters_prompt, attention, positions, rope
from flan_jax.models.attention import Visibility
from flan_jax.models.blocks import Surroundings
from flan_jax.models.config import ModelConfig
from flan_jax.parallel.axes import constrain


@functools.partial(jax.tree_util.register_dataclass, data_fields=['pairs', 'length'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Memory:
    """A beginning, a tuned prompt before it included.

    Attributes:
      pairs: keys and values of all layers; slots after the beginning hold nothing anyone sees.
      length: tokens of the beginning, without the tuned prompt.
    """

    pairs: Float[Array, 'L 2 P K H']
    length: Int[Array, '']


def possible(config: ModelConfig) -> bool:
    """Whether what a model makes of a beginning is the same whatever follows."""
    return not config.encoder_decoder and not rope.needs_length(config)


def read(model: Any, tokens: Int[Array, 'B T'], *, length: Int[Array, '']) -> Memory:
    """Reads a beginning, the first `length` tokens; all rows hold the same, one for each device of the batch axes."""
    batch, width = tokens.shape
    at = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[None], tokens.shape)
    _, cache = model.extend(tokens, at, cache=model.empty_cache(batch, width))
    pairs = jnp.stack([x[:, 0] for x in cache], axis=1)
    return Memory(constrain(pairs, ('layers', 'position', 'position', 'kv_heads', 'head')), length)


def branches(model: Any, rows: Rows, *, branches: Int[Array, 'B T'], memory: Memory) -> Float[Array, 'B T D']:
    """Normed hidden states as of `model.branches`, of rows whose segments all go on from the beginning.

    Args:
      model: decoder-only; its own modules are given the memory and lose it with the trace.
      rows: positions count from the start of the beginning.
      branches: of each segment, 0 for what its options share.
      memory: of the beginning.
    """
    config, slots = model.config, jnp.arange(memory.pairs.shape[2])[None]
    prompt = adapters_prompt.length(model.embedding.table[...])
    rows = dataclasses.replace(rows, positions=rows.positions + prompt)
    x = model.embedding(rows.tokens, model.dtype)
    if model.positions is not None:
        x = x + model.positions(rows.positions, model.dtype)
    x = constrain(x, ('batch', 'length', 'width'))
    keys_at = jnp.concatenate([jnp.broadcast_to(slots, (x.shape[0], slots.shape[1])), rows.positions], axis=1)
    phases = bias = None
    match config.positions:
        case 'rope':
            phases = positions.model_phases(config, rows.positions)
        case 'relative_bias':
            bias = model.relative_bias(rows.positions, keys_at)
        case 'alibi':
            bias = positions.alibi(rows.positions, keys_at, heads=config.heads)
    visibility = _seeing(
        attention.branched(rows.segments, branches, positions=rows.positions, window=config.attention.window),
        slots < memory.length + prompt,
        distances=rows.positions[:, :, None] - slots[:, None, :],
    )
    model.stack.blocks.attention.before = nnx.data(nnx.Variable(memory.pairs))
    return model.stack(x, Surroundings(visibility, phases, bias))[0]


def _seeing(visibility: Visibility, used: Bool[Array, '1 P'], *, distances: Int[Array, 'B T P']) -> Visibility:
    """What was visible, and behind the `used` slots of a memory."""
    mask = jnp.broadcast_to(used[:, None], distances.shape)
    near, window = None, visibility.window
    if window is not None:
        near = jnp.concatenate([mask & (distances < window), visibility.near], axis=2)
    return Visibility(jnp.concatenate([mask, visibility.mask], axis=2), near=near, window=window)
