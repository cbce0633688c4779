"""Order: rotary phases and T5's relative position bias."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from flan_jax.models.config import ModelConfig
from flan_jax.models.layers import normal, weight


def rope_phases(positions: Int[Array, 'B T'], *, width: int, theta: float) -> tuple[Array, Array]:
    """Cosine and sine of position * theta^(-2i/H), in f32 whatever the compute dtype (Su et al. 2021).

    Wavelengths are made in float64; at position 8191 an f32 phase is within 1e-3 of the float64 one, a bf16 phase is
    off by up to 16 radians.

    Returns:
      (cos, sin), each f32[B T H/2].
    """
    frequencies = theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    # No einsum: without a contraction it is still a matrix product to XLA, and a TPU rounds its operands to bf16.
    phases = positions.astype(jnp.float32)[:, :, None] * jnp.asarray(frequencies, jnp.float32)[None, None]
    return jnp.cos(phases), jnp.sin(phases)


def rotate(x: Float[Array, 'B T N H'], phases: tuple[Array, Array]) -> Float[Array, 'B T N H']:
    """Turns the pairs (x[i], x[i + H/2]) by their phases, in f32."""
    cos, sin = (phase[:, :, None, :] for phase in phases)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def relative_buckets(distance: Int[Array, '*B'], *, buckets: int, max_distance: int, causal: bool) -> Int[Array, '*B']:
    """T5's bucket of key position minus query position (Raffel et al. 2020, section 2.1).

    Near distances have a bucket each, far ones share logarithmically wider buckets. Both directions get half of the
    buckets each; a causal bias uses all of them for the past.

    >>> relative_buckets(jnp.array([0, -1, -7, -20, -999]), buckets=8, max_distance=32, causal=True).tolist()
    [0, 1, 5, 7, 7]
    """
    offset = jnp.zeros_like(distance)
    if causal:
        past = jnp.maximum(-distance, 0)
    else:
        buckets //= 2
        offset = jnp.where(distance > 0, buckets, 0)
        past = jnp.abs(distance)
    exact = buckets // 2
    far = jnp.log(jnp.maximum(past, 1).astype(jnp.float32) / exact) / np.log(max_distance / exact) * (buckets - exact)
    return offset + jnp.where(past < exact, past, jnp.minimum(exact + far.astype(jnp.int32), buckets - 1))


class RelativeBias(nnx.Module):
    """A learned number for each head and distance bucket, added to the scores; shared by the layers of a stack."""

    def __init__(self, config: ModelConfig, *, causal: bool, rngs: nnx.Rngs):
        shape = (config.relative_buckets, config.heads)
        self.table = weight(rngs, shape, axes=('buckets', 'heads'), init=normal(config.width**-0.5))
        self.max_distance = config.relative_max_distance
        self.causal = causal

    def __call__(self, query: Int[Array, 'B T'], key: Int[Array, '#B S']) -> Float[Array, 'B N T S']:
        """Positions of queries and keys (one row of them may serve all queries) -> f32 bias."""
        distance = key[:, None, :] - query[:, :, None]
        buckets, _ = self.table.shape
        bucket = relative_buckets(distance, buckets=buckets, max_distance=self.max_distance, causal=self.causal)
        return jnp.einsum('BTSN->BNTS', self.table[...][bucket])
