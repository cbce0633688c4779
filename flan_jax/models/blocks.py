"""A block and the stack of them: written once, wired as decoder, encoder, or decoder with cross-attention."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.models.attention import Attention, Cache, LayerCache, Visibility
from flan_jax.models.config import ExecutionConfig, ModelConfig, tiled
from flan_jax.models.experts import Experts, Load
from flan_jax.models.layers import MLP, POLICIES, Norm, dropout
from flan_jax.models.positions import Phases
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
      bias: of relative positions, or ALiBi's, [1 or B, N, T, S], or None.
      encoded: [B S D], the encoder's output for cross-attention without a cache.
      cross_visibility: of the cross-attention.
      positions: int32[B T], the cache slots of these tokens; None without a cache.
    """

    visibility: Visibility
    phases: Phases | None = None
    bias: Array | None = None
    encoded: Array | None = None
    cross_visibility: Visibility | None = None
    positions: Int[Array, 'B T'] | None = None


@functools.partial(jax.tree_util.register_dataclass, data_fields=['windowed', 'rotated'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Kind:
    """In what a layer differs from the others of its stack.

    A flag that all layers share is a Python bool, decided when the stack is traced; one that differs is an array the
    scan hands out, so that one block is traced for all.
    """

    windowed: Any = False
    rotated: Any = True

    @classmethod
    def flags(cls, flags: tuple[bool, ...]) -> Any:
        return flags[0] if len(set(flags)) == 1 else jnp.asarray(flags)


class Block(nnx.Module):
    """x + attention(norm(x)), then cross-attention if wired so, then the MLP or experts, each residual.

    `norm.place` puts the norms before a branch, after it, or both; `parallel` feeds both branches the block's input.
    """

    def __init__(self, config: ModelConfig, execution: ExecutionConfig, *, cross: bool, rngs: nnx.Rngs):
        before, after = config.norm.place != 'post', config.norm.place in ('post', 'both')
        self.attention_norm = Norm(config, rngs=rngs) if before else None
        self.attention = Attention(config, kernel=execution.attention, rngs=rngs)
        self.attention_post_norm = Norm(config, rngs=rngs) if after else None
        self.cross_norm = Norm(config, rngs=rngs) if cross else None
        self.cross = Attention(config, kernel=execution.attention, rngs=rngs) if cross else None
        self.mlp_norm = Norm(config, rngs=rngs) if before else None
        self.mlp = (Experts if config.experts.count is not None else MLP)(config, rngs=rngs)
        self.mlp_post_norm = Norm(config, rngs=rngs) if after else None
        self.parallel = config.norm.place == 'parallel'
        self.dropout = config.dropout

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        around: Surroundings,
        *,
        kind: Kind = Kind(),
        at: tuple[Array | None, Cache | LayerCache] | None = None,
        cross: Cache | LayerCache | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], tuple[Cache | LayerCache | None, Load | None]]:
        """With `at`, the layer's number and the cache of all layers, writes its part and attends to it.

        In steps of one token `at` is None and the layer's own cache.

        Returns:
          The block's output, and beside it the cache and the experts' load, if there are any.
        """
        keys = (None, None, None) if key is None else tuple(jax.random.split(key, 3))
        start = x
        attended, cache = self._attend(
            x if self.attention_norm is None else self.attention_norm(x), around, kind=kind, at=at
        )
        if self.attention_post_norm is not None:
            attended = self.attention_post_norm(attended)
        x = constrain(x + dropout(attended, self.dropout, key=keys[0]), ('batch', 'length', 'width'))
        if self.cross is not None:
            cross = self.cross.project(around.encoded) if cross is None else cross
            cross = _seen(cross) if at is not None and at[0] is None else cross
            attended = self.cross(self.cross_norm(x), cross, visibility=around.cross_visibility)
            x = constrain(x + dropout(attended, self.dropout, key=keys[1]), ('batch', 'length', 'width'))
        inner, load = start if self.parallel else x, None
        if self.mlp_norm is not None:
            inner = self.mlp_norm(inner)
        if isinstance(self.mlp, Experts):
            segments = around.visibility.query_segments
            mixed, load = self.mlp(inner, None if segments is None else segments > 0)
        else:
            mixed = self.mlp(inner)
        if self.mlp_post_norm is not None:
            mixed = self.mlp_post_norm(mixed)
        x = constrain(x + dropout(mixed, self.dropout, key=keys[2]), ('batch', 'length', 'width'))
        return x, (cache, load)

    def _attend(self, x, around: Surroundings, *, kind: Kind, at) -> tuple[Array, Cache | None]:
        phases = None if around.phases is None else around.phases.of(kind.windowed, kind.rotated)
        own, cache = self.attention.project(x, phases), None
        if at is not None:
            layer, cache = at
            rows = jnp.arange(x.shape[0])
            if layer is None:
                # Indices for the heads, too: a scatter of [K H] windows would make TPUs lay the cache out as [B S K H].
                where = rows[:, None], jnp.arange(own[0].shape[2])[None], around.positions
                cache = tuple(held.at[where].set(new[:, 0]) for held, new in zip(cache, own))
                own = _seen(cache)
            else:
                cache = tuple(held.at[layer, rows[:, None], around.positions].set(new) for held, new in zip(cache, own))
                own = tuple(held[layer] for held in cache)
        attended = self.attention(
            x, own, visibility=around.visibility, phases=phases, bias=around.bias, windowed=kind.windowed
        )
        return attended, cache


