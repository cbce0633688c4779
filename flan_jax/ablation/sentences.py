"""What a study came to, in words: the numbers in percent points, and what was not significant said as well."""

from collections.abc import Mapping, Sequence

from flan_jax.ablation.curves import Axis
from flan_jax.ablation.findings import TITLES, Attribution, Curve, Difference, Estimate, Proposal

SIGNIFICANT = 0.05
_NAMES = {'log_linear': 'a logarithmic curve', 'power': 'a power law', 'saturating': 'a saturating curve'}
_TOLD = 3  # differences or effects that are named


def of(
    axes: Sequence[Axis], *, curves: Sequence[Curve], spans: Mapping[tuple[str, str], Difference | None],
    differences: Sequence[Difference], attributions: Sequence[Attribution], proposals: Sequence[Proposal],
) -> dict[str, tuple[str, ...]]:  # fmt: skip
    """Axis -> sentences; combinations of axes come after the axes.

    Args:
      axes: of the study.
      curves, differences, attributions, proposals: what was found.
      spans: axis and target -> the last value of a curve of numbers against the first.
    """
    out: dict[str, list[str]] = {axis.name: [] for axis in axes}
    for curve in curves:
        if (curve.axis, curve.target) in spans:
            out[curve.axis] += _curve(curve, spans[curve.axis, curve.target])
    for name in dict.fromkeys(difference.axis for difference in differences):
        mine = [difference for difference in differences if difference.axis == name]
        out.setdefault(name, [])
        out[name] += [
            _differences(TITLES[target], [one for one in mine if one.target == target])
            for target in dict.fromkeys(one.target for one in mine)
        ]
    for axis in axes:
        method = 'leave_one_out' if axis.kind == 'leave_out' else 'regression'
        if axis.kind in ('leave_out', 'task_count', 'cluster_count'):
            out[axis.name] += [
                _attribution(one) for one in attributions if one.method == method and one.target in TITLES
            ]
        if axis.kind == 'weights':
            out[axis.name] += [_proposal(one) for one in proposals]
    return {name: tuple(lines) for name, lines in out.items() if lines}


def _curve(curve: Curve, span: Difference | None) -> list[str]:
    """How the score goes along an axis of numbers."""
    if span is None:
        return []
    first, last = curve.points[0], curve.points[-1]
    low, high = first.estimate.mean, last.estimate.mean
    sure = span.difference.low is not None and span.p < SIGNIFICANT
    way = ('rises' if span.difference.mean > 0 else 'falls') if sure else 'goes'
    text = f'{_title(curve.target)}: from {first.label} to {last.label} the score {way} from {_score(low)} '
    # Trained tasks are others at other values; the difference is of those that both have.
    same = abs(high - low - span.difference.mean) < 5e-4
    change = _change(span.difference) + ('' if same else ' on what both were asked')
    text += f'to {_score(high)} ({change})' + ('.' if sure else ', which may be chance.')
    if not curve.fits:
        return [text]
    chosen = next(fit for fit in curve.fits if fit.chosen)
    if chosen.kind == 'constant':
        return [f'{text} No curve with a trend foretells points left out better than a constant, beyond chance.']
    name, least = _NAMES[chosen.kind], min(fit.held_out_error for fit in curve.fits)
    how = 'best' if chosen.held_out_error <= least else 'as well as any, but for chance,'
    text += f' {name[:1].upper()}{name[1:]} foretells points left out {how}'
    return [f'{text} (error {_score(chosen.held_out_error)} points); {_pays(curve)}']


def _pays(curve: Curve) -> str:
    worth = f'{_score(curve.worth)} {"point" if curve.worth == 0.01 else "points"}'
    until, largest = curve.pays_until, curve.points[-1].x
    if until is None:
        return f'as far as twice the largest value, {2 * largest:g}, doubling still adds {worth} or more.'
    if until.mean <= min(point.x for point in curve.points if point.x > 0):
        return f'doubling adds less than {worth} from the first value on.'
    high = '' if until.high is None else f'{_number(until.high)}{" or more" if until.high >= 1.99 * largest else ""}'
    between = f' ({_number(until.low)} to {high})' if until.low is not None and high else ''
    return f'beyond about {_number(until.mean)}{between} doubling adds less than {worth}.'


