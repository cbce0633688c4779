"""Formats: how a row becomes text. Pure functions of (row, seed), so any process makes the same bytes."""

import dataclasses
import hashlib
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import FormatConfig, Instructions
from flan_jax.data import conversations
from flan_jax.data import templates as templates_lib
from flan_jax.data.task import CONVERSATION, Drop, Fields, Row, Task
from flan_jax.data.templates import Template

# Fields that hold the instruction of a row or of a whole task, not its data.
INSTRUCTION_FIELDS = frozenset({'asked', 'definition', 'instruction'})
_UNIT = 1 << 20  # shares are compared with a draw from [0, _UNIT)
_LISTS = ('options', 'references', 'messages', 'tools')
_NO_TEXT = (Mapping, list, tuple, set, bytes)  # Python would write them with its own brackets and quotation marks


def draw(n: int, *key: object) -> int:
    """A number in [0, n) that depends on `key` alone: no state, no order, no process.

    >>> draw(10, 0, 'mnli', 7) == draw(10, 0, 'mnli', 7)
    True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little') % n


@dataclasses.dataclass(frozen=True)
class Shown:
    """One row as one format shows it, before it is tokens.

    Attributes:
      row_id: which source row.
      template: place of the template in the task.
      fields: what the template saw.
      context: text before the target, the exemplars among it; of a conversation: ''.
      target: text to be written; of a conversation: the last message's.
      shots: exemplars shown.
    """

    row_id: int
    template: int
    fields: Fields
    context: str
    target: str
    shots: int = 0


@dataclasses.dataclass(frozen=True)
class Renderer:
    """Rows of one task to text.

    Attributes:
      exemplars: (row_id, fields) of training rows, the pool of few-shot examples.
      decoder_only: whether context and target share a row, divided by the format's separator.
      template_draws: templates a training row goes through.
      held_out: how many of the last straight templates training never sees.
    """

    task: Task
    format: FormatConfig
    seed: int
    decoder_only: bool
    template_draws: int = 1
    held_out: int = 0
    exemplars: Sequence[tuple[int, Fields]] = ()

    def training_templates(self) -> list[int]:
        """Places of the templates training may use: all but the last `held_out` straight ones."""
        held_out = held_out_templates(self.task, self.held_out)
        return [i for i in range(len(self.task.templates)) if i not in held_out]

    def train(self, rows: Sequence[tuple[int, Fields]]) -> list[Shown]:
        """Training text of some rows: each through `template_draws` different templates drawn by the seed."""
        allowed = self.training_templates()
        if self.format.instructions != 'natural':
            allowed = [i for i in allowed if not self.task.templates[i].inverted]
        few_shot = self.format.few_shot_share * _UNIT if self.format.shots else 0
        out = []
        for row_id, fields in rows:
            pool = self._pool(row_id, allowed)
            if self.format.instructions != 'natural':
                pool = pool[:1]
            start = self._draw(len(pool), row_id, 'template')
            for i in range(min(self.template_draws, len(pool))):
                template = pool[(start + i) % len(pool)]
                few = few_shot and self._draw(_UNIT, row_id, template, 'few') < few_shot
                out.append(
                    self.show(row_id, fields, template=template, shots=self.format.shots if few else 0, training=True)
                )
        return out

    def evaluate(self, rows: Sequence[tuple[int, Fields]]) -> list[Shown]:
        """Evaluation prompts of some rows: each through every straight template, or once without instructions."""
        straight = [i for i, t in enumerate(self.task.templates) if not t.inverted]
        if self.instructions(training=False) != 'natural':
            straight = straight[:1]
        return [
            self.show(row_id, fields, template=i, shots=self.format.eval_shots, training=False)
            for row_id, fields in rows
            for i in straight
        ]

    def show(self, row_id: int, fields: Fields, *, template: int, shots: int, training: bool) -> Shown:
        """One row through one template; fewer exemplars than `shots` where the pool has no more."""
        phrasing, form = self.task.templates[template], self.format
        instructions = self.instructions(training=training)
        name = self.task.name if instructions == 'name' else None
        if phrasing.inputs == CONVERSATION.inputs:
            return Shown(row_id, template, _named(fields, name), '', str(fields['answer']))
        if instructions != 'natural':
            phrasing = bare(phrasing, task=name)
        style = self._style(row_id, template, training=training)
        inputs, target = templates_lib.render(phrasing, fields, style=style)
        separator = form.separator if self.decoder_only and form.chat is None else ''
        between = self._one_of(form.exemplar_separators, row_id, template, 'between', training=training)
        shown = [
            f'{shot_inputs}{form.separator}{shot_target}{between}'
            for shot_inputs, shot_target in self._shots(
                row_id, inputs, phrasing=phrasing, shots=shots, training=training, style=style
            )
        ]
        return Shown(row_id, template, fields, ''.join(shown) + inputs + separator, target, len(shown))

    def instructions(self, *, training: bool) -> Instructions:
        """Whether rows are shown through templates, or as a control, in training or in evaluation."""
        form = self.format
        return form.instructions if training or form.eval_instructions is None else form.eval_instructions

    def _draw(self, n: int, *key: object) -> int:
        return draw(n, self.seed, self.task.name, *key)

    def _one_of(self, pool: Sequence[str], *key: object, training: bool) -> str:
        """One of a pool for training, always its first for evaluation."""
        return pool[self._draw(len(pool), *key)] if training and len(pool) > 1 else pool[0]

    def _style(self, row_id: int, template: int, *, training: bool) -> str | None:
        """How options are marked, or None if they are not shown."""
        share = self.format.options_share
        if share < 1 and self._draw(_UNIT, row_id, template, 'options') >= share * _UNIT:
            return None
        return self._one_of(self.format.option_markers, row_id, template, 'marker', training=training)

    def _pool(self, row_id: int, allowed: list[int]) -> list[int]:
        """The templates a row's is drawn from: all, or those of the kind that the format's shares give it."""
        templates, form = self.task.templates, self.format
        for share, kind in ((form.inverted_share, 'inverted'), (form.rationale_share, 'rationale')):
            if share is None:
                continue
            of_kind = [i for i in allowed if vars(templates[i])[kind]]
            if len(of_kind) in (0, len(allowed)):
                continue
            chosen = self._draw(_UNIT, row_id, kind) < share * _UNIT
            allowed = of_kind if chosen else [i for i in allowed if i not in of_kind]
        return allowed

    def _shots(self, row_id: int, inputs: str, *, phrasing: Template, shots: int, training: bool, style: str | None):
        """Exemplars of the query: other rows of the pool, other texts than the query, each at most once."""
        taken: list[tuple[str, str]] = []
        pool = len(self.exemplars)
        for i in range(pool if shots else 0):
            if len(taken) == shots:
                break
            start = self._draw(pool, row_id, 'exemplars')
            shot_id, fields = self.exemplars[(start + i * _stride(pool)) % pool]
            if training and shot_id == row_id:
                continue
            shot = templates_lib.render(phrasing, fields, style=style)
            if shot[0] != inputs and shot not in taken:
                taken.append(shot)
        return taken


def bare(template: Template, *, task: str | None = None) -> Template:
    """The template without its words: its fields in order, one a line, each once, and its options if it lists them.

    Two controls of Wei et al. 2021 (arXiv:2109.01652, section 4.3): whether instructions do anything beside training on
    many tasks. A field of `INSTRUCTION_FIELDS` is left out as well, unless there is no other.

    >>> t = Template('Does "{premise}" imply "{hypothesis}"?\\n{options}')
    >>> bare(t).inputs
    '{premise}\\n{hypothesis}\\n{options}'
    >>> bare(t, task='rte').inputs
    '[Task: rte] {premise}\\n{hypothesis}\\n{options}'

    Args:
      template: a straight one; targets stay as they are.
      task: the name to put in front; None: no name.
    """
    shown = list(dict.fromkeys(f for _, f, _, _ in string.Formatter().parse(template.inputs) if f is not None))
    data = [field for field in shown if field not in INSTRUCTION_FIELDS]
    name = '' if task is None else f'[Task: {task}] '.replace('{', '{{').replace('}', '}}')
    fields = data if set(data) - {templates_lib.OPTIONS} else shown
    return dataclasses.replace(template, inputs=(name + '\n'.join(f'{{{field}}}' for field in fields)).rstrip())


def held_out_templates(task: Task, held_out: int) -> frozenset[int]:
    """Places of the last `held_out` straight templates of a task; at least one straight one stays for training.

    A task of one straight template (a conversation, a prompt as it is) holds out none, nor does one that is only
    evaluated.
    """
    straight = [i for i, t in enumerate(task.templates) if not t.inverted]
    if len(straight) == 1 or 'train' not in task.splits:
        return frozenset()
    if held_out >= len(straight):
        raise errors.ConfigError(
            f'data.held_out_templates={held_out} leaves no template of {task.name!r} to train on: '
            f'it has {len(straight)} straight ones'
        )
    return frozenset(straight[len(straight) - held_out :])


def fields_of(task: Task, row: Row, *, where: str) -> Fields | Drop:
    """The row's template fields, checked.

    Args:
      where: file and row, for messages.

    Raises:
      DataError: a field the task reads is not in the row, messages or options are malformed, or the answer is not
        among the options.
    """
    try:
        fields = task.fields(row)
    except KeyError as e:
        key = e.args[0]
        if of := [name for name, value in row.items() if value == key and isinstance(value, type(key))]:
            known = f'task {task.name!r} knows no {" or ".join(of)} that is {key!r}'
            raise errors.DataError(f'{where}: {known}; correct the row or leave it out') from e
        raise errors.DataError(
            f'{where}: task {task.name!r} needs the field {key!r}, the row has {", ".join(sorted(row))}'
            + errors.near(str(key), row)
        ) from e
    except errors.DataError as e:
        raise errors.DataError(f'{where}: task {task.name!r}: {e}') from e
    except Exception as e:
        kinds = ', '.join(f'{name}: {type(value).__name__}' for name, value in row.items())
        said = f'cannot read this row: {type(e).__name__}: {e}; its fields are {kinds:.300}'
        raise errors.DataError(f'{where}: task {task.name!r} {said}') from e
    if fields is None or isinstance(fields, Drop):
        return fields or Drop()
    if 'messages' in fields:
        fields = _answered(fields, where=f'{where}: task {task.name!r}')
        if isinstance(fields, Drop):
            return fields
    if 'answer' not in fields:
        raise errors.DataError(f"{where}: task {task.name!r} gives no 'answer'; its fields are {sorted(fields)}")
    for key in ('options', 'references'):
        if key in fields and not isinstance(fields[key], list | tuple):  # a text would be taken for its characters
            raise errors.DataError(f'{where}: task {task.name!r}: {key} are {fields[key]!r:.80}, not a list of texts')
    if any(_is_missing(value) for value in _shown_values(task, fields)):
        return Drop('missing_value')
    if (odd := next((v for v in _shown_values(task, fields) if isinstance(v, _NO_TEXT)), None)) is not None:
        raise errors.DataError(f'{where}: task {task.name!r} would show {odd!r:.80}, which is no text')
    options = fields.get('options')
    if options is not None and fields['answer'] not in options:
        raise errors.DataError(
            f'{where}: the answer {fields["answer"]!r} of task {task.name!r} is not among its options {list(options)}'
        )
    return fields


def _shown_values(task: Task, fields: Fields) -> list[Any]:
    """What stands in an example as text: the fields that templates name, each option, each reference."""
    plain = [value for name, value in fields.items() if name in task.read_fields and name not in _LISTS]
    return plain + [value for name in ('options', 'references') for value in fields.get(name) or ()]


def _is_missing(value: Any) -> bool:
    """Null, or NaN, as tables write a missing cell; as text they would be 'None' and 'nan'."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _answered(fields: Fields, *, where: str) -> Fields | Drop:
    """A conversation up to its last assistant turn that is to be learned; that one is its answer."""
    messages = fields['messages']
    try:
        conversations.check(messages)
    except errors.DataError as e:
        raise errors.DataError(f'{where}: {e}') from e
    if not messages or messages[-1]['role'] != 'assistant':
        last = messages[-1]['role'] if messages else 'nobody'
        raise errors.DataError(f'{where}: a conversation must end with the assistant, not with {last}')
    learned = [i for i, m in enumerate(messages) if m['role'] == 'assistant' and m.get('weight', 1) != 0]
    if not learned:
        return Drop('nothing_supervised')
    messages = messages[: learned[-1] + 1]
    return {**fields, 'messages': messages, 'answer': messages[-1]['content']}


