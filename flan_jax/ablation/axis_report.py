"""The page's part on one axis: figures, the table of values, the fits, and what the paper found."""

from collections.abc import Sequence
from typing import Any

from flan_jax.ablation import figures
from flan_jax.ablation.findings import Curve, Difference, Estimate, Point
from flan_jax.evaluation import svg
from flan_jax.evaluation.comparison_page import chance, points
from flan_jax.evaluation.page import Cell, Column, Markup, facts, fold, missing, table, tag
from flan_jax.evaluation.scoreboard import between, count, percent
from flan_jax.evaluation.svg import is_number

_SURE = 0.05  # of p, corrected
_FORMULAS = {
    'constant': 'a',
    'log_linear': 'a + b log x',
    'power': 'a - b x^-c',
    'saturating': 'a - b exp(-x / c)',
}


def title(axis: str) -> str:
    """An axis as a reader knows it.

    >>> title('examples_per_task')
    'examples per task'
    """
    return axis.replace('_', ' ')


def ends(estimate: Estimate | None) -> str:
    """An interval in points, '' if there is none.

    >>> ends(Estimate(0.01, -0.005, 0.02)), ends(Estimate(0.01))
    ('-0.5 … +2.0', '')
    """
    if estimate is None or not (is_number(estimate.low) and is_number(estimate.high)):
        return ''
    return f'{points(estimate.low)} … {points(estimate.high)}'


def scored(estimate: Estimate) -> list[Any]:
    """A score in per cent with its interval under it."""
    known = is_number(estimate.low) and is_number(estimate.high)
    interval = between((estimate.low, estimate.high)) if known else ''
    return [percent(estimate.mean), tag('span', interval, class_='soft small') if interval else None]


def changed(estimate: Estimate, *, sure: bool) -> list[Any]:
    """A difference in points with its interval under it; bold where it is sure."""
    shown = points(estimate.mean) if is_number(estimate.mean) else '–'
    return [tag('strong', shown) if sure else shown, tag('span', ends(estimate), class_='soft small')]


def content(
    curves: Sequence[Curve], differences: Sequence[Difference], *, plots: Markup | None, published: str | None
) -> Markup:
    """All of one axis, below its heading.

    Args:
      curves, differences: those of the axis.
      plots: its figures.
      published: what the paper found.
    """
    empty = missing('No figure: there are fewer than two values of this axis to draw.') if plots is None else plots
    paper = tag('p', tag('strong', 'Published: '), published, class_='published') if published else None
    rows = _rows(curves, differences)
    body = table(_columns(), rows) if rows else None
    return tag('div', empty, paper, _until(curves), body, _fits(curves), class_='tall')


def _columns() -> list[Column]:
    return [
        Column('value'),
        Column('scored on'),
        Column('score, %', number=True, title='mean, with 95 % over draws, seeds and examples together'),
        Column('to the base', number=True, title='difference in points of a per cent, on the same prompts, with 95 %'),
        Column('change', number=True, width='110px', title='the difference with its 95 %; sorts by it'),
        Column('p', number=True, title='of a difference so large by chance'),
        Column('p corrected', number=True, title='for all differences of the study (Holm); bold below 0.05'),
        Column('tasks better, worse', number=True, title='sorts by their difference'),
        Column('standard errors', title='of the mean, in points, that each source alone would give'),
        Column('tokens', number=True, title='mean training tokens of a variant'),
        Column('variants', number=True),
    ]


def _rows(curves: Sequence[Curve], differences: Sequence[Difference]) -> list[list[Cell]]:
    """A row a value and target, in the order of the curves; differences without a point come last."""
    known = {(found.target, found.label): found for found in differences}
    cells = [(curve.target, point.label, point) for curve in curves for point in curve.points]
    there = {(target, label) for target, label, _ in cells}
    cells += [(target, label, None) for target, label in known if (target, label) not in there]
    changes = [found.difference for found in differences]
    sizes = [abs(end) for d in changes for end in (d.mean, d.low, d.high) if is_number(end)]
    most = max(sizes, default=0.0) or 1.0
    return [
        _row(target, label, point=point, found=known.get((target, label)), most=most) for target, label, point in cells
    ]


