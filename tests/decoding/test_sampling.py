"""What is drawn: from which tokens, how often, and what it depends on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax import errors
from flan_jax.decoding import sampling
from flan_jax.decoding.generate import LOOK_EVERY, Generator
from flan_jax.decoding.sampling import GREEDY, Sampling

LOGITS = np.log(np.array([0.4, 0.05, 0.3, 0.15, 0.1], np.float32))
NEVER, NEW = 64, 6


def on_device(each: list[Sampling]) -> sampling.SamplingRows:
    return jax.tree.map(jnp.asarray, sampling.rows(each, len(each)))


def left(how: Sampling) -> list[int]:
    kept = sampling.kept(jnp.asarray(LOGITS)[None], on_device([how]))
    return np.flatnonzero(np.isfinite(np.asarray(kept[0]))).tolist()


@pytest.mark.parametrize(
    'how, tokens',
    [
        (dict(), [0, 1, 2, 3, 4]),
        (dict(top_k=2), [0, 2]),
        (dict(top_k=9), [0, 1, 2, 3, 4]),
        (dict(top_p=0.69), [0, 2]),
        (dict(top_p=0.71), [0, 2, 3]),
        (dict(top_p=0.01), [0]),
        (dict(min_p=0.3), [0, 2, 3]),
        (dict(min_p=1.0), [0]),
        (dict(top_k=3, top_p=0.8), [0, 2]),  # of the three's 0.85 the first two have 0.82
        (dict(temperature=0.5, min_p=0.3), [0, 2]),  # shares are squared: 1, 0.56, 0.14
    ],
)
def test_only_the_tokens_each_rule_keeps_can_be_drawn(how, tokens):
    assert left(Sampling(**{'temperature': 1.0, **how})) == tokens


def test_the_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    logits, seen = jnp.array([[2.0, -2.0, 1.0]]), jnp.array([[True, True, False]])
    assert sampling.penalised(logits, jnp.array([[2.0]]), seen=seen).tolist() == [[1.0, -4.0, 1.0]]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    many = [Sampling(temperature=1.0, seed=seed) for seed in range(4000)]
    logits = jnp.broadcast_to(jnp.asarray(LOGITS), (len(many), 5))
    seen = jnp.zeros(logits.shape, bool)
    drawn = sampling.choose(logits, on_device(many), seen=seen, step=jnp.full((len(many), 1), 3))
    shares = np.bincount(np.asarray(drawn)[:, 0], minlength=5) / len(many)
    np.testing.assert_allclose(shares, np.exp(LOGITS), atol=0.03)


def test_rules_are_those_of_transformers_in_their_order():
    processors = pytest.importorskip('transformers.generation.logits_process', reason='parity needs transformers')
    torch = pytest.importorskip('torch', reason='parity needs torch')
    rng = np.random.default_rng(0)
    logits, ids = rng.normal(0, 3, (5, 64)).astype(np.float32), rng.integers(0, 64, (5, 9))
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, ids, True, axis=1)
    how = Sampling(temperature=0.7, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3)
    scores = torch.tensor(logits)
    for step in (
        processors.RepetitionPenaltyLogitsProcessor(1.3), processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(20), processors.TopPLogitsWarper(0.9), processors.MinPLogitsWarper(0.02),
    ):  # fmt: skip
        scores = step(torch.tensor(ids), scores)
    rows = on_device([how] * 5)
    got = sampling.kept(sampling.penalised(jnp.asarray(logits), rows.repetition_penalty, seen=jnp.asarray(seen)), rows)
    np.testing.assert_allclose(np.asarray(got), scores.numpy(), rtol=1e-5)


@pytest.fixture(scope='module')
def asked(toys, one_device):
    toy = toys['rope']
    rng = np.random.default_rng(4)
    prompts = [rng.integers(1, 64, n).tolist() for n in (3, 12, 9, 5)]
    ask = Generator(toy.graph, one_device, (NEVER,), batch_tokens=4096)
    return toy.params, prompts, ask


def test_a_row_draws_the_same_in_a_mixed_batch_alone_and_again(asked):
    params, prompts, ask = asked
    how = [
        Sampling(temperature=1.0, seed=7), GREEDY, Sampling(temperature=2.0, top_k=5, seed=1),
        Sampling(repetition_penalty=1.5),
    ]  # fmt: skip
    together = ask(params, prompts, new=NEW, how=how)
    assert together[::-1] == ask(params, prompts[::-1], new=NEW, how=how[::-1])
    assert together[:1] == ask(params, prompts[:1], new=NEW, how=how[0])
    assert together[1] == ask(params, prompts, new=NEW)[1]


def test_samples_of_one_prompt_and_other_seeds_differ(asked):
    params, prompts, ask = asked
    one = Sampling(temperature=2.0, seed=3)
    how = [one, dataclasses.replace(one, sample=1), dataclasses.replace(one, seed=4), one]
    first, second, third, again = ask(params, [prompts[1]] * 4, new=NEW, how=how)
    assert first == again and first != second and first != third


def test_a_large_penalty_leaves_no_token_twice(asked):
    params, prompts, ask = asked
    (answer,) = ask(params, prompts[:1], new=NEW, how=Sampling(repetition_penalty=1e6))
    assert len({*answer, *prompts[0]}) == NEW + len(set(prompts[0]))


def test_until_ends_an_answer_after_the_token_it_says_and_others_go_on(asked):
    params, prompts, ask = asked
    new = 2 * LOOK_EVERY + 3
    whole = ask(params, prompts, new=new)
    told = []

    def until(index, ids):
        told.append((index, len(ids)))
        return index == 1 and len(ids) == 3

    got = ask(params, prompts, new=new, until=until)
    assert got[1] == whole[1][:3] and got[:1] + got[2:] == whole[:1] + whole[2:]
    assert [n for i, n in told if i == 1] == [1, 2, 3] and [n for i, n in told if i == 0] == [*range(1, new + 1)]


def test_any_of_several_ids_ends_an_answer(asked):
    params, prompts, ask = asked
    whole = ask(params, prompts[:2], new=NEW)
    ends = (whole[0][1], whole[1][2])
    got = dataclasses.replace(ask, ends=ends)(params, prompts[:2], new=NEW)
    firsts = [next(i for i, t in enumerate(ids) if t in ends) for ids in whole]
    assert got == [ids[: at + 1] for ids, at in zip(whole, firsts)]


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(temperature=-1.0), 'temperature=-1.0 must be a number, at least 0'),
        (dict(top_k=0), 'top_k=0 must be at least 1, or None'),
        (dict(top_p=0.0), 'top_p=0.0 must be above 0 and at most 1'),
        (dict(min_p=2.0, seed=-1), 'min_p=2.0 must be from 0 to 1; seed=-1 must be from 0'),
        (dict(repetition_penalty=float('nan')), 'repetition_penalty=nan must be above 0'),
    ],
)
def test_a_knob_out_of_its_range_is_refused(wrong, message):
    with pytest.raises(errors.ConfigError, match=message):
        Sampling(**wrong)


def test_as_many_samplings_as_prompts_are_asked_for(asked):
    params, prompts, ask = asked
    with pytest.raises(errors.DataError, match='4 prompts and 1 samplings'):
        ask(params, prompts, new=NEW, how=[GREEDY])
