"""Runs the variants of a study: what is finished is skipped, what was killed goes on, what fails is written down."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from flan_jax import errors, run
from flan_jax.ablation import claim, study, table
from flan_jax.ablation.compiling import Compiling
from flan_jax.ablation.study import Study, Variant
from flan_jax.ablation.table import Result
from flan_jax.config import to_dict
from flan_jax.shared import Shared

LOG = 'log.txt'  # of a variant, what its run says


class Stopped(errors.FlanJaxError):
    """The process was told to stop; what is under way is saved."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """One process's part in a study.

    Attributes:
      shared: compiled steps and weights its variants have in common.
      compiling: counts of what is compiled.
    """

    shared: Shared = dataclasses.field(default_factory=Shared)
    compiling: Compiling = dataclasses.field(default_factory=Compiling)


def finished(found: Study) -> dict[str, Result]:
    """Variant -> its row, of those that need not be run again.

    Raises:
      DataError: a row is damaged or belongs to another study.
      ConfigError: a variant of that name was run with another config.
    """
    rows = table.read_rows(found.config.folder, fingerprint=found.identity)
    done = {name: row for name, row in rows.items() if row.status == 'finished'}
    study.check_rows(found, done)
    return done


def run_all(found: Study, names: Iterable[str], *, worker: Worker, said: Callable[[Result], None]) -> None:
    """Runs variants one after the other, those that another process is at left to it.

    Args:
      found: the study.
      names: of the variants.
      worker: this process.
      said: told every row.

    Raises:
      Stopped: the process was told to stop.
    """
    by_name = {variant.name: variant for variant in found.variants}
    for name in names:
        row = run_variant(found, by_name[name], worker=worker)
        if row is not None:
            said(row)


def run_variant(found: Study, variant: Variant, *, worker: Worker) -> Result | None:
    """Runs a variant to its end and writes its row.

    Returns:
      The row; None if another process is at this variant or has finished it.

    Raises:
      Stopped: the process was told to stop; the variant goes on from there at the next start.
    """
    folder = pathlib.Path(variant.config.run_dir)
    with claim.claimed(folder / 'claim') as mine:
        if not mine or variant.name in finished(found):
            return None
        began, compiled = time.perf_counter(), (worker.compiling.seconds, worker.compiling.executables)
        error, scores = '', None
        try:
            with open(folder / LOG, 'a') as log, contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
                scores = run.train(variant.config, shared=worker.shared)
        except Exception as e:  # one variant must not end the others, whatever ails it
            error = f'{type(e).__name__}: {e}'
            with open(folder / LOG, 'a') as log:
                log.write(traceback.format_exc())
        if scores is None and not error:
            raise Stopped(f'told to stop; {variant.name} is saved as far as it is, start again to go on')
        now = worker.compiling
        cost = {
            'wall_s': time.perf_counter() - began, 'compile_s': now.seconds - compiled[0],
            'compiled': now.executables - compiled[1], **_spent(variant, folder),
        }  # fmt: skip
        row = _row(variant, scores, error=error, cost=cost)
        table.write_row(found.config.folder, row, fingerprint=found.identity)
        if not found.config.keep_checkpoints and not error:
            shutil.rmtree(folder / 'checkpoints', ignore_errors=True)
    return row


def _spent(variant: Variant, folder: pathlib.Path) -> dict[str, Any]:
    path = folder / 'seconds.json'
    seconds = json.loads(path.read_text()) if path.exists() else {}
    device = jax.devices()[0]
    return {
        **{f'{part}_s': spent for part, spent in seconds.items()}, **dataclasses.asdict(variant.spent),
        'device': device.device_kind, 'devices': jax.device_count(),
    }  # fmt: skip


def _row(variant: Variant, scores: Mapping[str, Any] | None, *, error: str, cost: Mapping[str, Any]) -> Result:
    folder = pathlib.Path(variant.config.run_dir)
    plan = folder / 'plan.json'
    return Result(
        variant=variant.name,
        settings=variant.settings,
        seed=variant.config.seed,
        status='failed' if error else 'finished',
        error=error,
        groups=variant.groups,
        config=to_dict(variant.config),
        plan=json.loads(plan.read_text()) if plan.exists() else {},
        scores=_without_examples(scores) if scores is not None else {},
        cost=cost,
        run_dir=str(folder),
    )


def failed(variant: Variant, why: str) -> Result:
    """The row of a variant whose process could not write it."""
    return _row(variant, None, error=why, cost={'wall_s': 0.0, 'compile_s': 0.0, 'compiled': 0})


def _without_examples(scores: Mapping[str, Any]) -> dict[str, Any]:
    tasks = {
        name: {key: value for key, value in task.items() if key != 'examples'} for name, task in scores['tasks'].items()
    }
    return {**scores, 'tasks': tasks}


def collected(found: Study) -> list[Result]:
    """All rows there are, in the study's order.

    Raises:
      DataError: a row is damaged or belongs to another study.
    """
    rows = table.read_rows(found.config.folder, fingerprint=found.identity)
    return [rows[variant.name] for variant in found.variants if variant.name in rows]


class Progress:
    """Says how a study is getting on, a line a variant.

    Args:
      names: of all variants.
      done: how many are finished before.
    """

    def __init__(self, names: Iterable[str], *, done: int):
        self._of, self._before, self._new = len(list(names)), done, 0
        self._began = time.perf_counter()
        if done:
            print(f'{done} of {self._of} variants are finished already', file=sys.stderr)

    def __call__(self, row: Result) -> None:
        self._new += 1
        count = self._before + self._new
        spent = time.perf_counter() - self._began
        left = spent / self._new * (self._of - count)
        what = row.error.splitlines()[0] if row.error else _scores(row)
        print(
            f'[{count}/{self._of}] {row.variant}: {what}, {row.cost["wall_s"]:.0f} s '
            f'({row.cost["compile_s"]:.0f} s compiling); about {_minutes(left)} left',
            file=sys.stderr,
            flush=True,
        )


def _scores(row: Result) -> str:
    means = {target: table.mean(row, target) for target in ('held_in', 'unseen', 'held_out')}
    return ', '.join(f'{target} {100 * mean:.1f}' for target, mean in means.items() if mean is not None)


def _minutes(seconds: float) -> str:
    """
    >>> _minutes(59), _minutes(600)
    ('1 min', '10 min')
    """
    return f'{max(round(seconds / 60), 1)} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'


def check_alone(mine: bool, folder: str) -> None:
    """Refuses a folder that another process runs a study in.

    Raises:
      ConfigError: another one has it.
    """
    if not mine:
        raise errors.ConfigError(f'another process is running a study in {folder}; wait for it, or name this one anew')
