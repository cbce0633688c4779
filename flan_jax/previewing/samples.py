"""Samples: examples as a person looks at them, out of token stores or straight from rows."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from flan_jax import errors
from flan_jax.config import Config
from flan_jax.data import formats, making, request, rows, store
from flan_jax.data.encoding import Example
from flan_jax.data.formats import Shown, draw
from flan_jax.data.rows import Account, Place
from flan_jax.data.store import Split
from flan_jax.data.task import Fields, Row, Task, TfdsSource
from flan_jax.data.vocabulary import Vocabulary

NEAR_ROWS = 200  # stored samples come from a split's first rows, so that these are found again at once
ROWS_PER_SAMPLE = 50  # rows looked at for each sample, where rows are dropped


@dataclasses.dataclass(frozen=True)
class Piece:
    """Text of one kind.

    Attributes:
      text: what stands there.
      kind: read only, to be learned, or a special token.
      supervised: whether it is learned; a special token may be.
    """

    text: str
    kind: Literal['context', 'supervised', 'special']
    supervised: bool


@dataclasses.dataclass(frozen=True)
class Sample:
    """One example.

    Attributes:
      pieces: its text in order.
      template: the name of its template.
      row_id: which row of the split it was made from.
      shots: exemplars shown.
      trimmed: tokens cut from the left.
      tokens: in all; None if there was no vocabulary to count with.
      supervised: tokens that are learned.
      options: of an evaluation prompt.
      row: as the source has it; None if it is not at hand.
    """

    pieces: tuple[Piece, ...]
    template: str
    row_id: int
    shots: int = 0
    trimmed: int = 0
    tokens: int | None = None
    supervised: int | None = None
    options: tuple[str, ...] = ()
    row: Row | None = None


def pieces(spans: Sequence[Sequence[int]], vocabulary: Vocabulary) -> tuple[Piece, ...]:
    """Spans of ids, context and supervised in turn, as text; special tokens stand apart."""
    special = {*vocabulary.specials.values(), *vocabulary.end_ids}
    out = []
    for i, span in enumerate(spans):
        learned = i % 2 == 1
        for apart, ids in itertools.groupby(map(int, span), key=special.__contains__):
            for run in ([one] for one in ids) if apart else (list(ids),):
                kind = 'special' if apart else 'supervised' if learned else 'context'
                out.append(Piece(vocabulary.show(run), kind, learned))
    return tuple(out)


# ---------------------------------------------------------------------------------------------------------- from stores


def choose(split: Split, n: int, *, key: str, among: np.ndarray | None = None) -> list[int]:
    """Places of up to `n` stored examples of early rows, of different templates first.

    Args:
      split: of a token store.
      n: how many.
      key: what the draw depends on.
      among: places to choose from; None: all.
    """
    row_ids, template = split.column('row_id'), split.column('template')
    places = np.arange(len(row_ids)) if among is None else among
    early = places[row_ids[places] < NEAR_ROWS]
    order = sorted((early if len(early) else places[:NEAR_ROWS]).tolist(), key=lambda i: draw(1 << 62, key, i))
    nth: Counter = Counter()
    ranked = []
    for i in order:
        ranked.append((nth[template[i]], len(ranked), i))  # the first of every template, then the second
        nth[template[i]] += 1
    return [i for _, _, i in sorted(ranked)[:n]]


def stored(split: Split, chosen: Sequence[int], *, names: Sequence[str], vocabulary: Vocabulary) -> list[Sample]:
    """Stored examples, decoded; `row` stays None.

    Args:
      split: of a token store.
      chosen: places in it.
      names: of the task's templates.
      vocabulary: the store's.
    """
    columns = {name: split.column(name) for name in ('template', 'row_id', 'shots', 'trimmed', 'supervised')}
    evaluation = 'meta' in split.table.column_names
    metas = store.metas(split, chosen) if evaluation else [{'options': ()}] * len(chosen)
    out = []
    for i, meta in zip(chosen, metas, strict=True):
        tokens = split.tokens[split.token_starts[i] : split.token_starts[i + 1]]
        sizes = split.spans[split.span_starts[i] : split.span_starts[i + 1]]
        said = {name: int(column[i]) for name, column in columns.items()}
        out.append(
            Sample(
                pieces=pieces(np.split(tokens, np.cumsum(sizes)[:-1]), vocabulary),
                template=names[said['template']],
                row_id=said['row_id'],
                shots=said['shots'],
                trimmed=said['trimmed'],
                tokens=len(tokens),
                supervised=said['supervised'],
                options=tuple(meta['options']),
            )
        )
    return out


def with_rows(samples: Sequence[Sample], task: Task, *, split: str, place: Place) -> tuple[list[Sample], str | None]:
    """The samples with their source rows, or as they are and why there are none."""
    local = rows.local_files(task, split, local_root=place.local_root)
    if isinstance(task.source, TfdsSource) and not local:
        return list(samples), f'its rows are in TFDS ({task.source.name}), which this page does not read'
    wanted = {sample.row_id for sample in samples}
    try:
        read = itertools.takewhile(lambda one: one[0] <= max(wanted), rows.read(task, split, place=place))
        found = {number: row for number, _, row in read if number in wanted}
    except (errors.DataError, OSError) as e:
        return list(samples), f'its rows are not at hand: {e}'
    return [dataclasses.replace(sample, row=found.get(sample.row_id)) for sample in samples], None


# ------------------------------------------------------------------------------------------------------------ from rows


def rendered(
    config: Config, task: Task, *, split: str, n: int, template: str | None, vocabulary: Vocabulary | None
) -> tuple[list[Sample], Account]:
    """Samples of a split's first usable rows, one a row, made now.

    Args:
      config: format, limits, seed.
      task: whose rows are read.
      split: `train` gives training examples, others evaluation prompts.
      n: how many.
      template: the name of the one to show; None: as training draws them, or one after the other.
      vocabulary: None: text without tokens, nothing trimmed.

    Returns:
      (samples, what happened to the rows that were looked at).

    Raises:
      ConfigError: the task has no such split or template.
      DataError: a row cannot be used, or there are none.
    """
    names = [t.name for t in task.templates]
    if template is not None and template not in names:
        hint = errors.near(template, names) or f'; it has {", ".join(names)}'
        raise errors.ConfigError(f'task {task.name!r} has no template {template!r}{hint}')
    place = request.place(config.data)
    here = rows.splits(task, place=place)
    if split not in here:
        raise errors.ConfigError(f'task {task.name!r} has no split {split!r} here; it has {", ".join(here)}')
    renderer = dataclasses.replace(request.renderer(config, task), exemplars=making.exemplars(config, task))
    encoder = request.maker(config, task, vocabulary=vocabulary).encoder if vocabulary is not None else None
    account, out = Account(), []
    for number, where, row in itertools.islice(_read(task, split, place=place), ROWS_PER_SAMPLE * n):
        for row_id, fields in rows.checked(task, [(number, where, row)], account=account):
            chosen = names.index(template) if template is not None else None
            shown = _shown(renderer, row_id, fields=fields, template=chosen, split=split, turn=len(out))
            if encoder is None:
                out.append(_plain(shown, task, row=row, evaluation=split != 'train'))
                continue
            encode = encoder.train if split == 'train' else encoder.evaluate
            out += [
                _encoded(example, task, row=row, vocabulary=vocabulary) for example in encode([shown], account.dropped)
            ]
        if len(out) >= n:
            break
    return out, account


def _read(task: Task, split: str, *, place: Place) -> Iterator[tuple[int, str, Row]]:
    """Rows; what TFDS raises comes out as an error that says what to do."""
    try:
        yield from rows.read(task, split, place=place)
    except errors.FlanJaxError:
        raise
    except Exception as e:
        if not isinstance(task.source, TfdsSource):
            raise
        first = str(e).strip().partition('\n')[0]
        raise errors.DataError(
            f'task {task.name!r}: TFDS gives no rows of {task.source.name} ({type(e).__name__}: {first:.160}); put '
            f'them into {place.local_root or "<data.local_root>"}/{task.name}/{split}.jsonl'
        ) from e


def _shown(
    renderer: formats.Renderer, row_id: int, *, fields: Fields, template: int | None, split: str, turn: int
) -> Shown:
    training = split == 'train'
    if template is None and training:
        return renderer.train([(row_id, fields)])[0]
    if template is None and renderer.instructions(training=False) != 'natural':
        return renderer.evaluate([(row_id, fields)])[0]
    if template is None:
        straight = [i for i, t in enumerate(renderer.task.templates) if not t.inverted]
        template = straight[turn % len(straight)]
    shots = renderer.format.eval_shots if not training else 0
    return renderer.show(row_id, fields, template=template, shots=shots, training=training)


def _plain(shown: Shown, task: Task, *, row: Row, evaluation: bool) -> Sample:
    """Text as it will be tokenised; of a conversation its turns under their roles."""
    said: list[Piece] = []
    for message in shown.fields.get('messages', ()):
        learned = message['role'] == 'assistant' and message.get('weight', 1) != 0
        said.append(Piece(f'{message["role"]}: ', 'context', False))
        said.append(Piece(message['content'], 'supervised' if learned else 'context', learned))
        said.append(Piece('\n', 'context', False))
    said = said[:-1]
    if not said:
        said = [Piece(shown.context, 'context', False), Piece(shown.target, 'supervised', True)]
    options = tuple(map(str, shown.fields.get('options', ()))) if evaluation else ()
    return Sample(tuple(said), task.templates[shown.template].name, shown.row_id, shown.shots, options=options, row=row)


def _encoded(example: Example, task: Task, *, row: Row, vocabulary: Vocabulary) -> Sample:
    return Sample(
        pieces=pieces(example.spans, vocabulary),
        template=task.templates[example.template].name,
        row_id=example.row_id,
        shots=example.shots,
        trimmed=example.trimmed,
        tokens=sum(map(len, example.spans)),
        supervised=sum(map(len, example.spans[1::2])),
        options=tuple(vocabulary.decode(ids) for ids in example.options),
        row=row,
    )
