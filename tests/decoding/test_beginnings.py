"""Which common beginnings are shared: what is promised of them, and that no other choice spares more."""

import random

import pytest

from flan_jax.decoding.beginnings import Beginning, common


def most(prompts, places, *, depth: int, least: int, price: int) -> int:
    """Tokens that the best choice spares, by trying: these prompts begin with the same `depth` ids."""
    if len(places) < 2:
        return 0
    own = (len(places) - 1) * depth - price if depth >= least else 0
    children = {}
    for i in places:
        if len(prompts[i]) > depth + 1:
            children.setdefault(prompts[i][depth], []).append(i)
    parts = [most(prompts, some, depth=depth + 1, least=least, price=price) for some in children.values()]
    return max(own, sum(parts), 0)


@pytest.mark.parametrize('seed', range(300))
def test_the_chosen_beginnings_spare_as_much_as_any_and_are_what_they_say(seed):
    rng = random.Random(seed)
    prompts = [[rng.randint(0, 1) for _ in range(rng.randint(1, 8))] for _ in range(rng.randint(0, 9))]
    least, price = rng.randint(1, 4), rng.randint(0, 3)
    found = common(prompts, least=least, price=price)
    members = [i for one in found for i in one.members]
    assert len(members) == len(set(members))
    for one in found:
        assert len(one.members) > 1 and one.length >= least
        assert len({tuple(prompts[i][: one.length]) for i in one.members}) == 1
        assert all(len(prompts[i]) > one.length for i in one.members)
    spared = sum((len(one.members) - 1) * one.length - price for one in found)
    assert spared == most(prompts, range(len(prompts)), depth=0, least=least, price=price)


def test_prompts_that_are_the_same_keep_one_token_each():
    assert common([[1, 2, 3, 4]] * 3, least=2, price=0) == [Beginning(3, (0, 1, 2))]


def test_tasks_with_exemplars_of_their_own_have_a_beginning_each():
    prompts = [[task] * 50 + [90 + i] for i in range(3) for task in (1, 2)]
    assert common(prompts, least=32, price=0) == [Beginning(50, (0, 2, 4)), Beginning(50, (1, 3, 5))]


def test_what_spares_less_than_its_price_is_not_shared():
    prompts = [[1] * 50 + [i] for i in range(3)]
    assert common(prompts, least=32, price=99) and not common(prompts, least=32, price=100)
    assert not common(prompts, least=51, price=0)


def test_a_chain_of_thousands_of_prompts_is_no_deep_recursion():
    assert common([list(range(n)) for n in range(1, 3000)], least=1, price=0)
