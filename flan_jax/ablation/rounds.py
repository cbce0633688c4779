"""A study's rounds: the variants that were planned, then the mixtures that their scores propose."""

import dataclasses

from flan_jax.ablation import axes, proposal, runner, study
from flan_jax.ablation.engines import Engine
from flan_jax.ablation.study import Study
from flan_jax.ablation.table import Setting


def run(found: Study, engine: Engine) -> Study:
    """Runs what is left of a study.

    Returns:
      The study with the proposals that were run.

    Raises:
      Stopped: the process was told to stop.
    """
    found = _round(found, engine)
    for axis in found.config.axes:
        if axis.propose:
            found = _proposed(found, axis.name, engine=engine)
    return found


def _round(found: Study, engine: Engine) -> Study:
    done = runner.finished(found)
    names = [variant.name for variant in found.variants]
    left = [name for name in names if name not in done]
    engine(found, left, runner.Progress(names, done=len(done)))
    return found


def _proposed(found: Study, axis: str, *, engine: Engine) -> Study:
    """The study with the mixture that an axis' scores call best, once it has run."""
    weights = proposal.of_axis(runner.collected(found), axis)
    if weights is None:
        return found
    setting = Setting(axis, None, 'proposal')
    variant = study.variant(found, {axis: setting}, changes=axes.weighted(weights))
    if variant.plan in {one.plan for one in found.variants}:
        return found
    found = dataclasses.replace(found, variants=(*found.variants, variant))
    study.save(found)
    return _round(found, engine)
