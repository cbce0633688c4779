"""Optax optimizers and schedules, told which axes of a weight make its matrix.

Weights here are stacked over layers and keep heads apart, [L D N H]. Optimizers that treat a weight as a matrix
(adafactor's row and column statistics, muon's orthogonalisation) must see what the papers saw: one [D, N H] matrix a
layer. The logical axes say how: `layers` is a batch, `head` belongs to the heads before it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flan_jax.config import OptimizerConfig, ScheduleConfig

Axes = Mapping[str, Any]  # a tree of axis-name tuples, shaped like the weights

HEADS = ('heads', 'kv_heads')
NOT_MATRICES = ('norm', 'buckets', 'vocab')  # axes of norms, bias tables and embeddings


def schedule(config: ScheduleConfig, *, peak: float, steps: int) -> optax.Schedule:
    """Step (from 0) -> learning rate.

    Linear warm-up over `warmup_steps`, then: constant; linear or cosine to `final_share`; rsqrt (peak at the end of
    the warm-up, then falling as 1/sqrt(step)); wsd (constant, then linear over the last `decay_share` of the steps).
    """
    warm, final = config.warmup_steps, config.final_share * peak
    rest = max(steps - warm, 1)
    match config.name:
        case 'constant':
            after = optax.constant_schedule(peak)
        case 'linear':
            after = optax.linear_schedule(peak, final, rest)
        case 'cosine':
            after = optax.cosine_decay_schedule(peak, rest, alpha=config.final_share)
        case 'rsqrt':
            start = float(max(warm, 1))
            after = lambda step: peak * (start / (start + step)) ** 0.5  # noqa: E731
        case 'wsd':
            decay = max(round(config.decay_share * steps), 1)
            stable = max(rest - decay, 0)
            after = optax.join_schedules(
                [optax.constant_schedule(peak), optax.linear_schedule(peak, final, decay)], [stable]
            )
    if not warm:
        return after
    # The first step already learns: warm-up step i has (i + 1) / (warm + 1) of the peak.
    rise = optax.linear_schedule(peak / (warm + 1), peak, warm)
    return optax.join_schedules([rise, after], [warm])


def adam_ratio(config: OptimizerConfig) -> float:
    """Of muon: the rate of what is no matrix, as a multiple of the matrices' rate.

    >>> adam_ratio(OptimizerConfig(learning_rate=2.0, adam_learning_rate=1.0))
    0.5
    """
    return 1.0 if config.adam_learning_rate is None else config.adam_learning_rate / config.learning_rate


def table(rate: optax.Schedule, steps: int) -> jax.Array:
    """A schedule's learning rates, f32[steps]."""
    rates = jax.vmap(lambda step: jnp.asarray(rate(step), jnp.float32))
    return jax.jit(rates)(jnp.arange(steps))


