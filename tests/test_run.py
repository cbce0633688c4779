"""Whole runs as a person starts them: killed, stopped, resumed elsewhere, started again, and broken on purpose."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flan_jax import errors, prepare, run, run_data
from flan_jax.config import Config, resolve

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS = 30
EVERY = 5  # steps between checkpoints
PATIENCE = 120  # seconds until a start that says nothing counts as hung
CONFIG = """
from flan_jax.config import default

def get_config():
    c = default()
    c.name, c.run_root, c.data.store_root = 'tiny', {folder!r} + '/runs', {folder!r} + '/stores'
    c.mixture.members = ('mini_add', 'mini_even_or_odd', 'mini_double')
    c.data.max_inputs, c.data.max_targets, c.data.train_rows, c.data.eval_rows = 48, 16, 60, 2
    c.data.prepare_workers = 2
    c.vocabulary.train_size, c.vocabulary.train_rows = 320, 200
    c.packing.row_tokens, c.packing.window = 128, 64
    m = c.model
    m.layers, m.width, m.heads, m.kv_heads, m.head_width, m.mlp_width, m.dropout = 2, 32, 2, 2, 16, 64, 0.1
    c.execution.compute_dtype, c.execution.remat = 'float32', 'none'
    c.optimizer.eps = 1e-3  # Adam would blow up the rounding of gradients near 0
    c.training.steps, c.training.batch_rows, c.training.microbatches = {steps}, 8, 2
    c.checkpoint.every_steps = {every}
    c.evaluation.rows, c.evaluation.max_new_tokens, c.evaluation.batch_tokens = 1, 4, 2048
    c.evaluation.at_end = False
    c.telemetry.every_steps, c.telemetry.tensorboard, c.telemetry.progress = 1, False, False
    return c
"""


class Runs:
    """Starts runs of the tiny config in one folder, where the stores are shared."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.config = folder / 'tiny.py'
        self.config.write_text(CONFIG.format(folder=str(folder), steps=STEPS, every=EVERY))
        self.environment = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'} | {
            'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT), 'JAX_COMPILATION_CACHE_DIR': str(folder / 'compiled'),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0', 'TF_CPP_MIN_LOG_LEVEL': '3',
            # Compiling is most of a tiny run.
            'XLA_FLAGS': '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false',
        }  # fmt: skip

    def path(self, name: str) -> pathlib.Path:
        return self.folder / 'runs' / name

    def start(self, name: str, *overrides: str, code: str | None = None, **environment: str) -> subprocess.Popen:
        """`python -m flan_jax.train`, or `python -c code`; its words go to <name>.log."""
        head = ['-m', 'flan_jax.train'] if code is None else ['-c', code]
        command = [sys.executable, *head, f'--config={self.config}', f'--config.name={name}', *overrides]
        log = (self.folder / f'{name}.log').open('w')
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=self.environment | environment)

    def run(self, name: str, *overrides: str, **more: str) -> tuple[int, str]:
        """Exit status, and what was said, warnings of libraries included."""
        status = self.start(name, *overrides, **more).wait(PATIENCE)
        return status, self.said(name)

    def said(self, name: str) -> str:
        return (self.folder / f'{name}.log').read_text()

    def lines(self, name: str, event: str = 'train') -> list[dict]:
        path = self.path(name) / 'metrics.jsonl'
        text = path.read_text() if path.exists() else ''
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith('\n')]
        return [line for line in lines if line['event'] == event]

    def hashes(self, name: str) -> dict[int, int]:
        lines = self.lines(name)
        found = {line['step']: line['batch_hash'] for line in lines}
        assert len(found) == len(lines), f'{name} has a step twice'
        return found

    def until(self, name: str, process: subprocess.Popen, step: int) -> None:
        """Waits for the metrics of a step."""
        end = time.monotonic() + PATIENCE
        while not any(line['step'] >= step for line in self.lines(name)):
            assert process.poll() is None, f'{name} ended with {process.returncode}:\n{self.said(name)[-2000:]}'
            assert time.monotonic() < end, f'{name} hangs'
            time.sleep(0.002)

    def checkpoints(self, name: str) -> list[int]:
        """Whole ones."""
        return sorted(int(p.name) for p in (self.path(name) / 'checkpoints').iterdir() if p.name.isdigit())

    def state(self, name: str, step: int = STEPS) -> dict[str, np.ndarray]:
        """A checkpoint's arrays by path, wherever they were saved from."""
        with ocp.PyTreeCheckpointer() as reader:
            path = self.path(name) / 'checkpoints' / str(step) / 'state'
            tree = reader.metadata(path).item_metadata.tree
            leaves = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            restored = reader.restore(path, restore_args=leaves)
        return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(restored)}


