"""Merging itself adds no error: in float64, where a forward pass rounds nothing that counts, merged is unmerged.

Run as a script, this file prints how far logits are apart; it widens JAX's numbers, so that it has a process to itself.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.batch import Rows
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.training import state

MODEL = ModelConfig(
    vocab_size=200, layers=4, width=64, heads=4, kv_heads=2, head_width=16, mlp_width=160, rope_theta=10_000.0
)
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
KINDS = {
    'lora': AdapterConfig(kind='lora', rank=8, alpha=16.0),
    'dora': AdapterConfig(kind='dora', rank=8, alpha=16.0),
    'ia3': AdapterConfig(kind='ia3'),
}
ROOT = pathlib.Path(__file__).resolve().parents[2]


def drawn(shapes: Any, *, spread: float, seed: int) -> Any:
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        around = 1.0 if path[-1].key in ('scale', 'magnitude', 'factor') else 0.0
        return jnp.asarray(rng.normal(around, spread, leaf.shape), np.float32)

    return jax.tree_util.tree_map_with_path(one, shapes)


def logits(execution: ExecutionConfig, params: Any) -> np.ndarray:
    rng = np.random.default_rng(5)
    tokens = jnp.asarray(rng.integers(0, MODEL.vocab_size, (2, 48)), jnp.int32)
    rows = Rows(tokens, jnp.ones_like(tokens), jnp.broadcast_to(jnp.arange(48, dtype=jnp.int32), tokens.shape))
    graph = state.skeleton(MODEL, execution).graph

    def run(params):
        model = nnx.merge(graph, params)
        return model.logits(model(rows))

    return np.asarray(jax.jit(run)(params))


def measured(config: AdapterConfig) -> dict[str, Any]:
    """Largest differences between logits: both passes in f32, both in f64, and f32 merged weights in an f64 pass."""
    bones = state.skeleton(MODEL, EXACT)
    shapes, _ = adapters.parts(config, bones.shapes, axes=bones.axes)
    base, own = drawn(bones.shapes, spread=0.2, seed=0), drawn(shapes, spread=0.1, seed=1)
    frozen = adapters.keep(config, base, shapes=shapes, axes=bones.axes)
    whole = adapters.assemble(frozen, own, config=config, axes=bones.axes)
    merged = adapters.merge(whole)
    unmerged, plain, before = logits(EXACT, whole), logits(EXACT, merged), logits(EXACT, base)
    narrow, jnp.float32 = jnp.float32, jnp.float64  # whatever asks for f32 by name is given f64
    try:
        exact = dataclasses.replace(EXACT, compute_dtype='float64')
        wide = jax.tree.map(lambda x: x.astype(np.float64), whole)
        truth = logits(exact, wide)
        in_f64 = logits(exact, adapters.merge(wide))
        from_f32 = logits(exact, jax.tree.map(lambda x: x.astype(np.float64), merged))
    finally:
        jnp.float32 = narrow
    assert truth.dtype == in_f64.dtype == np.float64 and unmerged.dtype == np.float32
    apart = lambda a, b: float(np.abs(a - b).max())  # noqa: E731
    return {
        'largest': float(np.abs(truth).max()), 'moved': apart(unmerged, before), 'f32': apart(unmerged, plain),
        'f64': apart(truth, in_f64), 'f32_merged_f64_pass': apart(truth, from_f32), 'rounding': apart(truth, unmerged),
    }  # fmt: skip


@pytest.fixture(scope='module')
def apart() -> dict[str, dict[str, float]]:
    environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'JAX_ENABLE_X64': '1', 'PYTHONPATH': str(ROOT)}
    told = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout)


@pytest.mark.parametrize('kind', KINDS)
def test_merged_weights_give_the_unmerged_logits_where_the_pass_rounds_nothing_that_counts(apart, kind):
    found = apart[kind]
    assert found['moved'] > 1.0, 'the adapter changes something'
    assert found['f64'] < 1e-10
    assert found['f32_merged_f64_pass'] < 1e-5, 'the merged weights, each rounded to f32'


@pytest.mark.parametrize('kind', KINDS)
def test_in_f32_they_differ_by_the_rounding_of_the_pass_less_than_1e_5_of_the_largest_logit(apart, kind):
    found = apart[kind]
    assert found['f32'] < 1e-5 * found['largest']
    assert found['f32'] < 4 * found['rounding'], 'it is the pass that rounds, not the merging'


if __name__ == '__main__':
    print(json.dumps({kind: measured(config) for kind, config in KINDS.items()}))
