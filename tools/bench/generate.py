"""Times the product's own generation on random weights and prompts; prints one JSON line last.

    python tools/bench/generate.py --shape smollm2 --batch 64 --prompt 128 --new 128
    python tools/bench/generate.py --shape small --batch 16 --unequal 4            answers of very unequal lengths
    python tools/bench/generate.py --peer --peer_script SCRIPT --peer_python PYTHON    and a peer's, in the same go

Shapes: `small` (runs on a laptop), `smollm2`, `llama1b`, `t5_large`. Greedy, nothing ends an answer, so each has --new
tokens. bf16 on GPU and TPU, f32 on CPU. A step reads all weights, but for the rows of a table that is only looked up,
and all of the cache; their bytes over the time, over the device's bandwidth, is `bandwidth_share`.

--unequal N: N times as many prompts as slots; most answers end after --new / 8 tokens, every fourth has --new. It
prints the steps beside those that whole batches would take.

The peer is a script that takes --batch, --prompt, --new and --shape and prints a line `RESULT {json}` with `new_tok_s`.
Without a GPU a script of torch that asks for one is run on the CPU, in f32 as ours.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from flan_jax.config import MeshConfig
from flan_jax.decoding.generate import Asked, Generator
from flan_jax.decoding.sampling import GREEDY
from flan_jax.decoding.score import bucket
from flan_jax.models import presets
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state as state_lib

SHAPES = {
    'small': ModelConfig(vocab_size=8192, layers=6, width=256, heads=4, kv_heads=2, head_width=64, mlp_width=1024),
    'smollm2': presets.preset('smollm2_135m'),
    'llama1b': presets.preset('llama3_1b'),
    't5_large': presets.preset('t5_1_1_large'),
}
PEER_SHAPES = {'smollm2': 'smol', 'llama1b': 'llama1b'}
BANDWIDTH = {'H100': 3.35e12, 'H200': 4.8e12, 'A100': 2.0e12, 'TPU v5 lite': 0.82e12, 'TPU v6 lite': 1.64e12}  # bytes/s
NEVER = -1  # ends no answer
ON_CPU = """
import runpy, sys, torch
if not torch.cuda.is_available():
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    torch.cuda.synchronize = lambda *args: None
    torch.bfloat16 = torch.float32
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shape', choices=SHAPES, default='small')
    parser.add_argument('--batch', type=int, default=64, help='slots')
    parser.add_argument('--prompt', type=int, default=128, help='tokens of each prompt')
    parser.add_argument('--new', type=int, default=128, help='tokens of each answer')
    parser.add_argument('--unequal', type=int, default=None, help='prompts a slot, with answers of unequal lengths')
    parser.add_argument('--repeats', type=int, default=3, help='timed runs; the best counts')
    parser.add_argument('--unroll', type=int, default=1, help='blocks a scan step, where prompts are read')
    parser.add_argument('--attention', default='auto', help='kernel')
    parser.add_argument('--compute_dtype', default=None, help='bfloat16 or float32')
    parser.add_argument('--peer', action='store_true', help='run the peer as well')
    parser.add_argument('--peer_script', default=None, help='its script')
    parser.add_argument('--peer_python', default=sys.executable, help='the Python that runs it')
    return parser.parse_args()


