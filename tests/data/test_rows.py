import json
import sys

import pyarrow as pa
import pyarrow.parquet
import pytest

import flan_jax.data
from flan_jax import errors
from flan_jax.data import rows
from flan_jax.data.rows import Account, Place
from flan_jax.data.task import Drop, FileSource, GeneratedSource, LocalSource, Task, TfdsSource
from flan_jax.data.templates import Template

SAID = [{'text': f'row {i}', 'n': i} for i in range(5)]


def fields(row):
    return Drop('odd') if row['n'] == 3 else {'text': row['text'], 'answer': str(row['n'])}


def task(source=LocalSource('not published', splits=('train', 'test')), **more):
    settings = dict(name='toy', cluster='toys', source=source, fields=fields, templates=(Template('{text}'),))
    return Task(**(settings | more))


@pytest.fixture
def put(tmp_path):
    """Writes a file of the toy task under the local root."""

    def write(name, content):
        path = tmp_path / 'toy' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == '.parquet':
            pyarrow.parquet.write_table(pa.Table.from_pylist(content), path)
        elif path.suffix == '.json':
            path.write_text(json.dumps(content))
        else:
            path.write_text(''.join(json.dumps(row) + '\n' for row in content))
        return Place(str(tmp_path))

    return write


def seen(place, split='train', **more):
    return [(number, row) for number, _, row in rows.read(task(**more), split, place=place)]


@pytest.mark.parametrize(
    'name', ['train.jsonl', 'train.json', 'train.parquet', 'train/part.jsonl', 'data/train-00000-of-00001.parquet']
)
def test_every_form_of_file_gives_the_same_rows(put, name):
    assert seen(put(name, SAID)) == list(enumerate(SAID))


def test_shards_follow_each_other(put):
    put('train-00001-of-00002.parquet', SAID[3:])
    place = put('train-00000-of-00002.parquet', SAID[:3])
    assert seen(place) == list(enumerate(SAID))


def test_a_json_file_may_hold_its_list_in_an_object(put):
    assert seen(put('train.json', {'version': 1, 'examples': SAID})) == list(enumerate(SAID))
    with pytest.raises(errors.DataError, match='0 lists of objects in it; it must hold one'):
        seen(put('train.json', {'version': 1}))


def test_the_same_split_twice_is_refused(put):
    put('train.jsonl', SAID)
    with pytest.raises(errors.DataError, match='train.jsonl, .*train.json; keep one'):
        seen(put('train.json', SAID))


@pytest.mark.parametrize('name', ['train.JSONL', 'train.jsonl.gz', 'dev.jsonl', 'training.json'])
def test_a_local_folder_without_rows_of_a_split_is_told_and_nothing_else_read_in_its_place(put, name):
    place = put(name, b'{}')
    for source in (
        LocalSource('not published', splits=('train', 'test')),
        GeneratedSource(lambda split, i: {}, {'train': 1}),
    ):
        with pytest.raises(
            errors.DataError, match=f'/toy has {name}, but no rows of a split .train.*: rename the files'
        ):
            rows.splits(task(source), place=place)


def test_blank_lines_keep_the_numbers_of_the_others(put):
    lines = [json.dumps(SAID[0]), '', '   ', json.dumps(SAID[1])]
    assert seen(put('train.jsonl', '\n'.join(lines).encode())) == [(0, SAID[0]), (3, SAID[1])]


@pytest.mark.parametrize(
    'name, content, said',
    [
        ('train.jsonl', b'{"n": 1}\n{"n": \n', 'train.jsonl:2: no valid JSON'),
        ('train.jsonl', b'{"n": 1}\n[1, 2]\n', 'train.jsonl:2: a list, not a JSON object'),
        ('train.jsonl', b'{"n": 1}\n{"text": "\xff\xfe"}\n', 'train.jsonl:2: not UTF-8.*convert the file to UTF-8'),
        ('train.json', b'{"n": 1}\n{"n": 2}\n', 'train.json: no valid JSON.*JSON lines belong into .jsonl'),
        ('train.json', b'[{"n": 1}, 2]', r'train.json \(entry 1\): a int, not a JSON object'),
        ('train.json', b'["\xff"]', 'train.json: not UTF-8'),
        ('train.parquet', b'PAR1 but not really', 'train.parquet cannot be read as Parquet'),
    ],
)
def test_a_broken_file_is_named_with_its_line(put, name, content, said):
    with pytest.raises(errors.DataError, match=said):
        seen(put(name, content))


