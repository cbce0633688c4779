"""scores.json as lm-eval's result files: the numbers, and lm-eval's own reader of them."""

import json

import numpy as np
import pytest
from suites_by_hand import chosen, ranked, scores, suite

from flan_jax.evaluation import lm_eval_results


@pytest.fixture(scope='module')
def told():
    """A ranked task with an unseen template, and a held-out one with a metric of whole sets."""
    rank = ranked(
        'rank', answers=['a', 'a', 'b', 'b'], options=['a', 'b'], rows=np.array([0, 0, 1, 1]),
        templates=['seen', 'new'] * 2, unseen=frozenset({'new'}), metrics=('accuracy',),
    )  # fmt: skip
    text = suite('text', answers=['x', 'y', 'x'], cluster='other', held_out=True, metrics=('rouge_l',))
    answers = [chosen(rank, [[-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [-2.0, -1.0]]), ['x', 'y', 'no']]
    found = scores([rank, text], answers)
    return {'settings': {'normalise': 'byte', 'eval_shots': 5}, 'checkpoint': 'runs/x, step 7', 'step': 7} | found


def test_metrics_have_lm_evals_names_and_filters(told):
    found = lm_eval_results.of(told)
    rank = found['results']['rank']
    assert rank['acc_bytes,none'] == 0.5 and rank['acc_bytes,held_out_templates'] == 1.0
    assert 'exact_match,none' not in rank and 'accuracy,none' not in rank
    low, high = told['tasks']['rank']['held_in']['interval']
    assert rank['acc_bytes_stderr,none'] == pytest.approx((high - low) / 3.92)
    assert found['results']['text']['exact_match_stderr,none'] == 'N/A'
    assert found['n-samples']['rank'] == {'original': 2, 'effective': 2}
    assert found['n-shot'] == {'rank': 5, 'text': 5}
    assert found['configs']['rank']['output_type'] == 'multiple_choice'


def test_groups_hold_clusters_and_clusters_tasks_each_once(told):
    found = lm_eval_results.of(told)
    assert found['group_subtasks'] == {
        'cluster_c': ['rank'], 'cluster_other': ['text'], 'held_in': ['cluster_c'],
        'held_out_clusters': ['cluster_other'],
    }  # fmt: skip
    assert found['groups']['held_in']['score,none'] == told['held_in']['score']
    assert found['groups'].items() <= found['results'].items()


def test_lm_evals_own_table_reads_them_from_the_file(told, tmp_path):
    utils = pytest.importorskip('lm_eval.utils', reason='needs lm-eval')
    (tmp_path / lm_eval_results.FILE).write_text(json.dumps(lm_eval_results.of(told)))
    read = json.loads((tmp_path / lm_eval_results.FILE).read_text())
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in utils.make_table(read).splitlines()]
    row = next(line for line in lines if line[0].endswith('- rank'))
    assert row[1:8] == ['N/A', 'held_out_templates', '5', 'acc_bytes', '↑', '1.0000', '±']
    assert sum(line[0].endswith('- text') for line in lines) == 1
    assert 'held_in' in utils.make_table(read, 'groups')
