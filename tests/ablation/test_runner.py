"""Studies run: what is shared between variants, what is skipped, what is killed, what fails."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from flan_jax.ablation import claim, proposal, rounds, runner, study, table
from flan_jax.ablation.config import axis
from flan_jax.config import resolve, to_dict
from flan_jax.shared import Shared

PATIENCE = 120  # seconds until a process that says nothing counts as hung
RATES = dict(name='lr', knob='optimizer.learning_rate', values=(1e-2, 3e-2))


@pytest.fixture(autouse=True)
def strict():
    """Whole runs are as a person starts them: Optax's schedules promote types."""


def run_all(found, worker=None) -> dict[str, table.Result]:
    """Runs what is not finished, in this process."""
    done = runner.finished(found)
    names = [variant.name for variant in found.variants if variant.name not in done]
    rows = {}
    runner.run_all(found, names, worker=worker or runner.Worker(), said=lambda row: rows.update({row.variant: row}))
    return rows


def learnt(folder: str | os.PathLike) -> dict[int, tuple]:
    """Step -> what its line says of the weights, to the last bit."""
    lines = map(json.loads, (pathlib.Path(folder) / 'metrics.jsonl').read_text().splitlines())
    return {x['step']: (x['loss'], x['gradient_norm'], x['batch_hash']) for x in lines if x['event'] == 'train'}


def answers(folder: str | os.PathLike) -> tuple:
    return json.loads((pathlib.Path(folder) / 'scores.json').read_text())['tasks'], learnt(folder)


@pytest.fixture(scope='module')
def ran(studies, kept):
    """A study that has been run, its rows, and what running it compiled."""
    axes = (axis(name='n', kind='task_count', values=(1, 2)), axis(**RATES))
    jax.clear_caches()  # as in a new process: other tests may have compiled the same
    found, worker = studies.plan('ran', axes=axes, seeds=(0, 1), keep_checkpoints=True), runner.Worker()
    return found, run_all(found, worker), worker


def test_every_variant_has_a_row_and_only_the_first_compiles(ran):
    found, rows, _ = ran
    assert list(rows) == [variant.name for variant in found.variants]
    assert not [row.error for row in rows.values() if row.error]
    first, *others = rows.values()
    assert first.cost['compiled'] > 5
    for row in others:  # a table of learning rates is computed anew
        assert row.cost['compiled'] <= ('lr' in row.settings), row.variant
    assert runner.collected(found) == list(rows.values())
    for row in others:
        assert row.cost['wall_s'] < row.cost['compile_s'] + 60
        assert row.plan['fingerprint'] == next(v for v in found.variants if v.name == row.variant).plan


def test_what_is_finished_is_skipped_and_nothing_is_prepared_or_compiled_again(ran, studies):
    found, rows, _ = ran
    last = found.variants[-1].name
    stores = {path: path.stat().st_mtime_ns for path in (studies.folder / 'stores').rglob('*')}
    written = {name: (pathlib.Path(found.config.folder) / 'rows' / f'{name}.json').stat().st_mtime_ns for name in rows}
    assert run_all(studies.plan('ran', **_changes(found))) == {}
    (pathlib.Path(found.config.folder) / 'rows' / f'{last}.json').unlink()
    jax.clear_caches()  # as in a new process
    worker = runner.Worker()
    (row,) = run_all(found, worker).values()
    assert (row.variant, worker.compiling.executables) == (last, 0)
    assert row.scores == rows[last].scores
    assert stores == {path: path.stat().st_mtime_ns for path in (studies.folder / 'stores').rglob('*')}
    del written[last]
    for name, when in written.items():
        assert (pathlib.Path(found.config.folder) / 'rows' / f'{name}.json').stat().st_mtime_ns == when


def _changes(found) -> dict:
    config = found.config
    return {'axes': config.axes, 'seeds': config.seeds, 'keep_checkpoints': config.keep_checkpoints}


