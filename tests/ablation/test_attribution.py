"""Attribution: planted effects are found, also where two sources are nearly always together."""

import numpy as np

from flan_jax.ablation import attribution, ridge
from flan_jax.ablation.attribution import Subset
from flan_jax.ablation.table import Samples
from flan_jax.ablation.uncertainty import Run

SOURCES = tuple('abcdefgh')
PLANTED = np.array([0.10, 0.0, 0.06, -0.05, 0, 0, 0, 0])


def subsets(generator, *, count=40, planted=PLANTED, noise=0.03):
    """Random subsets; b is where a is, nine times of ten."""
    members = (generator.random((count, len(SOURCES))) < 0.5).astype(float)
    members[:, 1] = np.where(generator.random(count) < 0.9, members[:, 0], members[:, 1])
    scores = 0.3 + members @ planted + generator.normal(0, noise, count)
    return [Subset(dict(zip(SOURCES, row)), score) for row, score in zip(members, scores)]


def test_intervals_hold_planted_effects_of_collinear_sources(monkeypatch):
    monkeypatch.setattr(attribution, 'DRAWS', 100)
    hits = []
    for seed in range(40):
        found = attribution.regression(str(seed), subsets(np.random.default_rng(seed)))
        effects = [found.effects[name] for name in SOURCES]
        hits.append([e.low <= planted <= e.high for e, planted in zip(effects, PLANTED)])
    assert 0.91 <= np.mean(hits) <= 0.985
    assert np.mean(hits, axis=0).min() >= 0.8


def test_effects_are_of_all_of_a_source_and_foretell_better_than_the_mean():
    found = attribution.regression('held_out', subsets(np.random.default_rng(0), noise=0.01))
    assert abs(found.effects['c'].mean - 0.06) < 0.01 and found.effects['d'].high < 0
    assert found.held_out_error < 0.5 * found.baseline_error


def test_noise_is_foretold_no_better_than_by_the_mean():
    gains = []
    for seed in range(20):
        found = attribution.regression('x', subsets(np.random.default_rng(seed), planted=0 * PLANTED))
        gains.append(1 - found.held_out_error / found.baseline_error)
    assert np.mean(gains) <= 0.01


def test_seeds_of_one_subset_are_left_out_together():
    some = subsets(np.random.default_rng(0), count=5)
    assert attribution.regression('x', some * 4) is None  # five subsets, however often


def test_what_every_subset_has_is_no_source():
    some = [Subset({**subset.sources, 'always': 1.0}, subset.score) for subset in subsets(np.random.default_rng(0))]
    assert 'always' not in attribution.regression('x', some).effects
    assert attribution.regression('x', [Subset({'always': 1.0}, 0.1)] * 9) is None


def test_the_closed_form_of_errors_left_out_is_that_of_fitting_again():
    generator = np.random.default_rng(0)
    features, scores = generator.normal(size=(12, 3)), generator.normal(size=12)
    features = (features - features.mean(0)) / features.std(0)
    _, _, left, sizes, _ = ridge._decomposed(features)
    penalty = ridge._PENALTIES[4]
    closed = ridge._left_out(left, sizes, scores=scores)[4]
    for i in range(12):
        # The same penalty and scale, the rest fitted anew.
        keep = np.arange(12) != i
        centred = features[keep] - features[keep].mean(0)
        effects = np.linalg.solve(
            centred.T @ centred + 12 * penalty * np.eye(3), centred.T @ (scores[keep] - scores[keep].mean())
        )
        again = scores[keep].mean() + (features[i] - features[keep].mean(0)) @ effects
        np.testing.assert_allclose(closed[i], scores[i] - again, rtol=1e-9)


def test_leaving_out_tells_what_a_source_adds():
    rows, generator = np.arange(50), np.random.default_rng(0)
    easy = generator.normal(0.4, 0.3, 50)

    def run(name, seed, shift):
        return Run(name, seed, {'t': Samples(rows, easy + shift + generator.normal(0, 0.02, 50))})

    base = [run('base', seed, 0) for seed in range(4)]
    without = {'nli': [run('n', s, -0.1) for s in range(4)], 'copa': [run('c', s, 0) for s in range(4)], 'gone': []}
    found = attribution.leave_one_out('held_out', base=base, without=without)
    assert found.effects.keys() == {'nli', 'copa'}
    assert found.effects['nli'].low < 0.1 < found.effects['nli'].high and found.effects['nli'].low > 0.05
    assert found.effects['copa'].low < 0 < found.effects['copa'].high
    assert (found.method, found.held_out_error) == ('leave_one_out', None)
    assert attribution.leave_one_out('held_out', base=[], without=without) is None
