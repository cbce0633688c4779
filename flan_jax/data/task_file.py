"""Task files: tasks and mixtures written in TOML, without Python.

    [[task]]
    name = "tickets"
    cluster = "support"
    files.train = "tickets-*.jsonl"           # beside the TOML file; JSON lines, JSON, Parquet, CSV, TSV
    files.validation = "tickets-dev.jsonl"
    answer = "{label}"                        # a pattern over the row's own fields
    labels = { 0 = "billing", 1 = "outage" }  # what raw answers become; "" leaves a row out
    options = ["billing", "outage", "other"]  # or "{choices}", a field that holds a list

    [[task.template]]
    inputs = "File this under one of the headings.\\n\\n{subject}: {body}\\n\\n{options}"

Instead of `answer` a task has `answer_index` (a place in the options, from 0), or instead of both and of the templates
an `adapter` (see `data.adapters`). `{meta.title}` is a field in a field, `{texts.0}` the first of a list. Lists are
shown with commas between. In TOML a line break is `\\n` only in double quotes.
"""

import csv
import functools
import glob
import json
import math
import os
import pathlib
import re
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flan_jax import config, errors
from flan_jax.data import adapters, rows, templates
from flan_jax.data.task import Drop, Fields, FileSource, Row, Task
from flan_jax.data.templates import Template
from flan_jax.mixture_config import MixtureConfig

SPLITS = ('train', 'validation', 'test')
CELLS = {'.csv': ',', '.tsv': '\t'}  # suffix -> what divides its cells
_CELL_BYTES = 2**31 - 1  # a cell at most; Python's own limit of 131,072 is less than a document

# What `fields` may return besides the columns of a row, so no column may go by such a name.
_RESERVED = ('answer', 'options', 'references', 'messages', 'tools')

_TEXT, _TEXTS, _EITHER = 'a text', 'a list of texts', 'a text or a list of texts'
_FLAG, _TABLE, _FILES, _LIST = 'true or false', 'a table of texts', 'a table of file names', 'a list of tables'
_TASK_KEYS = {
    'name': _TEXT, 'cluster': _TEXT, 'files': _FILES, 'mode': _TEXT, 'metrics': _TEXTS, 'answer': _TEXT,
    'answer_index': _TEXT, 'options': _EITHER, 'labels': _TABLE, 'references': _TEXT, 'adapter': _TEXT,
    'texts_from': _TEXTS, 'template': _LIST,
}  # fmt: skip
_TEMPLATE_KEYS = {'inputs': _TEXT, 'targets': _TEXT, 'inverted': _FLAG, 'rationale': _FLAG, 'name': _TEXT}
_NOT_WITH_ADAPTER = ('answer', 'answer_index', 'options', 'labels', 'references', 'template', 'mode')


def load(path: str) -> list[Task]:
    """The tasks of a file.

    Raises:
      DataError: it cannot be read, is no TOML (with the line), or a task is not as above (with the task and its line).
    """
    document, text = _parsed(path)
    lines = [text.count('\n', 0, found.start()) + 1 for found in re.finditer(r'^[ \t]*\[\[\s*task\s*\]\]', text, re.M)]
    entries = document.get('task', [])
    out: dict[str, Task] = {}
    for i, entry in enumerate(entries):
        line = f':{lines[i]}' if len(lines) == len(entries) else ''
        named = f'[[task]] {entry["name"]!r}' if isinstance(entry.get('name'), str) else f'[[task]] number {i + 1}'
        task = _task(entry, folder=os.path.dirname(os.path.abspath(path)), where=f'{path}{line}: {named}')
        if task.name in out:
            raise errors.DataError(f'{path}{line}: a second task is named {task.name!r}; rename one of them')
        out[task.name] = task
    return list(out.values())


def mixtures(path: str) -> dict[str, MixtureConfig]:
    """The named mixtures of a file, `[[mixture]]` with a name and the knobs of `MixtureConfig`.

    Raises:
      DataError: it cannot be read or is no TOML, or two mixtures have one name.
      ConfigError: a knob is unknown or of the wrong type.
    """
    out: dict[str, MixtureConfig] = {}
    for i, entry in enumerate(_parsed(path)[0].get('mixture', [])):
        name = entry.get('name')
        if not isinstance(name, str) or not name:
            raise errors.DataError(f'{path}: [[mixture]] number {i + 1} has no name; add name = "..."')
        if name in out:
            raise errors.DataError(f'{path}: a second mixture is named {name!r}; rename one of them')
        knobs = {key: value for key, value in entry.items() if key != 'name'}
        out[name] = config.resolve(knobs, MixtureConfig, path=f'{path}: [[mixture]] {name}: ')
    return out


