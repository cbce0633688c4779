"""Logits of small random models equal those of the transformers library with the same weights."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='the parity tests compare with PyTorch models')
transformers = pytest.importorskip('transformers', reason='the parity tests compare with the transformers library')

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

from flan_jax.batch import Rows  # noqa: E402
from flan_jax.models.config import ExecutionConfig, ModelConfig  # noqa: E402
from flan_jax.models.positions import relative_buckets  # noqa: E402
from flan_jax.training import state  # noqa: E402

EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
LENGTH = 40


def attention_weights(get, config: ModelConfig, names: tuple[str, str, str, str]) -> dict:
    """torch [out, in] matrices of each layer -> ours, heads apart; `get` stacks a name over the layers."""
    d, n, k, h = config.width, config.heads, config.kv_heads, config.head_width
    query, key, value, output = (np.swapaxes(get(name), 1, 2) for name in names)
    return {
        'query': query.reshape(-1, d, n, h),
        'key': key.reshape(-1, d, k, h),
        'value': value.reshape(-1, d, k, h),
        'output': output.reshape(-1, n, h, d),
    }


def mlp_weights(get, names: tuple[str, str, str]) -> dict:
    return {ours: np.swapaxes(get(name), 1, 2) for ours, name in zip(('gate', 'up', 'down'), names)}


def stacker(weights: dict, pattern: str, layers: int):
    return lambda name: np.stack([weights[pattern.format(i) + name + '.weight'] for i in range(layers)])


def llama_params(weights: dict, config: ModelConfig) -> dict:
    get = stacker(weights, 'model.layers.{}.', config.layers)
    blocks = {
        'attention_norm': {'scale': get('input_layernorm')},
        'attention': attention_weights(get, config, tuple(f'self_attn.{x}_proj' for x in 'qkvo')),
        'mlp_norm': {'scale': get('post_attention_layernorm')},
        'mlp': mlp_weights(get, tuple(f'mlp.{x}_proj' for x in ('gate', 'up', 'down'))),
    }
    params = {
        'embedding': {'table': weights['model.embed_tokens.weight']},
        'stack': {'blocks': blocks, 'norm': {'scale': weights['model.norm.weight']}},
    }
    return params if config.tied_embeddings else params | {'head': {'kernel': weights['lm_head.weight'].T}}


def t5_stack(weights: dict, config: ModelConfig, side: str) -> dict:
    get = stacker(weights, side + '.block.{}.', config.layers)
    last = 2 if side == 'decoder' else 1
    blocks = {
        'attention_norm': {'scale': get('layer.0.layer_norm')},
        'attention': attention_weights(get, config, tuple(f'layer.0.SelfAttention.{x}' for x in 'qkvo')),
        'mlp_norm': {'scale': get(f'layer.{last}.layer_norm')},
        'mlp': mlp_weights(get, tuple(f'layer.{last}.DenseReluDense.{x}' for x in ('wi_0', 'wi_1', 'wo'))),
    }
    if side == 'decoder':
        names = tuple(f'layer.1.EncDecAttention.{x}' for x in 'qkvo')
        blocks |= {'cross_norm': {'scale': get('layer.1.layer_norm')}, 'cross': attention_weights(get, config, names)}
    return {'blocks': blocks, 'norm': {'scale': weights[f'{side}.final_layer_norm.weight']}}


def t5_params(weights: dict, config: ModelConfig) -> dict:
    bias = '{}.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
    params = {
        'embedding': {'table': weights['shared.weight']},
        **{f'{side}_bias': {'table': weights[bias.format(side)]} for side in ('encoder', 'decoder')},
        **{side: t5_stack(weights, config, side) for side in ('encoder', 'decoder')},
    }
    return params if config.tied_embeddings else params | {'head': {'kernel': weights['lm_head.weight'].T}}


def randomised(reference) -> dict:
    """Gives every weight of a torch model a size that matters, and returns them all as numpy."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            noise = torch.randn_like(weight) * 0.2
            weight.copy_(1 + noise if 'norm' in name else noise)
    reference.eval()
    return {name: value.numpy() for name, value in reference.state_dict().items()}


