"""Questions about a given text or table: BoolQ, the English part of XQuAD (a part of SQuAD), WikiTableQuestions."""

import csv
import io

from flan_jax.data.task import Fields, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks import prose
from tasks.tfds_rows import label_name, text

# -------------------------------------------------------------------------------------------------------------- BoolQ
# Clark et al. 2019, "BoolQ", arXiv:1905.10044, as in SuperGLUE (title, two dashes, paragraph).


def _boolq_row(row: Row) -> Row:
    return {
        'passage': text(row['passage']),
        'question': text(row['question']),
        'answer': label_name(row['label'], ('no', 'yes')),
    }


def _boolq_fields(row: Row) -> Fields | None:
    if row['answer'] not in ('yes', 'no'):
        return None
    question = prose.sentence(row['question'].rstrip(' ?') + '?')
    return {'passage': row['passage'], 'question': question, 'answer': row['answer'], 'options': ['yes', 'no']}


_BOOLQ = (
    Template('{passage}\n\n{question}\n{options}'),
    Template('{question} Decide from the paragraph.\n\n{passage}\n\n{options}'),
    Template('Encyclopedia extract:\n{passage}\n\nYes or no: {question}'),
    Template('Does the text support a yes?\n\nText: {passage}\nAsked: {question}\n{options}'),
    Template('I read this:\n"{passage}"\nSo, {question}\n{options}'),
    Template('Reply with a single word, yes or no.\n\n{passage}\n\n{question}'),
    Template('Question first, evidence second.\nQuestion: {question}\nEvidence: {passage}\n{options}\nVerdict:'),
    Template('What does the following article say about this: {question}\n\n{passage}\n\n{options}'),
    Template(
        'Write a yes/no question to which the passage gives the answer "{answer}".\n\n{passage}',
        '{question}',
        inverted=True,
    ),
    Template(
        'Question: {question}\nAnswer: {answer}\nWrite an encyclopedia paragraph from which this can be seen.',
        '{passage}',
        inverted=True,
    ),
)

# -------------------------------------------------------------------------------------------------------------- SQuAD
# Rajpurkar et al. 2016, arXiv:1606.05250; XQuAD: Artetxe et al. 2019, arXiv:1910.11856. The English part of XQuAD is a
# sample of SQuAD v1.1's development set. TFDS's `xquad/en` has that sample as one shuffled `test` split, in which the
# questions on one paragraph cannot be kept together, so the rows come from SQuAD itself.


def _squad_row(row: Row) -> Row:
    # Annotators often marked the same span.
    answers = dict.fromkeys(text(answer) for answer in row['answers']['text'])
    return {'context': text(row['context']), 'question': text(row['question']), 'answers': list(answers)}


def _squad_fields(row: Row) -> Fields | None:
    answers = [answer.strip() for answer in row['answers'] if answer.strip()]
    if not answers:
        return None
    return {
        'context': row['context'],
        'question': row['question'].strip(),
        'answer': answers[0],
        'references': answers,
    }


_SQUAD = (
    Template('{context}\n\n{question}'),
    Template('Copy the words from the passage that answer the question.\n\nPassage: {context}\nQuestion: {question}'),
    Template('{question}\nThe answer is a span of this text:\n{context}'),
    Template(
        'Here is a paragraph.\n\n{context}\n\nA reader wants to know: {question}\nShortest quote that settles it:'
    ),
    Template('Read and respond with a phrase taken from the text, nothing added.\n{context}\n\n{question}'),
    Template('Context >> {context}\nAsk >> {question}\nExtract >>'),
    Template('I am looking for one detail in the article below: {question}\n\n"""{context}"""'),
    Template('{context}\n\nUsing nothing but the information above, please tell me: {question}'),
    Template(
        'Paragraph:\n{context}\n\nPose a question whose answer in this paragraph is "{answer}".',
        '{question}',
        inverted=True,
    ),
    Template(
        'A comprehension test for the text below needs one more question. The model answer will be: {answer}\n\n'
        '{context}\n\nThe new question:',
        '{question}',
        inverted=True,
    ),
)

# -------------------------------------------------------------------------------------------------- WikiTableQuestions
# Pasupat and Liang 2015, "Compositional semantic parsing on semi-structured tables", arXiv:1508.00305.