def _row(target: str, label: str, *, point: Point | None, found: Difference | None, most: float) -> list[Cell]:
    by = point.x if point is not None and is_number(point.x) else label
    score = point.estimate.mean if point is not None else None
    name = figures.target_title(target)
    errors = point.deviations.items() if point is not None else ()
    spread = ' · '.join(f'{source} {percent(value)}' for source, value in errors if is_number(value))
    cost = point.cost if point is not None and is_number(point.cost) else None
    return [
        Cell(tag('span', label, class_='name'), by),
        Cell(name, name),
        Cell(scored(point.estimate) if point is not None else '–', score if is_number(score) else None),
        *_difference(found, most=most),
        Cell(spread or '–', spread or None),
        Cell(svg.short(cost) if cost is not None else '–', cost),
        Cell(
            tag('span', count(len(point.variants)), title=', '.join(point.variants)) if point is not None else '–',
            len(point.variants) if point is not None else None,
        ),
    ]


def _difference(found: Difference | None, *, most: float) -> list[Cell]:
    if found is None or not is_number(found.difference.mean):
        return [Cell('–', None)] * 5
    change = found.difference
    sure = found.p_corrected < _SURE
    interval = [v if is_number(v) else change.mean for v in (change.low, change.high)]
    bar = svg.change(change.mean / most, interval=[v / most for v in interval])
    corrected = chance(found.p_corrected)
    return [
        Cell(changed(change, sure=sure), change.mean),
        Cell(Markup(bar), change.mean),
        Cell(chance(found.p), found.p),
        Cell(tag('strong', corrected) if sure else corrected, found.p_corrected),
        Cell(f'{found.better} / {found.worse}', found.better - found.worse),
    ]


def _until(curves: Sequence[Curve]) -> Markup | None:
    found = {}
    for curve in curves:
        until = curve.pays_until
        if until is not None and is_number(until.mean):
            known = is_number(until.low) and is_number(until.high)
            interval = f' ({svg.short(until.low)}–{svg.short(until.high)})' if known else ''
            what = f'{figures.target_title(curve.target)}: doubling adds less than {percent(curve.worth)} points from'
            found[what] = f'{svg.short(until.mean)}{interval}'
    return facts(found) if found else None


def _fits(curves: Sequence[Curve]) -> Markup | None:
    """Every formula that was tried; parameters in score, where 1 is 100 %."""
    rows = []
    for curve in curves:
        for fit in curve.fits:
            told = ', '.join(f'{name} = {_parameter(value)}' for name, value in fit.parameters.items())
            name, target = f'{title(fit.kind)}: {_FORMULAS[fit.kind]}', figures.target_title(curve.target)
            rows.append(
                [
                    Cell(tag('strong', name) if fit.chosen else name, name),
                    Cell(target, target),
                    Cell(percent(fit.held_out_error), fit.held_out_error),
                    Cell('chosen' if fit.chosen else '', 'a' if fit.chosen else 'b'),
                    Cell(told, told),
                ]
            )
    if not rows:
        return None
    columns = [
        Column('formula'),
        Column('scored on'),
        Column('error left out', number=True, title='root mean square at values left out in turn, in points'),
        Column('chosen', title='the simplest of those with about the least error'),
        Column('parameters, with 95 %', title='scores as shares: 1 is 100 %'),
    ]
    return fold('Fits', table(columns, rows))


def _parameter(value: Estimate) -> str:
    known = is_number(value.low) and is_number(value.high)
    return svg.short(value.mean) + (f' ({svg.short(value.low)} to {svg.short(value.high)})' if known else '')
