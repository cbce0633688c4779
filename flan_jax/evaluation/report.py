"""The report: one HTML file that shows what a run trained on, how it went, and what it scores.

It is made from the files of the run directory alone, so it can be made again at any time, from a run that still goes
on or one that broke; a part whose file is missing says so.
"""

import dataclasses
import json
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.evaluation import pitfalls, scoreboard, svg
from flan_jax.evaluation.page import Cell, Column, Markup, document, facts, fold, missing, table, tag, tree
from flan_jax.evaluation.scoreboard import GROUPS, count, percent
from flan_jax.evaluation.svg import Line, is_number

FILE = 'report.html'


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a run directory holds; an empty value for what it does not."""

    name: str
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    plan: Mapping[str, Any]
    scores: Mapping[str, Any]
    train: Sequence[Mapping[str, Any]]
    evaluations: Sequence[Mapping[str, Any]]
    problems: Sequence[str]


def write(run_dir: str | os.PathLike) -> pathlib.Path:
    """Writes `report.html` into a run directory.

    Returns:
      Its path.

    Raises:
      DataError: there is no such directory.
    """
    directory = pathlib.Path(run_dir)
    run = _read(directory)
    sections = [
        ('Scores', _scores(run)),
        ('Analysis', _analysis(run)),
        ('Training', _training(run)),
        ('Mixture', _mixture(run)),
        ('Examples', scoreboard.examples(run.scores)),
        ('Configuration', _configuration(run)),
    ]
    text = document(f'{run.name} · flan_jax', head=_head(run), sections=sections)
    path = directory / FILE
    temporary = path.with_suffix('.tmp')
    # A model may write half a surrogate pair; that must not cost the report.
    temporary.write_text(text, encoding='utf-8', errors='replace')
    return temporary.replace(path)


def score_table(scores: Mapping[str, Any]) -> str:
    """scores.json as text, at most 110 columns wide: tasks by cluster, then the groups' averages.

    Every task by its own metric, in per cent; a dash where a task has no such score.
    """
    tasks = sorted(
        (scores.get('tasks') or {}).items(),
        key=lambda item: (bool(item[1].get('held_out')), str(item[1].get('cluster')), item[0]),
    )
    heads = ('held-in', 'templates', 'cluster', 'constant', 'copy')
    wide_cluster = min(max([7, *(len(str(task.get('cluster'))) for _, task in tasks)]), 24)
    wide_task = min(max([30, *(len(name) for name, _ in tasks)]), 108 - wide_cluster - 11 * len(heads))
    left = wide_cluster + 2 + wide_task

    def line(label: str, values: Sequence[str]) -> str:
        return (label.ljust(left) + ''.join(value.rjust(11) for value in values)).rstrip()

    def label(cluster: str, task: str) -> str:
        return f'{_cut(cluster, wide_cluster).ljust(wide_cluster)}  {_cut(task, wide_task)}'

    lines = [
        line('score, %', ('', 'held-out', 'held-out', 'baseline:', 'baseline:')),
        line(label('cluster', 'task'), heads),
    ]
    rule = '-' * (left + 11 * len(heads))
    before = None
    for name, task in tasks:
        if task.get('cluster') != before:
            lines.append(rule if before is None else '')
            before = task.get('cluster')
        parts = [percent(scoreboard.score_of(scoreboard.scored_part(task, group))) for group in GROUPS]
        baselines = [percent(task.get('constant_baseline')), percent(task.get('copy_baseline'))]
        lines.append(line(label(str(before), name), parts + baselines))
    lines.append(rule)
    for i, (group, (title, _)) in enumerate(GROUPS.items()):
        part = scores.get(group) or {}
        values = ['–'] * 3
        values[i] = percent(scoreboard.score_of(part))
        interval = scoreboard.between(part.get('interval'))
        count = f'{part.get("tasks", "?")} tasks' + (f', {interval}' if interval else '') if part else 'none'
        baselines = [percent(part.get('constant_baseline')), percent(part.get('copy_baseline'))]
        lines.append(line(_cut(f'{title} ({count})', left), values + baselines))
    return '\n'.join(lines + _doubts(scores)) + '\n'


def _doubts(scores: Mapping[str, Any]) -> list[str]:
    """A line on each kind of doubtful answer."""
    out = []
    for kind, meaning in pitfalls.DOUBTS.items():
        found = [task['flags'][kind] for task in (scores.get('tasks') or {}).values() if kind in task.get('flags', {})]
        if found:
            tasks = f'{len(found)} task{"s" * (len(found) != 1)}'
            out.append(f'{kind.replace("_", " ")}: {sum(found):,} answers of {tasks}; {meaning}')
    return out


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + '…'


def _read(directory: pathlib.Path) -> _Run:
    if not directory.is_dir():
        raise errors.DataError(
            f'{directory} is no directory; a report is made from the run directory of a training run'
        )
    problems: list[str] = []

    def load(name: str) -> dict[str, Any]:
        path = directory / name
        if not path.exists():
            return {}
        try:
            value = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as e:
            problems.append(f'{name} cannot be read: {e}')
            return {}
        if not isinstance(value, dict):
            problems.append(f'{name} holds no object, but {type(value).__name__}')
            return {}
        return value

    from flan_jax.training import telemetry  # deferred: it imports JAX, which a score table does without

    lines = [line for line in telemetry.read(directory / 'metrics.jsonl') if isinstance(line, dict) and 'step' in line]
    settings = load('config.json')
    return _Run(
        name=str(settings.get('name') or directory.resolve().name),
        settings=settings,
        environment=load('environment.json'),
        plan=load('plan.json'),
        scores=load('scores.json'),
        train=[line for line in lines if line.get('event') == 'train'],
        evaluations=[line for line in lines if line.get('event') == 'evaluation'],
        problems=problems,
    )


def _head(run: _Run) -> Markup:
    environment, plan = run.environment, run.plan
    step = run.train[-1]['step'] if run.train else run.scores.get('step')
    devices = environment.get('devices')
    shown = {
        'checkpoint': run.scores.get('checkpoint'),
        'steps': None if step is None else f'{step:,}' + (f' of {plan["steps"]:,}' if 'steps' in plan else ''),
        'seed': run.settings.get('seed'),
        'device': environment.get('device') and f'{devices} × {environment["device"]}',
        'processes': environment.get('processes'),
        'jax': environment.get('jax'),
        'flax': environment.get('flax'),
        'python': environment.get('python'),
    }
    notes = [tag('div', problem, class_='warning') for problem in run.problems]
    if plan.get('missing'):
        names = ', '.join(sorted(plan['missing']))
        notes.append(tag('div', f'Missing from this run: {names}. The reasons are under Mixture.', class_='warning'))
    return tag('div', tag('h1', run.name), facts(shown), notes)


def _scores(run: _Run) -> Markup:
    if not run.scores:
        return missing('No data: the run has no scores.json; it is written when an evaluation ends.')
    parts = (scoreboard.groups, scoreboard.clusters, scoreboard.tasks)
    return tag('div', [part(run.scores) for part in parts])


def _analysis(run: _Run) -> Markup:
    if not run.scores:
        return missing('No data: the analysis is made from scores.json.')
    return pitfalls.all_parts(run.scores, plan=run.plan, evaluations=_evaluated(run))


def _evaluated(run: _Run) -> list[Mapping[str, Any]]:
    """Evaluations by step; the one at the end of a run is in scores.json alone."""
    scored = list(run.evaluations)
    if scored and is_number(run.scores.get('step')) and run.scores['step'] > scored[-1]['step']:
        scored.append(run.scores)
    return scored


def _training(run: _Run) -> Markup:
    if not run.train and not run.evaluations:
        return missing('No data: the run has no metrics.jsonl with lines of training.')
    figures = [
        _figure(run, 'Loss per supervised token', name='loss'),
        _figure(run, 'Token accuracy', name='accuracy'),
        _figure(run, 'Learning rate', name='learning_rate', smooth=False),
        _figure(run, 'Gradient norm', name='gradient_norm', log=True),
        _figure(run, 'Tokens per second', name='tokens_per_s'),
        _evaluation_figure(run),
    ]
    return tag('div', _training_facts(run.train), tag('div', figures, class_='charts'))


def _training_facts(train: Sequence[Mapping[str, Any]]) -> Markup:
    def last(name: str, form: str = '{:.4g}') -> str | None:
        values = [line[name] for line in train if is_number(line.get(name))]
        return form.format(values[-1]) if values else None

    def median(name: str, form: str = '{:,.0f}') -> str | None:
        values = [line[name] for line in train if is_number(line.get(name))]
        return form.format(statistics.median(values)) if values else None

    broken = sum(bool(line.get('nonfinite')) for line in train)
    return facts(
        {
            'last loss': last('loss'),
            'last token accuracy': last('accuracy', '{:.1%}'),
            'median step': median('step_ms', '{:,.0f} ms'),
            'median tokens/s': median('tokens_per_s'),
            'median supervised tokens/s': median('supervised_tokens_per_s'),
            'median MFU': median('mfu', '{:.1%}'),
            'lines with a loss or gradient that is no number': tag('span', broken, class_='bad') if broken else None,
        }
    )


def _figure(run: _Run, title: str, *, name: str, smooth: bool = True, log: bool = False) -> Markup:
    points = [(line['step'], line.get(name)) for line in run.train]
    values = [y for _, y in points if is_number(y)]
    # A few spikes would press everything else flat.
    log = log and bool(values) and max(values) > 10 * statistics.median(values)
    lines = [Line('each line' if smooth else name.replace('_', ' '), points, thin=smooth)]
    if smooth:
        lines.append(Line('smoothed', svg.smoothed(points, log=log)))
    return _framed(title + (', logarithmic' if log else ''), svg.line_chart(lines, label=title, log=log))


def _evaluation_figure(run: _Run) -> Markup | None:
    scored, lines = _evaluated(run), []
    for colour, (group, (title, _)) in enumerate(GROUPS.items()):
        points = [(line['step'], scoreboard.score_of(line.get(group) or {})) for line in scored]
        if any(is_number(y) for _, y in points):
            lines.append(Line(title, points, colour=colour, marked=True))
    if not lines:
        return None
    legend = [tag('span', tag('span', class_=f'key-mark s{line.colour}'), line.name, class_='legend') for line in lines]
    chart = svg.line_chart(lines, label='Score by group', bounds=(0.0, 1.0))
    return _framed('Score', chart, legend=legend)


def _framed(title: str, chart: str, *, legend: Sequence[Markup] = ()) -> Markup:
    caption = tag('figcaption', tag('span', title), legend, tag('output'))
    return tag('figure', caption, Markup(chart) if chart else missing('No data.'))


def _mixture(run: _Run) -> Markup:
    plan = run.plan
    if not plan:
        return missing('No data: the run has no plan.json.')
    counts = {name: plan.get(name) for name in ('rows', 'steps', 'steps_per_epoch', 'epochs', 'batch_rows')}
    shown = {name.replace('_', ' '): count(value) for name, value in counts.items() if value is not None}
    shown |= {
        'tokens in a row': ' + '.join(map(str, plan.get('row_tokens') or [])) or None,
        'filled, %': ' + '.join(map(percent, plan.get('fill') or [])) or None,
        'supervised positions in a batch': count(plan.get('supervised_positions')),
        'fingerprint': plan.get('fingerprint'),
    }
    notes = [tag('div', warning, class_='warning') for warning in plan.get('warnings') or []]
    for title, reasons in (('Missing tasks', plan.get('missing')), ('Excluded tasks', plan.get('excluded'))):
        if reasons:
            items = [tag('li', tag('strong', task), f': {reason}') for task, reason in sorted(reasons.items())]
            notes.append(fold(f'{title} ({len(items)})', tag('ul', items), open_=title.startswith('Missing')))
    tasks = [dict(task) for task in plan.get('tasks') or []]
    reasons = []
    for task in tasks:
        if isinstance(task.get('dropped'), Mapping):
            told = ', '.join(f'{count} {reason.replace("_", " ")}' for reason, count in task['dropped'].items())
            reasons += [tag('li', tag('strong', task.get('task')), f': {told}')] if told else []
            task['dropped'] = sum(task['dropped'].values())
    if reasons:
        notes.append(fold(f'Examples dropped, by reason ({len(reasons)} tasks)', tag('ul', reasons)))
    if not tasks:
        return tag('div', facts(shown), notes, missing('The plan lists no tasks.'))
    legend = tag(
        'p',
        tag('span', 'Rates are shares of the examples drawn, in per cent:'),
        tag('span', tag('span', class_='key-mark s0'), 'asked for'),
        tag('span', tag('span', class_='key-mark s1'), 'realised'),
        class_='legend',
    )
    return tag(
        'div', facts(shown), notes, legend,
        tag('h3', 'By cluster'), _rates(_by_cluster(tasks), name='cluster'),
        tag('h3', 'By task'), _rates(tasks, name='task'),
    )  # fmt: skip


_SUMMED = ('available', 'dropped', 'asked_rate', 'realised_rate', 'examples', 'tokens', 'supervised_tokens',
           'token_share', 'supervised_share')  # fmt: skip


def _by_cluster(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The plan's task table summed over clusters; epochs are examples over what is available."""
    out: dict[str, dict[str, Any]] = {}
    for task in tasks:
        cluster = str(task.get('cluster'))
        row = out.setdefault(cluster, {'cluster': cluster, 'tasks': 0} | dict.fromkeys(_SUMMED, 0))
        row['tasks'] += 1
        for key in _SUMMED:
            row[key] += task.get(key) or 0
    for row in out.values():
        row['epochs'] = row['examples'] / row['available'] if row['available'] else None
    return list(out.values())


