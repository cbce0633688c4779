"""The embedded family: small tasks that code makes, so that the whole system can be tried without any download.

Thirty tasks in eight clusters over one closed vocabulary, made for a model of a few million parameters that starts
from nothing. Many tasks read the same kind of input and differ in the instruction alone, so a model that scores well
follows instructions; neither one fixed answer nor a copied field gets far.
"""

from flan_jax.data.task import Task
from tasks import embedded_facts, embedded_lists, embedded_numbers
from tasks.embedded_instances import HELD_OUT_TEMPLATES as HELD_OUT_TEMPLATES

TASKS: tuple[Task, ...] = embedded_lists.TASKS + embedded_numbers.TASKS + embedded_facts.TASKS
