"""Greedy generation with a static key/value cache.

Prompts lie at the left of their rows and are padded on the right; every row writes its own next cache slot. A slot
after a row's end holds nothing anyone sees until the row itself overwrites it, so a batch gives what its rows give one
by one, whatever their lengths.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from flan_jax import errors
from flan_jax.batch import Rows
from flan_jax.data.loader import place
from flan_jax.decoding.score import Ids, bucket
from flan_jax.parallel import distributed


@functools.partial(jax.jit, static_argnames=('graph', 'new', 'eos'))
def _greedy(
    params: Any,
    tokens: Int[Array, 'B T'],
    *,
    lengths: Int[Array, 'B 1'],
    graph: Any,
    new: int,
    eos: int,
) -> Int[Array, 'B N']:
    """The most likely next token, `new` times or until every row has written EOS; 0 after a row's EOS."""
    model = nnx.merge(graph, params)
    batch, width = tokens.shape
    places = jnp.broadcast_to(jnp.arange(width, dtype=jnp.int32)[None], tokens.shape)
    if model.config.encoder_decoder:
        segments = (places < lengths).astype(jnp.int32)
        cross = model.project_cross(model.encode(Rows(tokens, segments, places)))
        extend = functools.partial(model.extend, cross=cross, encoder_segments=segments)
        cache = model.empty_cache(batch, new)
        start = jnp.zeros((batch, 1), jnp.int32)
        hidden, cache = extend(start, start, cache=cache)
        ends = jnp.zeros((batch, 1), jnp.int32)
    else:
        extend = model.extend
        hidden, cache = extend(tokens, places, cache=model.empty_cache(batch, width + new))
        hidden = jnp.take_along_axis(hidden, jnp.maximum(lengths - 1, 0)[..., None], axis=1)
        ends = lengths - 1

    def choose(hidden: Array) -> Array:
        return jnp.argmax(model.logits(hidden), axis=-1).astype(jnp.int32)

    def unfinished(carry):
        step, _, done, _, _ = carry
        return (step < new) & ~jnp.all(done)

    def body(carry):
        step, last, done, out, cache = carry
        hidden, cache = extend(last, ends + step, cache=cache)
        token = jnp.where(done, 0, choose(hidden))
        out = jax.lax.dynamic_update_slice_in_dim(out, token, step, axis=1)
        return step + 1, token, done | (token == eos), out, cache

    first = choose(hidden)
    # An empty row (a batch's filling) is done before it begins.
    done = (first == eos) | (lengths == 0)
    first = jnp.where(lengths == 0, 0, first)
    out = jnp.zeros((batch, new), jnp.int32).at[:, :1].set(first)
    return jax.lax.while_loop(unfinished, body, (jnp.ones((), jnp.int32), first, done, out, cache))[3]


@dataclasses.dataclass(frozen=True)
class Generator:
    """Generates with one model.

    Attributes:
      graph: of the model.
      mesh: devices; rows are split over its batch axes.
      eos: id that ends an answer.
      batch_tokens: tokens of a batch, prompts and answers.
    """

    graph: Any
    mesh: jax.sharding.Mesh
    eos: int
    batch_tokens: int

    def __call__(
        self,
        params: Any,
        prompts: Sequence[Ids],
        *,
        new: int,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[list[int]]:
        """Answers in the prompts' order, up to and with EOS, at most `new` tokens each.

        Raises:
          DataError: a prompt is empty.
        """
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise errors.DataError(f'prompt {i} is empty; an answer needs a token to follow')
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        groups = self.mesh.shape['data'] * self.mesh.shape['fsdp']
        mine = distributed.local_groups(self.mesh, groups)
        answers: list[list[int]] = [[] for _ in prompts]
        while order:
            width = bucket(max(len(prompts[order[0]]), 1), smallest=16)
            rows = max(self.batch_tokens // (width + new) // groups, 1) * groups
            batch, order = order[:rows], order[rows:]
            tokens, lengths = np.zeros((rows, width), np.int32), np.zeros((rows, 1), np.int32)
            for row, i in enumerate(batch):
                tokens[row, : len(prompts[i])] = prompts[i]
                lengths[row] = len(prompts[i])

            def put(x: np.ndarray) -> jax.Array:
                local = x.reshape(groups, -1, x.shape[-1])[mine].reshape(1, -1, x.shape[-1])  # noqa: B023
                return place(local, mesh=self.mesh, groups=groups, mine=mine)[0]

            out = distributed.everywhere(
                _greedy(
                    params,
                    put(tokens),
                    lengths=put(lengths),
                    graph=self.graph,
                    new=new,
                    eos=self.eos,
                )  # fmt: skip
            )
            for row, i in enumerate(batch):
                answers[i] = _until(out[row], self.eos)
            progress(len(batch))
        return answers


def _until(ids: np.ndarray, eos: int) -> list[int]:
    ends = np.flatnonzero(ids == eos)
    return ids[: ends[0] + 1].tolist() if len(ends) else ids.tolist()
