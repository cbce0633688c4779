"""A beginning read once for many prompts gives what reading it with each of them gives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax.decoding import beginnings, memory
from flan_jax.decoding import score as score_lib
from flan_jax.decoding.score import Request, Scorer
from flan_jax.models.adapters_weights import Prompted
from flan_jax.models.config import (
    AttentionConfig,
    EmbeddingConfig,
    ExecutionConfig,
    ExpertsConfig,
    NormConfig,
    RopeConfig,
)
from flan_jax.training import state

EOS, LONG = 1, 40  # tokens of the common beginning


def ids(rng, count: int) -> list[int]:
    return rng.integers(2, 64, count).tolist()


@pytest.fixture(scope='module')
def requests() -> list[Request]:
    """Six prompts that share 40 tokens, one of them nothing but those; two that share 33 others; one alone."""
    rng = np.random.default_rng(3)
    head, other = ids(rng, LONG), ids(rng, 33)
    prompts = [[*head, *ids(rng, n)] for n in (7, 1, 12, 3, 20)] + [head]
    prompts += [[*other, *ids(rng, 4)], ids(rng, 9), [*other, *ids(rng, 6)]]
    return [Request(prompt, tuple([*ids(rng, n), EOS] for n in (1, 4, 2))) for prompt in prompts]


@pytest.fixture
def cheap(monkeypatch):
    """Shares even where it hardly pays."""
    monkeypatch.setattr(beginnings, 'PRICE', 0)


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """How long the beginnings are that are read, as they are."""
    lengths: list[int] = []
    real = score_lib._read

    def told(params, tokens, *, length, graph):
        lengths.append(int(length))
        return real(params, tokens, length=length, graph=graph)

    monkeypatch.setattr(score_lib, '_read', told)
    return lengths


def changed(toy, **changes):
    """The toy with another config, its weights drawn as the toy's were."""
    config, rng = dataclasses.replace(toy.config, **changes), np.random.default_rng(5)
    bones = state.skeleton(config, ExecutionConfig(compute_dtype='float32', attention='dense', remat='none'))

    def draw(path, leaf):
        at, spread = (1.0, 0.2) if path[-1].key == 'scale' else (0.0, 1.0 if path[0].key == 'embedding' else 0.3)
        return jnp.asarray(rng.normal(at, spread, leaf.shape), leaf.dtype)

    params = jax.tree_util.tree_map_with_path(draw, bones.shapes)
    return dataclasses.replace(toy, config=config, skeleton=bones, params=params)


def by_itself(toy, requests) -> list[np.ndarray]:
    pairs = [(request.prompt, option) for request in requests for option in request.options]
    values = toy.log_probabilities([p for p, _ in pairs], [o for _, o in pairs])
    sums = iter([v[np.arange(len(o)), o].sum() for v, (_, o) in zip(values, pairs)])
    return [np.array([next(sums) for _ in request.options]) for request in requests]


def close(got, expected) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4)


CHANGES = {
    'relative bias': {'positions': 'relative_bias', 'relative_buckets': 8, 'relative_max_distance': 64},
    'alibi': {'positions': 'alibi', 'norm': NormConfig(kind='layer', embedding=True)},
    'learned positions, experts': {
        'positions': 'learned', 'embedding': EmbeddingConfig(positions=100, offset=2),
        'experts': ExpertsConfig(count=4, chosen=2, width=24), 'norm': NormConfig(place='parallel'),
    },
    'windows shorter than the beginning in some layers, softcaps': {
        'attention': AttentionConfig(window=9, layers=('full', 'window'), softcap=5.0), 'logit_softcap': 4.0,
    },
    'a window in every layer, longer than what follows': {'attention': AttentionConfig(window=30, layers=('window',))},
    'layers without rotation, another base near, biases, norms of keys': {
        'rope': RopeConfig(layers=(True, False), local_theta=50.0, share=0.5),
        'attention': AttentionConfig(window=12, layers=('window', 'full'), bias=True, output_bias=True),
        'norm': NormConfig(query_key='head', place='both'),
    },
}  # fmt: skip


@pytest.mark.parametrize('name', CHANGES)
def test_a_shared_beginning_changes_no_score(toys, one_device, requests, cheap, read, name):
    toy = changed(toys['rope'], **CHANGES[name])
    found = Scorer(toy.graph, one_device, False, 512)(toy.params, requests)
    assert sorted(read) == [33, LONG - 1]
    close(found, by_itself(toy, requests))


@pytest.fixture(scope='module')
def plain(toys, one_device, requests):
    """What the toy says of all requests, each by itself."""
    toy = toys['rope']
    return Scorer(toy.graph, one_device, False, 512, share=False).scored(toy.params, requests)


def test_neither_scores_nor_greedy_answers_depend_on_sharing(toys, one_device, requests, plain, cheap, read):
    toy, told = toys['rope'], []
    found = Scorer(toy.graph, one_device, False, 512).scored(toy.params, requests, progress=told.append)
    assert read and sum(told) == len(requests)
    close([one.sums for one in found], [one.sums for one in plain])
    assert [one.greedy.tolist() for one in found] == [one.greedy.tolist() for one in plain]


def test_a_beginning_on_eight_devices_scores_as_on_one(toys, eight_devices, spread, requests, plain, cheap, read):
    toy = toys['rope']
    with jax.set_mesh(eight_devices):
        found = Scorer(toy.graph, eight_devices, False, 512)(spread(toy, eight_devices), requests)
    assert read
    close(found, [one.sums for one in plain])


def test_a_tuned_prompt_stands_before_a_shared_beginning(toys, one_device, requests, cheap, read):
    toy, rng = toys['rope'], np.random.default_rng(0)
    prompt = jnp.asarray(rng.normal(0, 1, (3, toy.config.width)), jnp.float32)
    params = toy.params | {'embedding': {'table': Prompted(toy.params['embedding']['table'], prompt)}}
    ask = Scorer(toy.graph, one_device, False, 512)
    found = ask(params, requests)
    assert read
    close(found, dataclasses.replace(ask, share=False)(params, requests))
    assert not np.allclose(found[0], ask(toy.params, requests)[0])


@pytest.mark.parametrize(
    'change', [{'encoder_layers': 2, 'positions': 'relative_bias'}, {'rope': RopeConfig(scaling='dynamic', factor=2.0)}]
)
def test_where_keys_depend_on_what_follows_nothing_is_shared(toys, change):
    config = dataclasses.replace(toys['rope'].config, max_length=64, **change)
    assert memory.possible(toys['rope'].config) and not memory.possible(config)
