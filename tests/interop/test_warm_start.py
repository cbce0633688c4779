"""A new run begins with another model's weights: all that fit, and an account of what did not."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

from flan_jax import errors
from flan_jax.config import CheckpointConfig, Config, MeshConfig, OptimizerConfig, TrainingConfig, to_dict
from flan_jax.data import vocabulary
from flan_jax.interop import gguf, hugging_face, warm_start
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import checkpoint, optimizer
from flan_jax.training import state as state_lib

MODEL = ModelConfig(
    vocab_size=320, layers=2, width=32, heads=2, kv_heads=1, head_width=16, mlp_width=64, max_length=256, norm_eps=1e-5
)
EXECUTION = ExecutionConfig(compute_dtype='float32')


def random_params(model: ModelConfig) -> dict:
    draw = np.random.default_rng(0)
    return nested({path: draw.normal(size=shape).astype(np.float32) for path, shape in flat_shapes(model).items()})


def write(kind: str, folder, *, dtype: str = 'float32') -> str:
    """The source of some kind; `dtype` of its numbers, but for a run's."""
    if kind == 'Hugging Face':
        hugging_face.save(folder / 'hf', random_params(MODEL), config=MODEL, dtype=dtype)
        return str(folder / 'hf')
    if kind == 'GGUF':
        vocabulary.train(['a few words to learn pieces from, and some more of them'] * 5, f'{folder}/v.model', size=280)
        path = str(folder / 'm.gguf')
        gguf.save(
            path, random_params(MODEL), config=MODEL, vocabulary=vocabulary.load(f'{folder}/v.model'),
            kind={'float32': 'F32', 'bfloat16': 'BF16'}[dtype],
        )  # fmt: skip
        return path
    config = Config(training=TrainingConfig(steps=1), model=MODEL, run_root=str(folder), name='run')
    bones = state_lib.skeleton(MODEL, EXECUTION)
    tx, _ = optimizer.make(OptimizerConfig(name='lion'), bones.axes, steps=1)
    params = jax.tree.map(jax.numpy.asarray, random_params(MODEL))
    zero = jax.numpy.zeros((), jax.numpy.int32)
    checkpoints = checkpoint.Checkpoints(config.run_dir, config.checkpoint)
    for step in (9, 10):
        scaled = jax.tree.map(lambda x, step=step: x * float(step == 10), params)  # the newest is the one
        state = state_lib.TrainState(zero + step, scaled, tx.init(params), zero)
        checkpoints.save(state, checkpoint.Description(step, 'plan', to_dict(config)))
    checkpoints.finish()
    checkpoints.close()
    return config.run_dir


def begin(source: str, model: ModelConfig, *, leave=()):
    config = Config(
        training=TrainingConfig(steps=1), execution=EXECUTION, model=model,
        checkpoint=CheckpointConfig(warm_start=source, warm_start_leave=leave),
    )  # fmt: skip
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    bones, tx = state_lib.skeleton(model, EXECUTION), optax.sgd(0.1)
    placed = state_lib.shardings(bones, tx, mesh=mesh)
    with jax.set_mesh(mesh):
        fresh = state_lib.fresh(model, EXECUTION, tx=tx, seed=0, placed=placed)
        random = jax.tree.map(np.asarray, fresh.params)
        state, account = warm_start.begin(fresh, config, model=model, mesh=mesh)
    assert jax.tree.map(lambda x: x.sharding, state.params) == placed.params
    assert int(state.step) == 0
    return jax.tree.map(np.asarray, state.params), account, random


@pytest.mark.parametrize('kind', ['GGUF', 'Hugging Face', 'run'])
def test_all_weights_are_taken_where_all_fit(kind, tmp_path):
    source = write(kind, tmp_path)
    params, account, _ = begin(source, dataclasses.replace(MODEL, dropout=0.1))
    jax.tree.map(np.testing.assert_array_equal, params, random_params(MODEL))
    assert account.told() == f'weights from {source}: {len(flat(params))} loaded, 0 partly, 0 skipped, 0 fresh'


