"""The loop: steps, metrics, evaluations, checkpoints, and an orderly end."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from flan_jax import errors
from flan_jax.batch import Batch
from flan_jax.config import Config
from flan_jax.training.checkpoint import Checkpoints, Description
from flan_jax.training.state import TrainState
from flan_jax.training.telemetry import Clock, Telemetry, mfu

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
Evaluate = Callable[[TrainState], dict[str, Any]]  # state -> scores, shaped like scores.json

GROUPS = ('held_in', 'held_out_templates', 'held_out_clusters')  # of tasks, as the protocol scores them


@dataclasses.dataclass(frozen=True)
class Run:
    """What the loop works with.

    Attributes:
      config: the run's.
      steps: optimizer steps in all.
      describe: step -> what a checkpoint says of itself.
      checkpoints: where states go.
      telemetry: where metrics go.
      evaluate: scores during training; None: none.
      flops: of a token, for MFU; None: unknown.
    """

    config: Config
    steps: int
    describe: Callable[[int], Description]
    checkpoints: Checkpoints
    telemetry: Telemetry
    evaluate: Evaluate | None = None
    flops: float | None = None


def fit(run: Run, state: TrainState, *, step: Step, batches: Iterable[Batch]) -> tuple[TrainState, bool]:
    """Trains to the last step, or until SIGTERM.

    Args:
      run: what to work with.
      state: to go on from.
      step: jitted, with the state donated.
      batches: from the state's step on.

    Returns:
      The last state, and whether the run was told to stop before its end; either way its checkpoint is on disk.

    Raises:
      DivergenceError: loss or gradient was no number `training.max_nonfinite` times in a row.
      CheckpointError: a checkpoint could not be written.
    """
    config, clock, pending = run.config, Clock(), None
    done = int(state.step)
    with _told_to_stop() as told:
        for batch in batches:
            state, metrics = step(state, batch)
            done += 1
            clock.steps += 1
            run.telemetry.bar.update()
            if pending is not None:  # read now, while the device is busy with the step just given to it
                _report(run, pending[0], metrics=pending[1], clock=clock)
                pending = None
            last = done == run.steps
            if done % config.telemetry.every_steps == 0 or last:
                pending = (done, metrics)
            stop = _stopping(told, done)
            scores = None
            if run.evaluate is not None and not last and _due(done, config.evaluation.every_steps):
                scores = _evaluate(run, state, step=done, clock=clock)
            if last or stop or scores is not None or _due(done, config.checkpoint.every_steps):
                if pending is not None:  # a line that is not written before its checkpoint could be lost for good
                    _report(run, pending[0], metrics=pending[1], clock=clock)
                    pending = None
                group = scores and scores[config.checkpoint.best_score]  # a run may have no rows of that group
                run.checkpoints.save(state, run.describe(done), score=group['score'] if group else None)
            if stop and not last:
                break
    run.checkpoints.finish()
    return state, done < run.steps


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _evaluate(run: Run, state: TrainState, *, step: int, clock: Clock) -> dict[str, Any]:
    jax.block_until_ready(state)  # steps still under way are no part of the pause
    began = time.perf_counter()
    scores = run.evaluate(state)
    seconds = time.perf_counter() - began
    clock.pause(seconds)
    groups = {name: scores[name] for name in GROUPS if scores.get(name)}
    tasks = {
        name: {group: task[group]['score'] for group in GROUPS if task.get(group)}
        for name, task in scores.get('tasks', {}).items()
    }
    rows = {'rows': scores['rows']} if 'rows' in scores else {}
    run.telemetry.write('evaluation', step, values={'seconds': seconds, **rows, **groups, 'tasks': tasks})
    return scores


def _report(run: Run, step: int, *, metrics: dict[str, jax.Array], clock: Clock) -> None:
    values = {name: value.item() for name, value in metrics.items()}
    seconds, steps = clock.read()
    each = seconds / max(steps, 1)
    rates = {
        'step_ms': each * 1e3,
        'tokens_per_s': values['tokens'] / each,
        'supervised_tokens_per_s': values['supervised_tokens'] / each,
    }
    if run.flops is not None:
        rates['mfu'] = mfu(rates['tokens_per_s'], run.flops)
    run.telemetry.write('train', step, values=values | rates)
    shown = {'loss': f'{values["loss"]:.3f}', 'tok/s': f'{rates["tokens_per_s"]:,.0f}'}
    if rates.get('mfu') is not None:
        shown['mfu'] = f'{rates["mfu"]:.1%}'
    run.telemetry.bar.set_postfix(shown, refresh=False)
    if values['nonfinite'] >= run.config.training.max_nonfinite:
        raise errors.DivergenceError(
            f'loss or gradient was no number in {values["nonfinite"]} steps in a row up to step {step} '
            f'(loss {values["loss"]}, gradient norm {values["gradient_norm"]}); the weights are those before. '
            'Lower optimizer.learning_rate, set optimizer.clip_norm, or look at the data of these steps'
        )


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, a second Ctrl-C ends the process; with several, JAX's own service takes
    SIGTERM.
    """
    told = threading.Event()
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield told
        return

    def tell(number: int, frame: Any) -> None:
        told.set()
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopping(told: threading.Event, step: int) -> bool:
    """Whether to stop after this step; all processes agree on it."""
    if jax.process_count() > 1:
        return multihost_utils.reached_preemption_sync_point(step)
    return told.is_set()
