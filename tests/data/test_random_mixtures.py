"""Random mixtures: tasks, lengths, turns, rates, rows, packing, windows and hosts by seeds; what holds for all."""

import dataclasses
from collections import Counter

import jax
import numpy as np
import pytest
from stored_toys import Toy, columns

from flan_jax.config import MeshConfig, TrainingConfig
from flan_jax.data import loader, planning, store
from flan_jax.data.planning import Recipe
from flan_jax.parallel import mesh as mesh_lib

SEEDS = range(12)


@dataclasses.dataclass(frozen=True)
class Case:
    """A drawn mixture; the examples' tokens are numbers that no other place has."""

    toys: dict[str, Toy]
    recipe: Recipe
    training: TrainingConfig
    devices: int

    @property
    def lengths(self):
        return {name: toy.lengths for name, toy in self.toys.items()}


@pytest.fixture(scope='module', params=SEEDS)
def case(request, tmp_path_factory) -> Case:
    draw = np.random.default_rng(request.param)
    two_sided, number, toys = bool(draw.integers(2)), 1, {}
    for task in range(draw.integers(1, 6)):
        examples = []
        for _ in range(draw.integers(1, 60)):
            spans = draw.integers(1, draw.integers(2, 12), 2 * draw.integers(1, 1 if two_sided else 4, endpoint=True))
            ends = number + np.cumsum(spans)
            examples.append([list(range(a, b)) for a, b in zip([number, *ends], ends)])
            number = int(ends[-1])
        splits = [('train', 'train', [columns(examples)], {})]
        root = tmp_path_factory.mktemp('random')
        made = store.write(root, f'task{task}', request='r', source='s', splits=splits, info={})
        toys[f'task{task}'] = Toy(examples, made.split('train'))
    longest = ((24, 60), (12, 30)) if two_sided else ((60, 200),)
    row_tokens = tuple(int(draw.integers(*between)) for between in longest)
    rates = draw.dirichlet([1.0] * len(toys)) * 0.9 + 0.1 / len(toys)
    recipe = Recipe(
        fingerprints={name: name for name in toys},
        rates=dict(zip(toys, rates.tolist())),
        seed=int(draw.integers(1 << 40)),
        row_tokens=row_tokens,
        pack=bool(draw.integers(4)),
        window=int(draw.integers(1, 80)),
        epoch_examples=sum(len(toy.examples) for toy in toys.values()),
    )
    devices, microbatches = int(2 ** draw.integers(0, 3)), int(draw.integers(1, 4))
    rows = devices * microbatches * int(draw.integers(1, 4))
    return Case(toys, recipe, TrainingConfig(epochs=1, batch_rows=rows, microbatches=microbatches), devices)


def opened(case: Case, plan, *, devices: int) -> loader.Loader:
    mesh = mesh_lib.make(MeshConfig(data=devices), jax.devices()[:devices])
    splits = {name: toy.split for name, toy in case.toys.items()}
    return loader.Loader(plan, splits, layout=loader.layout(plan, case.training, mesh=mesh), mesh=mesh)


def supervised(plan, toys) -> list[Counter]:
    """Supervised tokens of each row, from the examples themselves."""
    last = slice(-1, None) if len(plan.recipe.row_tokens) == 2 else slice(1, None, 2)
    out = []
    for a, b in zip(plan.row_starts, plan.row_starts[1:]):
        spans = [toys[plan.tasks[t]].examples[e][last] for t, e in zip(plan.task[a:b], plan.example[a:b])]
        out.append(Counter(token for example in spans for span in example for token in span))
    return out


def labels(batch) -> Counter:
    return Counter(batch.labels[batch.weights > 0].tolist())


