import json

import pytest

from flan_jax import errors
from flan_jax.data import formats, request, rows, task_file
from flan_jax.data.rows import Account, Place
from flan_jax.data.task import Drop, FileSource
from flan_jax.data.templates import render

TICKETS = """
[[task]]
name = 'tickets'
cluster = 'support'
files.train = 'tickets-*.jsonl'
files.validation = ['dev.jsonl']
answer = '{label}'
labels = { 0 = 'billing', 1 = 'outage', -1 = '' }
options = ['billing', 'outage', 'other']
texts_from = ['mail']

[[task.template]]
inputs = "File this: {meta.title} {body}\\n{options}"

[[task.template]]
inputs = 'Write about {answer}.'
targets = '{body}'
inverted = true
"""
ROW = {'meta': {'title': 'Down'}, 'body': 'Nothing loads {sic}.', 'label': 1, 'id': 4}


@pytest.fixture
def write(tmp_path):
    """Writes a task file; returns its path."""

    def put(text, name='tasks.toml'):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return put


def edited(old, new):
    assert old in TICKETS
    return TICKETS.replace(old, new)


def one(path):
    (found,) = task_file.load(path)
    return found


def fields(task, row):
    return formats.fields_of(task, row, where='rows.jsonl:7')


def test_a_task_says_what_the_file_says(write, tmp_path):
    task = one(write(TICKETS))
    assert (task.name, task.cluster, task.mode, task.metrics) == ('tickets', 'support', 'rank', ('accuracy',))
    assert task.texts_from == ('mail',) and task.splits == ('train', 'validation')
    assert task.source == FileSource(
        {'train': (f'{tmp_path}/tickets-*.jsonl',), 'validation': (f'{tmp_path}/dev.jsonl',)}
    )
    assert [t.inverted for t in task.templates] == [False, True]


def test_a_row_becomes_text_by_way_of_labels_and_nested_fields(write):
    task = one(write(TICKETS))
    assert render(task.templates[0], fields(task, ROW), style=None) == (
        'File this: Down Nothing loads {sic}.',
        'outage',
    )
    assert fields(task, ROW)['options'] == ['billing', 'outage', 'other']
    assert fields(task, ROW | {'label': -1}) == Drop('no_answer')


def test_rows_are_read_from_beside_the_task_file(write, tmp_path):
    for i in (2, 1):
        (tmp_path / f'tickets-{i}.jsonl').write_text(json.dumps(ROW | {'body': f'mail {i}'}) + '\n')
    task = one(write(TICKETS))
    found = list(rows.fields(task, 'train', place=Place(), account=Account()))
    assert [(n, f['body']) for n, f in found] == [(0, 'mail 1'), (1, 'mail 2')]
    with pytest.raises(errors.DataError, match="split 'validation': no file matches .*dev.jsonl"):
        list(rows.fields(task, 'validation', place=Place(), account=Account()))


def test_an_index_names_one_of_the_options_of_the_row(write):
    text = edited("answer = '{label}'", "answer_index = '{label}'")
    text = text.replace("labels = { 0 = 'billing', 1 = 'outage', -1 = '' }\n", "references = '{also}'\n")
    task = one(write(text.replace("options = ['billing', 'outage', 'other']", "options = '{choices.text}'")))
    row = ROW | {'choices': {'text': ['a', 2, 'c']}, 'also': ['2', 'two']}
    found = fields(task, row)
    assert (found['answer'], found['options'], found['references']) == ('2', ['a', '2', 'c'], ['2', 'two'])
    with pytest.raises(errors.DataError, match="answer_index is '3', but there are 3 options"):
        fields(task, row | {'label': 3})
    with pytest.raises(errors.DataError, match="rows.jsonl:7.*'choices.text' is 'abc', not a list"):
        fields(task, row | {'choices': {'text': 'abc'}})


def test_columns_may_be_named_like_what_templates_reserve(write):
    text = """
        [[task]]
        name = 'quiz'
        cluster = 'quiz'
        files.train = 'x.jsonl'
        answer = '{answer}'
        options = '{options}'
        [[task.template]]
        inputs = "{messages} {two words}\\n{options}"
    """
    row = {'answer': 'a', 'options': ['a', 'b'], 'messages': 'Which?', 'two words': True}
    task = one(write(text))
    assert render(task.templates[0], fields(task, row), style=None)[0] == 'Which? true'


def test_an_adapter_reads_published_forms(write):
    task = one(
        write("[[task]]\nname='mine'\ncluster='chats'\nfiles.train='a.json'\nadapter='alpaca'\nmetrics=['rouge_l']")
    )
    found = fields(task, {'instruction': 'Add.', 'input': '1, 2', 'output': '3'})
    assert [m['role'] for m in found['messages']] == ['user', 'assistant'] and found['answer'] == '3'


