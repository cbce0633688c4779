"""Optimizers see each layer's matrix as the papers did; schedules meet their corners; moments lie by their weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flan_jax.config import OptimizerConfig, ScheduleConfig
from flan_jax.training import optimizer
from flan_jax.training import state as state_lib

D, N, H = 128, 2, 64  # adafactor factors matrices from 128 on
AXES = {
    'query': ('layers', 'embed', 'heads', 'head'),
    'output': ('layers', 'heads', 'head', 'embed'),
    'other': ('layers', 'embed', 'kv_heads', 'head'),  # a stack of another depth
    'up': ('layers', 'embed', 'mlp'),
    'norm': ('layers', 'norm'),
    'bias': ('buckets', 'heads'),
    'table': ('vocab', 'embed'),
}
SHAPES = {
    'query': (3, D, N, H), 'output': (3, N, H, D), 'other': (2, D, N, H), 'up': (3, D, 16), 'norm': (3, D),
    'bias': (8, N), 'table': (130, D),
}  # fmt: skip
MATRICES = {'query': (D, N * H), 'output': (N * H, D), 'other': (D, N * H), 'up': (D, 16)}
NAMES = ['adamw', 'adafactor', 'lion', 'muon']
CONSTANT = ScheduleConfig(name='constant')


@pytest.fixture(autouse=True)
def relaxed(strict):
    """Optax raises Python floats to its integer step counts, and adds scalars to arrays."""
    with jax.numpy_dtype_promotion('standard'), jax.numpy_rank_promotion('allow'):
        yield


def tree(seed: int) -> dict:
    generator = np.random.default_rng(seed)
    return {name: jnp.asarray(generator.standard_normal(shape, np.float32) / 8) for name, shape in SHAPES.items()}


@pytest.fixture
def updating(quick):
    """Optimizer -> (params, two gradients) -> two updates (the second has a history), the state after the first."""

    def make(tx):
        def run(params, gradients):
            first, state = tx.update(gradients[0], tx.init(params), params)
            second, _ = tx.update(gradients[1], state, optax.apply_updates(params, first))
            return first, second, state

        return quick(run)

    return make


def made(name: str, **changes) -> optax.GradientTransformation:
    config = OptimizerConfig(name=name, learning_rate=0.01, clip_norm=None, schedule=CONSTANT)
    return optimizer.make(dataclasses.replace(config, **changes), AXES, steps=10)[0]


REFERENCES = {
    'adafactor': lambda: optax.adafactor(learning_rate=0.01, weight_decay_rate=None),
    'muon': lambda: optax.contrib.muon(0.01, beta=0.95, eps=1e-8, consistent_rms=0.2),
}


@pytest.mark.parametrize('name', list(REFERENCES))
def test_a_stack_is_updated_as_each_layers_matrix_by_itself_would_be(updating, name):
    params, gradients = tree(0), [tree(1), tree(2)]
    got, alone_updated = updating(made(name))(params, gradients), updating(REFERENCES[name]())
    for weight, shape in MATRICES.items():
        for layer in range(SHAPES[weight][0]):
            alone = [{'w': t[weight][layer].reshape(shape)} for t in (params, *gradients)]
            expected = alone_updated(alone[0], alone[1:])
            for ours, theirs in zip(got[:2], expected[:2]):
                np.testing.assert_allclose(
                    ours[weight][layer].reshape(shape), theirs['w'], rtol=2e-4, atol=1e-7, err_msg=f'{weight}[{layer}]'
                )


def test_adafactor_treats_what_is_no_stack_as_it_is(updating):
    params, gradients = tree(0), [tree(1), tree(2)]
    got, alone_updated = updating(made('adafactor'))(params, gradients), updating(REFERENCES['adafactor']())
    for weight in ('table', 'bias'):
        expected = alone_updated({'w': params[weight]}, [{'w': g[weight]} for g in gradients])
        for ours, theirs in zip(got[:2], expected[:2]):
            np.testing.assert_allclose(ours[weight], theirs['w'], rtol=1e-4, atol=1e-7)


def test_adafactor_keeps_rows_and_columns_of_each_layers_matrix_only():
    state = made('adafactor').init(tree(0))
    largest = max(np.size(leaf) for leaf in jax.tree.leaves(state))
    assert largest <= 3 * D * 16  # `up` is too thin to be factored; [3 D N H] would be eight times that


@pytest.mark.parametrize('name', NAMES)
def test_weight_decay_shrinks_matrices_and_embeddings_and_never_norms_and_biases(quick, name):
    params = tree(0)
    zero = jax.tree.map(jnp.zeros_like, params)
    tx = made(name, weight_decay=0.1)
    got, _ = quick(lambda p: tx.update(zero, tx.init(p), p))(params)
    for weight in params:
        expected = 0 * params[weight] if weight in ('norm', 'bias') else -0.01 * 0.1 * params[weight]
        np.testing.assert_allclose(got[weight], expected, rtol=1e-4, atol=1e-9, err_msg=weight)


@pytest.mark.parametrize('name', NAMES)
def test_every_optimizer_goes_downhill(quick, name):
    goal = tree(0)
    params = jax.tree.map(jnp.add, goal, tree(3))
    tx = made(name, learning_rate=0.03, clip_norm=1.0)

    def distance(params) -> float:
        return float(optimizer.global_norm(jax.tree.map(lambda a, b: a - b, params, goal)))

    state, before, update = tx.init(params), distance(params), quick(tx.update)
    for _ in range(8):
        gradient = jax.tree.map(lambda a, b: a - b, params, goal)
        change, state = update(gradient, state, params)
        params = optax.apply_updates(params, change)
    assert distance(params) < 0.9 * before


@pytest.mark.parametrize(('clip', 'scale', 'expected'), [(0.5, 1e3, 0.5), (0.5, 1e-3, None), (None, 1e3, None)])
def test_gradients_are_clipped_by_their_global_norm(updating, clip, scale, expected):
    gradient = jax.tree.map(lambda g: scale * g, tree(1))
    norm = float(optimizer.global_norm(gradient))
    _, _, state = updating(made('adamw', clip_norm=clip, b1=0.9))(tree(0), [gradient, gradient])
    first_moment = next(s.mu for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, 'mu')) if hasattr(s, 'mu'))
    assert float(optimizer.global_norm(first_moment)) == pytest.approx(0.1 * (expected or norm), rel=1e-4)


CORNERS = [
    # name, warm-up, {step: share of the peak}, of 100 steps with final_share 0.1 and decay_share 0.2
    ('constant', 0, {0: 1.0, 50: 1.0, 99: 1.0}),
    ('linear', 0, {0: 1.0, 50: 0.55, 100: 0.1, 200: 0.1}),
    ('cosine', 0, {0: 1.0, 50: 0.55, 100: 0.1, 200: 0.1}),
    ('rsqrt', 0, {0: 1.0, 3: 0.5, 99: 0.1}),
    ('wsd', 0, {0: 1.0, 80: 1.0, 90: 0.55, 100: 0.1}),
    ('constant', 9, {0: 0.1, 4: 0.5, 9: 1.0, 50: 1.0}),
    ('linear', 10, {0: 1 / 11, 10: 1.0, 55: 0.55, 100: 0.1}),
    ('cosine', 10, {0: 1 / 11, 5: 6 / 11, 10: 1.0, 55: 0.55, 100: 0.1}),
    ('rsqrt', 25, {0: 1 / 26, 25: 1.0, 100: 0.5}),
    ('wsd', 10, {0: 1 / 11, 10: 1.0, 80: 1.0, 90: 0.55, 100: 0.1}),
]


@pytest.mark.parametrize(('name', 'warmup', 'corners'), CORNERS)
def test_schedules_meet_their_corners(name, warmup, corners):
    config = ScheduleConfig(name=name, warmup_steps=warmup, final_share=0.1, decay_share=0.2)
    rate = optimizer.schedule(config, peak=2.0, steps=100)
    for step, share in corners.items():
        assert float(rate(jnp.asarray(step))) == pytest.approx(2.0 * share, rel=1e-5), f'{name} at {step}'


@pytest.mark.parametrize('name', ['constant', 'linear', 'cosine', 'rsqrt', 'wsd'])
def test_the_first_step_learns_and_no_step_is_above_the_peak(name):
    rate = optimizer.schedule(ScheduleConfig(name=name, warmup_steps=5, final_share=0.1), peak=1.0, steps=20)
    rates = np.array([float(rate(jnp.asarray(step))) for step in range(20)])
    assert rates[0] > 0 and rates.max() <= 1.0 + 1e-6 and rates.argmax() in range(4, 20)
    assert np.all(np.diff(rates[:6]) > 0)


def bones_of(toys, width: int) -> state_lib.Skeleton:
    model = dataclasses.replace(toys['encoder_decoder'].model, width=width, mlp_width=width)
    return state_lib.skeleton(model, state_lib.ExecutionConfig())


@pytest.mark.parametrize('name', ['adamw', 'lion', 'muon'])
def test_moments_lie_where_their_weights_lie(toys, mesh, name):
    bones = bones_of(toys, 32)
    tx, _ = optimizer.make(OptimizerConfig(name=name, learning_rate=1e-3), bones.axes, steps=10)
    placed = state_lib.shardings(bones, tx, mesh=mesh(2, 4))
    moments = jax.eval_shape(tx.init, bones.shapes)
    mirrored = jax.tree.leaves(optimizer.moments_like(bones.shapes, moments), is_leaf=lambda key: key is None)
    weights = {jax.tree_util.keystr(p): s for p, s in jax.tree_util.tree_leaves_with_path(placed.params)}
    lying = list(zip(jax.tree.leaves(moments), mirrored, jax.tree.leaves(placed.moments), strict=True))
    shapes = {leaf.shape for leaf in jax.tree.leaves(bones.shapes)}
    assert all(key is not None for leaf, key, _ in lying if leaf.shape in shapes)
    assert all(where == weights[key] if key else where.is_fully_replicated for _, key, where in lying)
    assert {key for _, key, _ in lying if key} == set(weights)
    assert sum(not where.is_fully_replicated for _, _, where in lying) > 15


def test_factored_statistics_lie_everywhere_and_weights_do_not(toys, mesh):
    bones = bones_of(toys, 128)
    tx, _ = optimizer.make(OptimizerConfig(name='adafactor', learning_rate=1e-3), bones.axes, steps=10)
    placed = state_lib.shardings(bones, tx, mesh=mesh(2, 4))
    lying = [
        where
        for path, where in jax.tree_util.tree_leaves_with_path(placed.moments)
        if 'v_row' in jax.tree_util.keystr(path) or 'v_col' in jax.tree_util.keystr(path)
    ]
    assert len(lying) > 20 and all(where.is_fully_replicated for where in lying)
    assert not placed.params['encoder']['blocks']['mlp']['up'].is_fully_replicated


def test_a_moment_of_another_shape_than_its_weight_mirrors_nothing():
    params = {'a': {'w': np.zeros((2, 3))}, 'w': np.zeros((2, 3))}
    state = {'mu': params, 'v_row': {'a': {'w': np.zeros(2)}, 'w': np.zeros(2)}, 'count': np.zeros(())}
    assert optimizer.moments_like(params, state) == {
        'mu': {'a': {'w': "['a']['w']"}, 'w': "['w']"}, 'v_row': {'a': {'w': None}, 'w': None}, 'count': None,
    }  # fmt: skip


def test_the_global_norm_is_taken_in_f32():
    big = {'a': jnp.full((4, 4), 300.0, jnp.bfloat16), 'b': jnp.full(9, 1.0, jnp.float32)}
    norm = optimizer.global_norm(big)
    assert norm.dtype == jnp.float32
    assert float(norm) == pytest.approx((16 * 300.0**2 + 9) ** 0.5, rel=1e-6)


def test_muon_sees_each_expert_of_a_layer_as_a_matrix_of_its_own():
    numbers = optimizer._matrix(('layers', 'experts', 'embed', 'expert_mlp'))
    assert (numbers.reduction_axis, numbers.output_axis) == ((2,), (3,))
