"""What each kind of plot draws on its axes.

Scores come as shares and are drawn in per cent. Bars begin at the base's score, so that their length is the difference,
whatever part of the scale is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flan_jax.ablation import canvas
from flan_jax.ablation.canvas import CARD, INK, SERIES, SOFT
from flan_jax.ablation.findings import TITLES, Attribution, Curve, Estimate, Point, Proposal
from flan_jax.evaluation.svg import is_number, short, ticks

MOST_ROWS = 40  # of a plot; more are in the table beside it
MIXTURES = ('proportional', 'equal', 'proposal')  # in this order, others after them
_MARKS = 'osD^'  # with the colours, so that print in grey can be read, too
_SORTED_FROM = 13  # values that are no numbers; so many are read more easily in the order of their scores
_FAINT = {'linestyle': '', 'marker': 'o', 'markersize': 3.2, 'markeredgewidth': 0, 'alpha': 0.5}  # single variants


def scored(curve: Curve) -> list[Point]:
    """Its points that have a score."""
    return [point for point in curve.points if is_number(point.estimate.mean)]


def on_a_scale(curve: Curve) -> bool:
    """Whether most of its values are numbers."""
    points = scored(curve)
    return 2 * sum(is_number(point.x) for point in points) > len(points)


def rows(curve: Curve) -> list[Point]:
    """The points of a curve without numbers: as given, or by score where they are many; the middle is left out."""
    points = scored(curve)
    if len(points) < _SORTED_FROM:
        return points
    points = sorted(points, key=lambda point: (-point.estimate.mean, point.label))
    return points[: MOST_ROWS // 2] + points[-MOST_ROWS // 2 :] if len(points) > MOST_ROWS else points


def line(curve: Curve, axes: Any, *, singles: Mapping[str, float], look: int) -> None:
    """Scores over numbers: means with 95 %, single variants, the chosen fit with its band, the base.

    Args:
      curve: mostly of numbers; other values lie beyond the last.
      axes: of matplotlib, as in all of these.
      singles: variant -> its score.
      look: number of colour and mark.
    """
    import matplotlib.transforms

    points, colour = scored(curve), SERIES[look]
    places = _places(points, log=curve.log)
    _scale(axes, points, places=places, log=curve.log)
    _base(curve, axes.axhline)
    chosen = [fit for fit in curve.fits if fit.chosen]
    for fit in chosen:
        xs, mean, low, high = ([float(value) for value in part] for part in fit.line)
        axes.fill_between(xs, _percents(low), _percents(high), color=colour, alpha=0.16, linewidth=0)
        axes.plot(xs, _percents(mean), color=colour, linewidth=1.8)
    means = _percents([point.estimate.mean for point in points])
    if not chosen:
        axes.plot(places, means, color=colour, linewidth=1.0, alpha=0.5)
    for x, point in zip(places, points, strict=True):
        own = _percents([singles[name] for name in point.variants if name in singles])
        if len(own) > 1:
            # Beside the mean, so that its bar hides none.
            beside = matplotlib.transforms.offset_copy(axes.transData, fig=axes.figure, x=6, units='points')
            axes.plot([x] * len(own), own, color=colour, transform=beside, **_FAINT)
        _mean(axes, x, estimate=point.estimate, look=look)
    if curve.pays_until is not None and min(places) <= curve.pays_until.mean <= max(places):
        axes.axvline(curve.pays_until.mean, color=SOFT, linewidth=1.0, linestyle=':')
    axes.grid(False, axis='x')
    axes.set_xlabel(canvas.fitting(curve.axis.replace('_', ' '), 40))
    axes.set_ylabel('score, %')


def bars(curve: Curve, axes: Any, *, singles: Mapping[str, float], look: int) -> None:
    """Scores of choices as bars from the base's score (from 0 without a base), with 95 % and single variants."""
    import matplotlib.transforms

    points, colour = rows(curve), SERIES[look]
    start = 100 * curve.base.mean if curve.base is not None and is_number(curve.base.mean) else 0.0
    for i, point in enumerate(points):
        mean = 100 * point.estimate.mean
        axes.barh([i], [mean - start], left=[start], height=0.62, color=colour, alpha=0.35)
        own = _percents([singles[name] for name in point.variants if name in singles])
        if len(own) > 1:
            beside = matplotlib.transforms.offset_copy(axes.transData, fig=axes.figure, y=-6, units='points')
            axes.plot(own, [i] * len(own), color=colour, transform=beside, **_FAINT)
        axes.errorbar(
            [mean], [i], xerr=_ends(point.estimate), color=INK, marker=_MARKS[look], markersize=4, linewidth=1.1,
            capsize=2.0, markerfacecolor=colour, markeredgecolor=colour,
        )  # fmt: skip
    _base(curve, axes.axvline)
    _named_rows(axes, [point.label for point in points])
    axes.set_xlabel('score, %')


