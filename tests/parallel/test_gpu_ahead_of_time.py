"""The train step compiled for an H100 that is not there: what runs twice, and how large logits get.

As a script, this file compiles it with one of the ways of recomputing and writes the program to a file.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from flan_jax.config import Config, ExecutionConfig, OptimizerConfig, PackingConfig, TrainingConfig
from flan_jax.models.config import ModelConfig
from flan_jax.parallel import ahead_of_time

POSITIONS, VOCABULARY = 512, 4096
MODEL = ModelConfig(
    vocab_size=VOCABULARY, layers=4, width=256, heads=4, kv_heads=2, head_width=64, mlp_width=512, norm_eps=1e-5
)


def program(remat: str) -> str:
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    # Tracing asks the library and the device for their versions; there is neither.
    cudnn.check_cudnn_version = lambda: 91000
    cudnn.check_compute_capability = lambda wanted: True
    cudnn.is_cuda_compute_capability_equal = lambda wanted: wanted == '9.0'
    config = Config(
        model=MODEL,
        execution=ExecutionConfig(attention='cudnn', remat=remat),
        optimizer=OptimizerConfig(name='adamw'),
        packing=PackingConfig(row_tokens=512),
        training=TrainingConfig(steps=10, batch_rows=4),
    )
    return ahead_of_time.compile_step(config, positions=POSITIONS, topology='h100:1').as_text()


@pytest.fixture(scope='module', params=['none', 'minimal', 'attention', 'full'])
def compiled(request, tmp_path_factory) -> tuple[str, str]:
    """A way of recomputing, and the program with it."""
    pytest.importorskip('jax_plugins.xla_cuda12', reason='jax-cuda12-plugin is not installed, which compiles for GPUs')
    path = tmp_path_factory.mktemp(request.param) / 'program'
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': '--xla_gpu_autotune_level=0'}
    done = subprocess.run(
        [sys.executable, __file__, request.param, str(path)], env=env, capture_output=True, text=True, timeout=500
    )
    assert not done.returncode, done.stderr[-2000:]
    return request.param, path.read_text()


def test_attention_runs_forward_once_unless_all_is_recomputed(compiled):
    remat, text = compiled
    calls = re.findall(r'custom_call_target="__cudnn\$fmha(\w+)"', text)
    backward = [call for call in calls if call.endswith('Backward')]
    assert len(backward) == 1  # in the scan over layers
    assert len(calls) - len(backward) == (2 if remat == 'full' else 1)


def test_logits_exist_once_in_f32(compiled):
    _, text = compiled
    made = re.findall(rf'= f32\[(?:1,)?{POSITIONS},{VOCABULARY}\]\S* (?:fusion|custom-call|copy)\(', text)
    assert len(made) == 1


if __name__ == '__main__':
    pathlib.Path(sys.argv[2]).write_text(program(sys.argv[1]))
