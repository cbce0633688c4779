"""Axes: what each kind changes, and what it draws."""

import itertools

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.ablation import axes
from flan_jax.ablation.axes import Facts
from flan_jax.ablation.config import AxisConfig, StudyConfig, choice
from flan_jax.config import Config, TrainingConfig
from flan_jax.mixture_config import MixtureConfig, StageConfig

CLUSTERS = {f'{cluster}{i}': cluster for cluster, count in (('a', 4), ('b', 2), ('c', 1)) for i in range(count)}
FACTS = Facts(CLUSTERS, {name: 10 * (i + 1) for i, name in enumerate(CLUSTERS)})  # 10 to 70 rows, 280 in all
BASE = Config(training=TrainingConfig(steps=10))


def points(axis: AxisConfig, base: Config = BASE, facts: Facts = FACTS) -> list[axes.Point]:
    return axes.points(axis, base, facts=facts)


def tasks(axis: AxisConfig, facts: Facts = FACTS) -> dict[tuple[float, int], set[str]]:
    """(number, draw) -> the tasks trained on."""
    found = {(p.setting.value, p.setting.draw): set(p.changes['mixture.train_only']) for p in points(axis, facts=facts)}
    return {place: names or set(facts.clusters) for place, names in found.items()}


def test_a_smaller_subset_of_tasks_is_part_of_a_larger_one_of_the_same_draw():
    found = tasks(AxisConfig('n', kind='task_count', values=(1, 2, 4, 7), draws=3))
    assert {place: len(names) for place, names in found.items()} == {
        **{(n, d): n for n in (1, 2, 4) for d in range(3)}, (7, 0): 7,
    }  # fmt: skip
    for draw in range(3):
        assert found[1, draw] < found[2, draw] < found[4, draw]
    assert len({frozenset(found[4, draw]) for draw in range(3)}) > 1, 'draws differ'


def test_a_subset_does_not_depend_on_how_many_others_there_are():
    axis = AxisConfig('n', kind='task_count', values=(3,))
    order = axes.task_order(axis, FACTS, draw_=0)
    fewer = Facts({name: CLUSTERS[name] for name in order[:5]}, {})
    assert tasks(axis)[3, 0] == tasks(axis, fewer)[3, 0]


def test_tasks_spread_over_clusters_come_from_each_in_turn():
    found = tasks(AxisConfig('n', kind='task_count', values=(3, 5), draws=4, spread='clusters'))
    for draw in range(4):
        assert {CLUSTERS[name] for name in found[3, draw]} == {'a', 'b', 'c'}
        assert sorted(CLUSTERS[name] for name in found[5, draw]) == ['a', 'a', 'b', 'b', 'c']


def test_clusters_are_added_whole_in_the_given_order_or_a_drawn_one():
    given = tasks(AxisConfig('n', kind='cluster_count', values=(1, 2), order=('c', 'a', 'b')))
    assert given == {(1, 0): {'c0'}, (2, 0): {'c0', 'a0', 'a1', 'a2', 'a3'}}
    drawn = tasks(AxisConfig('n', kind='cluster_count', values=(1, 2, 3), draws=5))
    assert len(drawn) == 11 and drawn[3, 0] == set(CLUSTERS)
    for draw in range(5):
        assert drawn[1, draw] < drawn[2, draw]
        assert len({CLUSTERS[name] for name in drawn[2, draw]}) == 2


def test_all_tasks_and_all_clusters_are_the_base():
    for kind, most in (('task_count', 7), ('cluster_count', 3)):
        (point,) = points(AxisConfig('n', kind=kind, values=(most,), draws=3))
        assert point.changes == {'mixture.train_only': ()}


def test_leaving_out_holds_one_cluster_out_besides_those_of_the_base():
    base = Config(training=BASE.training, mixture=MixtureConfig(held_out_clusters=('z',)))
    found = points(AxisConfig('without', kind='leave_out'), base)
    assert [p.changes['mixture.held_out_clusters'] for p in found] == [('z', 'a'), ('z', 'b'), ('z', 'c')]
    assert [p.setting.label for p in points(AxisConfig('without', kind='leave_out', values=('b',)))] == ['b']


def test_a_total_of_examples_is_a_level_that_all_tasks_are_cut_to():
    for total in (7, 50, 100, 279, 280):
        (point,) = points(AxisConfig('n', kind='total_examples', values=(total,)))
        cap = point.changes['mixture.max_examples']
        sizes = FACTS.sizes.values()
        assert sum(min(size, cap) for size in sizes) <= total
        assert cap == max(sizes) or sum(min(size, cap + 1) for size in sizes) > total, 'no cap comes nearer'


@pytest.mark.parametrize('design', ['grid', 'simplex', 'one_factor', 'random'])
def test_weights_of_every_design_sum_to_one_and_leave_nobody_out(design):
    axis = AxisConfig('mix', kind='weights', design=design, parts=5, draws=6)
    found = axes.mixtures(axis, 3)
    count = {'grid': 6, 'simplex': 21, 'one_factor': 6, 'random': 6}[design]
    assert len(found) == count == len(set(found))
    np.testing.assert_allclose(np.sum(found, axis=1), 1, atol=2e-4)
    assert np.min(found) > 0.009