def best_of(repeats: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest run, and what it gave; one before them compiles."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        out = run()
        times.append(time.perf_counter() - began)
    return min(times), out


def bytes_a_step(model: ModelConfig, args: argparse.Namespace, *, width: int) -> int:
    """Weights and cache that one step cannot do without reading, at `width` bytes an element."""
    weights = presets.parameter_count(model)
    cache = 2 * model.layers * args.batch * model.kv_heads * model.head_width * (args.prompt + args.new)
    if model.encoder_decoder:
        weights = weights * model.layers * 4 // (model.layers * 4 + model.encoder_layers * 3)  # nearly
    if not model.tied_embeddings:
        weights -= model.vocab_size * model.width
    return width * (weights + cache)


def unequal(ask: Generator, params: Any, *, args: argparse.Namespace, prompts: list[list[int]]) -> dict[str, Any]:
    """Steps and time of answers of very unequal lengths."""
    rng = np.random.default_rng(1)
    wanted = np.where(rng.random(len(prompts)) < 0.25, args.new, args.new // 8)
    each = [GREEDY] * len(prompts)
    asked = Asked(prompts, each, args.new, lambda i, ids: len(ids) >= wanted[i], lambda n: None)
    seconds, (answers, work) = best_of(1, lambda: ask.write(params, asked))
    batches = [wanted[i : i + args.batch] for i in range(0, len(wanted), args.batch)]
    return {
        'answers_per_s': round(len(answers) / seconds, 1), 'tokens_per_s': round(sum(map(len, answers)) / seconds),
        'steps': work.steps, 'reads': work.reads, 'steps_of_whole_batches': int(sum(max(b) - 1 for b in batches)),
    }  # fmt: skip


def peer(args: argparse.Namespace) -> dict[str, Any]:
    """What the peer says of the same."""
    known = {
        'batch': args.batch,
        'prompt': args.prompt,
        'new': args.new,
        'shape': PEER_SHAPES.get(args.shape, args.shape),
    }
    script = ['-c', ON_CPU, args.peer_script] if jax.default_backend() == 'cpu' else [args.peer_script]
    command = [args.peer_python, *script, *[f'--{name}={value}' for name, value in known.items()]]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('RESULT ')]
    if not lines:
        raise SystemExit(f'{args.peer_script} printed no RESULT:\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return json.loads(lines[-1].removeprefix('RESULT '))


def main() -> None:
    """The command."""
    args = parse()
    if args.peer and not args.peer_script:
        raise SystemExit('--peer needs --peer_script')
    model, device = SHAPES[args.shape], jax.devices()[0]
    dtype = args.compute_dtype or ('float32' if device.platform == 'cpu' else 'bfloat16')
    execution = ExecutionConfig(compute_dtype=dtype, attention=args.attention, remat='none', unroll=args.unroll)
    mesh = mesh_lib.make(MeshConfig(), [device])
    bones = state_lib.skeleton(model, execution)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.02, x.shape), x.dtype), bones.shapes)
    prompts = rng.integers(3, model.vocab_size, (args.batch, args.prompt)).tolist()
    width = bucket(args.prompt, smallest=16)
    ask = Generator(bones.graph, mesh, (NEVER,), batch_tokens=args.batch * (width + args.new))
    with jax.set_mesh(mesh):
        first, _ = best_of(args.repeats, lambda: ask(params, prompts, new=1))
        whole, answers = best_of(args.repeats, lambda: ask(params, prompts, new=args.new))
        more = {}
        if args.unequal:
            many = rng.integers(3, model.vocab_size, (args.batch * args.unequal, args.prompt)).tolist()
            more = {'unequal': unequal(ask, params, args=args, prompts=many)}
    assert {len(ids) for ids in answers} == {args.new}
    step = (whole - first) / (args.new - 1)
    needed = bytes_a_step(model, args, width=jnp.dtype(dtype).itemsize)
    known = next((rate for name, rate in BANDWIDTH.items() if name in device.device_kind), None)
    result = {
        'command': shlex.join(['python', *sys.argv]), 'shape': args.shape, 'batch': args.batch,
        'parameters': presets.parameter_count(model), 'compute_dtype': dtype,
        'new_tokens_per_s': round(args.batch * args.new / whole), 'prefill_ms': round(first * 1e3, 2),
        'step_ms': round(step * 1e3, 3), 'gb_a_step': round(needed / 1e9, 3), 'gb_per_s': round(needed / step / 1e9, 1),
        'bandwidth_share': known and round(needed / step / known, 3), **more,
        'device': device.device_kind, 'machine': platform.processor() or platform.machine(),
        'python': platform.python_version(), 'jax': jax.__version__, 'flax': flax.__version__,
    }  # fmt: skip
    if args.peer:
        theirs = peer(args)
        result |= {'peer': theirs}
        if 'new_tok_s' in theirs:
            result['ratio'] = round(result['new_tokens_per_s'] / theirs['new_tok_s'], 2)
    print(json.dumps(result))


if __name__ == '__main__':
    main()