def rows(ids: np.ndarray, lengths: list[int]) -> Rows:
    index = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return Rows(*(jnp.asarray(x, jnp.int32) for x in (ids, index < np.array(lengths)[:, None], index)))


def logits(config: ModelConfig, params: dict, *sides: Rows) -> np.ndarray:
    bones = state.skeleton(config, EXACT)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda leaf: leaf.shape, bones.shapes)

    @jax.jit
    def run(params, sides):
        model = nnx.merge(bones.graph, params)
        return model.logits(model(*sides))

    return np.asarray(run(jax.tree.map(jnp.asarray, params), sides))


@pytest.mark.parametrize('tied', [True, False])
def test_llama_logits_equal_the_reference(tied):
    config = ModelConfig(
        vocab_size=64, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48, norm_eps=1e-5,
        rope_theta=5000.0, tied_embeddings=tied,
    )  # fmt: skip
    reference = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64, num_hidden_layers=2, hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
            head_dim=8, intermediate_size=48, rms_norm_eps=1e-5, tie_word_embeddings=tied,
            rope_parameters={'rope_type': 'default', 'rope_theta': 5000.0}, attn_implementation='eager',
        )
    )  # fmt: skip
    weights = randomised(reference)
    ids = np.random.default_rng(0).integers(0, 64, (2, LENGTH))
    with torch.no_grad():
        expected = reference(torch.tensor(ids)).logits.numpy()
    got = logits(config, llama_params(weights, config), rows(ids, [LENGTH, LENGTH]))
    np.testing.assert_allclose(got, expected, atol=2e-4)
    assert np.abs(expected).std() > 0.1


def test_t5_logits_equal_the_reference_with_padded_contexts():
    config = ModelConfig(
        vocab_size=64, layers=2, encoder_layers=2, width=32, heads=4, kv_heads=4, head_width=8, mlp_width=48,
        activation='gelu_tanh', positions='relative_bias', relative_buckets=8, relative_max_distance=20,
        scaled_attention=False, tied_embeddings=False,
    )  # fmt: skip
    reference = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=64, num_layers=2, num_decoder_layers=2, d_model=32, num_heads=4, d_kv=8, d_ff=48,
            feed_forward_proj='gated-gelu', relative_attention_num_buckets=8, relative_attention_max_distance=20,
            layer_norm_epsilon=1e-6, tie_word_embeddings=False, dropout_rate=0.0,
        )
    )  # fmt: skip
    weights = randomised(reference)
    rng = np.random.default_rng(1)
    contexts, targets, lengths = rng.integers(0, 64, (2, LENGTH)), rng.integers(0, 64, (2, LENGTH)), [LENGTH, 17]
    mask = np.arange(LENGTH) < np.array(lengths)[:, None]
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(contexts), attention_mask=torch.tensor(mask.astype(np.int64)),
            decoder_input_ids=torch.tensor(targets),
        ).logits.numpy()  # fmt: skip
    got = logits(config, t5_params(weights, config), rows(targets, [LENGTH] * 2), rows(contexts, lengths))
    np.testing.assert_allclose(got, expected, atol=2e-4)
    assert np.abs(expected).std() > 0.1


@pytest.mark.parametrize('causal', [True, False])
@pytest.mark.parametrize('buckets, max_distance', [(32, 128), (8, 20)])
def test_relative_buckets_equal_the_reference_at_every_distance(causal, buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = np.arange(-1000, 1001)
    expected = T5Attention._relative_position_bucket(
        torch.tensor(distances), bidirectional=not causal, num_buckets=buckets, max_distance=max_distance
    )
    got = relative_buckets(jnp.asarray(distances), buckets=buckets, max_distance=max_distance, causal=causal)
    np.testing.assert_array_equal(got, expected.numpy())
