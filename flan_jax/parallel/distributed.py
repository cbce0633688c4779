"""Several processes: who talks to whom."""

import os

import jax
import numpy as np
from jax.experimental import multihost_utils

from flan_jax.parallel import axes


def initialise() -> None:
    """Joins the other processes if the environment says there are any; else does nothing.

    By hand: COORDINATOR_ADDRESS=host:port, NUM_PROCESSES and PROCESS_ID in each process. On a Cloud TPU slice of
    several hosts (TPU_WORKER_HOSTNAMES names them), or with COORDINATOR_ADDRESS alone, JAX finds out the rest.
    """
    address = os.environ.get('COORDINATOR_ADDRESS')
    if address and 'NUM_PROCESSES' in os.environ:
        if os.environ.get('JAX_PLATFORMS') == 'cpu':
            jax.config.update('jax_cpu_collectives_implementation', 'gloo')
        jax.distributed.initialize(address, int(os.environ['NUM_PROCESSES']), int(os.environ['PROCESS_ID']))
    elif address or len(os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1:
        jax.distributed.initialize()


def local_groups(mesh: jax.sharding.Mesh, groups: int) -> list[int]:
    """Which of the `groups` parts of a batch lie on this process's devices, in order."""
    sharding = jax.sharding.NamedSharding(mesh, axes.spec(('batch',)))
    index = sharding.addressable_devices_indices_map((groups,))
    return sorted({cut[0].start or 0 for cut in index.values()})


def everywhere(x: jax.Array) -> np.ndarray:
    """A global array as numpy in every process."""
    if jax.process_count() == 1:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
