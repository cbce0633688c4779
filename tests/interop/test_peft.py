"""Adapters in PEFT's format: what is saved comes back, the library computes the same, another base is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax import errors
from flan_jax.interop import hugging_face, peft, safetensors_file
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import AttentionConfig, ExecutionConfig, ExpertsConfig, ModelConfig
from flan_jax.training import state as state_lib

LLAMA = ModelConfig(vocab_size=40, layers=2, width=16, heads=4, kv_heads=2, head_width=8, mlp_width=24, norm_eps=1e-5)
T5 = ModelConfig(
    vocab_size=40, layers=2, encoder_layers=3, width=16, heads=2, kv_heads=2, head_width=8, mlp_width=24,
    activation='gelu_tanh', positions='relative_bias', scaled_attention=False, tied_embeddings=False,
)  # fmt: skip
LORA = AdapterConfig(kind='lora', rank=3, alpha=6.0)
KINDS = {
    'lora': LORA,
    'rslora': dataclasses.replace(LORA, rank_stabilised=True, targets=('query', 'value')),
    'dora': dataclasses.replace(LORA, kind='dora'),
    'ia3': AdapterConfig(kind='ia3'),
    'prompt': AdapterConfig(kind='prompt', prompt_tokens=4),
    'lora, some layers': dataclasses.replace(LORA, layers=(1,)),
}


def drawn(config: AdapterConfig, model: ModelConfig) -> tuple[dict, dict]:
    """An adapter's weights, none of them as it begins, and the model's axes."""
    bones, rng = state_lib.skeleton(model, ExecutionConfig()), np.random.default_rng(2)
    shapes, _ = adapters.parts(config, bones.shapes, axes=bones.axes)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0.2, 0.3, s.shape), jnp.float32), shapes), bones.axes


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('model', [LLAMA, T5], ids=['llama', 't5'])
def test_what_is_saved_is_read_back(kind, model, tmp_path):
    config = KINDS[kind]
    if model is T5 and (config.layers or kind == 'prompt'):
        pytest.skip('its stacks differ in length, and a prompt is for decoders')
    trained, _ = drawn(config, model)
    peft.save(tmp_path / 'a', trained, config=config, model=model, base='base')
    found, again = peft.load(tmp_path / 'a', model)
    plain = {'targets': (), 'name': ''}
    assert dataclasses.replace(found, **plain) == dataclasses.replace(config, **plain)
    assert jax.tree.structure(again) == jax.tree.structure(trained)
    jax.tree.map(np.testing.assert_array_equal, again, trained)


def saved(folder, config=LORA, model=LLAMA):
    peft.save(folder / 'a', drawn(config, model)[0], config=config, model=model, base='their-base')
    return folder / 'a'


def test_names_and_shapes_are_peft_s(tmp_path):
    folder = saved(tmp_path)
    tensors = safetensors_file.read(folder / peft.WEIGHTS)
    name = 'base_model.model.model.layers.1.self_attn.q_proj.lora_{}.weight'
    assert tensors[name.format('A')].shape == (3, 16) and tensors[name.format('B')].shape == (32, 3)
    assert len(tensors) == 2 * 2 * 7
    values = json.loads((folder / peft.CONFIG).read_text())
    assert values['target_modules'] == ['down_proj', 'gate_proj', 'k_proj', 'o_proj', 'q_proj', 'up_proj', 'v_proj']
    assert (values['peft_type'], values['r'], values['lora_alpha'], values['base_model_name_or_path']) == (
        'LORA', 3, 6.0, 'their-base'
    )  # fmt: skip


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'width': 24},
            r"safetensors: tensor '.*lora_[AB].weight' has shape \[.*\], this model means \[.*'their-base'",
        ),
        ({'layers': 1}, r"safetensors: tensor '.*layers\.1\..*' has no place in this model.*'their-base'"),
    ],
)
def test_an_adapter_of_another_base_is_refused_with_tensor_and_file(changes, message, tmp_path):
    with pytest.raises(errors.CheckpointError, match=message):
        peft.load(saved(tmp_path), dataclasses.replace(LLAMA, **changes))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'peft_type': 'LOHA'}, r"adapter_config\.json: peft_type='LOHA' is none of LORA"),
        ({'peft_type': ['LORA']}, r"adapter_config\.json: peft_type=\['LORA'\] is none of LORA"),
        ({'rank_pattern': {'q_proj': 8}}, r'adapter_config\.json: rank_pattern=.* cannot be represented'),
        ({'bias': 'all'}, r"bias='all' cannot be represented"),
        ({'r': None}, r'adapter_config\.json: r=None must be a whole number, at least 1'),
        ({'lora_alpha': 'x'}, r"adapter_config\.json: lora_alpha='x' must be a number"),
    ],
)
def test_a_setting_that_cannot_be_represented_is_refused_by_its_key(changes, message, tmp_path):
    folder = saved(tmp_path)
    values = json.loads((folder / peft.CONFIG).read_text()) | changes
    (folder / peft.CONFIG).write_text(json.dumps(values))
    with pytest.raises(errors.ConfigError, match=message):
        peft.load(folder, LLAMA)


def test_a_missing_half_of_a_product_is_named(tmp_path):
    folder = saved(tmp_path)
    stored = {
        name: t.rows()
        for name, t in safetensors_file.read(folder / peft.WEIGHTS).items()
        if 'q_proj.lora_A' not in name
    }
    tensors = {name: (value.shape, lambda value=value: value) for name, value in stored.items()}
    safetensors_file.write(folder / peft.WEIGHTS, tensors, dtype=np.float32)
    with pytest.raises(errors.CheckpointError, match='stack.blocks.attention.query has not all of lora_a, lora_b'):
        peft.load(folder, LLAMA)


def test_a_pickle_is_never_opened(tmp_path):
    folder = saved(tmp_path)
    (folder / peft.WEIGHTS).rename(folder / 'adapter_model.bin')
    with pytest.raises(errors.CheckpointError, match=r'adapter_model\.bin is a pickle.*never opened'):
        peft.load(folder, LLAMA)


def test_a_part_of_a_fused_matrix_has_no_place(tmp_path):
    mixtral = dataclasses.replace(
        LLAMA, experts=ExpertsConfig(count=2, width=24), attention=AttentionConfig(window=8, layers=('window',))
    )
    with pytest.raises(errors.ConfigError, match=r'PEFT has no place for stack\.blocks\.mlp\.\w+\.lora_a.*merge it'):
        peft.save(tmp_path / 'a', drawn(LORA, mixtral)[0], config=LORA, model=mixtral, base='b')
    assert not list(tmp_path.iterdir())


CASES = {'llama': 'Llama, biases', 't5': 'FLAN-T5, T5 1.1'}


@pytest.fixture(scope='module')
def bases(tmp_path_factory):
    """Tiny models of the transformers library, made once, and ours of the same weights."""
    for name in ('torch', 'transformers', 'peft'):
        pytest.importorskip(name, reason='compared with the PEFT library')
    from tools import reference_models

    out = {}
    for kind, name in CASES.items():
        folder = tmp_path_factory.mktemp(kind)
        reference_models.make(name, folder)
        out[kind] = (folder, reference_models.Ours.of(folder))
    return out


def torch_logits(model, *, two: bool) -> np.ndarray:
    import torch

    from tools import reference_models

    ids, contexts = (torch.tensor(x) for x in reference_models.draw())
    sides = {'input_ids': contexts, 'decoder_input_ids': ids} if two else {'input_ids': ids}
    with torch.no_grad():
        return model.eval()(**sides).logits.numpy()[:, -ids.shape[1] :]


def our_logits(ours, config, trained) -> tuple[np.ndarray, np.ndarray]:
    """With the adapter beside the weights, and merged into them if it can be."""
    from flax import nnx

    from tools import reference_models

    bones = state_lib.skeleton(ours.config, reference_models.EXACT)
    sides = [reference_models.rows_of(x) for x in reference_models.draw()[: 1 + ours.config.encoder_decoder]]

    @jax.jit
    def run(params):
        model = nnx.merge(bones.graph, params)
        return model.logits(model(*sides))

    whole = adapters.assemble(ours.params, jax.tree.map(jnp.asarray, trained), config=config, axes=bones.axes)
    beside = np.asarray(run(whole))
    return beside, beside if config.kind == 'prompt' else np.asarray(run(adapters.merge(whole)))


def base_of(folder, two: bool):
    import transformers

    kind = transformers.AutoModelForSeq2SeqLM if two else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder)


@pytest.mark.parametrize(
    ('base', 'kind'), [*(('llama', kind) for kind in KINDS), ('t5', 'lora'), ('t5', 'dora'), ('t5', 'ia3')]
)
def test_peft_computes_what_we_do_with_our_adapter(bases, base, kind, tmp_path):
    import peft as library

    (folder, ours), config = bases[base], KINDS[kind]
    trained, _ = drawn(config, ours.config)
    peft.save(tmp_path / 'a', trained, config=config, model=ours.config, base=str(folder))
    theirs = library.PeftModel.from_pretrained(base_of(folder, base == 't5'), tmp_path / 'a')
    expected = torch_logits(theirs, two=base == 't5')
    plain = torch_logits(base_of(folder, base == 't5'), two=base == 't5')
    assert np.abs(expected - plain).max() > 0.1
    for found in our_logits(ours, config, trained):
        np.testing.assert_allclose(found, expected, atol=2e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize('base', CASES)
@pytest.mark.parametrize('kind', ['lora', 'dora', 'ia3'])
def test_we_compute_what_peft_does_with_its_adapter(bases, base, kind, tmp_path):
    import peft as library
    import torch

    folder, ours = bases[base]
    names = {'llama': ['q_proj', 'v_proj', 'down_proj'], 't5': ['q', 'v', 'wo']}[base]
    if kind == 'ia3':
        wanted = library.IA3Config(target_modules=names, feedforward_modules=names[2:])
    else:
        wanted = library.LoraConfig(
            r=3, lora_alpha=5, target_modules=names, use_dora=kind == 'dora', init_lora_weights=False
        )
    torch.manual_seed(0)
    theirs = library.get_peft_model(base_of(folder, base == 't5'), wanted)
    with torch.no_grad():
        for path, weight in theirs.named_parameters():
            if 'ia3_l' in path or 'magnitude' in path:
                weight.mul_(1 + 0.3 * torch.rand_like(weight))
    theirs.save_pretrained(tmp_path / 'theirs')
    config, trained = peft.load(tmp_path / 'theirs', ours.config)
    expected = torch_logits(theirs, two=base == 't5')
    for found in our_logits(ours, config, trained):
        np.testing.assert_allclose(found, expected, atol=2e-4 * max(1, np.abs(expected).max()))


def test_a_merged_adapter_is_exported_as_a_model(bases, tmp_path):
    folder, ours = bases['llama']
    trained, axes = drawn(LORA, ours.config)
    merged = adapters.merge(adapters.assemble(ours.params, trained, config=LORA, axes=axes))
    hugging_face.save(tmp_path / 'merged', merged, config=ours.config, source=folder)
    found = torch_logits(base_of(tmp_path / 'merged', False), two=False)
    np.testing.assert_allclose(found, our_logits(ours, LORA, trained)[0], atol=1e-3)
