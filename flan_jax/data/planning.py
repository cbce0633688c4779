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

A plan may be several, one after the other, the stages of a run: see `join`.

With limits (`Recipe.max_epochs`) the rates are those that the asked length leaves: a task that would be drawn more
often stops at its limit, and what is cut goes to the others in proportion to their rates. They are the same in every
window, so a longer plan with limits that bite is another plan.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.data import limits, packing
from flan_jax.data.subset import Subset


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a plan depends on, besides the examples' lengths.

    Attributes:
      fingerprints: task -> its store's fingerprint.
      rates: task -> share of examples, as asked for.
      seed: of order and shuffles.
      row_tokens: (decoder row,) or (encoder row, decoder row), in tokens.
      pack: several examples a row.
      window: examples packed together.
      epoch_examples: examples of one epoch.
      draws: examples drawn in all, if that is what was asked for; the last window is as short as it must be, so a plan
        of more epochs is another plan. None: as many whole windows as the rows need, a longer plan begins alike.
      max_epochs: task -> passes over its usable examples at most.
      subsets: task -> digest of the examples that may be drawn; without one all may.
      taken: task -> examples of its sequence that earlier stages have had; this one goes on after them.
    """

    fingerprints: Mapping[str, str]
    rates: Mapping[str, float]
    seed: int
    row_tokens: tuple[int, ...]
    pack: bool
    window: int
    epoch_examples: int
    draws: int | None = None
    max_epochs: Mapping[str, float] = dataclasses.field(default_factory=dict)
    subsets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    taken: Mapping[str, int] = dataclasses.field(default_factory=dict)

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
class Usable:
    """The examples of a task that a plan draws from.

    Attributes:
      index: int32[examples], places in the task's store.
      tokens: mean tokens of one.
      dropped: examples longer than a row.
      left_out: reason -> examples that are not in the task's subset.
    """

    index: np.ndarray
    tokens: float
    dropped: int = 0
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a plan that was made by itself.

    Attributes:
      name: of the stage; '' in a plan that has only one.
      recipe: what it was made from.
      rates: task -> share of examples, after the limits.
      usable: task -> what it is drawn from.
      reached: task -> place in its sequence after the last window; what of that had no row any more is passed over.
      first: its first row.
      last: the row after its last.
    """

    name: str
    recipe: Recipe
    rates: Mapping[str, float]
    usable: Mapping[str, Usable]
    reached: Mapping[str, int]
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """Rows in training order.

    Attributes:
      stages: one, or one after the other.
      tasks: task names; `task` counts in them.
      row_starts: int64[rows + 1], where each row's examples begin.
      task: int32[examples drawn].
      example: int32[examples drawn], place in the task's store.
      row_supervised: int32[rows], supervised tokens.
    """

    stages: tuple[Stage, ...]
    tasks: tuple[str, ...]
    row_starts: np.ndarray
    task: np.ndarray
    example: np.ndarray
    row_supervised: np.ndarray

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    @property
    def recipe(self) -> Recipe:
        """Of the first stage; what all share are the rows' lengths."""
        return self.stages[0].recipe

    @property
    def dropped(self) -> dict[str, int]:
        """Task -> examples longer than a row."""
        return {name: use.dropped for stage in self.stages for name, use in stage.usable.items() if use.dropped}

    @property
    def fingerprint(self) -> str:
        """Of all stages, and of where the next one begins: a longer last stage may begin alike."""
        *before, last = self.stages
        if not before:
            return last.recipe.fingerprint
        parts = [[stage.recipe.fingerprint, stage.last] for stage in before] + [[last.recipe.fingerprint]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def make(
    recipe: Recipe,
    lengths: Mapping[str, Lengths],
    *,
    rows: int | None = None,
    epochs: float | None = None,
    subsets: Mapping[str, Subset] | None = None,
) -> Plan:
    """Makes a plan with (at least) a number of rows, or for a number of epochs.

    Args:
      recipe: what the plan depends on.
      lengths: token counts by task.
      rows: rows wanted; the plan ends with the window that reaches them, cut there.
      epochs: passes over `recipe.epoch_examples`.
      subsets: task -> the examples that may be drawn; the others' all. The recipe gets their digests.

    Raises:
      ConfigError: the limits do not allow as many examples.
      DataError: a task with a rate has no example that fits a row, or none at all.
    """
    subsets = {name: subset for name, subset in (subsets or {}).items() if name in recipe.rates}
    digests = {name: subset.digest for name, subset in subsets.items()}
    if recipe.subsets and digests != recipe.subsets:
        raise errors.DataError(f'the plan was made from other subsets, {recipe.subsets}, not {digests}; pass those')
    recipe = dataclasses.replace(recipe, subsets=digests)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, draws=round(epochs * recipe.epoch_examples))
        if not recipe.draws:
            raise errors.ConfigError(
                f'{epochs} epochs of {recipe.epoch_examples:,} examples are less than one example; train for longer'
            )
    usable = measure(lengths, recipe.row_tokens, names=recipe.rates, subsets=subsets)
    for name, use in usable.items():
        if not len(use.index):
            raise errors.DataError(f'task {name!r} has a rate and no training example left: {dict(use.left_out)}')
    shares = np.array(list(recipe.rates.values()))
    most = _most(recipe, usable)
    assemble = functools.partial(_assemble, usable=usable, lengths=lengths, rows=rows)
    if recipe.draws is not None:
        return assemble(recipe, limits.limited(shares, most, draws=recipe.draws), draws=recipe.draws)
    room = _room(recipe, usable, lengths=lengths)
    draws, wanted = recipe.window, rows / (shares @ room).max()
    while (shares * wanted <= most).all():
        # Whole windows only: a short one would hold other rows than a longer plan has there.
        draws = max(math.ceil(wanted / recipe.window) * recipe.window, draws + recipe.window)
        plan = assemble(recipe, shares, draws=draws)
        if len(plan) < rows:
            wanted = draws * 1.1 * rows / max(len(plan), 1)
        elif (np.bincount(plan.task, minlength=len(most)) <= most).all():
            return plan
        else:  # just so: the rows need more draws than their mean lengths said
            break
    return _limited_plan(recipe, assemble, rows=rows, shares=shares, most=most, room=room)


