"""A study as commands for a cluster: one a variant, and one for the report at the end.

The study is planned, and its stores are made, where the commands are printed; `--only` runs what it names and skips
what is finished, so that any command may be given again. A command is one process: it trains on all devices of one
host. All commands must see the study's folder and the stores under the same paths.

Flags of xpk: https://github.com/AI-Hypercomputer/xpk, docs/usage/workloads.md.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Literal

from flan_jax.ablation.study import Study

Kind = Literal['plain', 'slurm', 'xpk']
VERB = 'python -m flan_jax.ablate'
MOST = 1000  # tasks of a SLURM array where its MaxArraySize was left alone
XPK_NAME = 40  # characters of a workload's name


def told(found: Study, *, kind: Kind, arguments: Sequence[str], names: Sequence[str]) -> str:
    """The commands.

    Args:
      found: the study.
      kind: for whom: a shell, SLURM, or xpk on GKE.
      arguments: of the config, as they were given.
      names: of the variants that are left.
    """
    verb = ' '.join([VERB, *map(shlex.quote, arguments)])
    report = last(found, verb)
    if not names:
        return f'# every variant is finished\n{report}'
    match kind:
        case 'plain':
            return '\n'.join([*(f'{verb} {only([name])}' for name in names), report])
        case 'slurm':
            return _slurm(found, verb, names=names)
        case 'xpk':
            return _xpk(found, verb, names=names)


def last(found: Study, verb: str) -> str:
    """The command for when all others have ended: the report, and before it what the scores of mixtures propose."""
    return verb if any(axis.propose for axis in found.config.axes) else f'{verb} --report'


def only(names: Sequence[str]) -> str:
    """The flags that run some variants; their names have no character that a shell takes for more than itself.

    >>> only(['base', 'tasks=3,seed=1'])
    '--only=base --only=tasks=3,seed=1'
    """
    return ' '.join(f'--only={name}' for name in names)


def _slurm(found: Study, verb: str, *, names: Sequence[str]) -> str:
    """A script for `sbatch`: an array with a task a variant."""
    config, each = found.config, -(-len(names) // MOST)
    groups = [names[i : i + each] for i in range(0, len(names), each)]
    return '\n'.join([
        '#!/bin/bash',
        '# Save as study.sbatch and fill in what your cluster wants: time, GPUs, partition, account, environment.',
        '#   job=$(sbatch --parsable study.sbatch)',
        f'#   sbatch --dependency=afterany:$job --wrap={shlex.quote(last(found, verb))}',
        '# Submitted again it goes on: finished variants are skipped, others begin at their last checkpoint.',
        f'#SBATCH --job-name={_slug(config.name)}',
        f'#SBATCH --array=0-{len(groups) - 1}  # %8 behind it: at most eight at once',
        f'#SBATCH --output={config.folder}/slurm-%a.txt',
        '#SBATCH --open-mode=append',
        '#SBATCH --nodes=1 --ntasks=1  # a variant is one process',
        '#SBATCH --cpus-per-task=8',
        '#SBATCH --gres=gpu:1',
        '#SBATCH --time=04:00:00',
        '#SBATCH --requeue',
        '#SBATCH --signal=TERM@120  # two minutes before its time is over a variant saves what it has',
        '',
        'variants=(',
        *(f'  {shlex.quote(only(group))}' for group in groups),
        ')',
        f'srun {verb} ${{variants[$SLURM_ARRAY_TASK_ID]}}',
    ])  # fmt: skip


def _xpk(found: Study, verb: str, *, names: Sequence[str]) -> str:
    """A workload a variant."""
    place = {variant.name: i for i, variant in enumerate(found.variants)}
    lines = [
        '# Fill in: the cluster, an image with flan_jax in it, and slices of one host (v5litepod-8, v6e-8, v5p-8) or,',
        '# for GPUs, --device-type=h100-mega-80gb-8 --num-nodes=1 instead of --tpu-type and --num-slices.',
        "# The study's folder and its stores must lie on a volume that the cluster mounts (xpk storage attach).",
        '# A workload that is restarted, or created again, goes on from its last checkpoint.',
        'CLUSTER=my-cluster',
        'IMAGE=my-image',
        'TYPE=v5litepod-8',
        '',
    ]
    for name in names:
        command = f'{verb} {only([name])}'
        lines.append(
            f'xpk workload create --cluster="$CLUSTER" --workload={workload(found.config.name, place[name])} '
            f'--docker-image="$IMAGE" --tpu-type="$TYPE" --num-slices=1 --max-restarts=10 '
            f'--command={shlex.quote(command)}'
        )
    return '\n'.join([*lines, '# When all have ended, on a machine that mounts the volume:', last(found, verb)])


def workload(study: str, place: int) -> str:
    """A name as Kubernetes takes it: small letters, digits and dashes.

    >>> workload('How many Tasks?', 7)
    'how-many-tasks-7'
    """
    end = f'-{place}'
    return (_slug(study)[: XPK_NAME - len(end)].rstrip('-') or 'study') + end


def _slug(name: str) -> str:
    slug = re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')
    return slug if slug[:1].isalpha() else f'study-{slug}'.rstrip('-')
