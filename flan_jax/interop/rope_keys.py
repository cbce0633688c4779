"""RoPE and window keys of `config.json`: the old names (`rope_theta`, `rope_scaling`) and the new `rope_parameters`."""

import math
from typing import Any

from flan_jax.interop import rope_checks
from flan_jax.interop.config_keys import Fields, Rule, Seen, Values, period
from flan_jax.models.config import ModelConfig

# Keys of each rule: theirs -> our field of `model.rope`.
FACTOR = {'factor': 'factor'}
ORIGINAL = {'original_max_position_embeddings': 'original_length'}
RULES = {
    'default': {},
    'linear': FACTOR,
    'dynamic': FACTOR,
    'llama3': FACTOR | ORIGINAL | {'low_freq_factor': 'low_frequency', 'high_freq_factor': 'high_frequency'},
    'yarn': FACTOR | ORIGINAL | {'beta_fast': 'beta_fast', 'beta_slow': 'beta_slow', 'truncate': 'truncate',
                                 'attention_factor': 'attention_factor'},
    'longrope': FACTOR | ORIGINAL | {'short_factor': 'short_factors', 'long_factor': 'long_factors',
                                     'attention_factor': 'attention_factor'},
}  # fmt: skip
MEANS_THE_SAME = {'su': 'longrope'}  # Phi-3's first name of it
UNSAID_LENGTH = 2048  # tokens, of a model that was given no length; transformers only warns beyond it
FLOATS = ('factor', 'low_frequency', 'high_frequency', 'beta_fast', 'beta_slow', 'attention_factor')


def rope(*, theta: float = 10_000.0, theta_key: str = 'rope_theta', share: float = 1.0, share_key: str = '') -> Rule:
    """`share_key`: name of the rotary share at the top level, in families that turn only a part of a head."""

    def read(seen: Seen) -> Fields:
        rope_checks.check(seen)
        top_theta = seen.take(theta_key, theta)
        top_share = seen.take(share_key, share) if share_key else share
        # One key or the other; where a file has both, transformers reads the old one.
        new, old = seen.take('rope_parameters'), seen.take('rope_scaling')
        params = dict(old or new or {})
        fields = {'positions': 'rope', 'max_length': seen.need('max_position_embeddings')}
        fields['rope.share'] = float(params.pop('partial_rotary_factor', None) or top_share)
        if fields['rope.share'] != 1.0 and not share_key:
            raise seen.refuse('rope_scaling' if old else 'rope_parameters', 'this family turns whole heads')
        fields |= scaling(seen, params, theta=top_theta)
        # Some files repeat a family's own key under the usual name.
        for key, field in (('partial_rotary_factor', 'rope.share'), ('rope_theta', 'rope_theta')):
            if seen.take(key, fields[field]) != fields[field] and key not in (theta_key, share_key):
                raise seen.refuse(key, f'this family has it as {fields[field]:g}')
        return fields

    def write(config: ModelConfig) -> Values:
        values = {theta_key: config.rope_theta, 'rope_scaling': written_scaling(config)}
        values['max_position_embeddings'] = config.max_length or UNSAID_LENGTH
        if share_key:
            values[share_key] = config.rope.share
        if config.rope.scaling == 'longrope':
            values['original_max_position_embeddings'] = config.rope.original_length
        return values

    return read, write


def scaling(seen: Seen, params: Values, *, theta: float) -> Fields:
    """One mapping of RoPE parameters -> our fields."""
    key = 'rope_scaling' if seen.take('rope_scaling') else 'rope_parameters'
    old_kind = params.pop('type', None)
    kind = params.pop('rope_type', None) or old_kind or 'default'
    kind = MEANS_THE_SAME.get(kind, kind)
    if kind not in RULES:
        raise seen.refuse(key, f'rope_type {kind!r} is none of {", ".join(RULES)}')
    fields: Fields = {'rope_theta': float(params.pop('rope_theta', None) or theta)}
    known = params.pop('original_max_position_embeddings', None)
    known = seen.take('original_max_position_embeddings') or known
    if kind == 'default':
        return fields | _none_left(seen, key, params=params)
    fields['rope.scaling'] = kind
    own, rule = {}, RULES[kind]
    if 'original_max_position_embeddings' in rule:
        own['original_length'] = int(known or seen.need('max_position_embeddings'))
    if kind == 'yarn':
        if not params.pop('finetuned', True):
            raise seen.refuse(key, 'a model that was not tuned with its scaling has another rule')
        if params.get('attention_factor') is None and params.get('mscale') and params.get('mscale_all_dim'):
            own['attention_factor'] = _mscale(params, 'mscale') / _mscale(params, 'mscale_all_dim')
    for gone in ('mscale', 'mscale_all_dim'):
        params.pop(gone, None)
    for theirs, ours in rule.items():
        value = params.pop(theirs, None)
        if value is not None and ours not in own:
            own[ours] = value
    if 'factor' not in own and kind in ('longrope', 'yarn'):
        own['factor'] = seen.need('max_position_embeddings') / own['original_length']
    for name, value in own.items():
        value = float(value) if name in FLOATS else value
        fields[f'rope.{name}'] = tuple(map(float, value)) if isinstance(value, list | tuple) else value
    return fields | _none_left(seen, key, params=params)


def _none_left(seen: Seen, key: str, *, params: Values) -> Fields:
    for name in params:
        raise seen.refuse(key, f'{name!r} has no meaning in this rule')
    return {}


def _mscale(params: Values, name: str) -> float:
    return 1.0 if params['factor'] <= 1 else 0.1 * params[name] * math.log(params['factor']) + 1.0


