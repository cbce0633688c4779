"""Options scored as branches of one prompt equal separate full forward passes."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from flan_jax import errors
from flan_jax.decoding import option_rows, score
from flan_jax.decoding.option_rows import Layout
from flan_jax.decoding.score import Request, Scorer
from flan_jax.models.config import EmbeddingConfig

EOS = 1
SIZES = [(5, (1, 2, 3)), (20, (4,)), (1, (2, 2)), (9, (1, 1, 1, 1, 6)), (30, (7, 5)), (3, (2, 9)), (12, (3, 3, 3))]


@pytest.fixture(scope='session')
def requests() -> list[Request]:
    rng = np.random.default_rng(1)

    def ids(n):
        return rng.integers(2, 64, n).tolist()

    return [Request(ids(prompt), tuple([*ids(n - 1), EOS] for n in options)) for prompt, options in SIZES * 2]


@pytest.fixture(scope='session')
def expected(toy, requests) -> list[np.ndarray]:
    """Every option by itself: the sum of its tokens' log-probabilities from a row of its own."""
    pairs = [(request.prompt, option) for request in requests for option in request.options]
    values = toy.log_probabilities([p for p, _ in pairs], [o for _, o in pairs])
    sums = iter([v[np.arange(len(o)), o].sum() for v, (_, o) in zip(values, pairs)])
    return [np.array([next(sums) for _ in request.options]) for request in requests]


def scorer(toy, mesh, *, batch_tokens: int) -> Scorer:
    return Scorer(toy.graph, mesh, toy.config.encoder_decoder, batch_tokens)


def close(got, expected) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-4)


def test_branches_of_packed_prompts_score_as_separate_forward_passes(toy, one_device, requests, expected):
    told = []
    close(scorer(toy, one_device, batch_tokens=512)(toy.params, requests, progress=told.append), expected)
    assert sum(told) == len(requests)


def test_scores_depend_neither_on_the_batch_nor_on_who_else_is_in_it(toy, one_device, requests, expected):
    ask = scorer(toy, one_device, batch_tokens=1)  # one row a batch
    close(ask(toy.params, requests[::-1]), expected[::-1])
    close(ask(toy.params, requests[3:5]), expected[3:5])


def test_an_option_is_greedy_if_each_of_its_tokens_is_the_likeliest(toy, one_device):
    prompt, greedy = [5, 9, 30], []
    for _ in range(3):
        (values,) = toy.log_probabilities([prompt], [greedy])
        greedy.append(int(np.argmax(values[-1])))
    other = [greedy[0], (greedy[1] + 1) % 64, greedy[2]]
    request = Request(prompt, (greedy, other, greedy[:1], greedy[:2]))
    (found,) = scorer(toy, one_device, batch_tokens=64).scored(toy.params, [request])
    assert found.greedy.tolist() == [True, False, True, True]


def test_scores_on_eight_devices_equal_one(toy, eight_devices, spread, requests, expected):
    with jax.set_mesh(eight_devices):
        got = scorer(toy, eight_devices, batch_tokens=512)(spread(toy, eight_devices), requests)
    close(got, expected)


def test_logits_in_pieces_give_the_same_scores(toys, one_device, requests, monkeypatch):
    toy = toys['rope']
    whole = scorer(toy, one_device, batch_tokens=512)(toy.params, requests)
    monkeypatch.setattr(option_rows, 'CHUNK', 50)
    close(scorer(toy, one_device, batch_tokens=512)(toy.params, requests), whole)


def test_positions_to_predict_at_always_divide_into_pieces():
    for marks in [*range(1, 5200, 7), 1023, 1024, 1025, 1535, 1536, 1537, 3072, 3073, 4097]:
        batch = option_rows.OptionRows(1, Layout(1, False, 8), widths=(8,))
        batch.marks = [[(0, 0, 0, 0)] * marks]
        positions, chunk = batch.finished().arrays['supervised'].shape[1], option_rows.CHUNK
        assert positions >= marks and positions % max(positions // chunk, 1) == 0
        assert positions // max(positions // chunk, 1) <= chunk


@pytest.mark.parametrize('options', [(), ([5, 1], [])])
def test_an_empty_option_is_refused(toys, one_device, options):
    ask = scorer(toys['rope'], one_device, batch_tokens=64)
    with pytest.raises(errors.DataError, match='request 1 has an empty option; every option needs at least one token'):
        ask(toys['rope'].params, [Request([3], ([1],)), Request([3], options)])


@pytest.mark.parametrize('name', ['rope', 'encoder_decoder'])
def test_an_empty_prompt_is_refused_instead_of_reading_its_neighbours(toys, one_device, name):
    ask = scorer(toys[name], one_device, batch_tokens=64)
    with pytest.raises(errors.DataError, match=re.escape('request 0 has an empty prompt')):
        ask(toys[name].params, [Request([], ([5, 1],))])


def test_an_option_that_ends_beyond_the_table_of_positions_is_refused(toys):
    config = dataclasses.replace(toys['rope'].config, positions='learned', embedding=EmbeddingConfig(positions=20))
    fits, long = Request([3] * 18, ([1, 2, 3],)), Request([3] * 18, ([1], [4, 5, 6, 1]))
    score._check_room(config, [fits])
    with pytest.raises(errors.DataError, match='request 1 has 18 tokens.* to read 21 in all.* 20 positions'):
        score._check_room(config, [fits, long])


def test_no_requests_give_no_scores(toys, one_device):
    assert scorer(toys['rope'], one_device, batch_tokens=64)(toys['rope'].params, []) == []
