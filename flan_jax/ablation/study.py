"""A study planned: every variant's config, what it trains on, and nothing left to go wrong later.

Planning is a pure function of the study's config and the rows: each process of a study makes the same plan, or reads
it from `study.json`.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax import errors, run_data
from flan_jax.ablation import axes, budget
from flan_jax.ablation.axes import Facts, Point
from flan_jax.ablation.budget import Spent
from flan_jax.ablation.config import AxisConfig, StudyConfig
from flan_jax.ablation.table import Result, Setting
from flan_jax.config import Config, resolve, to_dict
from flan_jax.data import loader
from flan_jax.data.store import digest
from flan_jax.parallel import mesh as mesh_lib

FILE = 'study.json'


@dataclasses.dataclass(frozen=True)
class Variant:
    """One run of a study.

    Attributes:
      name: of its folder.
      settings: axis -> its place; nothing for the base.
      config: complete.
      groups: see `table.Result`.
      spent: what it will train on.
      plan: fingerprint of its plan.
    """

    name: str
    settings: Mapping[str, Setting]
    config: Config
    groups: Mapping[str, tuple[str, ...]]
    spent: Spent
    plan: str


@dataclasses.dataclass(frozen=True)
class Study:
    """A study planned.

    Attributes:
      config: of it.
      variants: in the order they are run.
      axes: what the analysis is told of each axis: name, kind, base_value, log.
      budget: what each variant spends of what is held equal; None where stages say it.
      identity: digest of the base and the budget; a folder holds variants of one identity only.
    """

    config: StudyConfig
    variants: tuple[Variant, ...]
    axes: tuple[Mapping[str, Any], ...]
    budget: float | None
    identity: str

    @property
    def told(self) -> dict[str, Any]:
        """What the analysis is told of the study."""
        return {
            'name': self.config.name, 'axes': list(self.axes), 'worth': self.config.worth,
            'seeds': sorted({variant.config.seed for variant in self.variants}),
        }  # fmt: skip


def plan(config: StudyConfig) -> Study:
    """Plans all variants of a study: prepares their data, fits their lengths, checks their shapes.

    Raises:
      ConfigError: an axis asks for what is not there, budgets cannot be equalised, or a variant cannot be.
      DataError: a variant has nothing to train on; each is named.
    """
    base, facts, held_out = _base(config)
    points = {axis.name: axes.points(axis, base, facts=facts) for axis in config.axes}
    wanted = _wanted(config, base, points=points)
    spending = config.budget
    if spending is None and not base.stages:
        spending = budget.base_budget(base, run_data.load(base), equalise=config.equalise)
    made = [
        _variant(config, name, settings=settings, made=own, held_out=held_out, spending=spending)
        for name, settings, own in wanted
    ]
    identity = digest([to_dict(base), config.equalise, spending])
    told = tuple(_axis(axis, base, points=points[axis.name], facts=facts) for axis in config.axes)
    return Study(config, tuple(_roomy(made)), told, spending, identity)


def _base(config: StudyConfig) -> tuple[Config, Facts, tuple[str, ...]]:
    """The base with all its data prepared and its vocabulary named, what is known of its tasks, and what it holds out.

    Variants train on other tasks; a vocabulary of their own would make their scores differ for no reason.
    """
    base = dataclasses.replace(config.base, name='base', run_root=f'{config.folder}/variants')
    wanted, ready = run_data.prepared(base)
    if base.vocabulary.path is None:
        path = wanted.vocabulary.path
        base = dataclasses.replace(base, vocabulary=dataclasses.replace(base.vocabulary, path=path))
    made = {name: store.info['splits'] for name, store in ready.stores.items()}
    trained = [name for name in wanted.selection.train if 'train' in made.get(name, ())]
    sizes = {name: len(np.unique(ready.stores[name].split('train').column('row_id'))) for name in trained}
    clusters = {name: wanted.tasks[name].cluster for name in trained}
    held_out = tuple(name for name in wanted.selection.held_out if name in ready.stores)
    return base, Facts(clusters, sizes, axes.only_asked(base, trained)), held_out


def _wanted(
    config: StudyConfig, base: Config, *, points: Mapping[str, Sequence[Point]]
) -> Iterator[tuple[str, dict[str, Setting], Config]]:
    """(name, settings, config) of every variant, the base first; of several that come to the same config the first."""
    seen: set[str] = set()  # digests and names
    for chosen, seed in itertools.product([(), *_combined(config, points)], config.seeds or (base.seed,)):
        changes = {knob: value for point in chosen for knob, value in point.changes.items()}
        _check_clash(chosen)
        telling = [point for point in chosen if _tells(point, base)]
        name = ','.join([_slug(point.setting) for point in telling] or ['base'])
        name += f',seed={seed}' if len(config.seeds) > 1 else ''
        try:
            made = dataclasses.replace(axes.changed(base, changes), seed=seed, name=name)
        except errors.ConfigError as e:
            raise errors.ConfigError(f'variant {name}: {e}') from e
        same = digest(to_dict(dataclasses.replace(made, name='base')))
        if same not in seen:
            if name.lower() in seen:  # labels that differ in what a folder's name cannot hold, or beyond its length
                name += f'-{same[:6]}'
                made = dataclasses.replace(made, name=name)
            seen |= {same, name.lower()}
            yield name, {point.setting.axis: point.setting for point in telling}, made


def _tells(point: Point, base: Config) -> bool:
    """Whether a point changes the base. One that makes no sense alone may do so beside others."""
    try:
        return axes.changed(base, point.changes) != base
    except errors.ConfigError:
        return True


def _combined(config: StudyConfig, points: Mapping[str, Sequence[Point]]) -> list[tuple[Point, ...]]:
    each = list(points.values())
    match config.combine:
        case 'list':
            return [(point,) for axis in each for point in axis]
        case 'product':
            return list(itertools.product(*each)) if each else []
        case 'pairs':
            return [pair for one, other in itertools.combinations(each, 2) for pair in itertools.product(one, other)]
        case 'zip':
            counts = {axis: len(found) for axis, found in points.items()}
            if len(set(counts.values())) > 1:
                raise errors.ConfigError(f"combine='zip' needs axes of one length, not {counts}")
            return list(zip(*each, strict=True))


def _check_clash(chosen: Sequence[Point]) -> None:
    """Two axes of one variant must not set one knob: the second would undo the first."""
    by_knob: dict[str, str] = {}
    for point in chosen:
        for knob in point.changes:
            if knob in by_knob:
                raise errors.ConfigError(
                    f'axes {by_knob[knob]!r} and {point.setting.axis!r} both set {knob}; '
                    "combine them with combine='list', or as choices of one axis"
                )
            by_knob[knob] = point.setting.axis


def _slug(setting: Setting) -> str:
    """
    >>> _slug(Setting('tasks', 8.0, '8', draw=2)), _slug(Setting('without', None, 'word sense/2'))
    ('tasks=8.2', 'without=word_sense_2')
    """
    axis, label = (re.sub(r'[^A-Za-z0-9.+-]', '_', part)[:60] for part in (setting.axis, setting.label))
    return f'{axis}={label}' + (f'.{setting.draw}' if setting.draw else '')


def _variant(
    config: StudyConfig,
    name: str,
    *,
    settings: Mapping[str, Setting],
    made: Config,
    held_out: Sequence[str],
    spending: float | None,
) -> Variant:
    try:
        data = run_data.load(made)
        if spending is None:
            whole, steps = run_data.make_plan(made, data)
            found = budget.spent(whole, data, steps=steps)
        else:
            made, whole, found = budget.fitted(made, data, equalise=config.equalise, budget=spending, name=name)
    except errors.FlanJaxError as e:
        raise type(e)(f'variant {name}: {e}' if name not in str(e) else str(e)) from e
    room = loader.layout(whole, made.training, mesh=mesh_lib.make(made.mesh)).positions
    made = dataclasses.replace(made, training=dataclasses.replace(made.training, positions=room))
    return Variant(name, settings, made, _groups(data, held_out), found, whole.fingerprint)


def variant(found: Study, base: Variant, *, settings: Mapping[str, Setting], changes: Mapping[str, Any]) -> Variant:
    """One more variant of a planned study: the base with one of its seeds, and some knobs changed."""
    # Named by what it changes: with more variants something else may be proposed.
    name = ','.join(map(_slug, settings.values())) + f'-{digest(changes)[:6]}'
    name += f',seed={base.config.seed}' if len(found.config.seeds) > 1 else ''
    made = dataclasses.replace(axes.changed(base.config, changes), name=name)
    held_out = base.groups['held_out']
    own = _variant(found.config, name, settings=settings, made=made, held_out=held_out, spending=found.budget)
    return list(_roomy([base, own]))[1]


def _groups(data: run_data.Data, held_out: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Target -> tasks; see `table.Result`."""
    train = tuple(data.splits)
    others = [name for name in data.stores.stores if name not in train]
    return {
        'held_in': train, 'held_out_templates': train,
        'unseen': tuple(name for name in others if name not in held_out),
        'held_out': tuple(name for name in others if name in held_out),
    }  # fmt: skip


