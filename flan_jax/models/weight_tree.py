"""A tree of weights, nested by module or flat by dotted path."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def flat(tree: Any, path: str = '') -> dict[str, Any]:
    """
    >>> flat({'mlp': {'up': 1, 'down': 2}})
    {'mlp.up': 1, 'mlp.down': 2}
    """
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {k: v for name in tree for k, v in flat(tree[name], f'{path}.{name}' if path else name).items()}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """
    >>> nested({'mlp.up': 1, 'mlp.down': 2})
    {'mlp': {'up': 1, 'down': 2}}
    """
    out: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, last = path.split('.')
        at = out
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = value
    return out


def in_turn(weights: Iterable[tuple[str, Any]], names: Iterable[str]) -> dict[str, Callable[[], Any]]:
    """For each name what gives its weight, once; a weight is read when it is asked for, and so are those before it.

    >>> later = in_turn(iter([('a', 1), ('b', 2), ('c', 3)]), ['a', 'b', 'c'])
    >>> later['b'](), later['a'](), later['c']()
    (2, 1, 3)
    """
    left, waiting = iter(weights), {}

    def take(name: str) -> Any:
        while name not in waiting:
            found, weight = next(left)
            waiting[found] = weight
        return waiting.pop(name)

    return {name: functools.partial(take, name) for name in names}