@pytest.fixture(scope='session')
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp('runs'))


@pytest.fixture(scope='session')
def whole(runs) -> str:
    """A run that nothing disturbed; the first one, so it prepares the stores too."""
    status, said = runs.run('whole')
    assert status == 0, said[-4000:]
    return 'whole'


def same_end(runs: Runs, name: str, whole: str) -> None:
    assert runs.hashes(name) == runs.hashes(whole)
    assert sorted(runs.hashes(name)) == list(range(1, STEPS + 1))
    ours, theirs = runs.state(name), runs.state(whole)
    assert ours.keys() == theirs.keys() and len(ours) > 20
    for path in theirs:
        np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)


def test_a_run_killed_five_times_ends_bit_identical_to_one_that_was_not(runs, whole):
    steps = sorted(random.Random(3).sample(range(2, STEPS - 1), 5))
    for step in steps:
        process = runs.start('killed')
        runs.until('killed', process, step)
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    status, said = runs.run('killed')
    assert status == 0, said[-4000:]
    same_end(runs, 'killed', whole)


def test_sigterm_saves_the_step_it_stops_at_and_the_next_start_goes_on_from_there(runs, whole):
    process = runs.start('stopped')
    runs.until('stopped', process, 7)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0, runs.said('stopped')[-4000:]
    (stopped,) = re.findall(rf'told to stop: step (\d+) of {STEPS} is saved', runs.said('stopped'))
    assert runs.checkpoints('stopped')[-1] == int(stopped) < STEPS
    assert max(runs.hashes('stopped')) == int(stopped)
    assert not (runs.path('stopped') / 'scores.json').exists()
    status, said = runs.run('stopped')
    assert status == 0, said[-4000:]
    same_end(runs, 'stopped', whole)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]


def several(runs: Runs, name: str, count: int, *overrides: str) -> list[subprocess.Popen]:
    """Processes of one run on this machine, one device each; the first one writes <name>.log."""
    address = f'localhost:{free_port()}'
    runs.path(name).mkdir(parents=True, exist_ok=True)
    processes = []
    for i in range(count):
        where = {'COORDINATOR_ADDRESS': address, 'NUM_PROCESSES': str(count), 'PROCESS_ID': str(i)}
        log = name if i == 0 else f'{name}.{i}'
        processes.append(runs.start(log, f'--config.name={name}', *overrides, **where))
    return processes


@contextlib.contextmanager
def ended(processes: Sequence[subprocess.Popen]):
    """Leaves none of them behind."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def stop_several(runs: Runs, name: str, count: int, step: int) -> None:
    """Trains on some processes until SIGTERM at about a step."""
    processes = several(runs, name, count)
    with ended(processes):
        runs.until(name, processes[0], step)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        statuses = [process.wait(PATIENCE) for process in processes]
        assert statuses == [0] * count, runs.said(name)[-4000:]


def finish_alone(runs: Runs, name: str, whole: str) -> None:
    """One process takes over, and it ends like the run that was always one."""
    assert runs.checkpoints(name)[-1] < STEPS
    status, said = runs.run(name)
    assert status == 0, said[-4000:]
    assert runs.hashes(name) == runs.hashes(whole)
    ours, theirs = runs.state(name), runs.state(whole)
    assert ours.keys() == theirs.keys()
    for path in theirs:
        np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-5, atol=1e-5, err_msg=path)


def test_two_processes_then_one_train_on_the_same_rows_and_come_to_the_same_weights(runs, whole):
    stop_several(runs, 'moved', 2, 8)
    assert runs.checkpoints('moved')[-1] >= 8
    finish_alone(runs, 'moved', whole)


@pytest.mark.slow
def test_two_processes_then_four_then_one_train_on_the_same_rows_and_come_to_the_same_weights(runs, whole):
    stop_several(runs, 'grown', 2, 6)
    first = runs.checkpoints('grown')[-1]
    stop_several(runs, 'grown', 4, first + 4)
    assert runs.checkpoints('grown')[-1] > first
    finish_alone(runs, 'grown', whole)


BROKEN = """
import os, pathlib
from flan_jax import command, errors, train
from flan_jax.data import loader

gather = loader.Loader.gather

def broken(self, step):
    if step == 12:
        {what}
    return gather(self, step)

