"""Whether the RoPE keys of a `config.json` are of the kind they must be, before anything is made of them."""

import math
from collections.abc import Mapping
from typing import Any

from flan_jax.interop.config_keys import Seen

MAPPINGS = ('rope_parameters', 'rope_scaling')  # the new name and the old one
BASES = ('rope_theta', 'rotary_emb_base', 'rope_local_base_freq')
SHARES = ('partial_rotary_factor', 'rotary_pct')
LAYER_KINDS = ('full_attention', 'sliding_attention')  # each may have a mapping of its own
# What a rule cannot do without. YaRN's factor follows from the original length where that is given.
NEEDED = {
    'linear': ('factor',), 'dynamic': ('factor',), 'llama3': ('factor', 'low_freq_factor', 'high_freq_factor'),
    'longrope': ('short_factor', 'long_factor'), 'su': ('short_factor', 'long_factor'),
}  # fmt: skip
POSITIVE = (
    'factor', 'low_freq_factor', 'high_freq_factor', 'beta_fast', 'beta_slow', 'attention_factor', *BASES, *SHARES,
)  # fmt: skip
LISTS = ('short_factor', 'long_factor')
LENGTH = 'original_max_position_embeddings'


def check(seen: Seen) -> None:
    """Refuses a RoPE setting of the wrong kind, and a rule without what it needs, which would go on as another model.

    Raises:
      ConfigError: names the file, the key and its value.
    """
    for key in (*BASES, *SHARES, LENGTH):
        if problem := _problem(key, _get(seen, key)):
            raise seen.refuse(key, problem)
    for key in MAPPINGS:
        value = _get(seen, key)
        if value is None:
            continue
        own = _get(value, 'full_attention', 'sliding_attention') if isinstance(value, Mapping) else None
        for inner in [value] if own is None else [_get(value, kind) for kind in LAYER_KINDS]:
            if inner is not None and (problem := _mapping(inner, known_length=_get(seen, LENGTH) is not None)):
                raise seen.refuse(key, problem)
            if inner and (problem := _pairs(seen, inner)):
                raise seen.refuse(key, problem)


def _get(values: Mapping[str, Any], *keys: str) -> Any:
    """The first of some keys that is there and not null."""
    return next((values[key] for key in keys if key in values and values[key] is not None), None)


def _mapping(values: Any, *, known_length: bool) -> str:
    """What is wrong with a rule and its settings; '': nothing.

    >>> _mapping({'rope_type': 'linear', 'factor': 'two'}, known_length=False)
    "factor='two' must be a number above 0"
    >>> _mapping({'type': 'dynamic'}, known_length=False)
    "rope_type 'dynamic' needs 'factor'"
    """
    if not isinstance(values, Mapping):
        return f"{values!r} must be a mapping, such as {{'rope_type': 'linear', 'factor': 2.0}}"
    rule = _get(values, 'rope_type', 'type')
    if rule is not None and not isinstance(rule, str):
        return f'rope_type={rule!r} must be a name'
    if problem := next(filter(None, (_problem(name, value) for name, value in values.items())), ''):
        return problem
    needed = NEEDED[rule] if rule in NEEDED else ()
    if rule == 'yarn' and not known_length and _get(values, LENGTH) is None:
        needed = ('factor',)
    for name in needed:
        if _get(values, name) is None:
            return f'rope_type {rule!r} needs {name!r}'
    if rule == 'llama3' and values['low_freq_factor'] >= values['high_freq_factor']:
        return f'low_freq_factor={values["low_freq_factor"]!r} must be less than high_freq_factor'
    lengths = {len(values[name]) for name in LISTS if name in needed}
    return 'short_factor and long_factor must be as long as each other' if len(lengths) > 1 else ''


def _pairs(seen: Seen, values: Mapping[str, Any]) -> str:
    """What is wrong with how many divisors there are: each turned pair of a head has one."""
    told = [len(values[name]) for name in LISTS if name in values]
    count, width = _get(seen, 'num_attention_heads'), _get(seen, 'hidden_size')
    if not told or not all(isinstance(x, int) and x > 0 for x in (count, width)):
        return ''
    share = _get(values, *SHARES) or _get(seen, *SHARES) or 1.0
    pairs = int((_get(seen, 'head_dim') or width // count) * share) // 2
    return '' if told[0] == pairs else f'{told[0]} factors for the {pairs} turned pairs of a head'


def _problem(name: str, value: Any) -> str:
    """What is wrong with one setting; null says that it is not set.

    >>> _problem('rope_theta', True), _problem('truncate', True), _problem('original_max_position_embeddings', 0.5)
    ('rope_theta=True must be a number above 0', '', 'original_max_position_embeddings=0.5 must be a whole number, at least 1')
    """  # noqa: E501
    right, kind = True, ''
    match name:
        case _ if value is None:
            pass
        case 'truncate' | 'finetuned':
            right, kind = isinstance(value, bool), 'true or false'
        case 'mscale' | 'mscale_all_dim':
            right, kind = _number(value) and value >= 0, 'a number, at least 0'
        case 'original_max_position_embeddings':
            right, kind = _number(value) and value >= 1 and value == int(value), 'a whole number, at least 1'
        case _ if name in LISTS:
            right = isinstance(value, list | tuple) and bool(value) and all(_number(x) and x > 0 for x in value)
            kind = 'a list of numbers above 0'
        case _ if name in POSITIVE:
            right, kind = _number(value) and value > 0, 'a number above 0'
    return '' if right else f'{name}={value!r} must be {kind}'


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