def _parsed(path: str) -> tuple[dict[str, Any], str]:
    try:
        with open(path, 'rb') as file:
            text = file.read().decode('utf-8-sig')
        document = tomllib.loads(text)
    except OSError as e:
        raise errors.DataError(f'task file {path!r} cannot be read: {e.strerror}') from e
    except UnicodeDecodeError as e:
        raise errors.DataError(f'task file {path!r} is not UTF-8 (byte {e.start}); convert it') from e
    except tomllib.TOMLDecodeError as e:
        raise errors.DataError(f'task file {path!r} is no valid TOML: {e}') from e
    _check(document, {'task': _LIST, 'mixture': _LIST}, where=path)
    if not document:
        raise errors.DataError(f'{path}: no [[task]] in it')
    return document, text


def _check(values: Mapping[str, Any], known: Mapping[str, str], *, where: str) -> None:
    """Refuses unknown keys and values of the wrong kind."""
    for key, value in values.items():
        if key not in known:
            hint = errors.near(key, known) or f'; there are {", ".join(known)}'
            raise errors.DataError(f'{where}: unknown key {key!r}{hint}')
        if not _fits(value, known[key]):
            shown = json.dumps(value, default=str)
            double = f'; write [[{key}]] with double brackets' if known[key] == _LIST else ''
            raise errors.DataError(f'{where}: {key} = {shown:.80} is not {known[key]}{double}')


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case 'a text':
            return isinstance(value, str) and bool(value)
        case 'true or false':
            return isinstance(value, bool)
        case 'a list of texts':
            return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)
        case 'a text or a list of texts':
            return _fits(value, _TEXT) or _fits(value, _TEXTS)
        case 'a table of texts':
            return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
        case 'a table of file names':
            return isinstance(value, dict) and bool(value) and all(_fits(one, _EITHER) for one in value.values())
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


# ---------------------------------------------------------------------------------------------------------------- task


def _task(entry: Mapping[str, Any], *, folder: str, where: str) -> Task:
    _check(entry, _TASK_KEYS, where=where)
    for key in ('name', 'cluster', 'files'):
        if key not in entry:
            example = "files.train = 'rows.jsonl'" if key == 'files' else f"{key} = '...'"
            raise errors.DataError(f'{where}: {key} is missing; add {example}')
    if not re.fullmatch(r'\w[\w.-]*', entry['name']):
        raise errors.DataError(
            f'{where}: the name is also a folder; use letters, digits, _, - and . only, the first a letter or digit'
        )
    settings = {'cluster': entry['cluster'], 'source': _source(entry['files'], folder=folder, where=where)}
    settings |= {key: tuple(entry[key]) for key in ('metrics', 'texts_from') if key in entry}
    try:
        if 'adapter' in entry:
            for key in _NOT_WITH_ADAPTER:
                if key in entry:
                    raise errors.DataError(f'an adapter says all about the rows; remove {key}')
            return adapters.adapted(entry['name'], entry['adapter'], **settings)
        return _templated(entry, settings)
    except errors.FlanJaxError as e:
        raise errors.DataError(f'{where}: {e}') from e


def _source(files: Mapping[str, Any], *, folder: str, where: str) -> FileSource:
    """Patterns beside the task file; whether they match is asked when rows are read."""
    out = {}
    for split, names in files.items():
        if split not in SPLITS:
            raise errors.DataError(f'{where}: files.{split}: the splits are {", ".join(SPLITS)}')
        names = (names,) if isinstance(names, str) else names
        out[split] = tuple(name if os.path.isabs(name) else f'{glob.escape(folder)}/{name}' for name in names)
    cells = any(name.endswith(tuple(CELLS)) for names in out.values() for name in names)
    return FileSource(out, read_cells if cells else None)


