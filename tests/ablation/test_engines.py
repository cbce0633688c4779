"""Engines: several processes, Ray, commands. All give the table that one process gives."""

import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from flan_jax import errors
from flan_jax.ablation import actors, assignment, claim, commands, engines, processes, runner, study, table
from flan_jax.ablation.config import axis

PATIENCE = 120  # seconds until a process that says nothing counts as hung
AXES = (axis(name='n', kind='task_count', values=(1, 2)),)
PROGRAM = """
import sys
from flan_jax.ablation import compiling, engines, study
found = study.load(sys.argv[1])
names = [variant.name for variant in found.variants]
engines.make('processes', workers=2)(found, names, lambda row: print(row.variant, flush=True))
"""


@pytest.fixture(autouse=True)
def strict():
    """Whole runs are as a person starts them: Optax's schedules promote types."""


@pytest.fixture(scope='module')
def here(studies, kept):
    """The rows of one process."""
    found, rows = studies.plan('here', axes=AXES), []
    engines.make('here', workers=1)(found, names(found), rows.append)
    return {row.variant: row for row in rows}


@pytest.fixture
def planned(studies, kept):
    """A study of its own whose executables are there already."""

    def plan(name: str, **changes):
        found = studies.plan(name, **({'axes': AXES} | changes))
        (pathlib.Path(found.config.folder) / 'compiled').symlink_to(kept)
        return found

    return plan


def names(found) -> list[str]:
    return [variant.name for variant in found.variants]


def same(row: table.Result, other: table.Result) -> bool:
    """Whether two rows of studies in different folders say the same, costs apart."""

    def told(row):
        config = {**row.config, 'run_root': ''}
        return dataclasses.replace(row, config=config, cost={}, run_dir='')

    return told(row) == told(other)


def run(found, engine: str, workers: int = 2) -> dict[str, table.Result]:
    rows = []
    engines.make(engine, workers=workers)(found, names(found), rows.append)
    assert len(rows) == len({row.variant for row in rows})
    return {row.variant: row for row in rows}


def test_several_processes_give_the_rows_of_one(here, planned):
    found = planned('processes')
    rows = run(found, 'processes')
    assert rows.keys() == here.keys()
    assert all(same(row, here[name]) for name, row in rows.items())
    assert runner.finished(found) == rows


@pytest.mark.slow
def test_ray_actors_give_the_rows_of_one_process(here, planned):
    ray = pytest.importorskip('ray', reason="no Ray: pip install 'flan_jax[ray]'")
    from ray.cluster_utils import Cluster

    found = planned('ray')
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})
    cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        rows = run(found, 'ray')
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert rows.keys() == here.keys()
    assert all(same(row, here[name]) for name, row in rows.items())


def test_an_actor_that_does_not_see_the_folder_sends_what_its_run_wrote(here, planned, tmp_path):
    found = planned('apart')
    one = actors.Runner(found, {str(tmp_path / 'v' / 'model'): b'pieces'}, place='/nowhere', mark='', threads=1)
    assert not one.shared and (tmp_path / 'v' / 'model').read_bytes() == b'pieces'
    back = one.run('n=1')
    assert same(back.row, here['n=1'])
    assert {'scores.json', 'predictions.parquet', 'plan.json', 'metrics.jsonl'} <= back.files.keys()
    run_dir, row = pathlib.Path(back.row.run_dir), pathlib.Path(found.config.folder) / 'rows' / 'n=1.json'
    (run_dir / 'predictions.parquet').unlink()
    row.unlink()
    actors._written(found, 'n=1', back=back)
    assert table.samples(runner.finished(found)['n=1'])


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_variant_goes_on(planned, capfd):
    found = planned('killed_worker', knobs={'training.steps': 40, 'checkpoint.every_steps': 5})
    killed = []

    def kill() -> None:
        until(lambda: list(pathlib.Path(found.config.folder).glob('variants/*/checkpoints/5')))
        for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
            try:
                words = path.read_bytes().decode().split('\0')
            except OSError:  # it has just ended
                continue
            if f'--study={found.config.folder}' in words:
                os.kill(int(path.parent.name), signal.SIGKILL)
                killed.append(path.parent.name)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    rows = run(found, 'processes')
    thread.join()
    assert killed
    assert {row.status for row in rows.values()} == {'finished'} and set(rows) == set(names(found))
    assert 'was killed (SIGKILL) in the middle of' in capfd.readouterr().err


def until(true) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.slow
def test_told_to_stop_the_workers_save_and_end(planned):
    found = planned('stopped', knobs={'training.steps': 4000, 'checkpoint.every_steps': 4000}, axes=())
    folder = pathlib.Path(found.config.folder)
    parent = subprocess.Popen([sys.executable, '-c', PROGRAM, str(folder)], stderr=subprocess.PIPE, text=True)
    lines = folder / 'variants' / 'base' / 'metrics.jsonl'
    until(lambda: lines.exists() and lines.stat().st_size or parent.poll() is not None)
    parent.terminate()
    said = parent.communicate(timeout=PATIENCE)[1]
    assert parent.returncode == 1 and 'told to stop; what was under way is saved' in said
    saved = [int(path.name) for path in (folder / 'variants' / 'base' / 'checkpoints').glob('[0-9]*')]
    assert len(saved) == 1 and 0 < saved[0] < 4000
    with claim.claimed(folder / 'variants' / 'base' / 'claim') as mine:
        assert mine, 'a worker lives on'


