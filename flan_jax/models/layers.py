"""The parts both wirings share: weights with named axes, norms, MLP, embedding, dropout, remat policies."""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from flan_jax.models.config import ModelConfig
from flan_jax.parallel.axes import constrain

Initialiser = Callable[[jax.Array, tuple[int, ...], jnp.dtype], jax.Array]


def _keep(*names: str) -> Callable[..., bool]:
    named = jax.checkpoint_policies.save_only_these_names(*names)
    # cuDNN's backward also reads sums of its softmax, which nobody outside can name; without them it would run twice.
    cudnn = 'dot_product_attention_fwd_wrapper'
    return lambda primitive, *args, **kwargs: primitive.name == cudnn or named(primitive, *args, **kwargs)


# What backward keeps of a block; the rest is computed again. Bytes a token and block, in units of the compute dtype:
#   none       everything;
#   minimal    the results of the large products: 2NH + 2KH + 2F;
#   attention  only what attention reads and gives: 2NH + 2KH;
#   full       nothing but the block's input.
POLICIES = {
    'minimal': _keep('query', 'key', 'value', 'attended', 'gate', 'up'),
    'attention': _keep('query', 'key', 'value', 'attended'),
    'full': jax.checkpoint_policies.nothing_saveable,
}


def normal(scale: float) -> Initialiser:
    return lambda key, shape, dtype: jax.random.normal(key, shape, dtype) * scale


def fan_in(width: int) -> Initialiser:
    """Gaussian with variance 1 / width, `width` being the number of summed inputs."""
    return normal(width**-0.5)


