"""The report's part on what goes wrong in instruction tuning: phrasing, labels, order, confidence, length, leaks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flan_jax.evaluation import scoreboard, svg
from flan_jax.evaluation.labels import OTHER
from flan_jax.evaluation.page import Cell, Column, Markup, fold, missing, table, tag
from flan_jax.evaluation.scoreboard import GROUPS, percent, points
from flan_jax.evaluation.svg import Line, is_number

_WORST_SHOWN = 12  # confusion tables that are open to begin with
DOUBTS = {  # flags of an answer that should not have happened, and what they mean
    'not_a_number': 'a log-likelihood is NaN; counted as wrong',
    'empty_option': 'an option has no text',
    'too_long': "longer than a training row or the model's published context",
}


def all_parts(
    scores: Mapping[str, Any], *, plan: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]
) -> Markup:
    """Every part that applies; those that do not say why."""
    found = scores.get('tasks') or {}
    if not found:
        return missing('No data: there are no scores by task.')
    parts = [
        ('Phrasing', _phrasing(found)),
        ('Instruction', _instruction(found)),
        ('Labels', _labels(found)),
        ('Order of options', _order(found)),
        ('Confidence', _confidence(scores)),
        ('Length', _length(found, evaluations)),
        ('Contamination', _contamination(plan)),
        ('Doubtful answers', _doubtful(scores)),
    ]
    return tag('div', [[tag('h3', title), part] for title, part in parts])


def _number(value: Any, form: str = 'percent') -> Cell:
    """A cell of a share in per cent, or of a plain number."""
    if not is_number(value):
        return Cell('–', None)
    return Cell(percent(value) if form == 'percent' else f'{value:.{form}}', value)


def _soft(text: str) -> Markup:
    return tag('p', text, class_='soft')


def _of(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first part of a task that has scores: seen templates, unseen ones, or all of a held-out task."""
    return next((task[group] for group in GROUPS if task.get(group)), {})


def _phrasing(tasks: Mapping[str, Mapping[str, Any]]) -> Markup:
    rows = []
    for name, task in tasks.items():
        part = _of(task)
        if not is_number(part.get('spread')) or len(task.get('templates') or {}) < 2:
            continue
        by_name = {t: scoreboard.score_of(v) for t, v in task['templates'].items()}
        rows.append([
            Cell(name, name),
            _number(scoreboard.score_of(part)),
            _number(by_name.get(part.get('best_template'))),
            _number(part.get('best_by_validation')),
            _number(by_name.get(part.get('worst_template'))),
            _number(part.get('spread')),
            _number(part.get('deviation')),
            _number(task.get('agreement')),
            Cell(f'{part.get("worst_template")} … {part.get("best_template")}' if part['spread'] else '–', None),
        ])  # fmt: skip
    if not rows:
        return missing('No task was asked through several templates.')
    columns = [
        Column('task'),
        Column('mean', number=True, title='over templates'),
        Column('best', number=True, title='best template, picked on the rows it is scored on: partly luck'),
        Column('by validation', number=True, title='best template of one half of the rows, scored on the other'),
        Column('worst', number=True),
        Column('spread', number=True),
        Column('deviation', number=True, title='standard deviation over templates'),
        Column('same answer', number=True, title='rows that all templates answer alike'),
        Column('worst … best template'),
    ]
    note = 'How much of a score hangs on the wording. Per cent; a task with a wide spread needs more than one prompt.'
    return tag('div', _soft(note), table(columns, sorted(rows, key=lambda row: -(row[5].value or 0.0))))


