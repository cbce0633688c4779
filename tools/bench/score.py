"""Times scoring options through lm-eval's interface, ours beside lm-eval's own `hf` model; prints one JSON line last.

    python tools/bench/score.py --peer_python=PYTHON    one with torch, transformers and lm-eval; without: ours alone

Multiple choice: every query of a task is asked after the same `--shots` exemplars, as lm-eval's `first_n` sampler gives
them, of random words, or of `--requests` (JSON lines of `context` and `options`). Both sides run the same weights in
f32 on the same device, in turns, best of `--rounds`; lm-eval with the fastest of `--peer_batches`. Requests a second
are told by the clock, and by the CPU's time, which a machine busy with other work lengthens less. Ours is timed with
beginnings shared and not. Compiling, the first time a shape is seen, is told apart. Both sides' log-likelihoods and
greedy flags are compared. Weights: `--model`, as checkpoint.warm_start takes it, or `--width` and `--layers` random.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import random
import subprocess
import tempfile
import time
import types
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flan_jax.config import MeshConfig
from flan_jax.data import vocabulary as vocabulary_lib
from flan_jax.decoding import beginnings, option_rows
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.score import Scorer
from flan_jax.evaluation.lm_eval import Limits, LMEvalModel
from flan_jax.interop import directory, hugging_face, tokenizer_directory, warm_start
from flan_jax.models import presets
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state as state_lib

COMPILING = '/jax/core/compile/backend_compile_duration'
CONTEXT = 2048


def questions(args: argparse.Namespace) -> list[tuple[str, str]]:
    """(context, continuation) of every option of every query."""
    if args.requests is not None:
        rows = [json.loads(line) for line in pathlib.Path(args.requests).read_text().splitlines()]
        return [(row['context'], option) for row in rows[: args.queries] for option in row['options']]
    rng = random.Random(0)
    syllables = [a + b for a in 'bdfgklmnprst' for b in ('a', 'e', 'i', 'o', 'u', 'an', 'er', 'in')]
    words = [''.join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(2000)]

    def text(least: int, most: int) -> str:
        return ' '.join(rng.choices(words, k=rng.randint(least, most)))

    def question() -> tuple[str, list[str]]:
        asked, options = text(12, 25), [text(1, 4) for _ in range(4)]
        if args.options == 'letters':
            listed = ''.join(f'\n{letter}. {option}' for letter, option in zip('ABCD', options))
            return f'Question: {asked}{listed}\nAnswer:', [f' {letter}' for letter in 'ABCD']
        return f'Question: {asked}\nAnswer:', [f' {option}' for option in options]

    shown = [question() for _ in range(args.shots)]
    head = ''.join(f'{asked}{options[0]}\n\n' for asked, options in shown)
    queries = [question() for _ in range(args.queries)]
    return [(head + asked, option) for asked, options in queries for option in options]


def weights(args: argparse.Namespace, vocabulary: vocabulary_lib.Vocabulary) -> tuple[ModelConfig, Any, Any]:
    """The model, its graph and weights on one device."""
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    execution = ExecutionConfig(compute_dtype='float32', remat='none')
    if args.model is not None:
        path, model = warm_start.describe(args.model)
        bones = state_lib.skeleton(model, execution)
        return (
            model,
            bones.graph,
            warm_start.load(path, model, shardings=state_lib.weight_shardings(bones, mesh), shapes=bones.shapes),
        )
    heads = args.width // 64
    model = ModelConfig(
        vocab_size=vocabulary.size, layers=args.layers, width=args.width, heads=heads, kv_heads=heads, head_width=64,
        mlp_width=args.width * 8 // 3, max_length=CONTEXT,
    )  # fmt: skip
    bones, rng = state_lib.skeleton(model, execution), np.random.default_rng(0)
    return (
        model,
        bones.graph,
        jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(0, 1 / 32, leaf.shape) + (leaf.ndim < 3), leaf.dtype), bones.shapes
        ),
    )


class Peer:
    """lm-eval's own model in another process."""

    def __init__(self, python: str, folder: str):
        command = [python, str(pathlib.Path(__file__).with_name('score_peer.py')), folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = json.loads(self.process.stdout.readline())

    def ask(self, pairs: Sequence[tuple[str, str]], *, batch_size: int) -> tuple[list[float], list[list[Any]]]:
        """Seconds (clock and CPU) and answers."""
        self.process.stdin.write(json.dumps({'pairs': pairs, 'batch_size': batch_size}) + '\n')
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        return told['seconds'], told['found']

    def fastest(self, pairs: Sequence[tuple[str, str]], sizes: Sequence[int]) -> dict[int, float]:
        """Requests a CPU second with each batch size, on a batch of the longest."""
        longest, found = sorted(pairs, key=lambda pair: -len(pair[0])), {}
        for size in sizes:
            some = longest[:size]
            found[size] = round(len(some) / self.ask(some, batch_size=size)[0][1], 3)
        return found


def write(folder: str, params: Any, *, model: ModelConfig, vocabulary: vocabulary_lib.Vocabulary) -> None:
    """The same weights as transformers reads them."""
    path = pathlib.Path(folder)
    hugging_face.save(path, params, config=model, dtype='float32')
    ids = {'eos_token_id': list(vocabulary.end_ids), 'bos_token_id': None, 'pad_token_id': vocabulary.pad_id}
    directory.write_json(path / 'config.json', directory.read_json(path / 'config.json') | ids)
    tokenizer_directory.write(path, vocabulary, templates=vocabulary.templates, length=CONTEXT)


def packed(requests: Sequence[option_rows.Request], scorer: Scorer) -> dict[str, Any]:
    """How much is read, and what share of it is not padding."""
    prompts, out = [request.prompt for request in requests], {}
    shared = beginnings.common(prompts, least=beginnings.LEAST, price=beginnings.PRICE) if scorer.share else []
    begun = {i for one in shared for i in one.members}
    parts = [(one.members, one.length) for one in shared]
    parts += [([i for i in range(len(requests)) if i not in begun], 0)]
    batches = [
        batch
        for members, skip in parts
        for batch in option_rows.batches(
            requests, members, layout=option_rows.Layout(1, False, scorer.batch_tokens, skip)
        )
    ]
    read, room = sum(int(b.used.sum()) for b in batches), sum(b.rows * sum(b.widths) for b in batches)
    out = {'beginnings': [one.length for one in shared], 'shapes': sorted({(b.rows, *b.widths) for b in batches})}
    return out | {
        'batches': len(batches),
        'tokens': read + sum(one.length for one in shared),
        'fill': round(read / room, 3),
    }


class Ours:
    """Our model behind lm-eval's interface."""

    def __init__(self, args: argparse.Namespace, vocabulary: vocabulary_lib.Vocabulary):
        self.config, graph, self.params = weights(args, vocabulary)
        mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
        generator = Generator(graph, mesh, vocabulary.end_ids, args.batch_tokens)
        self.scorer = Scorer(graph, mesh, False, args.batch_tokens)
        self.asked: list[option_rows.Request] = []
        self.model = LMEvalModel(generator, self, self.params, vocabulary, Limits(CONTEXT))
        self.compiled: list[float] = []
        jax.monitoring.register_event_duration_secs_listener(
            lambda name, seconds, **_: self.compiled.append(seconds) if name == COMPILING else None
        )

    encoder_decoder = False

    def scored(self, params: Any, requests: Sequence[option_rows.Request]) -> list:
        """The scorer's, and keeps what it was asked."""
        self.asked = list(requests)
        return self.scorer.scored(params, requests)

    def ask(self, pairs: Sequence[tuple[str, str]], *, share: bool) -> tuple[list[float], list[tuple[float, bool]]]:
        """Seconds (clock and CPU) and answers."""
        self.scorer = dataclasses.replace(self.scorer, share=share)
        requests = [types.SimpleNamespace(args=pair) for pair in pairs]
        began, cpu = time.perf_counter(), time.process_time()
        found = self.model.loglikelihood(requests)
        return [time.perf_counter() - began, time.process_time() - cpu], found

    def told(self, pairs: Sequence[tuple[str, str]], *, share: bool) -> dict[str, Any]:
        """What the first call compiles, and how the requests are packed."""
        self.compiled.clear()
        self.ask(pairs, share=share)
        return {
            'compiled': len(self.compiled),
            'compile_s': round(sum(self.compiled), 1),
            **packed(self.asked, self.scorer),
        }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='smollm2', help="as checkpoint.warm_start takes it; '' for random weights")
    parser.add_argument('--vocabulary', default='smollm2', help='of the model')
    parser.add_argument('--width', type=int, default=256, help='of random weights')
    parser.add_argument('--layers', type=int, default=4, help='of random weights')
    parser.add_argument('--requests', default=None, help='JSON lines of context and options; by default random words')
    parser.add_argument('--queries', type=int, default=24, help='asked, with their options')
    parser.add_argument('--shots', type=int, default=5, help='exemplars, the same before every query')
    parser.add_argument('--options', choices=('words', 'letters'), default='words', help='1-4 words, or A-D')
    parser.add_argument('--batch_tokens', type=int, default=4096, help='of ours')
    parser.add_argument('--peer_python', default=None, help='interpreter with torch, transformers and lm-eval')
    parser.add_argument('--peer_batches', default='1,4,16', help='batch sizes tried')
    parser.add_argument('--rounds', type=int, default=2, help='the best counts')
    args = parser.parse_args()
    args.model = args.model or None
    return args


