"""Bad task modules, bad values from a task's own code, folders that are none."""

import itertools

import pytest
from preparing import GOOD, counts, told

MODULE = """
from flan_jax.data.task import GeneratedSource, Task
from flan_jax.data.templates import Template

def task(given, pattern='{{text}}', name='own', **more):
    rows = GeneratedSource(lambda split, i: {{'i': i}}, {{'train': 4}})
    phrasings = (Template(pattern),)
    return Task(name=name, cluster='support', source=rows, fields=lambda row: given, templates=phrasings, **more)

{}
"""
NUMBER = itertools.count()  # modules are imported once, so each has a name of its own


@pytest.fixture
def module(tmp_path, monkeypatch, given):
    """(code) -> a config whose tasks are in a module of that code."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str, **knobs):
        name = f'bad_tasks_{next(NUMBER)}'
        (tmp_path / f'{name}.py').write_text(MODULE.format(code))
        data = {'task_modules': (name,), 'task_files': ()} | knobs.pop('data', {})
        return given({}, data=data, **knobs)

    return write


BAD_MODULES = {
    'syntax': ('def (:\n', 'SyntaxError: invalid syntax (bad_tasks_'),
    'a missing package': ('import nowhere_at_all', '.py:10: ModuleNotFoundError: No module named'),
    'an open brace': ("TASKS = [task({}, '{text')]", ".py:8: template '{text': expected '}'"),
    'an error of its own': ('TASKS = [task({})]\nTASKS[0].templates[9]', '.py:11: IndexError: tuple index'),
    'one name twice': ('TASKS = [task({}), task({})]', "two tasks are named 'own'"),
    'no tasks': ('', 'has neither TASKS nor all_tasks()'),
    'no task among them': ('TASKS = [task({}), 3]', 'has 3 among its tasks, no `Task`'),
}


@pytest.mark.parametrize('case', BAD_MODULES)
def test_a_task_module_that_fails_is_told_with_its_line(module, case):
    code, said = BAD_MODULES[case]
    message = told(module(code))
    assert said in message and message.count('\n') == 0, message


def test_a_task_module_that_is_not_there_is_named(given):
    for name in ('no_such_module', 'no_such.module', 'json.nothing', 'pathlib.py'):
        assert f'no module {name!r}' in told(given({'rows.jsonl': GOOD}, data={'task_modules': (name,)}))


BAD_FIELDS = {
    'no answer': ("{'text': 'a'}", "gives no 'answer'; its fields are ['text']"),
    'a field that is not there': (
        "{'txt': 'a', 'answer': 'b'}",
        "names the field 'text', the row has answer, txt; did",
    ),
    'options in one text': ("{'text': 'a', 'answer': 'b', 'options': 'abc'}", "options are 'abc', not a list of texts"),
    'references in one text': ("{'text': 'a', 'answer': 'b', 'references': 'b'}", "references are 'b', not a list"),
    'a list where a text is': ("{'text': ['a'], 'answer': 'b'}", "would show ['a'], which is no text"),
    'an object where the answer is': ("{'text': 'a', 'answer': {'b': 1}}", "would show {'b': 1}, which is no text"),
    'bytes': ("{'text': b'a', 'answer': 'b'}", "would show b'a', which is no text"),
    'a list among the options': ("{'text': 'a', 'answer': 'b', 'options': ['b', ['c']]}", "would show ['c'], which"),
    'messages in one text': ("{'messages': 'a'}", 'messages are a str, not a list of'),
    'a message that is a number': ("{'messages': [3]}", 'message 1 of 1 is an int, not an object'),
    'no message': ("{'messages': []}", 'a conversation must end with the assistant, not with nobody'),
    'the user last': ("{'messages': [{'role': 'user', 'content': 'a'}]}", 'end with the assistant, not with user'),
    'an unknown role': ("{'messages': [{'role': 'usr', 'content': 'a'}]}", "the role 'usr'; the roles are system"),
    'no content': ("{'messages': [{'role': 'user'}]}", "message 1 of 1 has no 'content'"),
    'content that is null': (
        "{'messages': [{'role': 'assistant', 'content': None}]}",
        'content that is null, not text',
    ),
    'no mapping': ('[1]', "gives no 'answer'"),
}


@pytest.mark.parametrize('case', BAD_FIELDS)
def test_what_a_task_makes_of_a_row_is_checked(module, case):
    fields, said = BAD_FIELDS[case]
    message = told(module(f'TASKS = [task({fields})]'))
    assert said in message and "'own'" in message or 'own: template' in message, message


@pytest.mark.parametrize('missing', ['None', "float('nan')"])
@pytest.mark.parametrize('name', ['text', 'answer'])
def test_null_and_nan_reach_no_example_and_are_counted(module, missing, name):
    fields = f"{{'text': 'a', 'answer': 'b', 'never shown': None, {name!r}: {missing}}}"
    found = counts(module(f'TASKS = [task({fields})]'))
    assert found['examples'] == 0 and found['dropped'] == {'missing_value': 4}


@pytest.mark.parametrize('name', ['options', 'references'])
def test_a_null_among_options_or_references_is_counted(module, name):
    found = counts(module(f"TASKS = [task({{'text': 'a', 'answer': 'b', {name!r}: ['b', None]}})]"))
    assert found['examples'] == 0 and found['dropped'] == {'missing_value': 4}


def test_a_null_that_no_template_shows_changes_nothing(module):
    found = counts(module("TASKS = [task({'text': 'a', 'answer': 'b', 'never shown': None})]"))
    assert found['examples'] == 4 and found['dropped'] == {}


@pytest.mark.parametrize('code', ['expand=lambda rows: 3', "expand=lambda rows: (row['k'] for row in rows)"])
def test_rows_that_cannot_be_regrouped_are_told_with_the_split(module, code):
    message = told(module(f"TASKS = [task({{'text': 'a', 'answer': 'b'}}, {code})]"))
    assert "own/train: task 'own' " in message and ('cannot regroup' in message or "needs the field 'k'" in message)


def test_folders_that_are_none_are_named(given, tmp_path):
    (tmp_path / 'file').write_text('')
    assert "data.store_root='" in told(given({'rows.jsonl': GOOD}, data={'store_root': f'{tmp_path}/file/stores'}))
    for root in (f'{tmp_path}/file', '/nowhere/rows'):
        assert f'data.local_root={root!r} is no folder' in told(given({'rows.jsonl': GOOD}, data={'local_root': root}))
    assert 'is neither a .toml file' in told(given({}, data={'task_files': (f'{tmp_path}/file',)}))
    assert "task file '/nowhere/x.toml' cannot be read" in told(given({}, data={'task_files': ('/nowhere/x.toml',)}))
