"""What a model remembers of the rows it is writing.

Prompts lie at the left of their rows and are padded on the right; every row writes its own next cache slot. A slot
after a row's end holds nothing anyone sees until the row itself overwrites it, so a batch gives what its rows give one
by one, whatever their lengths.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flan_jax.batch import Rows
from flan_jax.models.attention import Cache, LayerCache
from flan_jax.parallel.axes import constrain


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=['cache', 'ends', 'cross', 'encoder_segments'], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Past:
    """Keys and values of all that was read and written.

    Attributes:
      cache: of self-attention, of each layer [B K S H].
      ends: int32[B 1], position of each row's last token before its answer.
      cross: of cross-attention, if there is an encoder.
      encoder_segments: int32[B S], 1 where the encoder's side has a token.
    """

    cache: tuple[LayerCache, ...]
    ends: Array
    cross: tuple[LayerCache, ...] | None = None
    encoder_segments: Array | None = None

    def replaced(self, fresh: 'Past', slots: Int[Array, 'G R']) -> 'Past':
        """With `fresh` in the slots (see `replaced`); what of it is narrower leaves the rest of a row as it was."""
        if self.encoder_segments is not None:
            wide = self.encoder_segments.shape[1] - fresh.encoder_segments.shape[1]
            fresh = dataclasses.replace(fresh, encoder_segments=jnp.pad(fresh.encoder_segments, ((0, 0), (0, wide))))
        return jax.tree.map(lambda old, rows: replaced(old, rows, slots=slots), self, fresh)


def replaced(old: Array, fresh: Array, *, slots: Int[Array, 'G R']) -> Array:
    """`old` with rows of `fresh` in its place, group by group, so that none of `old` leaves its devices.

    >>> old, fresh = jnp.zeros((4, 2), int), jnp.array([[1, 1], [2, 2]])
    >>> replaced(old, fresh, slots=jnp.array([[1], [2]])).tolist()
    [[0, 0], [1, 1], [0, 0], [0, 0]]

    Args:
      old: [B ...], as many rows for each of the G groups.
      fresh: the same, R rows a group; along the other axes it may be shorter and takes the beginning.
      slots: of the fresh rows, counted in their group; one beyond the group's rows is left out.
    """
    groups = slots.shape[0]
    whole = old.reshape(groups, -1, *old.shape[1:])
    parts = fresh.reshape(groups, -1, *fresh.shape[1:])
    at = (jnp.arange(groups)[:, None], slots, *(slice(0, size) for size in fresh.shape[1:]))
    return whole.at[at].set(parts, mode='drop').reshape(old.shape)


def by_layer(cache: Cache) -> tuple[LayerCache, ...]:
    """[L B S K H] keys and values -> those of each layer, [B K S H]."""
    axes = ('batch', 'kv_heads', 'position', 'head')
    turned = [jnp.einsum('LBSKH->LBKSH', x) for x in cache]
    return tuple(tuple(constrain(x[layer], axes) for x in turned) for layer in range(cache[0].shape[0]))


def read(
    model: Any, tokens: Int[Array, 'B T'], *, lengths: Int[Array, 'B 1'], new: int
) -> tuple[Float[Array, 'B 1 D'], Past]:
    """Prompts, and room for `new` tokens; the hidden states predict the first of them."""
    batch, width = tokens.shape
    places = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[None], tokens.shape)
    if model.config.encoder_decoder:
        segments = (places < lengths).astype(jnp.int32)
        cross = model.project_cross(model.encode(Rows(tokens, segments, places)))
        start = jnp.zeros((batch, 1), jnp.int32)
        hidden, cache = model.extend(
            start, start, cache=model.empty_cache(batch, new), cross=cross, encoder_segments=segments
        )
        return hidden, Past(by_layer(cache), start, by_layer(cross), segments)
    # An empty row (a batch's filling) is read as one of padding.
    lengths = jnp.maximum(lengths, 1)
    hidden, cache = model.extend(tokens, places, cache=model.empty_cache(batch, width + new), lengths=lengths)
    hidden = jnp.take_along_axis(hidden, (lengths - 1)[..., None], axis=1)
    return hidden, Past(by_layer(cache), lengths - 1)


def write(
    model: Any, tokens: Int[Array, 'B 1'], *, past: Past, step: Int[Array, ''] | Int[Array, 'B 1']
) -> tuple[Float[Array, 'B 1 D'], Past]:
    """The token `step` places after each row's end (an encoder-decoder's start id is 0 places after it).

    The model's blocks must be apart (`take_apart`).
    """
    at = past.ends + step
    if past.cross is None:
        hidden, cache = model.extend(tokens, at, cache=past.cache, lengths=at + 1)
    else:
        hidden, cache = model.extend(
            tokens, at, cache=past.cache, cross=past.cross, encoder_segments=past.encoder_segments
        )
    return hidden, dataclasses.replace(past, cache=cache)
