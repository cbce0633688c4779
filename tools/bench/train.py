"""Times the product's own train step on synthetic packed rows; prints one JSON line last.

    python tools/bench/train.py --shape llama1b --batch 8 --seq 2048 --supervised 0.25

Shapes: `tiny` (runs on a laptop), `smollm2`, `llama1b`, `t5_large` (--seq tokens in, --seq / 4 out). AdamW, f32
weights, bf16 compute (f32 on CPU). MFU counts 6 N + causal attention, N with the head everywhere, whatever
--supervised is, so that it compares with code that makes all logits. Needs neither SeqIO nor TensorFlow.
"""

import argparse
import json
import platform
import time

import flax
import jax
import numpy as np
import optax

from flan_jax.batch import Batch, Rows
from flan_jax.config import MeshConfig, OptimizerConfig, TrainingConfig
from flan_jax.models import presets
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import optimizer, step, telemetry
from flan_jax.training import state as state_lib

SHAPES = {
    'tiny': ModelConfig(vocab_size=8192, layers=6, width=256, heads=4, kv_heads=4, head_width=64, mlp_width=1024),
    'smollm2': presets.preset('smollm2_135m'),
    'llama1b': presets.preset('llama3_1b'),
    't5_large': presets.preset('t5_1_1_large'),
}
EXAMPLES_A_ROW = 7


def rows(rng: np.random.Generator, batch: int, *, tokens: int, vocabulary: int) -> Rows:
    """Full rows of random examples with random borders."""
    segments, positions = np.zeros((2, batch, tokens), np.int32)
    for row in range(batch):
        cuts = [0, *sorted(rng.choice(np.arange(1, tokens), EXAMPLES_A_ROW - 1, replace=False)), tokens]
        for i, (a, b) in enumerate(zip(cuts, cuts[1:])):
            segments[row, a:b], positions[row, a:b] = i + 1, np.arange(b - a)
    ids = rng.integers(0, vocabulary, (batch, tokens), dtype=np.int32)
    return Rows(*(x[None] for x in (ids, segments, positions)))


def synthetic(args: argparse.Namespace, model: ModelConfig) -> Batch:
    """A batch; `--supervised` of the decoder's positions have a loss, at the end of each row."""
    rng = np.random.default_rng(0)
    encoder = rows(rng, args.batch, tokens=args.seq, vocabulary=model.vocab_size) if model.encoder_decoder else None
    width = args.seq // 4 if model.encoder_decoder else args.seq
    decoder = rows(rng, args.batch, tokens=width, vocabulary=model.vocab_size)
    share = 1.0 if model.encoder_decoder else args.supervised
    each = max(int(share * width), 1)
    starts = np.arange(args.batch)[:, None] * width
    positions = (starts + np.arange(width - each, width)).reshape(1, 1, -1).astype(np.int32)
    labels = rng.integers(0, model.vocab_size, positions.shape, dtype=np.int32)
    return Batch(decoder, encoder, positions, labels, np.ones(positions.shape, np.float32))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shape', choices=SHAPES, default='tiny')
    parser.add_argument('--batch', type=int, default=8, help='rows')
    parser.add_argument('--seq', type=int, default=2048, help='tokens of a row')
    parser.add_argument('--supervised', type=float, default=0.25, help='share of positions with a loss')
    parser.add_argument('--steps', type=int, default=10, help='timed steps; the median counts')
    parser.add_argument('--attention', default='auto', help='kernel')
    parser.add_argument('--remat', default='minimal', help='none, minimal, attention or full')
    parser.add_argument('--unroll', type=int, default=1, help='blocks a scan step')
    parser.add_argument('--loss_chunk', type=int, default=4096, help='positions with logits at once')
    parser.add_argument('--compute_dtype', default=None, help='bfloat16 or float32')
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse()
    model, cpu = SHAPES[args.shape], jax.default_backend() == 'cpu'
    execution = ExecutionConfig(
        compute_dtype=args.compute_dtype or ('float32' if cpu else 'bfloat16'),
        attention=args.attention, remat=args.remat, unroll=args.unroll,
    )  # fmt: skip
    training = TrainingConfig(steps=1, batch_rows=args.batch, loss_chunk=args.loss_chunk)
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    bones = state_lib.skeleton(model, execution)
    tx, schedule = optimizer.make(OptimizerConfig(name='adamw', learning_rate=1e-5), bones.axes, steps=1000)
    placed = state_lib.shardings(bones, tx, mesh=mesh)
    function = step.make(bones.graph, tx, training=training, schedule=schedule, dropout_seed=None)
    with jax.set_mesh(mesh):
        state = state_lib.fresh(model, execution, tx=tx, seed=0, placed=placed)
        batch = jax.device_put(synthetic(args, model))
        began = time.perf_counter()
        compiled = jax.jit(function, donate_argnums=0, out_shardings=(placed, None)).lower(state, batch).compile()
        compile_s = time.perf_counter() - began
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)
        times = []
        for _ in range(args.steps):
            began = time.perf_counter()
            state, metrics = compiled(state, batch)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - began)
    seconds, device = float(np.median(times)), jax.devices()[0]
    sides = [side for side in (batch.rows, batch.encoder) if side is not None]
    tokens = sum(side.tokens.size for side in sides)
    flops = None if model.encoder_decoder else telemetry.flops_per_token(model, row_tokens=args.seq)
    result = {
        **vars(args), 'compute_dtype': execution.compute_dtype, 'parameters': presets.parameter_count(model),
        'tokens_per_s': round(tokens / seconds), 'supervised_tokens_per_s': round(batch.labels.size / seconds),
        'step_ms': round(seconds * 1e3, 2), 'mfu': flops and telemetry.mfu(tokens / seconds, flops),
        'peak_gb': round((device.memory_stats() or {}).get('peak_bytes_in_use', 0) / 1e9, 2) or None,
        'compile_s': round(compile_s, 1), 'loss': float(metrics['loss']), 'device': device.device_kind,
        'python': platform.python_version(), 'jax': jax.__version__, 'flax': flax.__version__,
        'optax': optax.__version__,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == '__main__':
    main()