def _limited_plan(
    recipe: Recipe, assemble: Callable, *, rows: int, shares: np.ndarray, most: np.ndarray, room: np.ndarray
) -> Plan:
    """A plan of so many rows whose limits bite: as many draws as the rows need, the rates being those they leave."""
    draws = limits.draws_for(rows, shares, most=most, room=room)
    while True:
        plan = assemble(
            dataclasses.replace(recipe, draws=draws), limits.limited(shares, most, draws=draws), draws=draws
        )
        if len(plan) >= rows:
            return plan
        if draws >= most.sum():
            raise errors.ConfigError(
                f'mixture.max_epochs allows {draws:,} examples, {len(plan):,} rows of the {rows:,} asked for; '
                'raise it, add tasks or train for fewer steps'
            )
        longer = max(math.ceil(draws * 1.02 * rows / max(len(plan), 1)), draws + 1)
        draws = longer if longer < most.sum() else int(most.sum())


def measure(
    lengths: Mapping[str, Lengths],
    row_tokens: tuple[int, ...],
    *,
    names: Iterable[str],
    subsets: Mapping[str, Subset],
) -> dict[str, Usable]:
    """Examples of each task that may be drawn and fit a row by themselves; the others are counted.

    Raises:
      DataError: none of a task's fits.
    """
    out = {}
    for name in names:
        fits = np.all([size <= limit for size, limit in zip(_sizes(lengths[name], row_tokens), row_tokens)], axis=0)
        subset = subsets.get(name)
        if subset is None:
            asked, index, left_out = len(fits), np.flatnonzero(fits).astype(np.int32), {}
        else:
            asked, index, left_out = len(subset.index), subset.index[fits[subset.index]], subset.left_out
        if asked and not len(index):
            raise errors.DataError(
                f'task {name!r} has {asked} training examples and none fits a row of {row_tokens} tokens'
            )
        tokens = float(lengths[name].total[index].mean()) if len(index) else 0.0
        out[name] = Usable(index, tokens, asked - len(index), left_out)
    return out


def _sizes(lengths: Lengths, row_tokens: tuple[int, ...]) -> list[np.ndarray]:
    """Tokens an example takes on each side of a row."""
    if len(row_tokens) == 1:
        return [lengths.total]
    return [lengths.total - lengths.target, lengths.target]


def _most(recipe: Recipe, usable: Mapping[str, Usable]) -> np.ndarray:
    """float[tasks], how many examples of each task may be drawn; infinity where there is no limit."""
    epochs = [recipe.max_epochs.get(name, math.inf) for name in usable]
    most = np.array(epochs) * np.array([len(use.index) for use in usable.values()])
    return np.floor(most + 1e-6)  # 0.1 x 30 is a little less than 3