def _instruction(tasks: Mapping[str, Mapping[str, Any]]) -> Markup:
    found = {name: task for name, task in tasks.items() if task.get('instruction')}
    if not found:
        return missing('It was not asked without instructions; evaluation.without_instruction does.')
    kinds, rows = ('shuffled', 'bare'), []
    for name, task in found.items():
        told, cells = task['instruction'], []
        for kind in kinds:
            part = told.get(kind) or {}
            change = part.get('change')
            interval = part.get('interval')
            between = f'{points(interval[0])} … {points(interval[1])}' if interval else ''
            cells += [
                _number(part.get('probed')),
                Cell([points(change), tag('span', between, class_='soft small')], change)
                if is_number(change) else Cell('–', None),
                _number(part.get('same')),
            ]  # fmt: skip
        score = next(part['score'] for part in told.values())
        rows.append(
            [Cell(name, name), _number(score), *cells, _number(task.get('chance')), _number(task.get('copied'))]
        )
    columns = [Column('task'), Column('as it is', number=True)]
    for kind, meaning in zip(kinds, ('words of the instruction shuffled', 'fields and options alone'), strict=True):
        columns += [
            Column('without' if kind == 'bare' else kind, number=True, title=meaning),
            Column('change', number=True, title='points, with 95 % over rows'),
            Column('same answer', number=True),
        ]
    columns += [Column('chance', number=True)]
    columns += [Column('copied', number=True, title='wrong answers that repeat a field of the prompt as it is')]
    note = (
        'Does the model read what is asked? Where the score stays, its answers hang on the surface of the rows: their '
        'kind, their words, the options. Per cent; changes in points.'
    )
    means = []
    for title, place in (('as it is', 1), ('shuffled', 2), ('without', 5)):
        values = [row[place].value for row in rows if row[place].value is not None]
        means += [f'{title} {percent(sum(values) / len(values))}'] if values else []
    rows.sort(key=lambda row: -(row[5].value if is_number(row[5].value) else -1.0))  # what needs no instruction first
    return tag('div', _soft(note), tag('p', f'Mean over tasks: {", ".join(means)}.'), table(columns, rows))


def _labels(tasks: Mapping[str, Mapping[str, Any]]) -> Markup:
    found = {name: task for name, task in tasks.items() if task.get('labels')}
    if not found:
        return missing('No task is a classification with enough rows.')
    rows = []
    for name, task in found.items():
        batch, free = task.get('batch_calibrated') or {}, task.get('content_free') or {}
        labels = task['labels']
        favoured = max(zip(labels['predicted'], [*labels['labels'], OTHER], strict=True))
        right = sum(row[i] for i, row in enumerate(labels['counts'])) / sum(map(sum, labels['counts']))
        rows.append([
            Cell(name, name),
            _number(labels['bias']),
            Cell(f'{favoured[1]}, {percent(favoured[0])}', favoured[0]),
            _number(right),
            _number(batch.get('after')),
            _number(free.get('after')),
            Cell(', '.join(f'{label} {percent(p)}' for label, p in zip(free.get('labels', ()), free.get('shares', ()))),
                 None),
        ])  # fmt: skip
    columns = [
        Column('task'),
        Column('label bias', number=True, title='half the distance of the given labels’ shares from the right ones’'),
        Column('most given', number=True),
        Column('accuracy', number=True),
        Column(
            'batch calibrated',
            number=True,
            title='without what a template gives each label on average; assumes labels are alike frequent',
        ),
        Column('content-free', number=True, title='after what a template favours with empty fields is taken away'),
        Column('labels when nothing is asked'),
    ]
    note = (
        'Are some labels given whatever is asked? Accuracy that jumps with calibration was held back by such a '
        'preference; ranked tasks have such figures, the content-free ones with evaluation.content_free.'
    )
    rows.sort(key=lambda row: -(row[1].value or 0.0))
    worst = [row[0].value for row in rows]
    folds = [fold(name, _confusion(found[name]['labels']), open_=i < 3) for i, name in enumerate(worst[:_WORST_SHOWN])]
    more = len(worst) - len(folds)
    told = _soft(f'And {more} more in scores.json.') if more else None
    return tag('div', _soft(note), table(columns, rows), tag('h4', 'Confusion, most biased tasks first'), folds, told)


