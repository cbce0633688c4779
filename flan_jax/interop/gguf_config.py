"""Architectures of GGUF files: their metadata and tensor names, and the Hugging Face ones of the same model.

Metadata keys and tensor names: ggml's GGUF specification and llama.cpp's `gguf-py`. A model goes through its Hugging
Face form, whose names and layouts `hugging_face` knows.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.interop.gguf_file import GGUF

Config = dict[str, Any]  # what Hugging Face keeps in config.json

# Tensors of a file, and those of one block, without the ending `.weight` or `.bias`.
_TOP = {'token_embd': 'model.embed_tokens', 'output_norm': 'model.norm', 'output': 'lm_head'}
_ATTENTION = {'attn_norm': 'input_layernorm', 'attn_output': 'self_attn.o_proj', 'ffn_down': 'mlp.down_proj'}
_APART = {
    'attn_q': 'self_attn.q_proj', 'attn_k': 'self_attn.k_proj', 'attn_v': 'self_attn.v_proj',
    'ffn_gate': 'mlp.gate_proj', 'ffn_up': 'mlp.up_proj',
}  # fmt: skip
_FUSED = {'attn_qkv': 'self_attn.qkv_proj', 'ffn_up': 'mlp.gate_up_proj'}
_PRE = {'ffn_norm': 'post_attention_layernorm'}
_BOTH = {
    'post_attention_norm': 'post_attention_layernorm', 'ffn_norm': 'pre_feedforward_layernorm',
    'post_ffw_norm': 'post_feedforward_layernorm',
}  # fmt: skip
_QUERY_KEY = {'attn_q_norm': 'self_attn.q_norm', 'attn_k_norm': 'self_attn.k_norm'}

ROPE_FACTORS = {'rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight'}  # settings, not weights


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A `general.architecture`.

    Attributes:
      name: of it.
      model_type: Hugging Face's name of it.
      class_name: of its model in the transformers library.
      block: tensors of a block -> Hugging Face's names.
      paired: whether rotary pairs of query and key rows lie side by side rather than half a head apart.
      norm_offset: what the file's norm scales have been increased by.
      largest: blocks of its 27 B model, whose scores are divided by sqrt(D / N) instead of sqrt(H).
      fixed: of its config.json, what the metadata does not hold.
    """

    name: str
    model_type: str
    class_name: str
    block: Mapping[str, str]
    paired: bool = False
    norm_offset: float = 0.0
    largest: int | None = None
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def hugging_face(self, tensor: str) -> str | None:
        """Hugging Face's name of a tensor, or None.

        >>> ARCHITECTURES['llama'].hugging_face('blk.3.attn_q.weight')
        'model.layers.3.self_attn.q_proj.weight'
        """
        stem, _, ending = tensor.rpartition('.')
        if ending not in ('weight', 'bias'):
            return None
        if stem in _TOP:
            return f'{_TOP[stem]}.{ending}'
        head, _, rest = stem.partition('.')
        layer, _, part = rest.partition('.')
        if head != 'blk' or not layer.isdecimal() or part not in self.block:
            return None
        return f'model.layers.{int(layer)}.{self.block[part]}.{ending}'

    def gguf(self, name: str) -> str | None:
        """The other way.

        >>> ARCHITECTURES['phi3'].gguf('model.layers.0.mlp.gate_up_proj.weight')
        'blk.0.ffn_up.weight'
        """
        stem, _, ending = name.rpartition('.')
        top = {theirs: ours for ours, theirs in _TOP.items()}
        if stem in top:
            return f'{top[stem]}.{ending}'
        layer, _, part = stem.removeprefix('model.layers.').partition('.')
        parts = {theirs: ours for ours, theirs in self.block.items()}
        return f'blk.{layer}.{parts[part]}.{ending}' if layer.isdecimal() and part in parts else None


