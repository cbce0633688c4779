"""The rows of a cache while answers are written in them: begun together, refilled one by one.

Every slot has a place of its own in its own answer. What a slot computes follows from its own prompt and place only, so
an answer does not depend on when it was begun, nor on who is in the other slots.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.decoding import past as past_lib
from flan_jax.decoding import sampling
from flan_jax.decoding.past import Past
from flan_jax.decoding.sampling import SamplingRows


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=['count', 'last', 'done', 'out', 'seen', 'past'], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Writing:
    """Answers being written: `count` [B 1] tokens of each are in `out` [B N], the last of them is `last` [B 1].

    Nothing is written to a row that is `done` [B 1]. `seen` are the tokens of each row's text, bool[B V], where
    anything but the likeliest token may be chosen.
    """

    count: Array
    last: Array
    done: Array
    out: Array
    seen: Array | None
    past: Past


def _is_end(tokens: Int[Array, 'B 1'], ends: tuple[int, ...]) -> Array:
    return functools.reduce(jnp.logical_or, [tokens == end for end in ends], jnp.zeros_like(tokens, bool))


def _choose(logits: Float[Array, 'B V'], how: SamplingRows | None, *, seen: Array | None, step: Array) -> Array:
    if how is None:
        return jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32)
    return sampling.choose(logits, how, seen=seen, step=step)


def _with(seen: Array | None, tokens: Int[Array, 'B 1']) -> Array | None:
    return None if seen is None else seen.at[jnp.arange(tokens.shape[0])[:, None], tokens].set(True)


def _first(
    model: Any,
    asked: tuple[Int[Array, 'B T'], Int[Array, 'B 1']],
    *,
    how: SamplingRows | None,
    room: int,
    new: int,
    ends: tuple[int, ...],
) -> Writing:
    """Prompts (tokens and lengths) read, the first token of every answer chosen; `room` tokens fit the cache."""
    tokens, lengths = asked
    batch, width = tokens.shape
    hidden, past = past_lib.read(model, tokens, lengths=lengths, new=room)
    logits = model.next_logits(hidden)[:, 0]
    seen = None if how is None else jnp.zeros(logits.shape, bool)
    if how is not None and not model.config.encoder_decoder:
        inside = jnp.arange(width)[None] < lengths
        seen = seen.at[jnp.arange(batch)[:, None], tokens].max(inside)
    first = _choose(logits, how, seen=seen, step=jnp.zeros_like(lengths))
    # An empty row (a batch's filling) is done before it begins.
    first = jnp.where(lengths == 0, 0, first)
    count = (lengths > 0).astype(jnp.int32)
    done = _is_end(first, ends) | (lengths == 0) | (count == new)
    out = jnp.zeros((batch, new), jnp.int32).at[:, :1].set(first)
    return Writing(count, first, done, out, _with(seen, first), past)


@functools.partial(jax.jit, static_argnames=('graph', 'new', 'ends'))
def begin(
    params: Any,
    asked: tuple[Int[Array, 'B T'], Int[Array, 'B 1']],
    *,
    how: SamplingRows | None,
    graph: Any,
    new: int,
    ends: tuple[int, ...],
) -> Writing:
    """Slots with the first token of an answer to each prompt (tokens and lengths, 0 in an empty row)."""
    return _first(nnx.merge(graph, params), asked, how=how, room=new, new=new, ends=ends)


@functools.partial(jax.jit, static_argnames=('graph', 'ends'), donate_argnames=('writing',))
def refill(
    params: Any,
    writing: Writing,
    *,
    asked: tuple[Int[Array, 'R T'], Int[Array, 'R 1'], Int[Array, 'G each']],
    how: SamplingRows | None,
    graph: Any,
    ends: tuple[int, ...],
) -> Writing:
    """Other prompts (tokens, lengths and slots, see `past.replaced`) in slots whose answers are done."""
    model = nnx.merge(graph, params)
    tokens, lengths, slots = asked
    new = writing.out.shape[1]
    fresh = _first(model, (tokens, lengths), how=how, room=1, new=new, ends=ends)

    def put(old: Array | None, rows: Array | None) -> Array | None:
        return None if old is None else past_lib.replaced(old, rows, slots=slots)

    return Writing(
        put(writing.count, fresh.count),
        put(writing.last, fresh.last),
        put(writing.done, fresh.done),
        put(writing.out, fresh.out),
        put(writing.seen, fresh.seen),
        writing.past.replaced(fresh.past, slots),
    )


@functools.partial(jax.jit, static_argnames=('graph', 'ends'), donate_argnames=('writing',))
def go_on(
    params: Any,
    writing: Writing,
    *,
    how: SamplingRows | None,
    stop: tuple[Int[Array, ''], Int[Array, ''], Int[Array, 'B 1']],
    graph: Any,
    ends: tuple[int, ...],
) -> tuple[Writing, Int[Array, ''], Int[Array, 'B M']]:
    """More tokens in every slot.

    Args:
      params: of a model whose blocks are apart, with its `graph` (see `weights.apart`).
      stop: after so many steps, or when so many slots are done; and the slots to end now.

    Returns:
      The slots, the steps taken, and what a host wants of them in one array: count, done and `out` of each.
    """
    model = nnx.merge(graph, params)
    most, enough, ended = stop
    writing = dataclasses.replace(writing, done=writing.done | (ended > 0))
    rows = jnp.arange(writing.out.shape[0])[:, None]

    def unfinished(state: tuple[Array, Writing]):
        taken, w = state
        return (taken < most) & (jnp.sum(w.done, dtype=jnp.int32) < enough)

    def body(state: tuple[Array, Writing]) -> tuple[Array, Writing]:
        taken, w = state
        hidden, past = past_lib.write(model, w.last, past=w.past, step=w.count)
        token = _choose(model.next_logits(hidden)[:, 0], how, seen=w.seen, step=w.count)
        token = jnp.where(w.done, w.last, token)
        # What a slot that is done would write lies behind its answer's end, and nobody takes it.
        out = w.out.at[rows, w.count].set(token, mode='drop')
        count = jnp.where(w.done, w.count, w.count + 1)
        done = w.done | _is_end(token, ends) | (count == out.shape[1])
        return taken + 1, Writing(count, token, done, out, _with(w.seen, token), past)

    taken, writing = jax.lax.while_loop(unfinished, body, (jnp.zeros((), jnp.int32), writing))
    told = jnp.concatenate([writing.count, writing.done.astype(jnp.int32), writing.out], axis=1)
    return writing, taken, told
