"""A whole study whose truth is known: table and answers in, findings, sentences and CSV out."""

import csv
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from flan_jax import errors
from flan_jax.ablation import analysis, csv_tables, proposal, table
from flan_jax.ablation.table import Result, Samples, Setting
from flan_jax.evaluation import predictions

ROWS = np.arange(40)
CLUSTERS = {'rte': 'nli', 'cb': 'nli', 'sst2': 'sentiment', 'imdb': 'sentiment', 'boolq': 'reading', 'copa': 'causes'}
POOL = ('rte', 'cb', 'sst2', 'imdb', 'boolq')  # copa is held out
EASY = {name: np.random.default_rng(i).normal(0.5, 0.2, len(ROWS)) for i, name in enumerate(CLUSTERS)}


class Study:
    """Results and their answers, as they are made."""

    def __init__(self):
        self.results, self.samples, self.generator = [], {}, np.random.default_rng(0)

    def add(self, *places, seed=0, trained=POOL, shift=0.0, mixture=None, failed=''):
        """A variant whose held-out score is `shift` above the base's but for noise."""
        settings = {place.axis: place for place in places}
        name = ','.join([f'{p.axis}={p.label}.{p.draw}' for p in places] or ['base']) + f',seed={seed}'
        mixture = {'members': list(POOL), 'weights': [], 'rule': 'proportional', 'unit': 'examples'} | (mixture or {})
        config = {'mixture': mixture}
        if failed:
            self.results.append(Result(name, settings, seed, 'failed', error=failed, config=config))
            return
        groups = {
            'held_in': tuple(trained),
            'unseen': tuple(t for t in POOL if t not in trained),
            'held_out': ('copa',),
        }
        tasks = {}
        for task, cluster in CLUSTERS.items():
            target = next(target for target, names in groups.items() if task in names)
            values = EASY[task] + shift * (target == 'held_out') + 0.1 * (target == 'held_in')
            values = values + self.generator.normal(0, 0.05, len(ROWS))
            self.samples.setdefault(name, {}).setdefault(target, {})[task] = Samples(ROWS, values)
            part = 'held_in' if target == 'held_in' else 'held_out_clusters'
            empty = dict.fromkeys(('held_in', 'held_out_templates', 'held_out_clusters'))
            tasks[task] = {'cluster': cluster, 'templates': {}} | empty | {part: {'score': float(values.mean())}}
        plan = [
            {'task': t, 'cluster': CLUSTERS[t], 'rate': 1 / len(trained), 'asked_rate': 1 / len(trained)}
            for t in trained
        ]
        cost = {'tokens': 1000 * len(trained)}
        self.results.append(
            Result(name, settings, seed, 'finished', '', groups, config, {'tasks': plan}, {'tasks': tasks}, cost)
        )


def told(*axes, seeds=(0,)):
    return {
        'name': 'demo', 'worth': 0.01, 'seeds': list(seeds),
        'axes': [{'name': n, 'kind': kind, 'base_value': base, 'log': False} for n, kind, base in axes],
    }  # fmt: skip


@pytest.fixture
def made(monkeypatch):
    study = Study()
    monkeypatch.setattr(table, 'samples', lambda result: study.samples[result.variant])
    return study


def test_a_planted_curve_is_drawn_fitted_and_told(made):
    made.generator = np.random.default_rng(1)
    for seed in (0, 1, 2):
        made.add(seed=seed, shift=0.04 * np.log(32))
        for n in (1, 2, 4, 8, 16):
            made.add(Setting('examples', n, str(n)), seed=seed, shift=0.04 * np.log(n))
    found = analysis.of(made.results, told(('examples', 'total_examples', 32.0), seeds=(0, 1, 2)))
    curve = next(curve for curve in found.curves if curve.target == 'held_out')
    assert [point.label for point in curve.points] == ['1', '2', '4', '8', '16', '32']
    assert curve.points[-1].variants == ('base,seed=0', 'base,seed=1', 'base,seed=2')
    assert next(fit for fit in curve.fits if fit.chosen).kind == 'log_linear' and curve.pays_until is None
    held_in = next(curve for curve in found.curves if curve.target == 'held_in')
    assert next(fit for fit in held_in.fits if fit.chosen).kind == 'constant'
    sentences = found.sentences['examples']
    assert sentences[1].startswith('Held-out clusters: from 1 to 32 the score rises from ')
    assert 'A logarithmic curve foretells points left out' in sentences[1]
    assert sentences[1].endswith('doubling still adds 1.0 point or more.')
    assert sentences[2].startswith('Trained tasks: no difference from the base was significant (largest: ')
    said = 'Held-out clusters: [45] of 5 differences from the base are significant: examples = 1: -1'
    assert re.match(said, sentences[3])
    assert len(found.differences) == 10 and all(d.p_corrected >= d.p for d in found.differences)


