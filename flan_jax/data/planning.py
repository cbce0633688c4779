"""The plan: which examples share which row, in training order, before the first step.

A plan is a pure function of (store fingerprints and lengths, rates, seed, row lengths, packing); see `Recipe`. Its
stages, in words:

1. Window w takes from task k the examples number round(r_k w W) to round(r_k (w+1) W) of the task's own endless
   sequence, so that after every window the realised counts are within one example of the rates.
2. A task's sequence is a fresh permutation of its examples in every epoch, seeded by (seed, task, epoch) alone: other
   tasks, rates and devices do not change the order in which its examples come.
3. The window's examples are packed by best fit, longest first: each goes into the fullest row that still has room.
4. The window's rows are shuffled.

Nothing is drawn at training time, so row i is known without reading any row before it.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.data import packing


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a plan depends on, besides the examples' lengths.

    Attributes:
      fingerprints: task -> its store's fingerprint.
      rates: task -> share of examples.
      seed: of order and shuffles.
      row_tokens: (decoder row,) or (encoder row, decoder row), in tokens.
      pack: several examples a row.
      window: examples packed together.
      epoch_examples: examples of one epoch.
      draws: examples drawn in all, if that is what was asked for; the last window is as short as it must be, so a plan
        of more epochs is another plan. None: as many whole windows as the rows need, a longer plan begins alike.
    """

    fingerprints: Mapping[str, str]
    rates: Mapping[str, float]
    seed: int
    row_tokens: tuple[int, ...]
    pack: bool
    window: int
    epoch_examples: int
    draws: int | None = None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Token counts of a task's training examples, each int32[examples]."""

    total: np.ndarray  # context and target
    target: np.ndarray  # last supervised span
    supervised: np.ndarray  # all supervised spans


@dataclasses.dataclass(frozen=True)
class Plan:
    """Rows in training order.

    Attributes:
      recipe: what it was made from.
      tasks: task names; `task` counts in them.
      row_starts: int64[rows + 1], where each row's examples begin.
      task: int32[examples drawn].
      example: int32[examples drawn], place in the task's store.
      row_supervised: int32[rows], supervised tokens.
      dropped: task -> examples longer than a row.
    """

    recipe: Recipe
    tasks: tuple[str, ...]
    row_starts: np.ndarray
    task: np.ndarray
    example: np.ndarray
    row_supervised: np.ndarray
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    @property
    def fingerprint(self) -> str:
        return self.recipe.fingerprint


def make(
    recipe: Recipe, lengths: Mapping[str, Lengths], *, rows: int | None = None, epochs: float | None = None
) -> Plan:
    """Makes a plan with (at least) a number of rows, or for a number of epochs.

    Args:
      recipe: what the plan depends on.
      lengths: token counts by task.
      rows: rows wanted; the plan ends with the window that reaches them, cut there.
      epochs: passes over `recipe.epoch_examples`.

    Raises:
      DataError: a task with a rate has no example that fits a row, or none at all.
    """
    if epochs is not None:
        recipe = dataclasses.replace(recipe, draws=round(epochs * recipe.epoch_examples))
    usable, dropped = _usable(recipe, lengths)
    shares = np.array(list(recipe.rates.values()))
    assemble = functools.partial(_assemble, recipe, usable, lengths=lengths, dropped=dropped, rows=rows)
    if recipe.draws is not None:
        return assemble(counts=_counts(shares, recipe.draws, window=recipe.window))
    per_row = _examples_per_row(recipe, usable, lengths=lengths, shares=shares)
    draws, wanted = recipe.window, rows * per_row
    while True:  # whole windows only: a short one would hold other rows than a longer plan has there
        draws = max(math.ceil(wanted / recipe.window) * recipe.window, draws + recipe.window)
        plan = assemble(counts=_counts(shares, draws, window=recipe.window))
        if len(plan) >= rows:
            return plan
        wanted = draws * 1.1 * rows / max(len(plan), 1)


def _usable(recipe: Recipe, lengths: Mapping[str, Lengths]) -> tuple[list[np.ndarray], dict[str, int]]:
    """Examples of each task that fit a row by themselves; the others are counted."""
    usable, dropped = [], {}
    for name in recipe.rates:
        sizes = _sizes(recipe, lengths[name])
        fits = np.all([size <= limit for size, limit in zip(sizes, recipe.row_tokens)], axis=0)
        usable.append(np.flatnonzero(fits).astype(np.int32))
        if len(fits) > len(usable[-1]):
            dropped[name] = int(len(fits) - len(usable[-1]))
        if not len(usable[-1]):
            raise errors.DataError(
                f'task {name!r} has {len(fits)} training examples and none fits a row of {recipe.row_tokens} tokens'
            )
    return usable, dropped


