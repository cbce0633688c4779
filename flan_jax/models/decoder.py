"""The decoder-only wiring (Llama, Mistral, SmolLM, Qwen shapes)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.batch import Rows
from flan_jax.models import attention, positions
from flan_jax.models.attention import Cache, Visibility
from flan_jax.models.blocks import Stack, Surroundings
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.layers import Embedding, Head
from flan_jax.parallel.axes import constrain


class Decoder(nnx.Module):
    """Tokens to hidden states to logits, each position seeing its own example's past."""

    def __init__(self, config: ModelConfig, execution: ExecutionConfig, *, rngs: nnx.Rngs):
        self.embedding = Embedding(config, rngs=rngs)
        relative = config.positions == 'relative_bias'
        self.relative_bias = positions.RelativeBias(config, causal=True, rngs=rngs) if relative else None
        self.stack = Stack(config, execution, layers=config.layers, rngs=rngs)
        self.head = None if config.tied_embeddings else Head(config, rngs=rngs)
        self.config = config
        self.dtype = jnp.dtype(execution.compute_dtype)

    def __call__(self, rows: Rows, *, key: Array | None = None) -> Float[Array, 'B T D']:
        """Packed rows to normed hidden states; `key` turns dropout on."""
        index = jnp.arange(rows.tokens.shape[1])[None]
        return self._run(
            rows.tokens,
            rows.positions,
            visibility=attention.packed(rows.segments, causal=True),
            distances_from=index,
            key=key,
        )[0]

    def branches(self, rows: Rows, branches: Int[Array, 'B T']) -> Float[Array, 'B T D']:
        """The same for prompts with several continuations each (see `attention.branched`)."""
        visibility = attention.branched(rows.segments, branches)
        return self._run(rows.tokens, rows.positions, visibility=visibility, distances_from=rows.positions)[0]

    def empty_cache(self, batch: int, length: int) -> Cache:
        """Zeroed keys and values for `length` tokens of `batch` rows, [L B S K H]."""
        c = self.config
        zeros = jnp.zeros((c.layers, batch, length, c.kv_heads, c.head_width), self.dtype)
        return constrain(zeros, ('layers', 'batch', 'position', 'kv_heads', 'head')), constrain(
            zeros, ('layers', 'batch', 'position', 'kv_heads', 'head')
        )

    def extend(
        self, tokens: Int[Array, 'B T'], positions: Int[Array, 'B T'], *, cache: Cache
    ) -> tuple[Float[Array, 'B T D'], Cache]:
        """More tokens of rows whose past is in the cache; writes their slots.

        A slot past a row's end may hold anything: it is seen by nobody until the token of that position overwrites it.
        """
        length = cache[0].shape[2]
        return self._run(
            tokens, positions, visibility=attention.cached(positions, length), distances_from=positions, cache=cache
        )

    def logits(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """f32 logits of normed hidden states."""
        return (self.head or self.embedding).logits(hidden)

    def _run(
        self,
        tokens: Int[Array, 'B T'],
        at: Int[Array, 'B T'],
        *,
        visibility: Visibility,
        distances_from: Int[Array, '_ T'],
        cache: Cache | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], Cache | None]:
        """`distances_from`: where relative distances are measured: in the row, or by position if the row is a tree."""
        phases = bias = None
        if self.relative_bias is not None:
            keys_at = distances_from if cache is None else jnp.arange(cache[0].shape[2])[None]
            bias = self.relative_bias(distances_from, keys_at)
        else:
            phases = positions.rope_phases(at, width=self.config.head_width, theta=self.config.rope_theta)
        x = constrain(self.embedding(tokens, self.dtype), ('batch', 'length', 'width'))
        around = Surroundings(visibility, phases, bias, positions=at)
        return self.stack(x, around, cache=cache, key=key)
