"""MMLU: school, university and professional exams in 57 subjects, four choices each.

Hendrycks et al. 2021, "Measuring massive multitask language understanding", arXiv:2009.03300. The published protocol
ranks the four letters after 'Answer:', with the five questions of the `dev` split before the one that is asked, and
scores the `test` split. A subject's files are `mmlu_<subject>/test.jsonl` and, for the shots, `exemplars.jsonl` (from
`dev`).
"""

import functools

from flan_jax import errors
from flan_jax.data.task import Fields, LocalSource, Row, Task
from flan_jax.data.templates import Template

# The four categories of the paper's tables.
SUBJECTS: dict[str, tuple[str, ...]] = {
    'stem': (
        'abstract_algebra',
        'astronomy',
        'college_biology',
        'college_chemistry',
        'college_computer_science',
        'college_mathematics',
        'college_physics',
        'computer_security',
        'conceptual_physics',
        'electrical_engineering',
        'elementary_mathematics',
        'high_school_biology',
        'high_school_chemistry',
        'high_school_computer_science',
        'high_school_mathematics',
        'high_school_physics',
        'high_school_statistics',
        'machine_learning',
    ),
    'humanities': (
        'formal_logic',
        'high_school_european_history',
        'high_school_us_history',
        'high_school_world_history',
        'international_law',
        'jurisprudence',
        'logical_fallacies',
        'moral_disputes',
        'moral_scenarios',
        'philosophy',
        'prehistory',
        'professional_law',
        'world_religions',
    ),
    'social_sciences': (
        'econometrics',
        'high_school_geography',
        'high_school_government_and_politics',
        'high_school_macroeconomics',
        'high_school_microeconomics',
        'high_school_psychology',
        'human_sexuality',
        'professional_psychology',
        'public_relations',
        'security_studies',
        'sociology',
        'us_foreign_policy',
    ),
    'other': (
        'anatomy',
        'business_ethics',
        'clinical_knowledge',
        'college_medicine',
        'global_facts',
        'human_aging',
        'management',
        'marketing',
        'medical_genetics',
        'miscellaneous',
        'nutrition',
        'professional_accounting',
        'professional_medicine',
        'virology',
    ),
}

LETTERS = ('A', 'B', 'C', 'D')


def fields(subject: str, row: Row) -> Fields:
    """Question, lettered choices and the right letter.

    >>> fields('anatomy', {'question': 'How many ribs?', 'choices': ['12', '20', '24', '26'], 'answer': 2})['answer']
    'C'

    Args:
      subject: name with underscores.
      row: `question`, `choices` and `answer`, the place of the right choice from 0 or its letter.

    Raises:
      DataError: there are not four choices, or the answer is none of them.
    """
    choices = [str(choice).strip() for choice in row['choices']]
    if len(choices) != len(LETTERS) or None in row['choices']:
        raise errors.DataError(f'mmlu_{subject}: {len(choices)} choices, not four texts: {row["choices"]}')
    answer = row['answer']
    if isinstance(answer, int) and 0 <= answer < len(LETTERS):
        answer = LETTERS[answer]
    if answer not in LETTERS:
        raise errors.DataError(f'mmlu_{subject}: the answer {answer!r} is neither one of ABCD nor a number from 0 to 3')
    right = choices[LETTERS.index(answer)]
    return {
        'subject': subject.replace('_', ' '),
        'question': row['question'].strip(),
        'choices': '\n'.join(f'{letter}. {choice}' for letter, choice in zip(LETTERS, choices, strict=True)),
        'right_choice': right,
        'options': list(LETTERS),
        'answer': answer,
    }


_TEMPLATES = (
    Template('A multiple-choice question on {subject}.\n\n{question}\n{choices}\nAnswer:', name='exam'),
    Template('{question}\n{choices}\nAnswer:', name='bare'),
    Template('{question}\n\n{choices}\n\nWhich of A, B, C and D is correct? Reply with the letter alone.'),
    Template(
        'This comes from an exam in {subject}. Exactly one of the four choices is right; give its letter.\n\n'
        'Question: {question}\n{choices}'
    ),
    Template('Subject: {subject}\nChoices:\n{choices}\n\nThe question they belong to: {question}\nLetter:'),
)


def _task(subject: str) -> Task:
    return Task(
        name=f'mmlu_{subject}',
        cluster='suite_mmlu',
        source=LocalSource(
            reason='not in TFDS; JSON lines with question, choices, answer, a file a subject',
            splits=('exemplars', 'test'),
        ),
        fields=functools.partial(fields, subject),
        templates=_TEMPLATES,
        mode='rank',
        metrics=('accuracy',),
        texts_from=('mmlu',),
    )


TASKS: tuple[Task, ...] = tuple(_task(subject) for category in SUBJECTS.values() for subject in category)
