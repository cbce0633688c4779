"""Toy tasks in memory, planned, packed and loaded by the real code, and toy models of three wirings."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

from flan_jax.batch import Batch
from flan_jax.config import MeshConfig, TrainingConfig
from flan_jax.data import loader, planning
from flan_jax.data.store import Split
from flan_jax.models.config import ExecutionConfig, ModelConfig
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state as state_lib

VOCABULARY = 64
ROPE = ModelConfig(
    vocab_size=VOCABULARY, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48, rope_theta=100.0
)
BIAS = dataclasses.replace(ROPE, positions='relative_bias', relative_buckets=8, relative_max_distance=16)
ENCODER_DECODER = dataclasses.replace(
    BIAS, encoder_layers=2, activation='gelu_tanh', scaled_attention=False, tied_embeddings=False
)
WIRINGS = {'rope': ROPE, 'relative_bias': BIAS, 'encoder_decoder': ENCODER_DECODER}
EXACT = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
# Six sevenths of XLA's time on a CPU go into making code fast that runs once.
CPU = {'xla_backend_optimization_level': 0, 'xla_cpu_use_fusion_emitters': False}
QUICK = CPU if jax.default_backend() == 'cpu' else None
TRAINING = TrainingConfig(steps=10, batch_rows=16, loss_chunk=7)  # a chunk that no count of positions divides by


def split_of(examples: list[tuple[list[int], list[int]]]) -> Split:
    """(context, target) examples as the columns of a store."""
    tokens = np.array([i for context, target in examples for i in context + target], np.int32)
    spans = np.array([[len(context), len(target)] for context, target in examples], np.int32)
    starts = np.concatenate([[0], np.cumsum(spans.sum(axis=1))]).astype(np.int64)
    return Split(None, tokens, starts, spans.reshape(-1), np.arange(0, 2 * len(examples) + 1, 2, dtype=np.int64))


def lengths_of(split: Split) -> planning.Lengths:
    target = split.spans[1::2]
    return planning.Lengths(split.lengths.astype(np.int32), target, target)


def toy_examples(seed: int, count: int, longest_target: int) -> list[tuple[list[int], list[int]]]:
    """Uneven ones: contexts of 1 to 8 tokens, targets of 1 to `longest_target`."""
    generator = np.random.default_rng(seed)
    draw = lambda longest: generator.integers(1, VOCABULARY, generator.integers(1, longest + 1)).tolist()  # noqa: E731
    return [(draw(8), draw(longest_target)) for _ in range(count)]


@dataclasses.dataclass(frozen=True)
class Toy:
    """A model without weights, and the data to train it on."""

    model: ModelConfig
    splits: Mapping[str, Split]
    training: TrainingConfig = TRAINING

    @functools.cached_property
    def bones(self) -> state_lib.Skeleton:
        return state_lib.skeleton(self.model, EXACT)

    def recipe(self, *, pack: bool = True) -> planning.Recipe:
        return planning.Recipe(
            fingerprints=dict.fromkeys(self.splits, ''), rates=dict.fromkeys(self.splits, 1 / len(self.splits)), seed=5,
            row_tokens=(16, 12) if self.model.encoder_decoder else (24,), pack=pack, window=64,
            epoch_examples=sum(len(split) for split in self.splits.values()),
        )  # fmt: skip

    def plan(self, *, pack: bool = True, **length: float) -> planning.Plan:
        lengths = {name: lengths_of(split) for name, split in self.splits.items()}
        return planning.make(self.recipe(pack=pack), lengths, **(length or {'rows': 160}))

    def loader(self, plan: planning.Plan, mesh: jax.sharding.Mesh, **training: Any) -> loader.Loader:
        cut = loader.layout(plan, dataclasses.replace(self.training, **training), mesh=mesh)
        return loader.Loader(plan, self.splits, layout=cut, mesh=mesh)

    def batches(self, plan: planning.Plan, mesh: jax.sharding.Mesh, steps: int, **training: Any) -> list[Batch]:
        """The first batches, gathered and placed as a run would."""
        found = self.loader(plan, mesh, **training)
        return [found.place(found.gather(step)) for step in range(steps)]


def mesh_of(data: int = 1, fsdp: int = 1) -> jax.sharding.Mesh:
    if jax.device_count() < data * fsdp:
        pytest.skip(f'{data * fsdp} devices are needed, {jax.device_count()} are there')
    return mesh_lib.make(MeshConfig(data=data, fsdp=fsdp), jax.devices()[: data * fsdp])


@pytest.fixture(scope='session')
def quick():
    """`jax.jit` for code that runs a few times."""
    return functools.partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(scope='session')
def mesh():
    """(data, fsdp) -> a mesh of the first devices."""
    return mesh_of


@pytest.fixture(scope='session')
def splits() -> dict[str, Split]:
    """Two tasks: one with short targets, one with long ones."""
    return {'short': split_of(toy_examples(0, 90, 2)), 'long': split_of(toy_examples(1, 70, 9))}


@pytest.fixture(scope='session')
def toys(splits) -> dict[str, Toy]:
    return {name: Toy(model, splits) for name, model in WIRINGS.items()}


@pytest.fixture(scope='session')
def weights(toys):
    """Weights of each wiring as numpy arrays; initialisers would have to be compiled first."""

    def make(name: str):
        generator = np.random.default_rng(7)

        def draw(axes, shape) -> np.ndarray:
            noise = generator.standard_normal(shape.shape, np.float32)
            if axes[-1] == 'norm':
                return 1 + noise / 10
            return noise / np.float32(8)

        is_axes = lambda a: isinstance(a, tuple)  # noqa: E731
        return jax.tree.map(draw, toys[name].bones.axes, toys[name].bones.shapes, is_leaf=is_axes)

    return functools.cache(make)
