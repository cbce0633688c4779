"""An engine of several processes on this machine, each at a variant of its own.

They share the study's folder: rows, checkpoints, executables. Of a machine's cores or GPUs each has its part. One that
ends, for whatever reason, is replaced, and its variant goes on from its last checkpoint.
"""

import contextlib
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from flan_jax import errors
from flan_jax.ablation import assignment, runner, stopping, worker
from flan_jax.ablation.assignment import Assignment
from flan_jax.ablation.study import Study
from flan_jax.ablation.table import Result

LOGS = 'workers'  # folder of what each says, in the study's
PATIENCE = 60  # seconds to save and end


class _Child:
    """A worker, what it is at, and where it answers."""

    def __init__(self, folder: str, place: int, *, part: Sequence[str], environment: Mapping[str, str]):
        self.place, self.at, self.ready = place, None, False
        self.log = pathlib.Path(folder) / LOGS / f'{place}.txt'
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'a') as log:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'flan_jax.ablation.worker', f'--study={folder}', *part],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which tells the workers in its own way
            )  # fmt: skip

    def answers(self, events: queue.SimpleQueue) -> None:
        """Its lines as events (child, line), (child, None) at its end."""

        def listen() -> None:
            for line in self.process.stdout:
                events.put((self, line.rstrip('\n')))
            self.process.wait()
            events.put((self, None))

        threading.Thread(target=listen, daemon=True).start()

    def hand(self, name: str | None) -> None:
        """Gives it a variant; None: nothing more."""
        self.at = name
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says so as an event
            if name is None:
                self.process.stdin.close()
            else:
                self.process.stdin.write(f'{name}\n')
                self.process.stdin.flush()

    def why(self) -> str:
        """How it ended."""
        status, said = self.process.returncode, self.log.read_text().splitlines()
        how = f'was killed ({signal.Signals(-status).name})' if status < 0 else f'ended with status {status}'
        return f'worker {self.place} {how}' + (f': {said[-1]}' if status > 0 and said else '')

    def end(self) -> None:
        """Ends it, in order if it can be."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(found: Study, names: Sequence[str], *, said: Callable[[Result], None], workers: int) -> None:
    """Runs variants in several processes.

    Args:
      found: the study, saved.
      names: of the variants.
      said: told every row.
      workers: processes at once.

    Raises:
      ConfigError: workers cannot start; or on TPUs, whose chips one process has all to itself.
      Stopped: this process was told to stop; what was under way is saved.
    """
    if not names:
        return
    of = min(workers, len(names))
    parts, children = shares(of), set()
    assigned = assignment.of(found, names, said=said)
    events: queue.SimpleQueue = queue.SimpleQueue()
    ending = False

    def start(place: int) -> None:
        child = _Child(found.config.folder, place, **parts[place])
        children.add(child)
        child.answers(events)

    try:
        for place in range(of):
            start(place)
        with stopping.told(lambda: events.put((None, None))):
            while children:
                child, line = events.get()
                if child is None:
                    ending = True
                    for one in children:
                        one.process.terminate()
                elif line is not None:
                    _answered(child, line, assigned=assigned, ending=ending)
                else:
                    children.remove(child)
                    if not ending and _lost(child, assigned):
                        start(child.place)
    finally:
        for child in children:
            child.end()
    if ending:
        raise runner.Stopped('told to stop; what was under way is saved, start the study again to go on')


def _answered(child: _Child, line: str, *, assigned: Assignment, ending: bool) -> None:
    if line == worker.DONE:
        assigned.done(child.at)
    child.ready = True
    child.hand(None if ending else assigned.next())


def _lost(child: _Child, assigned: Assignment) -> bool:
    """Whether a worker that ended must be replaced."""
    if not child.ready:
        raise errors.ConfigError(f'{child.why()}, before it was ready; see {child.log}')
    if child.at is None:
        return False
    assigned.ended(child.at, child.why())
    return bool(assigned.waiting)


def shares(of: int) -> list[dict]:
    """Each worker's part of this machine: its flags and its environment.

    Raises:
      ConfigError: the machine's devices are TPUs.
    """
    import jax

    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    kind, parts = jax.devices()[0].platform, []
    if kind == 'tpu':
        raise errors.ConfigError(
            '--engine=processes: the chips of a TPU host belong to one process; use --engine=here, which trains each '
            'variant on all of them, or --commands for several hosts'
        )
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else []
    for i in range(of):
        environment, flags = {**os.environ, 'PYTHONPATH': path}, []
        if kind == 'gpu':
            environment |= gpus(i, of, count=jax.local_device_count(), named=os.environ.get('CUDA_VISIBLE_DEVICES'))
        elif cores:
            flags = [f'--cpus={",".join(map(str, part(cores, i, of=of)))}']
        parts.append({'part': flags, 'environment': environment})
    let_go()
    return parts


def part(things: Sequence, i: int, *, of: int) -> Sequence:
    """The i-th of so many parts; with fewer things than parts, one thing each, several times.

    >>> [part('abcde', i, of=2) for i in range(2)], [part('ab', i, of=3) for i in range(3)]
    (['ab', 'cde'], ['a', 'b', 'a'])
    """
    if len(things) < of:
        i %= len(things)
        return things[i : i + 1]
    return things[i * len(things) // of : (i + 1) * len(things) // of]


def gpus(i: int, of: int, *, count: int, named: str | None) -> dict[str, str]:
    """Which GPUs the i-th of so many workers sees, and how much of their memory it takes.

    >>> gpus(1, 2, count=4, named=None)
    {'CUDA_VISIBLE_DEVICES': '2,3'}
    >>> gpus(2, 3, count=2, named='4,7')
    {'CUDA_VISIBLE_DEVICES': '4', 'XLA_PYTHON_CLIENT_MEM_FRACTION': '0.45'}
    """
    names = named.split(',') if named else [str(n) for n in range(count)]
    out = {'CUDA_VISIBLE_DEVICES': ','.join(part(names, i, of=of))}
    if of > len(names):
        sharing = -(-of // len(names))
        out['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{0.9 / sharing:.2f}'
    return out


def let_go() -> None:
    """Gives this process's accelerators, which planning has looked at, to other processes."""
    import jax
    from jax.extend import backend

    if jax.devices()[0].platform != 'cpu':
        backend.clear_backends()
