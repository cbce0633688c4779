import json
import pathlib
import time

import pytest

from flan_jax import errors
from flan_jax.data import natural_instructions, rows
from flan_jax.data.task import Drop
from flan_jax.data.templates import render

HEAD = {
    'Contributors': ['Ann'],
    'Source': ['quoref'],
    'URL': ['https://example.com'],
    'Categories': ['Question Generation', 'Other'],
    'Reasoning': [],
    'Definition': ['Write a question about the text, such as {this}.'],
    'Input_language': ['English'],
    'Output_language': ['English'],
    'Instruction_language': ['English'],
    'Domains': ['Wikipedia'],
    'Positive Examples': [
        {'input': 'A cat sat.', 'output': 'Who sat?', 'explanation': 'The cat {it} did.'},
        {'input': 'A dog ran.', 'output': 'Who ran?', 'explanation': 'The dog did.'},
        {'input': 'A cow ate.', 'output': 'Who ate?', 'explanation': ''},
    ],
    'Negative Examples': [{'input': 'A fox hid.', 'output': 'Fox?', 'explanation': 'Not a question about the text.'}],
}


def instances(count: int) -> list[dict]:
    return [{'id': f'task001-{i}', 'input': f'Text {i}.', 'output': [f'Question {i}?']} for i in range(count)]


@pytest.fixture
def write(tmp_path):
    """Writes one task file into the collection's folder; gives its path."""

    def write(name: str = 'task001_quoref_questions', *, rows=None, text: str | None = None, **changes) -> pathlib.Path:
        path = tmp_path / 'tasks' / f'{name}.json'
        path.parent.mkdir(exist_ok=True)
        entries = {**HEAD, **changes, 'Instances': instances(40) if rows is None else rows}
        kept = {key: value for key, value in entries.items() if value is not ...}
        path.write_text(json.dumps(kept, indent=4) if text is None else text, 'utf-8')
        return path

    return write


def fields(task, split: str) -> list:
    return [f for _, f in rows.fields(task, split, place=rows.Place(), account=rows.Account())]


def test_a_task_file_is_a_task_of_its_own_in_the_cluster_of_its_category(tmp_path, write):
    write()
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert (task.name, task.cluster) == ('niv2_task001_quoref_questions', 'niv2_question_generation')
    assert task.texts_from == ('quoref',)
    assert task.splits == ('train', 'validation')


def test_a_bare_folder_of_task_files_will_do(tmp_path, write):
    write()
    (task,) = natural_instructions.tasks(str(tmp_path / 'tasks'))
    assert task.name == 'niv2_task001_quoref_questions'


def test_templates_show_definition_examples_and_reasons_and_keep_braces(tmp_path, write):
    write()
    (task,) = natural_instructions.tasks(str(tmp_path))
    shown = {t.name: render(t, {'input': 'A hen {x} sang.', 'answer': 'Who?'}) for t in task.templates}
    assert len(shown) == 9 and len({inputs for inputs, _ in shown.values()}) == 9
    for inputs, target in shown.values():
        assert 'such as {this}.' in inputs and 'A hen {x} sang.' in inputs and target == 'Who?'
    assert 'The cat {it} did.' in shown['explained_examples'][0]
    assert 'A cow ate.' not in ''.join(inputs for inputs, _ in shown.values())
    assert 'Not a question about the text.' in shown['good_and_bad'][0]
    assert shown['definition'][0] == 'Write a question about the text, such as {this}.\n\nA hen {x} sang.'


@pytest.mark.parametrize('good, bad, count', [(0, 1, 4), (1, 0, 6), (2, 0, 8), (2, 1, 9)])
def test_a_task_has_the_templates_that_its_examples_suffice_for(tmp_path, write, good, bad, count):
    bad_ones = HEAD['Negative Examples'][:bad] or [{'input': '-', 'output': '-', 'explanation': '-'}]
    write(**{'Positive Examples': HEAD['Positive Examples'][:good], 'Negative Examples': bad_ones})
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert len(task.templates) == count
    assert all(not t.inverted for t in task.templates)


