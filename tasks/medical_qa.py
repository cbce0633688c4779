"""Questions of medicine: MedMCQA and MedQA (entrance and licensing exams), PubMedQA (abstracts)."""

import functools
from collections.abc import Callable

from flan_jax import errors
from flan_jax.data.task import Drop, Fields, LocalSource, Row, Task
from flan_jax.data.templates import Template
from tasks.choices import distinct

_CLUSTER = 'medical_qa'


def _medmcqa_fields(row: Row, *, first: int) -> Fields | Drop:
    """`cop` is the number of the right one of opa to opd, counted from `first`."""
    number = row.get('cop')
    if number is None or number == -1:
        return Drop('unlabelled')  # the test split
    options = [row[key] if row[key] is None else str(row[key]).strip() for key in ('opa', 'opb', 'opc', 'opd')]
    if not first <= number < first + len(options):
        raise errors.DataError(
            f'cop is {number}; the options are counted from {first} here: use medmcqa for the files of the authors '
            '(1 to 4) and medmcqa_hub for the Parquet files (0 to 3)'
        )
    return {
        'question': row['question'].strip(),
        'subject': row.get('subject_name') or 'medicine',
        'options': distinct(options),
        'answer': options[number - first],
    }


def _medqa_fields(row: Row) -> Fields:
    """`options` by letter; `answer` is the text of the right one."""
    options = [row['options'][letter].strip() for letter in sorted(row['options'])]
    return {'question': row['question'].strip(), 'options': distinct(options), 'answer': row['answer'].strip()}


def _pubmed_qa_fields(row: Row) -> Fields:
    """Column names of the authors' file (QUESTION, CONTEXTS) or of the Parquet files (question, context.contexts)."""
    question, contexts = (
        (row['QUESTION'], row['CONTEXTS']) if 'QUESTION' in row else (row['question'], row['context']['contexts'])
    )
    conclusion = row['LONG_ANSWER'] if 'LONG_ANSWER' in row else row['long_answer']
    return {
        'question': question.strip(),
        'abstract': '\n'.join(part.strip() for part in contexts),
        'conclusion': conclusion.strip(),
        'options': ['yes', 'no', 'maybe'],
        'answer': row['final_decision'],
    }


# Indian medical entrance exams (Pal et al., 2022, arXiv:2203.14371).
_MEDMCQA = (
    Template('{question}\n{options}'),
    Template('A question from an entrance exam for doctors ({subject}):\n{question}\n{options}\nCorrect choice:'),
    Template('Subject: {subject}\nQuestion: {question}\n{options}\nAnswer:'),
    Template('You revise {subject}. Which choice is right?\n\n{question}\n\n{options}'),
    Template('Pick the one best answer.\n{options}\n\nQuestion: {question}'),
    Template('Medical students are asked this: {question}\nWhat should they tick?\n{options}'),
    Template('Exam item, single choice.\n{question}\n{options}\nKey:'),
    Template('Answer from your knowledge of {subject}: {question}\n{options}'),
    Template('Write an exam question in {subject} that has the answer "{answer}".', '{question}', inverted=True),
    Template('The key says: {answer}\nSubject: {subject}\nQuestion:', '{question}', inverted=True),
)

# Licensing exams of the United States (Jin et al., 2020, arXiv:2009.13081).
_MEDQA = (
    Template('{question}\n\n{options}'),
    Template('Clinical case:\n{question}\n{options}\nBest answer:'),
    Template('Read the case and choose.\n\nCase: {question}\n\n{options}'),
    Template('A licensing exam for physicians has this item.\n{question}\n{options}\nThe right option is'),
    Template('As the doctor on duty you consider these:\n{options}\n\nThe case: {question}'),
    Template('Question of the board exam: {question}\nCandidates choose among the following.\n{options}'),
    Template('{question}\nWhat would an experienced physician answer?\n{options}'),
    Template('Vignette: {question}\n{options}\nChoice:'),
    Template('Write a case with a question to which "{answer}" is the answer.', '{question}', inverted=True),
    Template('Answer: {answer}\nVignette and question of the exam:', '{question}', inverted=True),
)

# Titles that are questions, answered by the conclusion of the abstract (Jin et al., 2019, arXiv:1909.06146).
_PUBMED_QA = (
    Template('{abstract}\n\nJudging by this study: {question}\n{options}'),
    Template('Research question: {question}\nFindings: {abstract}\nIs the answer yes, no or maybe?'),
    Template('{question}\nDecide on the basis of the abstract.\n\n{abstract}\n\n{options}'),
    Template('Abstract without its conclusion:\n{abstract}\n\nThe title asks: {question}\nYour reply:\n{options}'),
    Template(
        'You screen papers for a review. The question is "{question}" What does this one say?\n{abstract}\n{options}'
    ),
    Template('Evidence:\n{abstract}\n\nDoes it settle the question "{question}"? Say yes, no or maybe.'),
    Template('Biomedical question: {question}\nContext: {abstract}\n{options}\nVerdict:'),
    Template('Yes, no or maybe: {question}\n\nUse these results.\n{abstract}'),
    Template('{abstract}\n\nWrite the conclusion of this abstract.', '{conclusion}', inverted=True),
    Template('A paper has this abstract:\n{abstract}\n\nWhich question was it after?', '{question}', inverted=True),
)


def _task(
    name: str, fields: Callable[[Row], Fields | Drop], *, templates: tuple[Template, ...], files: str, corpus: str
) -> Task:
    return Task(
        name=name,
        cluster=_CLUSTER,
        source=LocalSource(f'not in TFDS, published as files: {files}'),
        fields=fields,
        templates=templates,
        mode='rank',
        metrics=('accuracy',),
        texts_from=(corpus,),
    )


TASKS: tuple[Task, ...] = (
    _task(
        'medmcqa',
        functools.partial(_medmcqa_fields, first=1),
        templates=_MEDMCQA,
        files='question, opa to opd, cop from 1, subject_name of github.com/medmcqa/medmcqa',
        corpus='medmcqa',
    ),
    _task(
        'medmcqa_hub',
        functools.partial(_medmcqa_fields, first=0),
        templates=_MEDMCQA,
        files='the same as Parquet, cop from 0',
        corpus='medmcqa',
    ),
    _task(
        'medqa',
        _medqa_fields,
        templates=_MEDQA,
        files='question, options by letter, answer of github.com/jind11/MedQA',
        corpus='medqa',
    ),
    _task(
        'pubmed_qa',
        _pubmed_qa_fields,
        templates=_PUBMED_QA,
        files='ori_pqal.json of github.com/pubmedqa/pubmedqa, an object a row',
        corpus='pubmed_qa',
    ),
)
