"""Mixtures counted in tokens, limits, optional members, and what goes out with a held-out cluster."""

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.config import MixtureConfig, StageConfig
from flan_jax.data import mixture
from flan_jax.data.mixture import Limits
from flan_jax.data.task import GeneratedSource, Task
from flan_jax.data.templates import Template

SIZES = {'snli': 5000, 'mnli': 4000, 'rte': 250, 'imdb': 2500, 'qqp': 7000, 'boolq': 900}
CLUSTERS = {'snli': 'nli', 'mnli': 'nli', 'rte': 'nli', 'imdb': 'sentiment', 'qqp': 'paraphrase', 'boolq': 'reading'}
TOKENS = {'snli': 40.0, 'mnli': 60.0, 'rte': 90.0, 'imdb': 300.0, 'qqp': 45.0, 'boolq': 200.0}
RELATED = {'nli': ('paraphrase',), 'paraphrase': ('nli',)}


def make_task(name: str) -> Task:
    return Task(
        name=name, cluster=CLUSTERS[name], source=GeneratedSource(lambda split, i: {}, {'train': 1}), fields=dict,
        templates=(Template('{a}'),),
    )  # fmt: skip


TASKS = {name: make_task(name) for name in SIZES}


def members(*names, **more) -> MixtureConfig:
    return MixtureConfig(members=names, **more)


def rates(config, mixtures=None, sizes=SIZES) -> dict[str, float]:
    return mixture.rates(mixture.resolve(config, TASKS, mixtures=mixtures or {}), sizes, tokens=TOKENS)


def token_shares(rates) -> dict[str, float]:
    total = sum(rate * TOKENS[name] for name, rate in rates.items())
    return {name: rate * TOKENS[name] / total for name, rate in rates.items()}


def test_in_tokens_weights_are_shares_of_tokens():
    got = rates(members('imdb', 'snli', rule='weights', weights=(3.0, 1.0), unit='tokens'))
    assert token_shares(got) == pytest.approx({'imdb': 0.75, 'snli': 0.25})
    assert got['imdb'] < 0.75 and sum(got.values()) == pytest.approx(1)


def test_in_tokens_equal_members_get_as_many_tokens_each():
    assert set(np.round(list(token_shares(rates(members('*', rule='equal', unit='tokens'))).values()), 9)) == {
        round(1 / 6, 9)
    }


@pytest.mark.parametrize('cap', [None, 1000])
def test_shares_by_size_are_the_same_in_tokens_and_in_examples_without_temperature(cap):
    assert rates(members('*', cap=cap, unit='tokens')) == pytest.approx(rates(members('*', cap=cap)))


def test_in_tokens_the_temperature_flattens_tokens():
    plain, hot = (token_shares(rates(members('*', unit='tokens', temperature=t))) for t in (1.0, 3.0))
    assert hot['imdb'] / hot['rte'] == pytest.approx((plain['imdb'] / plain['rte']) ** (1 / 3))


@pytest.mark.parametrize('inner', ['examples', 'tokens'])
@pytest.mark.parametrize('rule', ['proportional', 'equal'])
def test_a_nested_mixture_gets_its_share_of_tokens_whatever_it_does_inside(inner, rule):
    nested = {'n': members('nli', rule=rule, unit=inner, temperature=2.0)}
    got = rates(members('n', 'imdb', rule='weights', weights=(1.0, 3.0), unit='tokens'), nested)
    shares = token_shares(got)
    assert shares['imdb'] == pytest.approx(0.75)
    alone = rates(members('n'), nested)
    assert {n: got[n] / sum(got[m] for m in alone) for n in alone} == pytest.approx(alone)


def test_a_mixture_in_tokens_inside_one_in_examples_gets_its_share_of_examples():
    nested = {'n': members('snli', 'rte', rule='equal', unit='tokens')}
    got = rates(members('n', 'imdb', rule='equal'), nested)
    assert got['imdb'] == pytest.approx(0.5)
    assert got['snli'] * TOKENS['snli'] == pytest.approx(got['rte'] * TOKENS['rte'])


def test_limits_come_from_the_innermost_mixture_that_sets_them():
    nested = {'n': members('nli', max_examples=10), 'o': members('n', 'imdb', max_templates=3)}
    tree = mixture.resolve(members('o', 'qqp', max_examples=99, max_epochs=2.0), TASKS, mixtures=nested)
    assert mixture.limits(tree) == {
        'snli': Limits(10, 3, 2.0), 'mnli': Limits(10, 3, 2.0), 'rte': Limits(10, 3, 2.0), 'imdb': Limits(99, 3, 2.0),
        'qqp': Limits(99, None, 2.0),
    }  # fmt: skip


def test_of_two_ways_to_a_task_the_stricter_limit_counts():
    nested = {'n': members('snli', max_examples=10), 'o': members('snli', 'rte', max_examples=7, max_epochs=1.0)}
    tree = mixture.resolve(members('n', 'o', 'snli'), TASKS, mixtures=nested)
    assert mixture.limits(tree)['snli'] == Limits(7, None, 1.0)


def test_an_optional_member_may_be_unknown():
    node = mixture.resolve(members('snli', 'flan_full?', 'x_*?', 'rte?'), TASKS, mixtures={})
    assert mixture.task_names(node) == ['snli', 'rte'] and mixture.missing(node) == ['flan_full', 'x_*']
    weighed = members('snli', 'gone?', 'rte?', rule='weights', weights=(1.0, 5.0, 3.0))
    assert rates(weighed) == pytest.approx({'snli': 0.25, 'rte': 0.75})


