"""Rows: what a task's source holds, one JSON-like mapping after the other, without TensorFlow unless TFDS is asked.

A split's rows come from the first of these that is there:

    <local_root>/<task>/<split>.jsonl     one JSON object a line; also .json (a list of objects), .parquet
    <local_root>/<task>/<split>/*         the same, in several files
    <local_root>/<task>/<split>-*         shards, as Hugging Face data directories name them, also under data/
    the task's own source                 TFDS, code, files

A row's number is its place in the split, blank lines and rows that cannot be used counted too.
"""

import dataclasses
import glob
import itertools
import json
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flan_jax import errors
from flan_jax.data import formats
from flan_jax.data.task import Drop, Fields, FileSource, GeneratedSource, LocalSource, Row, Task, TfdsSource

SUFFIXES = ('.jsonl', '.json', '.parquet')
PARQUET_ROWS = 4096  # read at once
_SURROGATE = re.compile(rb'\\u[dD][89a-fA-F]')  # an escaped half of a character


@dataclasses.dataclass
class Account:
    """What happened to the rows of one pass; a failure keeps its own type here, TensorFlow would lose it."""

    rows: int = 0
    dropped: Counter = dataclasses.field(default_factory=Counter)
    failure: Exception | None = None


@dataclasses.dataclass(frozen=True)
class Place:
    """Where rows are looked for; see `config.DataConfig`."""

    local_root: str | None = None
    tfds_dir: str | None = None


def local_files(task: Task, split: str, *, local_root: str | None) -> list[pathlib.Path]:
    """The files of a split under the local root, in order; none if there are none.

    Raises:
      DataError: the same split lies there in more than one form.
    """
    folder = pathlib.Path(local_root) / task.name if local_root else None
    if folder is None or not folder.is_dir():
        return []
    forms = [[path] for suffix in SUFFIXES if (path := folder / f'{split}{suffix}').exists()]
    for pattern in (f'{split}/*', f'{split}-*', f'data/{split}-*', f'data/{split}.*'):
        found = sorted(path for path in folder.glob(pattern) if path.suffix in SUFFIXES)
        forms += [found] if found else []
    if len(forms) > 1:
        raise errors.DataError(
            f'{folder} holds split {split!r} more than once: {", ".join(str(form[0]) for form in forms)}; keep one'
        )
    return forms[0] if forms else []


def splits(task: Task, *, place: Place) -> tuple[str, ...]:
    """The splits of a task that can be read.

    Raises:
      DataError: the task has no rows here.
    """
    local = tuple(s for s in task.splits if local_files(task, s, local_root=place.local_root))
    if local:
        return local
    if place.local_root is not None and (odd := _others(pathlib.Path(place.local_root) / task.name)):
        raise errors.DataError(
            f'{place.local_root}/{task.name} has {", ".join(odd)}, but no rows of a split '
            f'({", ".join(task.splits)}; {", ".join(SUFFIXES)}): rename the files, or remove the folder to do without'
        )
    if isinstance(task.source, LocalSource):
        raise errors.DataError(
            f'task {task.name!r} has no rows: {task.source.reason}; put them into '
            f'{place.local_root or "<data.local_root>"}/{task.name}/<split>.jsonl'
        )
    return task.splits


