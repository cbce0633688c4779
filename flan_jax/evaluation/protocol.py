"""The protocol: how answers become scores, averaged over what.

Every straight template of a task is asked about the same source rows. A task's score is its first metric, the mean over
its templates; a cluster's, the mean over its tasks; a group's, the mean over its tasks:

    held_in             trained tasks, templates training saw
    held_out_templates  trained tasks, templates it did not
    held_out_clusters   tasks of held-out clusters (and held-out tasks), all templates

Beside it stand `exact_match`; `normalised`, (score - chance) / (1 - chance); `spread`, best template minus worst; and
`best_by_validation`, the score of the template that is best on the other half of the rows: what choosing a prompt by
validation gives, whereas the best template's own score is partly luck.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax.evaluation import analysis, outcomes, resampling
from flan_jax.evaluation.outcomes import Outcomes
from flan_jax.evaluation.probes import Probe

GROUPS = ('held_in', 'held_out_templates', 'held_out_clusters')
_AVERAGED = ('exact_match', 'score', 'normalised', 'spread', 'best_by_validation', 'length_ratio', 'shots')


def scores(
    found: Sequence[Outcomes],
    *,
    examples: int,
    show: Callable[[Sequence[int]], str],
    probes: Sequence[tuple[Probe, Outcomes]] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """scores.json of some answers.

    Args:
      found: what was asked and answered.
      examples: shown of each task, so many of the worst and so many of the best.
      show: ids -> text, for those.
      probes: what was asked of them besides.
      seed: of the resampling.

    Returns:
      The three groups (None for one without tasks), `clusters`, `tasks`, and `calibration` over all ranked tasks.
    """
    tasks = {}
    for one in found:
        mine = [(probe, answered) for probe, answered in probes if probe.suite.name == one.asked.name]
        tasks[one.asked.name] = _task(one, seed=seed) | analysis.of(one, mine)
        tasks[one.asked.name]['examples'] = _examples(one, count=examples, show=show)
    out: dict[str, Any] = {group: _group(tasks, group) for group in GROUPS}
    clusters = {}
    for name in sorted({t['cluster'] for t in tasks.values()}):
        members = [t for t in tasks.values() if t['cluster'] == name]
        # Of a cluster that is trained on in part, a task held out by itself counts in its group alone.
        held_out = all(t['held_out'] for t in members)
        parts = [t['held_out_clusters' if held_out else 'held_in'] for t in members]
        if any(parts):
            chances = [t['chance'] for t, part in zip(members, parts) if part]
            clusters[name] = _average([part for part in parts if part]) | {
                'held_out': held_out, 'chance': _mean(chances),
            }  # fmt: skip
    for task in tasks.values():
        for group in GROUPS:
            if task[group]:
                del task[group]['draws']
    return out | {'calibration': analysis.pooled_calibration(tasks), 'clusters': clusters, 'tasks': tasks}


def _group(tasks: Mapping[str, Mapping[str, Any]], group: str) -> dict[str, Any] | None:
    """The averages of a group; `by_cluster` is the mean over clusters of the means over their tasks."""
    members = [t for t in tasks.values() if t[group]]
    if not members:
        return None
    by_cluster: dict[str, list[float]] = {}
    for task in members:
        by_cluster.setdefault(task['cluster'], []).append(task[group]['score'])
    baselines = {key: _mean([t[key] for t in members]) for key in ('constant_baseline', 'copy_baseline', 'chance')}
    return _average([t[group] for t in members]) | baselines | {'by_cluster': _mean([*map(_mean, by_cluster.values())])}


def _average(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over tasks, and the interval of the mean score from the tasks' own resamples, if all have one."""
    known = all(part['interval'] is not None for part in parts)
    values = {key: [part[key] for part in parts if part.get(key) is not None] for key in _AVERAGED}
    return {
        **{key: _mean(of_tasks) for key, of_tasks in values.items() if of_tasks},
        'interval': resampling.interval(np.mean([part['draws'] for part in parts], axis=0)) if known else None,
        'tasks': len(parts),
        'examples': sum(part['examples'] for part in parts),
    }