def test_products_are_averaged_in_curves_and_told_cell_by_cell(made):
    made.add()
    for a in (1, 2):
        made.add(Setting('a', a, str(a)), shift=0.1 * a)
        made.add(Setting('a', a, str(a)), Setting('b', None, 'on'), shift=0.1 * a + 0.2)
    made.add(Setting('b', None, 'on'), shift=0.2)
    found = analysis.of(made.results, told(('a', 'knob', 0.0), ('b', 'choices', None)))
    curve = next(curve for curve in found.curves if (curve.axis, curve.target) == ('a', 'held_out'))
    means = [point.estimate.mean - EASY['copa'].mean() for point in curve.points]
    np.testing.assert_allclose(means, [0.1, 0.2, 0.3], atol=0.02)  # with 0 for the base, each half with b on
    assert all(len(point.variants) == 2 and 'draws' not in point.deviations for point in curve.points)
    cells = {(d.axis, d.label): d for d in found.differences if d.target == 'held_out'}
    assert ('a × b', '2, on') in cells and abs(cells['a × b', '2, on'].difference.mean - 0.4) < 0.03
    assert 'a × b' in found.sentences and any('means over the other axis' in note for note in found.notes)


def test_sources_are_attributed_by_leaving_out_and_by_subsets(made):
    adds = {'nli': 0.2, 'sentiment': 0.0, 'reading': -0.1}
    for seed in range(4):
        made.add(seed=seed, shift=0.1)
        for cluster in adds:
            kept = [task for task in POOL if CLUSTERS[task] != cluster]
            made.add(Setting('without', None, cluster), seed=seed, trained=kept, shift=0.1 - adds[cluster])
    for draw in range(8):
        for n in (1, 2, 3, 4):
            kept = list(np.random.default_rng((draw, n)).permutation(POOL)[:n])
            share = {c: np.mean([t in kept for t in POOL if CLUSTERS[t] == c]) for c in adds}
            made.add(Setting('tasks', n, str(n), draw), trained=kept, shift=sum(adds[c] * share[c] for c in adds))
    axes = told(('without', 'leave_out', None), ('tasks', 'task_count', 5.0), seeds=range(4))
    found = analysis.of(made.results, axes)
    by = {(one.target, one.method): one for one in found.attributions}
    assert {target for target, _ in by} == {'held_out', 'nli', 'sentiment', 'reading', 'causes'}
    for method in ('leave_one_out', 'regression'):
        effects = by['held_out', method].effects
        assert effects.keys() == adds.keys(), method
        assert effects['nli'].low > 0.1 and effects['reading'].high < 0, method
        assert effects['sentiment'].low < 0 < effects['sentiment'].high, method
    # Training on a cluster brings its own tasks 0.1, whether they count as trained or as not trained.
    np.testing.assert_allclose(by['nli', 'leave_one_out'].effects['nli'].mean, 0.1, atol=0.02)
    assert by['held_out', 'regression'].held_out_error < by['held_out', 'regression'].baseline_error
    assert any('by leaving sources out: 2 of 3 sources' in line for line in found.sentences['without'])
    assert any('by random subsets: ' in line for line in found.sentences['tasks'])
    assert any(note.startswith('Seeds without a finished run: tasks 1 (seed 1, 2, 3)') for note in found.notes)


