import doctest
import html.parser
import json
import math
import random
import re

import pytest

from flan_jax import errors
from flan_jax.evaluation import page, report, scoreboard, svg

HOSTILE = '</pre><script>alert("x")</script> & \'"><img src=x onerror=y> \ud800'
VOID = {'meta', 'img', 'br'}


class Page(html.parser.HTMLParser):
    """Elements, their attributes and their text; fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:  # '/>' comes as a start and an end
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'script' not in self.open and 'style' not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return ' '.join(self.words)

    def count(self, tag, class_=None):
        return sum(t == tag and (class_ is None or class_ in (a.get('class') or '').split()) for t, a in self.elements)


def part(value, **more):
    return {
        'exact_match': value - 0.3, 'score': value, 'normalised': value / 2, 'spread': 0.03, 'deviation': 0.01,
        'best_template': 't02', 'worst_template': 't00', 'best_by_validation': value,
        'interval': [value - 0.02, value + 0.02], 'examples': 40,
    } | more  # fmt: skip


def task(cluster, value, *, held_out=False, text='2 + 2 = ?', **more):
    spread = {f't0{i}': {'score': value + 0.01 * i, 'held_out': i == 3 and not held_out} for i in range(4)}
    groups = ['held_out_clusters'] if held_out else ['held_in', 'held_out_templates']
    example = {
        'prompt': text, 'references': [text, '4'], 'prediction': text, 'template': 't01', 'correct': True,
        'score': 0.25, 'kind': 'best', 'flag': 'too_long', 'options': [[text, 0.75], ['5', 0.25]],
    }  # fmt: skip
    base = {
        'cluster': cluster, 'held_out': held_out, 'mode': 'generate', 'metric': 'exact_match', 'chance': 0.177,
        'constant_baseline': 0.123, 'copy_baseline': 0.045, 'templates': spread,
        'examples': [example, example | {'kind': 'worst'}], 'held_in': None, 'held_out_templates': None,
    } | analysis(text)  # fmt: skip
    return base | {group: part(value - 0.1 * i) for i, group in enumerate(groups)} | more


def analysis(text):
    """All of a task's parts of it, though no task has both options and lengths."""
    return {
        'flags': {'unfinished': 7, 'too_long': 2}, 'agreement': 0.613, 'dropped': {'target_too_long': 5},
        'labels': {
            'labels': [text, 'no'], 'counts': [[8, 1, 1], [5, 5, 0]], 'true': [0.5, 0.5],
            'predicted': [0.65, 0.3, 0.05], 'bias': 0.177,
        },
        'instruction': {
            kind: {'score': 0.6, 'probed': 0.411, 'change': -0.189, 'interval': [-0.3, -0.077], 'same': 0.522}
            for kind in ('bare', 'shuffled')
        },
        'copied': 0.033,
        'batch_calibrated': {'before': 0.65, 'after': 0.711},
        'content_free': {'labels': [text, 'no'], 'shares': [0.9, 0.1], 'before': 0.65, 'after': 0.722},
        'positions': {'right': [0.5, 0.5], 'chosen': [0.9, 0.1], 'bias': 0.4},
        'option_order': {'same': 0.733, 'flipped': 0.2, 'score': 0.6, 'permuted_score': 0.5},
        'calibration': {'ece': 0.244, 'confidence': 0.9, 'bins': [{'confidence': 0.9, 'accuracy': 0.656, 'count': 20}]},
        'lengths': {'predicted': 6.5, 'references': 2.0, 'unfinished': 0.35},
    }  # fmt: skip


def scores():
    tasks = {'add': task('sums', 0.9), 'sort': task('lists', 0.7), 'snli': task('nli', 0.5, held_out=True)}
    group = {'constant_baseline': 0.111, 'copy_baseline': 0.022, 'chance': 0.133, 'tasks': 2, 'length_ratio': 1.5}
    return {
        'step': 40,
        'unasked': {'lost': 'it has no split to evaluate on'},
        'settings': {'normalise': 'sum', 'eval_shots': 5},
        'by_shots': {'5': {'held_in': part(0.8)}, '0': {'held_in': part(0.766)}},
        'calibration': {'ece': 0.244, 'bins': tasks['add']['calibration']['bins']},
        'held_in': part(0.8, **group),
        'held_out_templates': part(0.7, **group),
        'held_out_clusters': part(0.5, **group),
        'clusters': {t['cluster']: part(0.5, held_out=t['held_out'], tasks=1) for t in tasks.values()},
        'tasks': tasks,
    }