def test_one_factor_changes_one_weight_of_the_base_at_a_time():
    axis = AxisConfig('mix', kind='weights', design='one_factor', factors=(2.0,))
    first, second = axes.mixtures(axis, 2, base=(3.0, 1.0))
    assert first == pytest.approx((6 / 7, 1 / 7), abs=1e-4)
    assert second == pytest.approx((3 / 5, 2 / 5), abs=1e-4)


def test_members_that_are_only_asked_have_no_part_in_the_weights():
    members = ('x', 'asked', 'y')
    base = Config(training=BASE.training, mixture=MixtureConfig(members=members))
    found = points(AxisConfig('mix', kind='weights', draws=3), base, Facts(CLUSTERS, {}, frozenset({'asked'})))
    for point in found[2:]:
        first, asked, last = point.changes['mixture.weights']
        assert asked == 1.0 and first + last == pytest.approx(1, abs=2e-4)
    with pytest.raises(errors.ConfigError, match='1 is trained on; name clusters'):
        points(AxisConfig('mix', kind='weights'), base, Facts(CLUSTERS, {}, frozenset({'x', 'asked'})))


def test_held_out_clusters_and_unknown_members_are_only_asked():
    members = ('mini_arithmetic', 'mini_counting', 'mini_add_first', 'no_such_task?')
    base = Config(training=BASE.training, mixture=MixtureConfig(members=members))
    assert axes.only_asked(base, ['mini_add', 'mini_add_first']) == {'mini_counting', 'no_such_task?'}


def test_weighted_mixtures_are_tried_beside_proportional_and_equal_ones():
    base = Config(training=BASE.training, mixture=MixtureConfig(members=('x', 'y')))
    found = points(AxisConfig('mix', kind='weights', draws=2), base)
    assert [p.setting.label for p in found] == ['proportional', 'equal', 'mix0', 'mix1']
    assert found[0].changes == {'mixture.weights': (), 'mixture.rule': 'proportional'}
    assert found[1].changes == {'mixture.weights': (1.0, 1.0), 'mixture.rule': 'weights'}


def test_stages_come_in_every_order_or_in_those_that_are_named():
    stages = tuple(StageConfig(name, steps=2) for name in ('one', 'two', 'three'))
    base = Config(training=TrainingConfig(steps=None), stages=stages)
    found = points(AxisConfig('order', kind='stage_order'), base)
    assert [p.setting.label.split('>') for p in found] == list(
        map(list, itertools.permutations(['one', 'two', 'three']))
    )
    assert [stage['name'] for stage in found[-1].changes['stages']] == ['three', 'two', 'one']
    named = points(AxisConfig('order', kind='stage_order', values=(('two', 'three', 'one'),)), base)
    assert [p.setting.label for p in named] == ['two>three>one']


def test_a_choice_sets_several_knobs_and_a_models_name_all_of_the_models():
    axis = AxisConfig(
        'size', kind='choices',
        choices=(choice('own', {'model.layers': 1, 'seed': 3}, value=1), choice('preset', {'model': 'smollm2_135m'})),
    )  # fmt: skip
    own, preset = points(axis)
    assert own.changes == {'model.layers': 1, 'seed': 3} and own.setting.value == 1
    assert preset.changes['model']['layers'] == 30 and preset.setting.label == 'preset'


def test_values_of_a_knob_are_numbers_or_names():
    found = points(AxisConfig('cap', knob='mixture.cap', values=(10, None)))
    assert [(p.setting.value, p.setting.label) for p in found] == [(10.0, '10'), (None, 'none')]
    assert found[0].changes == {'mixture.cap': 10}


@pytest.mark.parametrize(
    'axis, message',
    [
        (
            AxisConfig('n', kind='task_count', values=(8,)),
            'a subset of 8 tasks, but the base trains on 7; ask for fewer',
        ),
        (AxisConfig('n', kind='cluster_count', values=(4,)), '4 clusters, but there are 3; ask for fewer'),
        (AxisConfig('n', kind='cluster_count', values=(1,), order=('bb',)), "no trained cluster 'bb'; did you mean b?"),
        (AxisConfig('n', kind='leave_out', values=('aa',)), "no trained cluster 'aa'; did you mean a?"),
        (AxisConfig('n', kind='total_examples', values=(281,)), '281 examples, but the base has 280; ask for fewer'),
        (AxisConfig('n', kind='total_examples', values=(6,)), '6 examples for 7 tasks; ask for more'),
        (AxisConfig('n', kind='weights'), 'weighs the members of the mixture'),
    ],
)
def test_what_is_not_there_is_refused(axis, message):
    with pytest.raises(errors.ConfigError, match='axis .n.*') as e:
        points(axis)
    assert message in str(e.value)


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'knob': 'mixture.capp', 'values': (1,)}, "config has no 'mixture.capp'; did you mean cap"),
        ({'knob': 'mixture.cap'}, 'has no values'),
        ({'kind': 'task_count', 'values': (0, 2)}, 'must be whole numbers from 1'),
        ({'kind': 'choices'}, 'needs choices'),
        ({'kind': 'stage_order'}, 'orders stages, but the base has 0'),
        ({'knob': 'training.steps', 'values': (1,)}, "an axis sets training.steps, and equalise='steps'"),
        ({'knob': 'seed', 'values': (1,)}, "use the study's own `seeds`"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused_before_anything_is_read(fields, message):
    with pytest.raises(errors.ConfigError) as e:
        StudyConfig(base=BASE, axes=(AxisConfig('x', **fields),))
    assert message in str(e.value)
