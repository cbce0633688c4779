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
from flan_jax.models.layers import fan_in, normal, product, weight
from flan_jax.models.splash import splash

Cache = tuple[Array, Array]  # keys and values, [B S K H] each


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=['mask', 'query_segments', 'key_segments'], meta_fields=['causal']
)
@dataclasses.dataclass(frozen=True)
class Visibility:
    """Which keys a query may see, in the two forms that kernels want.

    Attributes:
      mask: bool[B T S], true where the query sees the key; complete by itself.
      query_segments: int32[B T], examples of a row counted from 1, 0 is padding; None if segments do not say it all.
      key_segments: int32[B S].
      causal: whether, besides equal segments, a key must not lie after its query in the row.
    """

    mask: Bool[Array, 'B T S']
    query_segments: Int[Array, 'B T'] | None = None
    key_segments: Int[Array, 'B S'] | None = None
    causal: bool = False


def packed(
    query_segments: Int[Array, 'B T'], key_segments: Int[Array, 'B S'] | None = None, *, causal: bool
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
    return Visibility(mask, query_segments, key_segments, causal)


def branched(segments: Int[Array, 'B T'], branches: Int[Array, 'B T']) -> Visibility:
    """Several continuations of one prompt in a row: each sees the prompt (branch 0) and itself, not the others.

    Segments [1 1 1 1 1], branches [0 0 1 1 2]: the last token sees the first two and itself.
    """
    same = branches[:, :, None] == branches[:, None, :]
    visible = (segments[:, :, None] == segments[:, None, :]) & (same | (branches == 0)[:, None, :])
    return Visibility(visible & _not_after(segments)[None])


def cached(positions: Int[Array, 'B T'], length: int) -> Visibility:
    """Queries at `positions` see the slots of a cache up to and with their own."""
    return Visibility(jnp.arange(length)[None, None, :] <= positions[:, :, None])


def _not_after(row: Array) -> Bool[Array, 'T T']:
    index = jnp.arange(row.shape[1])
    return index[None, :] <= index[:, None]


def attend(
    query: Float[Array, 'B T N H'],
    key: Float[Array, 'B S K H'],
    value: Float[Array, 'B S K H'],
    *,
    visibility: Visibility,
    bias: Float[Array, '#B N T S'] | None,
    kernel: str,
) -> Float[Array, 'B T N H']:
    """softmax(query key^T + bias) value over the visible keys; the query is already scaled.

    Args:
      kernel: `dense` (XLA, the reference), `cudnn` (GPU), `splash` (TPU) or `auto`, the device's fastest that can
        express this call.
    """
    if kernel == 'auto':
        kernel = {'gpu': 'cudnn', 'tpu': 'splash'}.get(jax.default_backend(), 'dense')
        if kernel == 'splash' and (bias is not None or visibility.query_segments is None):
            kernel = 'dense'  # splash takes segments and causality only
        if kernel == 'cudnn' and query.dtype == jnp.float32:
            kernel = 'dense'  # cuDNN's fused attention is for 16-bit floats
    match kernel:
        case 'dense':
            attended = dense(query, key, value, visibility=visibility, bias=bias)
        case 'cudnn':
            mask = visibility.mask[:, None]
            attended = jax.nn.dot_product_attention(
                query, key, value, bias, mask, scale=1.0, is_causal=visibility.causal, implementation='cudnn'
            )
        case 'splash':
            if bias is not None or visibility.query_segments is None:
                raise ValueError('splash attention takes no bias and no free mask; use execution.attention=auto')
            segments = (visibility.query_segments, visibility.key_segments)
            return splash(query, key, value, segments=segments, causal=visibility.causal)
        case _:
            raise ValueError(f'no attention kernel {kernel!r}')
    return checkpoint_name(attended, 'attended')


def dense(
    query: Float[Array, 'B T N H'],
    key: Float[Array, 'B S K H'],
    value: Float[Array, 'B S K H'],
    *,
    visibility: Visibility,
    bias: Float[Array, '#B N T S'] | None = None,
) -> Float[Array, 'B T N H']:
    """The reference: all scores at once, softmax in f32."""
    b, t, n, h = query.shape
    s, k = key.shape[1], key.shape[2]
    # The G queries of a key head lie below each other, so that both products are plain batched matrix products; XLA's
    # CPU code for the five-axis form is half as fast.
    query = jnp.einsum('BTKGH->BKGTH', query.reshape(b, t, k, n // k, h)).reshape(b, k, n // k * t, h)
    key, value = jnp.einsum('BSKH->BKSH', key), jnp.einsum('BSKH->BKSH', value)
    scores = product('BKXH,BKSH->BKXS', query, key, jnp.float32)
    scores = scores.reshape(b, k, n // k, t, s)
    if bias is not None:
        scores += bias.reshape(bias.shape[0], k, n // k, t, s)
    scores = jnp.where(visibility.mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype).reshape(b, k, n // k * t, s)
    attended = jnp.einsum('BKXS,BKSH->BKXH', shares, value).reshape(b, k, n // k, t, h)
    return jnp.einsum('BKGTH->BTKGH', attended).reshape(b, t, n, h)


class Attention(nnx.Module):
    """Query, key, value and output projections around `attend`; grouped queries if K < N (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig, *, kernel: str, rngs: nnx.Rngs):
        d, n, k, h = config.width, config.heads, config.kv_heads, config.head_width
        # Without a scale on the scores, it goes into the initialiser.
        query_init = fan_in(d) if config.scaled_attention else normal((d * h) ** -0.5)
        self.query = weight(rngs, (d, n, h), axes=('embed', 'heads', 'head'), init=query_init)
        self.key = weight(rngs, (d, k, h), axes=('embed', 'kv_heads', 'head'), init=fan_in(d))
        self.value = weight(rngs, (d, k, h), axes=('embed', 'kv_heads', 'head'), init=fan_in(d))
        self.output = weight(rngs, (n, h, d), axes=('heads', 'head', 'embed'), init=fan_in(n * h))
        self.scale = h**-0.5 if config.scaled_attention else 1.0
        self.kernel = kernel

    def project(
        self, x: Float[Array, 'B S D'], phases: tuple[Array, Array] | None = None
    ) -> tuple[Float[Array, 'B S K H'], Float[Array, 'B S K H']]:
        """Keys (turned by their RoPE phases) and values."""
        key = product('BSD,DKH->BSKH', x, self.key[...])
        value = product('BSD,DKH->BSKH', x, self.value[...])
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
    ) -> Float[Array, 'B T D']:
        """Queries from `x` over keys and values made by `project` (of `x` itself, of an encoder, or from a cache)."""
        query = product('BTD,DNH->BTNH', x, self.query[...])
        if phases is not None:
            query = positions_lib.rotate(query, phases)
        query = checkpoint_name(query * jnp.asarray(self.scale, query.dtype), 'query')
        key, value = key_value
        attended = attend(query, key, value, visibility=visibility, bias=bias, kernel=self.kernel)
        return product('BTNH,NHD->BTD', attended, self.output[...])
