import itertools

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.config import MixtureConfig
from flan_jax.data import mixture
from flan_jax.data.task import GeneratedSource, Task
from flan_jax.data.templates import Template

SIZES = {'snli': 550_000, 'mnli': 390_000, 'rte': 2_500, 'imdb': 25_000, 'sst2': 67_000, 'boolq': 9_000}
CLUSTERS = {'snli': 'nli', 'mnli': 'nli', 'rte': 'nli', 'imdb': 'sentiment', 'sst2': 'sentiment', 'boolq': 'reading'}
TEXTS = {'snli': ('flickr',), 'mnli': ('anc',), 'rte': ('news',), 'imdb': ('imdb',), 'boolq': ('wiki', 'news')}


def make_task(name: str) -> Task:
    return Task(
        name=name, cluster=CLUSTERS[name], source=GeneratedSource(lambda split, i: {}, {'train': 1}), fields=dict,
        templates=(Template('{a}'),), texts_from=TEXTS.get(name, ()),
    )  # fmt: skip


TASKS = {name: make_task(name) for name in SIZES}


def rates(config: MixtureConfig, mixtures=None, sizes=SIZES) -> dict[str, float]:
    return mixture.rates(mixture.resolve(config, TASKS, mixtures=mixtures or {}), sizes)


def members(*names, **more) -> MixtureConfig:
    return MixtureConfig(members=names, **more)


@pytest.mark.parametrize('cap', [None, 1, 3000, 30_000, 10**9])
def test_proportional_counts_each_task_up_to_the_cap(cap):
    got = rates(members('*', cap=cap))
    capped = {name: min(size, cap or size) for name, size in SIZES.items()}
    assert got == pytest.approx({name: size / sum(capped.values()) for name, size in capped.items()})


def test_the_cap_applies_to_each_task_of_a_cluster_not_to_the_cluster():
    got = rates(members('nli', 'sentiment', cap=3000))
    assert got['snli'] == got['mnli'] == got['imdb'] == got['sst2'] == pytest.approx(3000 / 14_500)
    assert got['rte'] == pytest.approx(2500 / 14_500)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.0, 4.0])
def test_temperature_takes_the_root_of_the_rates(temperature):
    got, plain = rates(members('*', temperature=temperature)), rates(members('*'))
    for a, b in itertools.combinations(SIZES, 2):
        assert got[a] / got[b] == pytest.approx((plain[a] / plain[b]) ** (1 / temperature))
    assert sum(got.values()) == pytest.approx(1)


def test_a_high_temperature_ends_at_equal_shares():
    assert rates(members('*', temperature=1e9)) == pytest.approx(rates(members('*', rule='equal')))


@pytest.mark.parametrize('temperature', [1e-3, 1e-9])
def test_a_low_temperature_ends_at_the_largest_task_alone(temperature):
    got = rates(members('*', temperature=temperature))
    assert got[max(SIZES, key=SIZES.get)] == pytest.approx(1) and sum(got.values()) == pytest.approx(1)


def test_equal_counts_members_not_examples():
    assert set(rates(members('nli', rule='equal')).values()) == {1 / 3}


def test_weights_are_shares_whatever_the_sizes():
    got = rates(members('snli', 'boolq', rule='weights', weights=(3.0, 1.0)))
    assert got == {'snli': 0.75, 'boolq': 0.25}


def test_the_weight_of_a_cluster_is_shared_among_its_tasks_by_size():
    got = rates(members('sentiment', 'rte', rule='weights', weights=(1.0, 1.0)))
    assert got == pytest.approx({'imdb': 0.5 * 25 / 92, 'sst2': 0.5 * 67 / 92, 'rte': 0.5})


def test_a_task_without_examples_gets_nothing_and_the_rest_sums_to_one():
    got = rates(members('*', rule='equal'), sizes={'snli': 10, 'rte': 0, 'imdb': 5})
    assert got == {'snli': 0.5, 'imdb': 0.5}


NESTED = {
    'outer': members('inner', 'sentiment_mix', rule='weights', weights=(3.0, 1.0)),
    'inner': members('nli', cap=5000),
    'sentiment_mix': members('imdb', 'sst2', rule='equal'),
}


@pytest.mark.parametrize('rule', [dict(), dict(rule='equal'), dict(temperature=3.0), dict(cap=10)])
def test_a_rule_deep_inside_changes_no_share_outside(rule):
    before = rates(members('outer', 'boolq', rule='equal'), NESTED)
    changed = rates(members('outer', 'boolq', rule='equal'), NESTED | {'inner': members('nli', **rule)})
    for name in ('imdb', 'sst2', 'boolq'):
        assert changed[name] == pytest.approx(before[name])
    nli = [sum(r[name] for name in ('snli', 'mnli', 'rte')) for r in (before, changed)]
    assert nli == pytest.approx([0.5 * 0.75] * 2)


def test_the_rate_of_a_nested_task_is_the_product_of_the_shares_on_its_way():
    got = rates(members('outer', 'boolq', rule='equal'), NESTED)
    assert got['rte'] == pytest.approx(0.5 * 0.75 * 2500 / 12_500)
    assert got['imdb'] == pytest.approx(0.5 * 0.25 * 0.5)


def test_an_inner_cap_wins_over_the_outer_one():
    tree = mixture.resolve(members('inner', 'imdb', cap=1000), TASKS, mixtures=NESTED)
    assert mixture.sizes(tree, SIZES) == {'snli': 5000, 'mnli': 5000, 'rte': 2500, 'imdb': 1000}
    assert mixture.rates(tree, SIZES)['imdb'] == pytest.approx(1000 / 13_500)


