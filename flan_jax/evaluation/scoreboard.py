"""The report's part on scores: groups, clusters, tasks with the spread over templates, and examples."""

from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax.evaluation import svg
from flan_jax.evaluation.page import Cell, Column, Markup, facts, fold, missing, table, tag
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


def points(value: float) -> str:
    """A difference in points of a per cent.

    >>> points(0.0214), points(-0.3), points(0.0)
    ('+2.1', '-30.0', '+0.0')
    """
    return f'{100 * value:+z.1f}'


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


def score_of(part: Mapping[str, Any]) -> Any:
    """The task's own metric, or the mean of them; of older files exact match."""
    return part.get('score', part.get('exact_match'))


def groups(scores: Mapping[str, Any]) -> Markup:
    """Three big numbers, with intervals and baselines."""
    cards = []
    for colour, (group, (name, meaning)) in enumerate(GROUPS.items()):
        part = scores.get(group)
        if not part:
            cards.append(tag('div', tag('strong', name), missing('No such tasks were evaluated.')))
            continue
        value, interval = score_of(part), part.get('interval')
        chance = part.get('chance', part.get('constant_baseline'))
        cards.append(
            tag(
                'div',
                tag('strong', name),
                tag('div', meaning, class_='soft small'),
                tag('div', percent(value), tag('small', between(interval)), class_='big'),
                Markup(svg.bar(value, colour=colour, interval=interval, tick=chance)),
                tag('div', f'{count(part.get("tasks"))} tasks, {count(part.get("examples"))} answers', class_='small'),
                facts(_beside(part)),
            )
        )
    step, settings = scores.get('step'), scores.get('settings') or {}
    note = (
        f'Every task by its own metric, in per cent, mean over tasks{"" if step is None else f", at step {step:,}"}'
        f'{_shots(settings)}. Intervals: 95 %, from resampled rows; of one row there is none. The dashed tick is '
        'chance: what knowing nothing scores. Normalised: 0 at chance, 100 at perfect. By validation: the template '
        'that is best on half of the rows, scored on the other half.'
    )
    return tag('div', tag('p', note, class_='soft'), tag('div', cards, class_='cards'), _by_shots(scores))


def _beside(part: Mapping[str, Any]) -> dict[str, str | None]:
    """What stands under a group's score."""
    shown = {
        'normalised': part.get('normalised'), 'by cluster': part.get('by_cluster'),
        'exact match': part.get('exact_match'), 'spread over templates': part.get('spread'),
        'by validation': part.get('best_by_validation'), 'chance': part.get('chance'),
        'constant answer': part.get('constant_baseline'), 'copying': part.get('copy_baseline'),
    }  # fmt: skip
    return {name: percent(value) if is_number(value) else None for name, value in shown.items()}


def _shots(settings: Mapping[str, Any]) -> str:
    if 'eval_shots' not in settings:
        return ''
    return f', {settings["eval_shots"]}-shot' if settings['eval_shots'] else ', zero-shot'


def _by_shots(scores: Mapping[str, Any]) -> Markup | None:
    """Groups by the number of exemplars, if there were several."""
    found = scores.get('by_shots') or {}
    if not found:
        return None
    columns = [Column('exemplars', number=True), *(Column(name, number=True) for name, _ in GROUPS.values())]
    rows = []
    for shots, part in found.items():
        cells = [
            Cell([percent(score_of(g)), tag('span', between(g.get('interval')), class_='soft small')], score_of(g))
            if (g := part.get(group)) else Cell('–', None)
            for group in GROUPS
        ]  # fmt: skip
        rows.append([Cell(shots, int(shots)), *cells])
    return tag('div', tag('h3', 'By exemplars in the prompt'), table(columns, rows))


def clusters(scores: Mapping[str, Any]) -> Markup:
    """A bar for each cluster, best first, held-out ones apart."""
    found = scores.get('clusters') or {}
    if not found:
        return missing('No scores by cluster.')

    def order(item):
        value = score_of(item[1])
        return bool(item[1].get('held_out')), -value if is_number(value) else 1.0, item[0]

    cells = []
    for name, part in sorted(found.items(), key=order):
        value, interval, held_out = score_of(part), part.get('interval'), bool(part.get('held_out'))
        bar = svg.bar(value, colour=2 if held_out else 0, interval=interval, tick=part.get('chance'))
        cells += [
            tag('div', name, _tasks(part)),
            tag('div', Markup(bar)),
            tag('div', percent(value), ' ', tag('span', between(interval), class_='soft small')),
        ]
    legend = tag(
        'p',
        tag('span', tag('span', class_='key-mark s0'), 'trained'),
        tag('span', tag('span', class_='key-mark s2'), 'held out'),
        tag('span', tag('span', class_='key-mark dash'), 'chance'),
        class_='legend',
    )
    return tag('div', tag('h3', 'By cluster'), legend, tag('div', cells, class_='clusters'))


def _tasks(part: Mapping[str, Any]) -> Markup | None:
    if 'tasks' not in part:
        return None
    return tag('span', f' {part["tasks"]} task{"" if part["tasks"] == 1 else "s"}', class_='soft small')


