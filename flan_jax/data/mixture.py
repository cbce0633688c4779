"""Mixtures: which tasks, and how often each.

A mixture has members: tasks, whole clusters, patterns of task names, or other mixtures. Its rule shares 1 among them:

    proportional   by size, a task counting at most `cap` examples (Raffel et al. 2020: examples-proportional)
    equal          the same for each
    weights        as given

Shares are raised to 1/temperature and normalised; a member that is a mixture shares its own part by its own rule. So
the rate of a task is the product of the shares on the way to it, and changing a rule deep inside changes no share
outside.

    muffin .46 --- nli .3 --- snli .5      rate(snli) = .46 x .3 x .5

With `unit` tokens a mixture's shares are shares of tokens: sizes are counted in tokens (the cap still in examples), and
a member gets as many examples as its share is worth at its mean length. Rates are shares of examples all the same. What
a member shares out inside it does in its own unit.

A member that ends in `?` may be unknown: it is left out then, as are mixtures that have no member left.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

from flan_jax import errors
from flan_jax.data.task import Task
from flan_jax.mixture_config import MixtureConfig, StageConfig, check_mixture


@dataclasses.dataclass(frozen=True)
class Node:
    """A resolved mixture: every child is a task's name or another node.

    Attributes:
      weights: one a child, for rule weights.
      missing: optional members that nothing was found for.
      stages: of the run's own mixture, one a stage.
    """

    name: str
    config: MixtureConfig
    children: tuple['str | Node', ...]
    weights: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    stages: tuple['Node', ...] = ()


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a run does with each task of its mixture.

    Attributes:
      train: trained on and evaluated.
      held_out: evaluated only, as asked or because they have no training rows (evaluation suites).
      excluded: neither, with the reason (shares texts with what is held out).
      unseen: of the held-out ones, those that `train_only` leaves out; the vocabulary may be trained on them.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    excluded: Mapping[str, str]
    unseen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Limits:
    """What may be used of a task; None: all. See `config.MixtureConfig`."""

    max_examples: int | None = None
    max_templates: int | None = None
    max_epochs: float | None = None


def resolve(
    config: MixtureConfig,
    tasks: Mapping[str, Task],
    *,
    mixtures: Mapping[str, MixtureConfig],
    stages: Sequence[StageConfig] = (),
) -> Node:
    """Names to a tree.

    Args:
      config: the run's mixture.
      tasks: all known ones.
      mixtures: all named ones.
      stages: of the run; one without a mixture has the run's.

    Raises:
      ConfigError: a member is unknown (near names listed), a mixture contains itself (the way is shown), has values
        that make no sense, or no task at all.
    """
    node = _resolve('mixture', config, tasks=tasks, mixtures=mixtures, way=())
    parts = [
        node if stage.mixture is None
        else _resolve(f'stage {stage.name}', stage.mixture, tasks=tasks, mixtures=mixtures, way=())
        for stage in stages
    ]  # fmt: skip
    for part in (node, *parts):
        if not task_names(part):
            unknown = missing(part)
            why = 'leave_out takes every member out'
            if unknown:
                why = (
                    f'of its optional members none is known: {", ".join(unknown)}; add the modules that have them to '
                    'data.task_modules, or other members'
                )
            raise errors.ConfigError(f'{part.name} is empty: {why}')
    return dataclasses.replace(node, stages=tuple(parts))


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
    check_mixture(config, f'mixture {name!r}: ' if way else f'{name}.')
    children: list[str | Node] = []
    weights: list[float] = []
    missing: list[str] = []
    for i, member in enumerate(config.members):
        optional, member = member.endswith('?'), member.removesuffix('?')
        if member not in tasks and member in mixtures:
            found = [_resolve(member, mixtures[member], tasks=tasks, mixtures=mixtures, way=(*way, name))]
        else:
            found = _find(member, tasks)
        if not found and not optional:
            known = [*tasks, *mixtures, *{task.cluster for task in tasks.values()}]
            raise errors.ConfigError(
                f'mixture member {member!r} is no task, cluster or mixture, nor a pattern that fits one'
                + errors.near(member, known)
            )
        missing += [] if found else [member]
        if config.rule == 'weights' and len(found) > 1:  # a weighted cluster or pattern is a mixture of its own
            inner = dataclasses.replace(config, rule='proportional', weights=(), members=(member,))
            found = [Node(member, inner, tuple(found))]
        children += found
        weights += [config.weights[i]] * len(found) if config.rule == 'weights' else []
    unique = list(dict.fromkeys(children))
    if config.rule == 'weights' and len(unique) < len(children):
        raise errors.ConfigError(f'mixture {name!r} with rule weights names a member twice: {config.members}')
    node = Node(name, config, tuple(unique), tuple(weights), tuple(missing))
    return _without(node, {task for member in config.leave_out for task in _named(member, tasks)})


def _named(member: str, tasks: Mapping[str, Task], *, knob: str = 'leave_out') -> list[str]:
    """The tasks that a member of `leave_out` or `train_only` stands for.

    Raises:
      ConfigError: none.
    """
    found = _find(member.removesuffix('?'), tasks)
    if not found and not member.endswith('?'):
        known = [*tasks, *{task.cluster for task in tasks.values()}]
        raise errors.ConfigError(
            f'mixture.{knob}: {member!r} is no task or cluster, nor a pattern that fits one'
            + errors.near(member, known)
        )
    return found


def _without(node: Node, names: set[str]) -> Node:
    """The tree without some tasks, in every part of it."""
    if not names:
        return node
    places = [i for i, child in enumerate(node.children) if isinstance(child, Node) or child not in names]
    children = (node.children[i] for i in places)
    kept = tuple(_without(child, names) if isinstance(child, Node) else child for child in children)
    weights = tuple(node.weights[i] for i in places) if node.weights else ()
    return dataclasses.replace(node, children=kept, weights=weights)


def _find(member: str, tasks: Mapping[str, Task]) -> list[str]:
    """The tasks that a task's name, a cluster or a pattern stands for, of clusters if it fits no task."""
    if member in tasks:
        return [member]
    if of_cluster := [name for name, task in tasks.items() if task.cluster == member]:
        return of_cluster
    if not any(c in member for c in '*?['):
        return []
    of_clusters = (name for name, task in tasks.items() if fnmatch.fnmatch(task.cluster, member))
    return sorted(fnmatch.filter(tasks, member)) or sorted(of_clusters)