def contamination():
    found = {'row_id': 3, 'task': 'add', 'training_row_id': 5, 'words': 'seven words that both of them share'}
    snli = {'rows': 50, 'short': 2, 'contaminated': 9, 'share': 0.18, 'matches': {'add': 9}, 'examples': [found]}
    return {'ngram': 7, 'evaluation': {'snli': snli}, 'training': {'add': {'rows': 100, 'matched': 9}}}


def plan():
    def row(name, cluster, rate):
        amounts = {
            'available': 100,
            'dropped': {'target_too_long': 1},
            'examples': 50,
            'tokens': 5000,
            'supervised_tokens': 500,
        }
        shares = {'token_share': rate, 'supervised_share': rate, 'asked_rate': rate, 'realised_rate': rate + 0.001}
        return {'task': name, 'cluster': cluster, 'epochs': 0.5} | amounts | shares

    return {
        'fingerprint': 'abc123',
        'rows': 1280,
        'steps': 40,
        'steps_per_epoch': 20,
        'epochs': 2.0,
        'batch_rows': 32,
        'row_tokens': [512],
        'fill': [0.987],
        'supervised_positions': 2048,
        'warnings': ['one is rare'],
        'filters': {'contamination': contamination()},
        'excluded': {'mnli': 'shares texts with snli'},
        'missing': {'mawps': 'no file'},
        'tasks': [row('add', 'sums', 0.5), row('double', 'sums', 0.2), row('sort', 'lists', 0.3)],
    }


def train_line(step, **more):
    values = {'loss': 4 / step, 'accuracy': 0.5, 'gradient_norm': 1.0, 'learning_rate': 1e-3, 'tokens_per_s': 1e5}
    return {'event': 'train', 'step': step, 'nonfinite': 0, 'mfu': None, 'step_ms': 12.0} | values | more


def fill(directory, **files):
    """A complete run directory, with some files replaced or (None) left out."""
    lines = [train_line(step) for step in range(1, 41)]
    lines += [{'event': 'evaluation', 'step': step, 'held_in': part(0.5, length_ratio=1.2)} for step in (10, 20)]
    whole = {
        'config': {'name': 'small', 'seed': 7, 'model': {'layers': 2, 'rope': {'theta': 1e4}}},
        'environment': {'python': '3.11', 'jax': '0.10', 'device': 'cpu', 'devices': 2, 'processes': 1},
        'plan': plan(),
        'scores': scores(),
        'metrics': ''.join(json.dumps(line) + '\n' for line in lines),
    } | files
    for name, value in whole.items():
        path = directory / (f'{name}.jsonl' if name == 'metrics' else f'{name}.json')
        if value is not None:
            path.write_text(value if isinstance(value, str) else json.dumps(value))
    return directory


