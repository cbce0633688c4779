"""A study's tables as CSV, for spreadsheets and plotting programs; scores are shares, 0 to 1."""

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from flan_jax.ablation import table
from flan_jax.ablation.findings import Estimate, Findings
from flan_jax.ablation.table import Result
from flan_jax.ablation.uncertainty import SOURCES

FOLDER = 'tables'


def write(study_dir: str | os.PathLike, results: Sequence[Result], *, findings: Findings) -> list[pathlib.Path]:
    """Writes results, curves, fits, differences, attributions and proposals, each whole or not at all.

    Returns:
      The files, in `tables/`; a table without rows has its header alone.
    """
    folder = pathlib.Path(study_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        'results': _results(results), 'curves': _curves(findings), 'fits': _fits(findings),
        'differences': _differences(findings), 'attributions': _attributions(findings),
        'proposals': _proposals(findings),
    }  # fmt: skip
    return [_write(folder / f'{name}.csv', header=header, rows=rows) for name, (header, rows) in made.items()]


Table = tuple[list[str], list[list[Any]]]
_ESTIMATE = ['mean', 'low', 'high']


def _write(path: pathlib.Path, *, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> pathlib.Path:
    temporary = path.with_suffix(f'.{os.getpid()}.tmp')
    with temporary.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerows([header, *rows])
    return temporary.replace(path)


def _numbers(found: Estimate | None) -> list[float | None]:
    return [None, None, None] if found is None else [found.mean, found.low, found.high]


def _results(results: Sequence[Result]) -> Table:
    axes = list(dict.fromkeys(axis for result in results for axis in result.settings))
    costs = list(dict.fromkeys(name for result in results for name in result.cost))
    header = ['variant', 'seed', 'status', *axes, *(f'draw_{axis}' for axis in axes)]
    header += [*(f'score_{target}' for target in table.TARGETS), *costs, 'run_dir', 'error']
    rows = []
    for result in results:
        places = [result.settings[axis] if axis in result.settings else None for axis in axes]
        row = [result.variant, result.seed, result.status, *(p.label if p else None for p in places)]
        row += [*(p.draw if p else None for p in places), *(table.mean(result, target) for target in table.TARGETS)]
        rows.append(row + [*(result.cost.get(name) for name in costs), result.run_dir, result.error])
    return header, rows


def _curves(findings: Findings) -> Table:
    header = ['axis', 'target', 'x', 'label', *_ESTIMATE, *(f'deviation_{source}' for source in SOURCES)]
    rows = [
        [curve.axis, curve.target, point.x, point.label, *_numbers(point.estimate)]
        + [point.deviations.get(source) for source in SOURCES]
        + [point.cost, ' '.join(point.variants)]
        for curve in findings.curves
        for point in curve.points
    ]
    return [*header, 'tokens', 'variants'], rows


def _fits(findings: Findings) -> Table:
    header = ['axis', 'target', 'kind', 'chosen', 'held_out_error']
    for letter in 'abc':
        header += [letter, f'{letter}_low', f'{letter}_high']
    rows = []
    for curve in findings.curves:
        for fit in curve.fits:
            told = [_numbers(fit.parameters.get(letter)) for letter in 'abc']
            until = _numbers(curve.pays_until if fit.chosen else None)
            rows.append([curve.axis, curve.target, fit.kind, fit.chosen, fit.held_out_error, *sum(told, []), *until])
    return [*header, 'pays_until', 'pays_until_low', 'pays_until_high'], rows


def _differences(findings: Findings) -> Table:
    names = ['axis', 'label', 'target', 'p', 'p_corrected', 'better', 'worse']
    rows = [
        [*(vars(difference)[name] for name in names), *_numbers(difference.difference)]
        for difference in findings.differences
    ]
    return [*names, *_ESTIMATE], rows


def _attributions(findings: Findings) -> Table:
    rows = [
        [one.target, one.method, source, *_numbers(effect), one.held_out_error, one.baseline_error]
        for one in findings.attributions
        for source, effect in one.effects.items()
    ]
    return ['target', 'method', 'source', *_ESTIMATE, 'held_out_error', 'baseline_error'], rows


def _proposals(findings: Findings) -> Table:
    """A row a mixture, with the proposal's gain on it."""
    rows = []
    for found in findings.proposals:
        for name, (predicted, measured) in found.others.items():
            shares = zip(found.members, found.shares[name], strict=True) if name in found.shares else ()
            weights = ' '.join(f'{member}={weight:.4f}' for member, weight in shares) or None
            gain = found.gains[name] if name in found.gains else None
            rows.append(
                [found.target, name, weights, *_numbers(predicted), *_numbers(measured), *_numbers(gain), found.model]
                + [found.held_out_error, found.baseline_error, found.trusted]
            )
    parts = [f'{part}_{n}' for part in ('predicted', 'measured', 'gain') for n in _ESTIMATE]
    return ['target', 'mixture', 'weights', *parts, 'formula', 'held_out_error', 'baseline_error', 'trusted'], rows
