"""Checkpoints: the newest and the best stay, any mesh takes them, and what cannot be written or read says so."""

import dataclasses
import errno
import json
import pathlib
import re
import shutil
import time

import jax
import numpy as np
import optax
import pytest
import tensorstore

from flan_jax import errors
from flan_jax.config import CheckpointConfig, Config, TrainingConfig, resolve, to_dict
from flan_jax.training import checkpoint
from flan_jax.training import state as state_lib
from flan_jax.training.state import TrainState

CONFIG = Config(training=TrainingConfig(steps=3))
ADAM = optax.adam(1e-3)


def description(step: int, plan: str = 'plan a') -> checkpoint.Description:
    return checkpoint.Description(step, plan, to_dict(CONFIG))


@pytest.fixture
def open_in(tmp_path):
    """Checkpoints of a run directory, closed at the end."""
    opened = []

    def make(**config) -> checkpoint.Checkpoints:
        opened.append(checkpoint.Checkpoints(str(tmp_path), CheckpointConfig(**config)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(scope='module')
def on(toys, weights):
    """Mesh -> (shapes, shardings, state with every leaf another) of the toy under Adam."""

    def make(mesh, step: int = 5) -> tuple[TrainState, TrainState, TrainState]:
        bones = toys['rope'].bones
        placed, shapes = state_lib.shardings(bones, ADAM, mesh=mesh), state_lib.shapes(bones, ADAM)
        moments = jax.tree.map(
            lambda s: np.random.default_rng(step).standard_normal(s.shape).astype(s.dtype), shapes.moments
        )
        state = TrainState(np.int32(step), weights('rope'), moments, np.int32(1))
        return shapes, placed, jax.device_put(state, placed)

    return make


def steps(checkpoints: checkpoint.Checkpoints) -> list[int]:
    return sorted(int(path.name) for path in checkpoints.path.iterdir() if path.name.isdigit())


def test_the_newest_and_the_best_are_kept(open_in, on, mesh):
    checkpoints = open_in(keep_last=2, keep_best=1)
    for step, score in enumerate((0.1, 0.9, None, 0.3, 0.2, None), start=1):
        checkpoints.save(on(mesh(), step)[2], description(step), score=score)
    checkpoints.finish()
    assert steps(checkpoints) == [2, 5, 6]
    assert checkpoints.latest() == 6


def test_the_best_stays_through_a_restart_and_a_save_without_a_score_is_no_warning(open_in, on, mesh, caplog):
    for part in (((1, 0.9), (2, 0.1)), ((3, 0.2), (4, None)), ((5, 0.3),)):
        checkpoints = open_in(keep_last=2, keep_best=1)
        for step, score in part:
            checkpoints.save(on(mesh(), step)[2], description(step), score=score)
        checkpoints.finish()
    assert steps(checkpoints) == [1, 4, 5] and checkpoints.latest() == 5
    assert 'tracked_metric' not in caplog.text


def test_without_keep_best_only_the_newest_stay(open_in, on, mesh):
    checkpoints = open_in(keep_last=1, keep_best=0)
    for step in (1, 2):
        checkpoints.save(on(mesh(), step)[2], description(step), score=1.0)
    checkpoints.finish()
    assert steps(checkpoints) == [2]


@pytest.fixture
def saved(open_in, on, mesh):
    """Steps 4 and 5, made on eight devices, and the state of step 5."""
    checkpoints = open_in(keep_last=2)
    for step in (4, 5):
        checkpoints.save(on(mesh(2, 4), step)[2], description(step))
    checkpoints.finish()
    return checkpoints, on(mesh(2, 4), 5)[2]


@pytest.mark.parametrize('devices', [(1, 1), (1, 8), (4, 2), (2, 4)])
def test_a_checkpoint_comes_back_bit_equal_on_any_mesh(saved, on, mesh, devices):
    checkpoints, state = saved
    shapes, placed, _ = on(mesh(*devices))
    restored = checkpoints.restore(shapes, placed, plan='plan a')
    for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert jax.tree.all(jax.tree.map(lambda x, where: x.sharding == where, restored, placed))


def test_an_older_checkpoint_can_be_asked_for(saved, on, mesh):
    shapes, placed, _ = on(mesh())
    assert int(saved[0].restore(shapes, placed, plan='plan a', step=4).step) == 4


def test_a_step_is_saved_once(saved, on, mesh):
    checkpoints, state = saved
    checkpoints.save(dataclasses.replace(state, nonfinite=state.nonfinite + 1), description(5))
    checkpoints.finish()
    shapes, placed, _ = on(mesh())
    assert int(checkpoints.restore(shapes, placed, plan='plan a').nonfinite) == 1


def test_a_checkpoint_tells_its_step_its_plan_and_its_whole_config(saved):
    told = saved[0].describe(5)
    assert (told.step, told.plan) == (5, 'plan a')
    assert resolve(told.config) == CONFIG


def test_a_checkpoint_of_another_plan_is_refused_with_both_plans_and_the_remedy(saved, on, mesh):
    with pytest.raises(errors.CheckpointError) as e:
        saved[0].restore(*on(mesh())[:2], plan='plan b')
    for part in (f'{saved[0].path}/5', 'plan a', 'plan b', 'data, rates, seed or row lengths', 'another name'):
        assert part in str(e.value)


def test_no_checkpoint_is_an_error_with_the_folder(open_in, on, mesh):
    checkpoints = open_in()
    assert checkpoints.latest() is None
    with pytest.raises(errors.CheckpointError, match='no checkpoint under .*/checkpoints'):
        checkpoints.restore(*on(mesh())[:2], plan='plan a')


@pytest.mark.parametrize('part', ['state', 'description', 'state/d', 'state/manifest.ocdbt'])
def test_a_damaged_checkpoint_is_an_error_with_its_folder_and_the_remedy(saved, on, mesh, part):
    damaged = saved[0].path / '5' / part
    if damaged.is_dir():
        shutil.rmtree(damaged)
    else:
        damaged.write_bytes(b'nonsense')
    with pytest.raises(errors.CheckpointError) as e:
        saved[0].restore(*on(mesh())[:2], plan='plan a')
    assert f'{saved[0].path}/5' in str(e.value)
    assert 'remove that directory to go on from an earlier one' in str(e.value)
    shutil.rmtree(saved[0].path / '5')
    again = checkpoint.Checkpoints(str(saved[0].path.parent), CheckpointConfig())
    assert int(again.restore(*on(mesh())[:2], plan='plan a').step) == 4
    again.close()


def truncate(step: pathlib.Path) -> str:
    """Every file of numbers is cut off near its start."""
    for file in step.glob('state/ocdbt.process_0/d/*'):
        file.write_bytes(file.read_bytes()[:8])
    return r'tensor (params|moments)\.[\w.]+: .+'


def remove(step: pathlib.Path) -> str:
    for file in step.glob('state/ocdbt.process_0/d/*'):
        file.unlink()
    return r'tensor (params|moments)\.[\w.]+: .+'


def lose_one(step: pathlib.Path) -> str:
    """The file that has the embedding's numbers, and no other."""
    store = arrays(step)
    for key in store.list().result():
        if key.startswith(b'params.embedding.table/'):
            store.write(key, None).result()
    return r'tensor params\.embedding\.table'


def reshape(step: pathlib.Path) -> str:
    """The embedding has one row less than it says of itself."""
    store = arrays(step)
    told = json.loads(store.read(b'params.embedding.table/.zarray').result().value)
    told['shape'][0] -= 1
    store.write(b'params.embedding.table/.zarray', json.dumps(told).encode()).result()
    return rf'tensor params\.embedding\.table has shape \[{told["shape"][0]}, \d+\] in it, \[\d+, \d+\] here'


def arrays(step: pathlib.Path) -> tensorstore.KvStore:
    return tensorstore.KvStore.open({'driver': 'ocdbt', 'base': f'file://{step}/state/'}).result()


@pytest.mark.parametrize('damage', [truncate, remove, lose_one, reshape])
def test_damage_to_an_array_is_told_in_one_line_with_the_tensor_and_the_step(saved, on, mesh, damage):
    step = saved[0].path / '5'
    which = damage(step)
    shapes, placed, _ = on(mesh())
    for read in (
        lambda: saved[0].restore(shapes, placed, plan='plan a'),
        lambda: checkpoint.weights(step, shapes.params, placed=placed.params),
    ):
        with pytest.raises(errors.CheckpointError, match=which) as e:
            read()
        assert str(step) in str(e.value) and '\n' not in str(e.value) and len(str(e.value)) < 500


def test_an_array_the_checkpoint_never_had_is_named(saved, on, mesh):
    shapes, placed, _ = on(mesh())
    more = {'head': {'kernel': jax.ShapeDtypeStruct((4, 8), np.float32)}}
    where = {'head': {'kernel': placed.step}}
    with pytest.raises(errors.CheckpointError, match=f'{saved[0].path}/5 .*tensor params.head.kernel is not in it'):
        checkpoint.weights(saved[0].path / '5', shapes.params | more, placed=placed.params | where)


def test_a_checkpoint_of_another_model_is_an_error_with_its_folder_and_the_first_tensor_that_differs(saved, toys, mesh):
    other = dataclasses.replace(toys['rope'].model, mlp_width=32)
    bones = state_lib.skeleton(other, state_lib.ExecutionConfig())
    shapes, placed = state_lib.shapes(bones, ADAM), state_lib.shardings(bones, ADAM, mesh=mesh())
    with pytest.raises(errors.CheckpointError) as e:
        saved[0].restore(shapes, placed, plan='plan a')
    assert f'{saved[0].path}/5 cannot be read as this model and optimizer: tensor ' in str(e.value)
    assert re.search(r'mlp\.\w+ has shape \[[\d, ]+\] in it, \[[\d, ]+\] here', str(e.value))


def test_a_half_written_checkpoint_is_not_seen_and_is_cleared_away(saved):
    shutil.copytree(saved[0].path / '5', saved[0].path / '6.orbax-checkpoint-tmp')
    again = checkpoint.Checkpoints(str(saved[0].path.parent), CheckpointConfig())
    assert again.latest() == 5
    end = time.monotonic() + 20  # another thread does it
    while (saved[0].path / '6.orbax-checkpoint-tmp').exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    again.close()


@pytest.mark.parametrize('broken', ['save', 'wait_until_finished'])
def test_a_save_that_fails_tells_folder_reason_what_is_whole_and_the_remedy(saved, on, mesh, monkeypatch, broken):
    def full(*args, **more):
        raise OSError(errno.ENOSPC, 'No space left on device')

    checkpoints, _ = saved
    with monkeypatch.context() as m:
        m.setattr(checkpoints._manager, broken, full)
        with pytest.raises(errors.CheckpointError) as e:
            checkpoints.save(on(mesh(), 6)[2], description(6))
            checkpoints.finish()
    for part in (str(checkpoints.path), 'No space left on device', '[4, 5]', 'Make room and start again'):
        assert part in str(e.value)
    shapes, placed, _ = on(mesh())
    assert int(checkpoints.restore(shapes, placed, plan='plan a', step=5).step) == 5


def test_a_checkpoint_is_plain_files_another_program_can_read(saved):
    told = json.loads((saved[0].path / '5' / 'description' / 'metadata').read_text())
    assert told['step'] == 5 and told['config']['training']['steps'] == 3
