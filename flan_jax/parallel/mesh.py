"""The device mesh."""

import math

import jax
import jax.experimental.mesh_utils
import numpy as np
from jax.sharding import AxisType, Mesh

from flan_jax import errors
from flan_jax.config import MeshConfig

AXES = ('data', 'fsdp', 'context', 'tensor')


def make(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices; an axis of -1 takes what the others leave.

    Raises:
      ConfigError: the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.context, config.tensor]
    free = [axis for axis, size in zip(AXES, sizes) if size == -1]
    fixed = math.prod(size for size in sizes if size != -1)
    told = ', '.join(f'mesh.{axis}={size}' for axis, size in zip(AXES, sizes))
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise errors.ConfigError(f'{told}: sizes are at least 1, and one of them may be -1')
    if len(devices) % fixed or (not free and fixed != len(devices)):
        raise errors.ConfigError(f'{told} does not fit {len(devices)} devices; the sizes must multiply to that')
    shape = [len(devices) // fixed if size == -1 else size for size in sizes]
    if devices[0].platform == 'tpu':  # lay the mesh along the chips' wires
        grid = jax.experimental.mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)
    else:
        grid = np.array(devices).reshape(shape)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
