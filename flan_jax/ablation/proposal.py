"""The best mixture, as far as small runs with random weights tell it.

A formula for the score as a function of the weights is chosen by what it foretells of mixtures left out: linear in the
logarithms of the weights, quadratic (Scheffé 1958), or an exponential law (a + b exp(t . w); Ye et al. 2024). The
proposal is where it is highest among convex combinations of the mixtures that were tried, so that nothing is
extrapolated. That the highest of many predictions is taken makes the predicted score a little too good; what the
proposal is worth is known once it has been trained on.
"""

import dataclasses
import fnmatch
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from flan_jax.ablation import answers, differences, mixing_laws, ridge, uncertainty
from flan_jax.ablation.answers import Answers
from flan_jax.ablation.findings import Estimate, Proposal
from flan_jax.ablation.table import Result
from flan_jax.ablation.uncertainty import Run

TARGETS = ('held_out', 'held_in')  # that mixtures are proposed for; the first that there is, is the one that is run
NAMED = ('proportional', 'equal', 'proposal')  # mixtures that are foretold; how well they do is no part of the fit
FEWEST = 8  # mixtures; of fewer no formula is fitted
DRAWS = 200
SURE = 1.645  # standard errors by which a formula must foretell better than the mean
_CANDIDATES, _ROUNDS, _KEPT = 4000, 6, 40


@dataclasses.dataclass(frozen=True)
class Tried:
    """A mixture and what came of it.

    Attributes:
      weights: of the members, sum to 1.
      score: of the target.
    """

    weights: tuple[float, ...]
    score: float


def of_axis(results: Sequence[Result], axis: str) -> tuple[float, ...] | None:
    """The weights that an axis of mixtures proposes, one a member; None where too few mixtures were tried.

    Raises:
      DataError: the answers of a finished variant are gone.
    """
    read = answers.read(results)
    found = all_of(read, axis)
    if not found:
        return None
    mixture = _tried(read, axis)[0].config['mixture']
    proposed = dict(zip(found[0].members, found[0].weights, strict=True))
    given = dict(zip(mixture['members'], mixture['weights'], strict=True))
    return tuple((given | proposed).values())


def all_of(found: Answers, axis: str) -> list[Proposal]:
    """An axis' proposals: for held-out clusters, if there are any, then for trained tasks."""
    tried, out = _tried(found, axis), []
    members = {tuple(result.config['mixture']['members']) for result in found.on(axis)}
    if len(members) != 1 or not tried:
        return []
    (members,) = members
    given = np.array([result.config['mixture']['weights'] for result in tried])
    varied = np.flatnonzero(np.ptp(given, axis=0) > 0)  # others are members that are only asked
    own = tuple(members[i] for i in varied)
    named = _named(found, axis, members=members)
    for target in TARGETS:
        scores = [
            Tried(tuple(weights), run.mean)
            for result, weights in zip(tried, given[:, varied].tolist(), strict=True)
            for run in found.runs([result], target)
        ]
        runs = {}
        for name, same in named.items():
            some = [dataclasses.replace(run, stratum=(), draw=0) for run in found.runs(same, target)]
            if some and (name != 'proposal' or not out):  # what was run is the first target's
                runs[name] = some
        rates = [_rates(result, own) for result in named.get('proportional', ())]
        others = {'proportional': rates[0]} if rates and rates[0] is not None else {}
        proposed = propose(own, target, tried=scores, others=others)
        if proposed is not None:
            same = [result for result, weights in zip(tried, given[:, varied]) if _alike(weights, proposed.weights)]
            if same and 'proposal' not in runs:
                runs['proposal'] = [dataclasses.replace(run, stratum=(), draw=0) for run in found.runs(same, target)]
            out.append(_measured(proposed, runs, fitted=same[0].settings[axis].label if same else ''))
    return out


def _alike(weights: np.ndarray, proposed: Sequence[float]) -> bool:
    return bool(np.allclose(weights / weights.sum(), proposed, atol=1e-6))


def _measured(proposed: Proposal, runs: Mapping[str, Sequence[Run]], *, fitted: str) -> Proposal:
    """A proposal beside what came of it and of the other mixtures."""
    measured = {name: uncertainty.of(some).estimate for name, some in runs.items()}
    others = {
        name: (predicted, measured[name] if name in measured else None)
        for name, (predicted, _) in proposed.others.items()
    }
    return dataclasses.replace(proposed, others=others, gains=_gains(runs), fitted=fitted)


def _tried(found: Answers, axis: str) -> list[Result]:
    """The variants whose mixtures feed the fit."""
    return [
        result
        for result in found.on(axis)
        if result.settings[axis].label not in NAMED and result.config['mixture']['rule'] == 'weights'
    ]


def _gains(runs: Mapping[str, Sequence[Run]]) -> dict[str, Estimate]:
    """Other mixture -> what the proposal scored above it, on the same prompts with the same seeds."""
    if 'proposal' not in runs:
        return {}
    changes = {name: differences.paired(other, runs['proposal']) for name, other in runs.items() if name != 'proposal'}
    return {name: uncertainty.of(change).estimate for name, change in changes.items() if change}


