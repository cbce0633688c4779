"""Toy examples, and how they lie in a token store."""

import dataclasses

import numpy as np

from flan_jax.data import planning, store
from flan_jax.data.store import Split


def _ragged(lists) -> tuple[np.ndarray, np.ndarray]:
    lengths = [len(ids) for ids in lists]
    return np.array([i for ids in lists for i in ids], np.int32), np.cumsum([0, *lengths])


def columns(examples) -> dict:
    """Store columns of examples, each a list of spans: context, supervised, context, supervised, ..."""
    supervised = np.array([sum(len(span) for span in e[1::2]) for e in examples], np.int32)
    rest = {name: np.zeros(len(examples), np.int64) for name in store.SCHEMAS['train'].names}
    return rest | {
        'tokens': _ragged([[i for span in e for i in span] for e in examples]),
        'spans': _ragged([[len(span) for span in e] for e in examples]),
        'supervised': supervised,
        'target': np.array([len(e[-1]) for e in examples], np.int32),
        'row_id': np.arange(len(examples)),
    }


@dataclasses.dataclass(frozen=True)
class Toy:
    """A stored task."""

    examples: list
    split: Split

    @property
    def lengths(self) -> planning.Lengths:
        return planning.Lengths(
            self.split.lengths.astype(np.int32), self.split.column('target'), self.split.column('supervised')
        )


def toy_examples(seed: int, count: int, *, turns: int = 1) -> list:
    """Examples whose tokens are all different within one, so that a misplaced one shows."""
    generator = np.random.default_rng(seed)
    out = []
    for number in range(count):
        lengths = generator.integers(1, 7, 2 * turns)
        ids = 1000 * (seed + 1) + 40 * number + np.arange(lengths.sum())
        out.append([part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])])
    return out