_GEMMA = {'hidden_activation': 'gelu_pytorch_tanh', 'attention_bias': False}

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture(
            'llama', 'llama', 'LlamaForCausalLM', _ATTENTION | _APART | _PRE, paired=True,
            fixed={'hidden_act': 'silu', 'mlp_bias': False},
        ),
        Architecture('qwen2', 'qwen2', 'Qwen2ForCausalLM', _ATTENTION | _APART | _PRE, fixed={'hidden_act': 'silu'}),
        Architecture(
            'qwen3', 'qwen3', 'Qwen3ForCausalLM', _ATTENTION | _APART | _PRE | _QUERY_KEY,
            fixed={'hidden_act': 'silu', 'attention_bias': False},
        ),
        Architecture(
            'gemma2', 'gemma2', 'Gemma2ForCausalLM', _ATTENTION | _APART | _BOTH, norm_offset=1.0, largest=46,
            fixed=_GEMMA,
        ),
        Architecture(
            'gemma3', 'gemma3_text', 'Gemma3ForCausalLM', _ATTENTION | _APART | _BOTH | _QUERY_KEY, norm_offset=1.0,
            largest=62, fixed=_GEMMA | {'sliding_window_pattern': 6},
        ),
        Architecture(
            'phi3', 'phi3', 'Phi3ForCausalLM', _ATTENTION | _FUSED | _PRE,
            fixed={'hidden_act': 'silu', 'attention_bias': False},
        ),
    )
}  # fmt: skip

# config.json -> metadata after the architecture's name, and whether a file must have it.
_KEYS = {
    'num_hidden_layers': ('block_count', True),
    'max_position_embeddings': ('context_length', True),
    'hidden_size': ('embedding_length', True),
    'intermediate_size': ('feed_forward_length', True),
    'num_attention_heads': ('attention.head_count', True),
    'num_key_value_heads': ('attention.head_count_kv', False),
    'rms_norm_eps': ('attention.layer_norm_rms_epsilon', True),
    'rope_theta': ('rope.freq_base', False),
    'head_dim': ('attention.key_length', False),
    'sliding_window': ('attention.sliding_window', False),
    'attn_logit_softcapping': ('attn_logit_softcapping', False),
    'final_logit_softcapping': ('final_logit_softcapping', False),
    'rope_local_base_freq': ('rope.freq_base_swa', False),
}
_ONLY_GEMMA = ('attn_logit_softcapping', 'final_logit_softcapping', 'rope_local_base_freq')
_REALS = ('rms_norm_eps', 'rope_theta', *_ONLY_GEMMA)
_WINDOWED = ('gemma2', 'gemma3', 'phi3')


def architecture(file: GGUF) -> Architecture:
    """What kind of model a file holds.

    Raises:
      CheckpointError: one that is not read.
    """
    name = file.value('general.architecture')
    if name not in ARCHITECTURES:
        raise errors.CheckpointError(
            f'{file.path} holds a model of the architecture {name!r}; read are {", ".join(ARCHITECTURES)}'
            f'; use its Hugging Face directory{errors.near(str(name), ARCHITECTURES)}'
        )
    if file.value(f'{name}.expert_count', 0):
        raise errors.CheckpointError(
            f'{file.path}: {name}.expert_count={file.value(f"{name}.expert_count")}; sparse experts are not read from '
            'GGUF. Use its Hugging Face directory'
        )
    return ARCHITECTURES[name]