def _confusion(labels: Mapping[str, Any]) -> Markup:
    """Right labels down, given ones across; a row's shares as shades."""
    names, counts = labels['labels'], labels['counts']
    heads = ['right, given →', *names, 'other', 'right', 'given']
    lines = []
    for i, name in enumerate(names):
        total = sum(counts[i]) or 1
        cells = [
            tag('td', n, class_='shade hit' if i == j else 'shade', style=f'--share:{n / total:.3f}')
            for j, n in enumerate(counts[i])
        ]
        shares = [tag('td', percent(labels[key][i]), class_='number soft') for key in ('true', 'predicted')]
        lines.append(tag('tr', tag('th', name, scope='row'), cells, shares))
    head = tag('thead', tag('tr', [tag('th', text, scope='col') for text in heads]))
    return tag('div', tag('table', head, tag('tbody', lines), class_='confusion'), class_='scroll')


def _order(tasks: Mapping[str, Mapping[str, Any]]) -> Markup:
    rows = []
    for name, task in tasks.items():
        placed, order = task.get('positions') or {}, task.get('option_order') or {}
        if not placed and not order:
            continue
        bars = [svg.pair_of_bars(*pair) for pair in zip(placed.get('right', ()), placed.get('chosen', ()))]
        rows.append([
            Cell(name, name),
            _number(placed.get('bias')),
            Cell(tag('div', [Markup(bar) for bar in bars], class_='places'), placed.get('bias')),
            *(_number(order.get(key)) for key in ('same', 'flipped', 'score', 'permuted_score')),
        ])  # fmt: skip
    if not rows:
        return missing('No task is ranked, so there is no order to hang on.')
    columns = [
        Column('task'),
        Column('place bias', number=True, title='half the distance of the chosen places’ shares from the right ones’'),
        Column('places', number=True, width='180px', title='share of each place, first option on the left'),
        Column('same answer', number=True, title='after the listed options were put into another order'),
        Column('flipped', number=True, title='right in one order and wrong in another'),
        Column('as listed', number=True, title='accuracy, templates that list options'),
        Column('permuted', number=True, title='accuracy in other orders'),
    ]
    legend = tag(
        'p',
        tag('span', 'Per cent. Share of each place:'),
        tag('span', tag('span', class_='key-mark s0'), 'right'),
        tag('span', tag('span', class_='key-mark s1'), 'chosen'),
        tag('span', 'The columns on the right need evaluation.permute_options.'),
        class_='legend',
    )
    return tag('div', legend, table(columns, sorted(rows, key=lambda row: -(row[1].value or 0.0))))


def _confidence(scores: Mapping[str, Any]) -> Markup:
    whole = scores.get('calibration')
    found = {name: task['calibration'] for name, task in scores['tasks'].items() if task.get('calibration')}
    if not whole or not found:
        return missing('No task is ranked, so there are no probabilities of options.')
    columns = [
        Column('task'),
        Column('ECE', number=True, title='expected calibration error: mean distance of confidence and accuracy'),
        Column('confidence', number=True, title='mean probability of the chosen option'),
        Column('accuracy', number=True),
        Column('answers', number=True),
    ]
    rows = []
    for name, part in sorted(found.items(), key=lambda item: -item[1]['ece']):
        answers = sum(b['count'] for b in part['bins'])
        right = sum(b['count'] * b['accuracy'] for b in part['bins']) / answers
        numbers = (_number(value) for value in (part['ece'], part['confidence'], right))
        rows.append([Cell(name, name), *numbers, Cell(f'{answers:,}', answers)])
    caption = tag('figcaption', tag('span', f'Accuracy by confidence, all ranked tasks, ECE {percent(whole["ece"])} %'))
    figure = tag('figure', caption, Markup(svg.reliability(whole['bins'])))
    note = 'Is the model right as often as the probability of its chosen option says? On the dashed line it is.'
    return tag('div', _soft(note), tag('div', figure, table(columns, rows), class_='pair'))


