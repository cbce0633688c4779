import collections
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from flan_jax.data import templates as templates_lib
from tasks import embedded, embedded_words

ROOT = pathlib.Path(__file__).parents[2]
BY_NAME = {task.name: task for task in embedded.TASKS}
SPLITS = ('train', 'validation', 'test')


@functools.cache
def rows(name, split, count):
    return tuple(BY_NAME[name].source.row(split, i) for i in range(count))


def content(row):
    """The row without the parts of its instruction that change nothing."""
    return {name: value for name, value in row.items() if name not in embedded_words.WORDING}


def fields_of(task, split='test', count=200):
    return [task.fields(row) for row in rows(task.name, split, count)]


def items(text):
    return text.split(', ')


def numbers(text):
    return [int(number) for number in items(text)]


def joined(values):
    return ', '.join(map(str, values))


def kind(word):
    """'cat', 'an animal', 'animals' and 'a piece of clothing' all have a kind, found without the tasks' own index."""
    for name, members in embedded_words.KINDS.items():
        if word in members or word in (embedded_words.PLURALS[name], embedded_words.WITH_ARTICLE[name]):
            return name
    raise KeyError(word)


def odd_one(words):
    counts = collections.Counter(map(kind, words))
    return next(word for word in words if counts[kind(word)] == 1)


def pairs(text, between):
    return dict(item.split(between) for item in items(text))


# The answer, worked out again from nothing but what the templates show.
SOLVERS = {
    'first_word': lambda f: re.match(r'\w+', f['words'])[0],
    'last_word': lambda f: re.search(r'\w+$', f['words'])[0],
    'middle_word': lambda f: re.fullmatch(r'\w+, (\w+), \w+', f['words'])[1],
    'word_after': lambda f: re.search(rf'\b{f["word"]}, (\w+)', f['words'])[1],
    'word_of_kind': lambda f: next(word for word in items(f['words']) if kind(word) == f['kind']),
    'drop_first': lambda f: f['words'].partition(', ')[2],
    'drop_last': lambda f: f['words'].rpartition(', ')[0],
    'add_first': lambda f: f'{f["word"]}, {f["words"]}',
    'add_last': lambda f: f'{f["words"]}, {f["word"]}',
    'count_items': lambda f: str(f['words'].count(',') + 1),
    'count_word': lambda f: str(len(re.findall(rf'\b{f["word"]}\b', f['words']))),
    'count_kind': lambda f: str(sum(kind(word) == kind(f['kind']) for word in items(f['words']))),
    'sort_up': lambda f: joined(sorted(numbers(f['numbers']))),
    'sort_down': lambda f: joined(sorted(numbers(f['numbers']))[::-1]),
    'reverse_list': lambda f: joined(reversed(items(f['words']))),
    'largest': lambda f: str(sorted(numbers(f['numbers']))[-1]),
    'smallest': lambda f: str(sorted(numbers(f['numbers']))[0]),
    'who_has_more': lambda f: max((int(f['a']), f['name']), (int(f['b']), f['other']))[1],
    'oldest': lambda f: max((int(age), name) for name, age in pairs(f['ages'], ' is ').items())[1],
    'add': lambda f: str(int(f['a']) + int(f['b'])),
    'subtract': lambda f: str(int(f['a']) - int(f['b'])),
    'next_number': lambda f: str(2 * numbers(f['numbers'])[-1] - numbers(f['numbers'])[-2]),
    'double': lambda f: str(int(f['a']) * 2),
    'lookup_value': lambda f: pairs(f['table'], ' = ')[f['key']],
    'lookup_field': lambda f: pairs(f['card'], ' = ')[f['field']],
    'where_is': lambda f: pairs(f['facts'], ' is in the ')[f['name']],
    'kind_of_word': lambda f: next(name for name in items(f['kinds']) if name == kind(f['word'])),
    'odd_one_out': lambda f: odd_one(items(f['words'])),
    'stated_rule': lambda f: f['yes'] if kind(f['word']) == kind(f['kind']) else f['no'],
    'even_or_odd': lambda f: ('even', 'odd')[int(f['number']) % 2],
}


def test_there_are_enough_tasks_and_every_cluster_is_worth_holding_out():
    clusters = collections.Counter(task.cluster for task in embedded.TASKS)
    assert len(embedded.TASKS) >= 24 and len(BY_NAME) == len(embedded.TASKS)
    assert len(clusters) == 8 and min(clusters.values()) >= 3
    assert set(BY_NAME) == {f'mini_{name}' for name in SOLVERS}


@pytest.mark.parametrize('name', BY_NAME)
def test_ten_different_straight_templates_render_on_every_split(name):
    task = BY_NAME[name]
    assert len({template.inputs for template in task.templates}) == 10
    assert not any(template.inverted for template in task.templates)
    assert sum('options' in templates_lib.field_names(template.inputs) for template in task.templates) <= 5
    for split in SPLITS:
        for fields in fields_of(task, split, 20):
            for template in task.templates:
                inputs, targets = templates_lib.render(template, fields)
                assert targets == fields['answer'] and 1 <= len(targets.split()) <= 5
                assert len(inputs.split()) <= 32, inputs
                assert not re.search(r'  |^ | $|\{|\}| [,.?:]', inputs), inputs