def test_training_and_validation_share_the_inputs_and_have_none_in_common(tmp_path, write):
    write(rows=[*instances(400), *instances(400)])  # every input twice
    (task,) = natural_instructions.tasks(str(tmp_path))
    train, validation = ([f['input'] for f in fields(task, split)] for split in ('train', 'validation'))
    assert not set(train) & set(validation)
    assert len(set(train) | set(validation)) == 400
    assert (len(train), len(validation)) == (720, 80)
    assert validation == [f['input'] for f in fields(task, 'validation')]


def test_validation_stays_small_in_a_large_task(tmp_path, write):
    write(rows=instances(5_000))
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert len(fields(task, 'validation')) == natural_instructions.VALIDATION_ROWS


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / 'splits' / 'default'
    folder.mkdir(parents=True)
    (folder / 'train_tasks.txt').write_text('task001_a\ntask002_b\n\ntask009_absent\n')
    (folder / 'test_tasks.txt').write_text('task003_c\n')
    return folder


def test_the_collections_own_lists_say_what_is_trained_on_and_what_is_tested(tmp_path, write, lists):
    for name in ('task001_a', 'task002_b', 'task003_c', 'task004_excluded'):
        write(name, rows=instances(150))
    found = {t.name: t for t in natural_instructions.tasks(str(tmp_path))}
    assert list(found) == ['niv2_task001_a', 'niv2_task002_b', 'niv2_task003_c']
    assert found['niv2_task001_a'].splits == ('train', 'validation')
    assert found['niv2_task003_c'].splits == ('test',)
    assert [f['input'] for f in fields(found['niv2_task003_c'], 'test')] == [f'Text {i}.' for i in range(100)]


def test_a_task_in_both_lists_is_an_error(tmp_path, write, lists):
    write('task001_a')
    (lists / 'test_tasks.txt').write_text('task001_a\n')
    with pytest.raises(errors.DataError, match=r'test_tasks.txt: task001_a is a training task as well'):
        natural_instructions.tasks(str(tmp_path))


def test_a_missing_list_is_an_error(tmp_path, write):
    write()
    with pytest.raises(errors.DataError, match='train_tasks.txt cannot be read: No such file'):
        natural_instructions.tasks(str(tmp_path), splits=str(tmp_path))


def test_other_languages_and_numbers_can_be_left_out(tmp_path, write):
    write('task001_a')
    write('task002_b', Output_language=['French'])
    write('task690_mmlu')
    names = [
        t.name
        for t in natural_instructions.tasks(
            str(tmp_path), english_only=True, leave_out=natural_instructions.MMLU_NUMBERS
        )
    ]
    assert names == ['niv2_task001_a']


def test_one_of_several_replies_is_the_answer_and_all_are_references(tmp_path, write):
    replies = ['yes', 'it is', 'yes', ' ']
    write(rows=[{'id': f'i{i}', 'input': f'Is it {i}?', 'output': replies} for i in range(60)])
    (task,) = natural_instructions.tasks(str(tmp_path))
    found = fields(task, 'train')
    assert {f['answer'] for f in found} == {'yes', 'it is'}
    assert all(f['references'] == ['yes', 'it is'] for f in found)
    assert found == fields(task, 'train')


def test_a_reply_may_be_a_string_and_blank_rows_are_counted():
    assert natural_instructions._fields({'id': 'a', 'input': 'x', 'output': [' ']}) == Drop('empty_answer')
    assert natural_instructions._fields({'id': 'a', 'input': ' ', 'output': ['x']}) == Drop('empty_input')


def test_null_is_no_reply_and_a_number_is_one_and_an_object_is_refused():
    assert natural_instructions._fields({'id': 'a', 'input': 'x', 'output': [None]}) == Drop('empty_answer')
    assert natural_instructions._fields({'id': 'a', 'input': None, 'output': ['x']}) == Drop('empty_input')
    assert natural_instructions._fields({'id': 'a', 'input': 3, 'output': [0, 0.5]})['references'] == ['0', '0.5']
    with pytest.raises(errors.DataError, match='{"a": 1} is no text'):
        natural_instructions._fields({'id': 'a', 'input': 'x', 'output': [{'a': 1}]})


