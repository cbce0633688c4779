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
    """The study with the mixture that an axis' scores call best, once it has run with every seed of the base."""
    weights = proposal.of_axis(runner.collected(found), axis)
    if weights is None:
        return found
    setting = Setting(axis, None, 'proposal')
    changes, known = axes.weighted(weights), {one.plan for one in found.variants}
    bases = [one for one in found.variants if not one.settings]
    own = [study.variant(found, base, settings={axis: setting}, changes=changes) for base in bases]
    own = [variant for variant in own if variant.plan not in known]
    if not own:
        return found
    found = dataclasses.replace(found, variants=(*found.variants, *own))
    study.save(found)
    return _round(found, engine)