def made(directory):
    path = report.write(directory)
    assert path == directory / 'report.html'
    return Page(path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('module', [svg, page, scoreboard])
def test_the_docstrings_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_a_whole_run_shows_every_part(tmp_path):
    shown = made(fill(tmp_path))
    assert not shown.count('p', 'missing')
    # Loss, accuracy, learning rate, gradient norm, tokens/s, scores; lengths in the analysis.
    assert shown.count('svg', 'chart') == 7
    # Tasks, shots, seven tables of the analysis, clusters and tasks of the mixture.
    assert shown.count('svg', 'dots') == 3 and shown.count('table', 'sortable') == 11
    expected = [
        '80.0',
        '78.0–82.0',
        '11.1',
        '2.2',
        '13.3',
        '5-shot',
        '-30.0 … -7.7',
        '76.6',
        'snli',
        'one is rare',
        'no file',
        'abc123',
    ]
    for text in [*expected, 'shares texts with snli', '98.7', '2 × cpu', '40 of 40', 'theta', '2 + 2 = ?']:
        assert text in shown.text, text


def test_the_file_needs_no_other_and_is_the_same_each_time(tmp_path):
    fill(tmp_path)
    first = report.write(tmp_path).read_bytes()
    shown = made(tmp_path)
    assert first == (tmp_path / 'report.html').read_bytes()
    assert not {'link', 'img', 'iframe', 'object'} & {tag for tag, _ in shown.elements}
    links = [a.get(key) for _, a in shown.elements for key in ('src', 'href', 'srcset', 'data') if a.get(key)]
    anchors = {f'#{a["id"]}' for _, a in shown.elements if 'id' in a}
    assert set(links) <= anchors
    assert not re.search(rb'@import|url\(|fetch\(', first)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ['.html', '.json', '.json', '.json', '.json', '.jsonl']


@pytest.mark.parametrize('absent', ['config', 'environment', 'plan', 'scores', 'metrics'])
def test_a_missing_file_leaves_a_note_and_the_other_parts(tmp_path, absent):
    shown = made(fill(tmp_path, **{absent: None}))
    assert f'has no {absent}.json' in shown.text
    assert ('small' in shown.text) == (absent != 'config')


def test_an_empty_directory_makes_a_report_of_notes(tmp_path):
    shown = made(tmp_path)
    assert shown.count('p', 'missing') == 7 and tmp_path.name in shown.text


def test_no_directory_is_an_error(tmp_path):
    with pytest.raises(errors.DataError, match='nowhere is no directory; a report is made from'):
        report.write(tmp_path / 'nowhere')


def test_broken_files_are_named_and_the_rest_is_shown(tmp_path):
    lines = json.dumps(train_line(1)) + '\n' + json.dumps(train_line(2)) + '\n{"event": "tra'
    shown = made(fill(tmp_path, scores='{"held_in": {', plan='[1]', metrics=lines))
    assert 'scores.json cannot be read' in shown.text and 'plan.json holds no object, but list' in shown.text
    assert shown.count('svg', 'chart') == 5 and 'the analysis is made from scores.json' in shown.text


def test_sparse_files_do_not_break_the_report(tmp_path):
    sparse = {'held_in': {'exact_match': None}, 'clusters': {'sums': {}}, 'tasks': {'add': {}, 'sort': {'held_in': {}}}}
    line = {'event': 'train', 'step': 5, 'loss': math.nan, 'accuracy': None}
    evaluation = {'event': 'evaluation', 'step': 5, 'held_in': None}
    metrics = '\n'.join(json.dumps(x) for x in (line, evaluation, {'event': 'train'}, 3)) + '\n'
    shown = made(fill(tmp_path, scores=sparse, plan={'tasks': [{}]}, environment={'jax': '1'}, metrics=metrics))
    assert 'No data.' in shown.text
    assert report.score_table(sparse) and report.score_table({})


def test_text_from_data_is_never_markup(tmp_path):
    files = {
        'config': {'name': HOSTILE, HOSTILE: HOSTILE, 'model': {HOSTILE: {HOSTILE: [HOSTILE]}}},
        'environment': {'device': HOSTILE, 'devices': HOSTILE, 'jax': HOSTILE},
        'plan': plan() | {'warnings': [HOSTILE], 'missing': {HOSTILE: HOSTILE}, 'fingerprint': HOSTILE},
        'scores': scores(),
    }
    files['plan']['tasks'][0] |= {'task': HOSTILE, 'cluster': HOSTILE, 'available': None}
    odd = task(HOSTILE, 0.5, text=HOSTILE, mode=HOSTILE, metric=HOSTILE)
    odd['templates'][HOSTILE] = {'exact_match': 0.1}
    files['scores']['tasks'][HOSTILE] = odd
    files['scores']['clusters'][HOSTILE] = part(0.1)
    shown = made(fill(tmp_path, **files))
    assert shown.count('script') == 1 and shown.count('img') == 0
    assert not any('onerror' in a for _, a in shown.elements)
    assert shown.text.count('<script>alert("x")</script>') > 15


def test_the_analysis_shows_what_goes_wrong(tmp_path):
    shown = made(fill(tmp_path))
    assert shown.count('table', 'confusion') == 3 and shown.count('td', 'shade') == 3 * 6
    expected = {
        'phrasing': ['61.3', 't00 … t02'], 'labels': ['17.7', '71.1', '72.2', 'no 10.0'], 'order': ['73.3', '40.0'],
        'confidence': ['24.4', 'ECE'], 'length': ['6.5', '3.25', '35.0'],
        'contamination': ['18.0', 'seven words that both', 'share 7 words in a row'],
        'doubtful': ['too long', 'add 2', 'target_too_long', 'lost: it has no split'],
    }  # fmt: skip
    for kind, texts in expected.items():
        assert all(text in shown.text for text in texts), kind
    assert '5 rows dropped' in shown.text and '2 too long' in shown.text  # under the task's name, too
    assert 'Worst 1' in shown.text and 'Best 1' in shown.text and '2 + 2 = ? 75.0, 5 25.0' in shown.text


def test_parts_of_the_analysis_that_do_not_apply_say_so(tmp_path):
    bare = scores() | {'calibration': None, 'unasked': {}}
    kept = {'cluster', 'held_out', 'mode', 'metric', 'held_in', 'held_out_clusters', 'examples'}
    bare['tasks'] = {name: {k: v for k, v in one.items() if k in kept} for name, one in bare['tasks'].items()}
    shown = made(fill(tmp_path, scores=bare, plan=plan() | {'filters': {}}))
    for text in ('through several templates', 'is a classification', 'no order to hang on', 'no probabilities',
                 'no answer has a length', "filters.contamination='report' does", 'every row was asked'):  # fmt: skip
        assert text in shown.text, text


def test_scores_of_older_files_are_shown_by_exact_match(tmp_path):
    old = {'held_in': {'exact_match': 0.8125, 'tasks': 1}, 'tasks': {'add': {'held_in': {'exact_match': 0.8125}}}}
    assert '81.2' in made(fill(tmp_path, scores=old)).text and '81.2' in report.score_table(old)


def test_the_last_evaluation_joins_the_plot_from_scores_json(tmp_path):
    shown = made(fill(tmp_path))
    named = [a for tag, a in shown.elements if tag == 'polyline' and a.get('data-name') == 'Held-in']
    assert len(named[0]['points'].split()) == 3  # steps 10 and 20 from metrics.jsonl, 40 from scores.json


def test_cluster_rows_of_the_mixture_are_sums_of_their_tasks(tmp_path):
    tasks = [task | {'dropped': 1} for task in plan()['tasks']]
    rows = {row['cluster']: row for row in report._by_cluster(tasks)}
    assert rows['sums']['asked_rate'] == pytest.approx(0.7) and rows['sums']['tasks'] == 2
    assert rows['sums']['tokens'] == 10000 and rows['sums']['epochs'] == pytest.approx(100 / 200)


def test_score_table_lines_up_by_cluster_and_ends_with_the_averages():
    lines = report.score_table(scores()).splitlines()
    assert max(map(len, lines)) <= 110
    names = [line.split()[1] for line in lines if line.startswith(('lists ', 'sums ', 'nli '))]
    assert names == ['sort', 'add', 'snli']  # trained clusters by name, then held-out ones
    add = next(line for line in lines if line.startswith('sums'))
    assert add.split()[2:] == ['90.0', '80.0', '–', '12.3', '4.5']
    snli = next(line for line in lines if line.startswith('nli'))
    assert snli.split()[2:] == ['–', '–', '50.0', '12.3', '4.5']
    ends = [line.rindex('12.3') for line in lines if '12.3' in line]
    assert len(set(ends)) == 1
    assert [line.split(' (')[0] for line in lines[-4:-1]] == ['Held-in', 'Held-out templates', 'Held-out clusters']
    assert lines[-4].split()[-5:] == ['80.0', '–', '–', '11.1', '2.2']
    # Answers that did not end are common, and in the report alone.
    assert lines[-1] == "too long: 6 answers of 3 tasks; longer than a training row or the model's published context"
    assert 'score, %' in lines[0]


def test_score_table_stays_narrow_with_long_names():
    long = {'tasks': {'t' * 200: task('c' * 200, 0.5), 's': task('d', 1.0)}, 'held_in': None}
    lines = report.score_table(long).splitlines()
    assert max(map(len, lines)) <= 110
    assert any('ttt…' in line and 'ccc…' in line for line in lines)


def test_a_long_line_keeps_its_spikes_and_its_gaps():
    draw = random.Random(0)
    points = [(i, draw.random()) for i in range(20_000)]
    points[777] = (777, 50.0)
    points[778] = (778, math.nan)
    thin = svg.thinned(points)
    assert len(thin) <= 401 and (777, 50.0) in thin and thin == sorted(thin)
    chart = svg.line_chart([svg.Line('a', [(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0), (5, 2.0)])], label='a')
    assert chart.count('<polyline') == 2 and 'nan' not in chart
    assert svg.line_chart([svg.Line('a', [(1, math.nan), (2, None)])], label='a') == ''


@pytest.mark.parametrize('values', [[3.0], [2.0, 2.0], [0.0, 0.0], [1e-30, 1e30], [-5.0, 5.0], [1e12, 1e12 + 1]])
@pytest.mark.parametrize('log', [False, True])
def test_every_point_lies_inside_the_chart(values, log):
    chart = svg.line_chart([svg.Line('a', list(enumerate(values)), marked=True)], label='a', log=log)
    places = [tuple(map(float, at)) for at in re.findall(r'cx="([^"]+)" cy="([^"]+)"', chart)]
    assert len(places) == len(values)
    assert all(0 <= x <= svg.WIDTH and 0 <= y <= svg.HEIGHT for x, y in places)


def test_smoothing_leaves_a_straight_line_and_lowers_noise():
    line = [(i, 3.0 - 0.1 * i) for i in range(200)]
    assert [y for _, y in svg.smoothed(line)] == pytest.approx([y for _, y in line])
    draw = random.Random(1)
    noisy = [(x, y + draw.gauss(0, 1)) for x, y in line]
    error = [sum((a - b) ** 2 for (_, a), (_, b) in zip(some, line)) for some in (noisy, svg.smoothed(noisy))]
    assert error[1] < error[0] / 4


@pytest.mark.parametrize('low', [-3.0, 0.0, 1e-9, 0.7, 12345.0])
@pytest.mark.parametrize('size', [1e-10, 0.3, 1.0, 7.7, 1e9])
def test_ticks_are_few_and_inside(low, size):
    found = svg.ticks(low, low + size)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-6 * size <= tick <= low + size * (1 + 1e-6) for tick in found)


