"""Answers kept, and two runs compared by them."""

import doctest
import json

import numpy as np
import pytest
from suites_by_hand import chosen, ranked, said, scores, suite

from flan_jax import errors
from flan_jax.evaluation import comparison, comparison_page, outcomes, predictions


def run(folder, suites, answers):
    """A run directory with answers and scores."""
    folder.mkdir(exist_ok=True)
    given = [one if not isinstance(one, list) else said(one) for one in answers]
    predictions.write(folder, [outcomes.of(asked, one) for asked, one in zip(suites, given, strict=True)])
    (folder / 'scores.json').write_text(json.dumps(scores(suites, given)))
    return folder


def test_answers_are_kept_as_they_were(tmp_path):
    two = ranked(answers=['no', 'yes'], options=['yes', 'no'])
    free = suite(answers=['a b', 'c'], metrics=('bleu',), templates=('a', 'b'), rows=[4, 4], shots=np.array([3, 3]))
    texts = said(['a \ud800', ''], flags=['', 'unfinished'])
    table, chosen_metrics = predictions.read(run(tmp_path, [two, free], [chosen(two, [[-1, -2], [-3, -4]]), texts]))
    assert chosen_metrics == {'r': 'exact_match', 't': 'bleu'}
    lines = table.to_pylist()
    assert lines[0] == {
        'task': 'r', 'template': 'a', 'row_id': 0, 'shots': 0, 'prediction': 'yes', 'exact': 0.0, 'score': 0.0,
        'references': None, 'likelihoods': [-1.0, -2.0], 'answer': 1, 'flag': '',
    }  # fmt: skip
    assert lines[2] == {
        'task': 't', 'template': 'a', 'row_id': 4, 'shots': 3, 'prediction': 'a ?', 'exact': 0.0, 'score': None,
        'references': '["a b"]', 'likelihoods': [], 'answer': -1, 'flag': '',
    }  # fmt: skip
    assert lines[3]['flag'] == 'unfinished' and not list(tmp_path.glob('*.tmp'))


def test_answers_take_little_room(tmp_path):
    asked = ranked(answers=['no', 'yes'] * 5000, options=['yes', 'no'])
    run(tmp_path, [asked], [chosen(asked, np.random.default_rng(0).normal(size=(10_000, 2)))])
    assert (tmp_path / predictions.FILE).stat().st_size < 20 * 10_000


def test_answers_to_other_rows_are_no_comparison(tmp_path):
    right = [ranked('r', answers=answers, options=['yes', 'no']) for answers in (['no', 'yes'], ['no', 'no'])]
    folders = [run(tmp_path / f'r{i}', [one], [chosen(one, [[-1, -2]] * 2)]) for i, one in enumerate(right)]
    with pytest.raises(errors.DataError, match="task 'r': row 1 has another right answer in each; the rows have chan"):
        comparison.compare(*folders)
    texts = [suite(answers=[text, 'c'], metrics=('bleu',)) for text in ('a b', 'a c')]
    folders = [run(tmp_path / f't{i}', [one], [['a', 'b']]) for i, one in enumerate(texts)]
    with pytest.raises(errors.DataError, match="task 't': row 0 has another right answer in each"):
        comparison.compare(*folders)
    twice = suite(answers=['a', 'b'], rows=[7, 7])
    folders[0] = run(tmp_path / 'twice', [twice], [['a', 'b']])
    with pytest.raises(errors.DataError, match="task 't': row 7, template 'a', is answered twice"):
        comparison.compare(folders[0], folders[0])
    # Another way of asking is told, and is no other row.
    free = suite('r', answers=['no', 'no'], metrics=('bleu',))
    folders = [tmp_path / 'r0', run(tmp_path / 'free', [free], [['no', 'x']])]
    assert comparison.compare(*folders).rows[0].metric == 'exact_match'


def test_runs_that_were_asked_in_different_ways_say_so(tmp_path):
    asked = suite(answers=['x'] * 4)
    folders = [run(tmp_path / name, [asked], [['x'] * 4]) for name in 'ab']
    assert not comparison.compare(*folders).asked
    for folder, shots in zip(folders, (0, 5)):
        told = json.loads((folder / 'scores.json').read_text()) | {
            'settings': {'eval_shots': shots, 'normalise': 'sum'}
        }
        (folder / 'scores.json').write_text(json.dumps(told))
    found = comparison.compare(*folders)
    assert found.asked == {'eval_shots': (0, 5)}
    said_so = 'they were asked with another eval_shots: 0 and 5'
    assert said_so in comparison_page.text(found) and said_so in comparison_page.page(found)


