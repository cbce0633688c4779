"""Hugging Face directories without torch: what comes back, how it is read, and what is refused."""

import dataclasses
import json
import pathlib
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from flan_jax import errors
from flan_jax.batch import Rows
from flan_jax.config import MeshConfig
from flan_jax.interop import directory as files
from flan_jax.interop import families, hugging_face, safetensors_file
from flan_jax.interop.config_keys import differing
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models.config import AttentionConfig, ExecutionConfig, ExpertsConfig, ModelConfig, RopeConfig
from flan_jax.models.published import PRESETS
from flan_jax.models.weight_tree import flat, nested
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state

SMALL = ModelConfig(
    vocab_size=40, layers=2, width=16, heads=4, kv_heads=2, head_width=8, mlp_width=24, norm_eps=1e-5, max_length=64,
    tied_embeddings=False, rope=RopeConfig(scaling='llama3', factor=4.0, original_length=16),
)  # fmt: skip
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
KINDS = {
    'llama': SMALL,
    'phi3': dataclasses.replace(
        SMALL,
        rope=RopeConfig(
            scaling='longrope', factor=4.0, original_length=16, share=0.5, short_factors=(1.0, 1.5),
            long_factors=(2.0, 3.0),
        ),
    ),
    'mixtral': dataclasses.replace(
        SMALL, rope=RopeConfig(), experts=ExpertsConfig(count=4, width=24),
        attention=AttentionConfig(window=8, layers=('window',)),
    ),
    't5': ModelConfig(
        vocab_size=40, layers=2, encoder_layers=3, width=16, heads=2, kv_heads=2, head_width=8, mlp_width=24,
        activation='gelu_tanh', positions='relative_bias', scaled_attention=False, tied_embeddings=False,
    ),
}  # fmt: skip


def drawn(config: ModelConfig, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    shapes = flat_shapes(config)
    return nested({path: jnp.asarray(rng.normal(size=shape), jnp.float32) for path, shape in shapes.items()})


def saved(folder: pathlib.Path, config: ModelConfig = SMALL, **options) -> pathlib.Path:
    hugging_face.save(folder / 'model', drawn(config), config=config, **options)
    return folder / 'model'


def assert_equal(a: dict, b: dict) -> None:
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(np.asarray(a[path]), np.asarray(b[path]), err_msg=path)


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_saved_is_read_back_with_its_config(kind, tmp_path):
    config = KINDS[kind]
    folder = saved(tmp_path, config, shard_bytes=3000)
    assert len(list(folder.glob('model-*-of-*.safetensors'))) > 1
    assert json.loads((folder / 'config.json').read_text())['model_type'] == kind
    found = hugging_face.read_config(folder)
    assert not differing(found, config) and found.tied_embeddings == config.tied_embeddings
    assert_equal(hugging_face.load(folder, config), drawn(config))


@pytest.mark.parametrize('kind', KINDS)
def test_a_directory_is_read_straight_to_its_shards(kind, tmp_path):
    if len(jax.devices()) < 8:
        pytest.skip('needs eight devices')
    config = KINDS[kind]
    folder = saved(tmp_path, config)
    mesh = mesh_lib.make(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])
    placed = state.weight_shardings(state.skeleton(config, ExecutionConfig()), mesh)
    spread = hugging_face.load(folder, config, shardings=placed)
    assert jax.tree.map(lambda leaf: leaf.sharding, spread) == placed
    assert_equal(spread, drawn(config))
    hugging_face.save(tmp_path / 'again', spread, config=config)
    assert (tmp_path / 'again' / files.SINGLE).read_bytes() == (folder / files.SINGLE).read_bytes()


def test_16_bit_numbers_stay_as_they_are_or_become_f32(tmp_path):
    folder = saved(tmp_path, dtype='bfloat16')
    expected = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), drawn(SMALL))
    as_stored, wide = (hugging_face.load(folder, SMALL, dtype=dtype) for dtype in (None, 'float32'))
    assert_equal(as_stored, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {jnp.dtype('float32')}
    assert_equal(jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16), wide), expected)


