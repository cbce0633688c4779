"""Proposals: a planted optimum is found, and noise is not trusted."""

import numpy as np
import pytest

from flan_jax.ablation import mixing_laws, proposal
from flan_jax.ablation.proposal import Tried

BEST = np.array([0.5, 0.3, 0.2])


def proposed(score, *, count, members, noise, seed):
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.ones(members), count)
    tried = [Tried(tuple(w), score(w) + generator.normal(0, noise)) for w in weights]
    names = tuple('abcdefgh'[:members])
    return weights, proposal.propose(names, 'held_out', tried=tried, others={})


def test_a_planted_optimum_is_found():
    for seed in range(4):
        _, found = proposed(lambda w: 0.4 - 0.5 * ((w - BEST) ** 2).sum(), count=24, members=3, noise=0.01, seed=seed)
        assert found.trusted and np.abs(np.array(found.weights) - BEST).sum() / 2 < 0.08
        assert found.predicted.low <= 0.4 <= found.predicted.high
        assert found.model == 'Σ b_i w_i + Σ b_ij w_i w_j'


def test_noise_is_not_trusted():
    found = [proposed(lambda w: 0.3, count=16, members=3, noise=0.02, seed=seed)[1].trusted for seed in range(10)]
    assert sum(found) <= 1


@pytest.mark.parametrize(
    ('law', 'score'),
    [
        (mixing_laws.LAWS[0], lambda w: 0.5 + 0.03 * np.log(w + 1e-3) @ np.array([1, 0.5, 0.0])),
        (mixing_laws.LAWS[2], lambda w: 0.5 - 0.05 * np.exp(w @ np.array([2.0, -3, 0]))),
    ],
)
def test_each_law_is_preferred_where_it_holds(law, score):
    found = [proposed(score, count=24, members=3, noise=0.002, seed=seed)[1].model for seed in range(3)]
    assert found.count(law.words) >= 2, found


def test_the_exponential_law_recovers_its_curve():
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.ones(4), 40)
    scores = 0.5 - 0.1 * np.exp(weights @ np.array([1.0, -2, 0.5, 0]))
    new = generator.dirichlet(np.ones(4), 20)
    truth = 0.5 - 0.1 * np.exp(new @ np.array([1.0, -2, 0.5, 0]))
    np.testing.assert_allclose(mixing_laws.LAWS[2].fitted(weights, scores)(new), truth, atol=1e-3)


def test_nothing_is_proposed_beyond_what_was_tried():
    weights, found = proposed(lambda w: w[0], count=20, members=3, noise=0.001, seed=0)
    best = np.array(found.weights)
    assert (best >= weights.min(0) - 1e-8).all() and (best <= weights.max(0) + 1e-8).all()
    np.testing.assert_allclose(best.sum(), 1)
    assert best[0] >= weights[:, 0].max() - 0.02


def test_other_mixtures_are_foretold_with_their_weights():
    generator = np.random.default_rng(0)
    tried = [Tried(tuple(w), w[0]) for w in generator.dirichlet(np.ones(2), 10)]
    found = proposal.propose(('a', 'b'), 'held_in', tried=tried, others={'proportional': (0.2, 0.8)})
    assert list(found.others) == ['equal', 'proportional', 'proposal']
    assert abs(found.others['proportional'][0].mean - 0.2) < 0.02
    assert found.others['proposal'] == (found.predicted, None)
    assert dict(found.shares) == {'equal': (0.5, 0.5), 'proportional': (0.2, 0.8), 'proposal': found.weights}


def test_few_mixtures_or_seeds_of_the_same_propose_nothing():
    tried = [Tried((0.1 * i, 1 - 0.1 * i), 0.3) for i in range(1, 8)]
    assert proposal.propose(('a', 'b'), 'held_in', tried=tried * 3, others={}) is None
