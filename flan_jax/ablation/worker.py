"""A worker of a study: a process that its parent hands variants, one at a time.

    python -m flan_jax.ablation.worker --study=FOLDER --cpus=0,1

It answers `ready` once, reads a name a line from standard input, and answers each with a line: `done`, or `elsewhere`
if another process is at the variant or has finished it. Standard input ends when the parent has nothing more, or is
gone; in the middle of a variant it is gone, and the worker saves what it is at.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TextIO

READY, DONE, ELSEWHERE = 'ready', 'done', 'elsewhere'


def work(folder: str, *, given: TextIO, answers: TextIO) -> None:
    """Runs what it is handed until nothing more comes.

    Args:
      folder: of the study.
      given: names.
      answers: told how each ended.

    Raises:
      Stopped: the process was told to stop, or its parent is gone.
    """
    from flan_jax.ablation import compiling, runner, study

    compiling.keep(os.path.abspath(f'{folder}/compiled'))
    found = study.load(folder)
    by_name, worker = {variant.name: variant for variant in found.variants}, runner.Worker()
    names: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def listen() -> None:
        for line in given:
            busy.set()
            names.put(line.rstrip('\n'))
        names.put(None)
        if busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    print(READY, file=answers, flush=True)
    threading.Thread(target=listen, daemon=True).start()
    while (name := names.get()) is not None:
        row = runner.run_variant(found, by_name[name], worker=worker)
        busy.clear()
        with contextlib.suppress(BrokenPipeError):
            print(ELSEWHERE if row is None else DONE, file=answers, flush=True)


def main(argv: Sequence[str]) -> None:
    """The command."""
    del argv
    from absl import flags

    from flan_jax import errors

    given = flags.FLAGS
    if given.cpus:
        os.sched_setaffinity(0, map(int, given.cpus))  # before JAX counts them for its threads
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        work(given.study, given=sys.stdin, answers=answers)
    except errors.FlanJaxError as e:
        print(f'{type(e).__name__}: {e}', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    from absl import app, flags, logging

    flags.DEFINE_string('study', None, 'Folder of the study.', required=True)
    flags.DEFINE_list('cpus', None, 'Cores to keep to; all by default.')
    logging.set_verbosity(logging.WARNING)
    app.run(main)
