"""Cross-entropy at supervised positions only, in chunks, so that logits of a whole batch never exist at once."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flan_jax.config import TrainingConfig
from flan_jax.parallel.axes import constrain


@functools.partial(jax.tree_util.register_dataclass, data_fields=['loss', 'z', 'correct', 'weight'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over supervised tokens, f32; nothing is divided before all microbatches and devices are added.

    Attributes:
      loss: what is minimised: cross-entropy and z-loss.
      z: the z-loss part.
      correct: tokens whose most likely prediction was right.
      weight: tokens.
    """

    loss: Float[Array, '']
    z: Float[Array, '']
    correct: Float[Array, '']
    weight: Float[Array, '']


def take(hidden: Float[Array, 'B T D'], supervised: Int[Array, 'G M']) -> Float[Array, 'G M D']:
    """The hidden states at the supervised positions of each group of rows; a group never leaves its device."""
    groups = supervised.shape[0]
    grouped = constrain(hidden.reshape(groups, -1, hidden.shape[-1]), ('batch', 'position', 'width'))
    return constrain(jax.vmap(lambda h, i: h[i])(grouped, supervised), ('batch', 'position', 'width'))


def cross_entropy(
    logits: Float[Array, '*B V'],
    labels: Int[Array, '*B'],
    weights: Float[Array, '*B'],
    *,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> Sums:
    """Weighted sums over all positions.

    loss = -(1 - s) log p(label) - s mean(log p) + z log(Z)^2, with s the smoothing; z log(Z)^2 keeps the normaliser
    Z near 1 (de Brebisson & Vincent 2016; T5 uses z = 1e-4).
    """
    logits = logits.astype(jnp.float32)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    # A sum that XLA fuses with the others, forward and backward; a gather's gradient is a scatter into new logits.
    chosen = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) == labels[..., None]
    target = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    loss = log_z - target
    if label_smoothing:
        uniform = log_z - jnp.mean(logits, axis=-1)
        loss = (1.0 - label_smoothing) * loss + label_smoothing * uniform
    z = z_loss * log_z**2
    correct = (target >= jnp.max(logits, axis=-1)).astype(jnp.float32)
    return Sums(*(jnp.sum(x * weights) for x in (loss + z, z, correct, jnp.ones_like(weights))))


def chunked(
    hidden: Float[Array, 'G M D'],
    labels: Int[Array, 'G M'],
    *,
    weights: Float[Array, 'G M'],
    logits: Callable[[Float[Array, 'G m D']], Float[Array, 'G m V']],
    training: TrainingConfig,
) -> Sums:
    """`cross_entropy` over chunks of a group's positions; backward makes a chunk's logits again.

    Args:
      logits: the output head; called inside the scan, so that its weight's gradient is added up in f32.
      training: smoothing, z-loss, and `loss_chunk`, the positions of a group whose logits exist at once.
    """

    def sums(hidden, labels, weights):
        return cross_entropy(
            logits(hidden), labels, weights, z_loss=training.z_loss, label_smoothing=training.label_smoothing
        )

    positions = labels.shape[1]
    pieces = -(-positions // training.loss_chunk)
    if pieces == 1:
        return sums(hidden, labels, weights)
    size = -(-positions // pieces)
    pad = pieces * size - positions

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(x.shape[0], pieces, size, *x.shape[2:]), 1, 0)

    def body(total: Sums, piece):
        return jax.tree.map(jnp.add, total, jax.checkpoint(sums)(*piece)), None

    zero = Sums(*(jnp.zeros((), jnp.float32) for _ in range(4)))
    return jax.lax.scan(body, zero, jax.tree.map(split, (hidden, labels, weights)))[0]
