"""Formats: how a row becomes spans of tokens. Pure functions of (row, seed), so any process makes the same bytes."""

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import FormatConfig
from flan_jax.data import templates as templates_lib
from flan_jax.data.task import Fields, Row, Task
from flan_jax.data.templates import Template
from flan_jax.data.vocabulary import Vocabulary


def draw(n: int, *key: object) -> int:
    """A number in [0, n) that depends on `key` alone: no state, no order, no process.

    >>> draw(10, 0, 'mnli', 7) == draw(10, 0, 'mnli', 7)
    True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little') % n


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Limits in tokens; see `config.DataConfig`."""

    inputs: int
    targets: int


@dataclasses.dataclass(frozen=True)
class Example:
    """One example as token spans.

    Attributes:
      context: ids before the target, the exemplars among them.
      target: supervised ids, EOS the last.
      row_id: which source row.
      template: place of the template in the task.
      shots: exemplars shown.
      trimmed: tokens cut from the context's left.
      options: ids of every option with EOS, for evaluation; empty for tasks without.
      answer: place of the right option, or -1.
      meta: references and raw fields as JSON, for evaluation; '' in training.
    """

    context: list[int]
    target: list[int]
    row_id: int
    template: int
    shots: int
    trimmed: int = 0
    options: tuple[list[int], ...] = ()
    answer: int = -1
    meta: str = ''


@dataclasses.dataclass(frozen=True)
class Renderer:
    """Rows of one task to examples.

    Attributes:
      exemplars: (row_id, fields) of training rows, the pool of few-shot examples.
      decoder_only: whether context and target share a row, divided by the format's separator.
      template_draws: templates a training row goes through.
      held_out: how many of the last straight templates training never sees.
    """

    task: Task
    format: FormatConfig
    lengths: Lengths
    vocabulary: Vocabulary
    seed: int
    decoder_only: bool
    template_draws: int = 1
    held_out: int = 0
    exemplars: Sequence[tuple[int, Fields]] = ()

    def training_templates(self) -> list[int]:
        """Places of the templates training may use: all but the last `held_out` straight ones."""
        held_out = held_out_templates(self.task, self.held_out)
        return [i for i in range(len(self.task.templates)) if i not in held_out]

    def train(self, rows: Sequence[tuple[int, Fields]], dropped: Counter) -> list[Example]:
        """Training examples of some rows: each through `template_draws` different templates drawn by the seed."""
        allowed = self.training_templates()
        draws = min(self.template_draws, len(allowed))
        jobs = []
        for row_id, fields in rows:
            start = draw(len(allowed), self.seed, self.task.name, row_id, 'template')
            for i in range(draws):
                template = allowed[(start + i) % len(allowed)]
                few = draw(1 << 20, self.seed, self.task.name, row_id, template, 'few') < (
                    self.format.few_shot_share * (1 << 20)
                )
                jobs.append((row_id, fields, template, self.format.shots if few else 0))
        return self._encode(jobs, dropped, training=True)

    def evaluate(self, rows: Sequence[tuple[int, Fields]], dropped: Counter) -> list[Example]:
        """Evaluation prompts of some rows: each through every straight template."""
        straight = [i for i, t in enumerate(self.task.templates) if not t.inverted]
        jobs = [(row_id, fields, i, self.format.eval_shots) for row_id, fields in rows for i in straight]
        return self._encode(jobs, dropped, training=False)

    def text(self, row_id: int, fields: Fields, *, template: int, shots: int, training: bool) -> tuple[str, str]:
        """Context and target of one row as text."""
        return self._render(row_id, fields, template=template, shots=shots, training=training)[:2]

    def _render(
        self, row_id: int, fields: Fields, *, template: int, shots: int, training: bool
    ) -> tuple[str, str, int]:
        """Context, target, and the exemplars shown: fewer than `shots` where the pool has no more."""
        phrasing = self.task.templates[template]
        share = self.format.options_share * (1 << 20)
        show = draw(1 << 20, self.seed, self.task.name, row_id, template, 'options') < share
        inputs, target = templates_lib.render(phrasing, fields, show_options=show)
        separator = self.format.separator if self.decoder_only else ''
        parts = [
            f'{shot_inputs}{self.format.separator}{shot_target}\n\n'
            for shot_inputs, shot_target in self._shots(
                row_id, inputs, phrasing=phrasing, shots=shots, training=training, show=show
            )
        ]
        return ''.join(parts) + inputs + separator, target, len(parts)

    def _shots(self, row_id: int, inputs: str, *, phrasing: Template, shots: int, training: bool, show: bool):
        """Exemplars of the query: other rows of the pool, other texts than the query, each at most once."""
        taken: list[tuple[str, str]] = []
        pool = len(self.exemplars)
        for i in range(pool if shots else 0):
            if len(taken) == shots:
                break
            start = draw(pool, self.seed, self.task.name, row_id, 'exemplars')
            shot_id, fields = self.exemplars[(start + i * _stride(pool)) % pool]
            if training and shot_id == row_id:
                continue
            shot = templates_lib.render(phrasing, fields, show_options=show)
            if shot[0] != inputs and shot not in taken:
                taken.append(shot)
        return taken

    def _encode(self, jobs: list[tuple[int, Fields, int, int]], dropped: Counter, *, training: bool) -> list[Example]:
        """Renders, tokenises context and target apart, adds BOS and EOS, trims; what cannot be used is counted."""
        texts = [self._render(i, f, template=t, shots=n, training=training) for i, f, t, n in jobs]
        contexts = self.vocabulary.encode([context for context, _, _ in texts])
        targets = self.vocabulary.encode([target for _, target, _ in texts])
        out = []
        option_ids: dict[str, list[int]] = {}
        for (row_id, fields, template, _), context, target, (_, text, shots) in zip(jobs, contexts, targets, texts):
            if not text.strip():
                dropped['empty_target'] += 1
                continue
            prefix = self.vocabulary.prefix
            if not context and not prefix:
                prefix = [
                    self.vocabulary.pad_id
                ]  # something must stand before the first predicted token, or be encoded
            target = [*target, self.vocabulary.eos_id]
            if len(target) > self.lengths.targets and training:
                dropped['target_too_long'] += 1
                continue
            room = self.lengths.inputs - len(prefix)
            trimmed = max(len(context) - room, 0)
            context = prefix + context[trimmed:]
            example = Example(context, target, row_id, template, shots, trimmed)
            if not training:
                example = self._with_answers(example, fields, option_ids=option_ids)
            out.append(example)
        return out

    def _with_answers(self, example: Example, fields: Fields, *, option_ids: dict[str, list[int]]) -> Example:
        options = [str(o) for o in fields.get('options', ())]
        for option in options:
            if option not in option_ids:
                option_ids[option] = [*self.vocabulary.encode([option])[0], self.vocabulary.eos_id]
        answer = str(fields['answer'])
        references = [str(r) for r in fields.get('references', [answer])]
        meta = json.dumps({'answer': answer, 'options': options, 'references': references, 'fields': dict(fields)})
        return dataclasses.replace(
            example,
            options=tuple(option_ids[o] for o in options),
            answer=options.index(answer) if options else -1,
            meta=meta,
        )