def _others(folder: pathlib.Path) -> list[str]:
    """What lies in a folder that holds no split, the first few of it."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != '.')[:5] if folder.is_dir() else []


def where(task: Task, split: str, *, place: Place) -> str:
    """How messages name a split: by its local file if there is one."""
    files = local_files(task, split, local_root=place.local_root)
    if not files and isinstance(task.source, FileSource):
        files = source_files(task, split)
    return str(files[0]) if files else f'{task.name}/{split}'


def read(task: Task, split: str, *, place: Place) -> Iterator[tuple[int, str, Row]]:
    """(number, how messages call it, row) of a split, `task.expand` applied.

    Raises:
      DataError: a file is missing, of the wrong encoding, or holds no JSON object at some line; all by name.
    """
    rows = _source_rows(task, split, place=place)
    if task.expand is None:
        return rows
    name = where(task, split, place=place)
    of_file: list[errors.DataError] = []  # what a file's own reader says names the place already

    def given() -> Iterator[Row]:
        try:
            yield from (row for _, _, row in rows)
        except errors.DataError as e:
            of_file.append(e)
            raise

    def expanded() -> Iterator[tuple[int, str, Row]]:
        try:
            for i, row in enumerate(task.expand(given())):
                yield i, f'{name} (row {i})', row
        except KeyError as e:
            raise errors.DataError(f'{name}: task {task.name!r} needs the field {e.args[0]!r} in every row') from e
        except errors.DataError as e:
            if e in of_file:
                raise
            raise errors.DataError(f'{name}: task {task.name!r}: {e}') from e
        except Exception as e:
            raise errors.DataError(
                f'{name}: task {task.name!r} cannot regroup these rows: {type(e).__name__}: {e}'
            ) from e

    return expanded()


def checked(task: Task, numbered: Iterable[tuple[int, str, Row]], *, account: Account) -> Iterator[tuple[int, Fields]]:
    """Template fields of some rows; those that cannot be used are counted in `account`."""
    for number, name, row in numbered:
        found = formats.fields_of(task, row, where=name)
        account.rows += 1
        if isinstance(found, Drop):
            account.dropped[found.reason] += 1
        else:
            yield number, found


def fields(
    task: Task, split: str, *, place: Place, account: Account, limit: int | None = None
) -> Iterator[tuple[int, Fields]]:
    """Template fields of a split's first `limit` rows."""
    return checked(task, itertools.islice(read(task, split, place=place), limit), account=account)


def texts(task: Task, split: str, *, place: Place, limit: int | None = None) -> Iterator[tuple[int, str]]:
    """(row number, the row's own text) for what compares data sets: no template, no roles, every string once."""
    for number, found in fields(task, split, place=place, account=Account(), limit=limit):
        told = {**found, 'messages': [message['content'] for message in found.get('messages', ())]}
        yield number, '\n'.join(dict.fromkeys(_strings(told)))


def _strings(value) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from itertools.chain.from_iterable(_strings(inner) for inner in value.values())
        case list() | tuple():
            yield from itertools.chain.from_iterable(map(_strings, value))


def _source_rows(task: Task, split: str, *, place: Place) -> Iterator[tuple[int, str, Row]]:
    files = local_files(task, split, local_root=place.local_root)
    if files:
        return _numbered(itertools.chain.from_iterable(map(read_file, files)))
    match task.source:
        case GeneratedSource(row=row, sizes=sizes):
            return _generated(task, split, row=row, size=sizes[split])
        case FileSource(read=reader):
            paths = source_files(task, split)
            if reader is None:
                return _numbered(itertools.chain.from_iterable(map(read_file, paths)))
            return _numbered((f'{p} (row {i})', row) for p in paths for i, row in enumerate(reader(str(p), split)))
        case TfdsSource():
            try:
                from flan_jax.data import seqio_tasks  # imports TensorFlow
            except ModuleNotFoundError as e:
                raise errors.DataError(
                    f'task {task.name!r} is read from TensorFlow Datasets, which needs the package {e.name}; install '
                    f'flan_jax[prepare], or put its rows into <data.local_root>/{task.name}/{split}.jsonl'
                ) from e
            return seqio_tasks.tfds_rows(task, split, tfds_dir=place.tfds_dir)
    splits(task, place=place)  # says what is missing
    raise errors.DataError(f'task {task.name!r} has no split {split!r} here')


def _generated(task: Task, split: str, *, row: Callable[[str, int], Row], size: int) -> Iterator[tuple[int, str, Row]]:
    for i in range(size):
        name = f'{task.name}/{split}:{i + 1}'
        try:
            yield i, name, row(split, i)
        except Exception as e:
            raise errors.DataError(f'{name}: task {task.name!r} cannot make this row: {type(e).__name__}: {e}') from e


def _numbered(rows: Iterable[tuple[str, Row | None]]) -> Iterator[tuple[int, str, Row]]:
    return ((i, name, row) for i, (name, row) in enumerate(rows) if row is not None)