def _score(part: Mapping[str, Any]) -> Cell:
    """The score, its interval, and exact match where that is another number."""
    value, exact = score_of(part), part.get('exact_match')
    if not part:
        return Cell('–', None)
    differs = is_number(exact) and percent(exact) != percent(value)
    return Cell(
        [
            percent(value),
            tag('span', between(part.get('interval')), class_='soft small'),
            tag('span', f'exact match {percent(exact)}', class_='soft small') if differs else None,
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
        Column('held-in', number=True, title='trained task, seen templates'),
        Column('held-out templates', number=True, title='trained task, unseen templates'),
        Column('held-out cluster', number=True, title='unseen task'),
        Column('normalised', number=True, title='0 at chance, 100 at perfect; of the first score to the left'),
        Column(
            'chance',
            number=True,
            title='of knowing nothing; below, exact match of a constant answer and of copying',
        ),
        Column('templates, 0 to 100', number=True, width='120px', title='sorts by the spread over templates'),
        Column('spread', number=True, title='best template minus worst; below, the worst and the best'),
        Column('answers', number=True),
    ]
    rows = [_task_row(name, task) for name, task in sorted(found.items(), key=lambda item: _place(*item))]
    legend = tag(
        'p',
        tag('span', 'Per cent. Templates:'),
        tag('span', tag('span', class_='key-mark s0'), 'seen in training'),
        tag('span', tag('span', class_='key-mark ring s1'), 'not seen'),
        tag('span', tag('span', class_='key-mark dash'), 'chance'),
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
    values = {t: (score_of(v), held_out or bool(v.get('held_out'))) for t, v in templates.items()}
    known = {t: v for t, (v, _) in values.items() if is_number(v)}
    spread = max(known.values()) - min(known.values()) if known else None
    best, worst = (max(known, key=known.get), min(known, key=known.get)) if known else (None, None)
    extremes = tag('span', f'{worst} … {best}', class_='soft small') if spread else None
    parts = {group: scored_part(task, group) for group in GROUPS}
    examples = sum(part.get('examples') or 0 for part in parts.values())
    normalised = next((part['normalised'] for part in parts.values() if is_number(part.get('normalised'))), None)
    chance = task.get('chance')
    baselines = f'{percent(task.get("constant_baseline"))} · {percent(task.get("copy_baseline"))}'
    return [
        Cell([name, *_doubts(task)], name),
        Cell([task.get('cluster'), tag('span', 'held out', class_='s2 small') if held_out else None], task['cluster'])
        if 'cluster' in task
        else Cell('–', None),
        Cell([task.get('mode'), tag('span', task.get('metric'), class_='soft small')], task.get('mode')),
        *(_score(parts[group]) for group in GROUPS),
        Cell(percent(normalised), normalised),
        Cell([percent(chance), tag('span', baselines, class_='soft small')], chance),
        Cell(Markup(svg.dots(values, tick=chance)), spread),
        Cell([percent(spread), extremes], spread),
        Cell(f'{examples:,}', examples),
    ]


def _doubts(task: Mapping[str, Any]) -> list[Markup]:
    """Notes under a task's name: answers that are doubtful, prompts that were cut, rows that were dropped."""
    cut, dropped = task.get('trimmed') or 0, sum((task.get('dropped') or {}).values())
    notes = {f'prompt{"s" * (cut != 1)} cut': cut, f'row{"s" * (dropped != 1)} dropped': dropped}
    notes |= {kind.replace('_', ' '): n for kind, n in (task.get('flags') or {}).items() if kind != 'unfinished'}
    return [tag('span', f'{number} {what}', class_='bad small') for what, number in notes.items() if number]


def examples(scores: Mapping[str, Any]) -> Markup:
    """What the model was asked and said, task by task, the worst answers first."""
    folds = []
    for name, task in sorted((scores.get('tasks') or {}).items(), key=lambda item: _place(*item)):
        shown = task.get('examples') or []
        if not shown:
            continue
        parts = []
        for kind, title in (('worst', 'Worst'), ('best', 'Best')):
            some = [example for example in shown if example.get('kind', 'worst') == kind]
            parts += [tag('h3', f'{title} {len(some)}'), *map(_example, some)] if some else []
        folds.append(fold([name, tag('span', f' {task.get("cluster", "")}', class_='soft small')], parts))
    return tag('div', folds) if folds else missing('No examples were kept.')


def _example(example: Mapping[str, Any]) -> Markup:
    right, value = bool(example.get('correct')), example.get('score')
    verdict = tag('strong', '✓ right' if right else '✗ wrong', class_='good' if right else 'bad')
    partly = f', score {percent(value)}' if is_number(value) and value not in (0, 1) else ''
    flag = f', {example["flag"].replace("_", " ")}' if example.get('flag') else ''
    answers = [tag('div', tag('dt', 'prediction'), tag('dd', tag('code', example.get('prediction'))))]
    for reference in example.get('references') or []:
        answers.append(tag('div', tag('dt', 'reference'), tag('dd', tag('code', reference))))
    if example.get('options'):
        shares = ', '.join(f'{name} {percent(share)}' for name, share in example['options'])
        answers.append(tag('div', tag('dt', 'options, %'), tag('dd', shares)))
    head = tag(
        'div', verdict, tag('span', f'{partly}{flag}, template {example.get("template", "?")}', class_='soft small')
    )
    return tag('div', head, tag('pre', example.get('prompt')), tag('dl', answers, class_='facts'), class_='example')