loader.Loader.gather = broken
command.run(train.main, resolved=True)
"""


def test_a_data_error_while_training_ends_with_a_status_and_a_message(runs, whole):
    raises = "raise errors.DataError('task mini_add, example 7 cannot be read; run prepare again')"
    status, said = runs.run('broken', code=BROKEN.format(what=raises))
    assert status == 1
    assert 'DataError: task mini_add, example 7 cannot be read; run prepare again' in said
    assert runs.checkpoints('broken') == [5, 10]
    assert not (runs.path('broken') / 'report.html').exists()


def test_a_store_cut_off_under_a_training_run_ends_it_with_a_status_and_a_message(runs, whole, tmp_path):
    shutil.copytree(runs.folder / 'stores', tmp_path / 'stores')
    cut = f"[os.truncate(p, 64) for p in pathlib.Path({str(tmp_path / 'stores')!r}).glob('*/train.arrow')]"
    where = f'--config.data.store_root={tmp_path / "stores"}'
    status, said = runs.run('cut', where, code=BROKEN.format(what=cut))
    assert status != 0
    assert 'Bus error' in said and 'gather' in said
    status, said = runs.run('cut', where)  # the next start sees it before it trains
    assert status == 1
    assert re.search(r'DataError: token store \S+train.arrow cannot be read .*delete \S+ and run prepare again', said)


@pytest.fixture
def tiny_disk(runs):
    """Mounts 1 MiB as a run's checkpoint folder, where that is allowed."""
    mounted = []

    def mount(name: str) -> None:
        path = runs.path(name) / 'checkpoints'
        path.mkdir(parents=True)
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(path)], capture_output=True)
        if done.returncode:
            pytest.skip(f'no tmpfs can be mounted here: {done.stderr.decode().strip()}')
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(['umount', str(path)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason='mounting needs root; tests/training/test_checkpoint.py does without')
def test_a_full_disk_ends_the_run_with_a_message_and_the_earlier_checkpoints_whole(runs, whole, tiny_disk):
    tiny_disk('full')
    status, said = runs.run('full', '--config.checkpoint.keep_last=9')
    assert status == 1, said[-4000:]
    folder = runs.path('full') / 'checkpoints'
    (told,) = re.findall(r'^CheckpointError: .*', said, re.MULTILINE)
    assert f'a checkpoint could not be written under {folder}' in told and 'Make room and start again' in told
    kept = runs.checkpoints('full')
    assert f'whole ones: {kept}' in told and kept
    for path, array in runs.state('full', kept[-1]).items():
        assert np.isfinite(array).all(), path
    subprocess.run(['mount', '-o', 'remount,size=9m', str(folder)], check=True)
    status, said = runs.run('full')
    assert status == 0, said[-4000:]
    same_end(runs, 'full', whole)


def test_a_finished_run_started_again_only_evaluates_and_reports(runs, whole):
    shutil.copytree(runs.path(whole), runs.path('again'))
    metrics = (runs.path('again') / 'metrics.jsonl').read_text()
    written = (runs.path('again') / 'checkpoints' / str(STEPS) / '_CHECKPOINT_METADATA').stat().st_mtime_ns
    status, said = runs.run('again', '--config.evaluation.at_end=true')
    assert status == 0, said[-4000:]
    assert (runs.path('again') / 'metrics.jsonl').read_text() == metrics
    assert (runs.path('again') / 'checkpoints' / str(STEPS) / '_CHECKPOINT_METADATA').stat().st_mtime_ns == written
    assert '<html' in (runs.path('again') / 'report.html').read_text()
    scores = json.loads((runs.path('again') / 'scores.json').read_text())
    assert {'step', 'held_in', 'held_out_templates', 'held_out_clusters', 'clusters', 'tasks'} <= set(scores)
    assert scores['unasked'] == {} and (runs.path('again') / 'predictions.parquet').exists()
    assert scores['step'] == STEPS and scores['held_out_clusters'] is None
    assert set(scores['tasks']) == {'mini_add', 'mini_even_or_odd', 'mini_double'}
    assert set(scores['clusters']) == {'mini_arithmetic', 'mini_classification'}
    for group in ('held_in', 'held_out_templates'):
        low, high = scores[group]['interval']
        assert 0.0 <= low <= scores[group]['score'] <= high <= 1.0
        assert scores[group]['tasks'] == 3
        assert set(scores[group]) >= {'exact_match', 'normalised', 'examples', 'constant_baseline', 'copy_baseline'}
    for task in scores['tasks'].values():
        assert set(task) >= {'cluster', 'mode', 'metric', 'held_in', 'held_out_templates', 'templates', 'examples'}
        assert len(task['templates']) > 2
    assert all(name in said for name in scores['tasks'])


def test_a_run_says_its_own_words_only(runs, whole):
    said = runs.said(whole)
    assert re.search(rf'^plan [0-9a-f]{{16}}: {STEPS} steps of 8 rows', said, re.MULTILINE)
    assert f'WARNING: only {STEPS} optimizer steps' in said
    assert f'report: {runs.path(whole)}/report.html' in said
    assert 'checkpoint_manager.py' not in said, 'libraries chatter'


def test_a_run_directory_says_what_was_run_on_what(runs, whole):
    read = lambda name: json.loads((runs.path(whole) / name).read_text())  # noqa: E731
    assert resolve(read('config.json')).name == whole
    plan = read('plan.json')
    assert (plan['steps'], plan['batch_rows'], plan['rows']) == (STEPS, 8, 8 * STEPS)
    assert sum(task['realised_rate'] for task in plan['tasks']) == pytest.approx(1)
    lines = runs.lines(whole)
    assert sum(line['supervised_tokens'] for line in lines) == plan['supervised_tokens']
    assert sum(line['tokens'] for line in lines) == plan['tokens']
    assert set(read('environment.json')) == {'python', 'jax', 'flax', 'device', 'devices', 'processes'}


@pytest.mark.parametrize(
    ('override', 'told'),
    [
        ('--config.optimizer.learning_rat=0.1', "config has no 'optimizer.learning_rat'; did you mean learning_rate"),
        ('--config.trainig.steps=3', "config has no 'trainig'; did you mean training"),
        ('--config.training.steps=soon', "training.steps=soon: invalid literal for int() with base 10: 'soon'"),
        ('--config.optimizer.name=adam', "ConfigError: optimizer.name='adam' is none of 'adamw'"),
        ('--config.training.batch_rows=9', 'ConfigError: training.batch_rows=9 does not divide into'),
    ],
)
def test_an_override_that_cannot_be_is_an_error_naming_the_nearest_and_starts_nothing(runs, override, told):
    status, said = runs.run('wrong', override)
    assert status != 0 and told in said
    assert not runs.path('wrong').exists()


def test_no_config_is_an_error_with_the_flag(runs):
    done = subprocess.run(
        [sys.executable, '-m', 'flan_jax.train'], capture_output=True, text=True, cwd=ROOT, env=runs.environment
    )
    assert (done.returncode, done.stderr) == (2, '--config=configs/X.py is missing\n')


@pytest.fixture
def config(runs, whole) -> Config:
    """The tiny config; its stores are there."""
    found: dict = {}
    exec(runs.config.read_text(), found)
    return dataclasses.replace(resolve(found['get_config']()), name='inside')


def replaced(config: Config, part: str, **changes) -> Config:
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **changes)})


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_compiled(config, monkeypatch):
    def reached(*args, **more):
        raise AssertionError('a model was made')

    monkeypatch.setattr(run.state_lib, 'skeleton', reached)
    monkeypatch.setattr(run, '_write_run', reached)
    devices = jax.device_count()
    wrong = replaced(config, 'training', batch_rows=2 * devices + 2)
    if devices == 1:
        pytest.skip('on one device every batch divides')
    message = (
        f'batch_rows={2 * devices + 2} does not divide over 2 microbatches on {devices} devices .* of {2 * devices}'
    )
    with pytest.raises(errors.ConfigError, match=message):
        run.train(wrong)


