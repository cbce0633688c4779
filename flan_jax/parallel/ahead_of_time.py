"""The train step compiled for devices that are not there: sharding, kernels and memory checked without one."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flan_jax.batch import Batch, Rows
from flan_jax.config import Config
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.parallel import axes, topologies
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import optimizer, state, step
from flan_jax.training.state import Skeleton


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one chip.

    Attributes:
      arguments: the state and a batch.
      outputs: the new state and the metrics.
      temporary: activations, gradients, collectives' buffers.
      aliased: the part of the outputs that lies where the donated arguments were.
      code: the program.
      peak: of it all at once.
    """

    arguments: int
    outputs: int
    temporary: int
    aliased: int
    code: int
    peak: int


def compile_step(
    config: Config, *, positions: int, topology: str = 'v5e:4x4', options: Mapping[str, str | bool | int] | None = None
) -> jax.stages.Compiled:
    """Compiles a config's train step; allocates nothing and needs no device.

    Kernels are those of `execution.attention`; `auto` asks the devices that are there, so name one.

    Args:
      config: the run; `model.vocab_size` must be set. With an adapter, only that is trained.
      positions: M, the most supervised positions a device has in a microbatch.
      topology: see `topologies.devices`.
      options: XLA's, such as `{'xla_tpu_enable_latency_hiding_scheduler': 'true'}`.

    Raises:
      ConfigError: the mesh does not fit the topology, or a weight the mesh.
    """
    mesh = mesh_lib.make(config.mesh, topologies.devices(topology))
    model = state.skeleton(config.model, config.execution)
    bones, whole, frozen = model, None, None
    if config.adapter.kind != 'none':
        bones = state.Skeleton(model.graph, *adapters.parts(config.adapter, model.shapes, axes=model.axes))
        whole = functools.partial(_assembled, config=config.adapter, axes=model.axes)
        frozen = abstract_base(config, model, trained=bones, mesh=mesh)
    tx, schedule = optimizer.make(config.optimizer, bones.axes, steps=config.training.steps or 1)
    placed = state.shardings(bones, tx, mesh=mesh)
    run = step.make(
        model.graph, tx, training=config.training, schedule=schedule,
        dropout_seed=config.seed if config.model.dropout else None, whole=whole,
    )  # fmt: skip
    abstract = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state.shapes(bones, tx), placed
    )
    with jax.set_mesh(mesh):
        jitted = jax.jit(run, donate_argnums=0, out_shardings=(placed, None))
        return jitted.lower(abstract, abstract_batch(config, mesh, positions=positions), frozen).compile(
            compiler_options=options
        )


def _assembled(frozen: Any, trained: Any, *, config: AdapterConfig, axes: Any) -> Any:
    return adapters.assemble(frozen, trained, config=config, axes=axes)


def abstract_base(config: Config, model: Skeleton, *, trained: Skeleton, mesh: Mesh) -> Any:
    """Shapes and shardings of the weights that are not trained, in the type they are kept in; of `adapter.others` it
    knows nothing.

    Codes and scales of a quantised matrix lie as the matrix does, but for axes that no longer divide.
    """
    keep = functools.partial(adapters.keep, config.adapter, shapes=trained.shapes, axes=model.axes)
    axes_of = flat(model.axes)

    def place(name: str, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        entries = []
        for size, entry in zip(leaf.shape, axes.spec(axes_of[name])):
            names = (entry,) if isinstance(entry, str) else entry or ()
            ways = math.prod(mesh.shape[name] for name in names)
            entries.append(None if size % ways else entry)
        sharding = NamedSharding(mesh, PartitionSpec(*entries))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    kept = flat(jax.eval_shape(keep, model.shapes))
    return nested({name: jax.tree.map(functools.partial(place, name), leaf) for name, leaf in kept.items()})


def abstract_batch(config: Config, mesh: Mesh, *, positions: int) -> Batch:
    """Shapes and shardings of a batch (see `flan_jax.data.loader`)."""
    a, groups = config.training.microbatches, mesh.shape['data'] * mesh.shape['fsdp']
    split = NamedSharding(mesh, axes.spec(('microbatch', 'batch', 'position')))

    def array(rows: int, width: int, dtype: jnp.dtype = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((a, rows, width), dtype, sharding=split)

    def side(tokens: int) -> Rows:
        return Rows(*(array(config.training.batch_rows // a, tokens) for _ in range(3)))

    marks = (array(groups, positions), array(groups, positions), array(groups, positions, jnp.float32))
    packing = config.packing
    if config.model.encoder_decoder:
        return Batch(side(packing.decoder_tokens), side(packing.encoder_tokens), *marks)
    return Batch(side(packing.row_tokens), None, *marks)


def memory(compiled: jax.stages.Compiled) -> Memory:
    """What a compiled program takes of one chip."""
    told = compiled.memory_analysis()
    return Memory(
        arguments=told.argument_size_in_bytes,
        outputs=told.output_size_in_bytes,
        temporary=told.temp_size_in_bytes,
        aliased=told.alias_size_in_bytes,
        code=told.generated_code_size_in_bytes,
        peak=told.peak_memory_in_bytes,
    )
