"""A model to be scored: a run's checkpoint or somebody else's weights, with the config that asks it."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from flan_jax import errors, run, run_adapters, run_data, run_scores
from flan_jax.config import Config, resolve, to_dict
from flan_jax.data import vocabulary
from flan_jax.data.store import digest
from flan_jax.interop import warm_start
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.weight_tree import flat, in_turn, nested
from flan_jax.training import checkpoint as checkpoint_lib
from flan_jax.training import state as state_lib
from flan_jax.training import telemetry

Each = Callable[[str, jax.Array], jax.Array]  # a weight's path and the weight -> what is kept of it


@dataclasses.dataclass(frozen=True)
class ScoredModel:
    """What is asked.

    Attributes:
      config: what it is asked with; model and vocabulary are those it was trained with.
      graph: of the model.
      params: its weights, on the mesh; of an adapter, as `models.adapters` assembles them; or functions that read them.
      trained: tasks that count as trained; all others count as held out.
      step: of the checkpoint; None for somebody else's.
      source: where the weights come from.
      at_home: whether these are the run's own weights, asked about the run's own tasks.
      vocabulary: file of the one it was trained with; None: as the config says.
      adapter: what of it was trained, as `interop.peft` takes it; None: all.
    """

    config: Config
    graph: Any
    params: Any
    trained: tuple[str, ...]
    step: int | None
    source: str
    at_home: bool
    vocabulary: str | None = None
    adapter: tuple[AdapterConfig, Any] | None = None

    @property
    def label(self) -> str:
        """Folder name of results that are not the run's own."""
        asked = dataclasses.replace(self.config, name='', run_root='')
        return f'evaluated-{digest([self.source, to_dict(asked.mixture), to_dict(asked.format)])[:8]}'


def load(
    config: Config, checkpoint: str, *, mesh: jax.sharding.Mesh, each: Each | None = None, later: bool = False
) -> ScoredModel:
    """Weights on the mesh.

    Args:
      config: what it is asked with.
      checkpoint: 'latest', 'best', a step of the run of that name, or what `checkpoint.warm_start` takes.
      mesh: the devices.
      each: of a run's own checkpoint, what is kept of each f32 weight, an adapter merged into it; the weights are
        then read one after the other, so that never more than one of them is there in f32. None: all as they are.
      later: with `each`: weights are functions, each of which reads its own when it is called, once (`in_turn`).

    Raises:
      CheckpointError: there is no such checkpoint, or it holds another model.
      ConfigError: somebody else's model, and not its vocabulary.
    """
    if checkpoint in ('latest', 'best') or checkpoint.isdecimal():
        return _own(config, checkpoint, mesh=mesh, each=each, later=later)
    path, theirs = warm_start.describe(checkpoint)
    _check_vocabulary(config, theirs.vocab_size, source=checkpoint)
    bones = state_lib.skeleton(theirs, config.execution)
    shardings = state_lib.weight_shardings(bones, mesh)
    params = warm_start.load(path, theirs, shardings=shardings, shapes=bones.shapes)
    asking = dataclasses.replace(config, model=dataclasses.replace(theirs, vocab_size=None))
    trained = tuple(run_data.prepare.needs(asking).selection.train)
    return ScoredModel(asking, bones.graph, params, trained, None, checkpoint, False)


def _check_vocabulary(config: Config, rows: int | None, *, source: str) -> None:
    """Refuses a vocabulary that cannot be the one of somebody else's model.

    Raises:
      ConfigError: the config would train one of its own, or its pieces are more than the model has.
    """
    path = config.vocabulary.path
    if path is None:
        raise errors.ConfigError(
            f'--checkpoint={source} was trained with a vocabulary of its own; name it with --config.vocabulary.path'
        )
    size = vocabulary.load(path, bos=config.vocabulary.bos).size
    if rows is not None and size > rows:
        raise errors.ConfigError(
            f'vocabulary.path={path!r} has {size} pieces, the model of --checkpoint={source} {rows}; name its own'
        )


