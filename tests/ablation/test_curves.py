"""Points of a curve: intervals that cover what they say, whatever the share of draws, seeds and examples."""

import numpy as np
import pytest

from flan_jax.ablation import curves, uncertainty
from flan_jax.ablation.curves import Axis, Value
from flan_jax.ablation.table import Samples
from flan_jax.ablation.uncertainty import Run

ROWS = np.arange(25)
STUDIES = 1000


def runs(generator, *, draws=1, seeds=1, effects=(0.0, 0.0), example=0.3, tasks=2, mean=0.4):
    """Runs of one value: draws and seeds are crossed, all answer the same rows."""
    by_draw, by_seed = (generator.normal(0, effect, n) for effect, n in zip(effects, (draws, seeds)))
    rows = generator.normal(0, example, (tasks, len(ROWS)))
    noise = generator.normal(0, 0.2, (draws, seeds, tasks, len(ROWS)))
    return [
        Run(
            f'{d}-{s}', s, draw=d,
            tasks={f't{t}': Samples(ROWS, mean + by_draw[d] + by_seed[s] + rows[t] + noise[d, s, t])
                   for t in range(tasks)},
        )
        for d in range(draws)
        for s in range(seeds)
    ]  # fmt: skip


def coverage(seed, **kinds):
    generator, hits = np.random.default_rng(seed), 0
    for _ in range(STUDIES):
        found = uncertainty.of(runs(generator, **kinds)).estimate
        hits += found.low <= 0.4 <= found.high
    return hits / STUDIES


@pytest.mark.parametrize('draws', [3, 5, 10])
def test_intervals_over_draws_and_examples_cover_95_percent(draws):
    assert abs(coverage(draws, draws=draws, effects=(0.1, 0.0)) - 0.95) <= 0.02


def test_intervals_over_examples_alone_cover_95_percent():
    assert abs(coverage(0) - 0.95) <= 0.02


def test_intervals_cover_95_percent_where_examples_are_most_of_it():
    assert abs(coverage(1, draws=5, effects=(0.02, 0.0)) - 0.95) <= 0.02


def test_intervals_over_draws_and_seeds_cover_95_percent():
    assert abs(coverage(2, draws=5, seeds=3, effects=(0.1, 0.05)) - 0.95) <= 0.02


def test_two_draws_cover_95_to_98_percent():
    assert 0.94 <= coverage(3, draws=2, effects=(0.1, 0.0)) <= 0.98


def test_each_source_is_told_apart():
    generator = np.random.default_rng(0)
    found = [uncertainty.of(runs(generator, draws=6, seeds=5, effects=(0.1, 0.05))).deviations for _ in range(200)]
    squares = {name: np.mean([one[name] ** 2 for one in found]) for name in found[0]}
    assert list(squares) == ['draws', 'seeds', 'examples']
    np.testing.assert_allclose(squares['draws'], 0.1**2 / 6, rtol=0.15)
    np.testing.assert_allclose(squares['seeds'], 0.05**2 / 5, rtol=0.25)
    np.testing.assert_allclose(squares['examples'], 0.3**2 / 50 + 0.2**2 / 50 / 30, rtol=0.1)


def test_seeds_that_not_every_draw_has_count_within_the_draws():
    some = runs(np.random.default_rng(0), draws=3, seeds=2, effects=(0.1, 0.0))
    found = uncertainty.of(some[:-1])
    assert list(found.deviations) == ['draws', 'examples']
    means = [run.mean for run in some[:-1]]
    np.testing.assert_allclose(found.mean, np.mean([np.mean(means[:2]), np.mean(means[2:4]), means[4]]))


def test_draws_with_tasks_of_their_own_count_their_examples_once():
    generator = np.random.default_rng(0)
    apart = [
        Run(f'{d}', 0, {f'{d}-{t}': Samples(ROWS, generator.normal(0.4, 0.3, len(ROWS))) for t in range(2)}, draw=d)
        for d in range(4)
    ]
    found = uncertainty.of(apart)
    np.testing.assert_allclose(found.total[0], max(np.var([run.mean for run in apart], ddof=1) / 4, found.rows[0]))


def test_other_axes_are_averaged_over_and_no_chance():
    generator = np.random.default_rng(0)
    one, other = runs(generator, draws=3, effects=(0.01, 0)), runs(generator, draws=3, effects=(0.01, 0), mean=0.8)
    both = [Run(r.variant, r.seed, r.tasks, r.draw, s) for s, some in (('x', one), ('y', other)) for r in some]
    found = uncertainty.of(both)
    np.testing.assert_allclose(found.mean, np.mean([run.mean for run in both]))
    assert found.deviations['draws'] < 0.03  # not the 0.4 between the strata


def test_a_single_row_gives_a_mean_without_an_interval():
    found = uncertainty.of([Run('a', 0, {'t': Samples(np.array([3]), np.array([1.0]))})])
    assert (found.estimate.mean, found.estimate.low, found.p) == (1.0, None, 1.0)


def test_a_curve_has_its_points_in_order_and_formulas_from_four_values_on():
    generator = np.random.default_rng(0)
    values = [
        Value(float(x), str(x), tuple(runs(generator, draws=2, mean=0.3 + 0.05 * np.log(x)))) for x in (8, 1, 2, 4)
    ]
    curve = curves.of(Axis('tasks', log=True), 'held_out', values=values, base=values[0].runs, worth=0.01)
    assert [point.label for point in curve.points] == ['1', '2', '4', '8']
    assert [fit.kind for fit in curve.fits] == ['constant', 'log_linear']
    assert curve.base.mean == curve.points[-1].estimate.mean
    assert curve.points[0].variants == ('0-0', '1-0')
    few = curves.of(Axis('tasks'), 'held_out', values=values[:3], base=(), worth=0.01)
    assert (few.fits, few.base, few.pays_until) == ((), None, None)


def test_names_keep_their_order_and_one_value_is_no_curve():
    generator = np.random.default_rng(0)
    values = [Value(None, name, tuple(runs(generator))) for name in ('few-shot', 'chat')]
    assert [p.label for p in curves.of(Axis('a'), 'held_in', values=values, base=(), worth=0.01).points] == [
        'few-shot', 'chat',
    ]  # fmt: skip
    assert curves.of(Axis('a'), 'held_in', values=values[:1], base=(), worth=0.01) is None
