"""The step: one gradient whatever the cut, one curve, no NaN that stays, and masks that come again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flan_jax.config import OptimizerConfig, ScheduleConfig
from flan_jax.data.planning import Plan
from flan_jax.models.config import ExecutionConfig, ExpertsConfig
from flan_jax.training import optimizer, step
from flan_jax.training import state as state_lib
from flan_jax.training.state import TrainState

EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
STEPS = 10
RATE = 0.1
# Devices along data, along fsdp, and microbatches.
CUTS = {'rope': [(1, 1, 4), (2, 1, 2), (1, 4, 1), (8, 1, 2), (2, 4, 1)], 'encoder_decoder': [(2, 4, 2)]}
CASES = [(wiring, cut) for wiring, cuts in CUTS.items() for cut in cuts]


def keeping() -> optax.GradientTransformation:
    """Gradient descent that keeps the last gradient as its state, for the test to look at."""

    def update(gradient, state, params=None):
        del state, params
        return jax.tree.map(lambda g: -RATE * g, gradient), gradient

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def jitted(toy, tx, mesh, *, quick, dropout_seed=None):
    placed = state_lib.shardings(toy.bones, tx, mesh=mesh)
    run = step.make(
        toy.bones.graph, tx, training=toy.training, schedule=optax.constant_schedule(RATE), dropout_seed=dropout_seed
    )
    return placed, quick(run, out_shardings=(placed, None))


def begin(params, tx, placed) -> TrainState:
    zero = np.zeros((), np.int32)
    return jax.device_put(TrainState(zero, params, tx.init(jax.tree.map(jnp.asarray, params)), zero), placed)


@pytest.fixture(scope='module')
def curve(toys, weights, mesh, quick):
    """(wiring, cut) -> first gradient, metrics of every step, last weights."""

    @functools.cache
    def steps(wiring: str, cut: tuple[int, int, int]):
        return jitted(toys[wiring], keeping(), mesh(*cut[:2]), quick=quick)

    def run(wiring: str, cut: tuple[int, int, int], plan: Plan | None = None) -> tuple[dict, list[dict], dict]:
        toy, here = toys[wiring], mesh(*cut[:2])
        placed, run = steps(wiring, cut)
        with jax.set_mesh(here):
            state, metrics, first = begin(weights(wiring), keeping(), placed), [], None
            for batch in toy.batches(plan or toy.plan(), here, STEPS, microbatches=cut[2]):
                state, told = run(state, batch)
                first = jax.tree.map(np.asarray, state.moments) if first is None else first
                metrics.append({name: value.item() for name, value in told.items()})
        return first, metrics, jax.tree.map(np.asarray, state.params)

    return run


def close(ours, theirs, tolerance: float = 1e-5) -> None:
    """Relative to the largest number of each array: single elements near 0 are sums that cancel."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope='module')
def alone(curve):
    """Wiring -> what one device makes of whole batches."""
    return functools.cache(lambda wiring: curve(wiring, (1, 1, 1)))


@pytest.mark.parametrize(('wiring', 'cut'), CASES)
def test_gradient_and_curve_are_the_same_for_any_number_of_microbatches_and_devices(curve, alone, wiring, cut):
    gradient, metrics, params = curve(wiring, cut)
    expected_gradient, expected, expected_params = alone(wiring)
    close(gradient, expected_gradient)
    close(params, expected_params, 1e-4)
    assert expected[-1]['loss'] < 0.97 * expected[0]['loss']  # it does learn, so the curve says something
    np.testing.assert_allclose(metrics[0]['gradient_norm'], expected[0]['gradient_norm'], rtol=1e-5)
    for ours, theirs in zip(metrics, expected, strict=True):
        for name in ('batch_hash', 'supervised_tokens', 'tokens', 'nonfinite'):
            assert ours[name] == theirs[name]
        np.testing.assert_allclose(ours['loss'], theirs['loss'], rtol=1e-5)


def test_the_parts_of_a_batch_are_uneven_so_that_a_mean_of_means_would_show(toys, mesh):
    batch = toys['rope'].batches(toys['rope'].plan(), mesh(4), 1, microbatches=4)[0]
    counts = np.asarray(batch.weights).sum(axis=-1)
    assert counts.shape == (4, 4) and counts.max() > 1.5 * counts.min()


