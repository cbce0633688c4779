"""Toy models of the three wirings with a full forward pass to compare with, made once a session."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.batch import Rows
from flan_jax.config import MeshConfig
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state

ROPE = ModelConfig(vocab_size=64, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48)
BIAS = dataclasses.replace(
    ROPE, positions='relative_bias', relative_buckets=8, relative_max_distance=16, tied_embeddings=False, kv_heads=4
)
ENCODER_DECODER = dataclasses.replace(BIAS, encoder_layers=2, activation='gelu_tanh', scaled_attention=False)
WIRINGS = {'rope': ROPE, 'relative_bias': BIAS, 'encoder_decoder': ENCODER_DECODER}
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
WIDTH = 96  # of the full forward pass; longer than every prompt with its answer
ROWS = 16


@functools.partial(jax.jit, static_argnames='graph')
def forward(params: Any, graph: Any, sides: tuple[Rows, ...]) -> jax.Array:
    model = nnx.merge(graph, params)
    return jax.nn.log_softmax(model.logits(model(*sides)))


@dataclasses.dataclass(frozen=True)
class Toy:
    """A model, and what it says by full forward passes of one row each, without caches, trees or packing."""

    config: ModelConfig
    skeleton: state.Skeleton
    params: Any

    @property
    def graph(self) -> Any:
        return self.skeleton.graph

    def log_probabilities(self, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[np.ndarray]:
        """[answer + 1, V] for each prompt: of every answer token and of the one after."""
        out = []
        for first in range(0, len(prompts), ROWS):
            out += self._log_probabilities(prompts[first : first + ROWS], answers[first : first + ROWS])
        return out

    def _log_probabilities(self, prompts, answers):
        if self.config.encoder_decoder:
            sides = (padded([[0, *answer] for answer in answers]), padded(prompts))
            starts = [0] * len(prompts)
        else:
            sides = (padded([[*prompt, *answer] for prompt, answer in zip(prompts, answers)]),)
            starts = [len(prompt) - 1 for prompt in prompts]
        values = np.asarray(forward(self.params, self.graph, sides))
        return [values[i, a : a + len(answer) + 1] for i, (a, answer) in enumerate(zip(starts, answers))]


def padded(ids: Sequence[Sequence[int]]) -> Rows:
    tokens, segments = np.zeros((2, ROWS, WIDTH), np.int32)
    for row, each in enumerate(ids):
        tokens[row, : len(each)], segments[row, : len(each)] = each, 1
    index = np.broadcast_to(np.arange(WIDTH, dtype=np.int32), tokens.shape)
    return Rows(*map(jnp.asarray, (tokens, segments, index)))


def make_toy(config: ModelConfig) -> Toy:
    bones, rng = state.skeleton(config, EXACT), np.random.default_rng(5)

    def draw(path, leaf):
        at, spread = (1.0, 0.2) if path[-1].key == 'scale' else (0.0, 1.0 if path[0].key == 'embedding' else 0.3)
        return jnp.asarray(rng.normal(at, spread, leaf.shape), leaf.dtype)

    return Toy(config, bones, jax.tree_util.tree_map_with_path(draw, bones.shapes))


@pytest.fixture(scope='session')
def toys() -> dict[str, Toy]:
    return {name: make_toy(config) for name, config in WIRINGS.items()}


@pytest.fixture(scope='session', params=list(WIRINGS))
def toy(request, toys) -> Toy:
    return toys[request.param]


@pytest.fixture(scope='session')
def one_device() -> jax.sharding.Mesh:
    return mesh_lib.make(MeshConfig(), jax.devices()[:1])


@pytest.fixture(scope='session')
def eight_devices() -> jax.sharding.Mesh:
    """Two ways each of data, weights and heads."""
    if len(jax.devices()) < 8:
        pytest.skip('needs eight devices')
    return mesh_lib.make(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices()[:8])


@pytest.fixture(scope='session')
def spread():
    """Weights where the mesh wants them."""

    def spread(toy: Toy, mesh: jax.sharding.Mesh) -> Any:
        return jax.device_put(toy.params, state.weight_shardings(toy.skeleton, mesh))

    return spread