def test_a_better_run_is_found_and_chance_is_not(tmp_path):
    draw = np.random.default_rng(0)
    rows = np.repeat(np.arange(40), 2)
    suites = [suite(f't{i}', answers=['x'] * 80, templates=('a', 'b'), rows=rows) for i in (0, 1)]
    first = [['x' if r else 'n' for r in draw.random(80) < 0.4] for _ in suites]
    second = [['x'] * 70 + ['n'] * 10, first[1]]
    found = comparison.compare(run(tmp_path / 'a', suites, first), run(tmp_path / 'b', suites, second))
    better, same = found.rows
    assert better.scores[1] == 0.875 and better.p_corrected < 0.01 and better.paired.better > 10 * better.paired.worse
    assert same.paired.difference == 0 and same.p_corrected == 1.0
    group = found.groups['held_in']
    assert group.difference == pytest.approx(better.paired.difference / 2) and (group.better, group.tasks) == (1, 2)
    assert group.interval[0] < group.difference < group.interval[1]
    assert found.alone == ([], []) and found.unmatched == 0


def test_groups_follow_what_the_runs_held_out(tmp_path):
    def suites(held_out):
        return [
            suite('both', answers=['x', 'x'], templates=('a', 'b'), rows=[0, 0], unseen=frozenset('b')),
            suite('never', answers=['x'], held_out=True, cluster='d'),
            suite('one', answers=['x'], held_out=held_out, cluster='d'),
        ]

    first = run(tmp_path / 'a', suites(True), [['n', 'n'], ['n'], ['n']])
    second = run(tmp_path / 'b', suites(False), [['x', 'n'], ['x'], ['x']])
    groups = comparison.compare(first, second).groups
    assert {name: group.difference for name, group in groups.items()} == {
        'held_in': 1.0, 'held_out_templates': 0.0, 'held_out_clusters': 1.0, 'trained_by_one': 1.0,
    }  # fmt: skip


def test_only_prompts_of_both_runs_count_and_the_others_are_told(tmp_path):
    small = run(tmp_path / 'a', [suite(answers=['x'] * 2), suite('mine', answers=['x'])], [['x', 'n'], ['x']])
    large = run(tmp_path / 'b', [suite(answers=['x'] * 5), suite('theirs', answers=['x'])], [['x'] * 5, ['x']])
    found = comparison.compare(small, large)
    assert (found.rows[0].prompts, found.unmatched, found.alone) == (2, 3, (['mine'], ['theirs']))
    text = comparison_page.text(found)
    assert 'only the first run answered mine' in text and '3 prompts of common tasks' in text


def test_runs_with_nothing_in_common_are_an_error(tmp_path):
    first, second = (run(tmp_path / n, [suite(n, answers=['x'])], [['x']]) for n in 'ab')
    with pytest.raises(errors.DataError, match='answered no prompt both'):
        comparison.compare(first, second)
    with pytest.raises(errors.DataError, match='predictions.parquet is missing; python -m flan_jax.evaluate'):
        comparison.compare(first, tmp_path)
    (second / predictions.FILE).write_bytes(b'PAR1 no')
    with pytest.raises(errors.DataError, match='cannot be read .* evaluate that run again'):
        comparison.compare(first, second)


def test_a_metric_over_the_whole_set_is_compared_and_one_that_changed_is_not(tmp_path):
    def asked(metric):
        return [suite(answers=[str(i) for i in range(12)], metrics=(metric,))]

    good, bad = [str(i) for i in range(12)], [str(i * 7 % 12) for i in range(12)]
    first, second = run(tmp_path / 'a', asked('pearson'), [bad]), run(tmp_path / 'b', asked('pearson'), [good])
    (row,) = comparison.compare(first, second).rows
    assert row.metric == 'pearson' and row.scores[1] == pytest.approx(1) and row.paired.p < 0.05
    other = run(tmp_path / 'c', asked('exact_match'), [good])
    (row,) = comparison.compare(first, other).rows
    assert row.metric == 'exact_match' and row.scores == (0.5, 1.0)


def test_the_text_lines_up_and_the_page_needs_no_other_file(tmp_path):
    hostile = '<script>alert(1)</script>'
    suites = [suite(hostile, answers=['x'] * 20), suite('t' * 60, answers=['x'] * 20)]
    first = run(tmp_path / 'a', suites, [['n'] * 20, ['n'] * 20])
    found = comparison.compare(first, run(tmp_path / 'b', suites, [['x'] * 20, ['n'] * 20]))
    lines = comparison_page.text(found).splitlines()
    assert max(len(line) for line in lines[2:-1]) <= 115
    assert sum(line.endswith(' *') for line in lines) == 1
    page = comparison_page.page(found)
    assert page.count('<script>') == 1 and 'http' not in page.replace('http://www.w3.org/2000/svg', '')
    result = doctest.testmod(comparison_page)
    assert result.attempted and not result.failed