def _named(found: Answers, axis: str, *, members: Sequence[str]) -> dict[str, list[Result]]:
    """Mixture -> variants that train on it; the base may be one of them."""
    out: dict[str, list[Result]] = {}
    for result in found.on(axis):
        if result.settings[axis].label in NAMED:
            out.setdefault(result.settings[axis].label, []).append(result)
    for result in found.base:
        mixture = result.config['mixture']
        if tuple(mixture['members']) == tuple(members) and mixture['rule'] in ('proportional', 'equal'):
            out.setdefault(mixture['rule'], []).append(result)
    return out


def _rates(result: Result, members: Sequence[str]) -> tuple[float, ...] | None:
    """Each member's share in a variant's plan; None where a task is of none of them."""
    unit = 'asked_token_share' if result.config['mixture']['unit'] == 'tokens' else 'asked_rate'
    totals = dict.fromkeys(members, 0.0)
    for task in (task for task in result.plan['tasks'] if task[unit] > 0):
        names = (task['task'], task['cluster'])
        own = [m for m in members if any(fnmatch.fnmatch(name, m.rstrip('?')) for name in names)]
        if not own:
            return None
        totals[own[0]] += task[unit]
    whole = sum(totals.values())
    return tuple(total / whole for total in totals.values()) if whole > 0 else None


def propose(
    members: Sequence[str], target: str, *, tried: Sequence[Tried], others: Mapping[str, tuple[float, ...]]
) -> Proposal | None:
    """Fits, chooses and maximises.

    Args:
      members: of the mixtures.
      target: whose score is to be high.
      tried: mixtures with random weights; the same weights (other seeds) count as one.
      others: mixture ('proportional', 'equal') -> its weights, to be foretold as well.

    Returns:
      Without what was measured; None where fewer than `FEWEST` different mixtures were tried.
    """
    weights, scores = _distinct(tried)
    if len(weights) < FEWEST:
        return None
    laws = mixing_laws.usable(weights)
    errors, baseline = mixing_laws.left_out(laws, weights, scores=scores), ridge.mean_left_out(scores)
    law = mixing_laws.best(laws, weights, scores=scores)
    predict = law.fitted(weights, scores)
    seed = zlib.crc32(f'{target} {members}'.encode())
    found = _highest(predict, weights, seed=seed)
    asked = {'equal': tuple([1 / len(members)] * len(members)), **others, 'proposal': tuple(found)}
    drawn = law.draws(weights, scores, count=DRAWS, seed=seed)
    predicted = {name: _estimate(predict, drawn, place=np.array(place)) for name, place in asked.items()}
    return Proposal(
        tuple(members), target, tuple(float(w) for w in found), predicted['proposal'],
        {name: (predicted[name], None) for name in asked},
        law.words, _root(errors), _root(baseline), _trusted(errors, baseline), asked,
    )  # fmt: skip


def _distinct(tried: Sequence[Tried]) -> tuple[np.ndarray, np.ndarray]:
    """(weights [N, P] that sum to 1, mean scores [N])."""
    scores: dict[tuple[float, ...], list[float]] = {}
    for one in tried:
        total = sum(one.weights)
        scores.setdefault(tuple(round(w / total, 9) for w in one.weights), []).append(one.score)
    return np.array(list(scores)), np.array([np.mean(values) for values in scores.values()])


def _trusted(errors: np.ndarray, baseline: np.ndarray) -> bool:
    """Whether the formula foretells better than the mean, by more than chance would have it."""
    gain = baseline**2 - errors**2
    return bool(gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)))


def _highest(predict: mixing_laws.Predict, weights: np.ndarray, *, seed: int) -> np.ndarray:
    """The convex combination of mixtures that were tried with the highest prediction; f64[P]."""
    generator = np.random.default_rng(seed)
    some = generator.dirichlet(np.full(len(weights), 0.1), _CANDIDATES)
    places = np.concatenate([weights, some @ weights])
    for _ in range(_ROUNDS):
        places = places[np.argsort(-predict(places))[:_KEPT]]
        # Between the best, and from these a step towards any that was tried.
        between = generator.dirichlet(np.full(len(places), 0.2), _CANDIDATES // 4) @ places
        towards = weights[generator.integers(0, len(weights), _CANDIDATES // 4)]
        step = generator.random((_CANDIDATES // 4, 1)) ** 3
        places = np.concatenate([places, between, between + step * (towards - between)])
    return places[np.argmax(predict(places))]


def _estimate(predict: mixing_laws.Predict, drawn: Sequence[mixing_laws.Predict], *, place: np.ndarray) -> Estimate:
    mean = float(predict(place[None])[0])
    low, high = np.quantile([float(one(place[None])[0]) for one in drawn], [0.025, 0.975])
    return Estimate(mean, float(min(low, mean)), float(max(high, mean)))


def _root(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))
