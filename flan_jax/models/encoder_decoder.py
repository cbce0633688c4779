"""The encoder-decoder wiring (T5 1.1, FLAN-T5, UL2, mT5 shapes)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.batch import Rows
from flan_jax.models import attention, positions
from flan_jax.models.attention import Cache, LayerCache, Visibility
from flan_jax.models.blocks import Stack, Surroundings
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.layers import Embedding, Head, without_padding
from flan_jax.parallel.axes import constrain


class EncoderDecoder(nnx.Module):
    """The encoder reads the context both ways; the decoder writes the target, seeing its own past and the context."""

    def __init__(self, config: ModelConfig, execution: ExecutionConfig, *, rngs: nnx.Rngs):
        if config.positions != 'relative_bias':
            raise ValueError(f"an encoder-decoder needs model.positions='relative_bias', not {config.positions!r}")
        self.embedding = Embedding(config, rngs=rngs)
        self.encoder_bias = positions.RelativeBias(config, causal=False, rngs=rngs)
        self.decoder_bias = positions.RelativeBias(config, causal=True, rngs=rngs)
        self.encoder = Stack(config, execution, layers=config.encoder_layers, rngs=rngs)
        self.decoder = Stack(config, execution, layers=config.layers, cross=True, rngs=rngs)
        self.head = None if config.tied_embeddings else Head(config, rngs=rngs)
        self.config = config
        self.dtype = jnp.dtype(execution.compute_dtype)

    def encode(self, rows: Rows, *, key: Array | None = None) -> Float[Array, 'B S D']:
        """Packed contexts to normed hidden states."""
        index = jnp.arange(rows.tokens.shape[1])[None]
        around = Surroundings(attention.packed(rows.segments, causal=False), bias=self.encoder_bias(index, index))
        return self.encoder(self._embed(rows.tokens), around, key=key)[0]

    def __call__(self, rows: Rows, encoder: Rows, *, key: Array | None = None) -> Float[Array, 'B T D']:
        """Packed contexts and targets (shifted right) to the decoder's normed hidden states."""
        keys = (None, None) if key is None else tuple(jax.random.split(key))
        encoded = self.encode(encoder, key=keys[0])
        index = jnp.arange(rows.tokens.shape[1])[None]
        visibility = attention.packed(rows.segments, causal=True)
        return self._decode(rows, encoder, encoded=encoded, visibility=visibility, distances_from=index, key=keys[1])

    def branches(self, rows: Rows, encoder: Rows, *, branches: Int[Array, 'B T']) -> Float[Array, 'B T D']:
        """Several targets for each context, the context encoded once (see `attention.branched`)."""
        visibility = attention.branched(rows.segments, branches)
        encoded = self.encode(encoder)
        return self._decode(rows, encoder, encoded=encoded, visibility=visibility, distances_from=rows.positions)

    def project_cross(self, encoded: Float[Array, 'B S D']) -> Cache:
        """Cross-attention keys and values of all layers, made once for a whole generation."""
        return self.decoder.project_cross(encoded)

    def empty_cache(self, batch: int, length: int) -> Cache:
        """Zeroed keys and values for `length` decoder tokens of `batch` rows, [L B S K H]."""
        c = self.config
        zeros = jnp.zeros((c.layers, batch, length, c.kv_heads, c.head_width), self.dtype)
        return zeros, zeros

    def extend(
        self,
        tokens: Int[Array, 'B T'],
        at: Int[Array, 'B T'],
        *,
        cache: Cache | tuple[LayerCache, ...],
        cross: Cache | tuple[LayerCache, ...],
        encoder_segments: Int[Array, 'B S'],
    ) -> tuple[Float[Array, 'B T D'], Any]:
        """More decoder tokens of rows with one context each, their past in the cache."""
        length = attention.slots(cache)
        bias = self.decoder_bias(at, jnp.arange(length)[None])
        cross_visibility = attention.packed(jnp.ones_like(tokens), encoder_segments, causal=False)
        around = Surroundings(attention.cached(at, length), bias=bias, cross_visibility=cross_visibility, positions=at)
        hidden, (cache, _) = self.decoder(self._embed(tokens), around, cache=cache, cross=cross)
        return hidden, cache

    def take_apart(self) -> None:
        """Makes the decoder ready for steps of one token; see `Stack.take_apart`."""
        self.decoder.take_apart()

    def logits(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """f32 logits; what a tied head reads is scaled by D^-1/2 as in T5 1.0, unless the config says no."""
        if self.head is not None:
            return self.head.logits(hidden)
        if self.config.embedding.scaled_head:
            hidden = hidden * jnp.asarray(self.config.width**-0.5, hidden.dtype)
        return self.embedding.logits(hidden)

    def next_logits(self, hidden: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """The same for choosing a token: none of the rows that only fill the table up."""
        return without_padding(self.logits(hidden), self.config.embedding.pieces)

    def _embed(self, tokens: Int[Array, 'B T']) -> Float[Array, 'B T D']:
        return constrain(self.embedding(tokens, self.dtype), ('batch', 'length', 'width'))

    def _decode(
        self,
        rows: Rows,
        encoder: Rows,
        *,
        encoded: Float[Array, 'B S D'],
        visibility: Visibility,
        distances_from: Int[Array, '_ T'],
        key: Array | None = None,
    ) -> Float[Array, 'B T D']:
        around = Surroundings(
            visibility,
            bias=self.decoder_bias(distances_from, distances_from),
            encoded=encoded,
            cross_visibility=attention.packed(rows.segments, encoder.segments, causal=False),
        )
        return self.decoder(self._embed(rows.tokens), around, key=key)[0]