def test_workers_that_cannot_start_are_told_at_once(planned):
    found = planned('broken')
    (pathlib.Path(found.config.folder) / study.FILE).write_text('{}')
    with pytest.raises(errors.ConfigError, match='worker . ended with status 1: ConfigError: .*study.json is no study'):
        run(found, 'processes')


def test_a_variant_that_ends_its_workers_counts_as_failed(planned, capsys):
    found, rows = planned('deadly'), []
    work = assignment.of(found, names(found), said=rows.append)
    assert work.next() == 'base'
    work.ended('base', 'worker 0 was killed (SIGKILL)')
    assert list(work.waiting) == ['n=1', 'n=2', 'base'] and not rows
    assert 'in the middle of base; it goes on in another worker' in capsys.readouterr().err
    work.ended('base', 'worker 1 was killed (SIGKILL)')
    (row,) = rows
    assert (row.status, row.error) == (
        'failed', '2 workers ended in the middle of it, the last: worker 1 was killed (SIGKILL)',
    )  # fmt: skip
    assert runner.collected(found) == [row] and not runner.finished(found)


def test_a_machine_is_divided_among_workers():
    parts = [set(processes.part(range(8), i, of=3)) for i in range(3)]
    assert set.union(*parts) == set(range(8)) and sum(map(len, parts)) == 8
    assert processes.gpus(0, 8, count=8, named=None) == {'CUDA_VISIBLE_DEVICES': '0'}
    assert [processes.gpus(i, 4, count=2, named='GPU-a,GPU-b')['CUDA_VISIBLE_DEVICES'] for i in range(4)] == [
        'GPU-a', 'GPU-b', 'GPU-a', 'GPU-b',
    ]  # fmt: skip


def test_an_engine_that_is_not_there_is_refused():
    with pytest.raises(errors.ConfigError, match="no engine 'rya'; did you mean ray"):
        engines.make('rya', workers=2)
    with pytest.raises(errors.ConfigError, match='--workers=0 must be at least 1'):
        engines.make('processes', workers=0)


CONFIG = ['--config=configs/studies/my study.py', '--config.name=it$']


def parsed(command: str) -> list[str]:
    """The variants that a command runs, as the shell and absl take it apart."""
    words = shlex.split(command)
    assert words[:5] == ['python', '-m', 'flan_jax.ablate', *CONFIG]
    return [flag.removeprefix('--only=') for flag in words[5:]]


def test_plain_commands_name_a_variant_each_and_the_report_last(planned):
    found = planned('plain', seeds=(0, 1))
    *each, report = commands.told(found, kind='plain', arguments=CONFIG, names=names(found)).splitlines()
    assert [parsed(line) for line in each] == [[name] for name in names(found)]
    assert shlex.split(report) == ['python', '-m', 'flan_jax.ablate', *CONFIG, '--report']
    nothing = commands.told(found, kind='plain', arguments=CONFIG, names=[]).splitlines()
    assert nothing == ['# every variant is finished', report]


def test_a_slurm_array_runs_a_variant_a_task(planned, tmp_path):
    found = planned('slurm', seeds=(0, 1))
    script = commands.told(found, kind='slurm', arguments=CONFIG, names=names(found))
    assert f'#SBATCH --array=0-{len(names(found)) - 1} ' in script
    (tmp_path / 'srun').write_text('#!/bin/bash\nprintf "%s\\n" "${@: -1}"\n')
    (tmp_path / 'srun').chmod(0o755)
    for i, name in enumerate(names(found)):
        done = subprocess.run(
            ['bash', '-c', script], capture_output=True, text=True,
            env={'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_ARRAY_TASK_ID': str(i)},
        )  # fmt: skip
        assert done.stdout.strip().removeprefix('--only=') == name, done.stderr
    many = commands.told(found, kind='slurm', arguments=CONFIG, names=[f'v{i}' for i in range(2500)])
    assert '--array=0-833 ' in many and '--only=v0 --only=v1 --only=v2' in many


def test_xpk_workloads_have_names_that_kubernetes_takes(planned):
    found = planned('xpk', seeds=(0, 1))
    found = dataclasses.replace(found, config=dataclasses.replace(found.config, name='2 Many_tasks: ' + 'long' * 20))
    lines = commands.told(found, kind='xpk', arguments=CONFIG, names=names(found)).splitlines()
    seen = []
    for line in lines:
        if line.startswith('xpk'):
            flags = dict(word.removeprefix('--').split('=', 1) for word in shlex.split(line)[3:])
            assert parsed(flags['command']) == [names(found)[len(seen)]]
            assert re.fullmatch(r'[a-z]([-a-z0-9]*[a-z0-9])?', flags['workload']) and len(flags['workload']) <= 40
            assert {'cluster', 'tpu-type', 'docker-image', 'num-slices'} <= flags.keys()
            seen.append(flags['workload'])
    assert len(set(seen)) == len(names(found))


def test_claims_are_had_once_and_everywhere_where_there_are_no_locks(tmp_path, monkeypatch, capsys):
    with claim.claimed(tmp_path / 'a' / 'claim') as first, claim.claimed(tmp_path / 'a' / 'claim') as second:
        assert first and not second
    with claim.claimed(tmp_path / 'a' / 'claim') as again:
        assert again

    def without(file, how):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr(claim.fcntl, 'flock', without)
    with claim.claimed(tmp_path / 'a' / 'claim') as mine:
        assert mine
    assert 'no locks on this file system (Function not implemented)' in capsys.readouterr().err
