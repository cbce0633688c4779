"""The loss: the formula, at supervised positions only, whatever the chunks, the packing and the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.config import TrainingConfig
from flan_jax.decoding.score import Request, Scorer
from flan_jax.training import loss, step

WIRINGS = ['rope', 'relative_bias', 'encoder_decoder']
CHUNKS = [1, 7, 20, 64]


def random(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def labels_of(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 16, shape), jnp.int32)


@pytest.mark.parametrize(('smoothing', 'z_loss'), [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.2, 1e-3)])
def test_cross_entropy_is_its_formula(smoothing, z_loss):
    logits, labels = 3 * random(0, 5, 16), labels_of(1, 5)
    weights = jnp.asarray([1.0, 0.0, 1.0, 0.5, 1.0])
    got = loss.cross_entropy(logits, labels, weights, z_loss=z_loss, label_smoothing=smoothing)
    x, w = np.asarray(logits, np.float64), np.asarray(weights)
    log_z = np.log(np.exp(x).sum(axis=-1))
    log_p = x - log_z[:, None]
    truth = np.full((5, 16), smoothing / 16)
    truth[np.arange(5), labels] += 1 - smoothing
    z = z_loss * log_z**2
    np.testing.assert_allclose(got.loss, (w * (-(truth * log_p).sum(axis=-1) + z)).sum(), rtol=1e-5)
    np.testing.assert_allclose(got.z, (w * z).sum(), rtol=1e-5)
    assert got.correct == (w * (x.argmax(axis=-1) == np.asarray(labels))).sum()
    assert got.weight == w.sum()


def value_and_gradient(chunk: int, weights):
    table = random(2, 16, 8)

    def total(hidden, table):
        sums = loss.chunked(
            hidden, labels_of(4, 2, 20), weights=weights, logits=lambda h: jnp.einsum('GMD,VD->GMV', h, table),
            training=TrainingConfig(loss_chunk=chunk, z_loss=1e-3, label_smoothing=0.1),
        )  # fmt: skip
        return sums.loss, sums

    return jax.grad(total, argnums=(0, 1), has_aux=True)(random(3, 2, 20, 8), table)


@pytest.mark.parametrize('chunk', CHUNKS)
def test_chunks_change_neither_sums_nor_gradients(chunk):
    weights = jnp.asarray(np.random.default_rng(5).integers(0, 2, (2, 20)), jnp.float32)
    got, expected = value_and_gradient(chunk, weights), value_and_gradient(10_000, weights)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_positions_of_weight_0_give_nothing_and_get_no_gradient():
    weights = jnp.asarray(np.random.default_rng(5).integers(0, 2, (2, 20)), jnp.float32)
    (hidden_gradient, _), _ = value_and_gradient(7, weights)
    np.testing.assert_array_equal(np.any(np.asarray(hidden_gradient) != 0, axis=-1), np.asarray(weights) > 0)
    logits, labels = random(0, 6, 16), labels_of(1, 6)
    half = jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    other = jnp.concatenate([logits[:3], 9 * logits[3:]]), jnp.concatenate([labels[:3], 1 + labels[3:] % 15])
    same = [loss.cross_entropy(*pair, half, z_loss=0.1, label_smoothing=0.1) for pair in ((logits, labels), other)]
    assert jax.tree.map(float, vars(same[0])) == jax.tree.map(float, vars(same[1]))


def test_only_hidden_states_at_supervised_positions_get_a_gradient():
    supervised = jnp.asarray([[1, 7, 7], [4, 0, 11]], jnp.int32)  # two groups of two rows of 6
    gradient = jax.grad(lambda hidden: jnp.sum(loss.take(hidden, supervised)))(random(0, 4, 6, 3))
    reached = np.asarray(gradient)[..., 0].reshape(2, 12)
    expected = np.zeros((2, 12))
    for group, places in enumerate(np.asarray(supervised)):
        np.add.at(expected[group], places, 1)
    np.testing.assert_array_equal(reached, expected)


@pytest.fixture(scope='module')
def sums(toys, weights, quick):
    """(wiring, batch) -> loss sums of its first microbatch; one compilation a shape."""
    training = TrainingConfig(steps=1, loss_chunk=16)
    compiled = {
        name: quick(lambda params, part, graph=toy.bones.graph: step.microbatch_sums(
            params, graph, part=part, key=None, training=training
        ))
        for name, toy in toys.items()
    }  # fmt: skip
    return lambda name, batch: compiled[name](weights(name), jax.tree.map(lambda x: x[0], batch))


@pytest.fixture(scope='module')
def logits(toys, weights, quick):
    """(wiring, sides of rows) -> logits at every position."""

    def make(graph):
        def run(params, *sides):
            model = nnx.merge(graph, params)
            return model.logits(model(*sides))

        return quick(run)

    compiled = {name: make(toy.bones.graph) for name, toy in toys.items()}
    return lambda name, *sides: np.asarray(compiled[name](weights(name), *sides))


def test_supervised_positions_of_the_loader_are_where_full_logits_predict_the_targets(toys, logits, sums, mesh):
    toy = toys['rope']
    plan = toy.plan()
    batch = toy.batches(plan, mesh(), 1)[0]
    rows = jax.tree.map(lambda x: x[0], batch.rows)
    log_p = logits('rope', rows).astype(np.float64)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    total, count = 0.0, 0
    for row in range(toy.training.batch_rows):
        at = 0
        for i in range(plan.row_starts[row], plan.row_starts[row + 1]):
            split = toy.splits[plan.tasks[plan.task[i]]]
            context, target = split.spans.reshape(-1, 2)[plan.example[i]]
            ids = split.tokens[split.token_starts[plan.example[i]] :][: context + target]
            np.testing.assert_array_equal(rows.tokens[row, at : at + context + target], ids)
            for t in range(context, context + target):
                total -= log_p[row, at + t - 1, ids[t]]
                count += 1
            at += context + target
    got = sums('rope', batch)
    assert got.weight == count
    np.testing.assert_allclose(got.loss, total, rtol=1e-5)


@pytest.mark.parametrize('wiring', WIRINGS)
def test_a_packed_loss_is_the_sum_of_its_examples_own_losses(toys, sums, mesh, wiring):
    toy, found = toys[wiring], []
    for pack in (True, False):
        plan = toy.plan(pack=pack, epochs=0.3)
        batch = toy.batches(plan, mesh(), 1, batch_rows=len(plan))[0]
        found.append((len(plan), sums(wiring, batch)))
    (rows, packed), (examples, alone) = found
    assert rows < 0.75 * examples
    assert packed.weight == alone.weight
    np.testing.assert_allclose(packed.loss, alone.loss, rtol=1e-5)
    np.testing.assert_array_equal(packed.correct, alone.correct)


def test_an_evaluation_loss_does_not_change_with_the_batch_or_with_empty_rows(toys, sums, mesh):
    toy = toys['rope']
    plan = toy.plan(rows=36)
    means = []
    for rows in (36, 20, 12):  # 20: the last batch is short of 4 rows
        parts = [sums('rope', b) for b in toy.batches(plan, mesh(), -(-36 // rows), batch_rows=rows)]
        total = jax.tree.map(lambda *x: sum(x), *parts)
        means.append((float(total.loss / total.weight), float(total.correct / total.weight), float(total.weight)))
    np.testing.assert_allclose(means[1:], means[:1] * 2, rtol=1e-5)


def test_option_scores_do_not_change_with_the_batch(toys, weights, mesh):
    generator = np.random.default_rng(0)
    draw = lambda n: generator.integers(1, 64, n).tolist()  # noqa: E731
    requests = [Request(draw(generator.integers(2, 20)), (draw(2), draw(5))) for _ in range(12)]
    scores = [
        np.concatenate(Scorer(toys['rope'].bones.graph, mesh(), False, tokens)(weights('rope'), requests))
        for tokens in (64, 1024)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


@pytest.mark.parametrize('wiring', WIRINGS)
def test_changing_one_example_of_a_row_leaves_the_others_logits_bit_equal(toys, logits, mesh, wiring):
    toy = toys[wiring]
    part = jax.tree.map(lambda x: x[0], toy.batches(toy.plan(), mesh(), 1, batch_rows=4)[0])
    sides = (part.rows,) if part.encoder is None else (part.rows, part.encoder)

    def changed(rows, segment):
        return dataclasses.replace(
            rows, tokens=jnp.where(rows.segments == segment, (rows.tokens + 1) % 64, rows.tokens)
        )

    before, segments = logits(wiring, *sides), np.asarray(part.rows.segments)
    assert segments.max(axis=1).min() >= 2
    for segment in (1, 2):
        after = logits(wiring, *(changed(rows, segment) for rows in sides))
        same = (segments != segment) & (segments > 0)
        np.testing.assert_array_equal(after[same], before[same])
        assert np.all(np.any(after[segments == segment] != before[segments == segment], axis=-1))