def test_cells_of_csv_and_tsv_files_are_rows(write, tmp_path):
    text = edited("'tickets-*.jsonl'", "['t.csv', 't.tsv', 't.jsonl']").replace('{meta.title}', '{title}')
    (tmp_path / 't.csv').write_text('title,body,label\nDown,"a, ""b""\nc",0\n', encoding='utf-8-sig')
    (tmp_path / 't.tsv').write_text('title\tbody\tlabel\nUp\td\t1\n')
    (tmp_path / 't.jsonl').write_text('{"title": "Odd", "body": "e", "label": 1}\n')
    task = one(write(text))
    found = [f for _, f in rows.fields(task, 'train', place=Place(), account=Account())]
    assert [(f['title'], f['body'], f['answer']) for f in found] == [
        ('Down', 'a, "b"\nc', 'billing'), ('Up', 'd', 'outage'), ('Odd', 'e', 'outage')
    ]  # fmt: skip
    (tmp_path / 't.csv').write_text('title,body,label\nDown,a\n')
    with pytest.raises(errors.DataError, match='t.csv:2: not 3 cells'):
        list(rows.fields(task, 'train', place=Place(), account=Account()))


def test_every_value_is_part_of_a_store_s_request(write):
    def described(text):
        return request._described(one(write(text)).fields)

    assert described(TICKETS) == described(TICKETS)
    assert described(TICKETS) != described(edited("1 = 'outage'", "1 = 'other'"))
    assert described(TICKETS) != described(edited("'other']", "'else']"))


def test_a_file_may_name_mixtures(write):
    path = write(f"{TICKETS}\n[[mixture]]\nname = 'help'\nmembers = ['support', 'mini_*']\ncap = 30\n")
    found = task_file.mixtures(path)
    assert one(path).name == 'tickets'
    assert found['help'].members == ('support', 'mini_*') and found['help'].cap == 30
    with pytest.raises(errors.ConfigError, match=r'mixture\]\] help: .*membres.*did you mean members'):
        task_file.mixtures(write("[[mixture]]\nname = 'help'\nmembres = ['support']\n"))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[[task]\n', r'no valid TOML: .*line 1'),
        ('', r'no \[\[task\]\] in it'),
        ("[task]\nname = 'x'", r'not a list of tables; write \[\[task\]\] with double'),
        ("[[tasks]]\nname = 'x'", "unknown key 'tasks'; did you mean task"),
        (edited('cluster', 'clustre'), r"toml:2: \[\[task\]\] 'tickets': unknown key 'clustre'; did you mean cluster"),
        (edited("name = 'tickets'", ''), r'\[\[task\]\] number 1: name is missing'),
        (edited("name = 'tickets'", "name = 'a/b'"), 'the name is also a folder'),
        (edited("name = 'tickets'", "name = '..'"), 'the first a letter or digit'),
        (edited("files.train = 'tickets-*.jsonl'\nfiles.validation = ['dev.jsonl']", ''), 'files is missing'),
        (edited('files.validation', 'files.valid'), 'files.valid: the splits are train, validation, test'),
        (edited("['billing', 'outage', 'other']", '3'), 'options = 3 is not a text or a list'),
        (edited("answer = '{label}'", ''), "give one of answer = '{field}' and answer_index"),
        (edited("options = ['billing', 'outage', 'other']", "mode = 'rank'"), "mode = 'rank' needs options"),
        (edited("options = ['billing', 'outage', 'other']", ''), 'names {options}, but the task has no options'),
        (edited("options = ['billing', 'outage', 'other']", "options = 'a'"), "must name one field .* '{choices}'"),
        (edited('inverted = true', ''), 'shows the answer; if it is turned around, add inverted'),
        (edited('{body}\\n', '{body\\n'), "unexpected '{' in field name; write {{ and }}"),
        (edited('{body}\\n', '{}\\n'), 'write {field} with nothing else'),
        (edited("targets = '{body}'", "target = '{body}'"), "unknown key 'target'; did you mean targets"),
        (edited('inverted = true', "inverted = 'yes'"), 'inverted = "yes" is not true or false'),
        (TICKETS + TICKETS, "toml:20: a second task is named 'tickets'"),
        (edited("answer = '{label}'", "adapter = 'alpaca'"), 'an adapter says all about the rows; remove options'),
        (
            "[[task]]\nname='m'\ncluster='c'\nfiles.train='a.json'\nadapter='alpacca'",
            r"toml:1: \[\[task\]\] 'm': no adapter is named 'alpacca'; did you mean alpaca",
        ),
    ],
)
def test_a_faulty_file_is_told_with_its_place(write, text, message):
    with pytest.raises(errors.DataError, match=message) as told:
        task_file.load(write(text))
    assert 'tasks.toml' in str(told.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'body': None, 'label': 2}, "the answer '2' is not among the labels '0', '1', '-1'; add it"),
        ({'meta': {'titel': 'x'}}, "the field 'meta.title' is not in the row: meta is {'titel'"),
        ({'body': {'text': 'x'}}, "the field 'body' holds text; name one: {body.name}"),
    ],
)
def test_a_faulty_row_is_told_with_file_and_task(write, change, message):
    with pytest.raises(errors.DataError) as told:
        fields(one(write(TICKETS)), ROW | change)
    assert str(told.value).startswith("rows.jsonl:7: task 'tickets'") and message in str(told.value)


def test_a_template_s_unknown_field_is_told_with_near_ones(write):
    task = one(write(edited('Write about {answer}', 'Write about {bodi}')))
    with pytest.raises(errors.DataError, match="needs the field 'bodi', the row has .*; did you mean body"):
        fields(task, ROW)


def test_the_answer_must_be_among_the_options(write):
    with pytest.raises(errors.DataError, match="'outage' of task 'tickets' is not among its options"):
        fields(one(write(edited("['billing', 'outage', 'other']", "['billing']"))), ROW)