def _differences(title: str, found: Sequence[Difference]) -> str:
    """Which values differ from the base, after correction for all differences of the study."""
    title = title[:1].upper() + title[1:]
    sure = sorted((d for d in found if d.p_corrected < SIGNIFICANT), key=lambda d: -abs(d.difference.mean))
    if not sure:
        most = max(found, key=lambda d: abs(d.difference.mean))
        return f'{title}: no difference from the base was significant (largest: {_told(most)}).'
    named = '; '.join(map(_told, sure[:_TOLD]))
    more = f'; and {len(sure) - _TOLD} more' if len(sure) > _TOLD else ''
    return f'{title}: {len(sure)} of {len(found)} differences from the base are significant: {named}{more}.'


def _told(found: Difference) -> str:
    return f'{found.axis} = {found.label}: {_change(found.difference)}, corrected p {_chance(found.p_corrected)}'


def _attribution(found: Attribution) -> str:
    """Which sources matter to a target."""
    title = _title(found.target)
    way = 'leaving sources out' if found.method == 'leave_one_out' else 'random subsets'
    sure = [(name, e) for name, e in found.effects.items() if e.low is not None and (e.low > 0 or e.high < 0)]
    sure.sort(key=lambda item: -abs(item[1].mean))
    text = f'{title}, by {way}: '
    if not sure:
        name, most = max(found.effects.items(), key=lambda item: abs(item[1].mean))
        text += f'no source has an effect beyond its interval (largest: {name} {_change(most)})'
    else:
        text += f'{len(sure)} of {len(found.effects)} sources have an effect beyond their interval: '
        text += ', '.join(f'{name} {_change(effect)}' for name, effect in sure[:_TOLD])
    if found.held_out_error is None:
        return text + '. Intervals are of one source each, not corrected for their number.'
    worse = '' if found.held_out_error < found.baseline_error else ', so that the effects are not to be trusted'
    return (
        f'{text}. On variants left out the regression errs by {_score(found.held_out_error)} points, the plain mean by '
        f'{_score(found.baseline_error)}{worse}.'
    )


def _proposal(found: Proposal) -> str:
    """What mixture is proposed, and whether to believe it."""
    order = sorted(zip(found.weights, found.members, strict=True), reverse=True)
    weights = ', '.join(f'{100 * weight:.0f} % {name}' for weight, name in order)
    others = [f'{_score(e.mean)} for {name}' for name, (e, _) in found.others.items() if name != 'proposal']
    text = f'{_title(found.target)}: proposed are {weights}; predicted {_score(found.predicted.mean)}'
    text += _between(found.predicted)
    text += f' against {", ".join(others)}.' if others else '.'
    verdict = (
        'better than the plain mean' if found.trusted else 'not surely better than the plain mean: not to be trusted'
    )
    text += f' On mixtures left out the formula errs by {_score(found.held_out_error)} points, {verdict} '
    text += f'({_score(found.baseline_error)}).'
    measured = found.others['proposal'][1] if 'proposal' in found.others else None
    if measured is None:
        return text
    gains = ''.join(f', {_change(gain)} to {name}' for name, gain in found.gains.items())
    if found.fitted:
        text += f' It is {found.fitted} of the fitted ones, chosen for its score, which is likely to be too good.'
    return f'{text} Trained on, it scores {_score(measured.mean)}{_between(measured)}{gains}.'


def _title(target: str) -> str:
    title = TITLES[target]
    return title[:1].upper() + title[1:]


def _score(value: float) -> str:
    return f'{100 * value:.1f}'


def _number(value: float) -> str:
    """
    >>> _number(13.7), _number(2.34), _number(23456)
    ('14', '2.3', '23,456')
    """
    return f'{value:,.0f}' if value >= 10 else f'{value:.2g}'


def _change(found: Estimate) -> str:
    """
    >>> _change(Estimate(0.0771, 0.041, 0.113)), _change(Estimate(-0.01))
    ('+7.7, 95 % +4.1 to +11.3', '-1.0')
    """
    if found.low is None:
        return f'{100 * found.mean:+z.1f}'
    return f'{100 * found.mean:+z.1f}, 95 % {100 * found.low:+z.1f} to {100 * found.high:+z.1f}'


def _between(found: Estimate) -> str:
    return '' if found.low is None else f' (95 % {_score(found.low)} to {_score(found.high)})'


def _chance(p: float) -> str:
    return 'below 0.001' if p < 0.001 else f'{p:.3f}' if p < 0.1 else f'{p:.2f}'
