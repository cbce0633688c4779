"""What a run says while it goes: JSON lines, TensorBoard, a progress bar, and rates of work."""

import json
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax

from flan_jax.config import TelemetryConfig
from flan_jax.models import presets
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat

# Dense bf16 peak, FLOP/s, from the vendors' data sheets.
PEAKS = {
    'NVIDIA H100 80GB HBM3': 989e12,
    'NVIDIA H200': 989e12,
    'NVIDIA A100-SXM4-80GB': 312e12,
    'TPU v4': 275e12,
    'TPU v5 lite': 197e12,
    'TPU v5': 459e12,
    'TPU v6 lite': 918e12,
}


def flops_per_token(config: ModelConfig, *, row_tokens: int, trained: Any = None) -> float:
    """Training FLOPs a token of a decoder-only model: 6 N + causal attention (Kaplan et al. 2020).

    Of 6 N, the forward pass is 2 N, the gradients of activations 2 N and those of weights 2 N; frozen weights need none
    of the last, and what an adapter adds costs all three. N counts the head as if logits were made everywhere, so that
    figures compare with other code's; elementwise work (norms, biases, IA3's factors) is left out.

    Args:
      config: of the model.
      row_tokens: of a row.
      trained: shapes of what is trained, as `models.adapters.parts` gives them; None: all weights.
    """
    count = presets.active_count(config)
    attention = 6.0 * config.layers * config.heads * config.head_width * row_tokens
    if trained is None:
        return 6.0 * count + attention
    return 4.0 * count + attention + sum(_own_flops(config, name, leaf=leaf) for name, leaf in flat(trained).items())


def _own_flops(config: ModelConfig, name: str, *, leaf: Any) -> float:
    """What training one part of an adapter adds to passing activations and their gradients through the frozen model."""
    path, _, part = name.rpartition('.')
    looked_up = path.startswith('positions.') or (path == 'embedding.table' and not config.tied_embeddings)
    vector = leaf.ndim < 2 or path.endswith(('scale', 'bias'))
    share = 1.0
    if config.experts.count is not None and path.endswith(('.mlp.gate', '.mlp.up', '.mlp.down')):
        share = config.experts.chosen / config.experts.count
    match part:
        case 'lora_a' | 'lora_b':
            return 6.0 * share * math.prod(leaf.shape)
        case 'weight' if not looked_up and not vector:
            return 2.0 * share * math.prod(leaf.shape)
        case _:
            return 0.0


def mfu(tokens_per_s: float, flops: float) -> float | None:
    """Share of the devices' peak, or None where the peak is not known."""
    peak = PEAKS.get(jax.devices()[0].device_kind)
    return None if peak is None else tokens_per_s * flops / (peak * jax.device_count())


class Telemetry:
    """Writes a run's metrics; only the first process does.

    Lines of steps after `first_step` are removed at the start: a resumed run writes them again, and the file ends up
    as if nothing had happened.
    """

    def __init__(self, run_dir: str, config: TelemetryConfig, *, first_step: int, steps: int):
        self._on = jax.process_index() == 0
        self._file = self._board = None
        self.bar = _no_bar()
        if not self._on:
            return
        path = pathlib.Path(run_dir) / 'metrics.jsonl'
        kept = [line for line in read(path) if line['step'] <= first_step]
        path.write_text(''.join(json.dumps(line) + '\n' for line in kept))
        self._file = path.open('a')
        if config.tensorboard:
            from tensorboardX import SummaryWriter  # deferred: only runs that want it pay for protobuf

            self._board = SummaryWriter(str(pathlib.Path(run_dir) / 'tensorboard'), purge_step=first_step + 1)
        if config.progress:
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=first_step, unit='step', desc='train', dynamic_ncols=True)

    def write(self, event: str, step: int, *, values: Mapping[str, Any]) -> None:
        """One line; numbers go to TensorBoard too, as `event/name`."""
        if not self._on:
            return
        self._file.write(json.dumps({'event': event, 'step': step, **values}) + '\n')
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(values):
                self._board.add_scalar(f'{event}/{name}', value, step)

    def close(self) -> None:
        """Ends bar and files."""
        self.bar.close()
        for file in (self._file, self._board):
            if file is not None:
                file.close()


def read(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line that a kill cut off is left out."""
    lines = []
    path = pathlib.Path(path)
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _flat(values: Mapping[str, Any], prefix: str = '') -> list[tuple[str, float]]:
    out = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            out += _flat(value, f'{prefix}{key}/')
        elif isinstance(value, int | float) and not isinstance(value, bool):
            out.append((f'{prefix}{key}', value))
    return out


def _no_bar():
    from tqdm import tqdm

    return tqdm(disable=True)


class Clock:
    """Work per second between readings, with pauses (evaluation, compilation) left out."""

    def __init__(self):
        self._since = time.perf_counter()
        self._paused = 0.0
        self.steps = 0

    def pause(self, seconds: float) -> None:
        self._paused += seconds

    def read(self) -> tuple[float, int]:
        """(seconds worked, steps) since the last reading."""
        now = time.perf_counter()
        out = max(now - self._since - self._paused, 1e-9), self.steps
        self._since, self._paused, self.steps = now, 0.0, 0
        return out


class Laps:
    """Seconds of a run's parts, in order."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self.seconds[name], self._since = now - self._since, now
