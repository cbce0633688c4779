"""The protocol: how answers become scores, on suites made by hand."""

import json

import numpy as np
import pytest
from suites_by_hand import chosen, ranked, said, scores, suite


def test_a_tasks_score_is_the_mean_over_its_templates_and_rows():
    asked = suite(answers=['x', 'x', 'y', 'y'], templates=('a', 'b', 'a', 'b'), rows=[0, 0, 1, 1])
    task = scores([asked], [['x', 'n', 'y', 'y']])['tasks']['t']
    assert task['templates']['a']['exact_match'] == 1.0 and task['templates']['b']['exact_match'] == 0.5
    assert task['held_in']['exact_match'] == task['held_in']['score'] == 0.75
    assert task['held_in']['best_template'] == 'a' and task['held_in']['worst_template'] == 'b'
    assert task['held_in']['examples'] == 4


def test_groups_and_clusters_are_means_over_tasks_whatever_their_sizes():
    small = suite('small', answers=['x'])
    large = suite('large', answers=['x'] * 9, cluster='d')
    got = scores([small, large], [['x'], ['n'] * 9])
    assert got['held_in']['exact_match'] == 0.5 and got['held_in']['tasks'] == 2 and got['held_in']['examples'] == 10
    assert got['clusters']['c']['exact_match'] == 1.0 and got['clusters']['d']['exact_match'] == 0.0


def test_seen_templates_unseen_templates_and_held_out_tasks_are_kept_apart():
    trained = suite('trained', answers=['x', 'x'], templates=('seen', 'new'), rows=[0, 0], unseen=frozenset({'new'}))
    kept = suite(
        'kept', answers=['x', 'x'], templates=('seen', 'new'), rows=[0, 0], unseen=frozenset({'new'}),
        held_out=True, cluster='d',
    )  # fmt: skip
    got = scores([trained, kept], [['x', 'n'], ['n', 'x']])
    assert got['held_in']['exact_match'] == 1.0 and got['held_in']['tasks'] == 1
    assert got['held_out_templates']['exact_match'] == 0.0 and got['held_out_templates']['tasks'] == 1
    # Of a held-out task every template is new, whichever were kept from training.
    assert got['held_out_clusters']['exact_match'] == 0.5 and got['held_out_clusters']['examples'] == 2
    assert got['tasks']['kept']['held_in'] is None and got['tasks']['trained']['held_out_clusters'] is None
    assert got['tasks']['trained']['templates']['new']['held_out'] is True
    assert got['clusters']['d']['held_out'] is True and got['clusters']['c']['held_out'] is False
    json.dumps(got)


def test_a_held_out_task_is_no_part_of_its_clusters_held_in_mean():
    trained = suite('trained', answers=['x'])
    kept = suite('kept', answers=['x'], held_out=True)
    for order in ([trained, kept], [kept, trained]):
        said = [['x'] if asked.name == 'trained' else ['n'] for asked in order]
        cluster = scores(order, said)['clusters']['c']
        assert (cluster['exact_match'], cluster['held_out']) == (1.0, False)


def test_a_group_without_tasks_is_none():
    got = scores([suite(answers=['x'])], [['x']])
    assert got['held_out_templates'] is None and got['held_out_clusters'] is None


def test_the_constant_baseline_always_gives_the_commonest_answer():
    asked = suite(answers=['no', 'yes', 'no', 'no'])
    got = scores([asked], [['yes'] * 4])
    assert got['tasks']['t']['constant_baseline'] == got['held_in']['constant_baseline'] == 0.75


def test_the_copy_baseline_repeats_the_best_field_the_prompt_shows():
    asked = suite(answers=['x', 'y', 'z', 'z'], fields=('text', 'tag'))
    shown = [{'text': ' x ', 'tag': 'z'}, {'text': 'q', 'tag': 'z'}, {'text': 'q', 'tag': 'z'}, {'text': 'q'}]
    for meta, fields in zip(asked.metas, shown):
        meta['fields'] = {**fields, 'answer': meta['references'][0], 'options': ['x', 'y']}
    task = scores([asked], [['n'] * 4])['tasks']['t']
    # `tag` is right once of four; so is `text`; `answer` is no field of the prompts and does not count.
    assert task['copy_baseline'] == 0.25


