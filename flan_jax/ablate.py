"""A study, from its config to its report: `python -m flan_jax.ablate --config=configs/studies/X.py`.

Variants that are finished are skipped, so that a study which was stopped goes on when it is started again.
"""

import os
import shlex
import sys
import time
from collections.abc import Sequence


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_bool('dry_run', False, 'Say what would be run, on what, and about how long it takes; train nothing.')
    flags.DEFINE_enum('engine', 'here', ['here', 'processes', 'ray'], 'Who runs variants: one process, several, Ray.')
    flags.DEFINE_integer('workers', 2, 'Processes of the engines `processes` and `ray`.')
    flags.DEFINE_enum('commands', None, ['plain', 'slurm', 'xpk'], 'Print commands for a cluster instead of running.')
    flags.DEFINE_multi_string('only', None, 'A variant to run, and no report; may be given several times.')
    flags.DEFINE_bool('report', False, 'Only make the report anew, of the variants that are finished.')
    return ['dry_run', 'engine', 'workers', 'commands', 'only', 'report']


def main(argv: Sequence[str]) -> None:
    """The command."""
    del argv
    from absl import flags

    from flan_jax.ablation import claim, commands, compiling, dry_run, engines, reporting, rounds, runner, study
    from flan_jax.ablation.config import StudyConfig
    from flan_jax.config import resolve

    given, began = flags.FLAGS, time.perf_counter()
    config = resolve(given.config, StudyConfig)
    os.makedirs(config.folder, exist_ok=True)
    compiling.keep(os.path.abspath(f'{config.folder}/compiled'))
    if given.only:
        _some(config, given.only)
        return
    with claim.claimed(f'{config.folder}/claim') as mine:
        runner.check_alone(mine, config.folder)
        found = study.plan(config)
        done = runner.finished(found)
        if given.dry_run:
            print(dry_run.told(found, done=done))
            return
        if given.report:
            found = study.as_run(found)
        study.save(found)
        if given.commands:
            left = [variant.name for variant in found.variants if variant.name not in done]
            print(commands.told(found, kind=given.commands, arguments=_config_arguments(), names=left))
            return
        if not given.report:
            print(dry_run.told(found, done=done), file=sys.stderr)
            found = rounds.run(found, engines.make(given.engine, workers=given.workers))
        command = shlex.join(['python', '-m', 'flan_jax.ablate', *sys.argv[1:]])
        wall_s = None if given.report else time.perf_counter() - began
        print(reporting.write(found, wall_s=wall_s, command=command))


def _config_arguments() -> list[str]:
    """The config's part of the command line, `--config X` in two words included."""
    given = sys.argv[1:]
    return [
        word for before, word in zip(['', *given], given) if word.startswith('--config') or before == '--config'
    ]  # fmt: skip


def _some(config, names: Sequence[str]) -> None:
    """Some variants of a study whose others may be running elsewhere."""
    from flan_jax import errors
    from flan_jax.ablation import runner, study

    found = study.plan(config)
    known = [variant.name for variant in found.variants]
    if unknown := [name for name in names if name not in known]:
        raise errors.ConfigError(f'--only: no variant {unknown[0]!r}{errors.near(unknown[0], known)}')
    study.save(found)
    runner.run_all(found, names, worker=runner.Worker(), said=runner.Progress(names, done=0))


if __name__ == '__main__':
    from flan_jax import command
    from flan_jax.ablation.config import StudyConfig

    command.run(main, define=define, kind=StudyConfig)
