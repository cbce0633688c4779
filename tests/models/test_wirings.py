"""Both wirings: who influences whom, packing, scan, remat, grouped queries, dropout, heads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.models import attention
from flan_jax.models.blocks import Surroundings
from flan_jax.models.config import ExecutionConfig
from flan_jax.models.layers import dropout
from flan_jax.training import state

SEGMENTS = np.array([1, 1, 1, 2, 2, 2, 2, 0])  # a row of two examples and padding
ENCODER_SEGMENTS = np.array([1, 1, 2, 2, 2, 0])


def distinct_rows(pack, *, first: int, segments: np.ndarray):
    """One row whose tokens all differ, so that a row of the embedding's gradient is a position's."""
    ids = np.arange(first, first + len(segments))
    rows = pack([[ids[segments == s].tolist() for s in (1, 2)]], len(segments))
    return dataclasses.replace(rows, tokens=jnp.asarray(ids, jnp.int32)[None])


def influence(toy, *sides) -> np.ndarray:
    """[T V] size of the derivative of each position's hidden state by each token's embedding."""
    probe = jax.random.normal(jax.random.key(3), (toy.config.width,))

    def outputs(table):
        params = toy.params | {'embedding': {'table': table}}
        return jnp.einsum('BTD,D->T', toy.merged(params)(*sides), probe)

    return np.linalg.norm(jax.jit(jax.jacrev(outputs))(toy.params['embedding']['table']), axis=-1)


def test_a_position_is_influenced_by_its_own_examples_past_and_by_nothing_else(toy, pack):
    rows = distinct_rows(pack, first=1, segments=SEGMENTS)
    encoder = distinct_rows(pack, first=20, segments=ENCODER_SEGMENTS)
    got = influence(toy, rows, encoder) if toy.config.encoder_decoder else influence(toy, rows)
    index = np.arange(len(SEGMENTS))
    sees = (SEGMENTS[:, None] == SEGMENTS) & (index <= index[:, None])
    real = SEGMENTS > 0
    np.testing.assert_array_equal(got[real, 1 : 1 + len(SEGMENTS)] > 0, sees[real])
    if toy.config.encoder_decoder:
        sees = SEGMENTS[:, None] == ENCODER_SEGMENTS
        np.testing.assert_array_equal(got[real, 20 : 20 + len(ENCODER_SEGMENTS)] > 0, sees[real])


EXAMPLES = [[5, 9, 2], [7, 7, 1, 30, 4], [11, 3]]
CONTEXTS = [[21, 22, 23, 24], [40], [33, 34, 35]]


def hidden(toy, rows, encoder=None, **options):
    model = toy.merged(toy.params)
    return model(rows, **options) if encoder is None else model(rows, encoder, **options)


def test_packed_hidden_states_equal_those_of_each_example_in_a_row_of_its_own(toy, pack):
    rows = pack([EXAMPLES, *[[e] for e in EXAMPLES]], 12)
    contexts = pack([CONTEXTS, *[[c] for c in CONTEXTS]], 12) if toy.config.encoder_decoder else None
    got = jax.jit(lambda rows, contexts: hidden(toy, rows, contexts))(rows, contexts)
    at = 0
    for i, example in enumerate(EXAMPLES):
        np.testing.assert_allclose(got[0, at : at + len(example)], got[i + 1, : len(example)], atol=2e-5)
        at += len(example)


def objective(toy, execution, *sides):
    """A scalar of all hidden states, and its gradient by all weights."""
    graph = state.skeleton(toy.config, execution).graph

    def value(params):
        return jnp.sum(jnp.sin(nnx.merge(graph, params)(*sides)))

    return jax.jit(jax.value_and_grad(value))(toy.params)


@pytest.mark.parametrize('name', ['rope', 'encoder_decoder'])
def test_remat_and_unroll_change_neither_values_nor_gradients(toys, name, pack):
    toy = toys[name]
    sides = [pack([EXAMPLES], 12)] + ([pack([CONTEXTS], 12)] if toy.config.encoder_decoder else [])
    plain = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
    variants = [dataclasses.replace(plain, remat='full', unroll=2)]
    if name == 'rope':
        variants += [dataclasses.replace(plain, remat=remat) for remat in ('attention', 'minimal')]
    value, gradients = objective(toy, plain, *sides)
    for variant in variants:
        other, others = objective(toy, variant, *sides)
        np.testing.assert_allclose(other, value, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4), others, gradients)


def test_the_scanned_stack_equals_its_blocks_one_after_the_other(toys):
    toy = toys['relative_bias']
    x = jax.random.normal(jax.random.key(0), (1, 6, toy.config.width))
    model = toy.merged(toy.params)
    visibility = attention.packed(jnp.ones((1, 6), jnp.int32), causal=True)
    index = jnp.arange(6)[None]
    around = Surroundings(visibility, bias=model.relative_bias(index, index))

    @jax.jit
    def one_by_one(x):
        graph, stacked = nnx.split(model.stack.blocks)
        for layer in range(toy.config.layers):
            x, _ = nnx.merge(graph, jax.tree.map(lambda w: w[layer], stacked))(x, around)  # noqa: B023
        return model.stack.norm(x)

    scanned, _ = jax.jit(lambda x: model.stack(x, around))(x)
    np.testing.assert_allclose(scanned, one_by_one(x), atol=1e-5)


def test_grouped_queries_equal_full_heads_with_each_key_head_repeated(toys, make, pack):
    toy = toys['rope']
    full = dataclasses.replace(toy.config, kv_heads=toy.config.heads)
    params = jax.tree.map(lambda x: x, toy.params)
    own = params['stack']['blocks']['attention']
    for name in ('key', 'value'):  # [L D K H]
        own[name] = jnp.repeat(own[name], toy.config.heads // toy.config.kv_heads, axis=2)
    rows = pack([EXAMPLES], 12)
    other = dataclasses.replace(make(full), params=params)
    assert not np.array_equal(own['key'][:, :, 0], own['key'][:, :, 2])
    grouped, whole = (jax.jit(lambda rows, t=t: hidden(t, rows))(rows) for t in (toy, other))
    np.testing.assert_allclose(grouped[0, :10], whole[0, :10], atol=1e-5)


@pytest.mark.parametrize('name', ['rope', 'encoder_decoder'])
def test_dropout_is_off_without_a_key_and_repeatable_with_one(toys, name, make, pack):
    plain = toys[name]
    dropping = make(dataclasses.replace(plain.config, dropout=0.3))
    sides = [pack([EXAMPLES], 12)] + ([pack([CONTEXTS], 12)] if plain.config.encoder_decoder else [None])
    off = jax.jit(lambda: (hidden(plain, *sides), hidden(dropping, *sides)))()
    np.testing.assert_array_equal(*off)
    on = jax.jit(lambda key: hidden(dropping, *sides, key=key))
    first, again, other = on(jax.random.key(1)), on(jax.random.key(1)), on(jax.random.key(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 and np.abs(first - off[0]).max() > 0.1


def test_dropout_keeps_the_expectation_by_scaling_what_is_left():
    rate = 0.25
    kept = np.asarray(dropout(jnp.ones((200, 200)), rate, key=jax.random.key(0)))
    np.testing.assert_allclose(np.unique(kept), [0.0, 1 / (1 - rate)], rtol=1e-6)
    assert kept.mean() == pytest.approx(1.0, abs=5 * np.sqrt(rate / (1 - rate) / kept.size))
    assert dropout(jnp.ones(3, jnp.bfloat16), rate, key=jax.random.key(0)).dtype == jnp.bfloat16


def test_a_tied_head_is_the_embedding_and_an_untied_one_a_weight_of_its_own(toys, make):
    x = jax.random.normal(jax.random.key(0), (1, 3, toys['rope'].config.width))
    tied, untied = toys['rope'], toys['relative_bias']
    assert 'head' not in tied.params
    np.testing.assert_allclose(tied.merged(tied.params).logits(x), x @ tied.params['embedding']['table'].T, atol=1e-5)
    np.testing.assert_allclose(untied.merged(untied.params).logits(x), x @ untied.params['head']['kernel'], atol=1e-5)
    scaled = make(dataclasses.replace(toys['encoder_decoder'].config, tied_embeddings=True))
    expected = x @ scaled.params['embedding']['table'].T / np.sqrt(scaled.config.width, dtype=np.float32)
    np.testing.assert_allclose(scaled.merged(scaled.params).logits(x), expected, atol=1e-5)


def test_logits_are_f32_under_bf16_compute(toys, make, pack):
    toy = make(toys['rope'].config, ExecutionConfig(attention='dense'))
    rows = pack([EXAMPLES], 12)
    shapes = jax.eval_shape(lambda: (lambda h: (h, toy.merged(toy.params).logits(h)))(hidden(toy, rows)))
    assert [s.dtype for s in shapes] == [jnp.bfloat16, jnp.float32]


def test_rope_angles_are_f32_under_bf16_compute(toys, make, pack):
    toy = make(toys['rope'].config, ExecutionConfig(attention='dense', remat='none'))
    jaxpr = jax.make_jaxpr(lambda rows: hidden(toy, rows))(pack([EXAMPLES], 12))
    turns = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ('cos', 'sin')]
    assert len(turns) == 2 and all(eqn.invars[0].aval.dtype == jnp.float32 for eqn in turns)
