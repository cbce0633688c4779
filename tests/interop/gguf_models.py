"""Small models of the families that GGUF files hold, for the tests of several readers."""

import dataclasses

from flan_jax.models.config import AttentionConfig, EmbeddingConfig, ModelConfig, NormConfig, RopeConfig

SMALL = ModelConfig(
    vocab_size=320, layers=2, width=64, heads=4, kv_heads=2, head_width=16, mlp_width=96, max_length=256, norm_eps=1e-5,
)  # fmt: skip
GEMMA = dataclasses.replace(
    SMALL, activation='gelu_tanh', embedding=EmbeddingConfig(scaled=True), norm_eps=1e-6,
    attention=AttentionConfig(window=8, layers=('window', 'full'), softcap=50.0, scale_width=16.0), logit_softcap=30.0,
    norm=NormConfig(offset=1.0, place='both'),
)  # fmt: skip
LLAMA3 = RopeConfig(scaling='llama3', factor=8.0, original_length=8192)
MODELS = {
    'llama': SMALL,
    'llama, untied': dataclasses.replace(SMALL, tied_embeddings=False, rope_theta=5e5),
    'llama, 3.1': dataclasses.replace(SMALL, rope_theta=5e5, rope=LLAMA3, head_width=32, heads=2),
    'llama, linear': dataclasses.replace(SMALL, rope=RopeConfig(scaling='linear', factor=4.0)),
    'qwen2': dataclasses.replace(SMALL, attention=AttentionConfig(bias=True), rope_theta=1e6),
    'qwen2, yarn': dataclasses.replace(
        SMALL, attention=AttentionConfig(bias=True), rope=RopeConfig(scaling='yarn', factor=4.0, original_length=64)
    ),
    'qwen3': dataclasses.replace(SMALL, norm=NormConfig(query_key='head'), head_width=128),
    'gemma2': GEMMA,
    'gemma3': dataclasses.replace(
        GEMMA, layers=6, norm=NormConfig(offset=1.0, place='both', query_key='head'), logit_softcap=None,
        attention=AttentionConfig(window=8, layers=('window',) * 5 + ('full',), scale_width=16.0),
        rope=RopeConfig(local_theta=1e4), rope_theta=1e6,
    ),
}  # fmt: skip
