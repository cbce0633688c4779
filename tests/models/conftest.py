"""Toy models of the three wirings, made once a session."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.batch import Rows
from flan_jax.models import presets
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.training import state

ROPE = ModelConfig(vocab_size=64, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48, rope_theta=100.0)
BIAS = dataclasses.replace(
    ROPE, positions='relative_bias', relative_buckets=8, relative_max_distance=16, tied_embeddings=False, kv_heads=4
)
ENCODER_DECODER = dataclasses.replace(BIAS, encoder_layers=2, activation='gelu_tanh', scaled_attention=False)
WIRINGS = {'rope': ROPE, 'relative_bias': BIAS, 'encoder_decoder': ENCODER_DECODER}
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')


@dataclasses.dataclass(frozen=True)
class Toy:
    """A model's graph and weights."""

    config: ModelConfig
    graph: Any
    params: Any

    def merged(self, params: Any) -> presets.Model:
        return nnx.merge(self.graph, params)


def make_toy(config: ModelConfig, execution: ExecutionConfig = EXACT, *, seed: int = 0) -> Toy:
    """Weights are drawn by numpy (compiling the initialisers takes seconds), norms around 1, the rest around 0."""
    skeleton, rng = state.skeleton(config, execution), np.random.default_rng(seed)

    def draw(path, leaf):
        at, spread = (1.0, 0.2) if path[-1].key == 'scale' else (0.0, 1.0 if path[0].key == 'embedding' else 0.25)
        return jnp.asarray(rng.normal(at, spread, leaf.shape), leaf.dtype)

    return Toy(config, skeleton.graph, jax.tree_util.tree_map_with_path(draw, skeleton.shapes))


def rows_of(examples: list[list[list[int]]], width: int) -> Rows:
    """Rows of packed examples, each a list of ids."""
    tokens, segments, positions = jnp.zeros((3, len(examples), width), jnp.int32)
    for r, row in enumerate(examples):
        at = 0
        for s, ids in enumerate(row):
            cut = slice(at, at + len(ids))
            tokens = tokens.at[r, cut].set(jnp.array(ids))
            segments = segments.at[r, cut].set(s + 1)
            positions = positions.at[r, cut].set(jnp.arange(len(ids)))
            at += len(ids)
    return Rows(tokens, segments, positions)


@pytest.fixture(scope='session')
def toys() -> dict[str, Toy]:
    return {name: make_toy(config) for name, config in WIRINGS.items()}


@pytest.fixture(params=list(WIRINGS))
def toy(request, toys) -> Toy:
    return toys[request.param]


@pytest.fixture(scope='session')
def make():
    return make_toy


@pytest.fixture(scope='session')
def pack():
    return rows_of
