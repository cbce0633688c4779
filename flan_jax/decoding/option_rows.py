"""Rows of prompts with their options as branches.

Prompts and options are packed into rows as trees: the options of a prompt are branches that see the prompt and
themselves (`attention.branched`).

    row        p p p a a b b b | p p c d d
    segments   1 1 1 1 1 1 1 1 | 2 2 2 2 2
    branches   0 0 0 1 1 2 2 2 | 0 0 1 2 2
    positions  0 1 2 3 4 3 4 5 | 0 1 2 2 3

The last prompt token predicts the first token of every option; an option's own last token (EOS) is predicted, not
read. An encoder-decoder reads prompts on one side; on the other each option is a branch that begins with the start id.
Of prompts whose beginning is read elsewhere only the rest is written; its positions go on from there.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from flan_jax.decoding.beginnings import Ids

CHUNK = 1024  # positions of a group whose logits exist at once
WIDTH = 256  # tokens of a row at least: several short prompts fill one better than each a row of its own


@dataclasses.dataclass(frozen=True)
class Request:
    """One prompt and its options, as ids; options end with EOS."""

    prompt: Ids
    options: tuple[Ids, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How requests lie in rows.

    Attributes:
      groups: of rows, one for each device a batch is split over.
      encoder_decoder: whether prompts have a side of their own.
      batch_tokens: tokens of a batch, at most (but at least a row for each group).
      skip: tokens of each prompt that are read elsewhere.
    """

    groups: int
    encoder_decoder: bool
    batch_tokens: int
    skip: int = 0

    def need(self, request: Request) -> tuple[int, ...]:
        """Tokens a request takes on each side of a row."""
        options = sum(len(option) for option in request.options)
        if self.encoder_decoder:
            return len(request.prompt), options
        return (len(request.prompt) - self.skip + options - len(request.options),)


def bucket(n: int, smallest: int = 64) -> int:
    """`n` rounded up to a power of two or one and a half of it, so that few shapes are compiled.

    >>> [bucket(n) for n in (3, 65, 97, 200)]
    [64, 96, 128, 256]
    """
    size = smallest
    while size < n:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def batches(requests: Sequence[Request], places: Sequence[int], *, layout: Layout) -> Iterator['OptionRows']:
    """The requests at these places, like lengths together, in batches of static shapes."""
    order = sorted(places, key=lambda i: -layout.need(requests[i])[0])
    while order:
        batch = _empty([requests[i] for i in order], layout)
        left = []
        for at, i in enumerate(order):
            if not batch.add(i, requests[i]):
                left.append(i)
            if batch.full or len(left) > 64:
                left += order[at + 1 :]
                break
        order = left
        yield batch.finished()