def written_scaling(config: ModelConfig) -> Values | None:
    if config.rope.scaling == 'none':
        return None
    values: Values = {'rope_type': config.rope.scaling}
    for theirs, ours in RULES[config.rope.scaling].items():
        value: Any = vars(config.rope)[ours]
        if value is not None:
            values[theirs] = list(value) if isinstance(value, tuple) else value
    return values


def gemma3_rope() -> Rule:
    """Two bases: windowed layers have their own, unscaled."""

    def read(seen: Seen) -> Fields:
        rope_checks.check(seen)
        top, local = seen.take('rope_theta', 1_000_000.0), seen.take('rope_local_base_freq', 10_000.0)
        new, old = seen.take('rope_parameters'), seen.take('rope_scaling')
        params, near = (dict((new or {}).get(kind) or {}) for kind in ('full_attention', 'sliding_attention'))
        params |= old or {}
        fields = {'positions': 'rope', 'max_length': seen.take('max_position_embeddings', 131_072)}
        if near.pop('rope_type', 'default') != 'default':
            raise seen.refuse('rope_parameters', 'windowed layers can have no scaling')
        fields['rope.local_theta'] = float(near.pop('rope_theta', None) or local)
        return fields | scaling(seen, params, theta=top) | _none_left(seen, 'rope_parameters', params=near)

    def write(config: ModelConfig) -> Values:
        return {
            'rope_theta': config.rope_theta,
            'rope_local_base_freq': config.rope.local_theta,
            'rope_scaling': written_scaling(config),
            'max_position_embeddings': config.max_length or UNSAID_LENGTH,
        }

    return read, write


def skipped_rope() -> Rule:
    """SmolLM3: every fourth layer does not turn."""

    return (
        lambda seen: {'rope.layers': period(_turns(seen))},
        lambda config: {'no_rope_layers': [int(turn) for turn in config.rotated]},
    )


def _turns(seen: Seen) -> tuple[bool, ...]:
    """Whether each layer does."""
    layers, every = seen.need('num_hidden_layers'), seen.take('no_rope_layer_interval', 4)
    turns = seen.take('no_rope_layers', [(i + 1) % every for i in range(layers)])
    if len(turns) < layers:
        raise seen.refuse('no_rope_layers', f'it has {len(turns)} entries for {layers} layers')
    return tuple(bool(turn) for turn in turns[:layers])


KINDS = {'sliding_attention': 'window', 'full_attention': 'full'}
KIND_NAMES = {ours: theirs for theirs, ours in KINDS.items()}


def one_window(default: int | None) -> Rule:
    """Every layer has a window, if there is one."""

    def read(seen: Seen) -> Fields:
        window = seen.given('sliding_window', default)
        kind = 'full_attention' if window is None else 'sliding_attention'
        if set(seen.take('layer_types', [kind])) != {kind}:
            raise seen.refuse('layer_types', f'by sliding_window={window} all layers of this family are {kind}')
        return {'attention.window': window, 'attention.layers': (KINDS[kind],)}

    return read, lambda config: {'sliding_window': config.attention.window}


def listed_windows(default: int | None, *, pattern: int, pattern_key: str = '') -> Rule:
    """A window in the layers that `layer_types` lists, or without it, in all but every so manieth.

    Args:
      default: the window, if the key is absent.
      pattern: how manieth, if `pattern_key` is absent or the family has none.
    """

    def read(seen: Seen) -> Fields:
        layers, window = seen.need('num_hidden_layers'), seen.given('sliding_window', default)
        every = seen.take(pattern_key, pattern)
        for unread in ('_sliding_window_pattern', 'sliding_window_pattern', 'sliding_window_size'):
            seen.take(unread)
        made = ['sliding_attention' if (i + 1) % every else 'full_attention' for i in range(layers)]
        return _windows(seen, window, kinds=seen.take('layer_types', made))

    return read, _written_windows


def switched_windows(default: int | None, *, skipped: bool = False) -> Rule:
    """The same, but all is off unless `use_sliding_window` is true.

    Args:
      default: the window, if the key is absent.
      skipped: without `layer_types`, the layers that do not turn have windows; if not, those from `max_window_layers`.
    """

    def read(seen: Seen) -> Fields:
        layers, window = seen.need('num_hidden_layers'), seen.given('sliding_window', default)
        first = seen.take('max_window_layers', 28)
        window = window if seen.take('use_sliding_window', False) else None
        near = [not turns for turns in _turns(seen)] if skipped else [i >= first for i in range(layers)]
        made = ['sliding_attention' if window is not None and each else 'full_attention' for each in near]
        return _windows(seen, window, kinds=seen.take('layer_types', made))

    def write(config: ModelConfig) -> Values:
        windowed = config.attention.window is not None
        return _written_windows(config) | {
            'use_sliding_window': windowed, 'max_window_layers': 0 if windowed else config.layers,
        }  # fmt: skip

    return read, write


def _windows(seen: Seen, window: int | None, *, kinds: list[str]) -> Fields:
    layers = seen.need('num_hidden_layers')
    if set(kinds) - KINDS.keys():
        raise seen.refuse('layer_types', f'known are {", ".join(KINDS)}')
    if len(kinds) != layers:
        raise seen.refuse('layer_types', f'it has {len(kinds)} entries for {layers} layers')
    if 'sliding_attention' not in kinds:
        return {'attention.window': None, 'attention.layers': ('full',)}
    if window is None:
        raise seen.refuse('layer_types', 'some layers have a window, whose length nothing says')
    return {'attention.window': window, 'attention.layers': period(tuple(KINDS[kind] for kind in kinds))}


def _written_windows(config: ModelConfig) -> Values:
    window = config.attention.window
    kinds = [KIND_NAMES['window' if near and window is not None else 'full'] for near in config.windowed]
    return {'layer_types': kinds, 'sliding_window': window}
