"""Train steps of published shapes, compiled for 16 TPU v5e chips that are not there.

XLA's program for TPUs is the subject: what each chip holds, and what the chips send each other. As a script, this file
compiles one of the configs and writes its memory and program into a folder.
"""

import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from flan_jax.config import Config, ExecutionConfig, MeshConfig, OptimizerConfig, PackingConfig, TrainingConfig
from flan_jax.models import presets
from flan_jax.parallel import ahead_of_time
from flan_jax.training import state

GIB = 2**30
CHIP = 16 * GIB  # of a v5e
MESH = MeshConfig(data=1, fsdp=16)
POSITIONS = {'t5_1_1_base': 256, 'llama3_1b': 1024}  # supervised ones of a chip: all of T5's, a quarter of Llama's


def configs() -> dict[str, Config]:
    return {
        't5_1_1_base': Config(
            model=presets.preset('t5_1_1_base'),
            execution=ExecutionConfig(attention='dense'),  # for its relative bias
            optimizer=OptimizerConfig(name='adafactor'),
            packing=PackingConfig(encoder_tokens=512, decoder_tokens=128),
            training=TrainingConfig(steps=1000, batch_rows=32),
            mesh=MESH,
        ),
        'llama3_1b': Config(
            model=presets.preset('llama3_1b'),
            execution=ExecutionConfig(attention='splash', remat='minimal'),
            optimizer=OptimizerConfig(name='adamw'),
            packing=PackingConfig(row_tokens=2048),
            training=TrainingConfig(steps=1000, batch_rows=32),
            mesh=MESH,
        ),
    }


@dataclasses.dataclass(frozen=True)
class Program:
    """What XLA made of a config."""

    config: Config
    memory: ahead_of_time.Memory
    text: str

    def collectives(self, kind: str) -> list[tuple[str, int]]:
        """Element type and number of elements of every result of a kind of collective, over all chips."""
        lines = re.findall(rf'= (.*?) {kind}\(', self.text)
        return [
            (dtype, math.prod(int(size) for size in shape.split(',') if size))
            for line in lines
            for dtype, shape in re.findall(r'(\w+)\[([\d,]*)\]', line)
        ]


@pytest.fixture(scope='module')
def programs(tmp_path_factory):
    """Both configs, compiled side by side: each keeps one core busy for a minute."""
    pytest.importorskip('libtpu')
    # No metadata server is asked for chips, and a lock that is there for the sake of chips is left alone.
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    started = {}
    for name in configs():
        folder = tmp_path_factory.mktemp(name)
        with open(folder / 'log', 'w') as log:
            command = [sys.executable, __file__, name, str(folder)]
            started[name] = folder, subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        return {name: _result(name, folder, process) for name, (folder, process) in started.items()}
    finally:
        for _, process in started.values():
            process.kill()


def _result(name: str, folder: pathlib.Path, process: subprocess.Popen) -> Program:
    status = process.wait(timeout=900)
    assert status == 0, (folder / 'log').read_text()[-5000:]
    memory = ahead_of_time.Memory(**json.loads((folder / 'memory.json').read_text()))
    return Program(configs()[name], memory, (folder / 'program.txt').read_text())


@pytest.mark.parametrize('name, peak', [('t5_1_1_base', 0.55), ('llama3_1b', 5.85)])
def test_a_chip_holds_its_part_of_the_step(programs, name, peak):
    memory = programs[name].memory
    assert memory.peak < CHIP
    assert memory.peak / GIB == pytest.approx(peak, rel=0.2)


@pytest.mark.parametrize('name, moments', [('t5_1_1_base', 0), ('llama3_1b', 2)])
def test_the_new_state_takes_the_place_of_the_old_one(programs, name, moments):
    program = programs[name]
    assert program.memory.outputs - program.memory.aliased < 2**20  # metrics
    # A chip's 48 rows of a T5 attention weight leave no axis for the 128 lanes: those weights are stored padded.
    padding = {'t5_1_1_base': 1.4, 'llama3_1b': 1.0}[name]
    weights = 4 * presets.parameter_count(program.config.model) / 16
    assert program.memory.aliased == pytest.approx((1 + moments) * weights * padding, rel=0.05)


@pytest.mark.parametrize('name', ['t5_1_1_base', 'llama3_1b'])
def test_chips_gather_weights_in_bf16_and_no_activations(programs, name):
    program = programs[name]
    bones = state.skeleton(program.config.model, program.config.execution)
    axes = jax.tree.leaves(bones.axes, is_leaf=lambda axes: isinstance(axes, tuple))
    weights = {
        math.prod(weight.shape[1:] if axes[0] == 'layers' else weight.shape)
        for weight, axes in zip(jax.tree.leaves(bones.shapes), axes, strict=True)
    }
    # Token ids of both sides, which the embedding is asked for, and adafactor's statistics of rows and columns.
    packing = program.config.packing
    tokens = program.config.training.batch_rows * (
        packing.encoder_tokens + packing.decoder_tokens if program.config.model.encoder_decoder else packing.row_tokens
    )
    large = [(dtype, size) for dtype, size in program.collectives('all-gather') if size > tokens]
    assert large
    assert {dtype for dtype, _ in large} == {'bf16'}
    assert {size for _, size in large} <= weights


def test_splash_runs_once_forward_and_twice_backward(programs):
    # Its result is kept for the backward pass, which needs a kernel for queries and one for keys and values.
    assert programs['llama3_1b'].text.count('custom_call_target="tpu_custom_call"') == 3


def compile_config(name: str, folder: pathlib.Path) -> None:
    compiled = ahead_of_time.compile_step(configs()[name], positions=POSITIONS[name], topology='v5e:4x4')
    (folder / 'memory.json').write_text(json.dumps(dataclasses.asdict(ahead_of_time.memory(compiled))))
    (folder / 'program.txt').write_text(compiled.as_text())


if __name__ == '__main__':
    compile_config(sys.argv[1], pathlib.Path(sys.argv[2]))
