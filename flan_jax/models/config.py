"""What a model computes, as values; a family is a preset of these, never a copied model file."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture. Widths in elements, `layers` and `encoder_layers` in blocks."""

    vocab_size: int | None = None  # rows of the embedding; None: the tokenizer's size, rounded up to 128
    layers: int = 4  # blocks of the decoder
    encoder_layers: int = 0  # blocks of the encoder; 0: decoder-only
    width: int = 256  # D, residual stream
    heads: int = 4  # N, query heads
    kv_heads: int = 4  # K, key/value heads; fewer than `heads`: grouped queries
    head_width: int = 64  # H
    mlp_width: int = 768  # F
    activation: Literal['silu', 'gelu_tanh'] = 'silu'  # of the gated MLP: SwiGLU or GeGLU
    positions: Literal['rope', 'relative_bias'] = 'rope'  # how order enters attention
    rope_theta: float = 10_000.0  # base of the RoPE wavelengths
    relative_buckets: int = 32  # T5's distance buckets
    relative_max_distance: int = 128  # tokens; farther ones share the last bucket
    scaled_attention: bool = True  # divide the scores by sqrt(H); T5 puts it into the initialiser instead
    norm_eps: float = 1e-6  # added to the mean square in RMSNorm
    tied_embeddings: bool = True  # the output head is the embedding, transposed
    dropout: float = 0.0  # share of activations dropped in training

    @property
    def encoder_decoder(self) -> bool:
        return self.encoder_layers > 0


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """How it is computed; changes speed and memory, never what is computed (but for rounding)."""

    compute_dtype: Literal['bfloat16', 'float32'] = 'bfloat16'  # of activations and matrix products
    attention: Literal['auto', 'dense', 'cudnn', 'splash'] = 'auto'  # kernel; auto: the device's fastest that fits
    remat: Literal['none', 'attention', 'minimal', 'full'] = 'minimal'  # what backward recomputes; see layers.POLICIES
    unroll: int = 1  # blocks a scan step; more compiles longer and may run faster
