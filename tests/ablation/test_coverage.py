"""Intervals cover what they say, whatever the shares of draws, seeds, examples, and of what these do together."""

import numpy as np
import pytest

from flan_jax.ablation import uncertainty
from flan_jax.ablation.table import Samples
from flan_jax.ablation.uncertainty import Run, Spread

EXAMPLES = 48.0  # degrees of freedom
BOTH = (  # shares of the mean's variance: draws, seeds, a draw and a seed together, examples
    (1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), (0.5, 0.4, 0.05, 0.05), (0.4, 0.2, 0.1, 0.3), (0.1, 0.1, 0.1, 0.7),
    (0.34, 0.33, 0.0, 0.33), (0.8, 0.1, 0.05, 0.05),
)  # fmt: skip
ONE = tuple((1 - share, 0.0, 0.0, share) for share in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0))


def share_covered(shares, *, draws, seeds, studies, seed=0):
    """Of intervals around the mean of studies whose true mean is 0 and has a variance of 1."""
    generator, hits = np.random.default_rng(seed), 0
    by_draw, by_seed, together, by_row = shares

    def square(variance, degrees):
        return variance * generator.chisquare(degrees) / degrees, degrees

    for _ in range(studies):
        parts, left = [square(by_draw + together, draws - 1.0)], (0.0, np.inf)
        if seeds > 1:
            parts.append(square(by_seed + together, seeds - 1.0))
            left = square(together, (draws - 1.0) * (seeds - 1.0))
        found = Spread(generator.normal(), tuple(parts), square(by_row, EXAMPLES), left, 0.0, {}).estimate
        hits += found.low <= 0 <= found.high
    return hits / studies


@pytest.mark.parametrize(
    ('draws', 'seeds', 'shares', 'low', 'high'),
    [(2, 1, (0.75, 0, 0, 0.25), 0.93, 0.99), (3, 1, (0.5, 0, 0, 0.5), 0.92, 0.98), (3, 3, BOTH[1], 0.92, 0.98)],
)
def test_a_few_runs_give_intervals_that_cover_about_95_percent(draws, seeds, shares, low, high):
    assert low <= share_covered(shares, draws=draws, seeds=seeds, studies=500) <= high


@pytest.mark.slow
@pytest.mark.parametrize('shares', ONE)
@pytest.mark.parametrize(('draws', 'low', 'high'), [(2, 0.94, 0.985), (3, 0.935, 0.965), (5, 0.935, 0.965)])
def test_intervals_over_draws_and_examples_cover_their_share_for_all_shares(draws, low, high, shares):
    assert low <= share_covered(shares, draws=draws, seeds=1, studies=4000) <= high


@pytest.mark.slow
@pytest.mark.parametrize('shares', BOTH)
@pytest.mark.parametrize(
    ('draws', 'seeds', 'low', 'high'),
    [(3, 3, 0.935, 0.975), (5, 3, 0.935, 0.965), (5, 5, 0.935, 0.965), (2, 3, 0.935, 0.99), (2, 2, 0.935, 0.99)],
)
def test_intervals_over_draws_seeds_and_examples_cover_their_share_for_all_shares(draws, seeds, low, high, shares):
    assert low <= share_covered(shares, draws=draws, seeds=seeds, studies=4000) <= high


def test_the_variance_of_a_mean_is_right_where_rows_go_with_draws_and_with_seeds():
    """What a row does with a seed, say, is in the seeds' mean square and in the rows' as well, and counts once."""
    generator, rows, found = np.random.default_rng(0), np.arange(12), []
    for _ in range(600):
        easy, by_draw, by_seed = (generator.normal(0, 0.2, (n, len(rows))) for n in (1, 3, 3))
        own = generator.normal(0, 0.1, (2, 3))
        runs = [
            Run(f'{d}-{s}', s, {'t': Samples(rows, easy[0] + by_draw[d] + by_seed[s] + own[0][d] + own[1][s])}, d)
            for d in range(3)
            for s in range(3)
        ]
        spread = uncertainty.of(runs)
        found.append((spread.mean, spread.total[0]))
    means, variances = np.array(found).T
    truth = 0.04 / 12 * (1 + 1 / 3 + 1 / 3) + 2 * 0.01 / 3  # counted twice it would be 18 % more
    np.testing.assert_allclose(variances.mean(), truth, rtol=0.08)
    np.testing.assert_allclose(means.var(), variances.mean(), rtol=0.15)