def task_names(node: Node) -> list[str]:
    """Every task of a tree and its stages, once, in order."""
    names = [n for c in (*node.children, *node.stages) for n in (task_names(c) if isinstance(c, Node) else [c])]
    return list(dict.fromkeys(names))


def missing(node: Node) -> list[str]:
    """Optional members of a tree and its stages that nothing was found for, once, in order."""
    inner = [name for c in (*node.children, *node.stages) if isinstance(c, Node) for name in missing(c)]
    return list(dict.fromkeys([*node.missing, *inner]))


def select(
    node: Node,
    tasks: Mapping[str, Task],
    *,
    mixtures: Mapping[str, MixtureConfig] | None = None,
    related: Mapping[str, Sequence[str]] | None = None,
) -> Selection:
    """Splits the tasks of a mixture into trained, held out, and excluded for what they share with what is held out.

    Args:
      node: the tree; what it or one of its stages holds out is trained on in no stage.
      tasks: all known ones.
      mixtures: named ones, which may be held out like clusters.
      related: cluster -> clusters that go out of training with it (Wei et al. 2021 leave out paraphrase with NLI).

    Raises:
      ConfigError: a held-out name is unknown, or nothing is left to train on.
    """
    names, reasons = task_names(node), _held_out(node, tasks, mixtures=mixtures or {})
    clusters = {task.cluster for task in tasks.values()}
    whole = [c for c in sorted(clusters) if all(t.name in reasons for t in tasks.values() if t.cluster == c)]
    # Texts of every task that is held out count, whether or not the task is in this mixture.
    texts = {text: name for name in tasks if name in reasons for text in tasks[name].texts_from}
    goes_with = {}
    if related is not None and node.config.hold_out_related:
        goes_with = {other: cluster for cluster in whole for other in related.get(cluster, ())}
    staged = {name for stage in node.stages for name in task_names(stage)}
    train, untrained, unseen, excluded = [], set(), set(), {}
    only = {task for member in node.config.train_only for task in _named(member, tasks, knob='train_only')}
    for name in names:
        shared = next((t for t in tasks[name].texts_from if t in texts), None)
        cluster = tasks[name].cluster
        if name in reasons:
            continue
        if shared is not None:
            excluded[name] = f'shares texts ({shared}) with the held-out task {texts[shared]}'
        elif cluster in goes_with:
            excluded[name] = f'its cluster {cluster} goes out with the held-out cluster {goes_with[cluster]}'
        elif node.stages and name not in staged:
            excluded[name] = 'in no stage'
        elif 'train' not in tasks[name].splits:
            untrained.add(name)
        elif only and name not in only:
            unseen.add(name)
        else:
            train.append(name)
    for part in node.stages or (node,):
        if not set(task_names(part)) & set(train):
            what = part.name if node.stages and part.name != 'mixture' else 'the mixture'
            less = 'hold out less' if not only else 'hold out less, or name more in mixture.train_only'
            raise errors.ConfigError(f'{what} has no task left to train on; {less}')
    held_out = tuple(name for name in names if name in reasons or name in untrained or name in unseen)
    return Selection(tuple(train), held_out, excluded, tuple(name for name in names if name in unseen))


