"""The report's part on scores: groups, clusters, tasks with the spread over templates, and examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax.evaluation import svg
from flan_jax.evaluation.page import Cell, Column, Markup, fold, missing, table, tag
from flan_jax.evaluation.svg import is_number

GROUPS = {
    'held_in': ('Held-in', 'trained tasks, templates that training saw'),
    'held_out_templates': ('Held-out templates', 'trained tasks, templates that training did not see'),
    'held_out_clusters': ('Held-out clusters', 'tasks that training did not see'),
}


def percent(value: float | None) -> str:
    """A share as per cent, without the sign: tables say it in their head.

    >>> percent(0.9014), percent(None)
    ('90.1', '–')
    """
    return f'{100 * value:.1f}' if is_number(value) else '–'


def between(interval: Sequence[float] | None) -> str:
    """An interval in per cent, '' if there is none.

    >>> between([0.5, 0.75])
    '50.0–75.0'
    """
    return f'{percent(interval[0])}–{percent(interval[1])}' if interval else ''


def count(value: Any) -> str:
    """A count with commas, or whatever stands in its place.

    >>> count(12000), count(2.4631), count(None)
    ('12,000', '2.463', '–')
    """
    if is_number(value):
        return f'{value:,}' if isinstance(value, int) else f'{value:,.4g}'
    return '–' if value is None else str(value)


def scored_part(task: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """The task's results in that group, empty if it has none."""
    return task.get(group) or {}


def groups(scores: Mapping[str, Any]) -> Markup:
    """Three big numbers, with intervals and baselines."""
    cards = []
    for colour, (group, (name, meaning)) in enumerate(GROUPS.items()):
        part = scores.get(group)
        if not part:
            cards.append(tag('div', tag('strong', name), missing('No such tasks were evaluated.')))
            continue
        interval = part.get('interval')
        value, own = part.get('exact_match'), part.get('score')
        differs = is_number(own) and percent(own) != percent(value)
        cards.append(
            tag(
                'div',
                tag('strong', name),
                tag('div', meaning, class_='soft small'),
                tag('div', percent(value), tag('small', between(interval)), class_='big'),
                Markup(svg.bar(value, colour=colour, interval=interval, tick=part.get('constant_baseline'))),
                tag(
                    'div',
                    f'constant answer {percent(part.get("constant_baseline"))} · copying '
                    f'{percent(part.get("copy_baseline"))} · {count(part.get("tasks"))} tasks, '
                    f'{count(part.get("examples"))} examples'
                    + (f" · by the tasks' own metrics {percent(own)}" if differs else ''),
                    class_='soft small',
                ),
            )
        )
    step = scores.get('step')
    note = (
        f'Exact match in per cent, mean over tasks{"" if step is None else f", at step {step:,}"}. Intervals: 95 %, '
        'from resampled rows. The dashed tick is the baseline of always giving the same answer.'
    )
    return tag('div', tag('p', note, class_='soft'), tag('div', cards, class_='cards'))


def clusters(scores: Mapping[str, Any]) -> Markup:
    """A bar for each cluster, best first, held-out ones apart."""
    found = scores.get('clusters') or {}
    if not found:
        return missing('No scores by cluster.')
    baselines: dict[str, list[float]] = {}
    for task in (scores.get('tasks') or {}).values():
        if is_number(task.get('constant_baseline')):
            baselines.setdefault(task.get('cluster'), []).append(task['constant_baseline'])

    def order(item):
        value = item[1].get('exact_match')
        return bool(item[1].get('held_out')), -value if is_number(value) else 1.0, item[0]

    cells = []
    for name, part in sorted(found.items(), key=order):
        value, interval, held_out = part.get('exact_match'), part.get('interval'), bool(part.get('held_out'))
        constant = baselines.get(name)
        bar = svg.bar(
            value,
            colour=2 if held_out else 0,
            interval=interval,
            tick=sum(constant) / len(constant) if constant else None,
        )
        cells += [
            tag('div', name, tag('span', f' {part["tasks"]} tasks', class_='soft small') if 'tasks' in part else None),
            tag('div', Markup(bar)),
            tag('div', percent(value), ' ', tag('span', between(interval), class_='soft small')),
        ]
    legend = tag(
        'p',
        tag('span', tag('span', class_='key-mark s0'), 'trained'),
        tag('span', tag('span', class_='key-mark s2'), 'held out'),
        tag('span', tag('span', class_='key-mark dash'), 'constant answer'),
        class_='legend',
    )
    return tag('div', tag('h3', 'By cluster'), legend, tag('div', cells, class_='clusters'))


