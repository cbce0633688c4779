"""Axes: what each of their points changes in the base.

    knob            one knob takes each value                                              mixture.cap = 100, 1000, ...
    choices         several knobs at once, by name                                         'few-shot': shots, share
    task_count      trained on n of the tasks; orders are drawn and nested: of one draw, a smaller n's are among a
                    larger n's. With spread='clusters' the first tasks are of different clusters
    cluster_count   the same by whole clusters, in a given order or drawn
    leave_out       one cluster is held out, with all that shares its texts
    total_examples  n examples in all: every task gives at most so many that they add up to n
    weights         the members of the mixture by weights: a grid (one_factor, simplex lattice) or random mixtures, and
                    'proportional' and 'equal' beside them
    stage_order     the stages of the base in other orders

What is drawn depends on the axis' name, the draw and the tasks' names alone.
"""

import dataclasses
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.ablation.config import AxisConfig
from flan_jax.ablation.table import Setting
from flan_jax.config import Config, resolve, to_dict
from flan_jax.data import mixture, request
from flan_jax.data.formats import draw
from flan_jax.mixture_config import MixtureConfig
from flan_jax.models import presets

MOST_ORDERS = 24  # of stages that are all tried


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of an axis: its place, and knob -> value in the run's config."""

    setting: Setting
    changes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of the base's tasks.

    Attributes:
      clusters: trained task -> its cluster.
      sizes: trained task -> source rows.
      asked: members of the mixture none of whose tasks is trained on.
    """

    clusters: Mapping[str, str]
    sizes: Mapping[str, int]
    asked: frozenset[str] = frozenset()


def only_asked(base: Config, trained: Collection[str]) -> frozenset[str]:
    """Members of a run's mixture that only bring tasks to be scored, as held-out clusters and evaluation suites do."""
    known, out = request.known(base.data), []
    for member in base.mixture.members:
        try:
            alone = mixture.resolve(MixtureConfig(members=(member,)), known.tasks, mixtures=known.mixtures)
        except errors.ConfigError:  # 'x?' that is unknown
            out.append(member)
            continue
        if not set(mixture.task_names(alone)) & set(trained):
            out.append(member)
    return frozenset(out)


def points(axis: AxisConfig, base: Config, *, facts: Facts) -> list[Point]:
    """The points of an axis.

    Raises:
      ConfigError: more tasks or clusters than there are, an unknown one, or a mixture that cannot be weighted.
    """
    match axis.kind:
        case 'knob':
            return [Point(Setting(axis.name, number(v), _label(v)), changed_to(axis.knob, v)) for v in axis.values]
        case 'choices':
            return [
                Point(
                    Setting(axis.name, c.value, c.label),
                    {k: w for knob, v in zip(c.knobs, c.values, strict=True) for k, w in changed_to(knob, v).items()},
                )
                for c in axis.choices
            ]
        case 'task_count':
            return _task_counts(axis, facts)
        case 'cluster_count':
            return _cluster_counts(axis, facts)
        case 'leave_out':
            return _left_out(axis, base, clusters=sorted(set(facts.clusters.values())))
        case 'total_examples':
            return [_total(axis, n, sizes=facts.sizes) for n in axis.values]
        case 'weights':
            return _weighted(axis, base, asked=facts.asked)
        case 'stage_order':
            return _orders(axis, base)


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _label(value: Any) -> str:
    """
    >>> [_label(v) for v in (8, 0.5, None, True, ('a', 'b'))]
    ['8', '0.5', 'none', 'on', 'a+b']
    """
    match value:
        case None:
            return 'none'
        case bool():
            return 'on' if value else 'off'
        case float():
            return f'{value:g}'
        case list() | tuple():
            return '+'.join(map(_label, value))
    return str(value)


def changed_to(knob: str, value: Any) -> dict[str, Any]:
    """A knob's change; a preset's name stands for all of the model's knobs."""
    if knob == 'model' and isinstance(value, str):
        return {'model': to_dict(presets.preset(value))}
    return {knob: value}


def changed(base: Config, changes: Mapping[str, Any]) -> Config:
    """A config with some knobs set, `{'mixture.cap': 100}`.

    Raises:
      ConfigError: a knob is unknown, its value has the wrong type, or the whole makes no sense.
    """
    values = to_dict(base)
    for knob, value in sorted(changes.items(), key=lambda change: change[0].count('.')):  # `model` before `model.width`
        *way, last = knob.split('.')
        inner = values
        for part in way:
            inner = inner[part]
        inner[last] = value
    return resolve(values)