def test_a_mixture_is_proposed_for_what_was_tried_and_measured_once_it_has_run(made):
    best = np.array([0.4, 0.3, 0.1, 0.1, 0.1])

    def score(weights):
        return 0.3 - ((np.array(weights) - best) ** 2).sum()

    made.add(shift=score([0.2] * 5))
    for i in range(24):
        weights = np.random.default_rng(i).dirichlet(np.ones(5)).round(4)
        weights = list(weights / weights.sum())
        made.add(Setting('mix', None, f'mix{i}'), mixture={'rule': 'weights', 'weights': weights}, shift=score(weights))
    before = proposal.of_axis(made.results, 'mix')
    assert np.abs(np.array(before) - best).sum() / 2 < 0.2 and proposal.of_axis(made.results, 'no such axis') is None
    made.add(Setting('mix', None, 'proposal'), mixture={'rule': 'weights', 'weights': before}, shift=score(before))
    found = analysis.of(made.results, told(('mix', 'weights', None)))
    first, second = found.proposals
    assert (first.target, second.target, first.weights) == ('held_out', 'held_in', before)
    assert first.trusted and not second.trusted
    np.testing.assert_allclose(first.others['proposal'][1].mean, EASY['copa'].mean() + score(before), atol=0.03)
    assert second.fitted and not first.fitted  # what ran is the other target's; the second's best is one of the tried
    assert first.others['proportional'][1] is not None
    assert not [curve for curve in found.curves if curve.axis == 'mix']
    assert {d.label for d in found.differences} == {'proposal'}
    assert 'Trained on, it scores ' in found.sentences['mix'][-2]
    assert 'not to be trusted' in found.sentences['mix'][-1]


def proposal_sentence(made):
    return analysis.of(made.results, told(('mix', 'weights', None))).sentences['mix'][0]


def test_a_member_that_is_only_asked_is_no_part_of_a_proposal_and_keeps_its_weight(made):
    members = ['rte', 'copa', 'sst2']

    def mixture(first):
        return {'rule': 'weights', 'members': members, 'weights': [first, 1.0, 1 - first]}

    for i in range(10):
        made.add(
            Setting('mix', None, f'mix{i}'), mixture=mixture(0.05 + i / 11), shift=0.1 * i, trained=('rte', 'sst2')
        )
    found = analysis.of(made.results, told(('mix', 'weights', None))).proposals[0]
    assert found.members == ('rte', 'sst2') and sum(found.weights) == pytest.approx(1) and found.weights[0] > 0.7
    assert found.fitted == 'mix9' and found.others['proposal'][1] is not None, 'the best is one that was tried'
    assert 'It is mix9 of the fitted ones' in proposal_sentence(made)
    full = proposal.of_axis(made.results, 'mix')
    assert full == (found.weights[0], 1.0, found.weights[1])


def test_a_proposal_is_compared_with_other_mixtures_on_the_same_prompts_and_seeds(made):
    def mixture(first):
        return {'rule': 'weights', 'members': ['rte', 'sst2'], 'weights': [first, 1 - first]}

    for seed in range(3):
        for i in range(9):
            made.add(Setting('mix', None, f'mix{i}'), mixture=mixture(0.05 + i / 10), shift=0.02 * i, seed=seed)
        made.add(Setting('mix', None, 'equal'), mixture=mixture(0.5), shift=0.1 * seed, seed=seed)
        made.add(Setting('mix', None, 'proposal'), mixture=mixture(0.9), shift=0.1 + 0.1 * seed, seed=seed)
    found = analysis.of(made.results, told(('mix', 'weights', None), seeds=(0, 1, 2)))
    gain = found.proposals[0].gains['equal']
    assert gain.low > 0 and gain.mean == pytest.approx(0.1, abs=0.03)  # seeds lie 0.1 apart; pairs do not
    assert found.proposals[0].others['equal'][1].high - found.proposals[0].others['equal'][1].low > 0.3
    assert ', +' in found.sentences['mix'][-2] and ' to equal' in found.sentences['mix'][-2]
    assert dict(found.proposals[0].shares)['equal'] == (0.5, 0.5)