def _score(part: Mapping[str, Any], metric: str | None) -> Cell:
    """Exact match, its interval, and the task's own metric where that is another."""
    value = part.get('exact_match')
    if not part:
        return Cell('–', None)
    own = part.get('score')
    differs = metric not in ('exact_match', 'accuracy') and is_number(own) and own != value
    return Cell(
        [
            percent(value),
            tag('span', between(part.get('interval')), class_='soft small'),
            tag('span', f'{metric} {percent(own)}', class_='soft small') if differs else None,
        ],
        value if is_number(value) else None,
    )


def tasks(scores: Mapping[str, Any]) -> Markup:
    """One row a task, with every template as a dot."""
    found = scores.get('tasks') or {}
    if not found:
        return missing('No scores by task.')
    columns = [
        Column('task'),
        Column('cluster'),
        Column('scored by'),
        Column('held-in', number=True, title='exact match, trained task, seen templates'),
        Column('held-out templates', number=True, title='exact match, trained task, unseen templates'),
        Column('held-out cluster', number=True, title='exact match, unseen task'),
        Column('constant', number=True, title='exact match of always giving the most frequent answer'),
        Column('copy', number=True, title='exact match of repeating the best field of the prompt'),
        Column('templates, 0 to 100', number=True, width='130px', title='sorts by the spread over templates'),
        Column('spread', number=True, title='best template minus worst; below, the worst and the best'),
        Column('examples', number=True),
    ]
    rows = [_task_row(name, task) for name, task in sorted(found.items(), key=lambda item: _place(*item))]
    legend = tag(
        'p',
        tag('span', 'Exact match in per cent. Templates:'),
        tag('span', tag('span', class_='key-mark s0'), 'seen in training'),
        tag('span', tag('span', class_='key-mark ring s1'), 'not seen'),
        tag('span', tag('span', class_='key-mark dash'), 'constant answer'),
        class_='legend',
    )
    return tag('div', tag('h3', 'By task'), legend, table(columns, rows))


def _place(name: str, task: Mapping[str, Any]) -> tuple[bool, str, str]:
    """Trained clusters first, then by cluster and name."""
    return bool(task.get('held_out')), str(task.get('cluster')), name


def _task_row(name: str, task: Mapping[str, Any]) -> list[Cell]:
    templates = task.get('templates') or {}
    held_out = bool(task.get('held_out'))
    # All templates of a task that was never trained on are new to the model.
    values = {t: (v.get('exact_match'), held_out or bool(v.get('held_out'))) for t, v in templates.items()}
    known = {t: v for t, (v, _) in values.items() if is_number(v)}
    spread = max(known.values()) - min(known.values()) if known else None
    best, worst = (max(known, key=known.get), min(known, key=known.get)) if known else (None, None)
    extremes = tag('span', f'{worst} … {best}', class_='soft small') if len(known) > 1 else None
    parts = {group: scored_part(task, group) for group in GROUPS}
    examples = sum(part.get('examples') or 0 for part in parts.values())
    trimmed = task.get('trimmed')
    return [
        Cell([name, tag('span', f'{trimmed} prompts cut', class_='bad small') if trimmed else None], name),
        Cell([task.get('cluster'), tag('span', 'held out', class_='s2 small') if held_out else None], task['cluster'])
        if 'cluster' in task
        else Cell('–', None),
        Cell([task.get('mode'), tag('span', task.get('metric'), class_='soft small')], task.get('mode')),
        *(_score(parts[group], task.get('metric')) for group in GROUPS),
        *(Cell(percent(task.get(baseline)), task.get(baseline)) for baseline in ('constant_baseline', 'copy_baseline')),
        Cell(Markup(svg.dots(values, tick=task.get('constant_baseline'))), spread),
        Cell([percent(spread), extremes], spread),
        Cell(f'{examples:,}', examples),
    ]


def examples(scores: Mapping[str, Any]) -> Markup:
    """What the model was asked and said, task by task."""
    folds = []
    for name, task in sorted((scores.get('tasks') or {}).items(), key=lambda item: _place(*item)):
        shown = task.get('examples') or []
        if not shown:
            continue
        right = sum(bool(example.get('correct')) for example in shown)
        summary = [name, tag('span', f' {task.get("cluster", "")}, {right} of {len(shown)} right', class_='soft small')]
        folds.append(fold(summary, [_example(example) for example in shown]))
    return tag('div', folds) if folds else missing('No examples were kept.')


def _example(example: Mapping[str, Any]) -> Markup:
    right = bool(example.get('correct'))
    verdict = tag('strong', '✓ right' if right else '✗ wrong', class_='good' if right else 'bad')
    answers = [tag('div', tag('dt', 'prediction'), tag('dd', tag('code', example.get('prediction'))))]
    for reference in example.get('references') or []:
        answers.append(tag('div', tag('dt', 'reference'), tag('dd', tag('code', reference))))
    head = tag('div', verdict, tag('span', f' template {example.get("template", "?")}', class_='soft small'))
    return tag('div', head, tag('pre', example.get('prompt')), tag('dl', answers, class_='facts'), class_='example')
