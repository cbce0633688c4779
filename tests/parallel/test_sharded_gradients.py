"""The gradient of a step is the same however weights, rows and texts are split over eight devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding

from flan_jax import errors
from flan_jax.batch import Batch, Rows
from flan_jax.config import MeshConfig, TrainingConfig
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import ExecutionConfig, ExpertsConfig, ModelConfig
from flan_jax.models.weight_tree import flat
from flan_jax.parallel import axes
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state, step

DENSE = ModelConfig(vocab_size=64, layers=2, width=32, heads=4, kv_heads=4, head_width=8, mlp_width=48)
SPARSE = dataclasses.replace(
    DENSE, experts=ExpertsConfig(count=4, chosen=2, width=12, shared_width=16, balance=0.05)
)  # no row of a token is dropped, so that a split changes nothing
MODELS = {'dense': DENSE, 'sparse': SPARSE}
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
TRAINING = TrainingConfig(steps=1, batch_rows=8, loss_chunk=8)
ROWS, WIDTH = 8, 16
QUICK = {'xla_backend_optimization_level': 0, 'xla_cpu_use_fusion_emitters': False}
LORA = AdapterConfig(kind='lora', rank=2, alpha=2.0)


def batch(groups: int) -> Batch:
    """Two examples a row and padding; the loss is on another number of tokens in each row."""
    draw = np.random.default_rng(1)
    segments = np.repeat([1, 2, 0], [7, 6, 3])
    places = np.concatenate([np.arange(7), np.arange(6), np.zeros(3, np.int64)])
    tokens = draw.integers(1, 64, (ROWS, WIDTH)) * (segments > 0)
    counted = draw.random((ROWS, WIDTH)) < np.linspace(0.1, 0.9, ROWS)[:, None]
    weights = (counted & (segments > 0)).reshape(1, groups, -1)
    supervised = np.broadcast_to(np.arange(weights.shape[-1]), weights.shape)
    labels = draw.integers(0, 64, (ROWS, WIDTH)).reshape(weights.shape)
    rows = Rows(*(np.broadcast_to(x, (1, ROWS, WIDTH)).astype(np.int32) for x in (tokens, segments, places)))
    return Batch(rows, None, supervised.astype(np.int32), labels.astype(np.int32), weights.astype(np.float32))


def gradients(model: ModelConfig, *, adapter: AdapterConfig | None = None, **sizes: int) -> tuple[float, dict, dict]:
    """Loss, gradient and where the weights lie, on a mesh of these sizes."""
    devices = int(np.prod(list(sizes.values()) or [1]))
    if jax.device_count() < devices:
        pytest.skip(f'needs {devices} devices')
    mesh = mesh_lib.make(MeshConfig(**{'data': 1} | sizes), jax.devices()[:devices])
    bones, draw = state.skeleton(model, EXACT), np.random.default_rng(0)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return draw.normal(size=leaf.shape).astype(np.float32) * (0.3 if len(leaf.shape) > 2 else 1.0)

    placed = state.shardings(bones, optax.identity(), mesh=mesh).params
    params = jax.tree.map(lambda leaf, where: jax.device_put(drawn(leaf), where), bones.shapes, placed)
    whole = lambda params: params  # noqa: E731
    if adapter is not None:
        base, parts = params, state.Skeleton(bones.graph, *adapters.parts(adapter, bones.shapes, axes=bones.axes))
        params = jax.tree.map(
            lambda leaf, where: jax.device_put(drawn(leaf), where), parts.shapes, state.weight_shardings(parts, mesh)
        )
        whole = functools.partial(adapters.assemble, base, config=adapter, axes=bones.axes)
    split = NamedSharding(mesh, axes.spec(('microbatch', 'batch', 'position')))
    here = jax.tree.map(lambda x: jax.device_put(x, split), batch(mesh.shape['data'] * mesh.shape['fsdp']))
    run = functools.partial(step.gradients, graph=bones.graph, key=None, training=TRAINING, whole=whole)
    with jax.set_mesh(mesh):
        sums, found = jax.jit(run, compiler_options=QUICK)(params, batch=here)
    return float(sums.loss), flat(jax.tree.map(np.asarray, found)), flat(placed)


@pytest.fixture(scope='module')
def alone():
    return {name: gradients(model) for name, model in MODELS.items()}


def check(found: tuple, expected: tuple) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, ours in found[1].items():
        largest = np.abs(expected[1][name]).max()
        assert largest > 0, name
        np.testing.assert_allclose(ours, expected[1][name], atol=1e-5 * largest, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    'sizes',
    [{'tensor': 2, 'context': 2}, {'fsdp': 2, 'context': 2, 'tensor': 2}, {'context': 4}],
    ids=str,
)
@pytest.mark.parametrize('name', MODELS)
def test_texts_and_weights_split_at_once_give_the_gradient_of_one_device(name, sizes, alone):
    check(gradients(MODELS[name], **sizes), alone[name])


@pytest.mark.parametrize('sizes', [{'tensor': 4}, {'data': 2, 'fsdp': 2, 'tensor': 2}], ids=str)
def test_experts_are_split_by_whole_ones_and_give_the_gradient_of_one_device(sizes, alone):
    found = gradients(SPARSE, **sizes)
    check(found, alone['sparse'])
    ways = 'tensor'
    for part in ('gate', 'up', 'down'):
        assert found[2][f'stack.blocks.mlp.{part}'].spec[1] == ways
        whole = (2, 4, 32, 12)
        assert found[2][f'stack.blocks.mlp.{part}'].shard_shape(whole)[1] == 4 // sizes['tensor']


def test_experts_that_do_not_divide_are_told_with_the_remedy():
    model = dataclasses.replace(SPARSE, experts=dataclasses.replace(SPARSE.experts, count=6))
    with pytest.raises(errors.ConfigError, match=r"mlp\.down: axis 'experts' of size 6 does not .* mesh\.tensor that"):
        gradients(model, tensor=4)


def test_an_adapter_on_experts_has_the_gradient_of_one_device():
    check(gradients(SPARSE, adapter=LORA, fsdp=2, tensor=2), gradients(SPARSE, adapter=LORA))


def test_attention_over_a_split_text_sees_all_of_it(alone):
    """What `context` splits are activations; a mask or a phase that took a part for the whole would show here."""
    loss = gradients(DENSE, context=2)[0]
    assert loss == pytest.approx(alone['dense'][0], rel=1e-6)
    assert not jnp.isnan(loss)
