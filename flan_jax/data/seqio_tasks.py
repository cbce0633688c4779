"""Tasks as real `seqio.Task`s; with `tasks/`, the only place that may import SeqIO, and so TensorFlow.

    source           one {'row', 'row_id'} a source row, `row` being JSON
    encode_rows      rows -> examples in batches (render, tokenise, EOS, trim), in Python
    output           inputs, targets (int32[]), and what the token store keeps besides

`seqio.get_mixture_or_task(name).get_dataset(...)` gives any SeqIO consumer the same ids that a token store holds.
"""

import dataclasses
import json
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from flan_jax import errors
from flan_jax.data import formats
from flan_jax.data.formats import Example, Renderer
from flan_jax.data.task import Fields, GeneratedSource, LocalSource, Task, TfdsSource
from flan_jax.data.vocabulary import Vocabulary

ROWS_PER_CALL = 256  # rows handed to Python at once
EXEMPLAR_POOL = 1024  # training rows few-shot exemplars are drawn from
SCALARS = ('row_id', 'template', 'shots', 'trimmed', 'answer')
RAGGED = ('inputs', 'targets', 'spans', 'option_tokens', 'option_lengths')


class SeqioVocabulary(seqio.Vocabulary):
    """Our vocabulary in SeqIO's shape."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    @property
    def _base_vocab_size(self) -> int:
        return self.vocabulary.size

    @property
    def pad_id(self) -> int:
        return self.vocabulary.pad_id

    @property
    def eos_id(self) -> int:
        return self.vocabulary.eos_id

    @property
    def bos_id(self) -> int | None:
        return next(iter(self.vocabulary.prefix), None)

    @property
    def unk_id(self) -> int | None:
        return None

    def _encode(self, s: str) -> list[int]:
        return self.vocabulary.encode([s])[0]

    def _decode(self, ids) -> str:
        return self.vocabulary.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        ids = tf.numpy_function(lambda t: np.asarray(self._encode(t.decode()), np.int32), [s], tf.int32)
        return tf.ensure_shape(ids, [None])

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda t: self._decode(t).encode(), [ids], tf.string)

    def __eq__(self, other) -> bool:
        return isinstance(other, SeqioVocabulary) and self.vocabulary.fingerprint == other.vocabulary.fingerprint


@dataclasses.dataclass
class Account:
    """What happened to the rows of one pass; a failure keeps its own type here, TensorFlow would lose it."""

    rows: int = 0
    dropped: Counter = dataclasses.field(default_factory=Counter)
    failure: Exception | None = None


def local_file(task: Task, split: str, *, local_root: str | None) -> pathlib.Path | None:
    """The local rows of a split, if there."""
    path = pathlib.Path(local_root) / task.name / f'{split}.jsonl' if local_root else None
    return path if path and path.exists() else None


def place_of(task: Task, split: str, *, local_root: str | None) -> str:
    """How messages name a split: by its local file if there is one."""
    return str(local_file(task, split, local_root=local_root) or f'{task.name}/{split}')


def source_of(task: Task, *, local_root: str | None, tfds_dir: str | None) -> seqio.DataSource:
    """The task's rows: a local file set if there is one, else what the task names.

    Raises:
      DataError: the rows are only local and not there.
    """
    local = {split: local_file(task, split, local_root=local_root) for split in task.splits}
    if any(local.values()):
        return seqio.FunctionDataSource(
            lambda split, shuffle_files, seed=None: _read_lines(local[split]),
            splits=[split for split, path in local.items() if path],
        )
    match task.source:
        case GeneratedSource(row=row, sizes=sizes):
            return seqio.FunctionDataSource(
                lambda split, shuffle_files, seed=None: _generate(row, split, size=sizes[split]), splits=tuple(sizes)
            )
        case TfdsSource(name=name, splits=splits):
            return seqio.TfdsDataSource(tfds_name=name, splits=dict(splits), tfds_data_dir=tfds_dir)
        case LocalSource(reason=reason):
            raise errors.DataError(
                f'task {task.name!r} has no rows: {reason}; put them into '
                f'{local_root or "<data.local_root>"}/{task.name}/<split>.jsonl'
            )


def _read_lines(path: pathlib.Path) -> tf.data.Dataset:
    lines = tf.data.TextLineDataset(str(path)).enumerate()
    return lines.map(lambda i, line: {'row_id': i, 'row': line}).filter(lambda x: tf.strings.length(x['row']) > 0)


def _generate(row: Callable[[str, int], Mapping[str, Any]], split: str, *, size: int) -> tf.data.Dataset:
    def make(index: np.ndarray) -> np.ndarray:
        return np.array([json.dumps(row(split, int(i))) for i in index], object)

    batches = tf.data.Dataset.range(size).batch(ROWS_PER_CALL)
    rows = batches.map(lambda i: {'row_id': i, 'row': tf.ensure_shape(tf.numpy_function(make, [i], tf.string), [None])})
    return rows.unbatch()


def _to_json(task: Task) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """TFDS features -> {'row', 'row_id'}; rows that are so already pass."""

    def convert(dataset: tf.data.Dataset) -> tf.data.Dataset:
        spec = dataset.element_spec
        if set(spec) == {'row', 'row_id'}:
            return dataset

        def dump(*leaves) -> bytes:
            row = tf.nest.pack_sequence_as(spec, [_plain(leaf) for leaf in leaves])
            return json.dumps(dict(task.source.convert(row) if task.source.convert else row)).encode()

        def to_row(i: tf.Tensor, features: Mapping[str, Any]) -> dict[str, tf.Tensor]:
            row = tf.py_function(dump, tf.nest.flatten(features), tf.string)
            return {'row_id': i, 'row': tf.ensure_shape(row, [])}

        return dataset.enumerate().map(to_row)

    return convert


def _plain(leaf: Any) -> Any:
    """Tensor -> str, number, or (nested) list of them."""
    value = leaf.to_list() if isinstance(leaf, tf.RaggedTensor) else leaf.numpy()
    return _decoded(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return [_decoded(v) for v in value] if isinstance(value, list) else value


def parse_rows(
    task: Task, row_ids: np.ndarray, *, rows: np.ndarray, where: str, account: Account
) -> list[tuple[int, Fields]]:
    """JSON rows to template fields; rejected ones are counted."""
    out = []
    for row_id, row in zip(row_ids, rows):
        place = f'{where}:{int(row_id) + 1}'
        try:
            parsed = json.loads(row)
        except ValueError as e:
            raise errors.DataError(f'{place}: no valid JSON ({e}); every line must be one JSON object') from e
        if not isinstance(parsed, dict):
            raise errors.DataError(f'{place}: a {type(parsed).__name__}, not a JSON object')
        fields = formats.fields_of(task, parsed, where=place)
        account.rows += 1
        if fields is None:
            account.dropped['rejected'] += 1
        else:
            out.append((int(row_id), fields))
    return out


def encode_rows(renderer: Renderer, split: str, *, where: str, account: Account):
    """The preprocessor: batches of rows -> examples."""
    training = split == 'train'
    dtypes = [tf.int32] * (2 * len(RAGGED)) + [tf.int64] * len(SCALARS) + [tf.string]

    def encode(row_ids: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        try:
            fields = parse_rows(renderer.task, row_ids, rows=rows, where=where, account=account)
            make = renderer.train if training else renderer.evaluate
            return _arrays(make(fields, account.dropped))
        except Exception as e:
            account.failure = e
            raise

    def to_examples(batch: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        flat = tf.numpy_function(encode, [batch['row_id'], batch['row']], dtypes)
        out = {}
        for i, name in enumerate(RAGGED):
            values, lengths = (tf.ensure_shape(x, [None]) for x in flat[2 * i : 2 * i + 2])
            out[name] = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
        for name, column in zip((*SCALARS, 'meta'), flat[2 * len(RAGGED) :]):
            out[name] = tf.ensure_shape(column, [None])
        return out

    return lambda dataset: dataset.batch(ROWS_PER_CALL).map(to_examples).unbatch()


def _arrays(examples: list[Example]) -> list[np.ndarray]:
    spans = [[len(e.context), len(e.target)] for e in examples]
    options = [[i for option in e.options for i in option] for e in examples]
    option_lengths = [[len(option) for option in e.options] for e in examples]
    out = []
    for column in ([e.context for e in examples], [e.target for e in examples], spans, options, option_lengths):
        out.append(np.array([i for ids in column for i in ids], np.int32))
        out.append(np.array([len(ids) for ids in column], np.int32))
    out += [np.array([vars(e)[name] for e in examples], np.int64) for name in SCALARS]
    return [*out, np.array([e.meta.encode() for e in examples], object)]


def task_of(
    renderer: Renderer, split: str, *, source: seqio.DataSource, rows: int | None, account: Account, where: str
) -> seqio.Task:
    """A `seqio.Task` for one split (training and evaluation rows go through different templates); not registered."""
    vocabulary = SeqioVocabulary(renderer.vocabulary)
    feature = seqio.Feature(vocabulary, add_eos=False, required=False)
    limit = [lambda dataset: dataset.take(rows)] if rows is not None else []
    encode = encode_rows(renderer, split, where=where, account=account)
    return seqio.Task(
        f'{renderer.task.name}_{split}',
        source=source,
        output_features={'inputs': feature, 'targets': feature},
        preprocessors=[*limit, _to_json(renderer.task), encode],
    )


def fields_in(task: Task, source: seqio.DataSource, *, split: str, rows: int, where: str) -> list[tuple[int, Fields]]:
    """The first rows of a split as template fields."""
    dataset = _to_json(task)(source.get_dataset(split, shuffle=False).take(rows))
    out, account = [], Account()
    try:
        for batch in dataset.batch(ROWS_PER_CALL).as_numpy_iterator():
            out += parse_rows(task, batch['row_id'], rows=batch['row'], where=where, account=account)
    except tf.errors.OpError as e:
        raise errors.DataError(f'{where}: {_reason(e)}') from e
    return out


def _reason(error: tf.errors.OpError) -> str:
    """What the Python code said that TensorFlow ran, without its places in between."""
    places = r'^(\{\{.*?\}\}\s*|Error in user-defined function .*? with iterator: \S+: )*'
    return re.sub(places, '', error.message.split('\nTraceback')[0])


def columns(task: seqio.Task, split: str, *, account: Account) -> Iterator[dict[str, Any]]:
    """Runs a task and gives its examples as store columns, a thousand at a time.

    Raises:
      the failure that stopped the pipeline, with its own type.
    """
    iterator = iter(_examples(task, split).ragged_batch(1024))
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as e:
            raise account.failure or errors.DataError(f'task {task.name}: {_reason(e)}') from e
        yield _store_columns(batch)


@tf.autograph.experimental.do_not_convert
def _examples(task: seqio.Task, split: str) -> tf.data.Dataset:
    """The task's pipeline; nothing in it needs AutoGraph, whose conversion would take two seconds a task."""
    return task.get_dataset(split=split, sequence_length=None, shuffle=False, num_epochs=1)


def _store_columns(batch: Mapping[str, tf.Tensor | tf.RaggedTensor]) -> dict[str, Any]:
    ragged = {name: (batch[name].values.numpy(), batch[name].row_splits.numpy()) for name in RAGGED}
    joined = tf.concat([batch['inputs'], batch['targets']], axis=1)
    target = np.diff(ragged['targets'][1])
    return {
        'tokens': (joined.values.numpy(), joined.row_splits.numpy()),
        'spans': ragged['spans'],
        'supervised': target,
        'target': target,
        'option_tokens': ragged['option_tokens'],
        'option_lengths': ragged['option_lengths'],
        'meta': [m.decode() for m in batch['meta'].numpy()],
        **{name: batch[name].numpy() for name in SCALARS},
    }


def register(task: seqio.Task, name: str) -> None:
    """Puts a task into SeqIO's registry under `name`, so that `seqio.get_mixture_or_task` finds it."""
    seqio.TaskRegistry.add_provider(name, task.replace(name=name))  # a mixture looks rates up by the task's own name


def register_mixture(name: str, rates: Mapping[str, float]) -> None:
    """A `seqio.Mixture` of registered tasks with our rates."""
    seqio.MixtureRegistry.add(name, list(rates.items()))
