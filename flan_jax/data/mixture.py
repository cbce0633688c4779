"""Mixtures: which tasks, and how often each.

A mixture has members: tasks, whole clusters, patterns of task names, or other mixtures. Its rule shares 1 among them:

    proportional   by size, a task counting at most `cap` examples (Raffel et al. 2020: examples-proportional)
    equal          the same for each
    weights        as given

Shares are raised to 1/temperature and normalised; a member that is a mixture shares its own part by its own rule. So
the rate of a task is the product of the shares on the way to it, and changing a rule deep inside changes no share
outside.

    muffin .46 --- nli .3 --- snli .5      rate(snli) = .46 x .3 x .5
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

from flan_jax import errors
from flan_jax.config import MixtureConfig
from flan_jax.data.task import Task


@dataclasses.dataclass(frozen=True)
class Node:
    """A resolved mixture: every child is a task's name or another node."""

    name: str
    config: MixtureConfig
    children: tuple['str | Node', ...]
    weights: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a run does with each task of its mixture.

    Attributes:
      train: trained on and evaluated.
      held_out: evaluated only.
      excluded: neither, with the reason (shares texts with what is held out).
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    excluded: Mapping[str, str]


def resolve(config: MixtureConfig, tasks: Mapping[str, Task], *, mixtures: Mapping[str, MixtureConfig]) -> Node:
    """Names to a tree.

    Raises:
      ConfigError: a member is unknown (near names listed) or a mixture contains itself (the way is shown).
    """
    return _resolve('mixture', config, tasks=tasks, mixtures=mixtures, way=())


def _resolve(
    name: str,
    config: MixtureConfig,
    *,
    tasks: Mapping[str, Task],
    mixtures: Mapping[str, MixtureConfig],
    way: tuple[str, ...],
) -> Node:
    if name in way:
        raise errors.ConfigError(f'mixture {name!r} contains itself: {" -> ".join((*way, name))}')
    children: list[str | Node] = []
    weights: list[float] = []
    clusters = {task.cluster for task in tasks.values()}
    for i, member in enumerate(config.members):
        if member in tasks:
            found = [member]
        elif member in mixtures:
            found = [_resolve(member, mixtures[member], tasks=tasks, mixtures=mixtures, way=(*way, name))]
        elif member in clusters:
            found = [t for t in tasks if tasks[t].cluster == member]
        else:
            found = sorted(fnmatch.filter(tasks, member)) if any(c in member for c in '*?[') else []
        if not found:
            known = [*tasks, *mixtures, *clusters]
            raise errors.ConfigError(
                f'mixture member {member!r} is no task, cluster or mixture, nor a pattern that fits one'
                + errors.near(member, known)
            )
        if config.rule == 'weights' and len(found) > 1:  # a weighted cluster or pattern is a mixture of its own
            inner = dataclasses.replace(config, rule='proportional', weights=(), members=(member,))
            found = [Node(member, inner, tuple(found))]
        children += found
        weights += [config.weights[i]] * len(found) if config.rule == 'weights' else []
    unique = list(dict.fromkeys(children))
    if config.rule == 'weights' and len(unique) < len(children):
        raise errors.ConfigError(f'mixture {name!r} with rule weights names a member twice: {config.members}')
    return Node(name, config, tuple(unique), tuple(weights))


def task_names(node: Node) -> list[str]:
    """Every task of a tree, once, in order."""
    names = [n for c in node.children for n in (task_names(c) if isinstance(c, Node) else [c])]
    return list(dict.fromkeys(names))


def select(node: Node, tasks: Mapping[str, Task]) -> Selection:
    """Splits the tasks of a mixture into trained, held out, and excluded for sharing texts with what is held out.

    Raises:
      ConfigError: a held-out name is unknown, or nothing is left to train on.
    """
    config, names = node.config, task_names(node)
    clusters = {task.cluster for task in tasks.values()}
    for name in config.held_out_clusters:
        if name not in clusters:
            raise errors.ConfigError(f'mixture.held_out_clusters: no cluster {name!r}{errors.near(name, clusters)}')
    for name in config.held_out_tasks:
        if name not in tasks:
            raise errors.ConfigError(f'mixture.held_out_tasks: no task {name!r}{errors.near(name, tasks)}')
    held_out = [
        name for name in names
        if tasks[name].cluster in config.held_out_clusters or name in config.held_out_tasks
    ]  # fmt: skip
    # Texts of every task of a held-out cluster count, whether or not the task is in this mixture.
    texts: dict[str, str] = {}
    for task in tasks.values():
        if task.cluster in config.held_out_clusters or task.name in config.held_out_tasks:
            texts |= {text: task.name for text in task.texts_from}
    train, excluded = [], {}
    for name in names:
        shared = next((t for t in tasks[name].texts_from if t in texts), None)
        if name in held_out:
            continue
        if shared is None:
            train.append(name)
        else:
            excluded[name] = f'shares texts ({shared}) with the held-out task {texts[shared]}'
    if not train:
        raise errors.ConfigError('the mixture has no task left to train on; hold out less')
    return Selection(tuple(train), tuple(held_out), excluded)


def rates(node: Node, examples: Mapping[str, int]) -> dict[str, float]:
    """Task -> its share of the training examples; sums to 1.

    >>> node = Node('m', MixtureConfig(cap=300), ('a', 'b'))
    >>> rates(node, {'a': 100, 'b': 9000})
    {'a': 0.25, 'b': 0.75}

    Args:
      node: the tree.
      examples: training examples of each task; tasks that are not in it get nothing.
    """
    out: dict[str, float] = {}
    _share(node, 1.0, examples=examples, cap=node.config.cap, out=out)
    total = sum(out.values())
    return {name: rate / total for name, rate in out.items()}


def sizes(node: Node, examples: Mapping[str, int]) -> dict[str, int]:
    """Task -> the examples it counts for, after the caps on the way to it."""
    out: dict[str, int] = {}

    def walk(node: Node, cap: int | None) -> None:
        for child in node.children:
            if isinstance(child, Node):
                walk(child, _tighter(cap, child.config.cap))
            elif child in examples:
                out[child] = min(examples[child], cap) if cap is not None else examples[child]

    walk(node, node.config.cap)
    return out


def _tighter(outer: int | None, inner: int | None) -> int | None:
    return inner if inner is not None else outer


def _size(node: 'Node | str', examples: Mapping[str, int], *, cap: int | None) -> float:
    if isinstance(node, str):
        size = examples.get(node, 0)
        return float(size if cap is None else min(size, cap))
    cap = _tighter(cap, node.config.cap)
    return sum(_size(child, examples, cap=cap) for child in node.children)


def _share(node: Node, share: float, *, examples: Mapping[str, int], cap: int | None, out: dict[str, float]) -> None:
    children = [child for child in node.children if _size(child, examples, cap=None) > 0]
    match node.config.rule:
        case 'proportional':
            raw = [_size(child, examples, cap=cap) for child in children]
        case 'equal':
            raw = [1.0] * len(children)
        case 'weights':
            by_child = dict(zip(node.children, node.weights, strict=True))
            raw = [by_child[child] for child in children]
    raw = [r ** (1.0 / node.config.temperature) for r in raw]
    for child, part in zip(children, _normalised(raw)):
        if isinstance(child, Node):
            _share(child, share * part, examples=examples, cap=_tighter(cap, child.config.cap), out=out)
        else:
            out[child] = out.get(child, 0.0) + share * part


def _normalised(raw: Sequence[float]) -> list[float]:
    total = sum(raw)
    return [r / total for r in raw]
