"""Token stores: one directory per (task, fingerprint), an Arrow IPC file per split, read by memory map.

    <root>/<task>-<request>-<source>/
        info.json          what it was made from, counts, drops by reason
        train.arrow        tokens, spans, ...
        validation.arrow   the same and options, answer, meta

`request` hashes what was asked for (templates, format, tokenizer, lengths, code of the task), `source` the rows it was
made from. A directory is written under another name and renamed when it is whole.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flan_jax import errors

FORMAT_VERSION = 3  # raise it when the columns or their meaning change, or what is made of the same rows

_TRAIN = [
    ('tokens', pa.large_list(pa.int32())),  # all spans, one after the other
    ('spans', pa.large_list(pa.int32())),  # their lengths: context, supervised, context, supervised, ...
    ('supervised', pa.int32()),  # supervised tokens
    ('target', pa.int32()),  # tokens of the last span, the decoder's in an encoder-decoder
    ('template', pa.int16()),
    ('shots', pa.int16()),
    ('row_id', pa.int64()),
    ('trimmed', pa.int32()),  # tokens cut from the context's left
]
_EVALUATION = [
    ('option_tokens', pa.large_list(pa.int32())),  # all options, one after the other, each with EOS
    ('option_lengths', pa.large_list(pa.int32())),
    ('answer', pa.int32()),  # place of the right option, or -1
    ('meta', pa.large_string()),  # JSON: answer, options, references, fields
]
SCHEMAS = {'train': pa.schema(_TRAIN), 'evaluation': pa.schema(_TRAIN + _EVALUATION)}


def digest(value: Any) -> str:
    """12 hexadecimal digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split's columns as arrays over the mapped file; nothing is copied."""

    table: pa.Table
    tokens: np.ndarray  # int32[all tokens]
    token_starts: np.ndarray  # int64[examples + 1]
    spans: np.ndarray  # int32[all spans]
    span_starts: np.ndarray  # int64[examples + 1]

    def __len__(self) -> int:
        return len(self.token_starts) - 1

    def column(self, name: str) -> np.ndarray:
        """A number column."""
        return _chunk(self.table, name).to_numpy(zero_copy_only=True)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example."""
        return np.diff(self.token_starts)


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """A finished store."""

    path: str
    info: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return self.info['fingerprint']

    @property
    def task(self) -> str:
        return self.info['task']

    def split(self, name: str) -> Split:
        """Maps a split.

        Raises:
          DataError: the file is missing, cut off, or does not hold what info.json says.
        """
        path = pathlib.Path(self.path) / f'{name}.arrow'
        remedy = f'delete {self.path} and run prepare again'
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
        except (OSError, pa.ArrowInvalid) as e:
            raise errors.DataError(f'token store {path} cannot be read ({e}); {remedy}') from e
        expected = self.info['splits'][name]['examples']
        if table.num_rows != expected:
            raise errors.DataError(f'token store {path} has {table.num_rows} examples, not {expected}; {remedy}')
        tokens, token_starts = _ragged(table, 'tokens')
        spans, span_starts = _ragged(table, 'spans')
        if len(token_starts) and token_starts[-1] > len(tokens):
            raise errors.DataError(f'token store {path} is cut off; {remedy}')
        return Split(table, tokens, token_starts, spans, span_starts)


def _chunk(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _ragged(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    column = _chunk(table, name)
    starts = column.offsets.to_numpy()
    return column.values.to_numpy(zero_copy_only=len(column) > 0), starts if len(starts) else np.zeros(1, np.int64)


def open_store(path: str | os.PathLike) -> TokenStore:
    """A store directory.

    Raises:
      DataError: it is not whole, or of another format version.
    """
    info_path = pathlib.Path(path) / 'info.json'
    remedy = f'delete {path} and run prepare again'
    try:
        info = json.loads(info_path.read_text())
    except (OSError, ValueError) as e:
        raise errors.DataError(f'token store {path} has no readable info.json ({e}); {remedy}') from e
    if info['format_version'] != FORMAT_VERSION:
        raise errors.DataError(
            f'token store {path} has format version {info["format_version"]}, this code reads {FORMAT_VERSION}; '
            f'{remedy}'
        )
    return TokenStore(str(path), info)


def find(root: str, task: str, *, request: str, source: str | None) -> TokenStore | None:
    """The finished store of a request.

    Args:
      root: folder of stores.
      task: its name.
      request: digest of what was asked for.
      source: digest of the rows now; None if the rows cannot be seen from here, then the newest store counts.

    Raises:
      DataError: the store says of itself that it is another one.
    """
    if source is not None:
        paths = [pathlib.Path(root) / f'{task}-{request}-{source}']
    else:
        paths = sorted(pathlib.Path(root).glob(f'{task}-{request}-*'), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in paths:
        if path.name.endswith('.tmp') or not path.is_dir():
            continue
        store = open_store(path)
        if store.info['request'] != request or store.task != task:
            raise errors.DataError(
                f'token store {path} says it is {store.task}-{store.info["request"]}, not {task}-{request}; '
                'it was renamed or edited: delete it and run prepare again'
            )
        return store
    return None


def write(
    root: str,
    task: str,
    *,
    request: str,
    source: str,
    splits: Iterable[tuple[str, str, Iterable[Mapping], Mapping]],
    info: Mapping,
) -> TokenStore:
    """Writes a store whole or not at all.

    Args:
      root: folder of stores.
      task: its name.
      request: digest of what was asked for.
      source: digest of the rows.
      splits: (split, 'train' or 'evaluation', column dictionaries one batch each, what was counted).
      info: more for info.json.
    """
    final = pathlib.Path(root) / f'{task}-{request}-{source}'
    temporary = final.with_name(f'{final.name}.{os.getpid()}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        counts = {}
        for split, kind, batches, counted in splits:
            examples = _write_split(temporary / f'{split}.arrow', SCHEMAS[kind], batches=batches)
            counts[split] = {'kind': kind, **examples, **counted}
        fingerprint = digest([request, source, {split: c['content'] for split, c in counts.items()}])
        record = {
            'format_version': FORMAT_VERSION, 'task': task, 'request': request, 'source': source,
            'fingerprint': fingerprint, **info, 'splits': counts,
        }  # fmt: skip
        (temporary / 'info.json').write_text(json.dumps(record, indent=1))
        if final.exists():  # another process was faster, or the old one is damaged
            shutil.rmtree(final)
        os.rename(temporary, final)
    except OSError as e:
        raise errors.DataError(f'token store {final} could not be written: {e}; nothing was left behind') from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_store(final)


def _write_split(path: pathlib.Path, schema: pa.Schema, *, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One record batch a file, so that every column is one piece of memory."""
    tables = [pa.Table.from_pydict(_columns(batch, schema), schema=schema) for batch in batches]
    table = pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()
    with pa.OSFile(str(path), 'wb') as sink, pa.ipc.new_file(sink, schema) as writer:
        if table.num_rows:
            writer.write_table(table, max_chunksize=table.num_rows)
    tokens = _chunk(table, 'tokens')
    return {
        'examples': table.num_rows,
        'tokens': len(tokens.values),
        'supervised': int(np.sum(_chunk(table, 'supervised').to_numpy(), dtype=np.int64)),
        'content': hashlib.sha256(path.read_bytes()).hexdigest()[:12],
    }


def _columns(batch: Mapping[str, Any], schema: pa.Schema) -> dict[str, pa.Array]:
    """Ragged columns come as (values, starts), others as they are."""
    out = {}
    for field in schema:
        value = batch[field.name]
        if isinstance(value, tuple):
            values, starts = value
            out[field.name] = pa.LargeListArray.from_arrays(
                pa.array(np.asarray(starts, np.int64)), pa.array(np.asarray(values, np.int32))
            )
        else:
            out[field.name] = pa.array(value, field.type)
    return out


def options(split: Split, example: int) -> list[np.ndarray]:
    """The option ids of an evaluation example."""
    tokens, starts = _ragged(split.table, 'option_tokens')
    lengths, places = _ragged(split.table, 'option_lengths')
    sizes = lengths[places[example] : places[example + 1]]
    return np.split(tokens[starts[example] : starts[example + 1]], np.cumsum(sizes)[:-1]) if len(sizes) else []


def metas(split: Split, examples: Sequence[int]) -> list[dict[str, Any]]:
    """Answer, options, references and raw fields of evaluation examples."""
    column = _chunk(split.table, 'meta')
    return [json.loads(column[int(i)].as_py()) for i in examples]
