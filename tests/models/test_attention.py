"""Attention: visibility, the dense reference against loops, and every kernel against the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax.config import MeshConfig
from flan_jax.models import attention
from flan_jax.models.splash import Reach, splash
from flan_jax.parallel import mesh as mesh_lib


def operands(batch=2, queries=12, keys=12, *, heads=4, kv_heads=2, width=8, dtype=jnp.float32):
    """Query, key and value."""
    shapes = [(batch, queries, heads, width), (batch, keys, kv_heads, width), (batch, keys, kv_heads, width)]
    draws = [jax.random.normal(key, shape) for key, shape in zip(jax.random.split(jax.random.key(0), 3), shapes)]
    return (draws[0] * width**-0.5).astype(dtype), draws[1].astype(dtype), draws[2].astype(dtype)


def rows(*lengths, total):
    """Segments of one row: `rows(2, 1, total=4)` is [1 1 2 0]."""
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    return np.pad(segments, (0, total - len(segments)))


def loops(query, key, value, *, mask, bias=None):
    """Attention by the book, in f64, one query and head at a time."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, queries, heads, _ = query.shape
    group = heads // key.shape[2]
    out = np.zeros_like(query)
    for b in range(batch):
        for t in range(queries):
            seen = np.flatnonzero(mask[b, t])
            for n in range(heads):
                scores = key[b, seen, n // group] @ query[b, t, n]
                if bias is not None:
                    scores = scores + np.asarray(bias, np.float64)[b % len(bias), n, t, seen]
                shares = np.exp(scores - scores.max())
                out[b, t, n] = shares / shares.sum() @ value[b, seen, n // group]
    return out


def value_and_gradients(attend, query, key, value, *, weights):
    """Output, and gradients of its weighted sum by query, key and value."""

    def total(query, key, value):
        out = attend(query, key, value)
        return jnp.sum(out.astype(jnp.float32) * weights), out

    (_, out), grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(query, key, value)
    return out, *grads


def assert_near(found, expected, *, share):
    """Equal up to a share of the expected values' largest."""
    for x, y in zip(found, expected, strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        np.testing.assert_allclose(x, y, rtol=0, atol=share * np.abs(y).max())


def test_packed_examples_see_their_own_past_only():
    mask = attention.packed(jnp.array([[1, 1, 2, 2, 0]]), causal=True).mask[0]
    expected = ['x....', 'xx...', '..x..', '..xx.', '....x']
    assert [''.join('x' if seen else '.' for seen in row) for row in mask.tolist()] == expected


@pytest.mark.parametrize('causal', [True, False])
def test_dense_attention_on_packed_rows_is_what_loops_compute(causal):
    query, key, value = operands()
    segments = jnp.array([rows(5, 3, total=12), rows(1, 11, total=12)])
    visibility = attention.packed(segments, causal=causal)
    found = attention.dense(query, key, value, visibility=visibility)
    np.testing.assert_allclose(found, loops(query, key, value, mask=np.asarray(visibility.mask)), atol=1e-6)


def test_queries_of_one_side_see_the_keys_of_their_segment_on_the_other():
    query, key, value = operands(queries=6, keys=12)
    segments = jnp.array([rows(2, 4, total=6), rows(3, 3, total=6)]), jnp.array([rows(7, 5, total=12)] * 2)
    visibility = attention.packed(*segments, causal=False)
    found = attention.dense(query, key, value, visibility=visibility)
    np.testing.assert_allclose(found, loops(query, key, value, mask=np.asarray(visibility.mask)), atol=1e-6)


@pytest.mark.parametrize('batch', [1, 2])
def test_a_bias_is_added_to_the_scores_of_its_head(batch):
    query, key, value = operands()
    bias = jax.random.normal(jax.random.key(1), (batch, 4, 12, 12))
    visibility = attention.packed(jnp.array([rows(5, 7, total=12), rows(12, total=12)]), causal=True)
    found = attention.dense(query, key, value, visibility=visibility, bias=bias)
    np.testing.assert_allclose(found, loops(query, key, value, mask=np.asarray(visibility.mask), bias=bias), atol=1e-6)


def test_grouped_queries_are_repeated_keys_and_values():
    query, key, value = operands(kv_heads=2)
    visibility = attention.packed(jnp.array([rows(5, 7, total=12)] * 2), causal=True)
    grouped = attention.dense(query, key, value, visibility=visibility)
    repeated = (jnp.repeat(x, 2, axis=2) for x in (key, value))
    np.testing.assert_allclose(grouped, attention.dense(query, *repeated, visibility=visibility), atol=1e-6)


def test_a_changed_example_leaves_its_neighbour_bit_equal():
    visibility = attention.packed(jnp.array([rows(5, 7, total=12)] * 2), causal=False)
    attend = jax.jit(lambda *x: attention.dense(*x, visibility=visibility))
    before = operands()
    after = tuple(x.at[:, :5].multiply(-3.0) for x in before)
    found, expected = attend(*after), attend(*before)
    assert (np.asarray(found[:, 5:]) == np.asarray(expected[:, 5:])).all()
    assert not np.allclose(found[:, :5], expected[:, :5])


def test_no_gradient_reaches_a_later_key_or_value():
    query, key, value = operands(batch=1)
    visibility = attention.packed(jnp.array([rows(12, total=12)]), causal=True)

    def at(t):
        return lambda key, value: jnp.sum(attention.dense(query, key, value, visibility=visibility)[:, t] ** 2)

    for t in (0, 4, 11):
        for grad in jax.grad(at(t), argnums=(0, 1))(key, value):
            touched = np.abs(np.asarray(grad)).sum(axis=(0, 2, 3)) > 0
            if t:  # the only visible key has all of the softmax, whatever its score
                assert touched[: t + 1].all()
            assert not touched[t + 1 :].any()


def test_branches_of_a_prompt_are_as_if_each_came_alone():
    query, key, value = operands(batch=1, queries=7, keys=7)
    visibility = attention.branched(jnp.ones((1, 7), jnp.int32), jnp.array([[0, 0, 0, 1, 1, 2, 2]]))
    together = attention.dense(query, key, value, visibility=visibility)
    for branch in ([3, 4], [5, 6]):
        own = np.array([0, 1, 2, *branch])
        alone = attention.packed(jnp.ones((1, 5), jnp.int32), causal=True)
        expected = attention.dense(*(x[:, own] for x in (query, key, value)), visibility=alone)
        np.testing.assert_allclose(together[:, own], expected, atol=1e-6)


def test_branches_of_another_example_are_not_seen():
    segments, branches = jnp.array([[1, 1, 1, 2, 2]]), jnp.array([[0, 1, 2, 0, 1]])
    mask = attention.branched(segments, branches).mask[0]
    expected = ['x....', 'xx...', 'x.x..', '...x.', '...xx']
    assert [''.join('x' if seen else '.' for seen in row) for row in mask.tolist()] == expected


def test_a_cached_query_sees_the_slots_up_to_its_own():
    query, key, value = operands()
    full = attention.packed(jnp.ones((2, 12), jnp.int32), causal=True)
    expected = attention.dense(query, key, value, visibility=full)
    at = jnp.array([[4, 5], [9, 10]])
    last = jnp.take_along_axis(query, at[:, :, None, None], axis=1)
    # Slots behind a row's end hold what an earlier, longer generation left there.
    behind = (jnp.arange(12)[None] > at[:, -1:])[:, :, None, None]
    left = (jnp.where(behind, 1e3, x) for x in (key, value))
    found = attention.dense(last, *left, visibility=attention.cached(at, 12))
    np.testing.assert_allclose(found, jnp.take_along_axis(expected, at[:, :, None, None], axis=1), atol=1e-6)


def test_splash_refuses_what_it_cannot_express():
    query, key, value = operands()
    visibility = attention.packed(jnp.ones((2, 12), jnp.int32), causal=True)
    for bad in ((visibility, jnp.zeros((1, 4, 12, 12))), (attention.Visibility(visibility.mask), None)):
        with pytest.raises(ValueError, match='no bias and no free mask; use execution.attention=auto'):
            attention.attend(query, key, value, visibility=bad[0], bias=bad[1], kernel='splash')


def test_an_unknown_kernel_is_named():
    query, key, value = operands()
    visibility = attention.packed(jnp.ones((2, 12), jnp.int32), causal=True)
    with pytest.raises(ValueError, match="no attention kernel 'flash'"):
        attention.attend(query, key, value, visibility=visibility, bias=None, kernel='flash')


SPLASH_CASES = {
    'causal, grouped': dict(tokens=(256, 256), heads=(4, 2), width=64, causal=True),
    'both ways, grouped, wide heads': dict(tokens=(128, 128), heads=(4, 1), width=128, causal=False),
    'cross': dict(tokens=(128, 256), heads=(2, 2), width=64, causal=False),
    'no whole blocks, wide heads': dict(tokens=(200, 200), heads=(2, 2), width=128, causal=True),
}


@pytest.mark.parametrize('case', SPLASH_CASES.values(), ids=SPLASH_CASES.keys())
def test_splash_is_dense_attention_forward_and_backward(case):
    (t, s), (n, k), causal = case['tokens'], case['heads'], case['causal']
    query, key, value = operands(queries=t, keys=s, heads=n, kv_heads=k, width=case['width'])
    segments = tuple(jnp.array([rows(x // 4, x // 2, total=x), rows(x // 3, x - x // 3, total=x)]) for x in (t, s))
    visibility = attention.packed(*segments, causal=causal)
    weights = _weights(query, segments[0])
    found = value_and_gradients(
        lambda *x: splash(*x, segments=segments, reach=Reach(causal), interpret=True),
        *(query, key, value),
        weights=weights,
    )
    expected = value_and_gradients(
        lambda *x: attention.dense(*x, visibility=visibility), query, key, value, weights=weights
    )
    assert_near(found, expected, share=1e-5)


def _weights(query, segments):
    """Random weights for the outputs; none for padding."""
    draws = jax.random.normal(jax.random.key(2), query.shape)
    return jnp.where((segments > 0)[:, :, None, None], draws, 0.0)


def test_splash_leaves_a_changed_example_s_neighbour_bit_equal():
    segments = jnp.array([rows(50, 70, total=128)] * 2)
    attend = jax.jit(lambda *x: splash(*x, segments=(segments, segments), reach=Reach(True), interpret=True))
    before = operands(queries=128, keys=128, heads=2, kv_heads=2, width=64)
    found, expected = attend(*(x.at[:, :50].multiply(-3.0) for x in before)), attend(*before)
    assert (np.asarray(found[:, 50:]) == np.asarray(expected[:, 50:])).all()


MESHES = [dict(data=2, fsdp=2, tensor=2), dict(data=1, fsdp=2, context=2, tensor=2)]


@pytest.mark.skipif(jax.device_count() != 8, reason='needs 8 devices, virtual ones will do')
@pytest.mark.parametrize('mesh', MESHES, ids=str)
def test_splash_on_a_mesh_is_dense_attention_on_one_device(mesh):
    segments = jnp.array([rows(50 + i, 150 - i, total=256) for i in range(8)])
    query, key, value = operands(batch=8, queries=256, keys=256, heads=4, kv_heads=2, width=64)
    visibility, weights = attention.packed(segments, causal=True), _weights(query, segments)
    expected = value_and_gradients(
        lambda *x: attention.dense(*x, visibility=visibility), query, key, value, weights=weights
    )
    with jax.set_mesh(mesh_lib.make(MeshConfig(**mesh))):
        found = value_and_gradients(
            lambda *x: splash(*x, segments=(segments, segments), reach=Reach(True), interpret=True),
            query, key, value, weights=weights,
        )  # fmt: skip
    assert not found[0].sharding.is_fully_replicated
    assert_near(found, expected, share=1e-5)


@pytest.mark.parametrize(
    ('changes', 'kernel'),
    [
        ({}, 'cudnn'), ({'dtype': jnp.float32}, 'dense'), ({'width': 136}, 'dense'), ({'width': 12}, 'dense'),
        ({'queries': 33}, 'dense'), ({'keys': 33}, 'dense'), ({'queries': 1}, 'dense'),
    ],
)  # fmt: skip
def test_on_a_gpu_auto_takes_cudnn_where_it_can_be_had(changes, kernel, monkeypatch):
    asked = {'queries': 32, 'keys': 32, 'width': 64, 'dtype': jnp.bfloat16} | changes
    query, key, value = operands(**asked)
    taken = []
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(jax.nn, 'dot_product_attention', lambda query, *_, **__: taken.append('cudnn') or query)
    visibility = attention.Visibility(jnp.ones((2, query.shape[1], key.shape[1]), bool))
    attention.attend(query, key, value, visibility=visibility, bias=None, kernel='auto')
    assert taken == (['cudnn'] if kernel == 'cudnn' else [])


@pytest.mark.gpu
@pytest.mark.parametrize('causal', [True, False])
def test_cudnn_is_dense_attention_forward_and_backward(causal):
    if jax.default_backend() != 'gpu':
        pytest.skip('cuDNN attention needs a GPU')
    query, key, value = operands(queries=256, keys=256, heads=4, kv_heads=2, width=64, dtype=jnp.bfloat16)
    segments = jnp.array([rows(64, 128, total=256), rows(85, 171, total=256)])
    visibility, weights = attention.packed(segments, causal=causal), _weights(query, segments)

    def run(kernel):
        return value_and_gradients(
            lambda *x: attention.attend(*x, visibility=visibility, bias=None, kernel=kernel),
            query, key, value, weights=weights,
        )  # fmt: skip

    assert_near(run('cudnn'), run('dense'), share=2e-2)  # a bf16 has 8 bits
