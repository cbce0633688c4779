"""Common beginnings of prompts: which are worth reading once for many.

Prompts of one few-shot task begin with the same exemplars, those of a chat with the same system text. Sorted by ids,
prompts with a common beginning lie side by side, and the lengths of the beginnings of neighbours make a tree of all
that may be shared. A prompt is given one beginning at most: at each node of the tree either all below it share the
node's, or each child does what is best for itself.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

Ids = Sequence[int] | np.ndarray

LEAST = 32  # tokens of a beginning; shorter ones are read again
PRICE = 256  # tokens a beginning has to spare: its batches are its own, and not always full


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What some prompts share.

    Attributes:
      length: tokens; every one of the prompts is longer.
      members: places of the prompts; none of them in two beginnings.
    """

    length: int
    members: tuple[int, ...]


def common(prompts: Sequence[Ids], *, least: int, price: int) -> list[Beginning]:
    """Beginnings that spare the most tokens: all but one of their members need not read them.

    >>> common([[7, 8, 9, 1], [5, 5], [7, 8, 9, 2], [7, 8, 3]], least=2, price=0)
    [Beginning(length=2, members=(3, 0, 2))]

    [7, 8] shared by three spares 4 tokens, [7, 8, 9] by two only 3.

    Args:
      prompts: ids, none empty.
      least: tokens of a beginning.
      price: tokens to spare before one is worth it.
    """
    # Big-endian bytes sort as the ids do.
    keys = [np.asarray(prompt, '>i4').tobytes() for prompt in prompts]
    order = sorted(range(len(prompts)), key=keys.__getitem__)
    shared = [_shared(keys[a], keys[b]) for a, b in zip(order, order[1:])]
    out = []
    open_ = [_Node(0, 0)]
    for place, depth in enumerate([*shared, -1]):
        left, spared, found = place, 0, []
        while open_ and open_[-1].depth > depth:
            node = open_.pop()
            left = node.left
            spared, found = node.closed(place + 1, least=least, price=price)
            if open_ and open_[-1].depth >= depth:
                open_[-1].add(spared, found)
                spared, found = 0, []
        if not open_:
            out = found
        elif open_[-1].depth < depth:
            open_.append(_Node(depth, left, spared, found))
    return [Beginning(length, tuple(order[left:right])) for length, left, right in out]


@dataclasses.dataclass
class _Node:
    """Neighbours in order that share `depth` tokens, from `left` on; and the best that their children can do."""

    depth: int
    left: int
    spared: int = 0
    found: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)

    def add(self, spared: int, found: list[tuple[int, int, int]]) -> None:
        self.spared += spared
        self.found = self.found + found

    def closed(self, right: int, *, least: int, price: int) -> tuple[int, list[tuple[int, int, int]]]:
        """What the neighbours up to `right` spare at best, and how: (depth, left, right) of each beginning."""
        own = (right - self.left - 1) * self.depth - price
        if self.depth >= least and own > self.spared:
            return own, [(self.depth, self.left, right)]
        return self.spared, self.found


def _shared(a: bytes, b: bytes) -> int:
    """Ids that two keys begin with in common; each keeps at least one for itself."""
    size = min(len(a), len(b)) // 4 - 1
    one, other = (np.frombuffer(key, '>i4', size) for key in (a, b))
    differs = one != other
    return int(np.argmax(differs)) if differs.any() else size
