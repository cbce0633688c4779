"""Models of published `config.json` files have the logits of the transformers library, past the window, too."""

import json
import pathlib

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='the parity tests compare with PyTorch models')
transformers = pytest.importorskip('transformers', reason='the parity tests compare with the transformers library')

from flan_jax.interop import hugging_face  # noqa: E402
from tools import reference_models  # noqa: E402
from tools.reference_models import Ours  # noqa: E402

transformers.logging.set_verbosity_error()
DECODER = {
    'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 4, 'vocab_size': 97,
    'max_position_embeddings': 64, 'hidden_act': 'silu', 'rms_norm_eps': 1e-6, 'num_key_value_heads': 2,
}  # fmt: skip
GEMMA = DECODER | {
    'model_type': 'gemma2', 'hidden_activation': 'gelu_pytorch_tanh', 'head_dim': 12, 'query_pre_attn_scalar': 10,
    'sliding_window': 6, 'sliding_window_size': 6, 'cache_implementation': 'hybrid', 'tie_word_embeddings': True,
}  # fmt: skip
YARN = {'type': 'yarn', 'factor': 4.0, 'original_max_position_embeddings': 12}
LINEAR = {'type': 'linear', 'factor': 3.0}
CONFIGS = {
    'Qwen 2.5, yarn': DECODER | {
        'model_type': 'qwen2', 'use_mrope': False, 'use_sliding_window': False, 'sliding_window': 8,
        'max_window_layers': 1, 'rope_theta': 1e6, 'rope_scaling': YARN, 'tie_word_embeddings': True,
    },
    'Qwen 3, windows on, but of no length': DECODER | {
        'model_type': 'qwen3', 'head_dim': 12, 'use_sliding_window': True, 'sliding_window': None,
        'max_window_layers': 1,
    },
    'SmolLM 3, windows where nothing turns': DECODER | {
        'model_type': 'smollm3', 'use_sliding_window': True, 'sliding_window': 6, 'no_rope_layer_interval': 2,
        'pad_token_id': 3,
    },
    'Gemma 2, bounds unsaid': GEMMA,
    'Gemma 2, no bounds': GEMMA | {'attn_logit_softcapping': None, 'final_logit_softcapping': None},
    'Llama, both names of scaling': DECODER | {
        'model_type': 'llama', 'rope_theta': 70.0, 'rope_scaling': LINEAR,
        'rope_parameters': {'rope_type': 'default', 'rope_theta': 5.0},
    },
    'Llama, two scales and a factor': DECODER | {
        'model_type': 'llama', 'rope_scaling': YARN | {'mscale': 2.0, 'mscale_all_dim': 0.5, 'attention_factor': 1.7},
    },
    'Mistral, a width that heads do not divide': DECODER | {
        'model_type': 'mistral', 'num_attention_heads': 3, 'num_key_value_heads': 1, 'head_dim': 12,
        'sliding_window': None,
    },
    'GPT-NeoX 20B': {
        'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 3, 'num_attention_heads': 4, 'vocab_size': 97,
        'max_position_embeddings': 64, 'model_type': 'gpt_neox', 'hidden_act': 'gelu_fast', 'rotary_emb_base': 500,
        'rotary_pct': 0.5, 'hidden_dropout_prob': 0, 'attention_probs_dropout_prob': 0, 'partial_rotary_factor': 0.5,
        'rope_theta': 500,
    },
    'BLOOM': {
        'model_type': 'bloom', 'vocab_size': 97, 'n_embed': 36, 'n_layer': 3, 'num_attention_heads': 6,
        'n_inner': None, 'attention_softmax_in_fp32': True, 'bias_dropout_fusion': True,
    },
}  # fmt: skip


def published(folder: pathlib.Path, values: dict) -> torch.nn.Module:
    """A random model of a `config.json`, which stays as it was given."""
    folder.mkdir()
    text = json.dumps(values)
    (folder / 'config.json').write_text(text)
    config = transformers.AutoConfig.from_pretrained(folder)
    config._attn_implementation = 'eager'
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder, max_shard_size='20KB')
    (folder / 'config.json').write_text(text)
    return model


@pytest.mark.parametrize('name', CONFIGS)
def test_a_published_config_computes_what_the_reference_does_and_is_written_back(name, tmp_path):
    model = published(tmp_path / 'theirs', CONFIGS[name])
    ids, _ = reference_models.draw()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(ids), use_cache=False).logits.numpy()
    ours = Ours.of(tmp_path / 'theirs', dtype=None)
    np.testing.assert_allclose(reference_models.logits(ours, ids), expected, atol=2e-4)
    assert expected.std() > 0.1
    hugging_face.save(tmp_path / 'source', ours.params, config=ours.config, source=tmp_path / 'theirs')
    hugging_face.save(tmp_path / 'alone', ours.params, config=ours.config)
    kept = json.loads((tmp_path / 'source' / 'config.json').read_text())
    assert kept | CONFIGS[name] == kept
    assert reference_models.same_tensors(tmp_path / 'theirs', tmp_path / 'source')
    for folder in ('source', 'alone'):
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / folder, dtype=torch.float32).eval()
        with torch.no_grad():
            got = again(input_ids=torch.tensor(ids), use_cache=False).logits.numpy()
        np.testing.assert_allclose(got, expected, atol=2e-4, err_msg=folder)