def test_tokenizer_chat_template_and_generation_config_go_along(tmp_path):
    folder = saved(tmp_path)
    for name in ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'generation_config.json'):
        (folder / name).write_text(json.dumps({'file': name}))
    (folder / 'config.json').write_text(
        json.dumps(
            json.loads((folder / 'config.json').read_text()) | {'eos_token_id': 7, 'transformers_version': '4.40'}
        )
    )
    hugging_face.save(tmp_path / 'tuned', drawn(SMALL, 1), config=SMALL, source=folder)
    for name in ('tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'generation_config.json'):
        assert (tmp_path / 'tuned' / name).read_bytes() == (folder / name).read_bytes()
    assert json.loads((tmp_path / 'tuned' / 'config.json').read_text())['eos_token_id'] == 7
    assert_equal(hugging_face.load(tmp_path / 'tuned', SMALL), drawn(SMALL, 1))


@pytest.mark.parametrize('name', PRESETS)
def test_every_preset_is_some_family_and_its_config_comes_back(name):
    family = families.family_of(PRESETS[name])
    assert not differing(PRESETS[name], family.read(family.write(PRESETS[name]), 'config.json'))


def rewrite(folder: pathlib.Path, **changes) -> None:
    values = json.loads((folder / 'config.json').read_text()) | changes
    (folder / 'config.json').write_text(json.dumps(values))


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'model_type': 'lama'}, r"config\.json: model_type='lama' is none of .*did you mean llama"),
        ({'attention_sinks': 4}, r"config\.json: attention_sinks=4 cannot be represented: no llama key of that name"),
        ({'hidden_act': 'quick_gelu'}, r"hidden_act='quick_gelu' cannot be represented: known are silu"),
        ({'rope_scaling': {'rope_type': 'spiral'}}, r"rope_scaling=.*'spiral' is none of default, linear"),
        ({'rope_scaling': {'rope_type': 'linear', 'factor': 2.0, 'twist': 1}},
         r"rope_scaling=.*'twist' has no meaning"),
        ({'quantization_config': {'bits': 4}}, r'quantization_config: quantised weights cannot be read'),
        ({'num_hidden_layers': None}, r'num_hidden_layers=None cannot be represented: it is missing'),
        ({'num_hidden_layers': -2}, r'config\.json: num_hidden_layers=-2 must be a whole number, at least 1'),
        ({'hidden_size': 'wide'}, r"config\.json: hidden_size='wide' must be a whole number, at least 1"),
        ({'num_attention_heads': 0}, r'config\.json: num_attention_heads=0 must be a whole number'),
        ({'rms_norm_eps': '1e-5'}, r"config\.json: rms_norm_eps='1e-5' is not of the kind it must be"),
        ({'tie_word_embeddings': 'no'}, r"config\.json: tie_word_embeddings='no' is not of the kind it must be"),
        ({'attention_bias': 'no'}, r"config\.json: attention_bias='no' cannot .* it must be true or false"),
        ({'hidden_act': ['silu']}, r"config\.json: hidden_act=\['silu'\]: a value is not of the kind"),
        ({'model_type': ['llama']}, r"config\.json: model_type=\['llama'\] .*is none of bloom, .*llama"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_represented_is_refused_by_its_key(changes, message, tmp_path):
    folder = saved(tmp_path)
    rewrite(folder, **changes)
    with pytest.raises(errors.ConfigError, match=message):
        hugging_face.read_config(folder)


def test_a_model_no_family_has_keys_for_is_refused_and_nothing_is_written(tmp_path):
    odd = dataclasses.replace(SMALL, positions='alibi')
    with pytest.raises(errors.ConfigError, match=r"no family can represent this model; .*model\.positions='alibi'"):
        hugging_face.save(tmp_path / 'model', drawn(odd), config=odd)
    assert not list(tmp_path.iterdir())


def test_a_missing_shard_is_named(tmp_path):
    folder = saved(tmp_path, shard_bytes=3000)
    gone = sorted(folder.glob('model-*'))[1]
    gone.unlink()
    with pytest.raises(errors.CheckpointError, match=rf'{gone.name} is missing'):
        hugging_face.read_config(folder)


def test_a_tensor_the_index_promises_is_named_with_its_shard(tmp_path):
    folder = saved(tmp_path, shard_bytes=3000)
    index = json.loads((folder / files.INDEX).read_text())
    shard = next(iter(index['weight_map'].values()))
    index['weight_map']['model.extra'] = shard
    (folder / files.INDEX).write_text(json.dumps(index))
    with pytest.raises(errors.CheckpointError, match=rf"{shard}: tensor 'model\.extra' is missing"):
        hugging_face.load(folder, SMALL)


def test_an_index_cannot_point_out_of_its_directory(tmp_path):
    folder = saved(tmp_path, shard_bytes=3000)
    (folder / files.INDEX).write_text(json.dumps({'weight_map': {'x': '../../secret.safetensors'}}))
    with pytest.raises(errors.CheckpointError, match=r"'\.\./\.\./secret\.safetensors' is not the name of"):
        hugging_face.load(folder, SMALL)


def test_a_file_that_is_cut_off_names_the_tensor_that_does_not_fit(tmp_path):
    folder = saved(tmp_path)
    file = folder / files.SINGLE
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(errors.CheckpointError, match=r"model\.safetensors is cut off: tensor '[\w.]+' ends at byte"):
        hugging_face.load(folder, SMALL)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(errors.CheckpointError, match=r'is no whole safetensors file'):
        hugging_face.load(folder, SMALL)


def with_tensor(folder: pathlib.Path, name: str, value: np.ndarray | None, new: str | None = None) -> None:
    """Writes the file again with one tensor changed, renamed or left out."""
    stored = {n: t.rows() for n, t in safetensors_file.read(folder / files.SINGLE).items()}
    old = stored.pop(name)
    if value is not None or new is not None:
        stored[new or name] = old if value is None else value
    tensors = {n: (v.shape, lambda v=v: v) for n, v in stored.items()}
    safetensors_file.write(folder / files.SINGLE, tensors, dtype=np.float32)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path):
    folder = saved(tmp_path)
    with_tensor(folder, 'model.layers.1.mlp.up_proj.weight', np.zeros((24, 15), np.float32))
    with pytest.raises(
        errors.CheckpointError,
        match=r"safetensors: tensor 'model\.layers\.1\.mlp\.up_proj\.weight' has shape \[24, 15\]; .*\[24, 16\]",
    ):
        hugging_face.load(folder, SMALL)


