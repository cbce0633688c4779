"""Formulas over curves: what was planted is found, and noise is no trend."""

import numpy as np
import pytest

from flan_jax.ablation import fits

X = np.array([1.0, 2, 4, 8, 16, 32])
CURVES = {
    'log_linear': (lambda x: 0.3 + 0.03 * np.log(x), {'a': 0.3, 'b': 0.03}),
    'power': (lambda x: 0.5 - 0.2 * x**-0.7, {'a': 0.5, 'b': 0.2, 'c': 0.7}),
    'saturating': (lambda x: 0.4 - 0.12 * np.exp(-x / 6), {'a': 0.4, 'b': 0.12, 'c': 6.0}),
}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(fits, 'RESAMPLES', 150)
    monkeypatch.setattr(fits, 'NOISE_CURVES', 299)


def fitted(curve, *, noise, runs=3, sims, x=X, seed=0):
    generator = np.random.default_rng(seed)
    for i in range(sims):
        yield fits.of(x, [curve(v) + generator.normal(0, noise, runs) for v in x], worth=0.01, seed=i)


def chosen(found):
    return next(fit for fit in found if fit.chosen)


@pytest.mark.parametrize('kind', CURVES)
def test_planted_parameters_and_lines_are_within_their_intervals(kind):
    curve, planted = CURVES[kind]
    hits, line = {name: [] for name in planted}, []
    for found, _ in fitted(curve, noise=0.01, sims=100):
        fit = next(fit for fit in found if fit.kind == kind)
        for name, value in planted.items():
            hits[name].append(fit.parameters[name].low <= value <= fit.parameters[name].high)
        x, _, low, high = map(np.array, fit.line)
        line.append(np.mean((low <= curve(x)) & (curve(x) <= high)))
    assert all(np.mean(found) >= 0.88 for found in hits.values()), {k: np.mean(v) for k, v in hits.items()}
    assert np.mean(line) >= 0.88


@pytest.mark.parametrize('kind', CURVES)
def test_the_right_formula_is_chosen_with_enough_data(kind):
    found = [chosen(found).kind for found, _ in fitted(CURVES[kind][0], noise=0.004, runs=8, sims=20)]
    assert found.count(kind) >= 17, found


@pytest.mark.parametrize(('x', 'runs'), [(X, 1), (X, 3), (X[:4], 1), (X[:4], 5), (np.linspace(0, 1, 5), 3)])
def test_noise_is_seldom_called_a_trend(x, runs):
    found = [chosen(found).kind for found, _ in fitted(lambda v: 0.3, noise=0.02, runs=runs, sims=200, x=x)]
    assert np.mean([kind != 'constant' for kind in found]) <= 0.08  # 5 %, and two standard errors of this count


def test_draws_that_lie_closer_at_large_values_are_no_trend():
    generator, trends = np.random.default_rng(0), 0
    for i in range(150):
        found, _ = fits.of(X, [0.3 + generator.normal(0, 0.05 / x**0.5, 4) for x in X], worth=0.01, seed=i)
        trends += chosen(found).kind != 'constant'
    assert trends / 150 <= 0.12


def test_doubling_pays_until_the_gain_falls_below_its_worth():
    curve, hits = CURVES['saturating'][0], 0
    places = np.geomspace(1, 64, 5000)
    truth = places[np.flatnonzero(curve(2 * places) - curve(places) >= 0.01)[-1]]
    for found, pays in fitted(curve, noise=0.004, runs=8, sims=20):
        if chosen(found).kind == 'saturating':
            hits += pays.low <= truth <= pays.high
    assert hits >= 16
    (_, never), (_, always) = (next(fitted(lambda x: b * np.log(x), noise=1e-4, sims=1)) for b in (0.001, 0.1))
    assert (never.mean, always) == (1.0, None)


def test_a_constant_has_no_value_from_which_on_more_is_useless():
    found, pays = fits.of(X, [np.array([0.3, 0.31])] * 6, worth=0.01, seed=0)
    assert chosen(found).kind == 'constant' and pays is None


def test_formulas_need_values_and_positive_ones_for_logarithms():
    def kinds(x):
        return [fit.kind for fit in fits.of(np.array(x), [np.array([v]) for v in x], worth=0.01, seed=0)[0]]

    assert kinds([0.0, 1, 2, 3, 4]) == ['constant', 'saturating']
    assert kinds([1.0, 2, 3, 4]) == ['constant', 'log_linear']
    assert kinds([1.0, 2, 3, 4, 5]) == list(fits.KINDS)


def test_what_all_points_share_widens_the_level_and_not_the_slope():
    scores = [np.array([0.3 + 0.03 * np.log(x) + e for e in (-0.01, 0.01)]) for x in X]
    (alone, _), (shared, _) = (fits.of(X, scores, shared=s, worth=0.01, seed=0) for s in (0.0, 0.05))
    widths = [[one[1].parameters[name].high - one[1].parameters[name].low for name in 'ab'] for one in (alone, shared)]
    assert widths[1][0] > 3 * widths[0][0] and widths[1][1] == widths[0][1]


def test_the_error_told_is_of_points_left_out():
    found, _ = fits.of(X[:4], [np.array([v]) for v in (0.0, 0.0, 0.0, 1.0)], worth=0.01, seed=0)
    np.testing.assert_allclose(found[0].held_out_error, np.sqrt((3 * (1 / 3) ** 2 + 1) / 4))


def test_the_same_seed_gives_the_same_intervals():
    scores = [np.array([0.1 * x, 0.1]) for x in X]
    assert fits.of(X, scores, worth=0.01, seed=3) == fits.of(X, scores, worth=0.01, seed=3)
