"""The loader: plan rows to batches on the mesh, prefetched by Grain. Its whole state is the number of the next step."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import grain
import jax
import numpy as np

from flan_jax import errors
from flan_jax.batch import Batch, Rows
from flan_jax.config import TrainingConfig
from flan_jax.data import gather, planning
from flan_jax.data.planning import Plan
from flan_jax.data.store import Split
from flan_jax.parallel import axes, distributed

READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a batch is cut.

    Attributes:
      batch_rows: B over all microbatches.
      microbatches: A.
      groups: G, devices a microbatch is split over.
      positions: M, supervised positions of a group.
    """

    batch_rows: int
    microbatches: int
    groups: int
    positions: int

    @property
    def group_rows(self) -> int:
        return self.batch_rows // self.microbatches // self.groups


def layout(plan: Plan, training: TrainingConfig, *, mesh: jax.sharding.Mesh) -> Layout:
    """The cut of a plan's batches on a mesh.

    Raises:
      ConfigError: the batch does not divide.
    """
    groups = mesh.shape['data'] * mesh.shape['fsdp']
    parts = training.microbatches * groups
    if training.batch_rows % parts:
        raise errors.ConfigError(
            f'training.batch_rows={training.batch_rows} does not divide over {training.microbatches} microbatches on '
            f'{groups} devices (mesh.data={mesh.shape["data"]}, mesh.fsdp={mesh.shape["fsdp"]}); '
            f'take a multiple of {parts}'
        )
    positions = max(planning.bound(plan, batch_rows=training.batch_rows, parts=parts), training.positions or 0)
    return Layout(training.batch_rows, training.microbatches, groups, positions)


class Loader:
    """Batches of a plan.

    Args:
      plan: rows in training order.
      splits: the training split of each of the plan's tasks.
      layout: how a batch is cut.
      mesh: where it goes; each process gathers only the rows of its own devices.
    """

    def __init__(self, plan: Plan, splits: Mapping[str, Split], *, layout: Layout, mesh: jax.sharding.Mesh):
        self.plan, self.layout, self.mesh = plan, layout, mesh
        self._splits = [splits[name] for name in plan.tasks]  # keeps the maps open
        self._addresses = gather.addresses(self._splits)
        self._arrays = (plan.row_starts, plan.task, plan.example)
        self._groups = distributed.local_groups(mesh, layout.groups)

    @property
    def steps(self) -> int:
        """Batches of the plan; the last one may have empty rows."""
        return -(-len(self.plan) // self.layout.batch_rows)

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last`, on their devices, read ahead."""
        dataset = grain.MapDataset.range(first, last).map(self.gather).to_iter_dataset(READ)
        for host in dataset:
            yield self.place(host)

    def gather(self, step: int) -> Batch:
        """This process's part of a batch, as numpy arrays [A, local B, ...]."""
        cut = self.layout
        row_ids = self._rows(step)
        marks_shape = (cut.microbatches * len(self._groups), cut.positions)
        marks = (np.zeros(marks_shape, np.int32), np.zeros(marks_shape, np.int32), np.zeros(marks_shape, np.float32))
        sides = [_zeros(len(row_ids), tokens) for tokens in self.plan.recipe.row_tokens]
        if len(sides) == 1:
            gather.decoder_rows(self._addresses, self._arrays, row_ids, cut.group_rows, sides[0], marks)
        else:
            gather.encoder_decoder_rows(self._addresses, self._arrays, row_ids, cut.group_rows, tuple(sides), marks)

        def microbatched(x: np.ndarray) -> np.ndarray:
            return x.reshape(cut.microbatches, -1, x.shape[-1])

        rows = [Rows(*map(microbatched, side)) for side in sides]
        encoder = rows[0] if len(rows) == 2 else None
        return Batch(rows[-1], encoder, *map(microbatched, marks))

    def place(self, host: Batch) -> Batch:
        """This process's part -> global arrays."""
        return jax.tree.map(
            functools.partial(place, mesh=self.mesh, groups=self.layout.groups, mine=self._groups), host
        )

    def _rows(self, step: int) -> np.ndarray:
        """Plan rows of this process in a step; -1 past the end of the plan."""
        cut = self.layout
        first = step * cut.batch_rows
        grid = np.arange(first, first + cut.batch_rows).reshape(cut.microbatches, cut.groups, cut.group_rows)
        mine = grid[:, self._groups].reshape(-1)
        return np.where(mine < len(self.plan), mine, -1)


def _zeros(rows: int, tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.zeros((rows, tokens), np.int32) for _ in range(3))


def place(x: np.ndarray, *, mesh: jax.sharding.Mesh, groups: int, mine: Sequence[int]) -> jax.Array:
    """Local [A, local groups * n, ...] -> global [A, groups * n, ...], split over the batch axes of the mesh."""
    each = x.shape[1] // len(mine)
    shape = (x.shape[0], groups * each, x.shape[2])
    sharding = jax.sharding.NamedSharding(mesh, axes.spec(('microbatch', 'batch', 'position')))
    local = {group: i for i, group in enumerate(mine)}

    def piece(index: tuple[slice, ...]) -> np.ndarray:
        place = local[(index[1].start or 0) // each]
        return x[:, place * each : (place + 1) * each]

    return jax.make_array_from_callback(shape, sharding, piece)