def test_every_supervised_token_of_the_plan_is_a_label_once_and_of_its_own_segment(case):
    plan = planning.make(case.recipe, case.lengths, epochs=2)
    rows, size = supervised(plan, case.toys), case.training.batch_rows
    load = opened(case, plan, devices=case.devices)
    segments_of = {
        token: (name, i)
        for name, toy in case.toys.items()
        for i, example in enumerate(toy.examples)
        for span in example
        for token in span
    }
    for step in range(load.steps):
        batch = load.gather(step)
        assert labels(batch) == sum(rows[step * size : (step + 1) * size], Counter())
        sides = [batch.rows] if batch.encoder is None else [batch.encoder]
        for side in sides:
            flat = [np.asarray(x).reshape(-1, x.shape[-1]) for x in (side.tokens, side.segments, side.positions)]
            for tokens, segments, positions in zip(*flat):
                for segment in range(1, segments.max(initial=0) + 1):
                    (mine,) = np.nonzero(segments == segment)
                    assert len({segments_of[t] for t in tokens[mine].tolist()}) == 1
                    assert positions[mine].tolist() == list(range(len(mine))) == (mine - mine[0]).tolist()
                assert not tokens[segments == 0].any()


def test_an_epoch_of_the_examples_own_rates_has_each_token_once_or_counts_it_as_dropped(case):
    sizes = {name: len(toy.examples) for name, toy in case.toys.items()}
    usable = planning.measure(case.lengths, case.recipe.row_tokens, names=sizes, subsets={})
    kept = {name: len(use.index) for name, use in usable.items()}
    rates = {name: n / sum(kept.values()) for name, n in kept.items()}
    recipe = dataclasses.replace(case.recipe, rates=rates, epoch_examples=sum(kept.values()))
    plan = planning.make(recipe, case.lengths, epochs=1)
    drawn = Counter(zip(plan.task.tolist(), plan.example.tolist()))
    assert set(drawn.values()) <= {1} and len(plan.example) == sum(kept.values())
    assert {name: sizes[name] - kept[name] for name in sizes if kept[name] < sizes[name]} == plan.dropped


def test_windows_keep_the_rates_and_packing_keeps_what_is_supervised(case):
    packed, plain = (
        planning.make(dataclasses.replace(case.recipe, pack=pack), case.lengths, epochs=3) for pack in (True, False)
    )
    assert planning.realised(packed, case.lengths) == planning.realised(plain, case.lengths)
    rates, window = np.array(list(case.recipe.rates.values())), case.recipe.window
    ends = np.minimum(np.arange(1, -(-packed.recipe.draws // window) + 1) * window, packed.recipe.draws)
    for plan in (packed, plain):
        for end in ends:
            counts = np.rint(end * rates).astype(int)
            assert np.array_equal(np.bincount(plan.task[: counts.sum()], minlength=len(rates)), counts)


def test_any_number_of_hosts_from_any_step_reads_the_same_rows(case):
    plan = planning.make(case.recipe, case.lengths, rows=7 * case.training.batch_rows - 1)
    assert plan.fingerprint == planning.make(case.recipe, case.lengths, rows=3).fingerprint
    whole = opened(case, plan, devices=case.devices)
    batches = [whole.gather(step) for step in range(whole.steps)]
    draw = np.random.default_rng(case.recipe.seed)
    for hosts in {1, 2, 4} & set(range(1, case.devices + 1)):
        step = int(draw.integers(whole.steps))
        parts = []
        for host in range(hosts):
            one = opened(case, plan, devices=case.devices)
            one._groups = np.array_split(np.arange(case.devices), hosts)[host].tolist()
            parts.append(one.gather(step))
        joined = jax.tree.map(lambda *pieces: np.concatenate(pieces, axis=1), *parts)
        assert all(map(np.array_equal, jax.tree.leaves(joined), jax.tree.leaves(batches[step])))


def test_another_seed_gives_another_order_of_the_same_examples(case):
    one, other = (
        planning.make(dataclasses.replace(case.recipe, seed=case.recipe.seed + i), case.lengths, epochs=2)
        for i in (0, 1)
    )
    assert np.array_equal(np.bincount(one.task), np.bincount(other.task)) and one.fingerprint != other.fingerprint
    if case.recipe.epoch_examples > 20:
        assert one.example.tolist() != other.example.tolist()