def test_a_variant_after_others_is_what_it_is_alone(ran, tmp_path, kept):
    found, rows, _ = ran
    variant = found.variants[-1]
    alone = dataclasses.replace(variant.config, run_root=str(tmp_path))
    (tmp_path / 'alone.json').write_text(json.dumps(to_dict(alone)))
    done = subprocess.run(
        [sys.executable, '-m', 'flan_jax.train', f'--resolved={tmp_path / "alone.json"}'],
        env={**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(kept), 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert answers(alone.run_dir) == answers(variant.config.run_dir)


@pytest.mark.slow
def test_adapters_of_one_base_leave_it_as_it_is(studies, kept):
    knobs = {'adapter.kind': 'lora', 'adapter.rank': 2, 'evaluation.rows': 1}
    found = studies.plan('lora', knobs=knobs, axes=(axis(**RATES),))
    worker = runner.Worker()
    run_all(found, worker)
    together = {variant.name: answers(variant.config.run_dir) for variant in found.variants}
    assert len({str(learnt) for _, learnt in together.values()}) == 3, 'learning rates make a difference'
    compiled = worker.shared.compiled
    for variant in found.variants:
        (pathlib.Path(found.config.folder) / 'rows' / f'{variant.name}.json').unlink()
        (pathlib.Path(variant.config.run_dir) / 'metrics.jsonl').unlink()
        runner.run_variant(found, variant, worker=dataclasses.replace(worker, shared=Shared(compiled=compiled)))
        assert answers(variant.config.run_dir) == together[variant.name]


def test_a_failure_is_written_down_and_the_rest_goes_on(studies, kept):
    axes = (axis(name='lr', knob='optimizer.learning_rate', values=(1e38, 1e-2)),)
    knobs = {'training.max_nonfinite': 1, 'training.steps': 4}
    found = studies.plan('failing', axes=axes, knobs=knobs)
    rows = run_all(found)
    assert {name: row.status for name, row in rows.items()} == {
        'base': 'finished', 'lr=1e+38': 'failed', 'lr=0.01': 'finished',
    }  # fmt: skip
    failed = rows['lr=1e+38']
    assert failed.error.startswith('DivergenceError: loss or gradient was no number')
    assert 'Traceback' in (pathlib.Path(failed.run_dir) / runner.LOG).read_text()
    assert run_all(found).keys() == {'lr=1e+38'}, 'it is tried again'
    kept_weights = [row.variant for row in rows.values() if (pathlib.Path(row.run_dir) / 'checkpoints').exists()]
    assert kept_weights == ['lr=1e+38'], 'weights of finished variants are removed'


def test_a_variant_is_run_by_one_process_at_a_time(ran):
    found, rows, worker = ran
    variant = found.variants[0]
    assert runner.run_variant(found, variant, worker=worker) is None, 'finished'
    row = pathlib.Path(found.config.folder) / 'rows' / f'{variant.name}.json'
    text = row.read_text()
    row.unlink()
    with claim.claimed(pathlib.Path(variant.config.run_dir) / 'claim') as mine:
        assert mine
        assert runner.run_variant(found, variant, worker=worker) is None, 'claimed'
    row.write_text(text)


@pytest.mark.slow
def test_a_variant_that_was_killed_goes_on_from_its_checkpoint_and_ends_the_same(studies, kept):
    knobs = {'training.steps': 60, 'checkpoint.every_steps': 10, 'evaluation.rows': 1}
    killed, whole = studies.plan('killed', knobs=knobs), studies.plan('whole', knobs=knobs)
    assert run_all(whole)['base'].status == 'finished'
    variant = killed.variants[0]
    process = subprocess.Popen(
        [sys.executable, '-m', 'flan_jax.ablation.worker', f'--study={killed.config.folder}'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == 'ready\n'
    process.stdin.write(f'{variant.name}\n')
    process.stdin.flush()
    end = time.monotonic() + PATIENCE
    checkpoints = pathlib.Path(variant.config.run_dir) / 'checkpoints'
    while not (steps := [int(p.name) for p in checkpoints.glob('*') if p.name.isdigit()]):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert not (pathlib.Path(killed.config.folder) / 'rows' / 'base.json').exists(), 'killed too late'
    (row,) = run_all(killed).values()
    said = (pathlib.Path(variant.config.run_dir) / runner.LOG).read_text()
    assert f'goes on from step {max(steps)}' in said or 'goes on from step' in said
    assert row.status == 'finished'
    assert answers(variant.config.run_dir) == answers(whole.variants[0].config.run_dir)


def test_scores_differ_where_something_differs(ran):
    found, _, _ = ran
    seen = {variant.name: str(learnt(variant.config.run_dir)) for variant in found.variants}
    assert len(set(seen.values())) == len(seen)
    assert all(np.isfinite(loss) for v in found.variants for loss, *_ in learnt(v.config.run_dir).values())
    assert resolve(to_dict(found.variants[0].config)) == found.variants[0].config


def test_a_proposed_mixture_is_run_with_every_seed_of_the_study(studies, monkeypatch):
    axes = (axis(name='mix', kind='weights', draws=1, propose=True),)
    found = studies.plan('seeded', axes=axes, seeds=(0, 1, 2), knobs={'mixture.members': ('mini_add', 'mini_largest')})
    monkeypatch.setattr(proposal, 'of_axis', lambda rows, name: (0.7, 0.3))
    done = rounds.run(found, lambda *work: None)
    own = done.variants[len(found.variants) :]
    assert [(one.settings['mix'].label, one.config.seed) for one in own] == [('proposal', seed) for seed in range(3)]
    assert len({one.name for one in own}) == len({one.plan for one in own}) == 3
    assert len({one.config.training.positions for one in done.variants}) == 1, 'one executable serves all'


def test_a_proposed_mixture_is_run_after_the_others_and_reported_ever_after(studies, kept, monkeypatch):
    mixed = {'members': ('mini_add', 'mini_largest'), 'rule': 'proportional'}
    axes = (axis(name='mix', kind='weights', draws=1, propose=True),)
    config = {'axes': axes, 'knobs': {f'mixture.{knob}': value for knob, value in mixed.items()}}
    asked = []
    monkeypatch.setattr(proposal, 'of_axis', lambda rows, name: asked.append(len(rows)) or (0.7, 0.3))
    found, told = studies.plan('proposed', **config), []
    worker = runner.Worker()

    def engine(found, names, said):
        told.append(list(names))
        runner.run_all(found, names, worker=worker, said=said)

    done = rounds.run(found, engine)
    assert [variant.settings['mix'].label for variant in done.variants[1:]] == ['equal', 'mix0', 'proposal']
    assert done.variants[-1].config.mixture.weights == (0.7, 0.3) and asked == [3]
    assert told == [[v.name for v in found.variants], [done.variants[-1].name]]
    assert study.as_run(found).variants[-1].name == done.variants[-1].name
    rounds.run(studies.plan('proposed', **config), engine)
    assert told[2:] == [[], []]