def test_a_missing_tensor_and_one_too_many_are_named(tmp_path):
    folder = saved(tmp_path)
    with_tensor(folder, 'model.norm.weight', None, new='model.norms.weight')
    with pytest.raises(errors.CheckpointError, match=r"'model\.norm\.weight' \(our stack\.norm\.scale\).*did you mean"):
        hugging_face.load(folder, SMALL)
    folder = saved(tmp_path / 'other')
    with_tensor(folder, 'model.norm.weight', None, new='model.norm.weight')
    stored = {n: t.rows() for n, t in safetensors_file.read(folder / files.SINGLE).items()} | {'lora_A': np.zeros(3)}
    safetensors_file.write(
        folder / files.SINGLE, {n: (v.shape, lambda v=v: v) for n, v in stored.items()}, dtype=np.float32
    )
    with pytest.raises(errors.CheckpointError, match=r"tensor 'lora_A' has no place in the model"):
        hugging_face.load(folder, SMALL)


def test_a_tensor_of_integers_is_refused_by_its_type(tmp_path):
    folder = saved(tmp_path)
    data = (folder / files.SINGLE).read_bytes()
    (folder / files.SINGLE).write_bytes(data.replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(errors.CheckpointError, match=r'is of type I32; only F32'):
        hugging_face.load(folder, SMALL)


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / 'sprung',))

    folder = saved(tmp_path)
    (folder / files.SINGLE).unlink()
    (folder / 'pytorch_model.bin').write_bytes(pickle.dumps(Trap()))
    with pytest.raises(errors.CheckpointError, match=r'pytorch_model\.bin is a pickle.*never opened'):
        hugging_face.load(folder, SMALL)
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize(
    'there, message',
    [((), 'fetch its weights in that format'), (('consolidated.00.pth',), r'consolidated\.00\.pth is a pickle')],
)
def test_a_directory_without_weights_that_can_be_read_is_told_so(there, message, tmp_path):
    folder = saved(tmp_path)
    (folder / files.SINGLE).unlink()
    for name in there:
        (folder / name).write_bytes(b'')
    with pytest.raises(errors.CheckpointError, match=rf'model has neither model\.safetensors nor .*{message}'):
        hugging_face.read_config(folder)


