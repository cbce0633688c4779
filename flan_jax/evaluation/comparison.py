"""Two runs side by side: the same prompts, paired tests, so that a difference comes with its uncertainty."""

import collections
import dataclasses
import json
import os
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flan_jax import errors
from flan_jax.evaluation import metrics, predictions, resampling
from flan_jax.evaluation.resampling import Paired

ONE_ONLY = 'trained_by_one'  # tasks that one run trained on and the other held out
GROUPS = ('held_in', 'held_out_templates', 'held_out_clusters', ONE_ONLY)


@dataclasses.dataclass(frozen=True)
class Row:
    """One task, over all the prompts both runs answered.

    Attributes:
      task, cluster, metric: of it.
      group: of the whole task, its seen templates first.
      scores: of the first and the second run.
      paired: the difference.
      p_corrected: `paired.p` corrected for the number of tasks (Holm).
      prompts: answered by both.
    """

    task: str
    cluster: str
    metric: str
    group: str
    scores: tuple[float, float]
    paired: Paired
    p_corrected: float
    prompts: int


@dataclasses.dataclass(frozen=True)
class Group:
    """A group's mean difference over tasks.

    Attributes:
      scores: mean scores of both runs.
      difference: of these.
      interval: 95 %, rows of every task drawn anew; tasks are what they are.
      better, worse: tasks where the second run is better, worse.
      p_sign: of so many by chance, which treats tasks as drawn from many.
      tasks: all.
    """

    scores: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    better: int
    worse: int
    p_sign: float
    tasks: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
      names: of them, as given.
      rows: a task each.
      groups: by name, those that have tasks.
      alone: tasks that only the first, only the second run answered.
      unmatched: prompts of common tasks that only one run answered.
      asked: settings of the evaluations that differ, with both values.
    """

    names: tuple[str, str]
    rows: Sequence[Row]
    groups: Mapping[str, Group]
    alone: tuple[Sequence[str], Sequence[str]]
    unmatched: int
    asked: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Prompts of one task that both runs answered, in the same order."""

    metric: str
    rows: np.ndarray
    templates: Sequence[str]
    sides: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]]

    def compare(self, places: np.ndarray, *, seed: resampling.Seed) -> tuple[tuple[float, float], Paired]:
        """(scores, the difference) on some of them."""
        first, second = self.sides
        rows = self.rows[places]
        if first['score'][0] is None:
            one, other = (self._statistic(side, places) for side in self.sides)
            return resampling.paired_statistic(one, other, rows=rows, seed=seed)
        values = [np.array(side['score'], np.float64)[places] for side in self.sides]
        found = resampling.paired(*values, rows=rows, seed=seed)
        return (float(values[0].mean()), float(values[1].mean())), found

    def _statistic(self, side: Mapping[str, Sequence[Any]], places: np.ndarray) -> resampling.Statistic:
        references = [json.loads(side['references'][i]) for i in places]
        said = [side['prediction'][i] for i in places]
        return lambda picks: metrics.resampled(self.metric, references, predictions=said, picks=picks)


def compare(first: str | os.PathLike, second: str | os.PathLike, *, seed: int = 0) -> Comparison:
    """Compares the answers of two run directories.

    Raises:
      DataError: a directory holds no answers, some prompt's twice, or those of other rows; or they share no prompt.
    """
    answers = [predictions.read(folder) for folder in (first, second)]
    tables = [_by_task(table) for table, _ in answers]
    common = [name for name in tables[0] if name in tables[1]]
    scored = [_scored(folder) for folder in (first, second)]
    told = [scores.get('tasks') or {} for scores in scored]
    asked = [scores.get('settings') or {} for scores in scored]
    rows, parts, unmatched = [], {}, 0
    for name in common:
        metric = answers[1][1][name] if answers[0][1][name] == answers[1][1][name] else 'exact_match'
        try:
            part, left = _matched(tables[0][name], tables[1][name], metric=metric)
        except errors.DataError as e:
            raise errors.DataError(f'{first} and {second}, task {name!r}: {e}') from e
        unmatched += left
        if part is None:
            continue
        scores, paired = part.compare(np.arange(len(part.rows)), seed=_seed(seed, name))
        about = told[1].get(name, {})
        groups = [_group(told, name, template=t) for t in part.templates]
        for group in dict.fromkeys(groups):
            places = np.flatnonzero([g == group for g in groups])
            whole = len(places) == len(groups)
            found = (scores, paired) if whole else part.compare(places, seed=_seed(seed, name))
            parts.setdefault(group, []).append(found)
        rows.append(
            Row(name, str(about.get('cluster', '–')), metric, min(groups, key=GROUPS.index), scores, paired, 1.0,
                len(part.rows))
        )  # fmt: skip
    if not rows:
        raise errors.DataError(
            f'{first} and {second} answered no prompt both; evaluate them on the same tasks, rows and templates'
        )
    corrected = resampling.holm([row.paired.p for row in rows])
    rows = [dataclasses.replace(row, p_corrected=p) for row, p in zip(rows, corrected, strict=True)]
    alone = tuple(sorted(set(tables[i]) - set(tables[1 - i])) for i in range(2))
    means = {group: _mean(parts[group]) for group in GROUPS if group in parts}
    differ = {
        name: (one, asked[1][name]) for name, one in asked[0].items() if name in asked[1] and asked[1][name] != one
    }
    return Comparison((str(first), str(second)), rows, means, alone, unmatched, differ)