def held_out_templates(task: Task, held_out: int) -> frozenset[int]:
    """Places of the last `held_out` straight templates of a task; at least one straight one stays for training."""
    straight = [i for i, t in enumerate(task.templates) if not t.inverted]
    if held_out >= len(straight):
        raise errors.ConfigError(
            f'data.held_out_templates={held_out} leaves no template of {task.name!r} to train on: '
            f'it has {len(straight)} straight ones'
        )
    return frozenset(straight[len(straight) - held_out :])


def fields_of(task: Task, row: Row, *, where: str) -> Fields | None:
    """The row's template fields, checked.

    Args:
      where: file and row, for messages.

    Raises:
      DataError: a field the task reads is not in the row, or the answer is not among the options.
    """
    try:
        fields = task.fields(row)
    except KeyError as e:
        raise errors.DataError(
            f'{where}: task {task.name!r} needs the field {e.args[0]!r}, the row has {", ".join(sorted(row))}'
            + errors.near(str(e.args[0]), row)
        ) from e
    if fields is None:
        return None
    if 'answer' not in fields:
        raise errors.DataError(f"{where}: task {task.name!r} gives no 'answer'; its fields are {sorted(fields)}")
    options = fields.get('options')
    if options is not None and fields['answer'] not in options:
        raise errors.DataError(
            f'{where}: the answer {fields["answer"]!r} of task {task.name!r} is not among its options {list(options)}'
        )
    return fields


def _stride(pool: int) -> int:
    """A step that visits every place of the pool once: the first number above 0.6 pool with no common factor."""
    step = max(int(pool * 0.618), 1)
    while step < pool and math.gcd(step, pool) != 1:
        step += 1
    return step


def describe(task: Task) -> dict[str, Any]:
    """What of a task decides its examples, fit for a fingerprint."""
    return {
        'name': task.name,
        'templates': [[t.name, t.inputs, t.targets, t.inverted] for t in task.templates],
        'mode': task.mode,
    }