def ones(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    del key
    return jnp.ones(shape, dtype)


def zero() -> Initialiser:
    return lambda key, shape, dtype: jnp.zeros(shape, dtype)


def weight(rngs: nnx.Rngs, shape: tuple[int, ...], *, axes: tuple[str, ...], init: Initialiser) -> nnx.Param:
    """One weight: shape, logical axes (see `parallel.axes`) and initialiser, in f32."""
    if len(shape) != len(axes):
        raise ValueError(f'a weight of shape {shape} needs {len(shape)} axis names, has {axes}')
    return nnx.Param(init(rngs.params(), shape, jnp.dtype(jnp.float32)), axes=axes)


class Adapted(abc.ABC):
    """A weight that is more than one array: something is added to it, or it is kept in few bits (`adapters_weights`).

    It stands where a model's array would, and only what is done with weights here is defined for it.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the whole weight."""

    @abc.abstractmethod
    def product(self, spec: str, x: Array, *, out: jax.typing.DTypeLike | None) -> Array:
        """See `layers.product`."""

    @abc.abstractmethod
    def dense(self) -> Array:
        """The weight as one array."""

    def __getitem__(self, index: Any) -> Any:
        return self if index is Ellipsis else self.dense()[index]

    def astype(self, dtype: jax.typing.DTypeLike) -> Array:
        """The weight as one array, for products that know nothing of adapters."""
        return self.dense().astype(dtype)


def product(spec: str, x: Array, w: Array | Adapted, out: jax.typing.DTypeLike | None = None) -> Array:
    """`einsum(spec, x, w)` in the type of `x`, accumulated in f32, whose gradient for `w` has the type of `w`.

    What autodiff would do instead: round an f32 weight's gradient to bf16 before devices add theirs up, and, where the
    result is f32 (logits, scores), multiply f32 by bf16 in the backward pass, for which GPUs have no fast kernel.

    Args:
      spec: two operands, letters only.
      x: activations.
      w: a weight, or activations.
      out: type of the result; None: that of `x`.
    """
    return w.product(spec, x, out=out) if isinstance(w, Adapted) else _exact(spec, x, w, out)


_exact = jax.custom_vjp(
    lambda spec, x, w, out: jnp.einsum(spec, x, w.astype(x.dtype), preferred_element_type=out or x.dtype),
    nondiff_argnums=(0, 3),
)


def _product_forward(
    spec: str, x: Array, w: Array, out: jax.typing.DTypeLike | None
) -> tuple[Array, tuple[Array, Array]]:
    return _exact(spec, x, w, out), (x, w)


def _product_backward(
    spec: str, out: jax.typing.DTypeLike | None, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    del out
    x, w = saved
    operands, result = spec.split('->')
    left, right = operands.split(',')
    g = g.astype(x.dtype)
    dx = jnp.einsum(f'{result},{right}->{left}', g, w.astype(x.dtype), preferred_element_type=x.dtype)
    return dx, jnp.einsum(f'{left},{result}->{right}', x, g, preferred_element_type=w.dtype)


_exact.defvjp(_product_forward, _product_backward)


def dropout(x: Array, rate: float, *, key: jax.Array | None) -> Array:
    """Zeroes a share `rate` of `x` and scales the rest; the identity without a key."""
    if key is None or rate == 0.0:
        return x
    return jnp.where(jax.random.bernoulli(key, 1.0 - rate, x.shape), x / np.asarray(1.0 - rate, x.dtype), 0)


def vector(rngs: nnx.Rngs, shape: tuple[int, ...], *, init: Initialiser | None = None) -> nnx.Param:
    """A bias or a norm's scale: on every device, and never decayed."""
    return weight(rngs, shape, axes=('norm',) * len(shape), init=init or zero())


def add(x: Array, bias: nnx.Param | None) -> Array:
    """Adds a bias to the last axes, if there is one."""
    if bias is None:
        return x
    bias = bias[...].astype(x.dtype)
    return x + bias.reshape((1,) * (x.ndim - bias.ndim) + bias.shape)


def softcap(x: Array, cap: float | None) -> Array:
    """cap * tanh(x / cap); None: the identity."""
    return x if cap is None else jnp.tanh(x / cap) * cap


class Norm(nnx.Module):
    """RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016) over the last axes, in f32.

    Args:
      shape: of the normed vector; the width of the residual stream if not given.
      kind: if another one than the config's.
    """

    def __init__(
        self, config: ModelConfig, *, rngs: nnx.Rngs, shape: tuple[int, ...] | None = None, kind: str | None = None
    ):
        shape, kind = shape or (config.width,), kind or config.norm.kind
        self.offset = config.norm.offset
        self.scale = vector(rngs, shape, init=zero() if self.offset else ones)
        self.bias = vector(rngs, shape) if kind == 'layer' else None
        self.centred = kind == 'layer'
        self.eps = config.norm_eps
        self.axes = tuple(range(-len(shape), 0))

    def __call__(self, x: Float[Array, '*B D']) -> Float[Array, '*B D']:
        x32 = x.astype(jnp.float32)
        if self.centred:
            x32 = x32 - jnp.mean(x32, axis=self.axes, keepdims=True)
        scale = self.scale[...].astype(jnp.float32)
        if self.offset:
            scale = scale + self.offset
        scale = jnp.broadcast_to(scale, x.shape)  # broadcast by hand: ranks are never promoted silently
        variance = jnp.mean(x32 * x32, axis=self.axes, keepdims=True)
        return add(x32 * jax.lax.rsqrt(variance + self.eps) * scale, self.bias).astype(x.dtype)


def activate(x: Array, name: str) -> Array:
    match name:
        case 'silu':
            return jax.nn.silu(x)
        case 'gelu_tanh':
            return jax.nn.gelu(x, approximate=True)
        case 'gelu':
            return jax.nn.gelu(x, approximate=False)
        case 'relu':
            return jax.nn.relu(x)
    raise ValueError(f'no activation {name!r}')


class MLP(nnx.Module):
    """down(act(gate(x)) * up(x)) (Shazeer 2020), or without a gate down(act(up(x)))."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, width: int | None = None):
        d, f = config.width, width or config.mlp_width
        gated, bias = config.mlp.gated, config.mlp.bias
        self.gate = weight(rngs, (d, f), axes=('embed', 'mlp'), init=fan_in(d)) if gated else None
        self.up = weight(rngs, (d, f), axes=('embed', 'mlp'), init=fan_in(d))
        self.down = weight(rngs, (f, d), axes=('mlp', 'embed'), init=fan_in(f))
        self.gate_bias = vector(rngs, (f,)) if gated and bias else None
        self.up_bias = vector(rngs, (f,)) if bias else None
        self.down_bias = vector(rngs, (d,)) if bias else None
        self.activation = config.activation

    def __call__(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T D']:
        up = inner = None
        if self.gate is not None:
            gate = add(product('BTD,DF->BTF', x, self.gate[...]), self.gate_bias)
            inner = activate(checkpoint_name(gate, 'gate'), self.activation)
        up = checkpoint_name(add(product('BTD,DF->BTF', x, self.up[...]), self.up_bias), 'up')
        inner = activate(up, self.activation) if inner is None else inner * up
        return add(product('BTF,FD->BTD', inner, self.down[...]), self.down_bias)


class Embedding(nnx.Module):
    """Token ids to vectors; with `logits`, also back (tied output head)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        # A tied table is also the head, whose inputs are normed: a small scale keeps first logits near 0. T5's own
        # table, read only once and never normed with its scale, starts at 1.
        scale = 1.0 if config.encoder_decoder else 0.02
        self.table = weight(rngs, (config.vocab_size, config.width), axes=('vocab', 'embed'), init=normal(scale))
        self.factor = config.width**0.5 if config.embedding.scaled else None
        self.norm = Norm(config, rngs=rngs) if config.norm.embedding else None
        self.softcap = config.logit_softcap

    def __call__(self, tokens: Int[Array, 'B T'], dtype: jnp.dtype) -> Float[Array, 'B T D']:
        # Rows first, then the type: repeated tokens add their gradients up in f32. A device looks up its part of the
        # width for all rows of its fsdp group, and only then are rows dealt out; XLA would replicate them on the way.
        rows = constrain(self.table[...][tokens], ('data_rows', 'length', 'embed'))
        x = rows.astype(dtype)
        if self.factor is not None:
            x = x * jnp.asarray(self.factor, dtype)
        return x if self.norm is None else self.norm(x)

    def logits(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        return softcap(product('BTD,VD->BTV', x, self.table[...], jnp.float32), self.softcap)


def without_padding(logits: Float[Array, '... V'], pieces: int | None) -> Float[Array, '... V']:
    """Minus infinity for the rows of a table that are no piece of the tokenizer."""
    if pieces is None or pieces == logits.shape[-1]:
        return logits
    return jnp.where(jnp.arange(logits.shape[-1]) < pieces, logits, -jnp.inf)


class Head(nnx.Module):
    """An output head with a weight of its own."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        d = config.width
        self.kernel = weight(rngs, (d, config.vocab_size), axes=('embed', 'vocab'), init=fan_in(d))
        self.softcap = config.logit_softcap

    def logits(self, x: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        return softcap(product('BTD,DV->BTV', x, self.kernel[...], jnp.float32), self.softcap)