def permuted(plan: Plan, rows: int) -> Plan:
    """The first `rows` rows the other way round."""
    order = np.concatenate([np.arange(rows)[::-1], np.arange(rows, len(plan))])
    picked = [np.arange(plan.row_starts[r], plan.row_starts[r + 1]) for r in order]
    starts = np.concatenate([[0], np.cumsum([len(p) for p in picked])])
    index = np.concatenate(picked)
    return dataclasses.replace(
        plan, row_starts=starts, task=plan.task[index], example=plan.example[index],
        row_supervised=plan.row_supervised[order],
    )  # fmt: skip


def test_rows_in_another_order_give_the_same_gradient_and_another_hash(toys, curve, alone):
    toy = toys['rope']
    turned = permuted(toy.plan(), toy.training.batch_rows)
    gradient, metrics, _ = curve('rope', (2, 4, 1), turned)
    close(gradient, alone('rope')[0])
    assert metrics[0]['batch_hash'] != alone('rope')[1][0]['batch_hash']
    assert metrics[1]['batch_hash'] == alone('rope')[1][1]['batch_hash']


def relaxed():
    """Optax raises Python floats to its integer step counts."""
    return jax.numpy_dtype_promotion('standard')


def equal(ours, theirs) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))


@pytest.fixture(scope='module')
def adam(toys, weights, mesh, quick):
    """(batches, state after one step, jitted step) of a toy under Adam and clipping."""
    toy, here = toys['rope'], mesh(2, 2)
    config = OptimizerConfig(learning_rate=1e-2, schedule=ScheduleConfig(name='constant'))
    tx, _ = optimizer.make(config, toy.bones.axes, steps=STEPS)
    placed, run = jitted(toy, tx, here, quick=quick)

    def go(state, batch):
        with relaxed(), jax.numpy_rank_promotion('raise'), jax.set_mesh(here):
            return run(state, batch)

    batches = toy.batches(toy.plan(), here, 3, microbatches=2)
    fresh = begin(weights('rope'), tx, placed)
    return batches, fresh, go(fresh, batches[0])[0], go


@pytest.mark.parametrize('poison', [np.nan, np.inf])
def test_a_poisoned_batch_is_counted_and_leaves_weights_and_moments_bit_equal(adam, poison):
    batches, _, state, run = adam
    bad = dataclasses.replace(batches[1], weights=batches[1].weights * np.float32(poison))
    once, metrics = run(state, bad)
    assert equal((once.params, once.moments), (state.params, state.moments))
    assert (int(once.step), int(once.nonfinite), metrics['nonfinite'].item()) == (2, 1, 1)
    twice, _ = run(once, bad)
    assert int(twice.nonfinite) == 2
    healed, metrics = run(twice, batches[2])
    assert int(healed.nonfinite) == 0 and np.isfinite(metrics['loss'].item())
    assert not equal(healed.params, state.params)


def test_a_batch_with_no_supervised_token_has_a_zero_gradient_and_changes_no_weight(adam):
    batches, fresh, _, run = adam
    empty = dataclasses.replace(batches[0], weights=jnp.zeros_like(batches[0].weights))
    state, metrics = run(fresh, empty)
    assert metrics['gradient_norm'].item() == metrics['loss'].item() == metrics['supervised_tokens'].item() == 0.0
    assert equal(state.params, fresh.params)
    assert all(not np.any(m) for m in jax.tree.leaves(state.moments) if np.ndim(m))
    assert (int(state.step), int(state.nonfinite)) == (1, 0)


def test_a_batch_past_the_end_of_the_plan_is_empty(toys, mesh):
    toy = toys['encoder_decoder']
    batch = toy.batches(toy.plan(rows=20), mesh(2), 2)[1]  # 4 rows of 16 are left
    tokens = np.asarray(batch.rows.segments)[0].sum(axis=1)
    assert np.all(tokens[:4] > 0) and not np.any(tokens[4:])
    assert not np.any(np.asarray(batch.weights)[0, 1]) and np.any(np.asarray(batch.weights)[0, 0])


