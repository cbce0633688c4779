"""Checkpoints: asynchronous, whole or not at all, self-describing. Orbax does the work."""

import contextlib
import dataclasses
import json
import logging
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from flan_jax import errors
from flan_jax.config import CheckpointConfig
from flan_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself.

    Attributes:
      step: optimizer steps done, which is also the next batch of the plan.
      plan: fingerprint of the plan the steps are counted in.
      config: the resolved config.
      base: fingerprint of the weights that are not trained, and so not in it; None: all are.
    """

    step: int
    plan: str
    config: Mapping[str, Any]
    base: str | None = None


@contextlib.contextmanager
def _without(words: str):
    """Orbax warns of every save without a score, and of every part of a checkpoint that is read by itself."""

    def other(record: logging.LogRecord) -> bool:
        return words not in str(record.msg)

    logger = logging.getLogger('absl')
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


class Checkpoints:
    """The checkpoints of one run directory: the newest ones and the best ones.

    A save is a directory under another name until all of it is written, so that a kill at any moment leaves the
    earlier ones whole.
    """

    def __init__(self, run_dir: str, config: CheckpointConfig):
        self.path = pathlib.Path(run_dir).absolute() / 'checkpoints'
        keep = [checkpoint_managers.LatestN(config.keep_last)]
        if config.keep_best:
            best = checkpoint_managers.BestN(
                get_metric_fn=lambda m: m['score'], n=config.keep_best, keep_checkpoints_without_metrics=False
            )
            keep.append(best)
        self._manager = ocp.CheckpointManager(
            self.path,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep),
                best_fn=(lambda m: m['score']) if config.keep_best else None,  # else a restart forgets the scores
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,
                create=True,
            ),
            item_names=('state', 'description'),
        )

    def latest(self) -> int | None:
        """The newest whole checkpoint's step."""
        return self._manager.latest_step()

    def save(self, state: TrainState, description: Description, *, score: float | None = None) -> None:
        """Starts a save and returns; the arrays are copied before the next step may overwrite them.

        Raises:
          CheckpointError: this save could not be started or the one before could not be finished (a full disk, ...).
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(vars(state)), description=ocp.args.JsonSave(dataclasses.asdict(description))
        )
        try:
            if description.step not in self._manager.all_steps():
                with _without('tracked_metric'):
                    self._manager.save(description.step, args=args, metrics=None if score is None else {'score': score})
        except Exception as e:  # tensorstore and the file system raise types of their own
            raise self._failed(e) from e

    def finish(self) -> None:
        """Waits until everything is on disk.

        Raises:
          CheckpointError: it could not be written; earlier checkpoints are unharmed.
        """
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as e:
            raise self._failed(e) from e

    def _failed(self, e: Exception) -> errors.CheckpointError:
        kept = sorted(self._manager.all_steps(read=True))
        return errors.CheckpointError(
            f'a checkpoint could not be written under {self.path}: {str(e).splitlines()[0] if str(e) else repr(e)}; '
            f'whole ones: {kept or "none"}. Make room and start again: the run goes on from the newest'
        )

    def restore(
        self,
        shapes: TrainState,
        placed: TrainState,
        *,
        plan: str,
        step: int | None = None,
        base: str | None = None,
    ) -> TrainState:
        """A checkpoint's state, each array straight to its place on the mesh that is now.

        Args:
          shapes: of the state.
          placed: its shardings; the mesh it was saved from does not matter.
          plan: fingerprint of the plan this run has.
          step: which; None: the newest.
          base: fingerprint of the weights this run does not train.

        Raises:
          CheckpointError: there is none, it is damaged, or it belongs to another plan or to other base weights.
        """
        step = self.latest() if step is None else step
        if step is None:
            raise errors.CheckpointError(f'no checkpoint under {self.path}')
        description = self.describe(step)
        if description.plan != plan:
            raise errors.CheckpointError(
                f'checkpoint {self.path}/{step} was trained on plan {description.plan}, this config makes plan {plan}: '
                'data, rates, seed or row lengths differ. Give the run another name, or restore that config'
            )
        if description.base != base:
            raise errors.CheckpointError(
                f'checkpoint {self.path}/{step} was trained on base weights {description.base or "none"}, this config '
                f'gives {base or "none"}: checkpoint.warm_start, adapter.base, adapter.others or what is trained '
                'differ. Give the run another name, or restore that config'
            )
        targets = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, placed)
        try:
            check_shapes(self.path / str(step), vars(targets), whole=True)
            items = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(vars(targets))))
        except Exception as e:
            raise errors.CheckpointError(
                f'checkpoint {self.path}/{step} cannot be read as this model and optimizer: {why(e)}; '
                'remove that directory to go on from an earlier one'
            ) from e
        return TrainState(**items['state'])

    def describe(self, step: int) -> Description:
        """What a checkpoint says of itself.

        Raises:
          CheckpointError: it says nothing that can be read.
        """
        try:
            items = self._manager.restore(step, args=ocp.args.Composite(description=ocp.args.JsonRestore()))
            return Description(**items['description'])
        except Exception as e:
            raise errors.CheckpointError(
                f'checkpoint {self.path}/{step} has no description that can be read: {why(e)}; '
                'remove that directory to go on from an earlier one'
            ) from e

    def close(self) -> None:
        self._manager.close()


def weights(step: pathlib.Path, shapes: Any, *, placed: Any) -> Any:
    """A checkpoint's weights alone, each straight to its place.

    Args:
      step: the checkpoint's folder.
      shapes: of the weights.
      placed: their shardings; the mesh they were saved from does not matter.

    Raises:
      CheckpointError: they cannot be read, or have other shapes; names the tensor.
    """
    targets = jax.tree.map(lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, placed)
    arguments = ocp.checkpoint_utils.construct_restore_args(targets)
    try:
        check_shapes(step, {'params': targets}, whole=False)
        with ocp.PyTreeCheckpointer() as reader:
            wanted = ocp.args.PyTreeRestore(
                {'params': targets}, restore_args={'params': arguments}, partial_restore=True
            )
            return reader.restore(step / 'state', args=wanted)['params']
    except Exception as e:  # tensorstore and the file system raise types of their own
        raise errors.CheckpointError(
            f'the weights of checkpoint {step} cannot be read: {why(e)}; use another step'
        ) from e


def check_shapes(step: pathlib.Path, shapes: Any, *, whole: bool) -> None:
    """Refuses a checkpoint whose arrays are not those asked for; reads none of their numbers.

    Args:
      step: the checkpoint's folder.
      shapes: of what is asked for.
      whole: whether it must hold nothing else.

    Raises:
      ValueError: names the tensor and both shapes, or the list of its arrays is missing or damaged.
    """
    with _without('Metadata file does not exist'), ocp.PyTreeCheckpointer() as reader:
        stored = reader.metadata(step / 'state').item_metadata
    if stored is None:
        _check_list(step / 'state' / '_METADATA')
        return  # what else is wrong with it, reading will tell
    there, asked = _by_name(stored.tree), _by_name(shapes)
    for name, leaf in asked.items():
        if name not in there:
            raise ValueError(f'tensor {name} is not in it{errors.near(name, there)}')
        if tuple(there[name].shape) != leaf.shape:
            raise ValueError(f'tensor {name} has shape {list(there[name].shape)} in it, {list(leaf.shape)} here')
    if whole and (more := sorted(there.keys() - asked.keys())):
        raise ValueError(f'tensor {more[0]}, and {len(more) - 1} more, have no place here')


def _check_list(file: pathlib.Path) -> None:
    try:
        json.loads(file.read_text())
    except (OSError, ValueError) as e:
        raise ValueError(f'its list of tensors, {file}, cannot be read: {e}') from None


def _by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator='.'): leaf for path, leaf in leaves}


def why(error: BaseException) -> str:
    """What went wrong at the bottom of an error, in one line: tensorstore adds pages about how it opened the array.

    >>> deep = 'Error reading "params.norm.scale/0.0" in OCDBT database at local file "/x/6/state/": it ends early'
    >>> why(ValueError(f'OUT_OF_RANGE: {deep} [tensorstore_spec={{}}]'))
    'tensor params.norm.scale: it ends early'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    told = ' '.join((str(error) or repr(error)).partition(' [tensorstore_spec')[0].split())
    pattern = r'.*?"([^"/]+)/[^"/]*" in OCDBT database at local file "[^"]*"(?:: | )(.*)'
    found = re.fullmatch(pattern, told)
    return f'tensor {found[1]}: {found[2]}' if found else told