def _length(tasks: Mapping[str, Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Markup:
    rows = []
    for name, task in tasks.items():
        part = task.get('lengths')
        if part:
            ratio = part['predicted'] / part['references'] if part['references'] else None
            rows.append([
                Cell(name, name), _number(part['predicted'], '1f'), _number(part['references'], '1f'),
                _number(ratio, '2f'), _number(part['unfinished']),
            ])  # fmt: skip
    if not rows:
        return missing('No task is generated, so no answer has a length of its own.')
    columns = [
        Column('task'),
        Column('words said', number=True, title='mean of the predictions'),
        Column('words right', number=True, title='mean of the references'),
        Column('ratio', number=True),
        Column('unfinished, %', number=True, title='reached evaluation.max_new_tokens before ending'),
    ]
    lines = []
    for colour, (group, (title, _)) in enumerate(GROUPS.items()):
        points = [(line['step'], (line.get(group) or {}).get('length_ratio')) for line in evaluations]
        if sum(is_number(y) for _, y in points) > 1:
            lines.append(Line(title, points, colour=colour, marked=True))
    shown = table(columns, sorted(rows, key=lambda row: -(row[4].value or 0.0)))
    note = 'Do answers grow or shrink against the references, and do they come to an end?'
    if not lines:
        return tag('div', _soft(note), shown)
    legend = [tag('span', tag('span', class_=f'key-mark s{line.colour}'), line.name, class_='legend') for line in lines]
    caption = tag('figcaption', tag('span', 'Words said over words right'), legend, tag('output'))
    figure = tag('figure', caption, Markup(svg.line_chart(lines, label='Words said over words right')))
    return tag('div', _soft(note), tag('div', figure, shown, class_='pair'))


def _contamination(plan: Mapping[str, Any]) -> Markup:
    report = (plan.get('filters') or {}).get('contamination') or {}
    if not report.get('evaluation'):
        return missing("It was not looked for; filters.contamination='report' does.")
    rows = []
    for name, part in sorted(report['evaluation'].items(), key=lambda item: -(item[1].get('share') or 0.0)):
        matches = ', '.join(f'{task} {n}' for task, n in list((part.get('matches') or {}).items())[:4])
        rows.append([
            Cell(name, name), _number(part.get('share')), Cell(part.get('contaminated'), part.get('contaminated')),
            Cell(part.get('rows'), part.get('rows')), Cell(part.get('short'), part.get('short')), Cell(matches, None),
        ])  # fmt: skip
    columns = [
        Column('evaluation task'),
        Column('contaminated, %', number=True),
        Column('rows found', number=True),
        Column('of rows', number=True),
        Column('too short to judge', number=True),
        Column('found in training tasks'),
    ]
    note = f'Evaluation rows that share {report.get("ngram")} words in a row with a training row.'
    shown = [
        tag('li', tag('strong', name), f': row {one["row_id"]}, {one["task"]}: “{one["words"]}”')
        for name, part in report['evaluation'].items()
        for one in (part.get('examples') or [])[:2]
    ]
    return tag('div', _soft(note), table(columns, rows), fold('What was found', tag('ul', shown)) if shown else None)


def _doubtful(scores: Mapping[str, Any]) -> Markup:
    items = []
    for kind, meaning in ({'unfinished': 'generation reached evaluation.max_new_tokens'} | DOUBTS).items():
        tasks = {name: n for name, task in scores['tasks'].items() if (n := (task.get('flags') or {}).get(kind))}
        items += _items(f'{kind.replace("_", " ")} ({meaning})', (f'{name} {n}' for name, n in tasks.items()))
    dropped = {name: task['dropped'] for name, task in scores['tasks'].items() if task.get('dropped')}
    told = (f'{name} {", ".join(f"{n} {why}" for why, n in reasons.items())}' for name, reasons in dropped.items())
    items += _items('rows that could not be asked', told)
    items += _items('tasks not scored', (f'{name}: {why}' for name, why in (scores.get('unasked') or {}).items()))
    return tag('ul', items) if items else tag('p', 'None: every row was asked and every answer ended.')


def _items(title: str, told: Iterable[str]) -> list[Markup]:
    text = '; '.join(told)
    return [tag('li', tag('strong', title), f': {text}')] if text else []