def test_every_reference_counts_as_right_and_the_first_metric_is_the_score():
    asked = suite(answers=['x'], metrics=('squad_f1', 'exact_match'))
    asked.metas[0]['references'] = ['old barn', 'The barn']
    part = scores([asked], [['barn']])['tasks']['t']['held_in']
    assert part['exact_match'] == 0.0 and part['score'] == part['squad_f1'] == 1.0


def interval(count: int, **options) -> tuple[float, float, float]:
    right = np.random.default_rng(0).random(count) < 0.7
    got = scores([suite(answers=['x'] * count)], [['x' if r else 'n' for r in right]], **options)
    return (*got['held_in']['interval'], got['held_in']['score'])


def test_the_interval_holds_the_mean_and_narrows_with_the_square_root_of_the_rows():
    widths = {}
    for count in (25, 100, 400, 1600):
        low, high, mean = interval(count)
        assert 0 <= low <= mean <= high <= 1
        widths[count] = high - low
        expected = 2 * 1.96 * np.sqrt(mean * (1 - mean) / count)
        assert widths[count] == pytest.approx(expected, rel=0.25)
    assert interval(100) == interval(100) != interval(100, seed=1)


def test_one_row_has_no_interval_and_neither_has_a_mean_over_tasks_of_which_one_has_none():
    one = suite('one', answers=['x', 'x'], templates=('a', 'b'), rows=[0, 0])
    two = suite('two', answers=['x', 'x'], cluster='d')
    got = scores([one, two], [['x', 'n'], ['x', 'n']])
    assert got['tasks']['one']['held_in']['interval'] is None
    assert got['tasks']['two']['held_in']['interval'] == got['clusters']['d']['interval'] == [0.0, 1.0]
    assert got['held_in']['interval'] is None and got['clusters']['c']['interval'] is None


def test_templates_of_one_row_are_resampled_together_so_that_they_do_not_narrow_the_interval():
    right = np.random.default_rng(0).random(50) < 0.5
    once = suite(answers=['x'] * 50)
    fourfold = suite(answers=['x'] * 200, templates=tuple('abcd' * 50), rows=np.repeat(np.arange(50), 4))
    said = ['x' if r else 'n' for r in right]
    one = scores([once], [said])['held_in']['interval']
    four = scores([fourfold], [np.repeat(said, 4).tolist()])['held_in']['interval']
    assert one == four


def test_tasks_are_resampled_independently_of_each_other():
    # The same rows are right in all nine tasks; drawn alike, their mean would seem as uncertain as one of them.
    said = [['x' if i % 2 else 'n' for i in range(60)]] * 9
    suites = [suite(f't{i}', answers=['x'] * 60) for i in range(9)]
    got = scores(suites, said)
    low, high = got['tasks']['t0']['held_in']['interval']
    group_low, group_high = got['held_in']['interval']
    assert group_high - group_low == pytest.approx((high - low) / 3, rel=0.25)


def test_examples_show_the_worst_answers_and_then_the_best():
    asked = suite(answers=['x', 'y', 'z', 'z'])
    shown = scores([asked], [['x', 'n', 'z', 'n']], examples=1)['tasks']['t']['examples']
    assert [(e['row'], e['kind'], e['correct']) for e in shown] == [(1, 'worst', False), (0, 'best', True)]
    assert shown[0] == {
        'row': 1, 'template': 'a', 'prompt': '[3]', 'references': ['y'], 'prediction': 'n', 'correct': False,
        'score': 0.0, 'kind': 'worst',
    }  # fmt: skip


def test_of_wrong_answers_those_the_model_was_surest_of_come_first():
    asked = ranked(answers=['no', 'no'], options=['yes', 'no'])
    given = chosen(asked, np.log([[0.6, 0.4], [0.9, 0.1]]))
    shown = scores([asked], [given])['tasks']['r']['examples']
    assert [e['row'] for e in shown] == [1, 0]
    assert shown[0]['options'] == [['yes', 0.9], ['no', 0.1]]


def test_best_and_worst_template_go_by_the_tasks_own_metric():
    asked = suite(
        answers=['old barn'] * 4, templates=('a', 'b', 'a', 'b'), rows=[0, 0, 1, 1], metrics=('squad_f1',)
    )  # fmt: skip
    part = scores([asked], [['barn', 'old', 'barn', 'sea']])['tasks']['t']['held_in']
    assert (part['best_template'], part['worst_template'], part['exact_match']) == ('a', 'b', 0.0)
    assert part['spread'] == pytest.approx(1 / 3) and part['score'] == pytest.approx(0.5)
    assert part['interval'][0] <= part['score'] <= part['interval'][1] and part['interval'][0] > 0


