"""`config.json` of a family <-> `ModelConfig`: keys that map one to one, and those that need a rule.

Both directions are said together, and whoever writes a config reads it back: what does not come back equal cannot be
represented and is refused. A key that is neither mapped nor known to change nothing is refused, too.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

from flan_jax import errors
from flan_jax.interop.weight_names import Table
from flan_jax.models.config import ModelConfig, tiled

Values = dict[str, Any]  # of config.json
Fields = dict[str, Any]  # dotted field of ModelConfig -> value
Rule = tuple[Callable[[Values], Fields], Callable[[ModelConfig], Values]]

# Keys that say nothing about what is computed in a forward pass without dropout.
HARMLESS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _name_or_path activation_dropout add_cross_attention
    architectures attention_dropout attention_probs_dropout_prob attention_softmax_in_fp32 attn_implementation auto_map
    bad_words_ids begin_suppress_tokens bias_dropout_fusion bos_token_id cache_implementation chunk_size_feed_forward
    classifier_dropout cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout
    dropout_rate dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing
    hidden_dropout hidden_dropout_prob id2label init_std initializer_factor initializer_range is_decoder
    is_encoder_decoder is_llama_config keys_to_ignore_at_inference label2id layerdrop length_penalty
    masked_softmax_fusion max_length max_position_id max_sequence_length min_length model_type n_positions
    neftune_noise_alpha no_repeat_ngram_size num_beam_groups num_beams num_return_sequences offset_alibi
    output_attentions output_hidden_states output_past output_router_logits output_scores pad_token_id prefix
    pretraining_tp problem_type pruned_heads remove_invalid_values repetition_penalty resid_pdrop return_dict
    return_dict_in_generate router_jitter_noise sep_token_id seq_length skip_bias_add skip_bias_add_qkv slow_but_exact
    suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
    transformers.js_config transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16
    use_cache
    """.split()
)
ACTIVATIONS = {
    'silu': 'silu', 'swish': 'silu', 'gelu_pytorch_tanh': 'gelu_tanh', 'gelu_new': 'gelu_tanh',
    'gelu_fast': 'gelu_tanh', 'gelu': 'gelu', 'gelu_python': 'gelu', 'relu': 'relu',
}  # fmt: skip
ACTIVATION_NAMES = {'silu': 'silu', 'gelu_tanh': 'gelu_pytorch_tanh', 'gelu': 'gelu', 'relu': 'relu'}