def _roomy(variants: Sequence[Variant]) -> Iterator[Variant]:
    """The variants with room for the most supervised positions any of them has, so that one executable fits all."""
    most: dict[Any, int] = {}
    for variant in variants:
        shape = _shape(variant)
        most[shape] = max(most.get(shape, 0), variant.config.training.positions)
    for variant in variants:
        training = dataclasses.replace(variant.config.training, positions=most[_shape(variant)])
        yield dataclasses.replace(variant, config=dataclasses.replace(variant.config, training=training))


def _shape(variant: Variant) -> Any:
    config = variant.config
    return config.training.batch_rows, config.training.microbatches, config.packing, config.mesh, config.model


def _axis(axis: AxisConfig, base: Config, *, points: Sequence[Point], facts: Facts) -> dict[str, Any]:
    """What the analysis is told of an axis."""
    of_base = {
        'task_count': float(len(facts.clusters)), 'cluster_count': float(len(set(facts.clusters.values()))),
        'total_examples': float(sum(facts.sizes.values())),
    }  # fmt: skip
    value = of_base.get(axis.kind)
    if axis.kind in ('knob', 'choices'):
        same = [point.setting for point in points if not _tells(point, base)]
        value = same[0].value if same else axes.number(_value(base, axis.knob)) if axis.kind == 'knob' else None
    return {
        'name': axis.name, 'kind': axis.kind, 'base_value': value, 'log': axis.log, 'published': axis.published,
        'propose': axis.propose,
    }  # fmt: skip