@pytest.mark.parametrize('name', BY_NAME)
def test_every_template_shows_the_whole_instance(name):
    """Else two instances that differ in what is not shown could look alike, one in training and one in test."""
    drawn = set(content(rows(name, 'test', 1)[0])) - {'answer'}
    for template in BY_NAME[name].templates:
        shown = templates_lib.field_names(template.inputs) - set(embedded_words.WORDING)
        if name == 'mini_kind_of_word':
            shown |= {'kinds', 'options'} if shown & {'kinds', 'options'} else set()  # the same words twice
        if name == 'mini_even_or_odd':
            shown |= {'options'}  # always the same two
        assert shown == drawn, template


@pytest.mark.parametrize('name', BY_NAME)
def test_the_answers_are_right_by_a_second_solver(name):
    solve = SOLVERS[name.removeprefix('mini_')]
    for split in SPLITS:
        for fields in fields_of(BY_NAME[name], split, 100):
            assert fields['answer'] == solve(fields), fields
            assert fields['answer'] in fields.get('options', [fields['answer']])


@pytest.mark.parametrize('name', BY_NAME)
def test_no_instance_is_in_two_splits_and_evaluation_rows_hardly_repeat(name):
    seen = {split: {json.dumps(content(row)) for row in rows(name, split, 200)} for split in SPLITS}
    assert not seen['train'] & seen['validation'] and not seen['train'] & seen['test']
    assert not seen['validation'] & seen['test']
    assert len({json.dumps(content(row)) for row in rows(name, 'validation', 100)}) >= 80


def test_a_list_in_one_task_s_test_split_is_in_no_other_task_s_training_split():
    lists = [
        task.name for task in embedded.TASKS if content(rows(task.name, 'test', 1)[0]).keys() == {'words', 'answer'}
    ]
    assert len(lists) >= 7
    train = {row['words'] for name in lists for row in rows(name, 'train', 500)}
    test = {row['words'] for name in lists for row in rows(name, 'test', 200)}
    assert not train & test


def digest():
    """One number for some rows of every task and split."""
    made = [[task.source.row(split, i) for split in SPLITS for i in (0, 7, 99)] for task in embedded.TASKS]
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()


def test_rows_are_the_same_when_made_again_and_in_another_process():
    assert digest() == digest()
    code = 'import test_embedded; print(test_embedded.digest())'
    paths = os.pathsep.join([str(ROOT), str(pathlib.Path(__file__).parent)])
    for seed in ('1', '2'):
        environment = {**os.environ, 'PYTHONHASHSEED': seed, 'PYTHONPATH': paths}
        told = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == digest()


def constant_share(task):
    """Exact match of always giving the most frequent training answer."""
    training = [fields['answer'] for fields in fields_of(task, 'train', 500)]
    constant = collections.Counter(training).most_common(1)[0][0]
    answers = [fields['answer'] for fields in fields_of(task)]
    return answers.count(constant) / len(answers)


def copy_share(task):
    """Exact match of copying a whole field, the best one."""
    tests = fields_of(task)
    names = [name for name, value in tests[0].items() if name != 'answer' and isinstance(value, str)]
    return max(sum(fields[name] == fields['answer'] for fields in tests) / len(tests) for name in names)


def test_neither_a_constant_answer_nor_a_copied_field_gets_far():
    constant = {task.name: constant_share(task) for task in embedded.TASKS}
    copied = {task.name: copy_share(task) for task in embedded.TASKS}
    assert sum(constant.values()) / len(constant) < 0.3
    assert sum(copied.values()) / len(copied) < 0.3
    assert sum(share > 0.3 for share in constant.values()) <= 3


def held_out(task):
    return [template for template in task.templates if template.name in embedded.HELD_OUT_TEMPLATES]


def trained(task):
    return [template for template in task.templates if template.name not in embedded.HELD_OUT_TEMPLATES]


def vocabulary(template):
    """The words a template may show, with those that its varying parts may become."""
    varied = [embedded_words.WORDING.get(slot, ()) for slot in templates_lib.field_names(template.inputs)]
    texts = [re.sub(r'\{\w+\}', ' ', template.inputs), *(choice for choices in varied for choice in choices)]
    return {word for text in texts for word in re.findall(r'\w+', text)}


def test_every_word_of_a_held_out_template_is_taught_by_a_trained_one():
    taught = set().union(*(vocabulary(template) for task in embedded.TASKS for template in trained(task)))
    for task in embedded.TASKS:
        assert len(held_out(task)) == 2
        for template in held_out(task):
            assert vocabulary(template) <= taught, template


def features(template):
    """Words, slots and neighbouring pairs: 'Count {words}' -> ['count', '{words}', 'count {words}']."""
    words = re.findall(r'[a-z]+|\{\w+\}', template.inputs.lower())
    return words + [' '.join(pair) for pair in zip(words, words[1:], strict=False)]


def test_a_linear_reader_of_trained_templates_knows_the_task_of_every_held_out_one():
    """A perceptron over words and pairs: what tells the tasks apart is taught, so a new wording is no riddle."""
    weights = {task.name: collections.Counter() for task in embedded.TASKS}

    def guess(template):
        return max(weights, key=lambda name: sum(weights[name][feature] for feature in features(template)))

    for _ in range(60):
        for task in embedded.TASKS:
            for template in trained(task):
                if (wrong := guess(template)) != task.name:
                    weights[task.name].update(features(template))
                    weights[wrong].subtract(features(template))
    assert all(guess(template) == task.name for task in embedded.TASKS for template in trained(task))
    missed = [
        (task.name, guess(template), template.inputs)
        for task in embedded.TASKS
        for template in held_out(task)
        if guess(template) != task.name
    ]
    assert not missed, '\n'.join(map(str, missed))
