"""Positions: RoPE against float64, T5's buckets against the paper's rule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax.models.positions import relative_buckets, rope_phases, rotate

LAST = 8191


def float64_phases(width: int, theta: float) -> np.ndarray:
    frequencies = theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    return np.arange(LAST + 1, dtype=np.float64)[:, None] * frequencies


@pytest.mark.parametrize('theta', [10_000.0, 500_000.0])
def test_rope_phases_stay_within_a_thousandth_of_float64_up_to_position_8191(theta):
    cos, sin = rope_phases(jnp.arange(LAST + 1)[None], width=64, theta=theta)
    exact = float64_phases(64, theta)
    assert cos.dtype == sin.dtype == jnp.float32
    assert np.abs(np.asarray(cos[0], np.float64) - np.cos(exact)).max() < 1e-3
    assert np.abs(np.asarray(sin[0], np.float64) - np.sin(exact)).max() < 1e-3


def test_rope_phases_never_go_through_a_matrix_product():
    # Whose f32 operands a TPU rounds to bf16 and a GPU may round to TF32.
    jaxpr = jax.make_jaxpr(lambda at: rope_phases(at, width=64, theta=1e4))(jnp.arange(8)[None])
    assert 'dot_general' not in str(jaxpr)


def test_rotating_bf16_vectors_loses_no_more_than_bf16_rounding_at_any_position():
    at = jnp.array([[0, 1, 1000, 4095, LAST]])
    x = jax.random.normal(jax.random.key(0), (1, 5, 2, 64)).astype(jnp.bfloat16)
    turned = rotate(x, rope_phases(at, width=64, theta=10_000.0))
    phases = float64_phases(64, 10_000.0)[np.asarray(at[0])][:, None, :]
    first, second = np.split(np.asarray(x[0], np.float64), 2, axis=-1)
    exact = np.concatenate(
        [first * np.cos(phases) - second * np.sin(phases), second * np.cos(phases) + first * np.sin(phases)], axis=-1
    )
    assert turned.dtype == jnp.bfloat16
    assert np.abs(np.asarray(turned[0], np.float64) - exact).max() <= 2**-8 * np.abs(exact).max() + 4e-3


def test_rotated_scores_depend_on_distance_alone():
    query, key = jax.random.normal(jax.random.key(1), (2, 1, 1, 1, 64))

    def score(at_query, at_key):
        turned = [
            rotate(x, rope_phases(jnp.array([[at]]), width=64, theta=10_000.0))
            for x, at in ((query, at_query), (key, at_key))
        ]
        return float(jnp.sum(turned[0] * turned[1]))

    assert score(7, 3) == pytest.approx(score(4007, 4003), abs=0.01)
    assert score(7, 3) != pytest.approx(score(3, 7), abs=0.01)


def paper_bucket(distance: int, *, buckets: int, max_distance: int, causal: bool) -> int:
    """Raffel et al. 2020, section 2.1: own buckets for near distances, logarithmic ones up to the last."""
    first = 0
    if not causal:
        buckets //= 2
        first = buckets if distance > 0 else 0
        past = abs(distance)
    else:
        past = max(-distance, 0)
    exact = buckets // 2
    if past < exact:
        return first + past
    share = math.log(past / exact) / math.log(max_distance / exact)
    return first + min(exact + int(share * (buckets - exact) + 1e-6), buckets - 1)


@pytest.mark.parametrize('causal', [True, False])
@pytest.mark.parametrize('buckets, max_distance', [(32, 128), (8, 16), (32, 256)])
def test_buckets_follow_the_papers_rule_at_every_distance(causal, buckets, max_distance):
    distances = np.arange(-600, 601)
    got = relative_buckets(jnp.asarray(distances), buckets=buckets, max_distance=max_distance, causal=causal)
    rule = [paper_bucket(int(d), buckets=buckets, max_distance=max_distance, causal=causal) for d in distances]
    np.testing.assert_array_equal(got, rule)
    assert set(rule) <= set(range(buckets)) and max(rule) == buckets - 1