def _own(config: Config, checkpoint: str, *, mesh: jax.sharding.Mesh, each: Each | None, later: bool) -> ScoredModel:
    """A checkpoint of the run of that name."""
    folder = pathlib.Path(config.run_dir).absolute() / 'checkpoints'
    step = choose(config, checkpoint)
    own = _trained_with(config)
    needs = run_data.prepare.needs(own)
    if not pathlib.Path(needs.vocabulary.path).exists():  # its name follows from the rows, which may be out of reach
        own = _with_kept_vocabulary(own)
        needs = run_data.prepare.needs(own)
    at_home = to_dict(own.mixture) == to_dict(config.mixture)
    asking = dataclasses.replace(
        config, model=own.model, packing=own.packing, vocabulary=own.vocabulary,
        stages=own.stages if at_home else (), training=own.training,
    )  # fmt: skip
    model = run.model_config(own, needs.vocabulary.size)
    bones = state_lib.skeleton(model, config.execution)
    tuned = run_adapters.tuned(own, bones, model=model)
    placed, adapter = state_lib.weight_shardings(tuned.bones, mesh), None
    if each is not None:
        read = (
            warm_start.checkpoint_weights(folder / str(step), tuned.bones.shapes, placed=placed)
            if own.adapter.kind == 'none'
            else run_adapters.each_merged(own, tuned, model=model, mesh=mesh, step=folder / str(step))
        )
        narrow = ((name, jax.block_until_ready(each(name, weight))) for name, weight in read)
        params = nested(in_turn(narrow, flat(bones.shapes)) if later else dict(narrow))
    else:
        params = checkpoint_lib.weights(folder / str(step), tuned.bones.shapes, placed=placed)
        if own.adapter.kind != 'none':
            base = run_adapters.base(own, tuned, model=model, mesh=mesh)
            run_adapters.check_base(folder / str(step), base.fingerprint)
            params, adapter = base.whole(params), (tuned.adapter, params)
    trained, source = tuple(needs.selection.train), f'{config.run_dir}, step {step}'
    return ScoredModel(asking, bones.graph, params, trained, step, source, at_home, needs.vocabulary.path, adapter)


def _with_kept_vocabulary(own: Config) -> Config:
    """The config with the run's own copy of the vocabulary that was trained for it."""
    kept = pathlib.Path(own.run_dir) / run.VOCABULARY
    if own.vocabulary.path is not None or not kept.exists():
        missing = own.vocabulary.path or kept
        raise errors.CheckpointError(f'{missing}, the vocabulary of {own.run_dir}, is missing; put it back there')
    return dataclasses.replace(own, vocabulary=dataclasses.replace(own.vocabulary, path=str(kept)))


def choose(config: Config, checkpoint: str) -> int:
    """The step meant by 'latest', 'best' or a number.

    Raises:
      CheckpointError: there is none; lists those there are.
    """
    folder = pathlib.Path(config.run_dir) / 'checkpoints'
    steps = sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []
    if not steps:
        raise errors.CheckpointError(f'no checkpoint under {folder}; train the config first, or give --checkpoint=PATH')
    if checkpoint == 'latest':
        return steps[-1]
    if checkpoint.isdecimal():
        if int(checkpoint) not in steps:
            raise errors.CheckpointError(f'no checkpoint of step {checkpoint} under {folder}; there are {steps}')
        return int(checkpoint)
    group, found = config.checkpoint.best_score, {}
    for line in telemetry.read(f'{config.run_dir}/metrics.jsonl'):
        if line['event'] == 'evaluation' and line['step'] in steps and line.get(group):
            found[line['step']] = line[group].get('score', line[group]['exact_match'])
    if not found:
        raise errors.CheckpointError(
            f'no checkpoint under {folder} was evaluated on {group} while the run went on, so none is the best: '
            f'set evaluation.every_steps, or give a step of {steps}'
        )
    return max(found, key=found.get)


def _trained_with(config: Config) -> Config:
    """The config the run was started with; where data lies may have changed since.

    Raises:
      CheckpointError: the run directory has no config that can be read.
    """
    path = pathlib.Path(config.run_dir) / 'config.json'
    try:
        own = resolve(json.loads(path.read_text()))
    except (OSError, ValueError, errors.ConfigError) as e:
        raise errors.CheckpointError(
            f'{path} cannot be read ({e}); a checkpoint is scored with the config it has'
        ) from e
    places = {name: vars(config.data)[name] for name in ('store_root', 'local_root', 'tfds_dir')}
    return dataclasses.replace(own, data=dataclasses.replace(own.data, **places))


def score(config: Config, model: ScoredModel, *, mesh: jax.sharding.Mesh, keep: str | None) -> dict[str, Any]:
    """Scores of a model on what a config prepares; predictions go to the folder `keep`."""
    if model.vocabulary not in (None, run_data.prepare.needs(config).vocabulary.path):
        # Other tasks or another format would be given a vocabulary of their own.
        config = dataclasses.replace(config, vocabulary=dataclasses.replace(config.vocabulary, path=model.vocabulary))
    needs, stores = run_data.prepared(config)
    judge = run_scores.make_judge(
        config, model.graph, mesh=mesh, vocabulary=stores.vocabulary, trained_here=model.step is not None
    )  # fmt: skip
    asked = run_scores.suites(stores.stores, trained=model.trained, rows=None)
    if not asked:
        raise errors.DataError(f'no task of the mixture has evaluation rows: {run_scores.unasked(stores.stores)}')
    scores = run_scores.at_end(config, judge, asked=asked, tasks=needs.tasks, params=model.params, keep=keep)
    return scores | {'unasked': run_scores.unasked(stores.stores) | dict(stores.missing)}


def outline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Groups, and the score of each task, without the rest."""
    groups = ('held_in', 'held_out_templates', 'held_out_clusters')
    tasks = {
        name: {group: task[group]['score'] for group in groups if task[group]} for name, task in scores['tasks'].items()
    }
    return {group: scores[group] for group in groups} | {'tasks': tasks}
