"""`config.json` as published models have it, shrunk: what is read of it, and which keys are refused by name."""

import json
import pathlib

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.interop import families, hugging_face, safetensors_file
from flan_jax.interop.config_keys import Values, value_of
from flan_jax.models.config import ModelConfig

DECODER = {
    'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 4, 'num_attention_heads': 4, 'vocab_size': 97,
    'max_position_embeddings': 64, 'initializer_range': 0.02, 'use_cache': True, 'torch_dtype': 'bfloat16',
}  # fmt: skip
LLAMA = DECODER | {'model_type': 'llama', 'hidden_act': 'silu', 'rms_norm_eps': 1e-5}
QWEN = DECODER | {
    'model_type': 'qwen2', 'hidden_act': 'silu', 'rms_norm_eps': 1e-6, 'num_key_value_heads': 2, 'sliding_window': 8,
    'max_window_layers': 1, 'use_mrope': False, 'use_sliding_window': False, 'tie_word_embeddings': True,
}  # fmt: skip
GEMMA = DECODER | {
    'model_type': 'gemma2', 'hidden_act': 'gelu_pytorch_tanh', 'hidden_activation': 'gelu_pytorch_tanh', 'head_dim': 12,
    'num_key_value_heads': 2, 'query_pre_attn_scalar': 10, 'rms_norm_eps': 1e-6, 'sliding_window': 6,
    'cache_implementation': 'hybrid', 'attn_logit_softcapping': 5.0, 'final_logit_softcapping': 3.0,
}  # fmt: skip
SMOLLM = DECODER | {'model_type': 'smollm3', 'hidden_act': 'silu', 'num_key_value_heads': 2, 'rms_norm_eps': 1e-6}
NEOX = DECODER | {
    'model_type': 'gpt_neox', 'hidden_act': 'gelu_fast', 'attention_probs_dropout_prob': 0, 'hidden_dropout_prob': 0,
    'rotary_emb_base': 500, 'rotary_pct': 0.25, 'rope_theta': 500, 'partial_rotary_factor': 0.25,
    'use_parallel_residual': True,
}  # fmt: skip
OPT = {
    'model_type': 'opt', 'vocab_size': 97, 'hidden_size': 32, 'num_hidden_layers': 3, 'num_attention_heads': 4,
    'ffn_dim': 48, 'max_position_embeddings': 64, 'activation_dropout': 0.0, 'activation_function': 'relu',
    'do_layer_norm_before': True, 'word_embed_proj_dim': 32, '_remove_final_layer_norm': False, 'prefix': '</s>',
}  # fmt: skip
BLOOM = {
    'model_type': 'bloom', 'vocab_size': 97, 'n_embed': 36, 'n_layer': 3, 'num_attention_heads': 6, 'n_inner': None,
    'attention_softmax_in_fp32': True, 'bias_dropout_fusion': True, 'offset_alibi': 100, 'skip_bias_add': True,
}  # fmt: skip
T5 = {
    'model_type': 't5', 'vocab_size': 97, 'd_model': 16, 'd_kv': 8, 'd_ff': 24, 'num_layers': 2, 'num_heads': 2,
    'relative_attention_num_buckets': 8, 'feed_forward_proj': 'gated-gelu', 'is_encoder_decoder': True,
}  # fmt: skip
YARN = {'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 16}
LINEAR, LLAMA_3 = {'type': 'linear', 'factor': 3.0}, {'rope_type': 'default', 'rope_theta': 5.0}
NEAR, FAR = 'sliding_attention', 'full_attention'


def read(values: Values) -> ModelConfig:
    return families.family(values['model_type']).read(values, 'config.json')


@pytest.mark.parametrize(
    'values, expected',
    [
        (LLAMA | {'max_sequence_length': 2048, 'pad_token_id': -1}, {'kv_heads': 4, 'head_width': 8}),
        (LLAMA | {'_attn_implementation_autoset': True, 'sliding_window': None}, {'attention.window': None}),
        (LLAMA | {'rope_scaling': YARN | {'finetuned': True}}, {'rope.scaling': 'yarn', 'rope.original_length': 16}),
        (LLAMA | {'rope_scaling': LINEAR | {'original_max_position_embeddings': 8}}, {'rope.scaling': 'linear'}),
        (QWEN, {'attention.bias': True, 'attention.window': None}),
        (GEMMA | {'sliding_window_size': 6}, {'attention.window': 6, 'attention.layers': ('window', 'full')}),
        (NEOX, {'activation': 'gelu_tanh', 'rope.share': 0.25, 'rope_theta': 500.0}),
        (OPT, {'embedding.positions': 66}),
        (BLOOM, {'width': 36, 'heads': 6, 'mlp_width': 144}),
        (T5 | {'model_type': 'mt5', 'feed_forward_proj': None}, {'activation': 'gelu_tanh', 'mlp.gated': True}),
        (T5 | {'dense_act_fn': 'gelu_new', 'is_gated_act': True}, {'activation': 'gelu_tanh', 'mlp.gated': True}),
    ],
)
def test_keys_that_published_files_carry_are_read(values, expected):
    config = read(values)
    assert {field: value_of(config, field) for field in expected} == expected


def without(values: Values, *keys: str) -> Values:
    return {key: value for key, value in values.items() if key not in keys}


@pytest.mark.parametrize(
    'values, field, expected',
    [
        (without(GEMMA, 'attn_logit_softcapping'), 'attention.softcap', 50.0),
        (GEMMA | {'attn_logit_softcapping': None}, 'attention.softcap', None),
        (without(GEMMA, 'final_logit_softcapping'), 'logit_softcap', 30.0),
        (without(GEMMA, 'head_dim'), 'head_width', 256),
        (GEMMA | {'head_dim': None}, 'head_width', 8),
        (without(LLAMA, 'hidden_act') | {'model_type': 'mistral'}, 'kv_heads', 8),
        (LLAMA | {'model_type': 'mistral', 'num_key_value_heads': None}, 'kv_heads', 4),
        (LLAMA | {'model_type': 'mistral'}, 'attention.window', 4096),
        (LLAMA | {'model_type': 'mistral', 'sliding_window': None}, 'attention.window', None),
        (QWEN | {'use_sliding_window': True, 'sliding_window': None}, 'attention.window', None),
        (QWEN | {'use_sliding_window': True}, 'attention.layers', ('full', 'window', 'window', 'window')),
    ],
)
def test_a_missing_key_is_the_familys_own_default_and_null_is_none(values, field, expected):
    assert value_of(read(values), field) == expected


def test_the_windows_of_smollm3_are_in_the_layers_that_do_not_turn():
    config = read(SMOLLM | {'use_sliding_window': True, 'sliding_window': 6, 'no_rope_layer_interval': 2})
    assert config.rope.layers == (True, False)
    assert config.attention.layers == ('full', 'window') and config.attention.window == 6


def test_of_the_old_and_the_new_name_of_rope_scaling_the_old_one_counts():
    config = read(LLAMA | {'rope_scaling': LINEAR, 'rope_parameters': LLAMA_3, 'rope_theta': 70.0})
    assert (config.rope.scaling, config.rope_theta) == ('linear', 70.0)
    assert read(LLAMA | {'rope_scaling': None, 'rope_parameters': LLAMA_3, 'rope_theta': 70.0}).rope_theta == 5.0


def test_an_attention_factor_counts_before_the_two_scales_it_could_be_made_of():
    scales = YARN | {'mscale': 2.0, 'mscale_all_dim': 0.5}
    assert read(LLAMA | {'rope_scaling': scales | {'attention_factor': 1.7}}).rope.attention_factor == 1.7
    assert read(LLAMA | {'rope_scaling': scales}).rope.attention_factor == pytest.approx(1.1945, abs=1e-4)


@pytest.mark.parametrize(
    'values, message',
    [
        (QWEN | {'use_mrope': True}, 'use_mrope=True cannot be represented: only False is known'),
        (QWEN | {'layer_types': [FAR, NEAR] * 2}, r'layer_types=.* some layers have a window, whose length nothing'),
        (QWEN | {'layer_types': [FAR, FAR]}, r'layer_types=.* it has 2 entries for 4 layers'),
        (QWEN | {'layer_types': [FAR] * 3 + ['chunked_attention']}, r'layer_types=.* known are sliding_attention'),
        (QWEN | {'model_type': 'qwen2_moe', 'layer_types': [NEAR] * 4}, r'layer_types=.* no window is known in this'),
        (QWEN | {'model_type': 'qwen2_moe', 'num_experts': 3}, 'num_experts_per_tok.* goes through 4 of 3 experts'),
        (LLAMA | {'model_type': 'mixtral', 'num_local_experts': 1}, 'num_experts_per_tok.* goes through 2 of 1 expert'),
        (LLAMA | {'model_type': 'mistral', 'layer_types': [FAR] * 4}, r'layer_types=.* all layers .* are sliding_att'),
        (GEMMA | {'sliding_window': None}, r'layer_types.* some layers have a window, whose length nothing says'),
        (SMOLLM | {'no_rope_layers': [1, 0]}, r'no_rope_layers=.* it has 2 entries for 4 layers'),
        (LLAMA | {'rope_scaling': YARN | {'finetuned': False}}, r'rope_scaling=.*not tuned with its scaling'),
        (LLAMA | {'partial_rotary_factor': 0.5}, 'partial_rotary_factor=0.5 cannot be represented: .* as 1'),
        (LLAMA | {'rope_scaling': LINEAR | {'partial_rotary_factor': 0.5}}, 'rope_scaling=.* turns whole heads'),
        (NEOX | {'rope_theta': 10_000}, 'rope_theta=10000 cannot be represented: this family has it as 500'),
        (T5 | {'dense_act_fn': 'relu'}, "dense_act_fn='relu' .* feed_forward_proj='gated-gelu' says another"),
        (T5 | {'is_gated_act': False}, "is_gated_act=False .* feed_forward_proj='gated-gelu' says otherwise"),
        (OPT | {'do_layer_norm_before': False}, 'do_layer_norm_before=False cannot be represented: only True'),
        (OPT | {'word_embed_proj_dim': 16}, 'word_embed_proj_dim=16 cannot be represented: embeddings must be as wide'),
        (BLOOM | {'n_head': 3}, 'n_head=3 cannot be represented: num_attention_heads=6 says another'),
        (GEMMA | {'model_type': 'gemma3_text'}, 'attn_logit_softcapping=5.0 cannot be represented: only None is known'),
        (GEMMA | {'attn_logit_softcapping': 'high'}, "attn_logit_softcapping='high' .* a number or null"),
    ],
)
def test_a_key_that_changes_what_is_computed_is_refused_by_its_name(values, message):
    with pytest.raises(errors.ConfigError, match=message):
        read(values)


def written(folder: pathlib.Path, values: Values, tensors: dict[str, tuple[int, ...]]) -> pathlib.Path:
    (folder / 'config.json').write_text(json.dumps(values))
    rng = np.random.default_rng(0)
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in tensors.items()}
    safetensors_file.write(
        folder / 'model.safetensors', {name: (x.shape, lambda x=x: x) for name, x in made.items()}, dtype=np.float32
    )
    return folder


