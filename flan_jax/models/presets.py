"""Published shapes by name, and the model a config describes."""

import dataclasses

import jax
from flax import nnx

from flan_jax import errors
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.models.decoder import Decoder
from flan_jax.models.encoder_decoder import EncoderDecoder

Model = Decoder | EncoderDecoder


def _t5(width: int, mlp_width: int, *, layers: int, heads: int, head_width: int = 64) -> ModelConfig:
    """T5 1.1 (Raffel et al. 2020 and its release notes): GeGLU, untied head, unscaled attention."""
    return ModelConfig(
        vocab_size=32_128, layers=layers, encoder_layers=layers, width=width, heads=heads, kv_heads=heads,
        head_width=head_width, mlp_width=mlp_width, activation='gelu_tanh', positions='relative_bias',
        scaled_attention=False, tied_embeddings=False,
    )  # fmt: skip


def _llama(width: int, mlp_width: int, *, layers: int, heads: int, kv_heads: int, vocab_size: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size, layers=layers, width=width, heads=heads, kv_heads=kv_heads, head_width=64,
        mlp_width=mlp_width, norm_eps=1e-5,
    )  # fmt: skip


PRESETS: dict[str, ModelConfig] = {
    't5_1_1_small': _t5(512, 1024, layers=8, heads=6),
    't5_1_1_base': _t5(768, 2048, layers=12, heads=12),
    't5_1_1_large': _t5(1024, 2816, layers=24, heads=16),
    # Grattafiori et al. 2024, the shape of the 1 B text model, its RoPE unscaled; Ben Allal et al. 2025.
    'llama3_1b': dataclasses.replace(
        _llama(2048, 8192, layers=16, heads=32, kv_heads=8, vocab_size=128_256), rope_theta=500_000.0
    ),
    'smollm2_135m': dataclasses.replace(
        _llama(576, 1536, layers=30, heads=9, kv_heads=3, vocab_size=49_152), rope_theta=100_000.0
    ),
}


def preset(name: str) -> ModelConfig:
    """A published shape.

    Raises:
      ConfigError: no preset of that name; lists near ones.
    """
    if name not in PRESETS:
        raise errors.ConfigError(f'no model preset {name!r}{errors.near(name, PRESETS)}; there are {sorted(PRESETS)}')
    return PRESETS[name]


def build(config: ModelConfig, execution: ExecutionConfig, *, key: jax.Array) -> Model:
    """A model with fresh weights; under `jax.eval_shape` or `nnx.eval_shape` only its shapes."""
    wiring = EncoderDecoder if config.encoder_decoder else Decoder
    return wiring(config, execution, rngs=nnx.Rngs(params=key))


def parameter_count(config: ModelConfig, *, embeddings: bool = True) -> int:
    """Weights of the model; without `embeddings`, those that take part in matrix products (the head does)."""
    d, h = config.width, config.head_width
    attention = 2 * d * h * (config.heads + config.kv_heads)
    mlp = 3 * d * config.mlp_width
    cross = attention + d if config.encoder_decoder else 0
    decoder = config.layers * (attention + cross + mlp + 2 * d) + d
    encoder = config.encoder_layers * (attention + mlp + 2 * d) + (d if config.encoder_decoder else 0)
    stacks = 2 if config.encoder_decoder else 1
    bias = stacks * config.relative_buckets * config.heads if config.positions == 'relative_bias' else 0
    table = config.vocab_size * d
    tables = (1 if config.tied_embeddings else 2) if embeddings else 1
    return decoder + encoder + bias + tables * table