def test_dots_of_equal_value_do_not_hide_each_other():
    drawn = svg.dots({f't{i}': (0.5, False) for i in range(3)})
    assert len(set(re.findall(r'cy="([^"]+)"', drawn))) == 3


def test_changes_reach_from_the_middle_to_their_side_and_stay_inside():
    places = {}
    for value, interval in ((0.5, (0.2, 0.8)), (-0.5, (-0.8, -0.2)), (3.0, (2.0, 4.0))):
        drawn = svg.change(value, interval=interval)
        (_, bar), (_, whisker) = re.findall(r'<(rect|line) class="(?:s\d|whisker)" ([^/]*)/>', drawn)
        places[value] = [float(number) for number in re.findall(r'(?:x|width|x1|x2)="([\d.]+)%"', bar + whisker)]
    assert places[0.5] == [50, 25, 60, 90] and places[-0.5] == [25, 25, 10, 40]
    assert all(0 <= number <= 100 for number in places[3.0])


def test_the_calibration_plot_puts_perfect_bins_on_the_diagonal():
    drawn = svg.reliability([{'confidence': c, 'accuracy': c, 'count': 3} for c in (0.0, 0.5, 1.0)])
    (ends,) = re.findall(r'class="baseline" x1="(.*?)" x2="(.*?)" y1="(.*?)" y2="(.*?)"', drawn)
    line = list(map(float, ends))
    circles = [tuple(map(float, at)) for at in re.findall(r'cx="([^"]+)" cy="([^"]+)"', drawn)]
    assert circles[0] == (line[0], line[2]) and circles[-1] == (line[1], line[3])
    assert circles[1] == pytest.approx(((line[0] + line[1]) / 2, (line[2] + line[3]) / 2), abs=0.1)
