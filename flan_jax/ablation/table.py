"""The table of a study: one row a variant, in `results.parquet`, and every answer beside it in the runs' directories.

Each variant's row is a file of its own until all are done (`rows/<variant>.json`), written whole or not at all, so that
processes and hosts that share the folder need not agree on who writes. The table is made of them.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from flan_jax import errors
from flan_jax.evaluation import predictions

FILE, ROWS = 'results.parquet', 'rows'
TARGETS = ('held_in', 'held_out_templates', 'unseen', 'held_out')  # what a variant's scores are means over
_JSON = ('settings', 'groups', 'config', 'plan', 'scores', 'cost')


@dataclasses.dataclass(frozen=True)
class Setting:
    """A variant's place on one axis.

    Attributes:
      axis: its name.
      value: what it is drawn at; None where it is no number.
      label: what it is called.
      draw: which of several random draws for this value.
    """

    axis: str
    value: float | None
    label: str
    draw: int = 0


@dataclasses.dataclass(frozen=True)
class Result:
    """One variant's row.

    Attributes:
      variant: its name; 'base' or 'base-seed1' for what all others change.
      settings: axis -> its place; axes it leaves as the base has them are not named.
      seed: of the run.
      status: how it ended.
      error: why it failed.
      groups: target (see `TARGETS`) -> its tasks: trained ones (held_in, held_out_templates), tasks of the study that
        this variant does not train on (unseen), those that no variant trains on (held_out).
      config: resolved.
      plan: plan.json.
      scores: scores.json without examples.
      cost: of the start that ended it: wall_s, compile_s, compiled, the parts of seconds.json (data_s, begin_s,
        weights_s, train_s, evaluate_s), what `budget.Spent` has, device, devices.
      run_dir: where the rest is.
    """

    variant: str
    settings: Mapping[str, Setting]
    seed: int
    status: Literal['finished', 'failed']
    error: str = ''
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cost: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    run_dir: str = ''


@dataclasses.dataclass(frozen=True)
class Samples:
    """A task's score, row by row.

    Attributes:
      rows: source rows, distinct and ascending, i64[n].
      values: mean over the row's templates, f64[n].
    """

    rows: np.ndarray
    values: np.ndarray


def write_row(study_dir: str | os.PathLike, result: Result, *, fingerprint: str) -> pathlib.Path:
    """Writes a variant's row whole or not at all.

    Args:
      fingerprint: of the study.
    """
    path = pathlib.Path(study_dir) / ROWS / f'{result.variant}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f'.{os.getpid()}.tmp')
    temporary.write_text(json.dumps({'study': fingerprint} | dataclasses.asdict(result)))
    return temporary.replace(path)


def read_rows(study_dir: str | os.PathLike, *, fingerprint: str) -> dict[str, Result]:
    """Variant -> its row, of those that are written.

    Raises:
      DataError: a row belongs to another study, or is damaged.
    """
    out = {}
    for path in sorted((pathlib.Path(study_dir) / ROWS).glob('*.json')):
        try:
            values = json.loads(path.read_text())
            of = values.pop('study')
            row = _row(values)
        except (ValueError, KeyError, TypeError) as e:
            raise errors.DataError(f'{path} is no row of a study ({e}); remove it, its variant is run again') from e
        if of != fingerprint:
            raise errors.DataError(
                f'{path} belongs to study {of}, not {fingerprint}: the config has changed since. '
                'Give the study another name, or remove its folder'
            )
        out[row.variant] = row
    return out


def write(study_dir: str | os.PathLike, results: Iterable[Result], *, fingerprint: str) -> pathlib.Path:
    """Writes the table whole or not at all: names, numbers and states as columns, what is nested as JSON text."""
    rows = []
    for result in results:
        row = dataclasses.asdict(result)
        row |= {name: json.dumps(row[name]) for name in _JSON}
        rows.append(row | {f'score_{target}': mean(result, target) for target in TARGETS})
    names = [field.name for field in dataclasses.fields(Result)] + [f'score_{target}' for target in TARGETS]
    kinds = {'seed': pa.int64()} | {f'score_{target}': pa.float64() for target in TARGETS}
    schema = pa.schema([(name, kinds[name] if name in kinds else pa.string()) for name in names])
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata({'flan_jax.study': fingerprint}))
    path = pathlib.Path(study_dir) / FILE
    temporary = path.with_suffix(f'.{os.getpid()}.tmp')
    pa.parquet.write_table(table, temporary, compression='zstd')
    return temporary.replace(path)


def read(study_dir: str | os.PathLike) -> list[Result]:
    """The rows of a study's table.

    Raises:
      DataError: there is none, or it is no such table.
    """
    path = pathlib.Path(study_dir) / FILE
    if not path.exists():
        raise errors.DataError(f'{path} is missing; python -m flan_jax.ablate --config=... writes it')
    try:
        table = pa.parquet.read_table(path)
        fields = [field.name for field in dataclasses.fields(Result)]
        rows = [{name: row[name] for name in fields} for row in table.to_pylist()]
        return [_row(row | {name: json.loads(row[name]) for name in _JSON}) for row in rows]
    except (OSError, pa.ArrowInvalid, KeyError, ValueError, TypeError) as e:
        raise errors.DataError(f'{path} is no table of a study ({e}); run the study again') from e


def _row(values: Mapping[str, Any]) -> Result:
    settings = {axis: Setting(**place) for axis, place in values['settings'].items()}
    groups = {target: tuple(names) for target, names in values['groups'].items()}
    return Result(**{**values, 'settings': settings, 'groups': groups})


def mean(result: Result, target: str) -> float | None:
    """Mean score over a target's tasks; None if it has none."""
    found = [part['score'] for part in _parts(result, target).values()]
    return float(np.mean(found)) if found else None