def test_a_place_where_nothing_can_be_written_is_told_and_left(tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(errors.CheckpointError, match=r'file/model cannot be written: .*; choose another place'):
        hugging_face.save(tmp_path / 'file' / 'model', drawn(SMALL), config=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['file']


def test_a_tokenizer_with_more_ids_than_rows_is_refused(tmp_path):
    folder = saved(tmp_path)
    token = {'id': 40, 'content': '<|end|>'}
    (folder / 'tokenizer.json').write_text(json.dumps({'model': {'vocab': {'a': 0}}, 'added_tokens': [token]}))
    with pytest.raises(errors.CheckpointError, match=r'tokenizer\.json: the tokenizer has ids up to 40, .* 40 rows'):
        hugging_face.load(folder, SMALL)


def test_a_tokenizer_file_of_another_form_is_refused_by_its_name(tmp_path):
    folder = saved(tmp_path)
    (folder / 'tokenizer.json').write_text(json.dumps({'model': 3}))
    with pytest.raises(errors.CheckpointError, match=r'tokenizer\.json is no tokenizer: .*; fetch it again'):
        hugging_face.load(folder, SMALL)


def logits(config: ModelConfig, params: dict) -> np.ndarray:
    model = nnx.merge(state.skeleton(config, EXACT).graph, params)
    tokens = jnp.asarray([[3, 9, 27, 1, 5]], jnp.int32)
    rows = Rows(tokens, jnp.ones_like(tokens), jnp.arange(5, dtype=jnp.int32)[None])
    return np.asarray(model.logits(model(rows)))


@pytest.mark.parametrize('tied', [True, False])
def test_a_tied_table_is_written_once_and_a_head_of_its_own_beside_it_and_logits_come_back(tied, tmp_path):
    config = dataclasses.replace(SMALL, tied_embeddings=tied)
    folder = saved(tmp_path, config)
    names = set(files.stored_tensors(folder))
    assert ('lm_head.weight' in names) != tied and 'model.embed_tokens.weight' in names
    assert json.loads((folder / 'config.json').read_text())['tie_word_embeddings'] == tied
    back = hugging_face.read_config(folder)
    assert back.tied_embeddings == tied
    np.testing.assert_array_equal(logits(back, hugging_face.load(folder, back)), logits(config, drawn(config)))


def test_another_model_than_asked_for_is_refused_by_its_fields(tmp_path):
    folder = saved(tmp_path)
    with pytest.raises(errors.ConfigError, match=r'holds another model: model\.rope_theta=5\.0, there 10000\.0'):
        hugging_face.load(folder, dataclasses.replace(SMALL, rope_theta=5.0))


def test_a_directory_in_use_is_left_as_it_is(tmp_path):
    folder = saved(tmp_path)
    before = (folder / files.SINGLE).read_bytes()
    with pytest.raises(errors.CheckpointError, match=r'is there and not empty'):
        hugging_face.save(folder, drawn(SMALL, 1), config=SMALL)
    assert (folder / files.SINGLE).read_bytes() == before


def test_nothing_is_left_of_a_directory_that_could_not_be_finished(tmp_path):
    broken = drawn(SMALL)
    broken['stack']['norm']['scale'] = jnp.zeros((3,))
    with pytest.raises(ValueError):
        hugging_face.save(tmp_path / 'model', broken, config=SMALL)
    assert not list(tmp_path.iterdir())


def test_a_head_that_repeats_the_table_is_tied(tmp_path):
    folder = saved(tmp_path)
    table = safetensors_file.read(folder / files.SINGLE)['model.embed_tokens.weight'].rows()
    rewrite(folder, tie_word_embeddings=True)
    assert not hugging_face.read_config(folder).tied_embeddings  # the config is wrong: the head differs
    with_tensor(folder, 'lm_head.weight', table)
    assert hugging_face.read_config(folder).tied_embeddings
    with_tensor(folder, 'lm_head.weight', None)
    rewrite(folder, tie_word_embeddings=False)
    with pytest.raises(errors.CheckpointError, match=r"no tensor 'lm_head\.weight'"):
        hugging_face.read_config(folder)