def test_a_rate_of_a_millionth_moves_f32_masters_under_bf16_compute(toys, weights, mesh, quick):
    toy = toys['rope']
    toy = dataclasses.replace(toy)
    vars(toy)['bones'] = state_lib.skeleton(toy.model, ExecutionConfig(compute_dtype='bfloat16', remat='none'))
    config = OptimizerConfig(learning_rate=1e-6, schedule=ScheduleConfig(name='constant'))
    tx, _ = optimizer.make(config, toy.bones.axes, steps=1)
    here = mesh()
    placed, run = jitted(toy, tx, here, quick=quick)
    with relaxed(), jax.set_mesh(here):
        before = begin(weights('rope'), tx, placed)
        after, _ = run(before, toy.batches(toy.plan(), here, 1)[0])
    for (path, new), old in zip(jax.tree_util.tree_leaves_with_path(after.params), jax.tree.leaves(before.params)):
        name = jax.tree_util.keystr(path)
        assert new.dtype == np.float32, name
        assert np.mean(np.asarray(new) != np.asarray(old)) > 0.9, name
        # No more than the update: rounding to bf16 and back would be a thousand times as much.
        assert np.abs(np.asarray(new) - np.asarray(old)).max() < 3e-6, name
        kept = jnp.asarray(new, jnp.bfloat16) == jnp.asarray(old, jnp.bfloat16)
        assert np.mean(kept) > 0.9, f'{name}: bf16 masters would not have lost the update, so this shows nothing'


@pytest.fixture(scope='module')
def dropping(toys, weights, quick):
    """Mesh -> (state, jitted step) of a toy with dropout."""
    toy = dataclasses.replace(
        toys['rope'],
        model=dataclasses.replace(toys['rope'].model, dropout=0.3),
        training=dataclasses.replace(toys['rope'].training, microbatches=2),
    )

    @functools.cache
    def make(mesh):
        tx = keeping()
        placed, run = jitted(toy, tx, mesh, quick=quick, dropout_seed=11)
        return toy, begin(weights('rope'), tx, placed), placed, run

    return make


def test_dropout_comes_again_after_a_restart_and_on_other_devices(dropping, mesh):
    ends, losses = [], []
    for here in (mesh(), mesh(2, 2)):
        toy, state, placed, run = dropping(here)
        with jax.set_mesh(here):
            batches = toy.batches(toy.plan(), here, 4)
            told = []
            for i, batch in enumerate(batches):
                if i == 2:  # as a checkpoint does: to the host, and back
                    saved = jax.tree.map(np.asarray, state)
                state, metrics = run(state, batch)
                told.append(metrics['loss'].item())
            again = jax.device_put(saved, placed)
            for batch in batches[2:]:
                again, _ = run(again, batch)
            assert equal(again, state)
        ends.append(jax.tree.map(np.asarray, state.params))
        losses.append(told)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    close(ends[1], ends[0], 1e-4)


def test_dropout_masks_differ_by_step_and_by_microbatch(dropping, mesh):
    toy, state, _, run = dropping(mesh())
    with jax.set_mesh(mesh()):
        batch = toy.batches(toy.plan(), mesh(), 1)[0]
        loss = lambda step, batch: run(  # noqa: E731
            dataclasses.replace(state, step=jnp.asarray(step, jnp.int32)), batch
        )[1]['loss'].item()
        swapped = jax.tree.map(lambda x: x[::-1], batch)  # the same rows under the other microbatch's masks
        assert loss(0, batch) == loss(0, batch)
        assert len({loss(0, batch), loss(1, batch), loss(2, batch), loss(0, swapped)}) == 4


def test_the_balance_of_experts_is_part_of_what_is_minimised(toys, mesh, quick):
    """And no part of it where its weight is zero; experts that are used evenly cost as many as a token goes through."""
    toy, here = toys['rope'], mesh()
    batch = next(iter(toy.batches(toy.plan(), here, 1)))
    losses, gradients = {}, {}
    for share in (0.0, 0.5):
        model = dataclasses.replace(toy.model, experts=ExpertsConfig(count=4, chosen=2, width=16, balance=share))
        bones, tx = state_lib.skeleton(model, EXACT), optax.sgd(1.0)
        placed = state_lib.shardings(bones, tx, mesh=here)
        with jax.set_mesh(here):
            params = state_lib.fresh(model, EXACT, tx=tx, seed=0, placed=placed).params
            run = quick(functools.partial(step.gradients, graph=bones.graph, key=None, training=toy.training))
            sums, gradients[share] = run(params, batch=batch)
        losses[share] = float(sums.loss / sums.weight)
    assert losses[0.5] - losses[0.0] == pytest.approx(0.5 * 2, rel=0.3)
    changed = jax.tree.map(lambda a, b: not np.allclose(a, b), gradients[0.0], gradients[0.5])
    assert any(jax.tree.leaves(changed))