@pytest.mark.parametrize(
    'metric, answers, given',
    [('bleu', 'a cat sat on the mat', 'a cat sat on a mat'), ('pearson', '0 1 2 3', '0 2 2 4')],
)
def test_metrics_over_whole_sets_have_scores_intervals_and_validated_templates(metric, answers, given):
    texts = answers.split() if metric == 'pearson' else [answers] * 4
    replies = given.split() if metric == 'pearson' else [given] * 4
    asked = suite(answers=texts * 2, templates=tuple('aaaabbbb'), rows=[0, 1, 2, 3] * 2, metrics=(metric,))
    part = scores([asked], [replies * 2])['tasks']['t']['held_in']
    low, high = part['interval']  # rounded to six digits
    assert 0.5 < part['score'] < 1 and low - 1e-6 <= part['score'] <= high + 1e-6
    assert part['spread'] == 0 and part['best_by_validation'] is not None


def test_the_best_template_by_validation_is_scored_on_rows_it_was_not_picked_on():
    # Templates that differ by luck alone: the best one's own score is above their mean, the validated one's is not.
    draw = np.random.default_rng(0)
    rows, names = 40, [f't{i}' for i in range(10)]
    values = []
    for seed in range(20):
        right = draw.random(rows * 10) < 0.5
        asked = suite(
            f't{seed}', answers=['x'] * rows * 10, templates=tuple(names * rows), rows=np.repeat(np.arange(rows), 10)
        )  # fmt: skip
        part = scores([asked], [['x' if r else 'n' for r in right]])['tasks'][f't{seed}']
        best = max(t['score'] for t in part['templates'].values())
        values.append((best, part['held_in']['best_by_validation']))
    best, validated = np.mean(values, axis=0)
    assert best > 0.6 and abs(validated - 0.5) < 0.04


def test_scores_are_normalised_by_chance_which_is_one_over_the_options_or_the_constant_answer():
    four = ranked(answers=['a'] * 4, options=list('abcd'))
    given = chosen(four, np.eye(4)[[0, 0, 1, 2]])
    part = scores([four], [given])['tasks']['r']
    assert part['chance'] == 0.25 and part['held_in']['normalised'] == pytest.approx((0.5 - 0.25) / 0.75)
    generated = suite(answers=['no', 'yes', 'no', 'no'])
    part = scores([generated], [['yes'] * 4])['tasks']['t']
    assert part['chance'] == 0.75 and part['held_in']['normalised'] == pytest.approx((0.25 - 0.75) / 0.25)
    assert scores([suite(answers=['a'] * 4)], [['a'] * 4])['held_in'].get('normalised') is None  # chance is perfect
    related = suite(answers=['1', '2', '3'], metrics=('pearson',))
    assert scores([related], [['1', '2', '3']])['tasks']['t']['chance'] == 0.0


def test_a_group_has_the_mean_over_clusters_beside_that_over_tasks():
    suites = [suite(f't{i}', answers=['x'], cluster='big') for i in range(3)] + [suite('u', answers=['x'], cluster='d')]
    got = scores(suites, [['x'], ['x'], ['x'], ['n']])['held_in']
    assert got['score'] == 0.75 and got['by_cluster'] == 0.5


def test_the_number_of_exemplars_is_told():
    asked = suite(answers=['x', 'x'], shots=np.array([5, 4]))
    assert scores([asked], [['x', 'x']])['held_in']['shots'] == 4.5


def test_dropped_rows_and_doubtful_answers_are_counted():
    asked = suite(answers=['x', 'x'], dropped={'target_too_long': 3})
    task = scores([asked], [said(['x', 'x x x'], flags=['', 'unfinished'])])['tasks']['t']
    assert task['dropped'] == {'target_too_long': 3} and task['flags'] == {'unfinished': 1}
    assert task['lengths'] == {'predicted': 2.0, 'references': 1.0, 'unfinished': 0.5}
    assert task['held_in']['length_ratio'] == 2.0
