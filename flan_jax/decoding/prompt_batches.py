"""Prompts in batches of few static shapes, longest first."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from flan_jax import errors
from flan_jax.data.loader import place
from flan_jax.decoding.score import Ids, bucket
from flan_jax.parallel import distributed


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Prompts at the left of their rows, padded on the right; rows beyond the prompts are empty.

    Attributes:
      indices: of the prompts, one a filled row.
      tokens: int32[B T].
      lengths: int32[B 1], 0 in an empty row.
    """

    indices: tuple[int, ...]
    tokens: np.ndarray
    lengths: np.ndarray


def batches(prompts: Sequence[Ids], *, groups: int, batch_tokens: int, new: int) -> Iterator[PromptBatch]:
    """Batches whose rows divide over `groups` and hold about `batch_tokens` tokens with `new` of them written later.

    Few prompts make few rows, so that one question does not pay for a full batch.

    >>> [(b.indices, b.tokens.shape) for b in batches([[5], [6] * 20, [7]], groups=1, batch_tokens=64, new=8)]
    [((1, 0), (2, 24)), ((2,), (2, 16))]

    Raises:
      DataError: a prompt is empty.
    """
    order = _longest_first(prompts)
    most = _most_rows(order, groups)
    while order:
        width = bucket(len(prompts[order[0]]), smallest=16)
        rows = min(max(batch_tokens // (width + new) // groups, 1), most) * groups
        indices, order = order[:rows], order[rows:]
        yield filled(prompts, [*indices, *[None] * (rows - len(indices))], width=width)


@dataclasses.dataclass(frozen=True)
class Queue:
    """Prompts that are answered one after another in the slots of one cache.

    Attributes:
      indices: of the prompts, longest first.
      slots: rows of the cache.
      width: tokens of a prompt that a slot has room for.
    """

    indices: tuple[int, ...]
    slots: int
    width: int


def queues(prompts: Sequence[Ids], *, groups: int, batch_tokens: int, new: int) -> Iterator[Queue]:
    """Queues whose slots divide over `groups` and hold about `batch_tokens` tokens with answers of `new`.

    A slot is as long as the queue's first prompt needs; prompts that need half of it or less wait for another queue.

    >>> [(q.indices, q.slots, q.width) for q in queues([[5], [6] * 60, [7] * 30], groups=1, batch_tokens=90, new=8)]
    [((1, 2), 1, 64), ((0,), 1, 16)]

    Raises:
      DataError: a prompt is empty.
    """
    order = _longest_first(prompts)
    while order:
        width = bucket(len(prompts[order[0]]), smallest=16)
        taken = [i for i in order if 2 * (bucket(len(prompts[i]), smallest=16) + new) > width + new]
        slots = min(max(batch_tokens // (width + new) // groups, 1), _most_rows(taken, groups)) * groups
        order = order[len(taken) :]
        yield Queue(tuple(taken), slots, width)


def _longest_first(prompts: Sequence[Ids]) -> list[int]:
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise errors.DataError(f'prompt {i} is empty; an answer needs a token to follow')
    return sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))


def _most_rows(indices: Sequence[int], groups: int) -> int:
    """Rows of a group that so few prompts can fill, of few different numbers."""
    needed = -(-len(indices) // groups)
    return bucket(needed, smallest=2) if needed > 1 else 1


def filled(prompts: Sequence[Ids], rows: Sequence[int | None], *, width: int) -> PromptBatch:
    """A row for each of the given prompts, an empty one for None."""
    tokens, lengths = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), 1), np.int32)
    for row, i in enumerate(rows):
        if i is not None:
            tokens[row, : len(prompts[i])] = prompts[i]
            lengths[row] = len(prompts[i])
    return PromptBatch(tuple(i for i in rows if i is not None), tokens, lengths)


def groups_of(mesh: jax.sharding.Mesh) -> int:
    """Devices, or groups of them, that have rows of their own."""
    return mesh.shape['data'] * mesh.shape['fsdp']


def put(x: np.ndarray, mesh: jax.sharding.Mesh) -> jax.Array:
    """Rows [B, ...] over the batch axes of the mesh; every process gives all of them."""
    groups = groups_of(mesh)
    mine = distributed.local_groups(mesh, groups)
    wide = x.reshape(x.shape[0], -1)
    local = wide.reshape(groups, -1, wide.shape[-1])[mine].reshape(1, -1, wide.shape[-1])
    return place(local, mesh=mesh, groups=groups, mine=mine)[0].reshape(x.shape)
