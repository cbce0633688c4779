"""Attention: who sees whom, the kernels behind one function, and the module with the four projections."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from flan_jax.models import positions as positions_lib
from flan_jax.models.config import ModelConfig
from flan_jax.models.layers import Norm, add, fan_in, normal, product, softcap, vector, weight
from flan_jax.models.splash import Reach, splash

Cache = tuple[Array, Array]  # keys and values, [B S K H] each, of all layers [L B S K H]
LayerCache = tuple[Array, Array]  # of one layer for steps of one token, [B K S H]: each head's slots lie side by side


def slots(cache: Cache | tuple[LayerCache, ...]) -> int:
    """S, whether a cache is one array for all layers or one a layer."""
    return cache[0][0].shape[2] if isinstance(cache[0], tuple) else cache[0].shape[2]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['mask', 'near', 'query_segments', 'key_segments'],
    meta_fields=['causal', 'window'],
)
@dataclasses.dataclass(frozen=True)
class Visibility:
    """Which keys a query may see, in the two forms that kernels want.

    Attributes:
      mask: bool[B T S], true where the query sees the key; complete by itself.
      query_segments: int32[B T], examples of a row counted from 1, 0 is padding; None if segments do not say it all.
      key_segments: int32[B S].
      causal: whether, besides equal segments, a key must not lie after its query in the row.
      near: `mask` within a window, for the layers that have one; complete by itself.
      window: tokens of that window, the query's own included.
    """

    mask: Bool[Array, 'B T S']
    query_segments: Int[Array, 'B T'] | None = None
    key_segments: Int[Array, 'B S'] | None = None
    causal: bool = False
    near: Bool[Array, 'B T S'] | None = None
    window: int | None = None

    def seen(self, windowed: bool | Array) -> Bool[Array, 'B T S']:
        """The mask of a layer; whether it has a window may be known only while it runs."""
        if isinstance(windowed, bool):
            return self.near if windowed else self.mask
        return jnp.where(windowed, self.near, self.mask)


def packed(
    query_segments: Int[Array, 'B T'],
    key_segments: Int[Array, 'B S'] | None = None,
    *,
    causal: bool,
    window: int | None = None,
) -> Visibility:
    """Examples packed in one row see themselves only.

    Segments [1 1 2 2 0], causal:

        key    1 1 2 2 0
      query 1  x . . . .
            1  x x . . .
            2  . . x . .
            2  . . x x .
            0  . . . . x

    Padding sees padding, so that no row of scores is empty; nothing reads it.
    """
    key_segments = query_segments if key_segments is None else key_segments
    mask = query_segments[:, :, None] == key_segments[:, None, :]
    if causal:
        mask &= _not_after(query_segments)[None]
    index = jnp.arange(query_segments.shape[1])[None]
    near = None if window is None else mask & _within(window, index, keys=index)
    return Visibility(mask, query_segments, key_segments, causal, near, window)


def branched(
    segments: Int[Array, 'B T'],
    branches: Int[Array, 'B T'],
    *,
    positions: Int[Array, 'B T'] | None = None,
    window: int | None = None,
) -> Visibility:
    """Several continuations of one prompt in a row: each sees the prompt (branch 0) and itself, not the others.

    Segments [1 1 1 1 1], branches [0 0 1 1 2]: the last token sees the first two and itself. A window reaches back
    over positions, which go on from the prompt in every branch.
    """
    same = branches[:, :, None] == branches[:, None, :]
    visible = (segments[:, :, None] == segments[:, None, :]) & (same | (branches == 0)[:, None, :])
    mask = visible & _not_after(segments)[None]
    near = None if window is None else mask & _within(window, positions, keys=positions)
    return Visibility(mask, near=near, window=window)


def cached(positions: Int[Array, 'B T'], length: int, *, window: int | None = None) -> Visibility:
    """Queries at `positions` see the slots of a cache up to and with their own."""
    slots = jnp.arange(length)[None]
    mask = slots[:, None, :] <= positions[:, :, None]
    near = None if window is None else mask & _within(window, positions, keys=slots)
    return Visibility(mask, near=near, window=window)


def _within(window: int, queries: Int[Array, '#B T'], *, keys: Int[Array, '#B S']) -> Bool[Array, '#B T S']:
    return queries[:, :, None] - keys[:, None, :] < window


def _not_after(row: Array) -> Bool[Array, 'T T']:
    index = jnp.arange(row.shape[1])
    return index[None, :] <= index[:, None]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """How attention is computed.

    Attributes:
      name: `dense` (XLA, the reference), `cudnn` (GPU), `splash` (TPU) or `auto`, the device's fastest that can express
        the call.
      softcap: bounds the scores at c tanh(scores / c); None: not.
      windowed: whether the layer has the visibility's window, which may be known only while it runs.
    """

    name: str
    softcap: float | None = None
    windowed: bool | Array = False


def attend(
    query: Float[Array, 'B T N H'],
    key: Float[Array, 'B S K H'],
    value: Float[Array, 'B S K H'],
    *,
    visibility: Visibility,
    bias: Float[Array, '#B N T S'] | None,
    kernel: str | Kernel,
) -> Float[Array, 'B T N H']:
    """softmax(query key^T + bias) value over the visible keys; the query is already scaled."""
    kernel = Kernel(kernel) if isinstance(kernel, str) else kernel
    name = (
        kernel.name
        if kernel.name != 'auto'
        else _fastest(query, visibility, bias=bias, capped=kernel.softcap is not None)
    )
    match name:
        case 'dense':
            attended = dense(query, key, value, visibility=visibility, bias=bias, kernel=kernel)
        case 'cudnn':
            if kernel.softcap is not None:
                raise ValueError('cudnn attention takes no softcap; use execution.attention=auto')
            mask = visibility.seen(kernel.windowed)[:, None]
            return jax.nn.dot_product_attention(  # without a name: `layers.POLICIES` keeps all that it gives
                query, key, value, bias, mask, scale=1.0, is_causal=visibility.causal, implementation='cudnn'
            )
        case 'splash':
            if bias is not None or visibility.query_segments is None:
                raise ValueError('splash attention takes no bias and no free mask; use execution.attention=auto')

            def run(window: int | None) -> Array:
                segments = (visibility.query_segments, visibility.key_segments)
                reach = Reach(visibility.causal, window, kernel.softcap)
                return splash(query, key, value, segments=segments, reach=reach)

            if isinstance(kernel.windowed, bool):
                return run(visibility.window if kernel.windowed else None)
            # The kernel's blocks are chosen when it is compiled: both are there, and one of them runs.
            return jax.lax.cond(kernel.windowed, lambda: run(visibility.window), lambda: run(None))
        case _:
            raise ValueError(f'no attention kernel {name!r}')
    return checkpoint_name(attended, 'attended')


def _fastest(query: Array, visibility: Visibility, *, bias: Array | None, capped: bool) -> str:
    name = {'gpu': 'cudnn', 'tpu': 'splash'}.get(jax.default_backend(), 'dense')
    if query.shape[1] == 1:
        return 'dense'  # one query reads every key once; the others' blocks of queries would be empty but for one
    if name == 'splash' and (bias is not None or visibility.query_segments is None):
        return 'dense'  # splash takes segments, windows and causality only
    # cuDNN's fused attention is for 16-bit floats, heads of 8, 16, ... up to 128, even lengths, and plain scores.
    odd = query.shape[-1] % 8 or query.shape[1] % 2 or visibility.mask.shape[2] % 2
    if name == 'cudnn' and (query.dtype == jnp.float32 or capped or query.shape[-1] > 128 or odd):
        return 'dense'
    return name


def dense(
    query: Float[Array, 'B T N H'],
    key: Float[Array, 'B S K H'],
    value: Float[Array, 'B S K H'],
    *,
    visibility: Visibility,
    bias: Float[Array, '#B N T S'] | None = None,
    kernel: Kernel = Kernel('dense'),
) -> Float[Array, 'B T N H']:
    """The reference: all scores at once, softmax in f32."""
    b, t, n, h = query.shape
    s, k = key.shape[1], key.shape[2]
    # The G queries of a key head lie below each other, so that both products are plain batched matrix products; XLA's
    # CPU code for the five-axis form is half as fast.
    query = jnp.einsum('BTKGH->BKGTH', query.reshape(b, t, k, n // k, h)).reshape(b, k, n // k * t, h)
    key, value = jnp.einsum('BSKH->BKSH', key), jnp.einsum('BSKH->BKSH', value)
    scores = softcap(product('BKXH,BKSH->BKXS', query, key, jnp.float32), kernel.softcap)
    scores = scores.reshape(b, k, n // k, t, s)
    if bias is not None:
        scores += bias.reshape(bias.shape[0], k, n // k, t, s)
    scores = jnp.where(visibility.seen(kernel.windowed)[:, None, None], scores, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype).reshape(b, k, n // k * t, s)
    attended = jnp.einsum('BKXS,BKSH->BKXH', shares, value).reshape(b, k, n // k, t, h)
    return jnp.einsum('BKGTH->BTKGH', attended).reshape(b, t, n, h)


class Attention(nnx.Module):
    """Query, key, value and output projections around `attend`; grouped queries if K < N (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig, *, kernel: str, rngs: nnx.Rngs):
        d, n, k, h = config.width, config.heads, config.kv_heads, config.head_width
        own, peculiar = config.norm.query_key, config.attention
        # Without a scale on the scores, it goes into the initialiser.
        query_init = fan_in(d) if config.scaled_attention else normal((d * h) ** -0.5)
        self.query = weight(rngs, (d, n, h), axes=('embed', 'heads', 'head'), init=query_init)
        self.key = weight(rngs, (d, k, h), axes=('embed', 'kv_heads', 'head'), init=fan_in(d))
        self.value = weight(rngs, (d, k, h), axes=('embed', 'kv_heads', 'head'), init=fan_in(d))
        self.output = weight(rngs, (n, h, d), axes=('heads', 'head', 'embed'), init=fan_in(n * h))
        self.query_bias = vector(rngs, (n, h)) if peculiar.bias else None
        self.key_bias = vector(rngs, (k, h)) if peculiar.bias else None
        self.value_bias = vector(rngs, (k, h)) if peculiar.bias else None
        self.output_bias = vector(rngs, (d,)) if peculiar.output_bias else None
        queries, keys = ((n, h), (k, h)) if own == 'all' else ((h,), (h,))
        self.query_norm = None if own == 'none' else Norm(config, rngs=rngs, shape=queries, kind='rms')
        self.key_norm = None if own == 'none' else Norm(config, rngs=rngs, shape=keys, kind='rms')
        self.scale = (peculiar.scale_width or h) ** -0.5 if config.scaled_attention else 1.0
        self.softcap = peculiar.softcap
        self.kernel = kernel
        # [2 P K H]: keys and values that the queries of all rows see before those of their own; see `decoding.memory`.
        self.before = None

    def project(
        self, x: Float[Array, 'B S D'], phases: tuple[Array, Array] | None = None
    ) -> tuple[Float[Array, 'B S K H'], Float[Array, 'B S K H']]:
        """Keys (normed, and turned by their RoPE phases) and values."""
        key = add(product('BSD,DKH->BSKH', x, self.key[...]), self.key_bias)
        value = add(product('BSD,DKH->BSKH', x, self.value[...]), self.value_bias)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if phases is not None:
            key = positions_lib.rotate(key, phases)
        return checkpoint_name(key, 'key'), checkpoint_name(value, 'value')

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        key_value: tuple[Array, Array],
        *,
        visibility: Visibility,
        phases: tuple[Array, Array] | None = None,
        bias: Float[Array, '#B N T S'] | None = None,
        windowed: bool | Array = False,
    ) -> Float[Array, 'B T D']:
        """Queries from `x` over keys and values made by `project` (of `x` itself, of an encoder, or from a cache)."""
        query = add(product('BTD,DNH->BTNH', x, self.query[...]), self.query_bias)
        if self.query_norm is not None:
            query = self.query_norm(query)
        if phases is not None:
            query = positions_lib.rotate(query, phases)
        query = checkpoint_name(query * jnp.asarray(self.scale, query.dtype), 'query')
        key, value = key_value
        if self.before is not None:
            key, value = (
                jnp.concatenate([jnp.broadcast_to(old[None], (x.shape[0], *old.shape)), new], axis=1)
                for old, new in zip(self.before[...], key_value, strict=True)
            )
        kernel = Kernel(self.kernel, self.softcap, windowed)
        attended = attend(query, key, value, visibility=visibility, bias=bias, kernel=kernel)
        return add(product('BTNH,NHD->BTD', attended, self.output[...]), self.output_bias)