def _order(names: Sequence[str], axis: AxisConfig, *, draw_: int, what: str) -> list[str]:
    """Names in an order drawn by hash, so that a name's place does not depend on how many others there are."""
    return sorted(names, key=lambda name: (draw(1 << 62, draw_, axis.name, what, name), name))


def _task_counts(axis: AxisConfig, facts: Facts) -> list[Point]:
    out = []
    for n in axis.values:
        if n > len(facts.clusters):
            raise errors.ConfigError(
                f'axis {axis.name!r}: a subset of {n} tasks, but the base trains on {len(facts.clusters)}; '
                'ask for fewer'
            )
        for draw_ in range(axis.draws if n < len(facts.clusters) else 1):
            chosen = task_order(axis, facts, draw_=draw_)[:n]
            out.append(_only(axis, n, draw_=draw_, tasks=chosen, all_=len(facts.clusters)))
    return out


def task_order(axis: AxisConfig, facts: Facts, *, draw_: int) -> list[str]:
    """All trained tasks in the order in which an axis adds them.

    >>> facts = Facts({'a1': 'a', 'a2': 'a', 'b1': 'b'}, {})
    >>> order = task_order(AxisConfig('tasks', kind='task_count', spread='clusters'), facts, draw_=0)
    >>> sorted(order[:2]) != ['a1', 'a2'] and sorted(order) == ['a1', 'a2', 'b1']
    True
    """
    tasks = _order(list(facts.clusters), axis, draw_=draw_, what='task')
    if axis.spread == 'tasks':
        return tasks
    queues = [
        [task for task in tasks if facts.clusters[task] == cluster]
        for cluster in _order(sorted(set(facts.clusters.values())), axis, draw_=draw_, what='cluster')
    ]
    return [task for turn in itertools.zip_longest(*queues) for task in turn if task is not None]


def _cluster_counts(axis: AxisConfig, facts: Facts) -> list[Point]:
    clusters, out = sorted(set(facts.clusters.values())), []
    if unknown := [name for name in axis.order if name not in clusters]:
        raise errors.ConfigError(
            f'axis {axis.name!r}: no trained cluster {unknown[0]!r}{errors.near(unknown[0], clusters)}'
        )
    most = len(axis.order) or len(clusters)
    for n in axis.values:
        if n > most:
            raise errors.ConfigError(f'axis {axis.name!r}: {n} clusters, but there are {most}; ask for fewer')
        for draw_ in range(1 if axis.order or n == len(clusters) else axis.draws):
            chosen = (axis.order or _order(clusters, axis, draw_=draw_, what='cluster'))[:n]
            tasks = [task for task, cluster in facts.clusters.items() if cluster in chosen]
            out.append(_only(axis, n, draw_=draw_, tasks=tasks, all_=len(facts.clusters)))
    return out


def _only(axis: AxisConfig, n: int, *, draw_: int, tasks: Sequence[str], all_: int) -> Point:
    """Trained on some tasks; on all of them is what the base does."""
    only = tuple(sorted(tasks)) if len(tasks) < all_ else ()
    return Point(Setting(axis.name, float(n), str(n), draw_), {'mixture.train_only': only})


def _left_out(axis: AxisConfig, base: Config, *, clusters: Sequence[str]) -> list[Point]:
    wanted = axis.values or clusters
    if unknown := [name for name in wanted if name not in clusters]:
        raise errors.ConfigError(
            f'axis {axis.name!r}: no trained cluster {unknown[0]!r}{errors.near(str(unknown[0]), clusters)}'
        )
    held = base.mixture.held_out_clusters
    return [Point(Setting(axis.name, None, name), {'mixture.held_out_clusters': (*held, name)}) for name in wanted]


def _total(axis: AxisConfig, total: int, *, sizes: Mapping[str, int]) -> Point:
    if total > sum(sizes.values()):
        raise errors.ConfigError(
            f'axis {axis.name!r}: {total} examples, but the base has {sum(sizes.values())}; ask for fewer'
        )
    if total < len(sizes):
        raise errors.ConfigError(f'axis {axis.name!r}: {total} examples for {len(sizes)} tasks; ask for more')
    return Point(
        Setting(axis.name, float(total), str(total)), {'mixture.max_examples': level(list(sizes.values()), total)}
    )


