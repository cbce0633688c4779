"""The decode step compiled for a TPU v5e that is not there: what its loop copies.

As a script, this file compiles it and writes the program to a file.
"""

import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from flan_jax.decoding import slots
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state

LAYERS, SLOTS, WIDTH, NEW = 6, 64, 128, 128
MODEL = ModelConfig(
    vocab_size=1024, layers=LAYERS, width=256, heads=4, kv_heads=2, head_width=64, mlp_width=512, norm_eps=1e-5
)
CACHE = LAYERS * SLOTS * (WIDTH + NEW) * MODEL.kv_heads * MODEL.head_width  # elements of keys, and of values


def compile_step(devices: list) -> str:
    from flan_jax.config import MeshConfig

    mesh = mesh_lib.make(MeshConfig(), devices)
    bones = state.skeleton(MODEL, ExecutionConfig(compute_dtype='bfloat16', attention='dense', remat='none'))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def there(shape, dtype=jnp.int32):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)

    params = jax.tree.map(lambda x: there(x.shape, jnp.bfloat16), bones.shapes)
    known = {'how': None, 'graph': bones.graph, 'ends': (2,)}
    with jax.set_mesh(mesh):
        asked = there((SLOTS, WIDTH)), there((SLOTS, 1))
        writing = jax.eval_shape(lambda p, a: slots.begin(p, a, new=NEW, **known), params, asked)
        writing = jax.tree.map(lambda x: there(x.shape, x.dtype), writing)
        stop = there(()), there(()), there((SLOTS, 1))
        lowered = slots.go_on.trace(params, writing, stop=stop, **known).lower(lowering_platforms=('tpu',))
        return lowered.compile().as_text()


def bodies(text: str) -> list[str]:
    """The computations that loops run, and those they call."""
    parts = {}
    for part in re.split(r'\n(?=(?:ENTRY )?%?[\w.-]+ \()', text):
        if found := re.match(r'(?:ENTRY )?%?([\w.-]+) \(', part):
            parts[found[1]] = part
    waiting, seen = re.findall(r'body=%?([\w.-]+)', text), set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += re.findall(r'(?:calls|body|condition|to_apply)=%?([\w.-]+)', parts[name])
    return [parts[name] for name in seen]


@pytest.fixture(scope='module')
def program(tmp_path_factory) -> str:
    pytest.importorskip('libtpu')
    path = tmp_path_factory.mktemp('tpu') / 'program'
    # No metadata server is asked for chips, and a lock that is there for the sake of chips is left alone.
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    done = subprocess.run([sys.executable, __file__, str(path)], env=env, capture_output=True, text=True, timeout=500)
    assert not done.returncode, done.stderr[-2000:]
    return path.read_text()


def test_the_loop_writes_the_cache_in_place(program):
    inside = bodies(program)
    assert any(' scatter(' in body or 'dynamic-update-slice(' in body for body in inside)
    copied = [
        f'{dtype}[{shape}]'
        for body in inside
        for dtype, shape in re.findall(r'= (\w+)\[([\d,]+)\]\S* copy(?:-start)?\(', body)
        if math.prod(map(int, shape.split(','))) >= CACHE
    ]
    assert not copied


def test_the_cache_is_never_widened(program):
    wide = re.findall(r'= f32\[([\d,]+)\]', program)
    assert max(math.prod(map(int, shape.split(','))) for shape in wide) < CACHE // LAYERS


if __name__ == '__main__':
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform='tpu', topology_name='v5e:2x2').devices
    pathlib.Path(sys.argv[1]).write_text(compile_step(list(devices)[:1]))