def cost(curve: Curve, axes: Any) -> None:
    """Training tokens of each value, on the same places as its scores."""
    if on_a_scale(curve):
        points = scored(curve)
        places = _places(points, log=curve.log)
        _scale(axes, points, places=places, log=curve.log)
        axes.plot(places, [point.cost for point in points], color=SOFT, marker='o', markersize=4, linewidth=1.3)
        axes.grid(False, axis='x')
        axes.set_ylim(0, 1.08 * max(point.cost for point in points) or None)
        axes.set_xlabel(canvas.fitting(curve.axis.replace('_', ' '), 40))
        numbers = axes.yaxis
    else:
        points = rows(curve)
        axes.barh(range(len(points)), [point.cost for point in points], height=0.62, color=SOFT, alpha=0.6)
        _named_rows(axes, [point.label for point in points])
        axes.set_xlim(left=0)
        numbers = axes.xaxis
    shown = ticks(0.0, max(point.cost for point in points))
    numbers.set_ticks(shown, [short(value) for value in shown])
    (axes.set_ylabel if on_a_scale(curve) else axes.set_xlabel)('tokens of a variant')


def forest(found: Attribution, axes: Any) -> None:
    """Effects from the largest down, with 95 %, beside a line at none; faint where the interval holds 0."""
    effects = sorted(
        ((name, effect) for name, effect in found.effects.items() if is_number(effect.mean)),
        key=lambda item: (-item[1].mean, item[0]),
    )
    if len(effects) > MOST_ROWS:
        effects = effects[: MOST_ROWS // 2] + effects[-MOST_ROWS // 2 :]
    axes.axvline(0.0, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
    for i, (_, effect) in enumerate(effects):
        colour = {1: SERIES[0], -1: SERIES[1], 0: SOFT}[sign(effect)]
        axes.errorbar(
            [100 * effect.mean], [i], xerr=_ends(effect), color=colour, marker='o' if sign(effect) else '.',
            markersize=5, linewidth=1.3, capsize=2.0,
        )  # fmt: skip
    _named_rows(axes, [name for name, _ in effects])
    axes.set_xlabel('points of score')


def sign(effect: Estimate) -> int:
    """1 or -1 where its interval is on one side of 0, else 0.

    >>> sign(Estimate(0.02, 0.01, 0.03)), sign(Estimate(-0.02)), sign(Estimate(-0.02, -0.03, 0.01))
    (1, 0, 0)
    """
    if not (is_number(effect.low) and is_number(effect.high)):
        return 0
    return (effect.low > 0) - (effect.high < 0)


def heat_map(found: Sequence[Attribution], sources: Sequence[str], *, axes: Any) -> None:
    """Effects of sources (rows) on targets (columns): blue adds, orange takes; bold where the interval leaves out 0."""
    from matplotlib.patches import Rectangle

    known = [abs(effect.mean) for one in found for effect in one.effects.values() if is_number(effect.mean)]
    most = max(known) or 1.0
    for x, one in enumerate(found):
        for y, source in enumerate(sources):
            effect = one.effects.get(source)
            if effect is None or not is_number(effect.mean):
                continue
            colour, strength = SERIES[0 if effect.mean > 0 else 1], 0.6 * abs(effect.mean) / most
            cell = Rectangle((x - 0.5, y - 0.5), 1.0, 1.0, facecolor=colour, alpha=strength, linewidth=0)
            axes.add_patch(cell)
            weight = 'bold' if sign(effect) else 'normal'
            axes.text(x, y, f'{100 * effect.mean:+z.1f}', ha='center', va='center', fontsize=7.5, fontweight=weight)
    axes.set_xticks(range(len(found)), [canvas.fitting(TITLES.get(one.target, one.target), 14) for one in found])
    axes.tick_params(axis='x', rotation=40 if len(found) > 4 else 0, length=0)
    if len(found) > 4:
        for label in axes.get_xticklabels():
            label.set(ha='right', rotation_mode='anchor')
    _named_rows(axes, list(sources))
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.grid(False)


def weights(members: Sequence[str], mixtures: Mapping[str, Mapping[str, float]], *, axes: Any) -> None:
    """Weights in per cent, a row a member, a bar a mixture."""
    thickness = 0.8 / max(1, len(mixtures))
    known = dict.fromkeys((*MIXTURES, *mixtures))
    colours = {name: SERIES[i % len(SERIES)] for i, name in enumerate(known)}
    for i, (name, shares) in enumerate(mixtures.items()):
        places = [row + (i + 0.5) * thickness - 0.4 for row in range(len(members))]
        values = _percents([shares.get(member, 0.0) for member in members])
        axes.barh(places, values, height=0.9 * thickness, color=colours[name], alpha=0.85, label=name)
    _named_rows(axes, members)
    axes.set_xlabel('weight, %')
    _legend_above(axes, rows=0.9)


def mixtures(proposal: Proposal, axes: Any) -> None:
    """Predicted (hollow) and measured (full) scores, a row a mixture, with 95 %."""
    others = compared(proposal)
    for i, (predicted, measured) in enumerate(others.values()):
        for shift, estimate, hollow in ((-0.14, predicted, True), (0.14, measured, False)):
            if estimate is None or not is_number(estimate.mean):
                continue
            colour = SERIES[1] if hollow else SERIES[0]
            axes.errorbar(
                [100 * estimate.mean], [i + shift], xerr=_ends(estimate), color=colour, marker='o', markersize=6,
                markerfacecolor=CARD if hollow else colour, linewidth=1.3, capsize=2.5,
            )  # fmt: skip
    axes.plot([], [], color=SERIES[1], marker='o', markerfacecolor=CARD, label='predicted')
    if any(measured is not None for _, measured in others.values()):
        axes.plot([], [], color=SERIES[0], marker='o', label='measured')
    _named_rows(axes, list(others))
    axes.set_xlabel('score, %')
    _legend_above(axes, rows=0.5)


def compared(proposal: Proposal) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Mixture -> (predicted, measured), the proposal among them, in the order of `MIXTURES`."""
    found = {'proposal': (proposal.predicted, None)} | dict(proposal.others)
    return {name: found[name] for name in dict.fromkeys((*MIXTURES, *found)) if name in found}


def legend(curves: Sequence[Curve], *, several: bool) -> list[Any]:
    """Handles for what the marks of scores mean.

    Args:
      curves: drawn ones, all of one axis.
      several: whether any value has several variants.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    out = [Line2D([], [], color=SOFT, marker='o', markersize=5, label='mean with 95 %')]
    if several:
        out.append(Line2D([], [], color=SOFT, label='single variants', **_FAINT))
    if any(fit.chosen for curve in curves for fit in curve.fits):
        out.append(Patch(color=SOFT, alpha=0.3, label='fit with 95 %'))
    if any(curve.base is not None for curve in curves):
        out.append(Line2D([], [], color=INK, linewidth=1.1, linestyle=(0, (4, 3)), label='base'))
    if any(curve.pays_until is not None for curve in curves):
        out.append(Line2D([], [], color=SOFT, linewidth=1.0, linestyle=':', label='pays until here'))
    return out


def _base(curve: Curve, draw: Callable[..., Any]) -> None:
    if curve.base is not None and is_number(curve.base.mean):
        draw(100 * curve.base.mean, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))


def _mean(axes: Any, x: float, *, estimate: Estimate, look: int) -> None:
    axes.errorbar(
        [x], [100 * estimate.mean], yerr=_ends(estimate), color=SERIES[look], marker=_MARKS[look], markersize=5,
        linewidth=1.3, capsize=2.5,
    )  # fmt: skip


def _ends(estimate: Estimate) -> list[list[float]]:
    """Lengths of an error bar's halves in per cent; 0 where there is no interval."""
    if not (is_number(estimate.low) and is_number(estimate.high)):
        return [[0.0], [0.0]]
    return [[max(0.0, 100 * (estimate.mean - estimate.low))], [max(0.0, 100 * (estimate.high - estimate.mean))]]


def _percents(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def _named_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [canvas.fitting(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis='y', length=0)
    axes.grid(False, axis='y')


def _legend_above(axes: Any, *, rows: float) -> None:
    """Over the first row, in room of its own."""
    axes.set_ylim(top=axes.get_ylim()[1] - rows)
    axes.legend(loc='upper center', ncols=3, columnspacing=1.0, handlelength=1.4)


def _places(points: Sequence[Point], *, log: bool) -> list[float]:
    """Where points are drawn; those without a number lie beyond the last one that has one."""
    known = sorted({point.x for point in points if is_number(point.x)})
    last = known[-1]
    before = known[-2] if len(known) > 1 else 0.0
    out = []
    for point in points:
        if not is_number(point.x):
            # As far on as the last two are apart.
            before, last = last, last * (last / before if before > 0 else 2.0) if log else 2 * last - before
        out.append(point.x if is_number(point.x) else last)
    return out


def _scale(axes: Any, points: Sequence[Point], *, places: Sequence[float], log: bool) -> None:
    """The values themselves as ticks, as many as there is room for."""
    positive = [x for x in places if x > 0]
    if log and len(positive) == len(places):
        axes.set_xscale('log')
    elif log and positive:  # a zero has a place of its own on the left
        axes.set_xscale('symlog', linthresh=min(positive), linscale=0.6)
    numbers = sorted({x for x, point in zip(places, points, strict=True) if is_number(point.x)})
    shown = _apart(numbers, transform=axes.xaxis.get_transform().transform)
    labels = [short(x) for x in shown]
    for x, point in zip(places, points, strict=True):
        if not is_number(point.x):
            shown.append(x)
            labels.append(canvas.fitting(point.label, 12))
    axes.set_xticks(shown, labels)
    axes.minorticks_off()


def _apart(places: Sequence[float], *, transform: Callable[[Any], Any]) -> list[float]:
    """Those that leave room for their numbers: a tenth of the width from one to the next."""
    import numpy as np

    if len(places) < 3:
        return list(places)
    at = np.asarray(transform(np.array(places, float)), float)
    room, kept = 0.1 * (at[-1] - at[0]), [0]
    for i in range(1, len(places) - 1):
        if at[i] - at[kept[-1]] >= room and at[-1] - at[i] >= room:
            kept.append(i)
    return [places[i] for i in (*kept, len(places) - 1)]