def make(
    config: OptimizerConfig, axes: Axes, *, steps: int | None = None, rates: jax.Array | None = None
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of a run and its learning-rate schedule.

    Args:
      config: which and how.
      axes: logical axes of every weight.
      steps: of the whole run, which the schedule may need.
      rates: the learning rate of every step as `table` gives it, instead of the config's schedule; may be traced.
    """
    if rates is None:
        rate = schedule(config.schedule, peak=config.learning_rate, steps=steps)
    else:
        rate = lambda step: rates[step]  # noqa: E731
    decayed = _map(lambda a: not set(a) & {'norm', 'buckets'}, axes)
    match config.name:
        case 'adamw':
            tx = optax.adamw(rate, config.b1, config.b2, config.eps, weight_decay=config.weight_decay, mask=decayed)
        case 'lion':
            tx = optax.lion(rate, config.b1, config.b2, weight_decay=config.weight_decay, mask=decayed)
        case 'adafactor':
            tx = _adafactor(axes, rate, weight_decay=config.weight_decay or None, decayed=decayed)
        case 'muon':
            ratio = adam_ratio(config)
            adam_rate = rate if ratio == 1 else lambda step: ratio * rate(step)  # schedules scale with their peak
            tx = optax.contrib.muon(
                rate, beta=config.momentum, eps=config.eps,
                weight_decay=config.weight_decay, weight_decay_mask=decayed,
                adam_b1=config.b1, adam_b2=config.b2, adam_learning_rate=adam_rate,
                muon_weight_dimension_numbers=_map(_matrix, axes),
                consistent_rms=0.2,  # as large as Adam's: one learning rate serves both (Liu et al. 2025)
            )  # fmt: skip
            if config.weight_decay:  # optax's own decay of the Adam part knows no mask and would shrink norms
                embeddings = _map(lambda a: 'vocab' in a, axes)
                shrink = optax.add_decayed_weights(lambda step: -config.weight_decay * adam_rate(step), embeddings)
                tx = optax.chain(tx, shrink)
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm is not None else []
    return optax.chain(*clip, tx), rate


def _map(function, axes: Axes) -> Any:
    return jax.tree.map(function, axes, is_leaf=lambda a: isinstance(a, tuple))


def _matrix(axes: tuple[str, ...]) -> optax.contrib.MuonDimensionNumbers | None:
    """Which axes muon sums over and which it gives; None for what is no matrix."""
    if set(axes) & set(NOT_MATRICES):
        return None
    inner = [i for i, axis in enumerate(axes) if axis not in ('layers', 'experts')]
    if axes[-1] == 'head':  # [D, N H]
        return optax.contrib.MuonDimensionNumbers((inner[0],), tuple(inner[1:]))
    return optax.contrib.MuonDimensionNumbers(tuple(inner[:-1]), (inner[-1],))


def _adafactor(axes: Axes, rate: optax.Schedule, *, weight_decay: float | None, decayed: Any):
    """Adafactor with T5's settings (Shazeer & Stern 2018; Raffel et al. 2020): no momentum, decay 1 - t^-0.8, updates
    clipped at RMS 1 and scaled by each weight's own RMS, all of it for each layer's matrix by itself.

    Weights of one stack share their number of layers and are mapped over it; the others go in as they are.
    """

    def layered(axes: tuple[str, ...]) -> str:
        return 'stacked' if axes[0] == 'layers' else 'single'

    plain = optax.adafactor(learning_rate=None, weight_decay_rate=None)
    labels = _map(layered, axes)
    inner = optax.partition({'single': plain, 'stacked': _each_layer(plain)}, labels)
    decay = [optax.add_decayed_weights(-weight_decay, decayed)] if weight_decay else []
    # optax's adafactor already turns the sign, so the rate is a plain factor.
    scale = optax.scale_by_schedule(rate)
    return _as_matrices(optax.chain(inner, *decay, scale), axes)


def _each_layer(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies a transformation to every layer of stacked weights by itself, leaf by leaf (stacks may differ in L)."""

    def init(params):
        leaves = jax.tree.leaves(params)
        return [jax.vmap(tx.init)(leaf) for leaf in leaves]

    def update(updates, state, params=None):
        leaves, tree = jax.tree.flatten(updates)
        done = [jax.vmap(tx.update)(u, s, p) for u, s, p in zip(leaves, state, jax.tree.leaves(params))]
        return tree.unflatten([u for u, _ in done]), [s for _, s in done]

    return optax.GradientTransformation(init, update)


def _as_matrices(tx: optax.GradientTransformation, axes: Axes) -> optax.GradientTransformation:
    """Shows a transformation each weight with its head axis merged into the heads."""

    def merge(axes: tuple[str, ...], x: jax.Array) -> jax.Array:
        if 'head' not in axes:
            return x
        i = axes.index('head')
        return x.reshape(*x.shape[: i - 1], x.shape[i - 1] * x.shape[i], *x.shape[i + 1 :])

    def merged(tree: Any) -> Any:
        return jax.tree.map(merge, axes, tree, is_leaf=lambda a: isinstance(a, tuple))

    def update(updates, state, params=None):
        out, state = tx.update(merged(updates), state, merged(params))
        return jax.tree.map(lambda u, like: u.reshape(like.shape), out, updates), state

    return optax.GradientTransformation(lambda params: tx.init(merged(params)), update)


def moments_like(params: Any, state: Any) -> Any:
    """For every leaf of an optimizer state: the place of the weight it mirrors, or None.

    A leaf mirrors a weight if it has its shape and its path ends with the weight's.
    """
    weights = {jax.tree_util.keystr(path): (path, leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def match(path, leaf):
        for start in range(len(path)):
            key = jax.tree_util.keystr(path[start:])
            if key in weights and np.shape(leaf) == np.shape(weights[key][1]):
                return key
        return None

    return jax.tree_util.tree_map_with_path(match, state)


def global_norm(tree: Any) -> jax.Array:
    """Root of the sum of squares, in f32."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(tree)))
