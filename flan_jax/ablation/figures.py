"""Which figures a study has: a score along an axis, what each cluster adds, mixtures.

In the manner of the papers' own: scores over the number of clusters or tasks with the fitted curve, bars for choices,
each with 95 %, and effects sorted or as a map.
"""

import functools
from collections.abc import Mapping, Sequence

from flan_jax.ablation import canvas, plots, table
from flan_jax.ablation.canvas import SERIES, Figure, Panel
from flan_jax.ablation.findings import TITLES, Attribution, Curve, Point, Proposal
from flan_jax.evaluation.svg import is_number

_MOST_ALONE = 6  # targets with a plot of their own; of more the map and the table tell
_WIDTH = 4.2  # inches of a panel


def target_title(target: str) -> str:
    """A target as a reader knows it; a cluster is its own name."""
    return TITLES.get(target, target)


def of_axis(axis: str, curves: Sequence[Curve], *, results: Mapping[str, table.Result]) -> Figure | None:
    """Scores along one axis, a panel a target, and training tokens where values differ in them.

    Args:
      axis: its name.
      curves: those of the axis.
      results: variant -> its row, for the faint marks of single variants.

    Returns:
      None where no value has a score.
    """
    drawn = [curve for curve in curves if plots.scored(curve)]
    if not drawn:
        return None
    looks = {target: i % len(SERIES) for i, target in enumerate(TITLES)}
    panels, several = [], False
    for curve in drawn:
        singles = {
            name: score
            for point in curve.points
            for name in point.variants
            if name in results and (score := table.mean(results[name], curve.target)) is not None
        }
        several = several or any(sum(name in singles for name in point.variants) > 1 for point in curve.points)
        look = looks.get(curve.target, 0)
        kind = plots.line if plots.on_a_scale(curve) else plots.bars
        draw = functools.partial(kind, curve, singles=singles, look=look)
        panels.append(Panel(target_title(curve.target), _size(curve), draw))
    if _costs_differ(drawn[0].points):
        panels.append(Panel('training tokens', _size(drawn[0]), functools.partial(plots.cost, drawn[0])))
    title = f'Scores along {axis.replace("_", " ")}'
    legend = functools.partial(plots.legend, drawn, several=several)
    return Figure(f'axis-{canvas.file_name(axis)}', title, tuple(panels), legend)


def of_attributions(method: str, found: Sequence[Attribution]) -> Figure | None:
    """What each source adds: sorted, with intervals, a panel a target; several targets also as one map.

    Args:
      method: of all of them.
      found: by target.

    Returns:
      None where nothing has an effect.
    """
    found = [one for one in found if any(is_number(effect.mean) for effect in one.effects.values())]
    if not found:
        return None
    sources = list(dict.fromkeys(source for one in found for source in one.effects))[: plots.MOST_ROWS]
    alone = found if len(found) <= _MOST_ALONE else [one for one in found if one.target in TITLES]
    panels = []
    for one in alone:
        draw = functools.partial(plots.forest, one)
        panels.append(Panel(f'added to {target_title(one.target)}', (_WIDTH, _height(list(one.effects))), draw))
    if len(found) > 1 and len(sources) > 1:
        size = (max(_WIDTH, 2.2 + 0.62 * len(found)), 1.7 + 0.27 * len(sources))
        draw = functools.partial(plots.heat_map, found, sources)
        panels.append(Panel('points that a row adds to a column', size, draw))
    title = f'Attribution by {method.replace("_", " ")}'
    return Figure(f'attribution-{canvas.file_name(method)}', title, tuple(panels))


def of_proposal(proposal: Proposal, *, weights: Mapping[str, Mapping[str, float]]) -> Figure:
    """A proposed mixture beside others: what it is made of, and what it scores.

    Args:
      proposal: the mixture.
      weights: mixture -> member -> weight, of those that are known.
    """
    members = [name for _, name in sorted(zip(proposal.weights, proposal.members, strict=True), key=_largest_first)]
    shown = members[: plots.MOST_ROWS]
    title = f'weights, the largest {len(shown)} of {len(members)}' if len(shown) < len(members) else 'weights'
    heights = 1.1 + (0.14 + 0.13 * len(weights)) * len(shown), 1.3 + 0.42 * max(2, len(plots.compared(proposal)))
    panels = (
        Panel(title, (_WIDTH, heights[0]), functools.partial(plots.weights, shown, weights)),
        Panel(
            f'score on {target_title(proposal.target)}',
            (_WIDTH, heights[1]),
            functools.partial(plots.mixtures, proposal),
        ),
    )
    title = f'Mixture for {target_title(proposal.target)}'
    return Figure(f'mixture-{canvas.file_name(proposal.target)}', title, panels)


def _largest_first(member: tuple[float, str]) -> tuple[float, str]:
    return -member[0], member[1]


def _size(curve: Curve) -> tuple[float, float]:
    return _WIDTH, 3.0 if plots.on_a_scale(curve) else _height([point.label for point in plots.rows(curve)])


def _height(names: Sequence[str]) -> float:
    """Inches of so many rows, of which any may have a name of two lines."""
    row = 0.34 if any('\n' in canvas.fitting(name) for name in names) else 0.26
    return 0.95 + row * max(3, min(len(names), plots.MOST_ROWS))


def _costs_differ(points: Sequence[Point]) -> bool:
    costs = [point.cost for point in points if is_number(point.cost) and point.cost > 0]
    return len(costs) > 1 and max(costs) > 1.02 * min(costs)