def _sizes(recipe: Recipe, lengths: Lengths) -> list[np.ndarray]:
    """Tokens an example takes on each side of a row."""
    if len(recipe.row_tokens) == 1:
        return [lengths.total]
    return [lengths.total - lengths.target, lengths.target]


def _counts(shares: np.ndarray, draws: int, *, window: int) -> np.ndarray:
    """int64[windows, tasks]: how many examples each window takes of each task."""
    ends = np.minimum(np.arange(1, math.ceil(draws / window) + 1) * window, draws)
    totals = np.rint(np.outer(ends, shares)).astype(np.int64)
    return np.diff(totals, axis=0, prepend=0)


def _examples_per_row(recipe: Recipe, usable: Sequence[np.ndarray], *, lengths: Mapping, shares: np.ndarray) -> float:
    if not recipe.pack:
        return 1.0
    means = np.zeros(len(recipe.row_tokens))
    for share, name, index in zip(shares, recipe.rates, usable):
        means += share * np.array([size[index].mean() for size in _sizes(recipe, lengths[name])])
    return float(np.min(np.array(recipe.row_tokens) / np.maximum(means, 1e-9)))


def _sequence(recipe: Recipe, name: str, *, index: np.ndarray, count: int) -> np.ndarray:
    """The first `count` examples of a task's endless sequence."""
    epochs = []
    for epoch in range(math.ceil(count / len(index))):
        key = hashlib.sha256(f'{recipe.seed}/{name}/{epoch}'.encode()).digest()[:16]
        generator = np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))
        epochs.append(generator.permutation(index))
    return np.concatenate(epochs)[:count] if epochs else index[:0]


def _assemble(
    recipe: Recipe,
    usable: Sequence[np.ndarray],
    *,
    lengths: Mapping[str, Lengths],
    counts: np.ndarray,
    dropped: Mapping[str, int],
    rows: int | None,
) -> Plan:
    names, totals = tuple(recipe.rates), counts.sum(axis=0)
    sequences = [_sequence(recipe, n, index=i, count=c) for n, i, c in zip(names, usable, totals.tolist())]
    starts = np.concatenate([[0], np.cumsum(totals)[:-1]]).astype(np.int64)
    example = np.concatenate(sequences).astype(np.int32)
    sides = [_sizes(recipe, lengths[name]) for name in names]
    sizes = [
        np.concatenate([side[i][seq] for side, seq in zip(sides, sequences)]).astype(np.int32)
        for i in range(len(recipe.row_tokens))
    ]
    supervised = np.concatenate(
        [(lengths[n].supervised if len(sizes) == 1 else lengths[n].target)[s] for n, s in zip(names, sequences)]
    ).astype(np.int64)
    first, second = sizes if len(sizes) == 2 else (sizes[0], np.zeros(0, np.int32))
    capacities = np.array([*recipe.row_tokens, 0][:2], np.int64)
    order, task, row_starts = packing.pack_windows(
        (first, second), capacities, counts, starts, np.uint64(recipe.seed), recipe.pack
    )
    if rows is not None and len(row_starts) - 1 > rows:
        row_starts = row_starts[: rows + 1]
        order, task = order[: row_starts[-1]], task[: row_starts[-1]]
    row_supervised = np.add.reduceat(supervised[order], row_starts[:-1]) if len(order) else np.zeros(0, np.int64)
    return Plan(recipe, names, row_starts, task, example[order], row_supervised.astype(np.int32), dropped)


def bound(plan: Plan, *, batch_rows: int, parts: int) -> int:
    """M: the most supervised positions any of the `parts` equal pieces of a batch holds, rounded up.

    Args:
      batch_rows: rows of an optimizer step.
      parts: microbatches times devices the batch is split over.
    """
    padded = np.zeros(-(-len(plan) // batch_rows) * batch_rows, np.int64)
    padded[: len(plan)] = plan.row_supervised
    most = int(padded.reshape(-1, parts, batch_rows // parts).sum(axis=-1).max(initial=1))
    grain = max(2 ** (most.bit_length() - 4), 8)  # an eighth of the size or finer, so that near plans share a step
    return -(-most // grain) * grain


def realised(plan: Plan, lengths: Mapping[str, Lengths], *, first: int = 0, last: int | None = None) -> dict[str, Any]:
    """Examples, tokens and supervised tokens by task in rows `first` to `last`."""
    a, b = plan.row_starts[first], plan.row_starts[len(plan) if last is None else last]
    task, example = plan.task[a:b], plan.example[a:b]
    two_sided = len(plan.recipe.row_tokens) == 2
    out = {}
    for k, name in enumerate(plan.tasks):
        mine = example[task == k]
        supervised = lengths[name].target if two_sided else lengths[name].supervised
        out[name] = {
            'examples': len(mine),
            'tokens': int(lengths[name].total[mine].sum(dtype=np.int64)),
            'supervised_tokens': int(supervised[mine].sum(dtype=np.int64)),
        }
    return out
