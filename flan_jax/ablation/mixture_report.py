"""The page's part on what each source adds, and on the mixtures that follow from it."""

from collections.abc import Mapping, Sequence

from flan_jax.ablation import axis_report, plots
from flan_jax.ablation.figures import target_title
from flan_jax.ablation.findings import Attribution, Estimate, Proposal
from flan_jax.evaluation.comparison_page import points
from flan_jax.evaluation.page import Cell, Column, Markup, facts, table, tag
from flan_jax.evaluation.scoreboard import between, percent
from flan_jax.evaluation.svg import is_number

_METHODS = {
    'leave_one_out': 'The score of the base minus that of the variant that trains without the source.',
    'regression': 'What a source adds in a linear fit over variants that train on random sets of sources.',
}


def effects(method: str, found: Sequence[Attribution], *, figure: Markup | None) -> Markup:
    """One method's attributions: figures, how far to trust them, all effects."""
    rows = [
        [
            Cell(tag('span', source, class_='name'), source),
            Cell(target_title(one.target), target_title(one.target)),
            Cell(axis_report.changed(effect, sure=plots.sign(effect) != 0), effect.mean),
            Cell(('takes', 'unsure', 'adds')[plots.sign(effect) + 1], plots.sign(effect)),
        ]
        for one in found
        for source, effect in sorted(one.effects.items(), key=lambda item: -item[1].mean)
    ]
    columns = [
        Column('source'),
        Column('scored on'),
        Column('adds, points', number=True, title='with 95 %; bold where that leaves out 0'),
        Column('verdict', number=True, title='by the interval'),
    ]
    return tag(
        'div',
        tag('h3', axis_report.title(method)),
        tag('p', _METHODS.get(method), class_='soft'),
        _trust(found),
        figure,
        table(columns, rows) if rows else None,
        class_='tall',
    )


def _trust(found: Sequence[Attribution]) -> Markup:
    """How regressions do on variants they have not seen; those that do badly come first."""
    bad, good = [], []
    for one in found:
        if not (is_number(one.held_out_error) and is_number(one.baseline_error)):
            continue
        told = (
            f'{target_title(one.target)}: on variants left out the fit is off by {percent(one.held_out_error)} '
            f'points, the plain mean by {percent(one.baseline_error)}.'
        )
        if one.held_out_error < one.baseline_error:
            good.append(tag('li', told))
        else:
            end = 'It predicts no better than the mean: do not act on these effects.'
            bad.append(tag('div', f'{told} {end}', class_='warning'))
    return tag('div', bad, tag('ul', good) if good else None)


def weights(proposal: Proposal) -> dict[str, dict[str, float]]:
    """Mixture -> member -> weight, of the mixtures a proposal is compared with whose weights are known."""
    return {
        name: dict(zip(proposal.members, proposal.shares[name], strict=True))
        for name in plots.compared(proposal)
        if name in proposal.shares
    }


def proposed(proposal: Proposal, *, figure: Markup | None) -> Markup:
    """One proposal: the verdict, figures, predicted and measured scores, all weights.

    Args:
      proposal: the mixture.
      figure: its plots.
    """
    shares = weights(proposal)
    scores = [
        [
            Cell(name, name),
            Cell(axis_report.scored(predicted), predicted.mean),
            Cell(axis_report.scored(measured) if measured else '–', measured.mean if measured else None),
        ]
        for name, (predicted, measured) in plots.compared(proposal).items()
    ]
    members = [name for _, name in sorted(zip(proposal.weights, proposal.members, strict=True), reverse=True)]
    lines = [
        [
            Cell(tag('span', name, class_='name'), name),
            *(Cell(percent(share.get(name)), share.get(name)) for share in shares.values()),
        ]
        for name in members
    ]
    heads = [Column('mixture'), Column('predicted, %', number=True), Column('measured, %', number=True)]
    told = [tag('p', sentence) for sentence in verdict(proposal)]
    return tag(
        'div',
        tag('h3', f'Mixture for {target_title(proposal.target)}'),
        tag('div', told, class_=None if proposal.trusted else 'warning'),
        tag(
            'p',
            'Predicted: by the formula, with 95 % of formulas that fit as well. Measured: with 95 % over seeds and '
            'examples. Mixtures are compared on the same prompts with the same seeds, which is surer than to compare '
            'their intervals.',
            class_='soft',
        ),
        facts({'formula': proposal.model}),
        figure,
        tag('div', table(heads, scores), _members(shares, lines), class_='pair'),
    )  # fmt: skip


def _members(shares: Mapping[str, Mapping[str, float]], lines: Sequence[Sequence[Cell]]) -> Markup:
    return table([Column('member'), *(Column(f'{name}, %', number=True) for name in shares)], lines)


def verdict(proposal: Proposal) -> list[str]:
    """What a proposal is worth, in words."""
    target = target_title(proposal.target)
    out = []
    if not proposal.trusted:
        out.append(
            f'Do not trust this proposal: on mixtures left out the formula is off by '
            f'{percent(proposal.held_out_error)} points, not surely less than the plain mean of all of them, which is '
            f'off by {percent(proposal.baseline_error)}. Train more random mixtures, or train them longer.'
        )
    else:
        out.append(
            f'On mixtures left out the formula is off by {percent(proposal.held_out_error)} points, the plain mean of '
            f'all of them by {percent(proposal.baseline_error)}: it knows something about mixtures.'
        )
    above = [
        f'{points(proposal.predicted.mean - predicted.mean)} to {name}'
        for name, (predicted, _) in proposal.others.items()
        if name != 'proposal'
    ]
    beside = f' ({", ".join(above)})' if above else ''
    out.append(f'Predicted on {target}: {_in_words(proposal.predicted)}{beside}.')
    return [*out, _measured(proposal)]


def _measured(proposal: Proposal) -> str:
    measured = {name: found for name, (_, found) in proposal.others.items() if found is not None}
    if 'proposal' not in measured:
        return 'It was not trained: no measurement says whether the prediction holds.'
    own = measured.pop('proposal')
    if not measured:
        return f'Trained, it scored {_in_words(own)}; no other mixture was trained beside it.'
    told = ', '.join(f'{name} {_in_words(other)}' for name, other in measured.items())
    gains = [
        f'{points(gain.mean)} points{f" ({ends})" if (ends := axis_report.ends(gain)) else ""} against {name}'
        for name, gain in proposal.gains.items()
    ]
    if proposal.fitted:
        told += f'. It is {proposal.fitted}, one of the mixtures that were fitted, chosen for this very score: that is '
        told += 'likely to be too good, and other seeds would tell'
    paired = f' On the same prompts with the same seeds that is {", ".join(gains)}.' if gains else ''
    return f'Trained, it scored {_in_words(own)}; {told}.{paired} {_place(own, measured, gains=proposal.gains)}'


def _place(own: Estimate, measured: Mapping[str, Estimate], *, gains: Mapping[str, Estimate]) -> str:
    """Whether a proposal won, and whether that is sure: its gain on each other mixture is."""
    if own.mean <= max(other.mean for other in measured.values()):
        return 'It did not come out best.'
    sure = all(name in gains and plots.sign(gains[name]) > 0 for name in measured)
    return 'It came out best.' if sure else 'It came out best, but not surely.'


def _in_words(estimate: Estimate) -> str:
    known = is_number(estimate.low) and is_number(estimate.high)
    return f'{percent(estimate.mean)} %' + (f' ({between((estimate.low, estimate.high))})' if known else '')