def to_hugging_face(file: GGUF) -> Config:
    """A file's metadata as the config.json of the same model.

    Raises:
      CheckpointError: a key is missing, or something in it cannot be said there.
    """
    kind = architecture(file)
    values: Config = {'model_type': kind.model_type, 'architectures': [kind.class_name], **kind.fixed}
    for theirs, (key, needed) in _KEYS.items():
        name = f'{kind.name}.{key}'
        if needed or name in file.entries:
            values[theirs] = _number(file.value(name), name=name, path=file.path)
    for theirs in (*_ONLY_GEMMA, 'sliding_window'):
        if not kind.name.startswith('gemma') and not (theirs == 'sliding_window' and kind.name in _WINDOWED):
            values.pop(theirs, None)
    heads, width = values['num_attention_heads'], values['hidden_size']
    values.setdefault('num_key_value_heads', heads)
    values.setdefault('rope_theta', 10_000.0)
    values.setdefault('head_dim', width // heads)
    values['vocab_size'] = file.tensor('token_embd.weight').shape[0]
    values['tie_word_embeddings'] = 'output.weight' not in file.tensors
    if kind.name == 'llama':
        values['attention_bias'] = 'blk.0.attn_q.bias' in file.tensors
    if kind.largest is not None:
        largest = values['num_hidden_layers'] == kind.largest
        values['query_pre_attn_scalar'] = float(width // heads if largest else values['head_dim'])
    if kind.name == 'gemma3':
        values.setdefault('rope_local_base_freq', 10_000.0)
    for theirs, key in (('bos_token_id', 'bos'), ('eos_token_id', 'eos'), ('pad_token_id', 'padding')):
        if (name := f'tokenizer.ggml.{key}_token_id') in file.entries:
            values[theirs] = file.value(name)
    return values | _turning(file, kind, values=values)


def _number(value: Any, *, name: str, path: str) -> Any:
    """An f32 of the metadata as the short decimal it was made from, 1e-5 rather than 9.99999974e-06.

    A list, as of heads, stands for the one number it repeats.
    """
    if isinstance(value, list):
        if not value or any(item != value[0] for item in value):
            raise errors.CheckpointError(f'{path}: {name} differs between layers, which is not read: {value}')
        value = value[0]
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _turning(file: GGUF, kind: Architecture, *, values: Config) -> Config:
    """Rotary settings besides theta."""
    width = file.value(f'{kind.name}.rope.dimension_count', values['head_dim'])
    out: Config = {}
    if width != values['head_dim']:
        out['partial_rotary_factor'] = width / values['head_dim']
    prefix = f'{kind.name}.rope.scaling.'
    settings = {
        name.removeprefix(prefix): _number(entry.value, name=name, path=file.path)
        for name, entry in file.entries.items()
        if name.startswith(prefix)
    }
    rule, original = settings.get('type', 'none'), settings.get('original_context_length')
    factor = settings.get('factor', 1.0)
    if 'rope_factors_long.weight' in file.tensors:
        if original is None:
            raise errors.CheckpointError(f'{file.path}: long RoPE needs {prefix}original_context_length')
        both = {side: file.tensor(f'rope_factors_{side}.weight').read()[0].tolist() for side in ('long', 'short')}
        scaling = {'rope_type': 'longrope', 'long_factor': both['long'], 'short_factor': both['short']}
        return out | {'rope_scaling': scaling, 'original_max_position_embeddings': original}
    if 'rope_freqs.weight' in file.tensors:
        scaling = llama3_rule(file.tensor('rope_freqs.weight').read()[0], theta=values['rope_theta'], path=file.path)
        return out | {'rope_scaling': {'rope_type': 'llama3', **scaling}}
    match rule:
        case 'none':
            return out
        case 'linear':
            return out | ({'rope_scaling': {'rope_type': 'linear', 'factor': factor}} if factor != 1.0 else {})
        case 'yarn':
            scaling = {'rope_type': 'yarn', 'factor': factor}
            scaling |= {'original_max_position_embeddings': original} if original is not None else {}
            for key in ('beta_fast', 'beta_slow'):
                scaling |= {key: settings[f'yarn_{key}']} if f'yarn_{key}' in settings else {}
            return out | {'rope_scaling': scaling}
    raise errors.CheckpointError(f'{file.path}: {prefix}type={rule!r} is not read; read are none, linear, yarn')


def llama3_factors(scaling: Mapping[str, float], *, theta: float, width: int) -> np.ndarray:
    """What Llama 3's rule divides each pair's frequency by (Grattafiori et al. 2024), f64[width / 2].

    >>> scaling = {'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0}
    >>> scaling['original_max_position_embeddings'] = 8192
    >>> llama3_factors(scaling, theta=5e5, width=64)[[0, 15, 18, 31]].round(2).tolist()
    [1.0, 1.55, 8.0, 8.0]
    """
    low, high = scaling['low_freq_factor'], scaling['high_freq_factor']
    waves = 2 * math.pi * theta ** (np.arange(0, width, 2, dtype=np.float64) / width)
    turns = scaling['original_max_position_embeddings'] / waves
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return 1 / ((1 - smooth) / scaling['factor'] + smooth)


def llama3_rule(factors: np.ndarray, *, theta: float, path: str) -> Config:
    """The numbers of Llama 3's rule that give these factors; the inverse of `llama3_factors`.

    Only ratios of the two bounds to the original length show in the factors. The high bound is taken to be 4, as
    published.

    Raises:
      CheckpointError: no such numbers.
    """
    factor, width = float(factors.max()), 2 * len(factors)
    waves = 2 * math.pi * theta ** (np.arange(0, width, 2, dtype=np.float64) / width)
    inner = (factors > 1.0 + 1e-6) & (factors < factor * (1 - 1e-6))
    candidates = [(1.0, 4.0, 8192)]
    if inner.sum() >= 2:
        smooth = (1 / factors[inner] - 1 / factor) / (1 - 1 / factor)
        slope, start = np.polyfit(1 / waves[inner], smooth, 1)  # smooth = (original / wave - low) / (high - low)
        low = -start * 4.0 / (1 - start)
        candidates.append((round(low, 3), 4.0, round(slope * (4.0 - low))))
    for low, high, original in candidates:
        rule = {'factor': factor, 'low_freq_factor': low, 'high_freq_factor': high}
        rule['original_max_position_embeddings'] = original
        if np.allclose(llama3_factors(rule, theta=theta, width=width), factors, rtol=1e-3):
            return rule
    raise errors.CheckpointError(f"{path}: its rope_freqs follow no numbers of Llama 3's rule: {factors.tolist()}")


def from_hugging_face(values: Config, *, path: str) -> tuple[Architecture, dict[str, Any], dict[str, np.ndarray]]:
    """A config.json as metadata, and the tensors of rotary factors that belong to it.

    Args:
      values: with RoPE under `rope_parameters` or under `rope_theta` and `rope_scaling`.
      path: of the file to be, for messages.

    Returns:
      (architecture, metadata by name, factors by tensor name).

    Raises:
      CheckpointError: no architecture of GGUF holds such a model.
    """
    model_type = {'mistral': 'llama', 'gemma3': 'gemma3_text'}.get(values['model_type'], values['model_type'])
    kind = next((kind for kind in ARCHITECTURES.values() if kind.model_type == model_type), None)
    if kind is None:
        known = [kind.model_type for kind in ARCHITECTURES.values()]
        raise errors.CheckpointError(f'{path}: a {model_type!r} is not written as GGUF; written are {", ".join(known)}')
    local, turning = {}, values.get('rope_parameters') or values.get('rope_scaling') or {}
    if 'full_attention' in turning:
        local, turning = turning['sliding_attention'], turning['full_attention']
    flat = {**values, 'rope_local_base_freq': local.get('rope_theta', values.get('rope_local_base_freq'))}
    flat['rope_theta'] = turning.get('rope_theta', values.get('rope_theta', 10_000.0))
    out: dict[str, Any] = {'general.architecture': kind.name}
    for theirs, (key, _) in _KEYS.items():
        value = flat.get(theirs)
        if value is not None and (theirs != 'sliding_window' or kind.name in _WINDOWED):
            out[f'{kind.name}.{key}'] = float(value) if theirs in _REALS else int(value)
    width = values.get('head_dim') or values['hidden_size'] // values['num_attention_heads']
    out[f'{kind.name}.attention.key_length'] = out[f'{kind.name}.attention.value_length'] = width
    turned = int(width * (turning.get('partial_rotary_factor') or values.get('partial_rotary_factor') or 1.0))
    out[f'{kind.name}.rope.dimension_count'] = turned
    out[f'{kind.name}.vocab_size'] = values['vocab_size']
    more, factors = _factors(values, turning, theta=flat['rope_theta'], width=turned, path=path)
    return kind, out | {f'{kind.name}.rope.scaling.{key}': value for key, value in more.items()}, factors


def _factors(
    values: Config, turning: Config, *, theta: float, width: int, path: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A scaling rule as metadata after `rope.scaling.` and as tensors."""
    rule = turning.get('rope_type', turning.get('type', 'default'))
    original = turning.get('original_max_position_embeddings') or values.get('original_max_position_embeddings')
    match rule:
        case 'default':
            return {}, {}
        case 'linear':
            return {'type': 'linear', 'factor': float(turning['factor'])}, {}
        case 'llama3':
            factors = llama3_factors(turning, theta=theta, width=width)
            return {}, {'rope_freqs.weight': factors.astype(np.float32)}
        case 'yarn':
            out = {'type': 'yarn', 'factor': float(turning['factor'])}
            out |= {'original_context_length': int(original)} if original else {}
            for key in ('beta_fast', 'beta_slow'):
                out |= {f'yarn_{key}': float(turning[key])} if turning.get(key) is not None else {}
            return out, {}
        case 'longrope':
            ratio = values['max_position_embeddings'] / original
            out = {'type': 'longrope', 'original_context_length': int(original)}
            out['attn_factor'] = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
            sides = {side: np.asarray(turning[f'{side}_factor'], np.float32) for side in ('long', 'short')}
            return out, {f'rope_factors_{side}.weight': factors for side, factors in sides.items()}
    raise errors.CheckpointError(f'{path}: RoPE scaled by the rule {rule!r} is not written as GGUF')