def test_failed_variants_are_listed_and_left_out(made):
    made.add()
    made.add(Setting('a', 1.0, '1'), shift=0.1)
    made.add(Setting('a', 2.0, '2'), failed='DivergenceError: loss is nan')
    found = analysis.of(made.results, told(('a', 'knob', 0.0)))
    assert found.failed == {'a=2.0,seed=0': 'DivergenceError: loss is nan'}
    assert {d.label for d in found.differences} == {'1'}
    assert any('one seed' in note for note in found.notes)


def test_a_study_without_a_base_or_without_anything_still_has_findings(made):
    axes = told(('a', 'knob', None))
    assert analysis.of([], axes).notes == ('The base did not finish: nothing is compared with it.',)
    made.add(Setting('a', 1.0, '1'))
    made.add(Setting('a', 2.0, '2'))
    found = analysis.of(made.results, axes)
    assert (found.differences, found.curves[0].base) == ((), None) and len(found.curves[0].points) == 2


def test_tables_are_written_as_csv_with_the_findings_numbers(made, tmp_path):
    for n in (0, 1, 2, 3, 4, 5):
        made.add(*[Setting('a', float(n), str(n))] if n else [], shift=0.05 * n)
    made.add(Setting('a', 9.0, '9'), failed='broken, "quoted"')
    found = analysis.of(made.results, told(('a', 'knob', 0.0)))
    files = {
        path.stem: list(csv.DictReader(path.open()))
        for path in csv_tables.write(tmp_path, made.results, findings=found)
    }
    assert list(files) == ['results', 'curves', 'fits', 'differences', 'attributions', 'proposals']
    assert len(files['results']) == 7 and files['results'][-1]['error'] == 'broken, "quoted"'
    assert float(files['curves'][0]['mean']) == found.curves[0].points[0].estimate.mean
    assert float(files['differences'][0]['p']) == found.differences[0].p
    assert {row['kind'] for row in files['fits']} == {'constant', 'saturating'} and files['proposals'] == []


def test_answers_are_read_from_the_runs_own_files(tmp_path):
    def add(name, settings, right):
        folder = tmp_path / name
        folder.mkdir()
        columns = {
            'task': ['copa'] * 8, 'template': ['p', 'q'] * 4, 'row_id': [i // 2 for i in range(8)], 'shots': [0] * 8,
            'prediction': [''] * 8, 'exact': right, 'score': right, 'references': [None] * 8,
            'likelihoods': [[]] * 8, 'answer': [-1] * 8, 'flag': [''] * 8,
        }  # fmt: skip
        arrays = [pa.array(columns[field.name], field.type) for field in predictions.SCHEMA]
        answers = pa.table(arrays, schema=predictions.SCHEMA)
        meta = {b'flan_jax.metrics': json.dumps({'copa': 'accuracy'}).encode()}
        pa.parquet.write_table(answers.replace_schema_metadata(meta), folder / predictions.FILE)
        templates = {'p': {'held_out': True}, 'q': {'held_out': True}}
        task = {'cluster': 'causes', 'templates': templates, 'held_out_clusters': {'score': float(np.mean(right))}}
        return Result(
            name, settings, 0, 'finished', groups={'held_out': ('copa',)}, plan={'tasks': []},
            scores={'tasks': {'copa': task}}, config={'mixture': {}}, run_dir=str(folder),
        )  # fmt: skip

    base = add('base', {}, [0.0, 0, 0, 1, 1, 1, 0, 0])
    other = add('other', {'a': Setting('a', None, 'x')}, [1.0, 1, 0, 1, 1, 1, 0, 1])
    (found,) = analysis.of([base, other], told(('a', 'choices', None))).differences
    np.testing.assert_allclose(found.difference.mean, 0.375)
    assert found.p == 0.5  # two of four rows differ: 2 of 4 sign patterns are as far
    (tmp_path / 'other' / predictions.FILE).unlink()
    with pytest.raises(errors.DataError, match='predictions.parquet is missing'):
        analysis.of([base, other], told(('a', 'choices', None)))