def _named(fields: Fields, name: str | None) -> Fields:
    """A conversation with the task's name before its first question; as it is for None."""
    messages = fields['messages']
    first = next((i for i, m in enumerate(messages) if m['role'] == 'user'), None)
    if name is None or first is None:
        return fields
    asked = {**messages[first], 'content': f'[Task: {name}] {messages[first]["content"]}'}
    return {**fields, 'messages': [*messages[:first], asked, *messages[first + 1 :]]}


def _stride(pool: int) -> int:
    """A step that visits every place of the pool once: the first number above 0.6 pool with no common factor."""
    step = max(int(pool * 0.618), 1)
    while step < pool and math.gcd(step, pool) != 1:
        step += 1
    return step


def describe_format(form: FormatConfig) -> dict[str, Any]:
    """A format as what it decides of a text, fit for a fingerprint; knobs of evaluation prompts stand apart.

    The instruction controls are named only where they are used, so that stores made before there were any stay valid.
    """
    out = dataclasses.asdict(form)
    del out['eval_instructions']
    if form.instructions == 'natural':
        del out['instructions']
    return out


def describe(task: Task) -> dict[str, Any]:
    """What of a task decides its examples, fit for a fingerprint."""
    return {
        'name': task.name,
        'templates': [[t.name, t.inputs, t.targets, t.inverted, t.rationale] for t in task.templates],
        'mode': task.mode,
    }
