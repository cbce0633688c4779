"""The analysis of a study: from its table and its answers to findings."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax.ablation import answers, attribution, curves, differences, proposal, sentences
from flan_jax.ablation.answers import Answers
from flan_jax.ablation.attribution import Subset
from flan_jax.ablation.curves import Axis
from flan_jax.ablation.findings import Attribution, Curve, Difference, Findings
from flan_jax.ablation.table import Result

SUBSETS = ('task_count', 'cluster_count')  # kinds of axes whose variants train on random subsets
NAMED = ('proportional', 'equal', 'proposal')  # mixtures that are compared with the base; others feed the proposal


def of(results: Sequence[Result], study: Mapping[str, Any]) -> Findings:
    """All that a study says.

    Args:
      results: a row a variant; those that failed are listed and left out.
      study: 'name'; 'axes': each with 'name', 'kind', 'base_value' (None: not known) and 'log'; 'worth': score that
        doubling a number must add to pay; 'seeds'.

    Raises:
      DataError: the answers of a finished variant are gone.
    """
    found = answers.read(results)
    axes = _axes(found, study)
    drawn = [
        curve
        for axis, target in itertools.product(axes, found.targets)
        if (curve := _curve(found, axis, target=target, worth=study['worth']))
    ]
    changes = differences.corrected(_differences(found, axes))
    effects = tuple(_attributions(found, axes))
    mixtures = tuple(itertools.chain.from_iterable(proposal.all_of(found, a.name) for a in axes if a.kind == 'weights'))
    spans = {(curve.axis, curve.target): _span(found, _axis(axes, curve.axis), curve=curve) for curve in drawn}
    told = sentences.of(axes, curves=drawn, spans=spans, differences=changes, attributions=effects, proposals=mixtures)
    failed = {result.variant: result.error for result in results if result.status == 'failed'}
    notes = tuple(_notes(found, axes, seeds=study['seeds'], changes=changes))
    return Findings(study['name'], tuple(drawn), changes, effects, mixtures, told, failed, notes)


def _axes(found: Answers, study: Mapping[str, Any]) -> list[Axis]:
    """Those the study tells of, in its order, then those that only variants name."""
    out = [Axis(one['name'], one['kind'], one['base_value'], one['log']) for one in study['axes']]
    named = dict.fromkeys(name for result in found.results for name in result.settings)
    return out + [Axis(name) for name in named if name not in {axis.name for axis in out}]


def _axis(axes: Sequence[Axis], name: str) -> Axis:
    return next(axis for axis in axes if axis.name == name)


def _curve(found: Answers, axis: Axis, *, target: str, worth: float) -> Curve | None:
    base, values = found.runs(found.base, target), found.values(axis, target)
    if axis.kind == 'weights':
        values = [value for value in values if value.label in NAMED]
    return curves.of(axis, target, values=values, base=base, worth=worth)


def _span(found: Answers, axis: Axis, *, curve: Curve) -> Difference | None:
    """The last value of a curve of numbers against its first."""
    if any(point.x is None for point in curve.points):
        return None
    runs = {value.x: value.runs for value in found.values(axis, curve.target)}
    first, last = (runs[point.x] for point in (curve.points[0], curve.points[-1]))
    label = curve.points[-1].label
    if len(last) >= len(first):
        return differences.of(axis.name, label, target=curve.target, base=first, runs=last)
    # All tasks can be drawn in one way only; each draw of fewer is compared with it.
    turned = differences.of(axis.name, label, target=curve.target, base=last, runs=first)
    return None if turned is None else differences.negated(turned)


def _differences(found: Answers, axes: Sequence[Axis]) -> list[Difference]:
    """Each value of each axis against the base, and each combination of values of several axes."""
    places: dict[tuple[str, str], list[Result]] = {}
    weights = {axis.name for axis in axes if axis.kind == 'weights'}
    for result in found.results:
        names = [axis.name for axis in axes if axis.name in result.settings]
        labels = [result.settings[name].label for name in names]
        if names and not (weights & set(names) and not set(labels) & set(NAMED)):
            places.setdefault((' × '.join(names), ', '.join(labels)), []).append(result)
    out = []
    for (axis, label), results in places.items():
        for target in found.targets:
            base, runs = found.runs(found.base, target), found.runs(results, target)
            # Strata are places on other axes; here the whole place is compared.
            runs = [dataclasses.replace(run, stratum=()) for run in runs]
            out.append(differences.of(axis, label, target=target, base=base, runs=runs))
    return [one for one in out if one is not None]


def _attributions(found: Answers, axes: Sequence[Axis]) -> list[Attribution]:
    """For held-out clusters together and each cluster alone."""
    clusters = found.clusters
    targets = {name: [task for task in clusters if clusters[task] == name] for name in sorted(set(clusters.values()))}
    held_out = sorted({name for samples in found.samples.values() for name in samples.get('held_out', ())})
    targets = ({'held_out': held_out} if held_out else {}) | targets
    subsets = [r for axis in axes if axis.kind in SUBSETS for r in found.on(axis.name)]
    without: dict[str, list[Result]] = {}
    for result in (r for axis in axes if axis.kind == 'leave_out' for r in found.on(axis.name)):
        (place,) = result.settings.values()
        without.setdefault(place.label, []).append(result)
    out = []
    for target, tasks in targets.items() if without else ():
        runs = {source: found.on_tasks(results, tasks) for source, results in without.items()}
        out.append(attribution.leave_one_out(target, base=found.on_tasks(found.base, tasks), without=runs))
    if subsets:
        out += _regressions([*subsets, *found.base], found, targets=targets)
    return [one for one in out if one is not None]


def _regressions(
    results: Sequence[Result], found: Answers, *, targets: Mapping[str, Sequence[str]]
) -> list[Attribution | None]:
    """By clusters or by tasks, whichever foretells variants left out better over all targets."""
    by_name = {result.variant: result for result in results}
    known = {task: name for task, name in found.clusters.items() if any(task in answers.trained(r) for r in results)}
    tried = []
    for unit in ('cluster', 'task'):
        made = []
        for target, tasks in targets.items():
            subsets = []
            for run in found.on_tasks(results, tasks):
                own = answers.trained(by_name[run.variant])
                sources = attribution.by_cluster(own, clusters=known if unit == 'cluster' else {t: t for t in known})
                subsets.append(Subset(sources, run.mean))
            made.append(attribution.regression(target, subsets))
        tried.append(made)
    errors = [np.mean([one.held_out_error**2 for one in made if one is not None] or [np.inf]) for made in tried]
    return tried[int(np.argmin(errors))]


def _notes(found: Answers, axes: Sequence[Axis], *, seeds: Sequence[int], changes: Sequence[Difference]) -> list[str]:
    """What a reader should know besides."""
    out = []
    if not found.base:
        out.append('The base did not finish: nothing is compared with it.')
    if len({result.seed for result in found.results}) == 1:
        out.append('All variants have one seed: what another seed would change is in no interval.')
    missing = {}
    for axis in axes:
        for label, results in _by_label(found.on(axis.name), axis).items():
            absent = sorted(set(seeds) - {result.seed for result in results})
            if absent:
                missing[f'{axis.name} {label}'] = absent
            if axis.kind in SUBSETS and len({r.settings[axis.name].draw for r in results}) == 2:
                out.append(
                    f'{axis.name} {label}: two draws say little of how far draws lie apart; its interval is wide.'
                )
    if missing:
        told = [f'{place} (seed {", ".join(map(str, absent))})' for place, absent in missing.items()]
        out.append(f'Seeds without a finished run: {"; ".join(told)}.')
    several = sorted({' × '.join(r.settings) for r in found.results if len(r.settings) > 1})
    if several:
        out.append(f'Curves of {"; ".join(several)} are means over the other axis; each combination has its row.')
    if changes:
        out.append(f'p is corrected for {len(changes)} differences from the base (Holm).')
    return out


def _by_label(results: Sequence[Result], axis: Axis) -> dict[str, list[Result]]:
    out: dict[str, list[Result]] = {}
    for result in results:
        out.setdefault(result.settings[axis.name].label, []).append(result)
    return out
