"""Differences from the base: paired, covered, and seldom significant where there is none."""

import numpy as np
import pytest

from flan_jax.ablation import differences, uncertainty
from flan_jax.ablation.findings import Difference, Estimate
from flan_jax.ablation.table import Samples
from flan_jax.ablation.uncertainty import Run

ROWS = np.arange(30)


def pairs(generator, *, seeds=1, draws=1, effect=0.0, wobble=0.05):
    """(base by seed, runs): both answer the same rows, hard and easy ones alike."""
    easy = generator.normal(0, 0.4, (2, len(ROWS)))
    by_seed = generator.normal(0, wobble, seeds)

    def run(name, seed, shift, draw):
        noise = generator.normal(0, 0.2, easy.shape)
        return Run(name, seed, {f't{t}': Samples(ROWS, 0.4 + shift + easy[t] + noise[t]) for t in range(2)}, draw)

    base = [run('base', s, by_seed[s], ()) for s in range(seeds)]
    of_draw = generator.normal(0, wobble if draws > 1 else 0.0, draws)
    return base, [run('other', s, effect + of_draw[d], d) for s in range(seeds) for d in range(draws)]


@pytest.mark.parametrize(('seeds', 'draws'), [(1, 1), (3, 1), (5, 1), (10, 1), (3, 3)])
def test_paired_intervals_cover_95_percent(seeds, draws):
    generator, hits, count = np.random.default_rng(seeds + 10 * (draws - 1)), 0, 1000
    # One seed and one draw: the interval is over rows, and another seed's effect is in neither.
    wobble = 0.05 if seeds > 1 else 0.0
    for _ in range(count):
        found = uncertainty.of(differences.paired(*pairs(generator, seeds=seeds, draws=draws, wobble=wobble))).estimate
        hits += found.low <= 0 <= found.high
    assert abs(hits / count - 0.95) <= 0.025


def test_chance_is_called_significant_in_five_of_a_hundred():
    generator, count = np.random.default_rng(0), 200
    single = [differences.of('a', str(i), target='held_in', base=b, runs=r).p
              for i in range(count) for b, r in [pairs(generator, wobble=0.0)]]  # fmt: skip
    several = [differences.of('a', str(i), target='held_in', base=b, runs=r).p
               for i in range(count) for b, r in [pairs(generator, seeds=4)]]  # fmt: skip
    assert 0.01 <= np.mean(np.array(single) < 0.05) <= 0.09
    assert np.mean(np.array(several) < 0.05) <= 0.09


def test_an_effect_is_found_with_its_sign_size_and_tasks():
    found = differences.of('a', 'x', target='held_in', **dict(zip(('base', 'runs'), pairs(
        np.random.default_rng(0), seeds=5, effect=-0.3))))  # fmt: skip
    assert found.difference.low < -0.3 < found.difference.high < 0
    assert found.p < 0.01 and (found.better, found.worse) == (0, 2)


def test_pairing_takes_out_what_both_share():
    base, runs = pairs(np.random.default_rng(0), wobble=0.0)
    alone, paired = uncertainty.of(runs).estimate, uncertainty.of(differences.paired(base, runs)).estimate
    assert paired.high - paired.low < 0.8 * (alone.high - alone.low)


def test_only_rows_and_tasks_that_both_answered_count():
    base = Run('base', 0, {'t': Samples(np.array([1, 2, 3]), np.zeros(3)), 'u': Samples(ROWS, np.zeros(30))})
    other = Run('other', 0, {'t': Samples(np.array([2, 3, 9]), np.array([1.0, 0, 5]))})
    (found,) = differences.paired([base], [other])
    assert found.tasks.keys() == {'t'}
    assert found.tasks['t'].rows.tolist() == [2, 3] and found.tasks['t'].values.tolist() == [1.0, 0.0]


def test_a_seed_that_the_base_does_not_have_is_left_out():
    base, runs = pairs(np.random.default_rng(0), seeds=2)
    assert [run.seed for run in differences.paired(base[:1], runs)] == [0]
    assert differences.of('a', 'x', target='held_in', base=[], runs=runs) is None


def test_draws_are_paired_with_their_own_draw_if_both_sides_have_it():
    def run(draw, value):
        return Run('r', 0, {'t': Samples(np.arange(2), np.full(2, value))}, draw)

    found = differences.paired([run(0, 0.0), run(1, 1.0)], [run(0, 1.0), run(1, 3.0), run(2, 1.0)])
    assert [float(one.tasks['t'].values[0]) for one in found] == [1.0, 2.0, 0.5]  # the last: minus the mean


def test_a_small_p_stays_significant_among_hundreds():
    generator = np.random.default_rng(0)
    assert differences.flipped(generator.normal(0.5, 1, 200), seed=0) < 1e-5
    noise = generator.normal(0, 1, 400)
    assert differences.flipped(noise, seed=0) > 0.01


def test_no_difference_at_all_has_p_1():
    base, _ = pairs(np.random.default_rng(0))
    found = differences.of('a', 'x', target='held_in', base=base, runs=[Run('o', 0, base[0].tasks)])
    assert (found.p, found.difference, found.better, found.worse) == (1.0, Estimate(0.0, 0.0, 0.0), 0, 0)


def test_p_is_corrected_for_all_differences():
    made = [Difference('a', str(p), 'held_in', Estimate(0.1), p, p, 1, 0) for p in (0.01, 0.04, 0.03)]
    assert [one.p_corrected for one in differences.corrected(made)] == [0.03, 0.06, 0.06]


def test_a_difference_turned_around_is_that_of_the_other_side():
    found = Difference('tasks', '32', 'held_out', Estimate(0.1, -0.02, 0.22), 0.1, 0.3, 4, 2)
    turned = differences.negated(found)
    assert turned.difference == Estimate(-0.1, -0.22, 0.02)
    assert (turned.better, turned.worse, turned.p) == (2, 4, 0.1)
    assert differences.negated(turned) == found


def test_no_interval_is_wider_than_scores_can_differ():
    rows = np.arange(2)
    base = [Run('base', s, {'t': Samples(rows, np.array([0.0, 1.0]))}) for s in range(2)]
    runs = [Run('other', s, {'t': Samples(rows, np.full(2, float(s)))}) for s in range(2)]
    found = differences.of('a', 'x', target='held_in', base=base, runs=runs)
    assert (found.difference.low, found.difference.high) == (-1.0, 1.0) and found.p > 0.5
