"""A small train step compiled for four TPU chips that are not there, with all weights trained and with an adapter."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from flan_jax.config import (
    Config,
    DataConfig,
    ExecutionConfig,
    MeshConfig,
    OptimizerConfig,
    PackingConfig,
    TrainingConfig,
)
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import ModelConfig
from flan_jax.models.presets import parameter_count

MODEL = ModelConfig(
    vocab_size=1024, layers=2, width=256, heads=4, kv_heads=4, head_width=64, mlp_width=1024, tied_embeddings=False
)
LORA = {'kind': 'lora', 'rank': 4}
ADAPTERS = {'none': {}, 'lora': LORA, 'bfloat16': LORA | {'base': 'bfloat16'}, 'nf4': LORA | {'base': 'nf4'}}


def config_of(adapter: str) -> Config:
    return Config(
        model=MODEL, optimizer=OptimizerConfig(name='adamw'),
        execution=ExecutionConfig(attention='dense', remat='full'),
        data=DataConfig(max_inputs=96, max_targets=32), packing=PackingConfig(row_tokens=128),
        training=TrainingConfig(steps=10, batch_rows=4),
        mesh=MeshConfig(data=1, fsdp=2, tensor=2), adapter=AdapterConfig(**ADAPTERS[adapter]),
    )  # fmt: skip


@pytest.fixture(scope='module')
def memory(tmp_path_factory) -> dict[str, dict[str, int]]:
    """Of each, compiled in a process of its own, which need ask no metadata server for chips."""
    pytest.importorskip('libtpu')
    pytest.importorskip('qwix')
    folder = tmp_path_factory.mktemp('compiled')
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / 'memory.json').read_text())


def test_only_what_is_trained_has_moments_and_comes_out_of_the_step(memory):
    weights = 4 * parameter_count(MODEL) / 4  # bytes of f32 on each of four chips
    assert memory['none']['outputs'] == pytest.approx(3 * weights, rel=0.1)
    assert memory['lora']['outputs'] < 0.2 * weights
    assert memory['lora']['arguments'] == pytest.approx(memory['lora']['outputs'] + weights, rel=0.1)


def test_a_base_of_fewer_bits_takes_fewer_bytes(memory):
    assert memory['bfloat16']['arguments'] < 0.65 * memory['lora']['arguments']
    assert memory['nf4']['arguments'] < memory['lora']['arguments']


if __name__ == '__main__':
    import dataclasses

    from flan_jax.parallel import ahead_of_time

    told = {
        name: dataclasses.asdict(
            ahead_of_time.memory(ahead_of_time.compile_step(config_of(name), positions=32, topology='v5e:2x2'))
        )
        for name in ADAPTERS
    }
    pathlib.Path(sys.argv[1], 'memory.json').write_text(json.dumps(told))