def _seed(seed: int, task: str) -> tuple[int, int]:
    return seed, zlib.crc32(task.encode())


def _mean(parts: Sequence[tuple[tuple[float, float], Paired]]) -> Group:
    """Over the tasks of a group."""
    changes = [paired.difference for _, paired in parts]
    better, worse = sum(c > 1e-12 for c in changes), sum(c < -1e-12 for c in changes)
    low, high = resampling.interval(np.mean([paired.draws for _, paired in parts], axis=0))
    means = np.mean([scores for scores, _ in parts], axis=0)
    return Group(
        (float(means[0]), float(means[1])), float(np.mean(changes)), (low, high), better, worse,
        resampling.sign_test(better, worse), len(parts),
    )  # fmt: skip


def _scored(folder: str | os.PathLike) -> dict[str, Any]:
    """scores.json of a run; nothing if there is none."""
    path = pathlib.Path(folder) / 'scores.json'
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as e:
        raise errors.DataError(f'{path} cannot be read ({e}); evaluate that run again') from e


def _group(told: Sequence[Mapping[str, Mapping[str, Any]]], task: str, *, template: str) -> str:
    """A prompt's group; the second run says which templates were held out."""
    held_out = [bool(run.get(task, {}).get('held_out')) for run in told]
    if held_out[0] != held_out[1]:
        return ONE_ONLY
    if held_out[0]:
        return 'held_out_clusters'
    unseen = told[1].get(task, {}).get('templates', {}).get(template, {}).get('held_out')
    return 'held_out_templates' if unseen else 'held_in'


def _by_task(table: pa.Table) -> dict[str, dict[str, list]]:
    """Columns of each task, in the file's order of tasks."""
    names = np.array(table.column('task').to_pylist(), object)
    wanted = ('row_id', 'template', 'shots', 'prediction', 'exact', 'score', 'references', 'answer')
    columns = {name: table.column(name).to_pylist() for name in wanted}
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    return {
        name: {column: [values[i] for i in mine] for column, values in columns.items()} for name, mine in places.items()
    }


def _matched(first: Mapping[str, list], second: Mapping[str, list], *, metric: str) -> tuple[_Part | None, int]:
    """(the prompts both answered, how many only one did).

    Raises:
      DataError: a prompt is there twice, or what is right differs, so that the rows cannot be the same.
    """
    keys = [list(zip(side['row_id'], side['template'], strict=True)) for side in (first, second)]
    for side in keys:
        if len(set(side)) < len(side):
            row, template = collections.Counter(side).most_common(1)[0][0]
            raise errors.DataError(f'row {row}, template {template!r}, is answered twice; evaluate that run again')
    place = {key: i for i, key in enumerate(keys[0])}
    pairs = [(place[key], i) for i, key in enumerate(keys[1]) if key in place]
    for i, j in pairs:
        # Of generated answers no option is right, and not every metric has its references kept.
        one, other = ((side['answer'][k], side['references'][k]) for side, k in ((first, i), (second, j)))
        if any(a != b and a not in (-1, None) and b not in (-1, None) for a, b in zip(one, other, strict=True)):
            raise errors.DataError(
                f'row {keys[1][j][0]} has another right answer in each; the rows have changed, evaluate both again'
            )
    left = len(keys[0]) + len(keys[1]) - 2 * len(pairs)
    if not pairs:
        return None, left
    sides = tuple(
        {column: [values[pair[side]] for pair in pairs] for column, values in columns.items()}
        for side, columns in enumerate((first, second))
    )
    if metric == 'exact_match':
        sides = tuple({**side, 'score': side['exact']} for side in sides)
    return _Part(metric, np.array(sides[0]['row_id']), sides[0]['template'], sides), left