def main() -> None:
    """The command."""
    args = parse()
    vocabulary = vocabulary_lib.load(args.vocabulary)
    pairs, ours = questions(args), Ours(args, vocabulary)
    result: dict[str, Any] = {'shared': ours.told(pairs, share=True), 'alone': ours.told(pairs, share=False)}
    times: dict[str, list[list[float]]] = {'shared': [], 'alone': [], 'peer': []}
    with tempfile.TemporaryDirectory() as root:
        peer, size = None, None
        if args.peer_python is not None:
            write(f'{root}/model', ours.params, model=ours.config, vocabulary=vocabulary)
            peer = Peer(args.peer_python, f'{root}/model')
            tried = peer.fastest(pairs, [int(text) for text in args.peer_batches.split(',')])
            size = max(tried, key=tried.get)
            result['peer'] = peer.versions | {'batch_size': size, 'tried': tried}
        for _ in range(args.rounds):
            for name in ('shared', 'alone'):
                seconds, found = ours.ask(pairs, share=name == 'shared')
                times[name].append(seconds)
                if name == 'shared':
                    own = found
            result['moved'] = max(abs(a - b) for (a, _), (b, _) in zip(own, found))
            if peer is not None:
                seconds, theirs = peer.ask(pairs, batch_size=size)
                times['peer'].append(seconds)
                result['difference'] = max(abs(a - b) for (a, _), (b, _) in zip(own, theirs))
                result['greedy_differs'] = sum(a != b for (_, a), (_, b) in zip(own, theirs))
        if peer is not None:
            peer.process.stdin.close()
            peer.process.wait()
    result['asked'] = len(pairs)
    for kind, which in (('clock', 0), ('cpu', 1)):
        rates = {name: len(pairs) / min(one[which] for one in took) for name, took in times.items() if took}
        result[f'asked_per_s_{kind}'] = {name: round(rate, 3) for name, rate in rates.items()}
        result[f'times_{kind}'] = {name: round(rates['shared'] / rate, 2) for name, rate in rates.items()}
    print(json.dumps(vars(args) | result | {
        'parameters': presets.parameter_count(ours.config), 'device': jax.devices()[0].device_kind,
        'jax': jax.__version__, 'python': platform.python_version(),
    }))  # fmt: skip


if __name__ == '__main__':
    main()
