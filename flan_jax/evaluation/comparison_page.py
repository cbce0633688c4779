"""A comparison as text for the terminal and as one self-contained page."""

from flan_jax.evaluation import scoreboard, svg
from flan_jax.evaluation.comparison import ONE_ONLY, Comparison, Group, Row
from flan_jax.evaluation.page import Cell, Column, Markup, document, facts, table, tag
from flan_jax.evaluation.resampling import interval
from flan_jax.evaluation.scoreboard import percent, points

_TITLES = {group: title for group, (title, _) in scoreboard.GROUPS.items()} | {ONE_ONLY: 'Trained by one run only'}
_SURE = 0.05  # of p, corrected


def chance(p: float | None) -> str:
    """A p-value.

    >>> chance(0.0312), chance(0.00001), chance(None)
    ('0.031', '<0.001', '–')
    """
    if p is None:
        return '–'
    return '<0.001' if p < 0.001 else f'{p:.3f}'


def text(found: Comparison) -> str:
    """For the terminal, at most 110 columns wide; tasks by how much they changed."""
    wide = min(max([24, *(len(row.task) for row in found.rows)]), 42)
    heads = ('first', 'second', 'change', '95 %', 'p', 'p of all', 'better/worse')
    widths = (8, 8, 8, 15, 8, 10, 14)

    def line(label: str, values) -> str:
        return label[:wide].ljust(wide) + ''.join(v.rjust(w) for v, w in zip(values, widths, strict=True)).rstrip()

    lines = [f'first:  {found.names[0]}', f'second: {found.names[1]}', line('score, %', heads)]
    lines.append('-' * (wide + sum(widths)))
    for row in sorted(found.rows, key=lambda row: -row.paired.difference):
        mark = ' *' if row.p_corrected < _SURE else ''
        lines.append(
            line(row.task, (
                *map(percent, row.scores), points(row.paired.difference), _range(interval(row.paired.draws)),
                chance(row.paired.p), chance(row.p_corrected), f'{row.paired.better}/{row.paired.worse}',
            )) + mark
        )  # fmt: skip
    lines.append('-' * (wide + sum(widths)))
    for name, group in found.groups.items():
        lines.append(
            line(f'{_TITLES[name]} ({group.tasks})', (
                *map(percent, group.scores), points(group.difference), _range(group.interval), chance(group.p_sign),
                '', f'{group.better}/{group.worse}',
            ))
        )  # fmt: skip
    lines += [f'* differs with p < {_SURE} after correction for {len(found.rows)} tasks', *_notes(found)]
    return '\n'.join(lines)


def page(found: Comparison) -> str:
    """The page."""
    head = tag(
        'div', tag('h1', 'Two runs compared'), facts({'first': found.names[0], 'second': found.names[1]}),
        [tag('div', note, class_='warning') for note in _notes(found)],
    )  # fmt: skip
    sections = [('Groups', _groups(found)), ('Tasks', _tasks(found)), ('Tests', _tests())]
    return document('Two runs compared · flan_jax', head=head, sections=sections)


def _range(ends) -> str:
    return f'{points(ends[0])} … {points(ends[1])}'


def _notes(found: Comparison) -> list[str]:
    out = [
        f'only the {which} run answered {", ".join(names)}'
        for which, names in zip(('first', 'second'), found.alone, strict=True)
        if names
    ]
    for name, (one, other) in found.asked.items():
        out.append(f'they were asked with another {name}: {one} and {other}')
    if found.unmatched:
        out.append(f'{found.unmatched} prompts of common tasks were answered by one run alone; they are left out')
    return out


def _groups(found: Comparison) -> Markup:
    cards = [_card(name, group) for name, group in found.groups.items()]
    note = (
        'Mean over tasks of the second run minus the first, in points of a per cent, with 95 % from resampled rows. '
        'The bar reaches from -100 to +100 around the middle.'
    )
    return tag('div', tag('p', note, class_='soft'), tag('div', cards, class_='cards'))


def _card(name: str, group: Group) -> Markup:
    return tag(
        'div',
        tag('strong', _TITLES[name]),
        tag('div', points(group.difference), tag('small', _range(group.interval)), class_='big'),
        Markup(svg.change(group.difference, interval=group.interval)),
        tag(
            'div',
            f'{percent(group.scores[0])} → {percent(group.scores[1])} · better in {group.better}, worse in '
            f'{group.worse} of {group.tasks} tasks, p {chance(group.p_sign)} by signs',
            class_='soft small',
        ),
    )


def _tasks(found: Comparison) -> Markup:
    columns = [
        Column('task'),
        Column('group'),
        Column('first', number=True),
        Column('second', number=True),
        Column('change', number=True, title='in points of a per cent'),
        Column('-50 to +50', number=True, width='150px', title='the change with its 95 % interval'),
        Column('p', number=True, title='of the change by chance: permutation, or paired bootstrap'),
        Column('p corrected', number=True, title='for the number of tasks (Holm)'),
        Column('p, signs', number=True, title='rows better against rows worse; McNemar for one template'),
        Column('rows better, worse', number=True, title='sorts by their difference'),
        Column('prompts', number=True),
    ]
    rows = sorted(found.rows, key=lambda row: -row.paired.difference)
    return table(columns, [_row(row) for row in rows])


def _row(row: Row) -> list[Cell]:
    paired = row.paired
    sure = row.p_corrected < _SURE
    ends = interval(paired.draws)
    shown = tag('strong', points(paired.difference)) if sure else points(paired.difference)
    drawn = svg.change(2 * paired.difference, interval=[2 * end for end in ends])
    return [
        Cell([row.task, tag('span', row.cluster, class_='soft small')], row.task),
        Cell([_TITLES[row.group], tag('span', row.metric, class_='soft small')], row.group),
        *(Cell(percent(value), value) for value in row.scores),
        Cell([shown, tag('span', _range(ends), class_='soft small')], paired.difference),
        Cell(Markup(drawn), paired.difference),
        Cell(chance(paired.p), paired.p),
        Cell(tag('strong', chance(row.p_corrected)) if sure else chance(row.p_corrected), row.p_corrected),
        Cell(chance(paired.p_sign), paired.p_sign),
        Cell(f'{paired.better:,} / {paired.worse:,}', paired.better - paired.worse),
        Cell(f'{row.prompts:,}', row.prompts),
    ]


def _tests() -> Markup:
    return tag(
        'div',
        tag('p', 'Both runs answered the same prompts. The unit is the source row: its templates count together.'),
        tag(
            'ul',
            tag('li', 'Interval: rows drawn anew 500 times, both runs on the same rows each time.'),
            tag('li', "p: the runs' values of a row swapped at random; for scores that are no means over rows, such as "
                      'BLEU, the share of resamples in which the sign turns, twice.'),
            tag('li', 'p corrected: for asking about so many tasks at once, after Holm; bold below 0.05.'),
            tag('li', 'p, signs: by counting rows; with one template and right or wrong it is McNemar’s test.'),
            tag('li', 'A difference that one seed makes may be gone with the next: the tests know the rows, not the '
                      'training runs. Compare several seeds before believing a small one.'),
        ),
    )  # fmt: skip