def _room(recipe: Recipe, usable: Mapping[str, Usable], *, lengths: Mapping[str, Lengths]) -> np.ndarray:
    """float[tasks, sides], the part of a row that an example takes in the mean."""
    if not recipe.pack:
        return np.ones((len(usable), 1))
    means = [
        [size[use.index].mean() for size in _sizes(lengths[name], recipe.row_tokens)] for name, use in usable.items()
    ]
    return np.maximum(np.array(means), 1e-9) / np.array(recipe.row_tokens)


def _counts(shares: np.ndarray, draws: int, *, window: int) -> np.ndarray:
    """int64[windows, tasks]: how many examples each window takes of each task."""
    ends = np.minimum(np.arange(1, math.ceil(draws / window) + 1) * window, draws)
    totals = np.rint(np.outer(ends, shares)).astype(np.int64)
    return np.diff(totals, axis=0, prepend=0)


def _sequence(recipe: Recipe, name: str, *, index: np.ndarray, count: int) -> np.ndarray:
    """`count` examples of a task's endless sequence, after those that were taken before."""
    taken = recipe.taken.get(name, 0)
    first = taken // len(index)
    epochs = []
    for epoch in range(first, math.ceil((taken + count) / len(index))):
        key = hashlib.sha256(f'{recipe.seed}/{name}/{epoch}'.encode()).digest()[:16]
        generator = np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))
        epochs.append(generator.permutation(index))
    begin = taken - first * len(index)
    return np.concatenate(epochs)[begin : begin + count] if epochs else index[:0]


def _assemble(
    recipe: Recipe,
    shares: np.ndarray,
    *,
    draws: int,
    usable: Mapping[str, Usable],
    lengths: Mapping[str, Lengths],
    rows: int | None,
) -> Plan:
    counts = _counts(shares, draws, window=recipe.window)
    names, totals = tuple(recipe.rates), counts.sum(axis=0)
    sequences = [_sequence(recipe, n, index=usable[n].index, count=c) for n, c in zip(names, totals.tolist())]
    starts = np.concatenate([[0], np.cumsum(totals)[:-1]]).astype(np.int64)
    example = np.concatenate(sequences).astype(np.int32)
    sides = [_sizes(lengths[name], recipe.row_tokens) for name in names]
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
    windows = np.searchsorted(np.cumsum(counts.sum(axis=1)), len(order)) + 1
    reached = {n: recipe.taken.get(n, 0) + c for n, c in zip(names, counts[:windows].sum(axis=0).tolist())}
    stage = Stage('', recipe, dict(zip(names, shares.tolist())), usable, reached, 0, len(row_starts) - 1)
    return Plan((stage,), names, row_starts, task, example[order], row_supervised.astype(np.int32))


def join(plans: Mapping[str, Plan]) -> Plan:
    """Plans one after the other, by the names of their stages; row i of each keeps what it holds."""
    tasks = tuple(dict.fromkeys(name for plan in plans.values() for name in plan.tasks))
    stages, task, row_starts, done, rows = [], [], [np.zeros(1, np.int64)], 0, 0
    for name, plan in plans.items():
        stages.append(dataclasses.replace(plan.stages[0], name=name, first=rows, last=rows + len(plan)))
        places = np.array([tasks.index(own) for own in plan.tasks], np.int32)
        task.append(places[plan.task])
        row_starts.append(plan.row_starts[1:] + done)
        done, rows = done + len(plan.task), rows + len(plan)
    example, row_supervised = (
        np.concatenate([vars(plan)[key] for plan in plans.values()]) for key in ('example', 'row_supervised')
    )
    return Plan(tuple(stages), tasks, np.concatenate(row_starts), np.concatenate(task), example, row_supervised)


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
    # Sorted once by task, in numbers that numpy sorts by radix; a mask a task would read everything for each.
    few = len(plan.tasks) <= 1 << 16
    examples = example[np.argsort(task.astype(np.uint16) if few else task, kind='stable')]
    ends = np.cumsum(np.bincount(task, minlength=len(plan.tasks)))
    out = {}
    for name, mine in zip(plan.tasks, np.split(examples, ends[:-1])):
        supervised = lengths[name].target if two_sided else lengths[name].supervised
        out[name] = {
            'examples': len(mine),
            'tokens': int(lengths[name].total[mine].sum(dtype=np.int64)),
            'supervised_tokens': int(supervised[mine].sum(dtype=np.int64)),
        }
    return out
