"""Probes: prompts made anew from a suite to see what the answers hang on.

    permuted       the options in another order
    content_free   nothing in the fields
    bare           the fields without the instruction's words
    shuffled       the instruction's words in another order

They are rendered when they are asked, from the fields the store kept, so no store has to be prepared again for them.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from flan_jax.data.encoding import Example, Maker
from flan_jax.data.formats import draw
from flan_jax.data.templates import OPTIONS, Template, field_names
from flan_jax.evaluation.suite import Suite

Kind = Literal['permuted', 'content_free', 'bare', 'shuffled']
CONTENT_FREE = ('N/A', '[MASK]', '...')  # what stands in for every field, in the spirit of Zhao et al. 2021
# Fields, literal braces and spaces by themselves; between them words with the marks that hang on them.
_PART = re.compile(r'\{\w+\}|\{\{|\}\}|\s+|[^\s{}]+')
_WORD = re.compile(r'\w')


@dataclasses.dataclass(frozen=True)
class Probe:
    """What is asked besides a suite.

    Attributes:
      kind: what was changed.
      suite: the changed prompts, under the task's name.
    """

    kind: Kind
    suite: Suite


def permuted(asked: Suite, maker: Maker, *, orders: int) -> Probe | None:
    """The same rows with their options in up to `orders` other orders, by the templates that list them.

    An order is a rotation, so that every option comes to another place. None if no template lists options.
    """
    listing = _listing(asked, maker)
    if asked.mode != 'rank' or not listing or orders < 1:
        return None
    rows = []
    for row, fields in _fields(asked).items():
        options = fields[OPTIONS]
        for turn in range(1, min(orders, len(options) - 1) + 1):
            rows.append((row, {**fields, OPTIONS: options[turn:] + options[:turn]}))
    return _probe('permuted', asked, maker=maker, rows=rows, only=listing)


def content_free(asked: Suite, maker: Maker) -> Probe | None:
    """Every template with its fields replaced by text that says nothing; None if a template shows none."""
    first = next(iter(_fields(asked).values()), None)
    if asked.mode != 'rank' or not asked.fields or first is None:
        return None
    kept = {'answer', OPTIONS, 'references'}
    rows = [
        (i, {name: value if name in kept else empty for name, value in first.items()})
        for i, empty in enumerate(CONTENT_FREE)
    ]
    return _probe('content_free', asked, maker=maker, rows=rows, only=frozenset(asked.templates))


def bare(asked: Suite, maker: Maker) -> Probe | None:
    """The same rows without instructions, see `formats.bare`; None of conversations, or if the suite has none already.

    A score that stays where it was hangs on the surface of the rows, not on what is asked of them.
    """
    if maker.renderer.instructions(training=False) != 'natural':
        return None
    form = dataclasses.replace(maker.renderer.format, eval_instructions='none')
    changed = dataclasses.replace(maker, renderer=dataclasses.replace(maker.renderer, format=form))
    names = frozenset(t.name for t in maker.renderer.task.templates)
    return _probe('bare', asked, maker=changed, rows=[*_fields(asked).items()], only=names)


def shuffled(asked: Suite, maker: Maker) -> Probe | None:
    """The same rows with the words of each instruction in another order; None if no template has two different ones."""
    render = maker.renderer
    if render.instructions(training=False) != 'natural':
        return None
    straight = [t for t in render.task.templates if not t.inverted and t.name in set(asked.templates)]
    turned = {t.name: shuffled_words(t, render.seed, render.task.name) for t in straight}
    only = frozenset(t.name for t in straight if turned[t.name].inputs != t.inputs)
    templates = tuple(turned.get(t.name, t) for t in render.task.templates)
    task = dataclasses.replace(render.task, templates=templates)
    changed = dataclasses.replace(maker, renderer=dataclasses.replace(render, task=task))
    return _probe('shuffled', asked, maker=changed, rows=[*_fields(asked).items()] if only else [], only=only)


def shuffled_words(template: Template, *key: object) -> Template:
    """The template with its own words in another order; fields, options, spaces and line breaks stay where they are.

    >>> shuffled_words(Template('Is it true that {claim}, yes or no?'), 0).inputs
    'yes or no? Is {claim}, it true that'
    """
    parts = _PART.findall(template.inputs)
    places = [i for i, part in enumerate(parts) if _WORD.search(part) and not part.startswith('{')]
    order = sorted(places, key=lambda i: draw(1 << 62, *key, template.name, 'words', i))
    if [parts[i] for i in order] == [parts[i] for i in places]:  # by chance; of two words there is only one other order
        order = order[1:] + order[:1]
    new = list(parts)
    for place, taken in zip(places, order, strict=True):
        new[place] = parts[taken]
    return dataclasses.replace(template, inputs=''.join(new))


def _fields(asked: Suite) -> dict[int, dict[str, Any]]:
    """The fields of each source row; conversations are shown as they are and left out."""
    pairs = zip(asked.rows.tolist(), asked.metas, strict=True)
    return {row: meta['fields'] for row, meta in pairs if 'messages' not in meta['fields']}


def _listing(asked: Suite, maker: Maker) -> frozenset[str]:
    """Names of the asked templates that list the options."""
    found = {t.name for t in maker.renderer.task.templates if OPTIONS in field_names(t.inputs)}
    return frozenset(found & set(asked.templates))


def _probe(
    kind: Kind,
    asked: Suite,
    *,
    maker: Maker,
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    only: frozenset[str],
) -> Probe | None:
    names = [t.name for t in maker.renderer.task.templates]
    made = maker.examples(rows, training=False, dropped=Counter()) if rows else []
    examples: list[Example] = [e for e in made if names[e.template] in only]
    if not examples:
        return None
    changed = dataclasses.replace(
        asked,
        prompts=[np.array(e.context, np.int32) for e in examples],
        options=[[np.array(ids, np.int32) for ids in e.options] for e in examples],
        metas=[json.loads(e.meta) for e in examples],
        rows=np.array([e.row_id for e in examples], np.int64),
        templates=[names[e.template] for e in examples],
        shots=np.array([e.shots for e in examples]),
        trimmed=np.array([e.trimmed for e in examples]),
    )
    return Probe(kind, changed)
