"""Models in GGUF files: the transformers library reads what we write as we do; what cannot be read is refused."""

import dataclasses
import json
import pathlib

import gguf_models
import jax
import numpy as np
import pytest
from gguf_models import SMALL

from flan_jax import errors
from flan_jax.data import vocabulary
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.interop import gguf, gguf_config, gguf_file, gguf_weights
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models.config import ModelConfig, NormConfig, RopeConfig
from flan_jax.models.weight_tree import flat, nested

LONG = RopeConfig(
    scaling='longrope', factor=4.0, original_length=64, short_factors=(1.0,) * 8, long_factors=(1.0, 1.5, 2.0, 4.0) * 2
)
MODELS = gguf_models.MODELS | {'phi3, long': dataclasses.replace(SMALL, tied_embeddings=False, rope=LONG)}


def random_params(config: ModelConfig) -> dict:
    draw = np.random.default_rng(0)
    return nested({path: draw.normal(size=shape).astype(np.float32) for path, shape in flat_shapes(config).items()})


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory) -> Vocabulary:
    """A byte-level BPE of 258 pieces with an end of text."""
    tokenizers = pytest.importorskip('tokenizers')
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = {piece: i for i, piece in enumerate([*alphabet, 'na'])}
    built = tokenizers.Tokenizer(tokenizers.models.BPE(pieces, [('n', 'a')]))
    built.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = tokenizers.decoders.ByteLevel()
    built.add_special_tokens(['<end>'])
    folder = tmp_path_factory.mktemp('tokenizer')
    built.save(str(folder / 'tokenizer.json'))
    settings = {'eos_token': '<end>', 'pad_token': '<end>', 'chat_template': '{{ messages[0].content }}'}
    (folder / 'tokenizer_config.json').write_text(json.dumps(settings))
    return vocabulary.load(str(folder))


def saved(name: str, tokenizer: Vocabulary, folder: pathlib.Path, *, kind: str = 'F32') -> tuple[str, dict]:
    params = random_params(MODELS[name])
    path = str(folder / 'm.gguf')
    family = 'phi3' if 'phi3' in name else None  # a Llama can be all that it is, with its projections apart
    gguf.save(path, params, config=MODELS[name], vocabulary=tokenizer, kind=kind, family=family)
    return path, params


@pytest.mark.parametrize('name', MODELS)
def test_a_model_comes_back_from_its_file(name, tokenizer, tmp_path):
    path, params = saved(name, tokenizer, tmp_path)
    assert gguf_file.read(path).value('general.architecture') == name.partition(',')[0]
    config = gguf.read_config(path)
    assert config.tied_embeddings == MODELS[name].tied_embeddings
    back = gguf.load(path, dataclasses.replace(config, dropout=0.1))
    jax.tree.map(np.testing.assert_array_equal, back, params if 'gemma' not in name else _through_offset(params))


def _through_offset(params: dict) -> dict:
    """Gemma's norm scales lose the last bits when 1 is added to them in the file."""
    return nested({p: x + np.float32(1) - np.float32(1) if 'norm' in p else x for p, x in flat(params).items()})


REFERENCE = {'llama', 'llama, untied', 'qwen2', 'qwen3', 'gemma2', 'gemma3', 'phi3, long'}


@pytest.mark.parametrize('name', sorted(REFERENCE))
def test_the_transformers_library_reads_the_same_model_from_it(name, tokenizer, tmp_path):
    torch = pytest.importorskip('torch', reason='the reference runs on PyTorch')
    transformers = pytest.importorskip('transformers', reason='the reference reader of GGUF')
    path, _ = saved(name, tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file='m.gguf', dtype=torch.float32)
    values, ours = gguf_weights.read(gguf_file.read(path))
    assert len(ours) == len({weight.data_ptr() for weight in theirs.state_dict().values()})  # a tied table counts once
    for weight_name, weight in ours.items():
        np.testing.assert_array_equal(weight.rows(), theirs.state_dict()[weight_name].numpy(), err_msg=weight_name)
    known = theirs.config.to_dict()
    for key in ('hidden_size', 'num_attention_heads', 'num_key_value_heads', 'vocab_size', 'tie_word_embeddings'):
        assert known[key] == values[key], key


def test_the_transformers_library_reads_the_same_tokenizer_from_it(tokenizer, tmp_path):
    pytest.importorskip('torch', reason='the reference runs on PyTorch')
    transformers = pytest.importorskip('transformers', reason='the reference reader of GGUF')
    path, _ = saved('llama', tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file='m.gguf')
    text = 'A naïve 12 times\n'
    assert theirs(text)['input_ids'] == vocabulary.load(path).encode([text])[0]
    assert theirs.eos_token == '<end>' and theirs.chat_template == '{{ messages[0].content }}'


@pytest.mark.parametrize(('kind', 'error'), [('F16', 2e-3), ('BF16', 2e-2), ('Q8_0', 2e-2)])
def test_smaller_kinds_lose_as_little_as_they_must(kind, error, tokenizer, tmp_path):
    path, params = saved('llama', tokenizer, tmp_path, kind=kind)
    back, params = flat(gguf.load(path, gguf.read_config(path))), flat(params)
    for name in params:
        assert np.abs(np.asarray(back[name]) - params[name]).max() <= error, name
    np.testing.assert_array_equal(back['stack.norm.scale'], params['stack.norm.scale'])  # vectors stay f32