def source_files(task: Task, split: str) -> list[pathlib.Path]:
    """The files of a `FileSource`'s split, in order.

    Raises:
      DataError: a pattern matches none.
    """
    out = []
    for pattern in task.source.files[split]:
        found = sorted(glob.glob(pattern))
        if not found:
            raise errors.DataError(f'task {task.name!r}, split {split!r}: no file matches {pattern!r}')
        out += [pathlib.Path(path) for path in found]
    return out


def read_file(path: pathlib.Path) -> Iterator[tuple[str, Row | None]]:
    """(place, row) of a JSON lines, JSON or Parquet file; None for a blank line.

    Raises:
      DataError: with file and line.
    """
    match path.suffix:
        case '.parquet':
            yield from _parquet(path)
        case '.json':
            yield from _json_list(path)
        case _:
            yield from _json_lines(path)


def _json_lines(path: pathlib.Path) -> Iterator[tuple[str, Row | None]]:
    try:
        with open(path, 'rb') as file:
            for number, line in enumerate(file, start=1):
                name = f'{path}:{number}'
                yield name, _parsed(line, name) if line.strip() else None
    except OSError as e:
        raise errors.DataError(f'{path} cannot be read: {e.strerror}') from e


def _parsed(line: bytes, name: str) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as e:
        raise errors.DataError(f'{name}: not UTF-8 ({e.reason} at byte {e.start}); convert the file to UTF-8') from e
    except json.JSONDecodeError as e:  # without its own line number, which is not the file's
        said = f'{name}: no valid JSON ({e.msg} at character {e.pos + 1})'
        raise errors.DataError(f'{said}; every line must be one JSON object') from e
    except ValueError as e:
        raise errors.DataError(f'{name}: {e}; every line must be one JSON object') from e
    except RecursionError as e:
        raise errors.DataError(f'{name}: lists or objects nested too deeply to be read') from e
    return _checked(row, name, escaped=_SURROGATE.search(line) is not None)


def _checked(row: Any, name: str, *, escaped: bool) -> Row:
    """A JSON object whose text can be written as UTF-8; only an escape can put half a character into JSON."""
    if not isinstance(row, dict):
        raise errors.DataError(f'{name}: a {type(row).__name__}, not a JSON object')
    if escaped:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as e:
            half = ascii(e.object[e.start])
            raise errors.DataError(f'{name}: holds {half}, half of a character (a cut emoji?); take it out') from e
    return row


def _json_list(path: pathlib.Path) -> Iterator[tuple[str, Row | None]]:
    """A list of objects, or an object with one list of them under whatever name."""
    try:
        content = path.read_bytes()
        value = json.loads(content)
    except OSError as e:
        raise errors.DataError(f'{path} cannot be read: {e.strerror}') from e
    except UnicodeDecodeError as e:
        raise errors.DataError(f'{path}: not UTF-8 ({e.reason} at byte {e.start}); convert the file to UTF-8') from e
    except ValueError as e:
        raise errors.DataError(
            f'{path}: no valid JSON ({e}); a .json file holds one list of objects, JSON lines belong into .jsonl'
        ) from e
    except RecursionError as e:
        raise errors.DataError(f'{path}: lists or objects nested too deeply to be read') from e
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        if len(lists) != 1:
            raise errors.DataError(f'{path}: {len(lists)} lists of objects in it; it must hold one')
        value = lists[0]
    if not isinstance(value, list):
        raise errors.DataError(f'{path}: a {type(value).__name__}, not a list of objects')
    escaped = _SURROGATE.search(content) is not None
    for i, row in enumerate(value):
        name = f'{path} (entry {i})'
        yield name, _checked(row, name, escaped=escaped)


def _parquet(path: pathlib.Path) -> Iterator[tuple[str, Row | None]]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        start = 0
        for batch in file.iter_batches(PARQUET_ROWS):
            for i, row in enumerate(batch.to_pylist(), start=start):
                yield f'{path} (row {i})', row
            start += batch.num_rows
    except (OSError, pa.ArrowInvalid) as e:
        raise errors.DataError(f'{path} cannot be read as Parquet: {e}') from e
    except UnicodeDecodeError as e:
        raise errors.DataError(
            f'{path}: a text from row {start} on is not UTF-8 ({e.reason} in {e.object[:40]!r})'
        ) from e
