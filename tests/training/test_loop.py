"""The loop around a toy step: what is saved when, what is written first, and how it ends."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax import errors
from flan_jax.config import CheckpointConfig, Config, EvaluationConfig, TelemetryConfig, TrainingConfig
from flan_jax.models import presets
from flan_jax.parallel import distributed
from flan_jax.training import checkpoint, loop, telemetry
from flan_jax.training.state import TrainState

QUIET = TelemetryConfig(every_steps=1, tensorboard=False, progress=False)


class Saves:
    """In the place of checkpoints: remembers what was saved, and which lines were on disk by then."""

    def __init__(self, run_dir):
        self.metrics = run_dir / 'metrics.jsonl'
        self.saved: dict[int, float | None] = {}
        self.lines: dict[int, list[int]] = {}
        self.finished = False

    def save(self, state, description, *, score=None):
        assert int(state.step) == description.step
        self.saved[description.step] = score
        self.lines[description.step] = [line['step'] for line in telemetry.read(self.metrics)]

    def finish(self):
        self.finished = True


def toy_step(bad: set[int] = frozenset()):
    """Counts; in the steps `bad` the loss is no number."""

    def step(state: TrainState, batch: int):
        nonfinite = int(state.nonfinite) + 1 if batch in bad else 0
        values = {
            'loss': np.nan if batch in bad else 1.0, 'gradient_norm': 2.0, 'tokens': 8, 'supervised_tokens': 2.0,
            'nonfinite': nonfinite,
        }  # fmt: skip
        state = TrainState(state.step + 1, state.params, state.moments, np.int32(nonfinite))
        return state, {name: np.asarray(value) for name, value in values.items()}

    return step


def begin(step: int = 0) -> TrainState:
    return TrainState(np.int32(step), {}, {}, np.int32(0))


@pytest.fixture
def make(tmp_path):
    """A run of 10 steps, saved every 4 and evaluated every `evaluation`."""

    def run(evaluate=None, *, first: int = 0, lines: int = 1, evaluation: int | None = 3, max_nonfinite: int = 3):
        config = Config(
            training=TrainingConfig(steps=10, max_nonfinite=max_nonfinite),
            checkpoint=CheckpointConfig(every_steps=4),
            evaluation=EvaluationConfig(every_steps=evaluation),
            telemetry=TelemetryConfig(every_steps=lines, tensorboard=False, progress=False),
        )
        written = telemetry.Telemetry(str(tmp_path), config.telemetry, first_step=first, steps=10)
        describe = lambda step: checkpoint.Description(step, 'plan', {})  # noqa: E731
        return loop.Run(config, 10, describe, Saves(tmp_path), written, evaluate)

    return run


def lines(run: loop.Run, event: str = 'train') -> list[int]:
    return [line['step'] for line in telemetry.read(run.checkpoints.metrics) if line['event'] == event]


def test_states_are_saved_when_due_when_evaluated_and_at_the_end(make):
    run = make(lambda state: {'held_in': {'score': int(state.step) / 10}})
    state, stopped = loop.fit(run, begin(), step=toy_step(), batches=range(10))
    assert (int(state.step), stopped) == (10, False)
    assert run.checkpoints.saved == {3: 0.3, 4: None, 6: 0.6, 8: None, 9: 0.9, 10: None}
    assert run.checkpoints.finished
    assert lines(run) == list(range(1, 11)) and lines(run, 'evaluation') == [3, 6, 9]


def test_every_line_up_to_a_step_is_on_disk_before_its_checkpoint(make):
    run = make()
    loop.fit(run, begin(), step=toy_step(), batches=range(10))
    assert run.checkpoints.lines == {step: list(range(1, step + 1)) for step in (4, 8, 10)}


def test_lines_come_every_so_many_steps_and_at_the_end(make):
    run = make(lines=4)
    loop.fit(run, begin(), step=toy_step(), batches=range(10))
    assert lines(run) == [4, 8, 10]


def test_an_evaluation_without_the_group_that_decides_saves_without_a_score(make):
    run = make(lambda state: {'held_in': None, 'held_out_clusters': {'score': 0.5}})
    loop.fit(run, begin(), step=toy_step(), batches=range(10))
    assert run.checkpoints.saved[3] is None


def test_a_resumed_loop_counts_on(make):
    run = make(first=6)
    state, stopped = loop.fit(run, begin(6), step=toy_step(), batches=range(6, 10))
    assert (int(state.step), stopped) == (10, False)
    assert list(run.checkpoints.saved) == [8, 10] and lines(run) == [7, 8, 9, 10]


def test_a_loop_with_nothing_left_saves_nothing(make):
    run = make(first=10)
    state, stopped = loop.fit(run, begin(10), step=toy_step(), batches=[])
    assert (int(state.step), stopped, run.checkpoints.saved) == (10, False, {})


def test_steps_without_a_number_in_a_row_end_the_run_with_step_values_and_remedy(make):
    run = make(max_nonfinite=3)
    with pytest.raises(errors.DivergenceError) as e:
        loop.fit(run, begin(), step=toy_step({1, 4, 5, 6, 7, 8}), batches=range(10))
    for part in ('3 steps in a row up to step 7', 'loss nan', 'gradient norm 2.0', 'optimizer.learning_rate',
                 'optimizer.clip_norm'):  # fmt: skip
        assert part in str(e.value)
    assert lines(run)[-1] == 7


def test_fewer_steps_without_a_number_are_lived_through(make):
    state, stopped = loop.fit(make(max_nonfinite=3), begin(), step=toy_step({1, 2, 4, 5, 7}), batches=range(10))
    assert (int(state.step), stopped) == (10, False)


def test_an_error_of_the_loader_is_not_swallowed(make):
    def broken():
        yield from range(6)
        raise errors.DataError('task t, example 3 cannot be read')

    run = make()
    with pytest.raises(errors.DataError, match='task t, example 3'):
        loop.fit(run, begin(), step=toy_step(), batches=broken())
    assert list(run.checkpoints.saved) == [4]


@pytest.mark.parametrize('told', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_after_the_step_it_is_in_and_its_handler_is_put_back(make, told):
    before = signal.getsignal(told)

    def batches():
        for i in range(10):
            if i == 5:
                os.kill(os.getpid(), told)
            yield i

    run = make()
    state, stopped = loop.fit(run, begin(), step=toy_step(), batches=batches())
    assert (int(state.step), stopped) == (6, True)
    assert list(run.checkpoints.saved) == [4, 6] and run.checkpoints.lines[6][-1] == 6
    assert signal.getsignal(told) is before


def test_a_second_ctrl_c_does_not_wait_for_the_step(make):
    def batches():
        yield 0
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield 1

    with pytest.raises(KeyboardInterrupt):
        loop.fit(make(), begin(), step=toy_step(), batches=batches())


def test_lines_past_the_restored_step_and_a_cut_off_line_are_removed_on_resume(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    text = ''.join(json.dumps({'event': 'train', 'step': step}) + '\n' for step in range(1, 8))
    path.write_text(text + '{"event": "train", "st')
    written = telemetry.Telemetry(str(tmp_path), QUIET, first_step=5, steps=10)
    written.write('train', 6, values={'loss': 1.0})
    written.close()
    assert [line['step'] for line in telemetry.read(path)] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_gets_numbers_by_event_and_name(tmp_path):
    config = TelemetryConfig(every_steps=1, tensorboard=True, progress=False)
    written = telemetry.Telemetry(str(tmp_path), config, first_step=0, steps=10)
    written.write('train', 1, values={'loss': 1.0, 'parts': {'z': 2}, 'note': 'words', 'flag': True})
    written.close()
    (file,) = (tmp_path / 'tensorboard').iterdir()
    content = file.read_bytes()
    assert b'train/loss' in content and b'train/parts/z' in content
    assert b'note' not in content and b'flag' not in content


def test_pauses_are_no_working_time():
    clock = telemetry.Clock()
    clock.steps = 3
    clock.pause(1000.0)
    seconds, steps = clock.read()
    assert 0 < seconds < 1 and steps == 3
    assert clock.read()[1] == 0


def test_flops_of_a_token_are_six_a_weight_and_the_causal_half_of_attention():
    config = presets.preset('smollm2_135m')
    body = 30 * (576 * 64 * (9 + 3) * 2 + 3 * 576 * 1536 + 2 * 576) + 576 + 49_152 * 576
    attention = 30 * 6 * 9 * 64 * 1024  # 12 L N H T for full attention, half of it seen
    assert telemetry.flops_per_token(config, row_tokens=1024) == 6 * body + attention


def test_utilisation_is_unknown_where_the_peak_is():
    kind = jax.devices()[0].device_kind
    found = telemetry.mfu(1e6, 1e6)
    assert (found is None) == (kind not in telemetry.PEAKS)


def test_one_process_owns_all_groups_and_sees_all_of_an_array(mesh):
    for data, fsdp in ((1, 1), (4, 1), (2, 4)):
        assert distributed.local_groups(mesh(data, fsdp), data * fsdp) == list(range(data * fsdp))
    np.testing.assert_array_equal(distributed.everywhere(jnp.arange(3)), [0, 1, 2])


def test_no_other_process_is_looked_for_unless_the_environment_names_one(monkeypatch):
    for name in ('COORDINATOR_ADDRESS', 'NUM_PROCESSES', 'PROCESS_ID', 'TPU_WORKER_HOSTNAMES'):
        monkeypatch.delenv(name, raising=False)
    joined = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda *where: joined.append(where))
    distributed.initialise()
    assert joined == []
    monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'a,b')
    distributed.initialise()
    assert joined == [()]