def test_a_weight_is_read_straight_to_its_sharding(tokenizer, tmp_path):
    path, params = saved('llama', tokenizer, tmp_path)
    mesh = jax.make_mesh((2,), ('fsdp',), devices=jax.devices()[:2]) if len(jax.devices()) > 1 else None
    if mesh is None:
        pytest.skip('needs two devices')
    halves = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, 'fsdp'))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    placed = nested({p: halves if 'attention.query' in p else whole for p in flat_shapes(SMALL)})
    back = gguf.load(path, gguf.read_config(path), shardings=placed)
    query = back['stack']['blocks']['attention']['query']
    assert query.sharding == halves
    np.testing.assert_array_equal(query, params['stack']['blocks']['attention']['query'])


def test_rows_in_pairs_and_in_halves_are_each_others_inverse():
    there, back = gguf_weights.pairs_from_halves(3, 8), gguf_weights.halves_from_pairs(3, 8)
    np.testing.assert_array_equal(there[back], np.arange(24))


def test_bounds_of_the_llama_3_rule_come_back_up_to_their_common_factor():
    rule = {'factor': 16.0, 'low_freq_factor': 0.5, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 4096}
    factors = gguf_config.llama3_factors(rule, theta=5e5, width=128)
    found = gguf_config.llama3_rule(factors, theta=5e5, path='m.gguf')
    np.testing.assert_allclose(gguf_config.llama3_factors(found, theta=5e5, width=128), factors, rtol=1e-3)
    with pytest.raises(errors.CheckpointError, match="m.gguf: its rope_freqs follow no numbers of Llama 3's rule"):
        gguf_config.llama3_rule(np.linspace(3.0, 2.0, 64), theta=5e5, path='m.gguf')


def rewritten(path: str, *, entries: dict | None = None, drop: str = '', rename: tuple[str, str] = ('', '')) -> str:
    """The file with other metadata, without a tensor, or with one under another name."""
    file = gguf_file.read(path)
    packed = {name: entry.packed for name, entry in file.entries.items()}
    packed |= {name: gguf_file.packed(value) for name, value in (entries or {}).items()}
    tensors = [
        gguf_file.Written(
            rename[1] if name == rename[0] else name, t.shape, t.kind, lambda t=t: t.read().reshape(t.shape)
        )
        for name, t in file.tensors.items()
        if name != drop
    ]
    gguf_file.write(path + '.other', {n: v for n, v in packed.items() if n != drop}, tensors=tensors)
    return path + '.other'


REFUSED = {
    'architecture': ({'entries': {'general.architecture': 'mamba'}}, "architecture 'mamba'; read are llama, qwen2"),
    'experts': ({'entries': {'llama.expert_count': 8}}, 'llama.expert_count=8; sparse experts are not read'),
    'missing tensor': ({'drop': 'blk.1.ffn_up.weight'}, "'model.layers.1.mlp.up_proj.weight' .* is in none"),
    'missing metadata': ({'drop': 'llama.block_count'}, "has no 'llama.block_count' in its metadata"),
    'unknown tensor': ({'rename': ('blk.0.ffn_up.weight', 'blk.0.ffn_x.weight')}, 'blk.0.ffn_x.weight .* no place'),
    'shape': ({'entries': {'llama.feed_forward_length': 128}}, r'has shape \[64, 96\]; .* \[64, 128\]'),
    'heads': ({'entries': {'llama.attention.head_count': 2}}, 'attn_q.weight has 64 rows, its metadata says 32'),
    'layers unlike each other': (
        {'entries': {'llama.attention.head_count_kv': [2, 1]}}, r'head_count_kv differs between layers.*\[2, 1\]',
    ),
    'rule of scaling': ({'entries': {'llama.rope.scaling.type': 'spiral'}}, "rope.scaling.type='spiral' is not read"),
}  # fmt: skip


@pytest.mark.parametrize('what', REFUSED)
def test_what_cannot_be_read_is_named(what, tokenizer, tmp_path):
    change, told = REFUSED[what]
    path = rewritten(saved('llama', tokenizer, tmp_path)[0], **change)
    with pytest.raises(errors.FlanJaxError, match=told) as caught:
        gguf.load(path, gguf.read_config(path))
    assert 'm.gguf.other' in str(caught.value)


def test_a_file_of_another_model_is_refused(tokenizer, tmp_path):
    path, _ = saved('llama', tokenizer, tmp_path)
    with pytest.raises(errors.ConfigError, match=r'holds another model: model.layers=3, there 2'):
        gguf.load(path, dataclasses.replace(gguf.read_config(path), layers=3))


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'norm': NormConfig(kind='layer', place='parallel'), 'positions': 'alibi'}, 'no family can represent'),
        ({'rope': RopeConfig(scaling='dynamic', factor=2.0)}, "the rule 'dynamic' is not written as GGUF"),
        ({'norm': NormConfig(place='post', query_key='all')}, "'olmo2' is not written as GGUF"),
    ],
)
def test_what_gguf_cannot_say_is_refused_before_anything_is_written(change, told, tokenizer, tmp_path):
    config = dataclasses.replace(SMALL, **change)
    with pytest.raises(errors.FlanJaxError, match=told):
        gguf.save(str(tmp_path / 'm.gguf'), random_params(config), config=config, vocabulary=tokenizer)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_larger_than_the_embedding_is_refused(tokenizer, tmp_path):
    config = dataclasses.replace(SMALL, vocab_size=128)
    with pytest.raises(errors.CheckpointError, match='has 258 pieces, the embedding 128 rows'):
        gguf.save(str(tmp_path / 'm.gguf'), random_params(config), config=config, vocabulary=tokenizer)
    with pytest.raises(errors.CheckpointError, match="written as F32, F16, BF16, Q8_0, not as 'Q4_K'"):
        gguf.save(str(tmp_path / 'm.gguf'), random_params(SMALL), config=SMALL, vocabulary=tokenizer, kind='Q4_K')