def test_rates_of_random_trees_are_positive_and_sum_to_one():
    generator = np.random.default_rng(0)
    for _ in range(50):

        def some():
            names = generator.choice(list(SIZES), 3, replace=False).tolist()
            rule = str(generator.choice(['proportional', 'equal', 'weights']))
            return members(
                *names, rule=rule, weights=tuple(generator.uniform(0.1, 9, 3)) if rule == 'weights' else (),
                cap=int(generator.integers(1, 10**6)), temperature=float(generator.uniform(0.3, 5)),
            )  # fmt: skip

        got = rates(members('a', 'b', 'imdb', temperature=2.0), {'a': some(), 'b': some()})
        assert sum(got.values()) == pytest.approx(1) and min(got.values()) > 0


def test_a_mixture_that_contains_itself_shows_the_way():
    mixtures = {'a': members('b'), 'b': members('rte', 'c'), 'c': members('a')}
    with pytest.raises(errors.ConfigError, match="mixture 'a' contains itself: mixture -> a -> b -> c -> a"):
        mixture.resolve(members('a'), TASKS, mixtures=mixtures)


@pytest.mark.parametrize('wrong, near', [('mnil', 'mnli'), ('sentimant', 'sentiment'), ('outter', 'outer')])
def test_an_unknown_member_is_named_with_the_nearest_ones(wrong, near):
    with pytest.raises(errors.ConfigError) as e:
        mixture.resolve(members('rte', wrong), TASKS, mixtures=NESTED)
    assert f'{wrong!r} is no task, cluster or mixture' in str(e.value)
    assert f'did you mean {near}' in str(e.value)


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(errors.ConfigError, match=r"'x_\*' is no task, cluster or mixture, nor a pattern"):
        mixture.resolve(members('x_*'), TASKS, mixtures={})


def test_a_member_weighed_twice_is_an_error():
    with pytest.raises(errors.ConfigError, match='names a member twice'):
        mixture.resolve(members('rte', 'rte', rule='weights', weights=(1.0, 2.0)), TASKS, mixtures={})


def test_a_member_named_twice_counts_once_elsewhere():
    assert rates(members('nli', 'rte', '*li', rule='equal')) == pytest.approx(rates(members('nli', rule='equal')))


def test_what_is_left_out_is_no_member_however_deep():
    inner = {'inner': members('nli', 'boolq', rule='equal')}
    got = rates(members('inner', 'sentiment', rule='weights', weights=(3.0, 1.0), leave_out=('s*', 'rte')), inner)
    assert got == pytest.approx({'mnli': 3 / 8, 'boolq': 3 / 8, 'imdb': 1 / 4})
    got = rates(members('snli', 'imdb', 'boolq', rule='weights', weights=(1.0, 2.0, 3.0), leave_out=('imdb',)))
    assert got == pytest.approx({'snli': 1 / 4, 'boolq': 3 / 4})
    assert rates(members('boolq', 'imdb', leave_out=('nothing_such?', 'sent*'))) == {'boolq': 1.0}
    with pytest.raises(errors.ConfigError, match="mixture.leave_out: 'bolq' is no task or cluster.*did you mean boolq"):
        rates(members('boolq', leave_out=('bolq',)))


def select(**more):
    config = members('*', **more)
    return mixture.select(mixture.resolve(config, TASKS, mixtures={}), TASKS)


def test_a_held_out_cluster_takes_what_shares_its_texts_along():
    got = select(held_out_clusters=('nli',))
    assert set(got.held_out) == {'snli', 'mnli', 'rte'}
    assert got.excluded == {'boolq': 'shares texts (news) with the held-out task rte'}
    assert set(got.train) == {'imdb', 'sst2'}


def test_every_task_is_trained_on_held_out_or_excluded_and_never_two_of_them():
    for held in ((), ('nli',), ('reading',), ('nli', 'reading')):
        got = select(held_out_clusters=held)
        parts = [*got.train, *got.held_out, *got.excluded]
        assert sorted(parts) == sorted(SIZES)
        texts = {t for name in (*got.held_out, *got.excluded) for t in TEXTS.get(name, ()) if name in got.held_out}
        assert not texts & {t for name in got.train for t in TEXTS.get(name, ())}


def test_a_held_out_task_outside_the_mixture_excludes_just_the_same():
    config = members('boolq', 'imdb', held_out_clusters=('nli',))
    got = mixture.select(mixture.resolve(config, TASKS, mixtures={}), TASKS)
    assert got.train == ('imdb',) and got.held_out == () and set(got.excluded) == {'boolq'}


def test_a_task_can_be_held_out_alone():
    got = select(held_out_tasks=('boolq',))
    assert got.held_out == ('boolq',) and set(got.excluded) == {'rte'}


def test_unknown_held_out_names_are_errors_with_near_ones():
    with pytest.raises(errors.ConfigError, match="held_out_clusters: no cluster 'nly'; did you mean nli"):
        select(held_out_clusters=('nly',))
    with pytest.raises(errors.ConfigError, match="held_out_tasks: no task 'bolq'; did you mean boolq"):
        select(held_out_tasks=('bolq',))


def test_holding_out_everything_is_an_error():
    with pytest.raises(errors.ConfigError, match='no task left to train on; hold out less'):
        select(held_out_clusters=('nli', 'sentiment', 'reading'))
