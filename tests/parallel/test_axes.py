"""Logical axes, the mesh, and their error messages."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from flan_jax import errors
from flan_jax.config import MeshConfig
from flan_jax.parallel import axes
from flan_jax.parallel import mesh as mesh_lib


class Device:
    platform = 'cpu'


def mesh(**sizes: int) -> AbstractMesh:
    return AbstractMesh(
        tuple(sizes.get(axis, 1) for axis in mesh_lib.AXES), mesh_lib.AXES, axis_types=(AxisType.Auto,) * 4
    )


def test_logical_axes_become_mesh_axes():
    assert axes.spec(('layers', 'embed', 'mlp')) == PartitionSpec(None, 'fsdp', 'tensor')
    assert axes.spec(('batch', 'length', 'width')) == PartitionSpec(('data', 'fsdp'), 'context', None)


def test_every_mesh_axis_of_the_table_is_one_of_the_mesh():
    assert {axis for entry in axes.TABLE.values() for axis in entry or ()} == set(mesh_lib.AXES)


def test_an_unknown_axis_is_an_error_with_the_nearest_name():
    with pytest.raises(errors.ConfigError, match="logical axis 'embd' is not in the table; did you mean embed"):
        axes.spec(('layers', 'embd'))


def test_a_dimension_that_does_not_divide_is_named_with_its_weight_and_the_remedy():
    message = (
        "stack.blocks.attention.key: axis 'kv_heads' of size 3 does not divide over mesh axes ('tensor',) of 2 "
        'devices; choose mesh.tensor that divides 3'
    )
    with pytest.raises(errors.ConfigError, match=re.escape(message)):
        axes.sharding(
            mesh(tensor=2), ('embed', 'kv_heads', 'head'), shape=(576, 3, 64), name='stack.blocks.attention.key'
        )


def test_a_dimension_that_divides_is_split():
    placed = axes.sharding(mesh(fsdp=4, tensor=2), ('embed', 'mlp'), shape=(64, 32), name='mlp.up')
    assert placed.spec == PartitionSpec('fsdp', 'tensor')
    assert placed.shard_shape((64, 32)) == (16, 16)


def test_without_a_mesh_nothing_is_constrained():
    x = np.ones((2, 3), np.float32)
    assert axes.constrain(x, ('batch', 'width')) is x


@pytest.mark.skipif(jax.device_count() != 8, reason='needs 8 devices, virtual ones will do')
def test_a_constraint_splits_over_the_mesh_that_is_set():
    with jax.set_mesh(mesh_lib.make(MeshConfig(data=2, fsdp=2, tensor=2))):
        x = jax.jit(lambda x: axes.constrain(x, ('batch', 'mlp')))(np.ones((8, 6), np.float32))
    assert x.sharding.shard_shape(x.shape) == (2, 3)


@pytest.mark.parametrize(
    'sizes, shape',
    [
        (dict(), (8, 1, 1, 1)),
        (dict(fsdp=4), (2, 4, 1, 1)),
        (dict(data=1, fsdp=-1, tensor=2), (1, 4, 1, 2)),
        (dict(data=2, fsdp=2, context=2), (2, 2, 2, 1)),
    ],
)
def test_a_free_axis_takes_what_the_others_leave(sizes, shape):
    assert tuple(mesh_lib.make(MeshConfig(**sizes), [Device() for _ in range(8)]).shape.values()) == shape


@pytest.mark.parametrize(
    'sizes, message',
    [
        (
            dict(data=1, fsdp=4),
            'mesh.data=1, mesh.fsdp=4, mesh.context=1, mesh.tensor=1 does not fit 8 devices; '
            'the sizes must multiply to that',
        ),
        (
            dict(fsdp=3),
            'mesh.data=-1, mesh.fsdp=3, mesh.context=1, mesh.tensor=1 does not fit 8 devices; '
            'the sizes must multiply to that',
        ),
        (
            dict(fsdp=-1),
            'mesh.data=-1, mesh.fsdp=-1, mesh.context=1, mesh.tensor=1: sizes are at least 1, '
            'and one of them may be -1',
        ),
        (
            dict(tensor=0),
            'mesh.data=-1, mesh.fsdp=1, mesh.context=1, mesh.tensor=0: sizes are at least 1, and one of them may be -1',
        ),
    ],
)
def test_a_mesh_that_does_not_fit_is_an_error_with_all_its_sizes(sizes, message):
    with pytest.raises(errors.ConfigError, match=re.escape(message)):
        mesh_lib.make(MeshConfig(**sizes), [Device() for _ in range(8)])
