"""A study in one process against the same variants as runs of their own.

    python tools/bench/study.py --config=configs/studies/smoke.py --steps=20

Both sides find their token stores made, and begin without executables. The study is `python -m flan_jax.ablate`, from
its plan to its report; the runs are `python -m flan_jax.train --resolved=...` one after the other, with the configs
that the study gave its variants. Each side is given in seconds by the clock and in seconds of CPU, which other work on
the machine disturbs less. With --kept the runs keep executables between them in a folder, as the study does.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata

TARGET = 0.6  # of the runs' time


def timed(command: Sequence[str], environment: dict[str, str], *, log: pathlib.Path) -> tuple[float, float]:
    """Seconds by the clock and of CPU of a command; what it says goes to a file."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open('a') as out:
        status = subprocess.run(command, env=environment, stdout=out, stderr=out).returncode
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        sys.exit(f'{" ".join(command)} ended with status {status}; see {log}')
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parts(folders: Sequence[pathlib.Path]) -> str:
    """Where runs spent their time, by their own account."""
    totals: dict[str, float] = {}
    for folder in folders:
        for part, seconds in json.loads((folder / 'seconds.json').read_text()).items():
            totals[part] = totals.get(part, 0.0) + seconds
    return ', '.join(f'{part} {seconds:.1f}' for part, seconds in totals.items())


def told(name: str, seconds: tuple[float, float], *, of: Sequence[pathlib.Path]) -> None:
    print(f'{name:<8}{seconds[0]:9.1f} s by the clock{seconds[1]:9.1f} s of CPU; of it {parts(of)}', flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', default='configs/studies/smoke.py', help='of the study')
    parser.add_argument('--steps', type=int, default=20, help='of each variant')
    parser.add_argument('--engine', default='here', help='of the study, with a worker a core')
    parser.add_argument('--folder', help='where all is written; a temporary one by default')
    parser.add_argument('--kept', action='store_true', help='the runs keep executables, too')
    given = parser.parse_args()
    folder = pathlib.Path(given.folder or tempfile.mkdtemp()).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([os.getcwd(), os.environ.get('PYTHONPATH', '')])}
    environment |= {'JAX_COMPILATION_CACHE_DIR': str(folder / 'kept')} if given.kept else {}
    environment |= {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'} if given.kept else {}
    study = [
        sys.executable, '-m', 'flan_jax.ablate', f'--config={given.config}', f'--config.study_root={folder}',
        f'--config.base.data.store_root={folder}/stores', f'--config.base.training.steps={given.steps}',
    ]  # fmt: skip
    timed([*study, '--config.name=warm', '--commands=plain'], environment, log=folder / 'warm.txt')

    print(f'{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}')
    print(', '.join(f'{name} {metadata.version(name)}' for name in ('jax', 'jaxlib', 'flax', 'orbax-checkpoint')))
    print(' '.join(['python', *sys.argv]))
    engine = [f'--engine={given.engine}', f'--workers={os.cpu_count()}']
    together = timed([*study, '--config.name=study', *engine], environment, log=folder / 'study.txt')
    variants = json.loads((folder / 'study' / 'study.json').read_text())['variants']
    print(f'{len(variants)} variants of {given.steps} steps')
    told('study', together, of=[folder / 'study' / 'variants' / variant['name'] for variant in variants])
    apart, roots = [0.0, 0.0], []
    for variant in variants:
        values = variant['config'] | {'run_root': str(folder / 'apart')}
        path = folder / 'variant.json'
        path.write_text(json.dumps(values))
        run = timed(
            [sys.executable, '-m', 'flan_jax.train', f'--resolved={path}'], environment, log=folder / 'apart.txt'
        )
        apart = [sum(both) for both in zip(apart, run)]
        roots.append(folder / 'apart' / variant['name'])
    told('apart', tuple(apart), of=roots)
    ratios = [one / other for one, other in zip(together, apart)]
    print(f'ratio {ratios[0]:.2f} by the clock, {ratios[1]:.2f} of CPU; wanted: at most {TARGET}')
    different = [
        variant['name'] for variant, root in zip(variants, roots)
        if scores(root) != scores(folder / 'study' / 'variants' / variant['name'])
    ]  # fmt: skip
    print(f'scores differ in {", ".join(different)}' if different else 'all scores are the same')


def scores(folder: pathlib.Path) -> dict:
    return json.loads((folder / 'scores.json').read_text())['tasks']


if __name__ == '__main__':
    main()
