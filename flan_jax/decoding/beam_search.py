"""Beam search: the likeliest whole answers, as far as a few beams a prompt can find them.

The rules are those of the transformers library with `early_stopping=False`. Each step the beams' best continuations
are taken, one `beams` more of them for each end id than there are beams (twice as many at least), so that enough are
left when all ends come first. Of the first `beams`, those that end are candidates for the answer, with the score

    sum of log p(token) / length ** length_penalty        (the end counts as a token)

The search of a prompt is over when its best beam, scored at the present length, is no better than the worst of as many
finished answers as there are beams.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from flan_jax import errors
from flan_jax.decoding import past as past_lib
from flan_jax.decoding import prompt_batches
from flan_jax.decoding.past import Past
from flan_jax.decoding.score import Ids
from flan_jax.decoding.weights import narrowed
from flan_jax.parallel import distributed

_NEVER = -1e9  # a score nothing real has


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """One answer and its score (log-likelihood over length ** length_penalty)."""

    ids: list[int]
    score: float


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['step', 'tokens', 'scores', 'found', 'lengths', 'found_scores', 'full', 'open', 'logits', 'past'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class _Search:
    """Beams [B K] of every prompt and the answers found, both best first.

    Attributes:
      step: tokens written.
      tokens: int32[B K N] of the beams; scores: their log-likelihoods, f32[B K].
      found: int32[B K N] answers; lengths, found_scores: theirs, [B K]; full: whether there is one, bool[B K].
      open: bool[B 1], whether the search may still find a better one.
      logits: f32[B K V] of the beams' next tokens.
      past: of B * K rows.
    """

    step: Array
    tokens: Array
    scores: Array
    found: Array
    lengths: Array
    found_scores: Array
    full: Array
    open: Array
    logits: Array
    past: Past


def _of_beams(x: Array, which: Int[Array, 'B C']) -> Array:
    """x[b, which[b]] of [B K ...]."""
    return jnp.take_along_axis(x, which.reshape(*which.shape, *[1] * (x.ndim - 2)), axis=1)


def _advance(search: _Search, *, ends: tuple[int, ...], penalty: Array) -> tuple[_Search, Array]:
    """One more token on every beam; besides the new search, which old beam each of the new ones goes on from."""
    batch, beams, new = search.tokens.shape
    size = search.logits.shape[-1]
    wide = max(2, 1 + len(ends)) * beams
    total = (jax.nn.log_softmax(search.logits) + search.scores[..., None]).reshape(batch, beams * size)
    scores, at = jax.lax.top_k(total, wide)
    parents, chosen = at // size, (at % size).astype(jnp.int32)
    tokens = jax.lax.dynamic_update_slice_in_dim(_of_beams(search.tokens, parents), chosen[..., None], search.step, 2)
    over = functools.reduce(jnp.logical_or, [chosen == end for end in ends], jnp.zeros_like(chosen, bool))
    over |= search.step + 1 == new

    # Of the best, those that are over are answers.
    length = (search.step + 1).astype(jnp.float32)
    counts = over & (jnp.arange(wide)[None] < beams)
    ended_scores = scores / length**penalty + jnp.where(counts & search.open, 0, _NEVER)
    merged = jnp.concatenate([search.found_scores, ended_scores], axis=1)
    found_scores, best = jax.lax.top_k(merged, beams)
    steps = jnp.broadcast_to(search.step + 1, counts.shape)

    def merge(old: Array, ended: Array) -> Array:
        return _of_beams(jnp.concatenate([old, ended], axis=1), best)

    # The others are the beams.
    scores, going = jax.lax.top_k(jnp.where(over, scores + _NEVER, scores), beams)
    full = merge(search.full, counts)
    worst = jnp.where(full, jnp.min(found_scores, axis=1, keepdims=True), _NEVER)
    better = jnp.any(scores[:, :1] / length**penalty > worst, axis=1, keepdims=True)
    changed = _Search(
        search.step + 1, _of_beams(tokens, going), scores, merge(search.found, tokens), merge(search.lengths, steps),
        found_scores, full, search.open & better, search.logits, search.past,
    )  # fmt: skip
    return changed, _of_beams(parents, going)


@functools.partial(jax.jit, static_argnames=('graph', 'new', 'beams', 'ends'))
def _search(
    params: Any,
    asked: tuple[Int[Array, 'B T'], Int[Array, 'B 1'], Array],
    *,
    graph: Any,
    new: int,
    beams: int,
    ends: tuple[int, ...],
) -> tuple[Array, Array, Array]:
    """Answers [B K N], their lengths and scores [B K], for prompts (tokens, lengths, length penalty)."""
    model = nnx.merge(graph, params)
    tokens, prompt_lengths, penalty = asked
    batch = tokens.shape[0]
    hidden, past = past_lib.read(model, tokens, lengths=prompt_lengths, new=new)
    logits = jnp.broadcast_to(model.next_logits(hidden), (batch, beams, model.config.vocab_size))
    # All beams begin as one.
    scores = jnp.where(jnp.arange(beams) > 0, _NEVER, 0.0)[None] + jnp.zeros((batch, 1))
    nothing = jnp.zeros((batch, beams, new), jnp.int32)
    search = _Search(
        jnp.zeros((), jnp.int32), nothing, scores, nothing, nothing[..., 0], jnp.full((batch, beams), _NEVER),
        jnp.zeros((batch, beams), bool), prompt_lengths > 0, logits,
        jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), past),
    )  # fmt: skip

    def unfinished(search: _Search):
        return (search.step < new) & jnp.any(search.open)

    def body(search: _Search) -> _Search:
        changed, parents = _advance(search, ends=ends, penalty=penalty)
        rows = (jnp.arange(batch)[:, None] * beams + parents).reshape(-1)
        past = jax.tree.map(lambda x: jnp.take(x, rows, axis=0), search.past)
        last = jax.lax.dynamic_index_in_dim(changed.tokens, search.step, axis=2)
        hidden, past = past_lib.write(model, last.reshape(-1, 1), past=past, step=changed.step)
        return dataclasses.replace(changed, logits=model.next_logits(hidden).reshape(search.logits.shape), past=past)

    model.take_apart()  # once for all steps
    search = jax.lax.while_loop(unfinished, body, search)
    return search.found, search.lengths, search.found_scores


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Searches with one model.

    Attributes:
      graph: of the model.
      mesh: devices; prompts are split over its batch axes.
      ends: ids that end an answer, any of them.
      batch_tokens: tokens of a batch, prompts and answers of all beams.
      beams: K, answers kept at once.
      length_penalty: power of the length that log-likelihoods are divided by; above 0 favours long answers.
    """

    graph: Any
    mesh: jax.sharding.Mesh
    ends: tuple[int, ...]
    batch_tokens: int
    beams: int = 4
    length_penalty: float = 1.0

    def __post_init__(self):
        if self.beams < 1:
            raise errors.ConfigError(f'beams={self.beams} must be at least 1')

    def __call__(
        self,
        params: Any,
        prompts: Sequence[Ids],
        *,
        new: int,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[list[Hypothesis]]:
        """`beams` answers to each prompt, best first, up to and with an end id, at most `new` tokens each.

        Raises:
          DataError: a prompt is empty.
          ConfigError: the model knows fewer tokens than beams need.
        """
        model = nnx.merge(self.graph, params).config
        if model.vocab_size < (needed := max(2, 1 + len(self.ends)) * self.beams):
            raise errors.ConfigError(
                f'beams={self.beams} with {len(self.ends)} end ids need {needed} tokens to choose from, and the model '
                f'has {model.vocab_size}; take fewer'
            )
        params = narrowed(params, self.graph)
        out: list[list[Hypothesis]] = [[] for _ in prompts]
        groups = prompt_batches.groups_of(self.mesh)
        tokens = self.batch_tokens // self.beams
        for batch in prompt_batches.batches(prompts, groups=groups, batch_tokens=tokens, new=new):
            asked = (
                prompt_batches.put(batch.tokens, self.mesh), prompt_batches.put(batch.lengths, self.mesh),
                jnp.asarray(self.length_penalty, jnp.float32),
            )  # fmt: skip
            found = _search(params, asked, graph=self.graph, new=new, beams=self.beams, ends=self.ends)
            ids, lengths, scores = map(distributed.everywhere, found)
            for row, i in enumerate(batch.indices):
                out[i] = [
                    Hypothesis(ids[row, k, : lengths[row, k]].tolist(), float(scores[row, k]))
                    for k in range(self.beams)
                ]
            progress(len(batch.indices))
        return out