def test_a_byte_order_mark_changes_nothing(tmp_path, write):
    path = write()
    (plain,) = natural_instructions.tasks(str(tmp_path))
    rows = fields(plain, 'train')
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    (marked,) = natural_instructions.tasks(str(tmp_path))
    assert marked.templates == plain.templates and fields(marked, 'train') == rows


def test_a_definition_may_be_a_string_and_entries_in_any_order(tmp_path, write):
    write(text=json.dumps({'Instances': instances(3), **HEAD, 'Definition': 'Ask.'}))
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert task.templates[0].inputs == 'Ask.\n\n{input}'
    assert len(fields(task, 'train')) == 2


def test_a_head_longer_than_one_read_is_read_whole(tmp_path, write):
    long = 'é' * 200_000
    write(Definition=[long])
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert task.templates[0].inputs.startswith(long)


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'Definition': ...}, r'task001_quoref_questions.json: no Definition; a task file has'),
        ({'Categories': ..., 'Positive Examples': ...}, 'json: no Categories, Positive Examples;'),
        ({'Definition': ['  ']}, 'json: no Definition; the task needs one'),
        ({'Categories': []}, 'json: no Categories; the task needs one'),
        ({'Positive Examples': [{'input': 'x'}]}, "json: an entry of 'Positive Examples' is no object with input and"),
        ({'Positive Examples': 5}, "json: an entry of 'Positive Examples' is no object with input and output: 5"),
        ({'Definition': 5}, 'json: Definition holds 5, which is no text'),
        ({'Categories': [None]}, 'json: Categories holds None, which is no text'),
        ({'text': '{"Definition": ["Ask."], "Categories"'}, 'json: no valid JSON .* fetch the file again'),
        ({'text': '[1, 2]'}, 'json: a list, not a JSON object'),
        ({'text': '{}'}, 'json: no Categories, Definition, Positive Examples'),
        ({'text': ''}, 'json: no valid JSON'),
    ],
)
def test_a_broken_head_is_an_error_that_names_the_file(tmp_path, write, changes, message):
    write(**changes)
    with pytest.raises(errors.DataError, match=message):
        natural_instructions.tasks(str(tmp_path))


def test_a_file_without_instances_is_an_error(tmp_path, write):
    write(text=json.dumps(HEAD))
    with pytest.raises(errors.DataError, match='json: no Instances;'):
        natural_instructions.tasks(str(tmp_path))


@pytest.mark.parametrize(
    'spoil, message',
    [
        (lambda text: text[:-20], r'json: no valid JSON'),
        (lambda text: json.dumps({**json.loads(text), 'Instances': []}), 'json: no Instances, so the task has no rows'),
        (lambda text: text.replace('"input": "Text 3.",', ''), r'json \(instance 3\): .* is no object with input and'),
    ],
)
def test_broken_instances_are_an_error_that_names_the_file(tmp_path, write, spoil, message):
    path = write()
    (task,) = natural_instructions.tasks(str(tmp_path))
    path.write_text(spoil(path.read_text()))
    with pytest.raises(errors.DataError, match=message):
        fields(task, 'train')


def test_another_encoding_is_an_error(tmp_path, write):
    path = write()
    path.write_bytes('{"Definition": ["é"]}'.encode('latin-1'))
    with pytest.raises(errors.DataError, match='json: not UTF-8'):
        natural_instructions.tasks(str(tmp_path))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(errors.DataError, match=r'has no task file \(\*.json\)'):
        natural_instructions.tasks(str(tmp_path))


def test_names_with_brackets_are_read_all_the_same(tmp_path, write):
    write('task001_a[b]')
    (task,) = natural_instructions.tasks(str(tmp_path))
    assert fields(task, 'train')


def test_listing_tasks_reads_no_instances(tmp_path, write):
    text = write(rows=instances(3_000)).read_text()
    for i in range(2, 101):
        write(f'task{i:03d}_copy', text=text[: len(text) // 2])  # broken far behind the head
    start = time.perf_counter()
    assert len(natural_instructions.tasks(str(tmp_path))) == 100
    assert time.perf_counter() - start < 5  # 0.03 s where nothing else runs
