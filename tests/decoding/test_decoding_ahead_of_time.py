"""The decode step compiled for a TPU v5e and an H100 that are not there: what its loop copies and calls.

As a script, this file compiles it for one of them and writes the program to a file.
"""

import importlib.util
import math
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from flan_jax.decoding import slots, weights
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.parallel import topologies
from flan_jax.training import state

LAYERS, SLOTS, WIDTH, NEW = 6, 64, 128, 128
MODEL = ModelConfig(
    vocab_size=1024, layers=LAYERS, width=256, heads=4, kv_heads=2, head_width=64, mlp_width=512, norm_eps=1e-5
)
TOPOLOGIES = {'tpu': 'v5e:2x2', 'cuda': 'h100:1'}
PACKAGES = {'tpu': 'libtpu', 'cuda': 'jax_plugins.xla_cuda12'}
CACHE = LAYERS * SLOTS * (WIDTH + NEW) * MODEL.kv_heads * MODEL.head_width  # elements of keys, and of values


def compile_step(platform: str) -> str:
    from flan_jax.config import MeshConfig

    mesh = mesh_lib.make(MeshConfig(), topologies.devices(TOPOLOGIES[platform])[:1])
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
        graphs = []

        def split(params):
            spread, graph = weights.apart(params, bones.graph)
            graphs.append(graph)
            return spread

        params = jax.tree.map(lambda x: there(x.shape, x.dtype), jax.eval_shape(split, params))
        known['graph'] = graphs[0]
        lowered = slots.go_on.trace(params, writing, stop=stop, **known).lower(lowering_platforms=(platform,))
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
def compiled(tmp_path_factory):
    """Platform -> the program for it."""
    known: dict[str, str] = {}

    def get(platform: str) -> str:
        package = PACKAGES[platform]
        if importlib.util.find_spec(package.split('.')[0]) is None or importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed, which compiles for {platform}')
        if platform not in known:
            path = tmp_path_factory.mktemp(platform) / 'program'
            # No metadata server is asked for chips, and a lock that is there for the sake of chips is left alone.
            env = os.environ | {'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
            env |= {'XLA_FLAGS': '--xla_gpu_autotune_level=0'} if platform == 'cuda' else {}
            command = [sys.executable, __file__, platform, str(path)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
            assert not done.returncode, done.stderr[-2000:]
            known[platform] = path.read_text()
        return known[platform]

    return get


@pytest.mark.parametrize('platform', TOPOLOGIES)
def test_the_loop_writes_the_cache_in_place(compiled, platform):
    inside = bodies(compiled(platform))
    assert any(' scatter(' in body or 'dynamic-update-slice(' in body for body in inside)
    copied = [
        f'{dtype}[{shape}]'
        for body in inside
        for dtype, shape in re.findall(r'= (\w+)\[([\d,]+)\]\S* copy(?:-start)?\(', body)
        if math.prod(map(int, shape.split(','))) >= CACHE // LAYERS
    ]
    assert not copied


@pytest.mark.parametrize('platform', TOPOLOGIES)
def test_the_cache_is_never_widened(compiled, platform):
    wide = re.findall(r'= f32\[([\d,]+)\]', compiled(platform))
    assert max(math.prod(map(int, shape.split(','))) for shape in wide) < CACHE // LAYERS


def test_on_a_gpu_a_layer_is_few_kernels_and_weights_are_read_where_they_lie(compiled):
    text = compiled('cuda')
    name = re.findall(r'body=%?([\w.-]+)', text)
    assert len(name) == 1  # the loop over tokens; none over layers
    body = re.split(r'\n(?=(?:ENTRY )?%?[\w.-]+ \()', text)
    body = next(part for part in body if part.startswith(f'%{name[0]} '))
    calls = re.findall(r'= (.*?) (fusion|custom-call|copy|dot|while|conditional)\(', body)
    assert len(calls) <= 15 * LAYERS + 15
    sizes = {f'{MODEL.width},{MODEL.mlp_width}', f'{MODEL.mlp_width},{MODEL.width}'}
    assert not [result for result, _ in calls if set(re.findall(r'bf16\[(?:1,)?([\d,]+)\]', result)) & sizes]


if __name__ == '__main__':
    pathlib.Path(sys.argv[2]).write_text(compile_step(sys.argv[1]))