def _empty(requests: Sequence[Request], layout: Layout) -> 'OptionRows':
    """Rows of the bucket of the longest of the next requests; of the last ones no more than they fill."""
    needs = np.array([layout.need(request) for request in requests])
    longest, all_ = needs[:4096].max(axis=0), needs.sum(axis=0)
    most, widths = layout.batch_tokens // layout.groups, [bucket(int(n)) for n in longest]
    wide = min(WIDTH, bucket(-(-int(all_.sum()) // layout.groups)))
    if sum(widths) < wide <= most:
        widths = [width * wide // sum(widths) for width in widths]
    # First fit leaves gaps: an eighth more than the tokens take.
    wanted = max(-(-int(n) * 9 // (8 * width * layout.groups)) for n, width in zip(all_, widths))
    rows = max(min(most // sum(widths), wanted if wanted < 3 else bucket(wanted, smallest=2)), 1)
    return OptionRows(rows * layout.groups, layout, widths=tuple(widths))


class OptionRows:
    """A batch being filled.

    Attributes:
      arrays: tokens, segments, positions, branches, int32[rows T] each; `encoder_` and the first three of them for an
        encoder's side; after `finished`, supervised and labels, int32[groups M].
      requests: places of the requests in it.
      owners: (group, m, request, option) of each supervised position.
    """

    def __init__(self, rows: int, layout: Layout, *, widths: tuple[int, ...]):
        self.rows, self.layout, self.widths = rows, layout, widths
        self.arrays = {
            name: np.zeros((rows, widths[-1]), np.int32) for name in ('tokens', 'segments', 'positions', 'branches')
        }
        if layout.encoder_decoder:
            for name in ('tokens', 'segments', 'positions'):
                self.arrays[f'encoder_{name}'] = np.zeros((rows, widths[0]), np.int32)
        self.used = np.zeros((rows, len(widths)), np.int64)
        self.segments = np.zeros(rows, np.int64)
        self.marks: list[list[tuple[int, int, int, int]]] = [[] for _ in range(layout.groups)]
        self.requests: list[int] = []
        self.owners: list[tuple[int, int, int, int]] = []
        self.full = False

    def add(self, index: int, request: Request) -> bool:
        """Puts a request into the first row with room for it."""
        need = np.array(self.layout.need(request))
        fits = np.all(self.used + need <= np.array(self.widths), axis=1)
        if not fits.any():
            self.full = not np.any(np.all(self.used + 16 <= np.array(self.widths), axis=1))
            return False
        row = int(np.argmax(fits))
        self.segments[row] += 1
        put = self._put_encoder_decoder if self.layout.encoder_decoder else self._put_decoder
        put(row, index, request=request)
        self.used[row] += need
        self.requests.append(index)
        return True

    def _put_decoder(self, row: int, index: int, *, request: Request) -> None:
        at, skip, prompt = int(self.used[row, 0]), self.layout.skip, len(request.prompt)
        self._write('', row, at=at, tokens=request.prompt[skip:], first=skip, branch=0)
        last = at + prompt - skip - 1
        place = last + 1
        for k, option in enumerate(request.options):
            self._write('', row, at=place, tokens=option[:-1], first=prompt, branch=k + 1)
            self._mark(row, [last, *range(place, place + len(option) - 1)], option=option, index=index, k=k)
            place += len(option) - 1

    def _put_encoder_decoder(self, row: int, index: int, *, request: Request) -> None:
        self._write('encoder_', row, at=int(self.used[row, 0]), tokens=request.prompt, first=0, branch=0)
        place = int(self.used[row, 1])
        for k, option in enumerate(request.options):
            self._write('', row, at=place, tokens=[0, *option[:-1]], first=0, branch=k + 1)
            self._mark(row, range(place, place + len(option)), option=option, index=index, k=k)
            place += len(option)

    def _write(self, side: str, row: int, *, at: int, tokens: Ids, first: int, branch: int) -> None:
        cut = slice(at, at + len(tokens))
        self.arrays[f'{side}tokens'][row, cut] = tokens
        self.arrays[f'{side}segments'][row, cut] = self.segments[row]
        self.arrays[f'{side}positions'][row, cut] = np.arange(first, first + len(tokens))
        if not side:
            self.arrays['branches'][row, cut] = branch

    def _mark(self, row: int, predictors: Sequence[int], *, option: Ids, index: int, k: int) -> None:
        group, inside = divmod(row, self.rows // self.layout.groups)
        base = inside * self.widths[-1]
        self.marks[group] += [(base + at, int(label), index, k) for at, label in zip(predictors, option)]

    def finished(self) -> 'OptionRows':
        """Adds the arrays of positions to predict at, and who each belongs to."""
        most = bucket(max(len(mark) for mark in self.marks), smallest=256)
        most = -(-most // CHUNK) * CHUNK if most > CHUNK else most
        for name in ('supervised', 'labels'):
            self.arrays[name] = np.zeros((self.layout.groups, most), np.int32)
        for group, marks in enumerate(self.marks):
            for m, (at, label, request, option) in enumerate(marks):
                self.arrays['supervised'][group, m] = at
                self.arrays['labels'][group, m] = label
                self.owners.append((group, m, request, option))
        return self