def level(sizes: Sequence[int], total: int) -> int:
    """The cap under which sizes add up to at most a total, and as nearly as a whole number can.

    >>> level([10, 100, 1000], 130)
    60
    """
    low, high = 1, max(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(s, middle) for s in sizes) <= total else (low, middle - 1)
    return low


def _weighted(axis: AxisConfig, base: Config, *, asked: Collection[str]) -> list[Point]:
    """Members that are only asked keep a weight of 1, which says nothing: rates are shared among the trained ones."""
    members = base.mixture.members
    trained = [i for i, name in enumerate(members) if name not in asked]
    if len(trained) < 2:
        raise errors.ConfigError(
            f'axis {axis.name!r} weighs the members of the mixture, but of base.mixture.members={tuple(members)} '
            f'{len(trained)} {"is" if len(trained) == 1 else "are"} trained on; name clusters or mixtures apart'
        )
    plain = {'mixture.weights': (), 'mixture.rule': 'proportional'}
    out = [
        Point(Setting(axis.name, None, 'proportional'), plain),
        Point(Setting(axis.name, None, 'equal'), weighted((1.0,) * len(members))),
    ]
    own = [base.mixture.weights[i] for i in trained] if base.mixture.weights else ()
    for i, weights in enumerate(mixtures(axis, len(trained), base=own)):
        every = np.ones(len(members))
        every[trained] = weights
        out.append(Point(Setting(axis.name, None, f'mix{i}'), weighted(every)))
    return out


def weighted(weights: Sequence[float]) -> dict[str, Any]:
    """The change that gives the members these weights."""
    return {'mixture.rule': 'weights', 'mixture.weights': tuple(float(w) for w in weights)}


def mixtures(axis: AxisConfig, count: int, *, base: Sequence[float] = ()) -> list[tuple[float, ...]]:
    """Weights to try, each summing to 1.

    A member without a share is no member: where a design says 0, the weight is a hundredth.

    >>> axis = AxisConfig('mix', kind='weights', design='simplex', parts=2)
    >>> mixtures(axis, 2)
    [(0.0099, 0.9901), (0.5, 0.5), (0.9901, 0.0099)]
    """
    match axis.design:
        case 'grid' | 'simplex':
            # All compositions of `parts`; a grid keeps to the inside, where every member has a share.
            least = 1 if axis.design == 'grid' else 0
            found = [c for c in _compositions(axis.parts, count) if min(c) >= least]
            raw = [np.array(c, float) / axis.parts for c in found]
        case 'one_factor':
            start = np.array(base or (1.0,) * count)
            raw = [np.where(np.arange(count) == i, start * f, start) for i in range(count) for f in axis.factors]
        case 'random':
            # Flat on the simplex: differences of sorted uniform numbers, drawn by hash.
            cuts = [
                sorted(draw(1 << 30, k, axis.name, 'mixture', i) / (1 << 30) for i in range(count - 1))
                for k in range(axis.draws)
            ]
            raw = [np.diff([0.0, *cut, 1.0]) for cut in cuts]
    if not raw:
        raise errors.ConfigError(
            f'axis {axis.name!r}: no mixture of {count} members in parts of 1/{axis.parts}; raise parts'
        )
    floors = [np.maximum(w / w.sum(), 0.01) for w in raw]
    return [tuple(float(x) for x in np.round(w / w.sum(), 4)) for w in floors]


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write a number as a sum of so many whole numbers from 0.

    >>> _compositions(2, 2)
    [(0, 2), (1, 1), (2, 0)]
    """
    if parts == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in _compositions(total - first, parts - 1)]


def _orders(axis: AxisConfig, base: Config) -> list[Point]:
    stages = {stage.name: stage for stage in base.stages}
    orders = [tuple(order) for order in axis.values] or list(itertools.permutations(stages))
    if len(orders) > MOST_ORDERS:
        raise errors.ConfigError(
            f'axis {axis.name!r}: {len(orders)} orders of {len(stages)} stages; name some as values'
        )
    for order in orders:
        if sorted(order) != sorted(stages):
            raise errors.ConfigError(f'axis {axis.name!r}: {order} is no order of the stages {tuple(stages)}')
    return [
        Point(Setting(axis.name, None, '>'.join(order)), {'stages': [dataclasses.asdict(stages[s]) for s in order]})
        for order in orders
    ]
