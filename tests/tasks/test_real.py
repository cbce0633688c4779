import collections
import functools
import itertools
import json
import pathlib
import subprocess
import sys

import pytest

from flan_jax.data import formats, templates
from flan_jax.data.task import LocalSource, TfdsSource
from flan_jax.evaluation import metrics
from tasks import all_tasks

REAL = {name: task for name, task in all_tasks().items() if not name.startswith('mini_')}
ROWS = 50  # of each split
SEVERAL = pytest.mark.parametrize('name', sorted(REAL))


@pytest.fixture(scope='module')
def rows(local_rows):
    """(task, split) -> (line, fields) of its first rows, rejected ones left out; None without a file."""

    @functools.cache
    def read(name, split):
        path = pathlib.Path(local_rows) / name / f'{split}.jsonl'
        if not path.exists():
            return None
        with open(path) as file:
            lines = [json.loads(line) for line in itertools.islice(file, ROWS)]
        found = [(i, formats.fields_of(REAL[name], row, where=f'{path}:{i + 1}')) for i, row in enumerate(lines)]
        return [(i, fields) for i, fields in found if fields is not None]

    return read


def all_rows(rows, name):
    """Fields of every split there is."""
    return [f for split in REAL[name].splits for _, f in rows(name, split) or ()]


def test_there_are_several_tasks_in_every_family():
    clusters = collections.Counter(task.cluster for task in REAL.values())
    assert len(REAL) >= 20 and len(clusters) >= 6


@SEVERAL
def test_ten_different_templates_the_straight_ones_first(name):
    task = REAL[name]
    inverted = [t.inverted for t in task.templates]
    assert len(inverted) == 10 and 1 <= sum(inverted) <= 3
    assert inverted == sorted(inverted)
    assert len({(t.inputs, t.targets) for t in task.templates}) == 10
    # Not the same words with another case or other white space either.
    assert len({(' '.join(t.inputs.lower().split()), t.targets) for t in task.templates}) == 10


@SEVERAL
def test_straight_templates_ask_for_the_answer_and_never_show_it(name):
    for template in REAL[name].templates:
        if not template.inverted:
            assert 'answer' not in templates.field_names(template.inputs)
    targets = {t.targets for t in REAL[name].templates if not t.inverted}
    assert len({templates.field_names(target) for target in targets}) == 1


@SEVERAL
def test_every_template_renders_on_the_rows_of_every_split(rows, name):
    seen = 0
    for fields in all_rows(rows, name):
        for template in REAL[name].templates:
            for show_options in (True, False):
                inputs, target = templates.render(template, fields, show_options=show_options)
                assert inputs.strip() and target.strip(), template.name
                assert ('- ' + str(fields['answer'])) in inputs or not (show_options and '{options}' in template.inputs)
        seen += 1
    if seen == 0:
        pytest.skip(f'no local rows of {name}')


@SEVERAL
def test_different_rows_read_differently(rows, name):
    found = all_rows(rows, name)
    for template in REAL[name].templates:
        if not template.inverted and len(found) > 10:
            assert len({templates.render(template, f)[0] for f in found}) > 0.8 * len(found), template.name


@SEVERAL
def test_answers_are_among_distinct_options_wherever_they_are_ranked(rows, name):
    task = REAL[name]
    for fields in all_rows(rows, name):
        options = fields.get('options')
        if task.mode == 'rank':
            assert options and len(options) >= 2
        if options is not None:
            assert fields['answer'] in options
            assert len(set(options)) == len(options)
            assert all(isinstance(o, str) and o.strip() for o in options)
        assert all(isinstance(r, str) for r in fields.get('references', ()))


@SEVERAL
def test_the_right_answer_gets_the_full_score_of_every_metric(rows, name):
    task, found = REAL[name], all_rows(rows, name)
    references = [[str(r) for r in f.get('references', [f['answer']])] for f in found]
    for metric in task.metrics:
        scores = metrics.get(metric)(references, [str(f['answer']) for f in found]) if found else {}
        assert all(score == pytest.approx(1.0) for score in scores.values()), scores


@SEVERAL
def test_splits_are_our_own_names(name):
    splits = REAL[name].splits
    assert set(splits) <= {'train', 'validation', 'test'} and len(set(splits)) == len(splits) > 0
    assert set(splits) & {'validation', 'test'}


@SEVERAL
def test_where_a_task_has_local_rows_it_has_them_for_each_of_its_splits(local_rows, name):
    files = {p.stem for p in (pathlib.Path(local_rows) / name).glob('*.jsonl')}
    assert not files or set(REAL[name].splits) <= files


def test_tasks_that_share_a_source_say_so():
    by_set = collections.defaultdict(list)
    for task in REAL.values():
        if isinstance(task.source, TfdsSource):
            by_set[task.source.name].append(task)
    for name, tasks in by_set.items():
        for one, other in itertools.combinations(tasks, 2):
            assert set(one.texts_from) & set(other.texts_from), f'{one.name} and {other.name} both read {name}'


KNOWN = """
import json, sys
import tensorflow_datasets as tfds
wrong = {}
for name in json.loads(sys.argv[1]):
    try:
        builder = tfds.builder_cls(name.split(':')[0].split('/')[0])
        config = (name.split(':')[0].split('/') + [''])[1]
        if config and config not in builder.builder_configs:
            wrong[name] = f'configs {sorted(builder.builder_configs)[:20]}'
        elif ':' in name:
            have = {str(v) for v in [builder.VERSION, *(builder.SUPPORTED_VERSIONS or [])] if v is not None}
            have |= {str(c.version) for c in builder.builder_configs.values() if c.version is not None}
            if name.split(':')[1] not in have:
                wrong[name] = f'versions {sorted(have)}'
    except Exception as e:
        wrong[name] = f'{type(e).__name__}: {str(e)[:200]}'
print(json.dumps(wrong))
"""


def test_tfds_knows_every_set_config_and_version_that_is_named():
    names = sorted({t.source.name for t in REAL.values() if isinstance(t.source, TfdsSource)})
    done = subprocess.run([sys.executable, '-c', KNOWN, json.dumps(names)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    assert all(':' in name for name in names), 'without a version the rows may change unnoticed'


def test_a_task_without_a_loader_says_why():
    for task in REAL.values():
        if isinstance(task.source, LocalSource):
            assert len(task.source.reason.split()) >= 3, task.name