def _held_out(node: Node, tasks: Mapping[str, Task], *, mixtures: Mapping[str, MixtureConfig]) -> set[str]:
    """All tasks that a run holds out, in its mixture or not."""
    out: set[str] = set()
    clusters = {task.cluster for task in tasks.values()}
    for part in (node, *node.stages):
        for name in part.config.held_out_clusters:
            if name not in clusters and name not in mixtures:
                raise errors.ConfigError(
                    f'mixture.held_out_clusters: no cluster {name!r}{errors.near(name, [*clusters, *mixtures])}'
                )
            out |= {task.name for task in tasks.values() if task.cluster == name}
            if name in mixtures:
                out |= set(
                    task_names(_resolve(name, mixtures[name], tasks=tasks, mixtures=mixtures, way=('held out',)))
                )
        for name in part.config.held_out_tasks:
            if name not in tasks:
                raise errors.ConfigError(f'mixture.held_out_tasks: no task {name!r}{errors.near(name, tasks)}')
            out.add(name)
    return out


def rates(node: Node, examples: Mapping[str, int], *, tokens: Mapping[str, float] | None = None) -> dict[str, float]:
    """Task -> its share of the training examples; sums to 1.

    >>> node = Node('m', MixtureConfig(cap=300), ('a', 'b'))
    >>> rates(node, {'a': 100, 'b': 9000})
    {'a': 0.25, 'b': 0.75}
    >>> node = Node('m', MixtureConfig(rule='equal', unit='tokens'), ('a', 'b'))
    >>> rates(node, {'a': 100, 'b': 9000}, tokens={'a': 30.0, 'b': 90.0})
    {'a': 0.75, 'b': 0.25}

    Args:
      node: the tree.
      examples: training examples of each task; tasks that are not in it get nothing.
      tokens: mean tokens of an example of each task, where a mixture of the tree has tokens for unit.
    """
    out = _rates(node, examples, tokens=tokens or {}, cap=node.config.cap)
    total = sum(out.values())
    return {name: rate / total for name, rate in out.items()}


def sizes(node: Node, examples: Mapping[str, int]) -> dict[str, int]:
    """Task -> the examples it counts for, after the caps on the way to it."""
    out: dict[str, int] = {}

    def walk(node: Node, cap: int | None) -> None:
        for child in node.children:
            if isinstance(child, Node):
                walk(child, _inner(cap, child.config.cap))
            elif child in examples:
                out[child] = min(examples[child], cap) if cap is not None else examples[child]

    walk(node, node.config.cap)
    return out


def limits(node: Node) -> dict[str, Limits]:
    """Task -> its limits: the innermost mixture's that sets one; of two ways to a task the stricter."""
    out: dict[str, Limits] = {}

    def walk(node: Node, above: Limits) -> None:
        config = node.config
        here = Limits(
            _inner(above.max_examples, config.max_examples),
            _inner(above.max_templates, config.max_templates),
            _inner(above.max_epochs, config.max_epochs),
        )
        for child in node.children:
            if isinstance(child, Node):
                walk(child, here)
            else:
                found = dataclasses.astuple(out.get(child, here))
                out[child] = Limits(*map(_stricter, found, dataclasses.astuple(here)))

    walk(node, Limits())
    return out


def _inner(outer: float | None, inner: float | None) -> float | None:
    return inner if inner is not None else outer


def _stricter(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def _size(
    node: 'Node | str', examples: Mapping[str, int], *, tokens: Mapping[str, float] | None, cap: int | None
) -> float:
    """Examples, or with `tokens` tokens."""
    if isinstance(node, str):
        size = examples.get(node, 0)
        size = float(size if cap is None else min(size, cap))
        return size * tokens[node] if tokens is not None and size else size
    cap = _inner(cap, node.config.cap)
    return sum(_size(child, examples, tokens=tokens, cap=cap) for child in node.children)


def _rates(
    node: Node, examples: Mapping[str, int], *, tokens: Mapping[str, float], cap: int | None
) -> dict[str, float]:
    """Task -> its share of the node's examples, from the leaves up: what a part is worth depends on what is in it."""
    in_tokens = node.config.unit == 'tokens'
    parts, raw = [], []
    for i, child in enumerate(node.children):
        if isinstance(child, Node):
            part = _rates(child, examples, tokens=tokens, cap=_inner(cap, child.config.cap))
        else:
            part = {child: 1.0} if examples.get(child, 0) > 0 else {}
        if not part:
            continue
        match node.config.rule:
            case 'proportional':
                share = _size(child, examples, tokens=tokens if in_tokens else None, cap=cap)
            case 'equal':
                share = 1.0
            case 'weights':
                share = node.weights[i]
        parts.append(part)
        raw.append(share)
    if node.config.temperature != 1:  # of the largest: powers of the shares themselves may be too large for a number
        raw = [(share / max(raw)) ** (1.0 / node.config.temperature) for share in raw]
    if in_tokens:
        means = [sum(rate * tokens[name] for name, rate in part.items()) for part in parts]
        raw = [share / mean for share, mean in zip(raw, means)]
    out: dict[str, float] = {}
    total = sum(raw)
    for part, share in zip(parts, raw):
        for name, rate in part.items():
            out[name] = out.get(name, 0.0) + rate * (share / total)
    return out
