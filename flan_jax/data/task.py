"""Tasks as plain values: where rows come from, how they are phrased, how answers are judged.

A task says everything about a data set and does nothing: `seqio_tasks` turns it into a `seqio.Task`, `prepare` runs
that, and the training side reads only the names, clusters and fingerprints. So this module must stay free of
TensorFlow and cheap to import.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from flan_jax import errors
from flan_jax.data import templates as templates_lib
from flan_jax.data.templates import Template

Row = Mapping[str, Any]  # one row of the source, JSON-like
Fields = Mapping[str, Any]  # what templates see: strings, plus the reserved lists named in `Task`

# The one template of tasks whose rows are whole conversations (`messages` in their fields): shown by the chat format.
CONVERSATION = Template('{messages}', '{answer}', name='conversation')


@dataclasses.dataclass(frozen=True)
class Drop:
    """What `fields` returns for a row that cannot be used; counted under its reason."""

    reason: str = 'rejected'


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """A TensorFlow Datasets set.

    Attributes:
      name: `set/config:version` as `tfds.load` takes it; give the version so that the rows cannot change unnoticed.
      splits: our split -> TFDS split expression.
      convert: TFDS row -> row in the task's own field names; None if they are alike.
    """

    name: str
    splits: Mapping[str, str]
    convert: Callable[[Row], Row] | None = None


@dataclasses.dataclass(frozen=True)
class GeneratedSource:
    """Rows made by code.

    Attributes:
      row: (split, index) -> row; a pure function, so that any row can be made again by itself.
      sizes: rows in each split.
    """

    row: Callable[[str, int], Row]
    sizes: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class LocalSource:
    """Rows that only a local file can give (`<data.local_root>/<task>/<split>.jsonl`).

    Attributes:
      reason: why there is no loader (never in TFDS, left it, private), as the listing shows it.
      splits: the splits the file set has.
    """

    reason: str
    splits: Sequence[str] = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Rows in files of one's own.

    Attributes:
      files: our split -> paths or glob patterns: JSON lines, JSON, Parquet.
      read: (path, split) -> rows, for files of another make; None: by the file's suffix, see `data.rows`.
    """

    files: Mapping[str, tuple[str, ...]]
    read: Callable[[str, str], Iterable[Row]] | None = None


Source = TfdsSource | GeneratedSource | LocalSource | FileSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One data set with its templates and metrics.

    Attributes:
      name: unique name, also the local folder's.
      cluster: tasks of one kind; the unit that is held out.
      source: where rows come from.
      fields: row -> template fields, or None or `Drop(reason)` to leave the row out (counted). Strings, and the
        reserved keys `answer` (the target's text), `options` (a list that holds `answer`; makes the task rankable),
        `references` (a list of accepted answers; by default `[answer]`), `messages` (a conversation, see
        `data.conversations`; its last message is the answer) and `tools` (their definitions, JSON-like). A missing key
        is reported with file and row.
      templates: the phrasings, straight ones first.
      expand: the rows of a split -> the rows `fields` sees, for sources where one is not the other (message trees,
        articles with many questions); None if they are alike. Rows are numbered after it.
      mode: how it is scored: `rank` the options by likelihood, or `generate` and compare.
      metrics: names of `evaluation.metrics`; the first one is the task's score.
      texts_from: names of the corpora its text comes from. Tasks that share one are held out together.
    """

    name: str
    cluster: str
    source: Source
    fields: Callable[[Row], Fields | Drop | None]
    templates: tuple[Template, ...]
    expand: Callable[[Iterable[Row]], Iterable[Row]] | None = None
    mode: Literal['rank', 'generate'] = 'generate'
    metrics: tuple[str, ...] = ('exact_match',)
    texts_from: tuple[str, ...] = ()

    def __post_init__(self):
        if not any(not t.inverted for t in self.templates):
            raise errors.DataError(f'task {self.name!r} has no straight template, so it cannot be scored')
        named = tuple(t if t.name else dataclasses.replace(t, name=f't{i:02d}') for i, t in enumerate(self.templates))
        if len({t.name for t in named}) < len(named):
            raise errors.DataError(f'task {self.name!r} has two templates of one name')
        for t in named:  # unbalanced braces fail here, not in a worker
            templates_lib.field_names(t.inputs), templates_lib.field_names(t.targets)
        object.__setattr__(self, 'templates', named)

    @functools.cached_property
    def read_fields(self) -> frozenset[str]:
        """The fields whose values reach an example."""
        named = (templates_lib.field_names(t.inputs) | templates_lib.field_names(t.targets) for t in self.templates)
        return frozenset({'answer'}).union(*named)

    @property
    def splits(self) -> tuple[str, ...]:
        match self.source:
            case TfdsSource(splits=splits) | LocalSource(splits=splits):
                return tuple(splits)
            case GeneratedSource(sizes=sizes):
                return tuple(sizes)
            case FileSource(files=files):
                return tuple(files)


def index(tasks: Sequence[Task]) -> dict[str, Task]:
    """Tasks by name.

    Raises:
      DataError: two tasks have one name.
    """
    by_name: dict[str, Task] = {}
    for task in tasks:
        if task.name in by_name:
            raise errors.DataError(f'two tasks are named {task.name!r}; rename one of them')
        by_name[task.name] = task
    return by_name
