"""What runs of one process can share: compiled steps, and weights that are not trained.

A run asks by a key that names everything the value depends on. Values are made on first use, and those unused for the
longest time are let go.
"""

import collections
import dataclasses
from collections.abc import Callable, Hashable
from typing import Any


class Kept:
    """Values by key.

    >>> kept = Kept(room=1)
    >>> [kept.get('a', lambda: 1), kept.get('a', lambda: 2), kept.get('b', lambda: 3), kept.get('a', lambda: 4)]
    [1, 1, 3, 4]

    Args:
      room: values kept at once.
    """

    def __init__(self, room: int):
        self._room = room
        self._values: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of a key, made now if it is not there."""
        if key not in self._values:
            while len(self._values) >= self._room:  # before the new one is made: there may be no memory for both
                self._values.popitem(last=False)
            self._values[key] = make()
        self._values.move_to_end(key)
        return self._values[key]


@dataclasses.dataclass(frozen=True)
class Shared:
    """What is shared.

    Attributes:
      compiled: `run_machine.Machine` by model, optimizer and mesh.
      weights: `run_adapters.Base`, large.
    """

    compiled: Kept = dataclasses.field(default_factory=lambda: Kept(8))
    weights: Kept = dataclasses.field(default_factory=lambda: Kept(1))