class Seen(Values):
    """A config that remembers which of its keys were asked for."""

    def __init__(self, values: Mapping[str, Any], file: str):
        super().__init__(values)
        self.file, self.asked = file, set()

    def take(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        value = self[key] if key in self else None
        return default if value is None else value

    def given(self, key: str, absent: Any) -> Any:
        """As `take`, but null is None: where it means off, and a missing key the family's default."""
        self.asked.add(key)
        return self[key] if key in self else absent

    def need(self, key: str) -> Any:
        value = self.take(key)
        if value is None:
            raise self.refuse(key, 'it is missing')
        return value

    def ruled(self, rule: Callable[[Values], Fields]) -> Fields:
        """What a rule makes of it.

        Raises:
          ConfigError: a value is not of the kind that the rule takes; names the keys it asked for.
        """
        before, self.asked = self.asked, set()
        try:
            return rule(self)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            told = ', '.join(f'{key}={self[key]!r}' for key in sorted(self.asked) if key in self)
            raise errors.ConfigError(f'{self.file}: {told}: a value is not of the kind it must be: {error}') from None
        finally:
            self.asked |= before

    def refuse(self, key: str, why: str) -> errors.ConfigError:
        told = f'{key}={self[key]!r}' if key in self else f'{key!r}'
        return errors.ConfigError(f'{self.file}: {told} cannot be represented: {why}')


_COUNTS = {
    'vocab_size', 'layers', 'width', 'heads', 'kv_heads', 'head_width', 'mlp_width', 'max_length', 'experts.count',
    'experts.chosen', 'experts.width', 'embedding.positions', 'attention.window',
}  # fmt: skip
# Keys that rules read, for messages.
_SIZES = {
    'hidden_size': 'width', 'num_attention_heads': 'heads', 'num_key_value_heads': 'kv_heads', 'head_dim': 'head_width',
    'max_position_embeddings': 'max_length',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    Attributes:
      name: `model_type` in config.json.
      architecture: the class that computes next-token logits.
      table: where the weights lie.
      keys: their key -> our dotted field, as it is.
      defaults: what an absent or null key means.
      fixed: our fields that all models of the family share.
      only: keys that must have this value if they are there; others change what is computed.
      rules: keys that need more.
      unused: tensors, as regular expressions, that a checkpoint may hold besides.
    """

    name: str
    architecture: str
    table: Table
    keys: dict[str, str]
    defaults: Values
    fixed: Fields
    rules: tuple[Rule, ...] = ()
    only: Values = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = (r'.*rotary_emb\.inv_freq',)

    def read(self, values: Mapping[str, Any], file: str) -> ModelConfig:
        """Raises ConfigError, naming the key that cannot be represented."""
        try:
            fields = self._fields(values, file)
            for name in _COUNTS & fields.keys():
                value = fields[name]
                if value is not None and (type(value) is not int or value < 1):
                    theirs = next((key for key, ours in (self.keys | _SIZES).items() if ours == name), name)
                    raise errors.ConfigError(f'{file}: {theirs}={value!r} must be a whole number, at least 1')
            for theirs, ours in self.keys.items():
                if fields[ours] is not None and not _fits(fields[ours], ours):
                    raise errors.ConfigError(f'{file}: {theirs}={fields[ours]!r} is not of the kind it must be')
            return replace(ModelConfig(), fields)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise errors.ConfigError(f'{file}: a value in it is not of the kind it must be: {error!r}') from None

    def _fields(self, values: Mapping[str, Any], file: str) -> Fields:
        seen, fields = Seen(values, file), dict(self.fixed)
        for theirs, ours in self.keys.items():
            value = seen.take(theirs, self.defaults.get(theirs))
            if value is None and theirs not in self.defaults:
                raise seen.refuse(theirs, 'it is missing')
            fields[ours] = value
        for reader, _ in self.rules:
            fields |= seen.ruled(reader)
        for key, allowed in self.only.items():
            if seen.take(key, allowed) != allowed:
                raise seen.refuse(key, f'only {allowed!r} is known')
        known = seen.asked | HARMLESS
        for key, value in values.items():
            if value is not None and key not in known:
                raise seen.refuse(key, f'no {self.name} key of that name is known{errors.near(key, known)}')
        return fields

    def write(self, config: ModelConfig) -> Values:
        """Raises ConfigError if the family has no key for something the model does."""
        values = {'architectures': [self.architecture], 'model_type': self.name}
        if not config.encoder_decoder:  # transformers has ids of its own for these, which may be beyond the vocabulary
            values |= dict.fromkeys(('bos_token_id', 'eos_token_id', 'pad_token_id'))
        values |= {theirs: value_of(config, ours) for theirs, ours in self.keys.items()}
        if width := values.get('query_pre_attn_scalar'):
            values['query_pre_attn_scalar'] = int(width)  # transformers wants it whole
        for _, writer in self.rules:
            values |= writer(config)
        if differences := differing(config, replace(ModelConfig(), self._fields(values, self.name))):
            told = ', '.join(f'model.{field}={ours!r} (it would be {theirs!r})' for field, ours, theirs in differences)
            raise errors.ConfigError(f'a {self.name} config has no key for {told}')
        return values


def _fits(value: Any, field: str) -> bool:
    """Whether a value can be a dotted field's, where that is a number or a yes or no.

    >>> _fits(1e-5, 'norm_eps'), _fits('1e-5', 'norm_eps'), _fits('no', 'tied_embeddings'), _fits(True, 'mlp.bias')
    (True, False, False, True)
    """
    kind: Any = ModelConfig
    for part in field.split('.'):
        kind = typing.get_type_hints(kind)[part]
    kinds = {kind, *typing.get_args(kind)}
    if bool in kinds or isinstance(value, bool):
        return bool in kinds and isinstance(value, bool)
    return not {int, float} & kinds or isinstance(value, int | float)


def replace(config: Any, fields: Fields) -> Any:
    """A (nested) dataclass with dotted fields changed."""
    own, nested = {}, {}
    for name, value in fields.items():
        first, _, rest = name.partition('.')
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    kinds = typing.get_type_hints(type(config))
    own |= {first: replace(vars(config)[first], inner) for first, inner in nested.items()}
    return dataclasses.replace(config, **{name: _fitted(value, kinds.get(name)) for name, value in own.items()})


def _fitted(value: Any, kind: Any) -> Any:
    """JSON writes 50 for 50.0 as well."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in (kind, *typing.get_args(kind)) else value


def value_of(config: Any, field: str) -> Any:
    for part in field.split('.'):
        config = vars(config)[part]
    return config


def essential(config: ModelConfig) -> ModelConfig:
    """The same with what makes no difference to the logits at its default. Whether a head is tied, the weights tell."""
    plain = ModelConfig()
    fields: Fields = {'dropout': 0.0, 'tied_embeddings': True, 'embedding.pieces': None}
    fields['rope.layers'], fields['attention.layers'] = period(config.rotated), period(config.windowed)
    fields['attention.layers'] = tuple('window' if near else 'full' for near in fields['attention.layers'])
    if config.attention.window is None:
        fields['attention.layers'] = plain.attention.layers
    if config.positions != 'rope':
        fields |= {'rope': plain.rope, 'rope_theta': plain.rope_theta}
        del fields['rope.layers']
    if config.rope.scaling != 'dynamic':
        fields['max_length'] = None
    if config.positions != 'relative_bias':
        fields |= {name: vars(plain)[name] for name in ('relative_buckets', 'relative_max_distance')}
    if config.positions != 'learned':
        fields |= {'embedding.positions': None, 'embedding.offset': 0}
    if config.experts.count is None:
        fields['experts'] = plain.experts
    else:
        fields['mlp_width'] = plain.mlp_width
    if not (config.encoder_decoder and config.tied_embeddings):
        fields['embedding.scaled_head'] = True
    if config.attention.scale_width == config.head_width:
        fields['attention.scale_width'] = None
    return replace(config, fields)


def period(flags: tuple) -> tuple:
    """The shortest pattern that gives `flags` when repeated.

    >>> period(('window', 'full', 'window', 'full', 'window'))
    ('window', 'full')
    """
    lengths = range(1, len(flags) + 1)
    return next(flags[:n] for n in lengths if tiled(flags[:n], len(flags)) == flags)


def differing(config: ModelConfig, other: ModelConfig) -> list[tuple[str, Any, Any]]:
    """Dotted fields in which two models differ, with both values; what makes no difference is left out."""
    other = dataclasses.replace(other, tied_embeddings=config.tied_embeddings)
    return _differing(essential(config), essential(other))


def _differing(a: Any, b: Any, *, path: str = '') -> list[tuple[str, Any, Any]]:
    out = []
    for field in dataclasses.fields(a):
        left, right = vars(a)[field.name], vars(b)[field.name]
        if dataclasses.is_dataclass(left):
            out += _differing(left, right, path=f'{path}{field.name}.')
        elif left != right:
            out.append((path + field.name, left, right))
    return out


def activation(key: str, default: str, *, unread: str = '') -> Rule:
    """`unread`: a key that some files have and transformers does not look at."""

    def read(seen: Seen) -> Fields:
        name = seen.take(key, default)
        seen.take(unread)
        if name not in ACTIVATIONS:
            raise seen.refuse(key, f'known are {", ".join(ACTIVATIONS)}')
        return {'activation': ACTIVATIONS[name]}

    return read, lambda config: {key: ACTIVATION_NAMES[config.activation]}


def t5_activation(default: str) -> Rule:
    names = {'gelu': 'gelu_tanh', 'silu': 'silu', 'relu': 'relu'}

    def read(seen: Seen) -> Fields:
        told = seen.take('feed_forward_proj', default)
        gate, _, name = told.rpartition('-')
        if gate not in ('', 'gated') or name not in names or (name == 'gelu' and not gate):
            raise seen.refuse('feed_forward_proj', 'known are relu, gated-gelu, gated-silu, gated-relu')
        # What transformers derives from it, and believes more if a file has it.
        if ACTIVATIONS.get(seen.take('dense_act_fn', 'gelu_new' if name == 'gelu' else name)) != names[name]:
            raise seen.refuse('dense_act_fn', f'feed_forward_proj={told!r} says another')
        if seen.take('is_gated_act', bool(gate)) != bool(gate):
            raise seen.refuse('is_gated_act', f'feed_forward_proj={told!r} says otherwise')
        return {'activation': names[name], 'mlp.gated': bool(gate)}

    def write(config: ModelConfig) -> Values:
        name = {ours: theirs for theirs, ours in names.items()}.get(config.activation, config.activation)
        return {'feed_forward_proj': ('gated-' if config.mlp.gated else '') + name}

    return read, write


def heads(
    *,
    width_key: str | None = 'head_dim',
    kv_key: str | None = 'num_key_value_heads',
    kv: int | None = None,
    head_width: int | None = None,
    even: bool = False,
) -> Rule:
    """Key heads and a head's width, null meaning as many as query heads, and an equal part of the residual stream.

    Args:
      width_key: of a head's width; None: the family has none.
      kv_key: of the key heads; None: the family has none.
      kv: key heads of a file without the key; None: the same as null.
      head_width: the same for a head's width.
      even: transformers takes no model whose width does not divide into the heads, even if a head's width is said.
    """

    def read(seen: Seen) -> Fields:
        count, width = seen.need('num_attention_heads'), seen.need('hidden_size')
        keys = count if kv_key is None else seen.given(kv_key, kv)
        told = None if width_key is None else seen.given(width_key, head_width)
        if told is None and width % count:
            raise seen.refuse('hidden_size', f'it does not divide into num_attention_heads={count}')
        keys = count if keys is None else keys
        return {'heads': count, 'width': width, 'kv_heads': keys, 'head_width': told or width // count}

    def write(config: ModelConfig) -> Values:
        if even and config.width % config.heads:
            told = f'model.width={config.width} with model.heads={config.heads}, which does not divide it'
            raise errors.ConfigError(f'transformers takes no model of this family with {told}')
        values = {'num_attention_heads': config.heads, 'hidden_size': config.width}
        values |= {} if kv_key is None else {kv_key: config.kv_heads}
        return values | ({} if width_key is None else {width_key: config.head_width})

    return read, write


def softcap(key: str, field: str, *, absent: float | None) -> Rule:
    """Gemma's bound of scores or logits; null means none, and each family has its own for a missing key."""

    def read(seen: Seen) -> Fields:
        value = seen.given(key, absent)
        if value is not None and not _fits(value, field):
            raise seen.refuse(key, 'it must be a number or null')
        return {field: value}

    return read, lambda config: {key: value_of(config, field)}


def same_bias(key: str, *, default: bool) -> Rule:
    """One key for the biases of all four projections."""

    def read(seen: Seen) -> Fields:
        value = seen.take(key, default)
        if not isinstance(value, bool):
            raise seen.refuse(key, 'it must be true or false')
        return {'attention.bias': value, 'attention.output_bias': value}

    return read, lambda config: {key: config.attention.bias}
