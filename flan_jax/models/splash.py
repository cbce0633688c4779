"""TPU's block-sparse attention kernel behind the layout of this project."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jaxtyping import Array, Float, Int

LANES = 128  # a TPU vector register's width; head widths below it are padded with zeros


def splash(
    query: Float[Array, 'B T N H'],
    key: Float[Array, 'B S K H'],
    value: Float[Array, 'B S K H'],
    *,
    segments: tuple[Int[Array, 'B T'], Int[Array, 'B S']],
    causal: bool,
    interpret: bool = False,
) -> Float[Array, 'B T N H']:
    """Attention among equal segments, on a TPU; with `interpret`, slowly anywhere.

    On a mesh, call it under `shard_map`, or leave it to `parallel.mesh.per_device`: XLA cannot split the kernel.
    """
    _, t, n, h = query.shape
    _, s, k, _ = key.shape
    shape = (t, s)
    mask = masks.MultiHeadMask([masks.CausalMask(shape) if causal else masks.FullMask(shape)] * n)
    block = min(512, t, s)
    sizes = kernels.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block,
        block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip
    make = kernels.make_splash_mha if n == k else kernels.make_splash_mqa
    pad = -h % LANES
    query, key, value = (
        jnp.pad(jnp.einsum('BTNH->BNTH', x), [(0, 0), (0, 0), (0, 0), (0, pad)]) for x in (query, key, value)
    )
    if n == k:
        kernel = make(mask=mask, head_shards=1, q_seq_shards=1, block_sizes=sizes, interpret=interpret)
        run = jax.vmap(kernel)
        out = run(query, key, value, kernels.SegmentIds(*segments))
    else:
        mask = masks.MultiHeadMask(mask.masks[: n // k])
        kernel = make(mask=mask, head_shards=1, q_seq_shards=1, block_sizes=sizes, interpret=interpret)
        grouped = query.reshape(query.shape[0], k, n // k, t, h + pad)
        run = jax.vmap(jax.vmap(kernel, in_axes=(0, 0, 0, None)))
        out = run(grouped, key, value, kernels.SegmentIds(*segments)).reshape(query.shape)
    return jnp.einsum('BNTH->BTNH', out[..., :h])