def _seen(cache: LayerCache) -> Cache:
    """One layer's cache as attention takes it; the dense kernel turns it back, and XLA drops both."""
    return tuple(jnp.einsum('BKSH->BSKH', held) for held in cache)


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
        self.norm = Norm(config, rngs=rngs)
        self.layers = layers
        self.windowed = tiled(config.windowed, layers)
        self.rotated = tiled(config.rotated, layers)
        self.dropout = config.dropout
        self.execution = execution

    def take_apart(self) -> None:
        """From here on blocks lie one by one and run without a scan, a token at a time, each with its own cache.

        A scan cuts every layer's weights and keys out of the stacked arrays, and where a step is little else than
        reading them, that costs as much again.
        """
        graph, stacked = nnx.split(self.blocks)
        self.blocks = nnx.List(
            nnx.merge(graph, jax.tree.map(lambda each: each[layer], stacked)) for layer in range(self.layers)
        )
        for _, param in nnx.iter_graph(self.blocks):
            if isinstance(param, nnx.Param):
                param.set_metadata(axes=param.get_metadata('axes')[1:])

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        around: Surroundings,
        *,
        cache: Cache | tuple[LayerCache, ...] | None = None,
        cross: Cache | tuple[LayerCache, ...] | None = None,
        key: Array | None = None,
    ) -> tuple[Float[Array, 'B T D'], tuple[Any, Load | None]]:
        """Runs the blocks and the final norm.

        Args:
          x: embedded tokens.
          around: what all blocks read.
          cache: self-attention keys and values, [L B S K H], or one a layer; returned with the new slots written.
          cross: cross-attention keys and values, the same, if they were made before.
          key: for dropout; None turns it off.

        Returns:
          Normed hidden states, and beside them the cache and the experts' load over all layers, if there are any.
        """
        if isinstance(self.blocks, nnx.List):
            return self._step(x, around, cache=cache, cross=cross or (None,) * self.layers)
        graph, stacked = nnx.split(self.blocks)
        kind = Kind(Kind.flags(self.windowed), Kind.flags(self.rotated))
        shared, own = (
            jax.tree.map(lambda f: f if isinstance(f, bool) is same else None, kind) for same in (True, False)
        )

        def body(carry, inputs):
            x, cache = carry
            weights, own, layer, cross, key = inputs
            kind = jax.tree.map(
                lambda same, each: each if same is None else same, shared, own, is_leaf=lambda f: f is None
            )
            at = None if cache is None else (layer, cache)
            x, (cache, load) = nnx.merge(graph, weights)(x, around, kind=kind, at=at, cross=cross, key=key)
            return (x, cache), load

        if self.execution.remat != 'none':
            body = jax.checkpoint(body, policy=POLICIES[self.execution.remat], prevent_cse=False)
        keys = None
        if key is not None and self.dropout:
            keys, last = jax.random.split(key, self.layers), jax.random.fold_in(key, self.layers)
            x = dropout(x, self.dropout, key=jax.random.fold_in(last, 0))
        inputs = (stacked, own, jnp.arange(self.layers), cross, keys)
        (x, cache), loads = jax.lax.scan(body, (x, cache), inputs, unroll=self.execution.unroll)
        x = self.norm(x)
        if keys is not None:
            x = dropout(x, self.dropout, key=jax.random.fold_in(last, 1))
        return x, (cache, jax.tree.map(lambda each: jnp.sum(each, axis=0), loads))

    def _step(
        self,
        x: Float[Array, 'B 1 D'],
        around: Surroundings,
        *,
        cache: tuple[LayerCache, ...],
        cross: tuple[LayerCache | None, ...],
    ) -> tuple[Float[Array, 'B 1 D'], tuple[tuple[LayerCache, ...], None]]:
        written = []
        for layer, block in enumerate(self.blocks):
            kind = Kind(self.windowed[layer], self.rotated[layer])
            x, (own, _) = block(x, around, kind=kind, at=(None, cache[layer]), cross=cross[layer])
            written.append(own)
        return self.norm(x), (tuple(written), None)

    def project_cross(self, encoded: Float[Array, 'B S D']) -> Cache:
        """Every layer's cross-attention keys and values of an encoder's output, [L B S K H]."""
        graph, stacked = nnx.split(self.blocks)
        return jax.lax.map(lambda weights: nnx.merge(graph, weights).cross.project(encoded), stacked)
