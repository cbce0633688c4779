"""Devices that are not there, for which programs are compiled all the same."""

import re

import jax
from jax.experimental import topologies

from flan_jax import errors

# XLA's description of a GPU, with what it would ask the driver for.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 8 } runtime_version { major: 12 minor: 8 }
"""


def devices(name: str) -> list[jax.Device]:
    """Devices to compile for.

    Args:
      name: `v5e:4x4` and the like are libtpu's names of TPU slices, and need the package libtpu. `h100:8` are eight
        GPUs of one host, and need jax-cuda12-plugin, jax-cuda12-pjrt and nvidia-cuda-nvcc-cu12 (pip install
        --no-deps), but no driver; without a GPU to try kernels on, XLA_FLAGS must have --xla_gpu_autotune_level=0.

    Raises:
      ConfigError: there is no such name.
    """
    if gpus := re.fullmatch(r'h100:(\d+)', name):
        found = topologies.get_topology_desc(
            platform='cuda', topology_name='h100', target_config=_H100, topology=f'1x1x{gpus[1]}'
        )
    elif re.fullmatch(r'v\d\w*:[\dx]+', name):
        found = topologies.get_topology_desc(platform='tpu', topology_name=name)
    else:
        raise errors.ConfigError(f'no topology {name!r}; there are TPU slices, like v5e:4x4, and h100:1')
    return list(found.devices)
