"""A study's results on paper: the table, the tables as CSV, the plots and the page."""

import dataclasses
import platform
import time
from typing import Any

import flax
import jax

from flan_jax.ablation import analysis, csv_tables, page, runner, table
from flan_jax.ablation.study import Study


def write(found: Study, *, wall_s: float | None, command: str) -> str:
    """Writes everything.

    Args:
      found: the study, as far as it has rows.
      wall_s: of this start; None: nothing was run.
      command: that was given.

    Returns:
      What a person is told at the end.
    """
    folder, results = found.config.folder, runner.collected(found)
    results_path = table.write(folder, results, fingerprint=found.identity)
    findings = analysis.of(results, found.told)
    if left := len(found.variants) - len(results):
        note = f'{left:,} of {len(found.variants):,} variants have not been run yet: what follows is of the others.'
        findings = dataclasses.replace(findings, notes=(note, *findings.notes))
    csv_tables.write(folder, results, findings=findings)
    about = _about(found, wall_s=wall_s, command=command)
    report = page.write(folder, results, findings=findings, about=about)
    lines = [f'{axis}: {sentence}' for axis, sentences in findings.sentences.items() for sentence in sentences]
    lines += [f'failed: {name}: {why.splitlines()[0]}' for name, why in findings.failed.items()]
    lines += [f'note: {note}' for note in findings.notes]
    return '\n'.join([*lines, f'table: {results_path}', f'report: {report}'])


def _about(found: Study, *, wall_s: float | None, command: str) -> dict[str, Any]:
    config, timed = found.config, {}
    if wall_s is not None:
        started = time.localtime(time.time() - wall_s)
        timed = {'wall_s': wall_s, 'started': time.strftime('%Y-%m-%d %H:%M', started)}
    return timed | {
        'name': config.name, 'command': command, 'fingerprint': found.identity,
        'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'versions': {'python': platform.python_version(), 'jax': jax.__version__, 'flax': flax.__version__},
        'description': config.description, 'equalise': config.equalise, 'budget': found.budget,
        'published': {axis.name: axis.published for axis in config.axes if axis.published},
    }  # fmt: skip