def test_a_mesh_that_does_not_fit_is_refused_before_data_is_read(config, monkeypatch):
    monkeypatch.setattr(run_data, 'load', lambda config: pytest.fail('data was read'))
    with pytest.raises(errors.ConfigError, match='mesh.data=3, .* does not fit'):
        run.train(replaced(config, 'mesh', data=3, tensor=7))


def test_a_model_with_fewer_rows_than_the_tokenizer_is_refused_with_both_numbers(config):
    small = replaced(config, 'model', vocab_size=100)
    with pytest.raises(errors.ConfigError, match='model.vocab_size=100 is smaller than the tokenizer, 320 pieces'):
        run.model_config(small, 320)
    model = run.model_config(config, 320)
    assert (model.vocab_size, model.embedding.pieces) == (384, 320)


def test_a_task_without_a_supervised_token_is_an_error_with_its_name(config, monkeypatch):
    stores = prepare.ensure(config)[1].stores
    info = stores['mini_add'].info | {'splits': {'train': {'dropped': {'target_too_long': 60}, 'examples': 0}}}
    nothing = types.SimpleNamespace(info=info, split=lambda name: [])
    ready = prepare.Stores(None, {**stores, 'mini_add': nothing}, {})
    monkeypatch.setattr(run_data.prepare, 'ensure', lambda config: (prepare.needs(config), ready))
    with pytest.raises(errors.DataError, match="task 'mini_add' has no supervised token .*'target_too_long': 60"):
        run_data.load(config)
    ready.stores['mini_add'].info['splits'].clear()
    only = replaced(config, 'mixture', members=('mini_add',))
    with pytest.raises(errors.DataError, match='no task of the mixture has training examples'):
        run_data.load(only)
