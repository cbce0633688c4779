"""The decoder-only wiring (Llama, Mistral, SmolLM, Qwen, Gemma, OLMo, Phi, OPT, BLOOM, Mixtral shapes)."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.batch import Rows
from flan_jax.models import adapters_prompt, attention, positions, rope
from flan_jax.models.attention import Cache, LayerCache, Visibility
from flan_jax.models.blocks import Stack, Surroundings
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.experts import Load
from flan_jax.models.layers import Embedding, Head, without_padding
from flan_jax.parallel.axes import constrain


class Decoder(nnx.Module):
    """Tokens to hidden states to logits, each position seeing its own example's past."""

    def __init__(self, config: ModelConfig, execution: ExecutionConfig, *, rngs: nnx.Rngs):
        self.embedding = Embedding(config, rngs=rngs)
        relative = config.positions == 'relative_bias'
        self.relative_bias = positions.RelativeBias(config, causal=True, rngs=rngs) if relative else None
        learned = config.positions == 'learned'
        self.positions = positions.LearnedPositions(config, rngs=rngs) if learned else None
        self.stack = Stack(config, execution, layers=config.layers, rngs=rngs)
        self.head = None if config.tied_embeddings else Head(config, rngs=rngs)
        self.config = config
        self.dtype = jnp.dtype(execution.compute_dtype)

    def __call__(self, rows: Rows, *, key: Array | None = None) -> Float[Array, 'B T D']:
        """Packed rows to normed hidden states; `key` turns dropout on."""
        return self.loaded(rows, key=key)[0]

    def loaded(self, rows: Rows, *, key: Array | None = None) -> tuple[Float[Array, 'B T D'], Load | None]:
        """The same, and how evenly the experts were used (see `experts.balance_loss`), if there are any."""
        visibility = attention.packed(rows.segments, causal=True, window=self.config.attention.window)
        index = jnp.arange(rows.tokens.shape[1])[None]
        hidden, (_, load) = self._run(rows, visibility=visibility, distances_from=index, key=key)
        return hidden, load

    def branches(self, rows: Rows, branches: Int[Array, 'B T']) -> Float[Array, 'B T D']:
        """The same for prompts with several continuations each (see `attention.branched`)."""
        window = self.config.attention.window
        visibility = attention.branched(rows.segments, branches, positions=rows.positions, window=window)
        return self._run(rows, visibility=visibility, distances_from=rows.positions)[0]

    def empty_cache(self, batch: int, length: int) -> Cache:
        """Keys and values for `length` tokens of `batch` rows, [L B S K H]; zeros, after those of a tuned prompt."""
        c, prompt = self.config, adapters_prompt.length(self.embedding.table[...])
        zeros = jnp.zeros((c.layers, batch, prompt + length, c.kv_heads, c.head_width), self.dtype)
        zeros = constrain(zeros, ('layers', 'batch', 'position', 'kv_heads', 'head'))
        if not prompt:
            return zeros, zeros
        ids, at = adapters_prompt.ids(batch, prompt)
        visibility = attention.cached(at, prompt + length, window=c.attention.window)
        rows = Rows(ids, jnp.ones_like(ids), at)
        return self._run(rows, visibility=visibility, distances_from=at, cache=(zeros, zeros))[1][0]

    def extend(
        self,
        tokens: Int[Array, 'B T'],
        positions: Int[Array, 'B T'],
        *,
        cache: Cache | tuple[LayerCache, ...],
        lengths: Int[Array, 'B 1'] | None = None,
    ) -> tuple[Float[Array, 'B T D'], Any]:
        """More tokens of rows whose past is in the cache; writes their slots.

        With the cache of each layer apart it is one token a row, and the blocks must be apart, too (`take_apart`).
        A slot past a row's end may hold anything: it is seen by nobody until the token of that position overwrites it.

        Args:
          lengths: tokens of each row's text so far, for the RoPE rules that depend on it; None: up to its last
            position. Keys already in the cache stay as they were turned.
        """
        length, window = attention.slots(cache), self.config.attention.window
        prompt = adapters_prompt.length(self.embedding.table[...])
        positions = positions + prompt
        lengths = None if lengths is None else lengths + prompt
        visibility = attention.cached(positions, length, window=window)
        rows = Rows(tokens, jnp.ones_like(tokens), positions)
        hidden, (cache, _) = self._run(
            rows, visibility=visibility, distances_from=positions, cache=cache, lengths=lengths
        )
        return hidden, cache

    def take_apart(self) -> None:
        """Makes ready for steps of one token; see `Stack.take_apart`."""
        self.stack.take_apart()

    def logits(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """f32 logits of normed hidden states."""
        return (self.head or self.embedding).logits(hidden)

    def next_logits(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """The same for choosing a token: none of the rows that only fill the table up."""
        return without_padding(self.logits(hidden), self.config.embedding.pieces)

    def _run(
        self,
        rows: Rows,
        *,
        visibility: Visibility,
        distances_from: Int[Array, '_ T'],
        cache: Cache | tuple[LayerCache, ...] | None = None,
        lengths: Int[Array, 'B 1'] | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], tuple[Any, Load | None]]:
        """`distances_from`: where relative distances are measured: in the row, or by position if the row is a tree."""
        prompt = adapters_prompt.length(self.embedding.table[...]) if cache is None else 0
        if prompt:
            rows, visibility = adapters_prompt.prepend(rows, visibility, count=prompt)
            distances_from = rows.positions  # the prompt is not next to every example in the row
        x = self.embedding(rows.tokens, self.dtype)
        if self.positions is not None:
            x = x + self.positions(rows.positions, self.dtype)
        x = constrain(x, ('batch', 'length', 'width'))
        keys_at = distances_from if cache is None else jnp.arange(attention.slots(cache))[None]
        phases = bias = None
        match self.config.positions:
            case 'rope':
                if lengths is None and rope.needs_length(self.config):
                    lengths = positions.text_lengths(rows.segments, rows.positions)
                elif lengths is not None:
                    lengths = jnp.broadcast_to(lengths, rows.tokens.shape)
                phases = positions.model_phases(self.config, rows.positions, lengths=lengths)
            case 'relative_bias':
                bias = self.relative_bias(distances_from, keys_at)
            case 'alibi':
                bias = positions.alibi(distances_from, keys_at, heads=self.config.heads)
        around = Surroundings(visibility, phases, bias, positions=rows.positions)
        hidden, beside = self.stack(x, around, cache=cache, key=key)
        return hidden[:, prompt:], beside