def _task(found: Outcomes, *, seed: int) -> dict[str, Any]:
    asked = found.asked
    names = list(dict.fromkeys(asked.templates))
    places = {name: np.flatnonzero([t == name for t in asked.templates]) for name in names}
    own = found.measure(list(places.values()))
    templates = {
        name: {
            'exact_match': float(found.exact[places[name]].mean()), 'score': float(score),
            'held_out': name in asked.unseen,
        }
        for name, score in zip(names, own)
    }  # fmt: skip
    seen = [name for name in names if asked.held_out or name not in asked.unseen]
    unseen = [name for name in names if name not in seen]
    chance = outcomes.chance(asked)

    def part(chosen: list[str]) -> dict[str, Any] | None:
        mine = {name: places[name] for name in chosen}
        return _part(found, mine, chance=chance, seed=seed) if chosen else None

    return {
        'cluster': asked.cluster,
        'held_out': asked.held_out,
        'mode': asked.mode,
        'metric': found.metric,
        'held_in': None if asked.held_out else part(seen),
        'held_out_templates': None if asked.held_out else part(unseen),
        'held_out_clusters': part(seen) if asked.held_out else None,
        'chance': chance,
        'constant_baseline': outcomes.constant(asked),
        'copy_baseline': outcomes.copying(asked),
        'trimmed': int((asked.trimmed > 0).sum()),
        'dropped': dict(asked.dropped),
        'templates': templates,
    }


def _part(found: Outcomes, places: Mapping[str, np.ndarray], *, chance: float, seed: int) -> dict[str, Any]:
    """What some of a task's templates come to."""
    asked, names = found.asked, list(places)
    index = np.sort(np.concatenate(list(places.values())))
    # A seed of its own for each task: tasks drawn alike would seem to err together, and their mean be less certain.
    own_seed = (seed, zlib.crc32(asked.name.encode()))
    draws = found.draws(index, seed=own_seed)
    by_template = found.measure(list(places.values()))
    order = np.argsort(by_template, kind='stable')
    measured = {metric: float(found.measure([index], metric)[0]) for metric in asked.metrics}
    score = measured[found.metric]
    return measured | {
        'exact_match': float(found.exact[index].mean()),
        'score': score,
        'normalised': (score - chance) / (1 - chance) if chance < 1 else None,
        # One row drawn again and again is always itself, which says nothing about others.
        'interval': resampling.interval(draws) if len(np.unique(asked.rows[index])) > 1 else None,
        'best_template': names[order[-1]],
        'worst_template': names[order[0]],
        'best_by_validation': _validated(found, places, seed=own_seed),
        'spread': float(by_template[order[-1]] - by_template[order[0]]),
        'deviation': float(by_template.std()),
        'length_ratio': analysis.length_ratio(found, index),
        'shots': float(asked.shots[index].mean()),
        'examples': len(index),
        'draws': draws,
    }


def _validated(found: Outcomes, places: Mapping[str, np.ndarray], *, seed: resampling.Seed) -> float | None:
    """Mean over both halves of the rows: the score of the template that is best on the other half."""
    first = resampling.halves(found.asked.rows, seed=seed)
    sides = [[index[first[index]] for index in places.values()], [index[~first[index]] for index in places.values()]]
    if not all(len(index) for side in sides for index in side):
        return None
    one, other = (found.measure(side) for side in sides)
    return float((one[other.argmax()] + other[one.argmax()]) / 2)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _examples(found: Outcomes, *, count: int, show: Callable[[Sequence[int]], str]) -> list[dict[str, Any]]:
    """The worst answers, then the best ones; of equal ones those the model was surest of."""
    asked, values = found.asked, found.best_known
    sure = np.nan_to_num(found.confidence)
    worst = sorted(range(len(asked)), key=lambda i: (values[i], -sure[i], i))[:count]
    best = [i for i in sorted(range(len(asked)), key=lambda i: (-values[i], -sure[i], i))[:count] if i not in worst]
    out = []
    for i in [*worst, *best]:
        one = {
            'row': int(asked.rows[i]), 'template': asked.templates[i], 'prompt': show(asked.prompts[i]),
            'references': asked.metas[i]['references'], 'prediction': found.answers.texts[i],
            'correct': bool(found.exact[i] > 0), 'score': round(float(values[i]), 4), 'kind': 'worst',
        }  # fmt: skip
        if i in best:
            one['kind'] = 'best'
        if found.answers.flags[i]:
            one['flag'] = found.answers.flags[i]
        if not np.isnan(found.answers.compared[i]).all():  # none of a generated answer
            one['options'] = _options(found, i)
        out.append(one)
    return out


def _options(found: Outcomes, place: int, *, most: int = 8) -> list[list[Any]]:
    """The likeliest options of a prompt with the shares of probability they get."""
    compared, names = found.answers.compared[place], found.asked.metas[place]['options']
    mass = np.exp(compared - np.nanmax(compared))
    shares = mass / np.nansum(mass)
    return [[names[i], None if np.isnan(shares[i]) else round(float(shares[i]), 4)] for i in np.argsort(-shares)[:most]]
