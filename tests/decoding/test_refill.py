"""Slots that are refilled give what prompts give in one batch, in fewer steps than whole batches take."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from flan_jax.decoding import past, prompt_batches
from flan_jax.decoding.generate import Asked, Generator
from flan_jax.decoding.sampling import GREEDY, Sampling
from flan_jax.parallel import axes

NEVER, NEW = 64, 24
LENGTHS = (3, 14, 1, 12, 15, 12, 5, 9, 16, 2, 13, 7)
WANTED = (NEW, 2, 3, 4, 5, NEW, 2, 3, 4, 5, 1, 6)  # tokens of each answer
SLOTS = 4


@pytest.fixture(scope='module')
def prompts() -> list[list[int]]:
    rng = np.random.default_rng(2)
    return [rng.integers(1, 64, n).tolist() for n in LENGTHS]


@pytest.fixture(scope='module')
def how() -> list[Sampling]:
    """One answer is the likeliest, the next is drawn, the next drawn in another way."""
    drawn = Sampling(temperature=1.5, seed=3)
    kinds = GREEDY, drawn, dataclasses.replace(drawn, top_k=9, repetition_penalty=1.3)
    return [dataclasses.replace(kinds[i % 3], sample=i) for i in range(len(LENGTHS))]


@pytest.fixture(scope='module', params=['rope', 'encoder_decoder'])
def wired(request, toys, one_device, prompts, how):
    """A model, and each answer as written in a batch that nobody is put into later."""
    toy = toys[request.param]
    ask, whole = asks(toy, one_device), []
    for i in range(0, len(prompts), SLOTS):
        whole += ask(toy.params, prompts[i : i + SLOTS], new=NEW, how=how[i : i + SLOTS])
    return toy, [ids[:n] for ids, n in zip(whole, WANTED)]


def asks(toy, mesh, ends: tuple[int, ...] = (NEVER,)) -> Generator:
    return Generator(toy.graph, mesh, ends, batch_tokens=SLOTS * (16 + NEW))


def until(index: int, ids: list[int]) -> bool:
    return len(ids) == WANTED[index]


def test_a_refilled_queue_gives_what_batches_give(wired, one_device, prompts, how):
    (toy, alone), told = wired, []
    answers, work = asks(toy, one_device).write(toy.params, Asked(prompts, how, NEW, until, told.append))
    assert answers == alone and sum(told) == len(prompts)
    assert work.reads > len(prompts) // SLOTS


def test_refilled_slots_on_eight_devices_give_the_same(wired, eight_devices, spread, prompts, how):
    toy, alone = wired
    if toy.config.encoder_decoder:
        pytest.skip('one wiring takes long enough to compile')
    with jax.set_mesh(eight_devices):
        asked = Asked(prompts, how, NEW, until)
        answers, work = asks(toy, eight_devices).write(spread(toy, eight_devices), asked)
    assert answers == alone and work.reads > 2


def test_fewer_steps_are_taken_than_whole_batches_need(toys, one_device, prompts):
    toy, many, ends = toys['rope'], prompts * 3, tuple(range(0, 64, 8))
    many = [[*prompt[1:], i] for i, prompt in enumerate(many)]
    asked = Asked(many, [GREEDY] * len(many), NEW)
    answers, work = asks(toy, one_device, ends).write(toy.params, asked)
    for ids, values in zip(answers, toy.log_probabilities(many, answers)):
        assert ids == np.argmax(values[:-1], axis=-1).tolist()
        assert (ids[-1] in ends or len(ids) == NEW) and not set(ends) & set(ids[:-1])
    order = sorted(range(len(many)), key=lambda i: -len(many[i]))
    batches = [order[i : i + SLOTS] for i in range(0, len(order), SLOTS)]
    assert work.steps < 0.85 * sum(max(len(answers[i]) for i in batch) - 1 for batch in batches)


def test_a_refilled_cache_stays_on_its_devices(eight_devices):
    cache, fresh = np.zeros((32, 2, 40, 8), np.float32), np.ones((4, 2, 16, 8), np.float32)
    rows = jax.sharding.NamedSharding(eight_devices, axes.spec(('batch', 'kv_heads', 'position', 'head')))
    at = np.array([[0], [1], [7], [8]], np.int32)  # of the last group, nobody
    given = jax.device_put((cache, fresh), rows), prompt_batches.put(at, eight_devices)

    def put(pair, slots):
        return past.replaced(*pair, slots=slots)

    program = jax.jit(put, out_shardings=rows).lower(*given).compile()
    cache[[0, 9, 23], :, :16] = 1
    assert (np.asarray(program(*given)) == cache).all()
    kinds = 'all-gather|all-to-all|collective-permute|all-reduce'
    sent = re.findall(rf'= \w+\[([\d,]+)\]\S* (?:{kinds})\(', program.as_text())
    # XLA hands the few fresh rows round; the cache itself stays.
    assert max(np.prod([int(size) for size in shape.split(',')]) for shape in sent) <= fresh.size


def test_prompts_that_need_half_of_a_slot_wait_for_another_queue():
    prompts = [[1] * n for n in (100, 20, 90, 60, 10)]
    got = list(prompt_batches.queues(prompts, groups=2, batch_tokens=600, new=16))
    assert [queue.indices for queue in got] == [(0, 2, 3), (1, 4)]
    got = list(prompt_batches.queues(prompts, groups=2, batch_tokens=600, new=200))
    assert [queue.indices for queue in got] == [(0, 2, 3, 1, 4)]
    assert (got[0].slots, got[0].width) == (2, 128)