# A longer table would lose its header when the prompt is trimmed from the left.
_MAX_TABLE_CHARACTERS = 2500


def _table_csv(table: Row) -> str:
    """Cells in reading order -> CSV text, header first; all quoted and escaped as in the corpus's own files."""
    rows: dict[int, list[str]] = {}
    for number, content in zip(table['row_number'], table['content'], strict=True):
        rows.setdefault(int(number), []).append(text(content))
    width = len(next(iter(rows.values()), []))
    header = [text(name) for name in table['column_header'][:width]]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, doublequote=False, escapechar='\\', lineterminator='\n')
    writer.writerows([header, *rows.values()])
    return out.getvalue().rstrip('\n')


def _wikitable_row(row: Row) -> Row:
    # Values are divided by '|'; a line break and a '|' inside a value are written \n and \p.
    answers = [
        value.replace('\\n', '\n').replace('\\p', '|').replace('\\\\', '\\')
        for value in text(row['target_text']).split('|')
    ]
    return {
        'table_csv': _table_csv(row['input_text']['table']),
        'question': text(row['input_text']['context']),
        'answers': answers,
    }


def _wikitable_fields(row: Row) -> Fields | None:
    # All values together are the answer, so they make one reference.
    answer = ', '.join(' '.join(value.split()) for value in row['answers'])
    if not answer or len(row['table_csv']) > _MAX_TABLE_CHARACTERS:
        return None
    return {'table': row['table_csv'], 'question': row['question'], 'answer': answer}


_WIKITABLE = (
    Template('{table}\n\n{question}'),
    Template('Answer from the table (CSV, header in the first line).\n\n{table}\n\nQuestion: {question}'),
    Template('{question}\n\nThe data:\n{table}'),
    Template(
        'You are a data analyst. A colleague sends you this spreadsheet and asks "{question}"\n\n{table}\n\n'
        'You reply with the value alone:'
    ),
    Template('An encyclopedia article has this table.\n{table}\nWhoever reads it can tell: {question}'),
    Template('Find the cells that matter; count or compare if need be.\n{table}\n\nWanted: {question}\nResult:'),
    Template('```csv\n{table}\n```\n{question}\nIf there are several values, separate them with commas.'),
    Template('Rows and columns:\n{table}\n\nRequest: {question}\nResponse:'),
    Template('Which question about this table has the answer "{answer}"?\n\n{table}', '{question}', inverted=True),
    Template(
        '{table}\n\nWrite a question for a quiz on the table above. The answer sheet says: {answer}',
        '{question}',
        inverted=True,
    ),
)

# Neither BoolQ nor SQuAD has a labelled test split: the end of `train` is `validation`, the development set is `test`.
_DEVELOPMENT_AS_TEST = {'train': 'train[:95%]', 'validation': 'train[95%:]', 'test': 'validation'}

TASKS: tuple[Task, ...] = (
    Task(
        name='boolq',
        cluster='reading_comprehension',
        source=TfdsSource('super_glue/boolq:1.0.2', _DEVELOPMENT_AS_TEST, _boolq_row),
        fields=_boolq_fields,
        templates=_BOOLQ,
        mode='rank',
        metrics=('accuracy',),
        texts_from=('boolq',),
    ),
    Task(
        name='squad_xquad_en',
        cluster='reading_comprehension',
        source=TfdsSource('squad/v1.1:3.0.0', _DEVELOPMENT_AS_TEST, _squad_row),
        fields=_squad_fields,
        templates=_SQUAD,
        mode='generate',
        metrics=('squad_exact_match', 'squad_f1'),
        texts_from=('squad',),
    ),
    Task(
        name='wikitablequestions',
        cluster='reading_comprehension',
        source=TfdsSource(
            'wiki_table_questions:1.0.0',
            {'train': 'split-1-train', 'validation': 'split-1-dev', 'test': 'test'},
            _wikitable_row,
        ),
        fields=_wikitable_fields,
        templates=_WIKITABLE,
        mode='generate',
        metrics=('squad_exact_match', 'squad_f1'),
        texts_from=('wikitablequestions',),
    ),
)