@pytest.mark.parametrize(
    'values, message',
    [
        ({'model_type': 'gpt2', 'architectures': ['GPT2LMHeadModel']}, r"model_type='gpt2' is none of bloom, .*GPT2LM"),
        ({'model_type': 'deepseek_v3', 'quantization_config': {'quant_method': 'fp8'}}, "'deepseek_v3' is none of"),
        ({'model_type': 'gemma3', 'text_config': {'model_type': 'gemma3_text'}}, "'gemma3' is a model of more than te"),
        (LLAMA | {'quantization_config': {'bits': 4}}, 'quantised weights cannot be read'),
    ],
)
def test_an_architecture_that_is_not_known_is_named_with_those_that_are(values, message, tmp_path):
    with pytest.raises(errors.ConfigError, match=rf'config\.json: .*{message}'):
        hugging_face.read_config(written(tmp_path, values, {}))


@pytest.mark.parametrize('told', [{}, {'tie_word_embeddings': True}, {'scale_decoder_outputs': True}])
def test_a_t5_head_of_its_own_that_is_said_to_read_scaled_states_is_refused(told, tmp_path):
    values = T5 | {'tie_word_embeddings': False} | told if told else T5
    folder = written(tmp_path, values, {'shared.weight': (97, 16), 'lm_head.weight': (97, 16)})
    with pytest.raises(errors.ConfigError, match=r"config\.json: tie_word_embeddings .* the files have 'lm_head\.weig"):
        hugging_face.read_config(folder)
    written(tmp_path, T5 | {'tie_word_embeddings': False}, {'shared.weight': (97, 16), 'lm_head.weight': (97, 16)})
    assert not hugging_face.read_config(folder).tied_embeddings


def test_a_width_that_heads_do_not_divide_is_written_as_a_family_that_transformers_takes_it_from():
    config = ModelConfig(vocab_size=97, width=32, heads=3, kv_heads=1, head_width=12, max_length=64)
    assert families.family_of(config).name == 'mistral'
    with pytest.raises(errors.ConfigError, match=r'model\.width=32 with model\.heads=3, which does not divide it'):
        families.family('llama').write(config)