def _parts(result: Result, target: str) -> dict[str, Mapping[str, Any]]:
    """Task -> what scores.json says of it under a target."""
    if result.status != 'finished' or target not in result.groups:
        return {}
    part = target if target in ('held_in', 'held_out_templates') else 'held_out_clusters'
    tasks = result.scores['tasks']
    return {name: tasks[name][part] for name in result.groups[target] if name in tasks and tasks[name][part]}


def samples(result: Result) -> dict[str, dict[str, Samples]]:
    """Target -> task -> its score row by row, from the run's own answers.

    A metric that is none of single rows (BLEU, correlations) gives way to exact match.

    Raises:
      DataError: the answers are gone, or one has a score that is no number.
    """
    own = pathlib.Path(result.run_dir)
    again = f'remove {own.parent.parent / ROWS / own.name}.json, and the study runs that variant again'
    try:
        answers, _ = predictions.read(own)
    except errors.DataError as e:
        raise errors.DataError(f'variant {result.variant}: {e}; or {again}') from e
    columns = {name: answers.column(name).to_pylist() for name in ('task', 'template', 'row_id', 'score', 'exact')}
    places: dict[str, list[int]] = {}
    for i, name in enumerate(columns['task']):
        places.setdefault(name, []).append(i)
    out: dict[str, dict[str, Samples]] = {}
    for target in TARGETS:
        for name in _parts(result, target):
            told = result.scores['tasks'][name]['templates']
            # Of a trained task the templates count apart; of others all count.
            unseen = {'held_in': (False,), 'held_out_templates': (True,)}.get(target, (False, True))
            mine = [i for i in places.get(name, ()) if told[columns['template'][i]]['held_out'] in unseen]
            if mine:
                found = _samples(columns, mine)
                if not np.isfinite(found.values).all():
                    raise errors.DataError(
                        f'variant {result.variant}: a score of task {name} is no number; correct its metric, {again}'
                    )
                out.setdefault(target, {})[name] = found
    return out


def _samples(columns: Mapping[str, list], places: list[int]) -> Samples:
    kind = 'score' if all(columns['score'][i] is not None for i in places) else 'exact'
    rows, inverse = np.unique([columns['row_id'][i] for i in places], return_inverse=True)
    values = np.array([columns[kind][i] for i in places], np.float64)
    return Samples(rows, np.bincount(inverse, values) / np.bincount(inverse))
