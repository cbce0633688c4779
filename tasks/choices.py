"""Template fields of multiple-choice rows that hold `question`, `choices` and `answer`."""

from collections.abc import Iterable

from flan_jax.data.task import Fields, Row


def distinct(choices: Iterable[str]) -> list[str]:
    """The choices in order, each once: some crowd-written rows repeat a wrong one.

    >>> distinct(['house', 'hotel', 'school', 'hotel'])
    ['house', 'hotel', 'school']
    """
    return list(dict.fromkeys(choices))


def fields(row: Row) -> Fields:
    """The usual three fields.

    >>> fields({'question': 'A frog eats', 'choices': ['flowers', 'bugs'], 'answer': 'bugs'})
    {'question': 'A frog eats', 'options': ['flowers', 'bugs'], 'answer': 'bugs'}
    """
    return {'question': row['question'], 'options': distinct(row['choices']), 'answer': row['answer']}
