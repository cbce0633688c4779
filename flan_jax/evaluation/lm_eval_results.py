"""Our scores in the form of lm-eval's result files, for the programs that read those.

    lm-eval's key              what of scores.json
    results.TASK               the task's metrics, under its filter `none`; on templates that training did not see,
                               under the filter `held_out_templates`
    groups.GROUP               the groups and the clusters, by their metric `score`
    group_subtasks             a cluster's tasks, and the clusters that are trained on and that are held out
    configs, n-shot, n-samples, higher_is_better, config

A metric that lm-eval has as well goes by its name there. Standard errors are those that the intervals, resampled over
source rows, would have if they were normal.
"""

from collections.abc import Mapping
from typing import Any

from flan_jax.evaluation import likelihood, metrics, resampling

FILE = 'lm_eval_results.json'
VERSION = 'N/A'  # what lm-eval writes for a task that names none
WAYS = {'rank': 'multiple_choice', 'generate': 'generate_until'}
# Of an option chosen by `evaluation.normalise`: lm-eval has no name for the mean over tokens.
ACCURACIES = {'sum': 'acc', 'byte': 'acc_bytes', 'pmi': 'acc_mutual_info', 'token': 'acc_token'}
NAMES = {'matthews': 'mcc'}
PARTS = {'held_in': 'none', 'held_out_clusters': 'none', 'held_out_templates': 'held_out_templates'}
GROUPS = tuple(PARTS)


def of(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What lm-eval would have written.

    Args:
      scores: of scores.json.
    """
    tasks, settings = scores['tasks'], scores.get('settings') or {}
    normalise, source = settings.get('normalise', 'sum'), scores.get('checkpoint')
    shots = {name: _shots(task, settings) for name, task in tasks.items()}
    results = {name: _task(name, task, normalise=normalise) for name, task in tasks.items()}
    groups, members = _groups(scores)
    return {
        'results': results | groups,
        'groups': groups,
        'group_subtasks': members,
        'configs': {name: _config(name, task, shots=shots[name]) for name, task in tasks.items()},
        'versions': dict.fromkeys(tasks, VERSION),
        'n-shot': shots,
        'higher_is_better': {name: dict.fromkeys(_measured(found), True) for name, found in (results | groups).items()},
        'n-samples': {name: _samples(task) for name, task in tasks.items()},
        'config': {
            'model': 'flan_jax', 'model_args': {'checkpoint': source, 'step': scores.get('step')}, 'batch_size': None,
            'limit': None, 'bootstrap_iters': resampling.RESAMPLES,
        },
        'model_source': 'flan_jax',
        'model_name': source,
    }  # fmt: skip


def stderr(interval: list[float] | None) -> float | str:
    """The standard error that an interval of 95 % of a normal distribution has.

    >>> round(stderr([0.5, 0.696]), 6), stderr(None)
    (0.05, 'N/A')
    """
    return 'N/A' if interval is None else (interval[1] - interval[0]) / (2 * 1.96)


def _task(name: str, task: Mapping[str, Any], *, normalise: str) -> dict[str, Any]:
    out: dict[str, Any] = {'name': name, 'alias': name, 'sample_len': _samples(task)['effective']}
    for part, found in _parts(task).items():
        measured = {key: value for key, value in found.items() if key in metrics.METRICS or key in likelihood.METRICS}
        ranked = task.get('mode') == 'rank' and 'accuracy' in measured
        for metric, value in measured.items():
            if ranked and metric == 'exact_match':
                continue  # of options it is the accuracy
            own = ACCURACIES[normalise] if ranked and metric == 'accuracy' else NAMES.get(metric, metric)
            out[f'{own},{PARTS[part]}'] = value
            out[f'{own}_stderr,{PARTS[part]}'] = stderr(found.get('interval') if metric == task['metric'] else None)
    return out


def _groups(scores: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Results of groups and clusters, and what is in them; nothing is in two, or tables would show it twice."""
    clusters = scores.get('clusters') or {}
    # A task and its cluster may go by one name.
    members = {f'cluster_{name}': [n for n, t in scores['tasks'].items() if t['cluster'] == name] for name in clusters}
    found = {group: scores[group] for group in GROUPS if scores.get(group)}
    for group, held_out in (('held_in', False), ('held_out_clusters', True)):
        if group in found:
            members[group] = [f'cluster_{n}' for n, part in clusters.items() if bool(part.get('held_out')) is held_out]
    found |= {f'cluster_{name}': part for name, part in clusters.items()}
    out = {
        name: {
            'name': name, 'alias': name, 'sample_len': part['examples'], 'score,none': part['score'],
            'score_stderr,none': stderr(part.get('interval')),
        }
        for name, part in found.items()
    }  # fmt: skip
    return out, members


def _parts(task: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {part: task[part] for part in PARTS if task.get(part)}


def _measured(found: Mapping[str, Any]) -> list[str]:
    keys = [key.partition(',')[0] for key in found if ',' in key]
    return list(dict.fromkeys(key for key in keys if not key.endswith('_stderr')))


def _shots(task: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """Exemplars asked for; of older files those there were on average."""
    if 'eval_shots' in settings:
        return settings['eval_shots']
    return round(max((part.get('shots', 0) for part in _parts(task).values()), default=0))


def _samples(task: Mapping[str, Any]) -> dict[str, int]:
    """Source rows; each was asked about once with every template."""
    templates = max(len(task.get('templates') or {}), 1)
    rows = sum(part['examples'] for part in _parts(task).values()) // templates
    return {'original': rows + sum((task.get('dropped') or {}).values()), 'effective': rows}


def _config(name: str, task: Mapping[str, Any], *, shots: int) -> dict[str, Any]:
    return {
        'task': name, 'tag': task['cluster'], 'output_type': WAYS.get(task.get('mode'), task.get('mode')),
        'num_fewshot': shots, 'metric_list': [{'metric': task.get('metric'), 'higher_is_better': True}],
        'metadata': {'version': VERSION, 'templates': list(task.get('templates') or {})},
    }  # fmt: skip