def _templated(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> Task:
    options = entry.get('options')
    mode = entry.get('mode', 'generate' if options is None else 'rank')
    if mode not in ('rank', 'generate'):
        raise errors.DataError(f"mode = {mode!r} is neither 'rank' nor 'generate'")
    if mode == 'rank' and options is None:
        raise errors.DataError("mode = 'rank' needs options, a list of texts or a field such as '{choices}'")
    if ('answer' in entry) == ('answer_index' in entry):
        raise errors.DataError("give one of answer = '{field}' and answer_index = '{field}'")
    if 'answer_index' in entry and options is None:
        raise errors.DataError('answer_index is a place in the options; there are none')
    columns: dict[str, str] = {}
    reading = {
        'answer': _renamed(entry.get('answer') or entry['answer_index'], columns, kept=()),
        'by_index': 'answer_index' in entry,
        'labels': entry.get('labels'),
        'options': _one_field(options, 'options') if isinstance(options, str) else options,
        'references': _one_field(entry['references'], 'references') if 'references' in entry else None,
        'read': columns,
        'shown': (shown := {}),
    }
    if not entry.get('template'):
        raise errors.DataError('no template; add [[task.template]] with inputs (and targets)')
    phrasings = tuple(_template(one, shown, options=options is not None) for one in entry['template'])
    return Task(
        name=entry['name'],
        fields=functools.partial(_fields, reading),
        templates=phrasings,
        mode=mode,
        **{'metrics': ('accuracy',) if mode == 'rank' else ('exact_match',)} | settings,
    )


def _template(entry: Mapping[str, Any], shown: dict[str, str], *, options: bool) -> Template:
    where = f'[[task.template]] {entry.get("inputs", "")!r:.60}'
    _check(entry, _TEMPLATE_KEYS, where=where)
    if 'inputs' not in entry:
        raise errors.DataError(f"{where}: inputs is missing; add inputs = '...'")
    texts = {
        key: _renamed(entry[key], shown, kept=('answer', 'options')) for key in ('inputs', 'targets') if key in entry
    }
    named = templates.field_names(texts['inputs'])
    if 'options' in named | templates.field_names(texts.get('targets', '')) and not options:
        raise errors.DataError(f'{where}: names {{options}}, but the task has no options')
    if 'answer' in named and not entry.get('inverted'):
        raise errors.DataError(f'{where}: shows the answer; if it is turned around, add inverted = true')
    return Template(**{**entry, **texts})


def _renamed(pattern: str, columns: dict[str, str], *, kept: Sequence[str]) -> str:
    """A pattern whose fields are plain names, entered into `columns`: name -> path in the row.

    >>> columns = {}
    >>> _renamed('{meta.title} by {who}\\n{options}', columns, kept=('options',)), columns
    ('{meta__title} by {who}\\n{options}', {'meta__title': 'meta.title', 'who': 'who'})
    """
    out = []
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as e:
        raise errors.DataError(f'{pattern!r}: {e}; write {{{{ and }}}} for literal braces') from e
    for literal, path, form, conversion in parts:
        out.append(literal.replace('{', '{{').replace('}', '}}'))
        if path is None:
            continue
        if not path or form or conversion:
            raise errors.DataError(f'{pattern!r}: write {{field}} with nothing else, and {{{{ }}}} for literal braces')
        name = path if path in kept else _name(path)
        if path not in kept and columns.setdefault(name, path) != path:
            raise errors.DataError(f'{pattern!r}: {columns[name]!r} and {path!r} cannot both be used; rename a field')
        out.append(f'{{{name}}}')
    return ''.join(out)


def _name(path: str) -> str:
    """A plain name for a path."""
    name = re.sub(r'\W', '__', path)
    return name if name.isidentifier() and name not in _RESERVED else f'field_{name}'


def _one_field(pattern: str, key: str) -> str:
    """'{choices}' -> 'choices'."""
    found = re.fullmatch(r'\s*\{([^{}]+)\}\s*', pattern)
    if not found:
        raise errors.DataError(f"{key} = {pattern!r} must name one field that holds a list, such as '{{choices}}'")
    return found.group(1)


# ---------------------------------------------------------------------------------------------------------------- rows


def _fields(reading: Mapping[str, Any], row: Row) -> Fields | Drop:
    """A row's template fields; `reading` is plain values, so that a store's request sees every one of them.

    >>> reading = {'answer': '{label}', 'by_index': False, 'labels': {'0': 'no'}, 'options': ['yes', 'no'],
    ...            'references': None, 'read': {'label': 'label'}, 'shown': {'text': 'text'}}
    >>> _fields(reading, {'text': 'Is it?', 'label': 0, 'id': 7})
    {'text': 'Is it?', 'answer': 'no', 'options': ['yes', 'no']}
    """
    answer = templates.fill(reading['answer'], {name: _text(row, path) for name, path in reading['read'].items()})
    labels, options, references = reading['labels'], reading['options'], reading['references']
    if labels is not None:
        if answer not in labels:
            raise errors.DataError(
                f'the answer {answer!r} is not among the labels {", ".join(map(repr, labels))}; add it, with "" to '
                'leave such rows out' + errors.near(answer, labels)
            )
        answer = labels[answer]
    if not answer.strip():
        return Drop('no_answer')
    out: dict[str, Any] = {name: _text(row, path) for name, path in reading['shown'].items()} | {'answer': answer}
    if options is not None:
        out['options'] = _texts(row, options) if isinstance(options, str) else list(options)
    if reading['by_index']:
        if not re.fullmatch(r'\d+', answer) or int(answer) >= len(out['options']):
            raise errors.DataError(f'answer_index is {answer!r}, but there are {len(out["options"])} options, from 0')
        out['answer'] = out['options'][int(answer)]
    if references is not None:
        out['references'] = _texts(row, references)
    return out


def _value(row: Row, path: str) -> Any:
    """What stands at a path: a column of that name, or one part after the other.

    >>> _value({'meta': {'tags': ['a', 'b']}}, 'meta.tags.1')
    'b'
    """
    if path in row:
        return row[path]
    value: Any = row
    parts = path.split('.')
    for i, part in enumerate(parts):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif i == 0:
            raise KeyError(part)
        else:
            raise errors.DataError(f'the field {path!r} is not in the row: {".".join(parts[:i])} is {value!r:.80}')
    return value


def _text(row: Row, path: str) -> str:
    return _as_text(_value(row, path), path)


def _texts(row: Row, path: str) -> list[str]:
    value = _value(row, path)
    if not isinstance(value, list | tuple):
        raise errors.DataError(f'the field {path!r} is {value!r:.80}, not a list')
    return [_as_text(item, path) for item in value]


def _as_text(value: Any, path: str) -> str:
    """Null and NaN (how tables write a missing cell) are '', the items of a list have commas between.

    >>> _as_text(['a', 2, True], 'tags')
    'a, 2, true'
    """
    match value:
        case str():
            return value
        case None:
            return ''
        case float() if math.isnan(value):
            return ''
        case bool() | int() | float():
            return json.dumps(value)
        case bytes():
            raise errors.DataError(f'the field {path!r} holds bytes, not text')
        case list() | tuple():
            return ', '.join(_as_text(item, path) for item in value)
        case Mapping():
            raise errors.DataError(f'the field {path!r} holds {", ".join(map(str, value))}; name one: {{{path}.name}}')
    return str(value)  # a date, a decimal number


def read_cells(path: str, split: str) -> Iterator[Row]:
    """Rows of a CSV or TSV file with its columns' names in the first line; of other files as everywhere.

    Raises:
      DataError: a line has more or fewer cells than the first one, or the file is not UTF-8.
    """
    suffix = os.path.splitext(path)[1]
    if suffix not in CELLS:
        yield from (row for _, row in rows.read_file(pathlib.Path(path)) if row is not None)
        return
    csv.field_size_limit(_CELL_BYTES)
    try:
        yield from _cells(path, CELLS[suffix])
    except OSError as e:
        raise errors.DataError(f'{path} cannot be read: {e.strerror}') from e


def _cells(path: str, delimiter: str) -> Iterator[Row]:
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file, delimiter=delimiter, restkey='', strict=True)
        try:
            names = reader.fieldnames or []
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise errors.DataError(f'{path}:1: more than one column is named {", ".join(twice)}; rename them')
            for row in reader:
                if '' in row or None in row.values():
                    raise errors.DataError(
                        f'{path}:{reader.line_num}: not {len(reader.fieldnames)} cells, as the first line has'
                    )
                yield row
        except UnicodeDecodeError as e:
            raise errors.DataError(f'{path}: not UTF-8 ({e.reason}); convert the file to UTF-8') from e
        except csv.Error as e:
            raise errors.DataError(f'{path}:{reader.line_num}: {e}') from e
