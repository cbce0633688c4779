"""A study's answers in memory: which runs have a value of an axis, and what they scored on a target, row by row."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from flan_jax.ablation import table
from flan_jax.ablation.curves import Axis, Value
from flan_jax.ablation.table import Result, Samples
from flan_jax.ablation.uncertainty import Run


@dataclasses.dataclass(frozen=True)
class Answers:
    """Finished variants and what they said.

    Attributes:
      results: rows of the table.
      samples: variant -> target -> task -> scores.
    """

    results: tuple[Result, ...]
    samples: Mapping[str, Mapping[str, Mapping[str, Samples]]]

    @property
    def base(self) -> list[Result]:
        """The base with each of its seeds."""
        return [result for result in self.results if not result.settings]

    @property
    def targets(self) -> list[str]:
        """Those that any variant has scores of."""
        return [target for target in table.TARGETS if any(target in found for found in self.samples.values())]

    def on(self, axis: str) -> list[Result]:
        """Variants that leave the base on this axis alone."""
        return [result for result in self.results if list(result.settings) == [axis]]

    def runs(self, results: Sequence[Result], target: str, *, axis: str = '') -> list[Run]:
        """Those of some variants that have the target; places on axes other than the given one are their strata."""
        return [
            _run(result, self.samples[result.variant][target], axis=axis)
            for result in results
            if target in self.samples[result.variant]
        ]

    def on_tasks(self, results: Sequence[Result], tasks: Sequence[str]) -> list[Run]:
        """The runs on given tasks, whether trained on or not; variants that lack one of them are left out."""
        out = []
        for result in results:
            found = _pooled(result, self.samples[result.variant])
            if all(name in found for name in tasks):
                out.append(_run(result, {name: found[name] for name in tasks}, axis=''))
        return out

    def values(self, axis: Axis, target: str) -> list[Value]:
        """The values of an axis with their runs; the base's own among them where its place is a number.

        Where variants are on several axes, values are compared on the places of other axes that all of them have, if
        there are any.
        """
        mine = [result for result in self.results if axis.name in result.settings]
        places: dict[tuple[float | None, str], list[Run]] = {}
        for result, run in ((r, run) for r in mine for run in self.runs([r], target, axis=axis.name)):
            setting = result.settings[axis.name]
            places.setdefault((setting.value, setting.label), []).append(run)
        if not places:
            return []
        strata = [{run.stratum for run in runs} for runs in places.values()]
        shared = set.intersection(*strata)
        if shared:
            places = {key: [run for run in runs if run.stratum in shared] for key, runs in places.items()}
        own = axis.base_value
        if own is not None and all(x is not None and x != own for x, _ in places):
            others = [result for result in self.results if axis.name not in result.settings]
            runs = [run for run in self.runs(others, target, axis=axis.name) if run.stratum in shared]
            if {run.stratum for run in runs} == shared and runs:
                places[own, f'{own:g}'] = runs
        return [Value(x, label, tuple(runs)) for (x, label), runs in places.items()]

    @property
    def clusters(self) -> dict[str, str]:
        """Task -> its cluster, of all tasks that any variant was asked."""
        return {name: told['cluster'] for result in self.results for name, told in result.scores['tasks'].items()}


def read(results: Sequence[Result]) -> Answers:
    """Reads the answers of all finished variants.

    Raises:
      DataError: those of a variant are gone.
    """
    finished = tuple(result for result in results if result.status == 'finished')
    return Answers(finished, {result.variant: table.samples(result) for result in finished})


def trained(result: Result) -> list[str]:
    """Tasks that a variant trains on."""
    return [task['task'] for task in result.plan['tasks'] if task['rate'] > 0]


def _run(result: Result, tasks: Mapping[str, Samples], *, axis: str) -> Run:
    draw = tuple((name, place.draw) for name, place in sorted(result.settings.items()) if place.draw)
    stratum = tuple((name, place.label) for name, place in sorted(result.settings.items()) if name != axis)
    cost = float(result.cost['tokens']) if 'tokens' in result.cost else 0.0
    return Run(result.variant, result.seed, tasks, draw, stratum, cost)


def _pooled(result: Result, samples: Mapping[str, Mapping[str, Samples]]) -> dict[str, Samples]:
    """Task -> scores over all its templates, so that trained and untrained tasks compare."""
    out: dict[str, Samples] = {}
    for target in ('held_out', 'unseen', 'held_in'):
        out |= samples[target] if target in samples else {}
    if 'held_out_templates' not in samples:
        return out
    for name, other in samples['held_out_templates'].items():
        if name not in out:
            out[name] = other
            continue
        told = result.scores['tasks'][name]['templates'].values()
        unseen = float(np.mean([template['held_out'] for template in told]))
        rows, here, there = np.intersect1d(out[name].rows, other.rows, assume_unique=True, return_indices=True)
        out[name] = Samples(rows, (1 - unseen) * out[name].values[here] + unseen * other.values[there])
    return out