def test_a_mixture_whose_members_are_all_missing_gets_no_share():
    nested = {'gone': members('a?', 'b?'), 'n': members('gone', 'rte')}
    got = rates(members('gone', 'n', 'imdb', rule='weights', weights=(8.0, 1.0, 1.0)), nested)
    assert got == {'rte': 0.5, 'imdb': 0.5}


def test_a_run_of_which_nothing_is_known_names_what_is_missing():
    nested = {'gone': members('a?', 'b?')}
    with pytest.raises(errors.ConfigError, match='mixture is empty: of its optional members none is known: c, a, b;'):
        mixture.resolve(members('gone', 'c?'), TASKS, mixtures=nested)
    with pytest.raises(errors.ConfigError, match='mixture is empty: leave_out takes every member out'):
        mixture.resolve(members('rte', leave_out=('rte',)), TASKS, mixtures={})
    with pytest.raises(errors.ConfigError, match='stage late is empty'):
        stages = (StageConfig('late', members('gone'), steps=1),)
        mixture.resolve(members('rte'), TASKS, mixtures=nested, stages=stages)


def test_a_required_member_that_is_unknown_is_still_an_error():
    with pytest.raises(errors.ConfigError, match="'flan_full' is no task"):
        mixture.resolve(members('snli', 'flan_full'), TASKS, mixtures={})


@pytest.mark.parametrize('bad, message', [
    (dict(rule='weights', weights=(1.0, 2.0)), "mixture 'n': weights has 2 values for 1"),
    (dict(rule='weights', weights=(0.0,)), "mixture 'n': temperature and mixture 'n': weights must be above 0"),
    (dict(temperature=float('nan')), 'must be above 0 and finite, not nan'),
    (dict(temperature=float('inf')), 'must be above 0 and finite, not inf'),
    (dict(weights=(1.0,)), "count for nothing with mixture 'n': rule='proportional'; set it to 'weights'"),
    (dict(max_epochs=0.0), 'max_epochs=0.0 must be above 0; None is off'),
    (dict(cap=0), 'cap=0 must be at least 1; None is off'),
    (dict(max_templates=0), 'max_templates=0 must be at least 1'),
])  # fmt: skip
def test_values_of_a_named_mixture_that_make_no_sense_are_refused_with_its_name(bad, message):
    with pytest.raises(errors.ConfigError) as e:
        mixture.resolve(members('n', 'rte'), TASKS, mixtures={'n': members('snli', **bad)})
    assert message in str(e.value) and "mixture 'n': " in str(e.value)


def select(*names, mixtures=None, stages=(), related=RELATED, **more):
    config = members(*(names or ('*',)), **more)
    node = mixture.resolve(config, TASKS, mixtures=mixtures or {}, stages=stages)
    return mixture.select(node, TASKS, mixtures=mixtures, related=related)


def test_a_related_cluster_goes_out_with_a_held_out_one():
    got = select(held_out_clusters=('nli',))
    assert set(got.held_out) == {'snli', 'mnli', 'rte'} and set(got.train) == {'imdb', 'boolq'}
    assert got.excluded == {'qqp': 'its cluster paraphrase goes out with the held-out cluster nli'}
    assert 'qqp' in select(held_out_clusters=('nli',), hold_out_related=False).train
    assert select(held_out_clusters=('nli', 'paraphrase')).excluded == {}


def test_a_task_held_out_alone_takes_no_related_cluster_along():
    assert 'qqp' in select(held_out_tasks=('rte',)).train
    assert 'qqp' in select(held_out_tasks=('snli', 'mnli', 'rte')).excluded  # that is the whole cluster


def test_a_named_mixture_can_be_held_out():
    mixtures = {'hard': members('rte', 'read')} | {'read': members('reading')}
    got = select(mixtures=mixtures, held_out_clusters=('hard',))
    assert set(got.held_out) == {'rte', 'boolq'} and set(got.train) == {'snli', 'mnli', 'imdb', 'qqp'}
    with pytest.raises(errors.ConfigError, match="no cluster 'harf'; did you mean hard"):
        select(mixtures=mixtures, held_out_clusters=('harf',))


BROAD, LATE = StageConfig('broad', steps=3), StageConfig('late', members('reading', 'rte'), steps=1)


def test_what_a_stage_trains_on_is_selected_and_what_none_does_is_told():
    late = select('imdb', stages=(LATE,))
    assert late.train == ('boolq', 'rte') and late.excluded == {'imdb': 'in no stage'}
    assert set(select('imdb', stages=(BROAD, LATE)).train) == {'imdb', 'boolq', 'rte'}


def test_what_one_stage_holds_out_no_stage_trains_on():
    holding = StageConfig('first', members('imdb', held_out_tasks=('rte',)), steps=1)
    got = select('imdb', stages=(holding, LATE))
    assert got.train == ('imdb', 'boolq') and got.held_out == ('rte',)


def test_a_stage_with_nothing_left_to_train_on_is_named():
    with pytest.raises(errors.ConfigError, match='stage late has no task left to train on; hold out less'):
        select('imdb', 'reading', 'rte', stages=(BROAD, LATE), held_out_clusters=('reading', 'nli'))


def test_a_stage_may_have_the_name_of_a_mixture_in_it():
    stages = (StageConfig('n', members('n'), steps=1),)
    node = mixture.resolve(members('n'), TASKS, mixtures={'n': members('snli')}, stages=stages)
    assert mixture.task_names(node.stages[0]) == ['snli']
