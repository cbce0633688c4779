import dataclasses
import itertools

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.data import planning
from flan_jax.data.planning import Lengths, Recipe

SIZES = {'big': 3000, 'middle': 700, 'tiny': 90}


def lengths_of(seed: int, count: int, *, mean=4.6, sigma=0.7, longest=2048) -> Lengths:
    """Lognormal, like instruction data: a median of 100 tokens and a long tail."""
    generator = np.random.default_rng(seed)
    total = np.clip(generator.lognormal(mean, sigma, count).astype(np.int32), 4, longest)
    target = np.clip(total // 4, 1, None).astype(np.int32)
    return Lengths(total, target, target)


LENGTHS = {name: lengths_of(i, size) for i, (name, size) in enumerate(SIZES.items())}
RECIPE = Recipe(
    fingerprints={name: name for name in SIZES},
    rates={name: size / sum(SIZES.values()) for name, size in SIZES.items()},
    seed=0,
    row_tokens=(2048,),
    pack=True,
    window=256,
    epoch_examples=sum(SIZES.values()),
)
TWO_SIDED = dataclasses.replace(RECIPE, row_tokens=(1600, 520))


def change(recipe=RECIPE, **more) -> Recipe:
    return dataclasses.replace(recipe, **more)


def drawn(plan, name) -> np.ndarray:
    return plan.example[plan.task == plan.tasks.index(name)]


def row(plan, i) -> list[tuple[int, int]]:
    a, b = plan.row_starts[i : i + 2]
    return list(zip(plan.task[a:b].tolist(), plan.example[a:b].tolist()))


def used(plan, lengths=LENGTHS) -> np.ndarray:
    """int[rows, sides], tokens of each row, counted without the planner."""
    out = np.zeros((len(plan), len(plan.recipe.row_tokens)), int)
    for i in range(len(plan)):
        for task, example in row(plan, i):
            own = lengths[plan.tasks[task]]
            total, target = int(own.total[example]), int(own.target[example])
            out[i] += (total,) if out.shape[1] == 1 else (total - target, target)
    return out


@pytest.mark.parametrize('recipe', [RECIPE, TWO_SIDED, change(pack=False), change(window=7), change(window=10**5)])
def test_an_epoch_shows_every_example_exactly_once(recipe):
    plan = planning.make(recipe, LENGTHS, epochs=1)
    for name, size in SIZES.items():
        assert np.array_equal(np.sort(drawn(plan, name)), np.arange(size))


def test_every_epoch_shows_every_example_once_in_another_order():
    plan = planning.make(change(pack=False, window=SIZES['tiny']), {'tiny': LENGTHS['tiny']} | LENGTHS, epochs=3)
    for name, size in SIZES.items():
        assert np.array_equal(np.bincount(drawn(plan, name), minlength=size), [3] * size)
    alone = change(rates={'tiny': 1.0}, epoch_examples=90, window=90)
    first, second = planning.make(alone, LENGTHS, epochs=2).example.reshape(2, 90)
    assert sorted(first) == sorted(second) and first.tolist() != second.tolist()
    in_order = change(alone, window=1, pack=False)  # nothing is shuffled but the examples themselves
    first, second = planning.make(in_order, LENGTHS, epochs=2).example.reshape(2, 90)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize('recipe', [RECIPE, TWO_SIDED, change(row_tokens=(2300,)), change(TWO_SIDED, window=64)])
def test_no_row_holds_more_than_it_has_room_for(recipe):
    plan = planning.make(recipe, LENGTHS, epochs=1)
    tokens = used(plan)
    assert (tokens <= recipe.row_tokens).all() and (tokens.sum(axis=1) > 0).all()


def test_rows_of_2048_are_full():
    lengths = {'task': lengths_of(5, 100_000)}
    recipe = change(rates={'task': 1.0}, fingerprints={'task': 'x'}, window=8192, epoch_examples=100_000)
    plan = planning.make(recipe, lengths, epochs=1)
    assert lengths['task'].total.sum() / (len(plan) * 2048) >= 0.985


def test_two_sided_rows_are_filled_on_the_side_that_is_short():
    plan = planning.make(change(TWO_SIDED, row_tokens=(1536, 512), window=4096), LENGTHS, epochs=1)
    assert (used(plan).sum(axis=0) / (len(plan) * np.array([1536, 512]))).max() > 0.9


def test_without_packing_a_row_is_an_example():
    plan = planning.make(change(pack=False), LENGTHS, rows=500)
    assert np.array_equal(plan.row_starts, np.arange(501))


RATES = {'big': 0.611, 'middle': 0.3557, 'tiny': 0.0333}


def window_ends(recipe, draws) -> np.ndarray:
    """Where windows end among the examples of a plan: each takes round(rate * W * (w + 1)) of a task in all."""
    ends = np.minimum(np.arange(1, draws // recipe.window + 2) * recipe.window, draws)
    return sum(np.rint(ends * rate) for rate in recipe.rates.values()).astype(int)


@pytest.mark.parametrize('recipe', [RECIPE, TWO_SIDED, change(pack=False)])
def test_after_every_window_each_task_is_within_one_example_of_its_rate(recipe):
    recipe = change(recipe, rates=RATES)
    plan = planning.make(recipe, LENGTHS, epochs=1)
    for k, name in enumerate(plan.tasks):
        seen = np.cumsum(plan.task == k)
        for w, end in enumerate(window_ends(recipe, 3790)[:-1]):
            assert abs(seen[end - 1] - (w + 1) * 256 * RATES[name]) <= 0.5
    assert abs(len(plan.example) - 3790) <= 1


@pytest.mark.parametrize('recipe', [RECIPE, TWO_SIDED])
def test_packing_moves_no_example_to_another_window(recipe):
    recipe = change(recipe, rates=RATES)
    packed, plain = (planning.make(change(recipe, pack=p), LENGTHS, epochs=1) for p in (True, False))
    for start, end in itertools.pairwise([0, *window_ends(recipe, 3790)]):
        one, other = (sorted(zip(p.task[start:end], p.example[start:end])) for p in (packed, plain))
        assert one == other


def test_realised_rates_are_the_rates_asked_for_by_a_chi_squared_test():
    plan = planning.make(change(rates=RATES), LENGTHS, rows=900)
    realised = planning.realised(plan, LENGTHS)
    total = sum(r['examples'] for r in realised.values())
    chi = sum((realised[n]['examples'] - total * RATES[n]) ** 2 / (total * RATES[n]) for n in RATES)
    assert total > 10_000 and chi < 5.99  # 95 % of chi squared with 2 degrees of freedom


def test_long_examples_are_not_shown_less_for_being_hard_to_pack():
    lengths = {'short': lengths_of(1, 2000, mean=3.0), 'long': lengths_of(2, 2000, mean=7.0)}
    recipe = change(rates={'short': 0.5, 'long': 0.5}, epoch_examples=4000, window=512)
    realised = planning.realised(planning.make(recipe, lengths, epochs=2), lengths)
    assert realised['short']['examples'] == realised['long']['examples'] == 4000


@pytest.mark.parametrize('recipe', [change(window=32), change(TWO_SIDED, window=32), change(pack=False, window=32)])
@pytest.mark.parametrize('seed', [0, 1])
def test_row_i_does_not_depend_on_how_many_rows_are_asked_for(recipe, seed):
    recipe = change(recipe, seed=seed, rates=RATES)
    longest = planning.make(recipe, LENGTHS, rows=160)
    assert len(longest) == 160
    for rows in range(1, 160, 3):
        plan = planning.make(recipe, LENGTHS, rows=rows)
        assert len(plan) == rows
        assert np.array_equal(plan.row_starts, longest.row_starts[: rows + 1])
        assert np.array_equal(plan.example, longest.example[: len(plan.example)])
        assert np.array_equal(plan.task, longest.task[: len(plan.task)])


def test_less_than_one_example_is_refused():
    with pytest.raises(errors.ConfigError, match='1e-05 epochs of 3,790 examples are less than one example'):
        planning.make(RECIPE, LENGTHS, epochs=1e-5)


def test_a_bad_guess_of_the_examples_needed_does_not_change_the_rows():
    """Few examples fill a row each, so the mean length tells little of the next windows; here they hold too few."""
    total = np.where(np.arange(30_000) % 100 == 38, 2000, 10).astype(np.int32)
    lengths = {'odd': Lengths(total, *(np.full(30_000, 2, np.int32) for _ in range(2)))}
    recipe = change(rates={'odd': 1.0}, seed=38, epoch_examples=30_000, window=512)
    longest = planning.make(recipe, lengths, rows=130)
    for rows in range(55, 70):
        plan = planning.make(recipe, lengths, rows=rows)
        assert np.array_equal(plan.row_starts, longest.row_starts[: rows + 1])
        assert np.array_equal(plan.example, longest.example[: len(plan.example)])


def test_a_plan_is_a_function_of_its_recipe():
    one, again = (planning.make(RECIPE, LENGTHS, rows=100) for _ in range(2))
    assert all(np.array_equal(vars(one)[k], vars(again)[k]) for k in ('row_starts', 'task', 'example'))
    assert one.fingerprint == again.fingerprint


def test_the_seed_changes_the_order():
    one, other = (planning.make(change(seed=seed), LENGTHS, epochs=1) for seed in (0, 1))
    assert one.fingerprint != other.fingerprint
    for name in SIZES:
        assert drawn(one, name).tolist() != drawn(other, name).tolist()


@pytest.mark.parametrize(
    'more', [dict(seed=9), dict(window=9), dict(pack=False), dict(row_tokens=(9,)), dict(rates={'big': 1.0}),
             dict(fingerprints={'big': 'new'}), dict(epoch_examples=9)],
)  # fmt: skip
def test_the_fingerprint_covers_every_field_of_the_recipe(more):
    assert change(**more).fingerprint != RECIPE.fingerprint


def test_a_task_keeps_its_order_when_another_is_added_or_rates_change():
    alone = change(rates={'tiny': 1.0}, pack=False, window=1)  # a window of one example has nothing to shuffle
    mixed = change(alone, rates={'big': 0.8, 'tiny': 0.2})
    one, other = (drawn(planning.make(r, LENGTHS, rows=600), 'tiny') for r in (alone, mixed))
    assert len(other) > 100
    assert np.array_equal(one[: len(other)], other)


def test_packing_keeps_the_supervised_tokens_of_every_task():
    packed, plain = (planning.make(change(pack=pack), LENGTHS, epochs=1) for pack in (True, False))
    assert planning.realised(packed, LENGTHS) == planning.realised(plain, LENGTHS)
    for name in SIZES:
        assert planning.realised(packed, LENGTHS)[name]['supervised_tokens'] == LENGTHS[name].supervised.sum()
    assert packed.row_supervised.sum() == plain.row_supervised.sum()


def test_realised_parts_add_up():
    plan = planning.make(RECIPE, LENGTHS, epochs=1)
    whole, first, rest = (
        planning.realised(plan, LENGTHS, first=a, last=b) for a, b in ((0, None), (0, 40), (40, None))
    )
    for name in SIZES:
        assert whole[name] == {key: first[name][key] + rest[name][key] for key in whole[name]}


@pytest.mark.parametrize('epochs', [0.25, 1, 2.5])
def test_epochs_are_counted_in_examples(epochs):
    plan = planning.make(RECIPE, LENGTHS, epochs=epochs)
    assert abs(len(plan.example) - epochs * RECIPE.epoch_examples) <= len(SIZES)


@pytest.mark.parametrize('recipe', [RECIPE, TWO_SIDED])
@pytest.mark.parametrize('batch_rows, parts', [(1, 1), (8, 1), (8, 4), (8, 8), (48, 6)])
def test_no_part_of_a_batch_has_more_supervised_positions_than_the_bound(recipe, batch_rows, parts):
    plan = planning.make(recipe, LENGTHS, rows=150)
    limit = planning.bound(plan, batch_rows=batch_rows, parts=parts)
    each = batch_rows // parts
    most = max(plan.row_supervised[i : i + each].sum() for i in range(0, len(plan), each))
    assert most <= limit <= max(most * 1.25, most + 8)


def test_row_supervised_counts_each_row():
    for recipe in (RECIPE, TWO_SIDED):
        plan = planning.make(recipe, LENGTHS, rows=60)
        counted = [sum(int(LENGTHS[plan.tasks[t]].supervised[e]) for t, e in row(plan, i)) for i in range(60)]
        assert plan.row_supervised.tolist() == counted


def test_examples_longer_than_a_row_are_left_out_and_counted():
    plan = planning.make(change(row_tokens=(150,)), LENGTHS, rows=300)
    for name in SIZES:
        too_long = int((LENGTHS[name].total > 150).sum())
        assert plan.dropped[name] == too_long > 0
        assert LENGTHS[name].total[drawn(plan, name)].max() <= 150
    assert planning.make(RECIPE, LENGTHS, rows=3).dropped == {}


def test_on_two_sides_each_has_its_own_limit():
    plan = planning.make(change(row_tokens=(2048, 20)), LENGTHS, rows=100)
    assert plan.dropped['big'] == int((LENGTHS['big'].target > 20).sum())


@pytest.mark.parametrize('tokens', [(3,), (2048, 0)])
def test_a_task_of_which_nothing_fits_is_named_with_the_numbers(tokens):
    recipe = change(rates={'tiny': 1.0}, row_tokens=tokens)
    with pytest.raises(errors.DataError) as e:
        planning.make(recipe, LENGTHS, rows=1)
    assert "'tiny' has 90 training examples and none fits" in str(e.value) and str(tokens) in str(e.value)


def test_one_example_can_fill_a_whole_run():
    lengths = {'only': Lengths(*(np.array([n], np.int32) for n in (10, 4, 4)))}
    recipe = change(rates={'only': 1.0}, window=4, epoch_examples=1, row_tokens=(20,))
    plan = planning.make(recipe, lengths, rows=11)
    assert len(plan) == 11 and set(np.diff(plan.row_starts)) == {2} and set(plan.example) == {0}


def test_a_plan_of_more_epochs_is_another_plan_and_one_of_more_rows_begins_alike():
    one, two = (planning.make(RECIPE, LENGTHS, epochs=epochs) for epochs in (1, 2))
    assert one.fingerprint != two.fingerprint
    few, many = (planning.make(RECIPE, LENGTHS, rows=rows) for rows in (10, 200))
    assert few.fingerprint == many.fingerprint
    assert [row(few, i) for i in range(10)] == [row(many, i) for i in range(10)]