def _rates(rows: Sequence[Mapping[str, Any]], *, name: str) -> Markup:
    """Asked and realised rates of tasks or clusters, highest first, with what they come to in tokens."""
    both = [row.get(key) for row in rows for key in ('asked_rate', 'realised_rate')]
    most = max([value for value in both if is_number(value)], default=0.0) or 1.0
    shares = ('token_share', 'supervised_share')
    counts = ('available', 'dropped', 'examples')
    tokens = ('tokens', 'supervised_tokens')
    columns = [
        Column(name),
        Column('cluster') if name == 'task' else Column('tasks', number=True),
        Column('asked', number=True),
        Column('realised', number=True),
        Column('asked and realised', number=True, width='96px', title='sorts by their difference'),
        *(Column(f'{key.replace("_", " ")}, %', number=True) for key in shares),
        *(Column(key.replace('_', ' '), number=True) for key in counts + tokens),
        Column('epochs', number=True, title='examples drawn per example available'),
    ]
    lines = []
    for row in sorted(rows, key=lambda row: -(row.get('asked_rate') or 0.0)):
        asked, realised = row.get('asked_rate'), row.get('realised_rate')
        known = is_number(asked) and is_number(realised)
        bars = svg.pair_of_bars(*(value / most if is_number(value) else None for value in (asked, realised)))
        second = row.get('cluster') if name == 'task' else row.get('tasks')
        epochs = row.get('epochs')
        lines.append(
            [
                Cell(row.get(name), row.get(name)),
                Cell(second, second),
                *(Cell(f'{100 * r:.2f}' if is_number(r) else '–', r) for r in (asked, realised)),
                Cell(Markup(bars), abs(asked - realised) if known else None),
                *(Cell(percent(row.get(key)), row.get(key)) for key in shares),
                *(Cell(count(row.get(key)), row.get(key)) for key in counts),
                *(Cell(svg.short(row[key]) if is_number(row.get(key)) else '–', row.get(key)) for key in tokens),
                Cell(f'{epochs:.2f}' if is_number(epochs) else '–', epochs),
            ]
        )
    return table(columns, lines)


def _configuration(run: _Run) -> Markup:
    config = tree(run.settings) if run.settings else missing('No data: the run has no config.json.')
    environment = tree(run.environment) if run.environment else missing('No data: the run has no environment.json.')
    return tag('div', fold('Resolved configuration', config), fold('Environment', environment))