def _value(config: Config, knob: str) -> Any:
    found: Any = config
    for part in knob.split('.'):
        found = vars(found)[part]
    return found


def save(study: Study) -> pathlib.Path:
    """Writes `study.json` whole or not at all.

    Raises:
      ConfigError: the folder holds another study.
    """
    path = _checked(study)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        'identity': study.identity, 'study': to_dict(study.config), 'axes': study.axes, 'budget': study.budget,
        'variants': [_saved(variant) for variant in study.variants],
    }  # fmt: skip
    temporary = path.with_suffix(f'.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(values, indent=1))
    return temporary.replace(path)


def _checked(study: Study) -> pathlib.Path:
    """The study's file, whether or not it is there.

    Raises:
      ConfigError: the folder holds another study.
    """
    path = pathlib.Path(study.config.folder) / FILE
    if path.exists() and (before := _identity(path)) != study.identity:
        raise errors.ConfigError(
            f'{study.config.folder} holds another study ({before}; this one is {study.identity}): the base, the budget '
            'or the data differ. Give this one another name, or remove that folder'
        )
    return path


def as_run(study: Study) -> Study:
    """The study as its folder has it, with what was proposed in its course.

    Raises:
      ConfigError: the folder holds another study, or none.
    """
    return load(_checked(study).parent)


def _saved(variant: Variant) -> dict[str, Any]:
    own = {field: vars(variant)[field] for field in ('name', 'groups', 'plan')}
    settings = {axis: dataclasses.asdict(setting) for axis, setting in variant.settings.items()}
    return own | {
        'settings': settings, 'config': to_dict(variant.config), 'spent': dataclasses.asdict(variant.spent)
    }  # fmt: skip


def _identity(path: pathlib.Path) -> str:
    try:
        return json.loads(path.read_text())['identity']
    except (ValueError, KeyError, TypeError) as e:
        raise errors.ConfigError(f'{path} is no study ({e!r}); remove that folder, or name another') from e


def load(folder: str | os.PathLike) -> Study:
    """The study that a folder holds, as it was planned.

    Raises:
      ConfigError: it holds none.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        raise errors.ConfigError(f'{path} is missing; python -m flan_jax.ablate --config=... plans the study first')
    try:
        return _loaded(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as e:
        raise errors.ConfigError(f'{path} is no study ({e!r}); remove that folder, or name another') from e


def _loaded(values: Mapping[str, Any]) -> Study:
    variants = tuple(
        Variant(
            one['name'],
            {axis: Setting(**setting) for axis, setting in one['settings'].items()},
            resolve(one['config']),
            {target: tuple(names) for target, names in one['groups'].items()},
            Spent(**one['spent']),
            one['plan'],
        )
        for one in values['variants']
    )
    study = resolve(values['study'], StudyConfig)
    return Study(study, variants, tuple(values['axes']), values['budget'], values['identity'])


def check_rows(study: Study, rows: Mapping[str, Result]) -> None:
    """Refuses finished rows that were run with other configs than the study's variants of their names have.

    Raises:
      ConfigError: with the variant and the knobs.
    """
    for variant in study.variants:
        row = rows.get(variant.name)
        if row is None:
            continue
        differing = sorted(_differing(_compared(row.config), _compared(to_dict(variant.config))))
        if differing:
            raise errors.ConfigError(
                f'variant {variant.name} was run with another {", ".join(differing)}; rename the axis, give the study '
                f'another name, or remove {study.config.folder}/rows/{variant.name}.json to run it again'
            )


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the room for positions, which other variants decide."""
    return {**config, 'training': {**config['training'], 'positions': None}}


def _differing(one: Any, other: Any, *, path: str = '') -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from _differing(one.get(key), other.get(key), path=f'{path}.{key}' if path else key)
    elif one != other:
        yield path