@pytest.mark.parametrize('kind', ['GGUF', 'Hugging Face'])
def test_weights_of_bf16_files_become_f32_masters_and_a_step_of_a_millionth_outlives_a_restart(kind, tmp_path):
    narrow = lambda x: x.astype(jax.numpy.bfloat16)  # noqa: E731
    params, _, _ = begin(write(kind, tmp_path, dtype='bfloat16'), MODEL)
    np.testing.assert_array_equal(params['stack']['blocks']['mlp']['up'],
                 narrow(random_params(MODEL)['stack']['blocks']['mlp']['up']).astype(np.float32))  # fmt: skip
    tx, zero = optax.sgd(1e-6), jax.numpy.zeros((), jax.numpy.int32)
    updates, moments = tx.update(jax.tree.map(np.ones_like, params), tx.init(params))
    moved = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
    bones, mesh = state_lib.skeleton(MODEL, EXECUTION), mesh_lib.make(MeshConfig(), jax.devices()[:1])
    kept = checkpoint.Checkpoints(str(tmp_path / 'again'), CheckpointConfig())
    after = state_lib.TrainState(zero + 1, jax.tree.map(jax.numpy.asarray, moved), moments, zero)
    kept.save(after, checkpoint.Description(1, 'plan', {}))
    kept.finish()
    back = kept.restore(state_lib.shapes(bones, tx), state_lib.shardings(bones, tx, mesh=mesh), plan='plan')
    kept.close()
    for (name, old), new in zip(flat(params).items(), flat(back.params).values(), strict=True):
        assert old.dtype == new.dtype == np.float32, name
        assert np.mean(np.asarray(new) != old) > 0.9, name
        np.testing.assert_array_equal(np.asarray(new), flat(moved)[name], err_msg=name)
        assert np.mean(narrow(old) == narrow(new)) > 0.9, f'{name}: bf16 would have kept it, so this shows nothing'


@pytest.mark.parametrize(('rows', 'kept'), [(384, 320), (256, 256)])
def test_another_number_of_pieces_keeps_the_rows_both_have_and_adds_their_mean(rows, kept, tmp_path):
    params, account, _ = begin(write('Hugging Face', tmp_path), dataclasses.replace(MODEL, vocab_size=rows))
    table, expected = params['embedding']['table'], random_params(MODEL)['embedding']['table']
    np.testing.assert_array_equal(table[:kept], expected[:kept])
    np.testing.assert_allclose(table[kept:], np.tile(expected.mean(0), (rows - kept, 1)), atol=1e-6)
    assert f'partly: embedding.table, {kept} rows of {rows}' in account.told()


def test_a_head_of_its_own_stays_random_and_is_told(tmp_path):
    untied = dataclasses.replace(MODEL, tied_embeddings=False)
    params, account, random = begin(write('Hugging Face', tmp_path), untied)
    np.testing.assert_array_equal(params['head']['kernel'], random['head']['kernel'])
    assert account.told().endswith('0 partly, 0 skipped, 1 fresh\n  fresh: head.kernel')


def test_weights_may_be_left_where_they_are(tmp_path):
    params, account, random = begin(write('Hugging Face', tmp_path), MODEL, leave=('*.mlp.*', 'embedding.table'))
    ours, theirs, drawn = flat(params), flat(random_params(MODEL)), flat(random)
    for path in ours:
        left = '.mlp.' in path or path == 'embedding.table'
        np.testing.assert_array_equal(ours[path], (drawn if left else theirs)[path])
        assert (path in account.fresh) == (path in account.skipped) == left
    assert 'embedding.table' in account.told()


@pytest.mark.parametrize('kind', ['GGUF', 'Hugging Face', 'run'])
def test_another_model_is_refused_with_its_fields(kind, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"warm_start='.*' holds another model: model.layers=3, there 2"):
        begin(write(kind, tmp_path), dataclasses.replace(MODEL, layers=3))


def test_what_is_nothing_known_is_refused(tmp_path):
    with pytest.raises(errors.CheckpointError, match=r"is no .gguf file.*; nothing is there; 'smollm2' needs none"):
        begin(str(tmp_path / 'x'), MODEL)
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(errors.CheckpointError, match='holds no checkpoint'):
        begin(str(tmp_path), MODEL)


def test_a_damaged_run_is_refused(tmp_path):
    source = write('run', tmp_path)
    newest = tmp_path / 'run' / 'checkpoints' / '10'
    (newest / 'description' / 'metadata').write_text(json.dumps({'step': 1}))
    with pytest.raises(errors.CheckpointError, match='does not say what model it holds'):
        begin(source, MODEL)
