"""The one table from logical axes to mesh axes."""

from collections.abc import Sequence

import jax
from jax.sharding import NamedSharding, PartitionSpec

from flan_jax import errors

# Weights are split over `fsdp` along the residual width and over `tensor` along heads, MLP and vocabulary, those of
# sparse experts by experts: whole ones, since each is narrow.
# Activations are split over `data` and `fsdp` along the batch.
TABLE: dict[str, tuple[str, ...] | None] = {
    'batch': ('data', 'fsdp'),
    'data_rows': ('data',),
    'length': ('context',),
    'embed': ('fsdp',),
    'mlp': ('tensor',),
    'experts': ('tensor',),
    'expert_mlp': None,
    'heads': ('tensor',),
    'kv_heads': ('tensor',),
    'vocab': ('tensor',),
    'head': None,
    'norm': None,
    'buckets': None,
    'layers': None,
    'microbatch': None,
    'position': None,
    'width': None,
    'rank': None,
}


def spec(axes: Sequence[str]) -> PartitionSpec:
    """Logical axes -> partition spec.

    >>> tuple(spec(('layers', 'embed', 'mlp')))
    (None, 'fsdp', 'tensor')

    Raises:
      ConfigError: an axis is not in the table.
    """
    for axis in axes:
        if axis not in TABLE:
            raise errors.ConfigError(f'logical axis {axis!r} is not in the table{errors.near(axis, TABLE)}')
    entries = [TABLE[axis] for axis in axes]
    return PartitionSpec(*[e[0] if e is not None and len(e) == 1 else e for e in entries])


def constrain(x: jax.Array, axes: Sequence[str]) -> jax.Array:
    """Tells XLA how `x` lies on the mesh that is set; nothing without one."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(axes)))


def sharding(mesh: jax.sharding.Mesh, axes: Sequence[str], *, shape: Sequence[int], name: str) -> NamedSharding:
    """Where a weight lies.

    Raises:
      ConfigError: a dimension does not divide over its mesh axes; names the weight, the dimension and the remedy.
    """
    partition = spec(axes)
    for axis, size, entry in zip(axes, shape, partition, strict=True):
        names = (entry,) if isinstance(entry, str) else entry or ()
        ways = 1
        for mesh_axis in names:
            ways *= mesh.shape[mesh_axis]
        if size % ways:
            raise errors.ConfigError(
                f'{name}: axis {axis!r} of size {size} does not divide over mesh axes {names} of {ways} devices; '
                f'choose mesh.{names[-1]} that divides {size}'
            )
    return NamedSharding(mesh, partition)
