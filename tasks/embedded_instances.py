"""How an embedded task is made: a function that draws one instance, and ten phrasings of it.

Every instance belongs to one split for good, by a hash of what the model gets to see, so a test instance can't occur
in training whatever the index, the template or the task it is used in.
"""

import functools
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence

from flan_jax.data.task import GeneratedSource, Row, Task
from flan_jax.data.templates import Template, field_names
from tasks.embedded_words import WORDING

SIZES = {'train': 20_000, 'validation': 100, 'test': 200}
_BUCKETS = {'train': range(8), 'validation': range(8, 9), 'test': range(9, 10)}  # of ten

# The phrasings to keep out of training when a run asks how well it follows new wordings. They use only words that
# other phrasings teach. Like tasks share their phrasings, kept-out ones too: were 'What is the ...' trained for the
# first word and kept out for the last, a model would take it for a sign of 'first'.
HELD_OUT_TEMPLATES = ('t08', 't09')

Draw = Callable[[random.Random], Mapping[str, str | list[str]]]


def bucket(row: Row) -> int:
    """0 to 9, from everything in the row but its answer; alike in every process.

    >>> bucket({'words': 'cat, hat', 'answer': 'cat'}) == bucket({'answer': 'hat', 'words': 'cat, hat'})
    True
    """
    seen = json.dumps({key: value for key, value in row.items() if key != 'answer'}, sort_keys=True)
    return int.from_bytes(hashlib.sha256(seen.encode()).digest()[:8], 'big') % 10


def wording(rng: random.Random, names: Sequence[str]) -> dict[str, str]:
    """One choice for each of these parts of a sentence."""
    return {name: rng.choice(WORDING[name]) for name in names}


def row(split: str, index: int, *, name: str, draw: Draw, names: Sequence[str]) -> Row:
    """Draws from one stream, seeded by task, split and index, until an instance falls into the split."""
    rng = random.Random(f'{name}/{split}/{index}')
    while True:
        drawn = draw(rng)
        if bucket(drawn) in _BUCKETS[split]:
            return {**drawn, **wording(rng, names)}


def mini(name: str, cluster: str, *, draw: Draw, templates: Sequence[str]) -> Task:
    """A task named `mini_<name>`; `templates` are input patterns, the target is the answer."""
    name = f'mini_{name}'
    used = frozenset().union(*map(field_names, templates))
    names = tuple(part for part in WORDING if part in used)
    return Task(
        name=name,
        cluster=f'mini_{cluster}',
        source=GeneratedSource(row=functools.partial(row, name=name, draw=draw, names=names), sizes=SIZES),
        fields=dict,
        templates=tuple(Template(pattern) for pattern in templates),
        mode='generate',
        metrics=('exact_match',),
    )


def listed(items: Sequence[object]) -> str:
    """
    >>> listed(['cat', 3])
    'cat, 3'
    """
    return ', '.join(str(item) for item in items)
