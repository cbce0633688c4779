"""The tasks that come with flan_jax: one short file per data set or family, listed here by hand."""

from collections.abc import Mapping

from flan_jax.data.task import Task, index
from tasks import (
    closed_book_qa,
    commonsense,
    coreference,
    coreference_bias,
    cot,
    cot_statements,
    embedded,
    math_word_problems,
    nli,
    paraphrase,
    reading_comprehension,
    sentiment,
    topic_classification,
)

MODULES = (
    embedded,
    nli,
    sentiment,
    paraphrase,
    closed_book_qa,
    reading_comprehension,
    commonsense,
    coreference,
    coreference_bias,
    topic_classification,
    math_word_problems,
    cot,
    cot_statements,
)


def all_tasks() -> Mapping[str, Task]:
    """Every task by name."""
    return index([task for module in MODULES for task in module.TASKS])
