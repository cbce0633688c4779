"""A block and the stack of them: written once, wired as decoder, encoder, or decoder with cross-attention."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.models.attention import Attention, Cache, Visibility
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.layers import POLICIES, GatedMLP, RMSNorm, dropout
from flan_jax.parallel.axes import constrain


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['visibility', 'phases', 'bias', 'encoded', 'cross_visibility', 'positions'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What every block of a stack reads besides its own input.

    Attributes:
      visibility: of the self-attention.
      phases: RoPE cosines and sines, or None.
      bias: relative position bias [1 or B, N, T, S], or None.
      encoded: [B S D], the encoder's output for cross-attention without a cache.
      cross_visibility: of the cross-attention.
      positions: int32[B T], the cache slots of these tokens; None without a cache.
    """

    visibility: Visibility
    phases: tuple[Array, Array] | None = None
    bias: Array | None = None
    encoded: Array | None = None
    cross_visibility: Visibility | None = None
    positions: Int[Array, 'B T'] | None = None


class Block(nnx.Module):
    """x + attention(norm(x)), then cross-attention if wired so, then the MLP, each residual and pre-normed."""

    def __init__(self, config: ModelConfig, execution: ExecutionConfig, *, cross: bool, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config, rngs=rngs)
        self.attention = Attention(config, kernel=execution.attention, rngs=rngs)
        self.cross_norm = RMSNorm(config, rngs=rngs) if cross else None
        self.cross = Attention(config, kernel=execution.attention, rngs=rngs) if cross else None
        self.mlp_norm = RMSNorm(config, rngs=rngs)
        self.mlp = GatedMLP(config, rngs=rngs)
        self.dropout = config.dropout

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        around: Surroundings,
        *,
        layer: Array | None = None,
        cache: Cache | None = None,
        cross: Cache | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], Cache | None]:
        """With a cache ([L B S K H] keys and values), writes this layer's part of it and attends to it."""
        keys = (None, None, None) if key is None else tuple(jax.random.split(key, 3))
        normed = self.attention_norm(x)
        own = self.attention.project(normed, around.phases)
        if cache is not None:
            rows = jnp.arange(x.shape[0])[:, None]
            cache = tuple(whole.at[layer, rows, around.positions].set(new) for whole, new in zip(cache, own))
            own = tuple(whole[layer] for whole in cache)
        attended = self.attention(normed, own, visibility=around.visibility, phases=around.phases, bias=around.bias)
        x = constrain(x + dropout(attended, self.dropout, key=keys[0]), ('batch', 'length', 'width'))
        if self.cross is not None:
            cross = self.cross.project(around.encoded) if cross is None else cross
            attended = self.cross(self.cross_norm(x), cross, visibility=around.cross_visibility)
            x = constrain(x + dropout(attended, self.dropout, key=keys[1]), ('batch', 'length', 'width'))
        mixed = self.mlp(self.mlp_norm(x))
        return constrain(x + dropout(mixed, self.dropout, key=keys[2]), ('batch', 'length', 'width')), cache


class Stack(nnx.Module):
    """L blocks with their weights stacked along a leading axis and run by a scan, then a norm.

    One block is traced and compiled whatever L is; `execution.remat` says what its backward pass recomputes.
    """

    def __init__(
        self, config: ModelConfig, execution: ExecutionConfig, *, layers: int, cross: bool = False, rngs: nnx.Rngs
    ):
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(rngs: nnx.Rngs) -> Block:
            return Block(config, execution, cross=cross, rngs=rngs)

        self.blocks = make(rngs.fork(split=layers))
        for _, param in nnx.iter_graph(self.blocks):
            if isinstance(param, nnx.Param):
                param.set_metadata(axes=('layers', *param.get_metadata('axes')))
        self.norm = RMSNorm(config, rngs=rngs)
        self.layers = layers
        self.dropout = config.dropout
        self.execution = execution

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        around: Surroundings,
        *,
        cache: Cache | None = None,
        cross: Cache | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], Cache | None]:
        """Runs the blocks and the final norm.

        Args:
          x: embedded tokens.
          around: what all blocks read.
          cache: self-attention keys and values, [L B S K H]; returned with the new slots written.
          cross: cross-attention keys and values, [L B S K H], if they were made before.
          key: for dropout; None turns it off.
        """
        graph, stacked = nnx.split(self.blocks)

        def body(carry, inputs):
            x, cache = carry
            weights, layer, cross, key = inputs
            return nnx.merge(graph, weights)(x, around, layer=layer, cache=cache, cross=cross, key=key), None

        if self.execution.remat != 'none':
            body = jax.checkpoint(body, policy=POLICIES[self.execution.remat], prevent_cse=False)
        keys = None
        if key is not None and self.dropout:
            keys, last = jax.random.split(key, self.layers), jax.random.fold_in(key, self.layers)
            x = dropout(x, self.dropout, key=jax.random.fold_in(last, 0))
        inputs = (stacked, jnp.arange(self.layers), cross, keys)
        (x, cache), _ = jax.lax.scan(body, (x, cache), inputs, unroll=self.execution.unroll)
        x = self.norm(x)
        if keys is not None:
            x = dropout(x, self.dropout, key=jax.random.fold_in(last, 1))
        return x, cache

    def project_cross(self, encoded: Float[Array, 'B S D']) -> Cache:
        """Every layer's cross-attention keys and values of an encoder's output, [L B S K H]."""
        graph, stacked = nnx.split(self.blocks)
        return jax.lax.map(lambda weights: nnx.merge(graph, weights).cross.project(encoded), stacked)