def test_rows_are_counted_and_dropped_by_reason(put):
    account = Account()
    found = list(rows.fields(task(), 'train', place=put('train.jsonl', SAID), account=account))
    assert [number for number, _ in found] == [0, 1, 2, 4]
    assert account.rows == 5 and account.dropped == {'odd': 1}
    assert len(list(rows.fields(task(), 'train', place=put('train.jsonl', SAID), account=Account(), limit=2))) == 2


def test_a_task_may_regroup_the_rows_of_a_split(put):
    def pairs(found):
        found = list(found)
        for one, other in zip(found[::2], found[1::2]):
            yield {'text': f'{one["text"]} and {other["text"]}', 'n': one['n']}

    place = put('train.jsonl', SAID)
    assert [row['text'] for _, row in seen(place, expand=pairs)] == ['row 0 and row 1', 'row 2 and row 3']
    with pytest.raises(errors.DataError, match="toy/train.jsonl: task 'toy' needs the field 'm' in every row"):
        seen(place, expand=lambda found: ({'n': row['m']} for row in found))


def test_a_task_without_rows_says_where_they_belong(tmp_path):
    with pytest.raises(errors.DataError, match=f'not published; put them into {tmp_path}/toy/<split>.jsonl'):
        seen(Place(str(tmp_path)))


def test_own_files_are_found_by_pattern_and_by_their_own_reader(tmp_path):
    for i in range(2):
        (tmp_path / f'part{i}.jsonl').write_text(json.dumps(SAID[i]) + '\n')
    files = {'train': (f'{tmp_path}/part*.jsonl',)}
    assert seen(Place(), source=FileSource(files)) == list(enumerate(SAID[:2]))

    def read(path, split):
        return [{'n': 7, 'path': path, 'split': split}]

    (_, first), _ = seen(Place(), source=FileSource(files, read))
    assert first == {'n': 7, 'path': f'{tmp_path}/part0.jsonl', 'split': 'train'}
    with pytest.raises(errors.DataError, match="task 'toy', split 'train': no file matches '/nowhere/x"):
        seen(Place(), source=FileSource({'train': ('/nowhere/x*.jsonl',)}))


def test_local_files_come_before_the_tasks_own_source(put):
    source = GeneratedSource(lambda split, i: {'n': 100 + i}, {'train': 2})
    assert [row['n'] for _, row in seen(Place(), source=source)] == [100, 101]
    assert [row['n'] for _, row in seen(put('train.jsonl', SAID), source=source)] == [0, 1, 2, 3, 4]


def test_the_text_of_a_row_is_every_string_of_its_fields_once(put):
    def nested(row):
        said = [{'role': 'user', 'content': row['text']}, {'role': 'assistant', 'content': 'b'}]
        return {'options': ['b', 'c'], 'messages': said, 'n': 3}

    place = put('train.jsonl', SAID[:1])
    assert list(rows.texts(task(fields=nested), 'train', place=place)) == [(0, 'b\nc\nrow 0')]


def test_without_seqio_a_task_of_tfds_says_what_to_install_and_where_its_rows_may_lie(monkeypatch):
    monkeypatch.setitem(sys.modules, 'seqio', None)
    monkeypatch.delitem(sys.modules, 'flan_jax.data.seqio_tasks', raising=False)
    monkeypatch.delattr(flan_jax.data, 'seqio_tasks', raising=False)
    message = r'needs the package seqio; install flan_jax\[prepare\], or put its rows into <data.local_root>/toy/train'
    with pytest.raises(errors.DataError, match=message):
        rows.read(task(TfdsSource('toy:1.0.0', splits={'train': 'train'})), 'train', place=Place())
