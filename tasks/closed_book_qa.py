"""Questions answered from memory: science exams (ARC, OpenBookQA) and search queries (NQ-open, WebQuestions)."""

from flan_jax.data.task import Fields, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks import choices
from tasks.tfds_rows import text

# ---------------------------------------------------------------------------------------------------------------- ARC
# Clark et al. 2018, "Think you have solved question answering? Try ARC", arXiv:1803.05457.


def _arc_row(row: Row) -> Row:
    options = [text(choice) for choice in row['choices']['text']]
    index = list(row['choices']['label']).index(row['answerKey'])
    return {'question': text(row['question']), 'choices': options, 'answer_index': index, 'answer': options[index]}


_ARC_SPLITS = {'train': 'train', 'validation': 'validation', 'test': 'test'}

_ARC_CHALLENGE = (
    Template('{question}\n{options}'),
    Template('Science exam, one mark for each item.\n\n{question}\n{options}\n\nThe marked answer:'),
    Template(
        'A pupil preparing for a science test is stuck on this item:\n{question}\n'
        'Tell the pupil what the right answer is.\n{options}'
    ),
    Template('Draw on physics, chemistry, biology and earth science to settle the following.\n{question}\n{options}'),
    Template('Item: {question}\nKey:'),
    Template('How would a careful science teacher answer or complete this?\n"{question}"'),
    Template('Read the item, then write the correct option out in full.\n\n{question}\n{options}'),
    Template('I give you a science problem, and you reply with the answer alone.\n{question}'),
    Template(
        'Write a hard science exam question that has this as its correct answer: {answer}', '{question}', inverted=True
    ),
    Template(
        'Someone is building a multiple-choice science test.\n{options}\nThe option that counts as right: {answer}\n'
        'What should the question be?',
        '{question}',
        inverted=True,
    ),
)

_ARC_EASY = (
    Template('Grade-school science: {question}\n{options}'),
    Template('{question}\n\nPick what fits best.\n{options}'),
    Template('Answer as you would in a primary school science quiz.\n\nQuiz: {question}\n{options}'),
    Template('Teacher: {question}\nStudent:'),
    Template('What is the right answer to this science question?\n{question}\n{options}'),
    Template(
        'My daughter brought this home from science class, and I do not remember how it goes. Can you help?\n'
        '{question}\n{options}'
    ),
    Template('{question}\nIn a few words, the answer is'),
    Template('Problem: {question}\n{options}\nSolution:'),
    Template(
        'A science worksheet for children has this answer filled in: {answer}\nWhich question stands above it?',
        '{question}',
        inverted=True,
    ),
    Template('Answer: {answer}\nMake up an easy science question that goes with it.', '{question}', inverted=True),
)

# --------------------------------------------------------------------------------------------------------- OpenBookQA
# Mihaylov et al. 2018, "Can a suit of armor conduct electricity?", arXiv:1809.02789.


def _openbookqa_row(row: Row) -> Row:
    question = row['question']
    options = [text(question[f'choice_{letter}']) for letter in 'ABCD']
    index = int(row['answerKey'])
    return {'question': text(question['stem']), 'choices': options, 'answer_index': index, 'answer': options[index]}


_OPENBOOKQA = (
    Template('Simple science plus common sense: {question}\n{options}'),
    Template('{question}\n{options}\nThe sensible choice is'),
    Template('Complete the sentence, or answer the question if it is one.\n\n{question}'),
    Template('Which option agrees with what science tells us?\n{question}\n{options}'),
    Template(
        'An open-book science exam lets you keep one page of basic facts. With those facts in mind, decide:\n'
        '{question}\n{options}'
    ),
    Template('Prompt: {question}\nBest continuation or answer:'),
    Template('{options}\n\nFrom these, select the one that belongs with the following.\n{question}'),
    Template('Please think of everyday physics and biology and help me with this one: {question}'),
    Template(
        'Think of a question, or the beginning of a sentence, about elementary science to which the right response is '
        'the following.\n{answer}',
        '{question}',
        inverted=True,
    ),
    Template(
        'Write the stem of a quiz item. Its options are given, and "{answer}" must be the correct one.\n{options}',
        '{question}',
        inverted=True,
    ),
)

# ------------------------------------------------------------------------------------------------------------ NQ-open
# Kwiatkowski et al. 2019, "Natural Questions", TACL 7; the open variant is of Lee et al. 2019, arXiv:1906.00300.


def _nq_row(row: Row) -> Row:
    return {'question': text(row['question']), 'answers': [text(answer) for answer in row['answer']]}


def _answers(row: Row) -> Fields | None:
    """Query without its question mark (the templates set one), first answer, all accepted answers."""
    if not row['answers']:
        return None
    return {'question': row['question'].rstrip(' ?'), 'answer': row['answers'][0], 'references': list(row['answers'])}


_NQ_OPEN = (
    Template('{question}?'),
    Template('Someone typed "{question}" into a search engine. Which short answer were they hoping for?'),
    Template('Answer from memory with a name, a date, a place or a short phrase: {question}?'),
    Template('Trivia night. The host reads: {question}?\nYour team writes down:'),
    Template('Search query: {question}\nDirect answer:'),
    Template('Reply with the bare fact instead of a full sentence.\n\n{question}?'),
    Template('I have been wondering: {question}? A few words will do.'),
    Template('Q: {question}?\nNo sources are at hand; say what you know.\nA:'),
    Template(
        'A search engine shows the short answer "{answer}". What might the query have been?',
        '{question}',
        inverted=True,
    ),
    Template('Fact: {answer}\nWrite, in lower case, a web query that this fact answers.', '{question}', inverted=True),
)

# ------------------------------------------------------------------------------------------------------- WebQuestions
# Berant et al. 2013, "Semantic parsing on Freebase from question-answer pairs", EMNLP.


def _webquestions_row(row: Row) -> Row:
    return {'question': text(row['question']), 'answers': [text(answer) for answer in row['answers']]}


_WEBQUESTIONS = (
    Template('Give one correct answer: {question}?'),
    Template('{question}? If there are several answers, one is enough.'),
    Template('You are a walking encyclopedia. Asked "{question}?", what do you say?'),
    Template('Look this up in your head and report a single entity.\nLookup: {question}'),
    Template('Entity wanted.\n\nAsked: {question}?\nFound:'),
    Template('A friend texts you: "{question}?" You text back only the answer.'),
    Template('What would a knowledge base return for the question below?\n{question}?'),
    Template('{question}?\n\nKeep it to a name, a number, a date or a title.'),
    Template(
        'Knowledge base entry: {answer}\nWhat could a user have asked to be shown this entry?',
        '{question}?',
        inverted=True,
    ),
    Template('Turn things around: the answer is "{answer}". Now give me the question.', '{question}?', inverted=True),
)


def _exam(name: str, source: TfdsSource, *, templates: tuple[Template, ...], texts_from: str) -> Task:
    return Task(
        name=name,
        cluster='closed_book_qa',
        source=source,
        fields=choices.fields,
        templates=templates,
        mode='rank',
        metrics=('accuracy',),
        texts_from=(texts_from,),
    )


def _queries(name: str, source: TfdsSource, *, templates: tuple[Template, ...], texts_from: str) -> Task:
    return Task(
        name=name,
        cluster='closed_book_qa',
        source=source,
        fields=_answers,
        templates=templates,
        mode='generate',
        metrics=('squad_exact_match', 'squad_f1'),
        texts_from=(texts_from,),
    )


# NQ-open and WebQuestions lack a labelled validation or test split: the end of `train` serves for validation, and the
# split that papers report on is `test`.
TASKS: tuple[Task, ...] = (
    _exam(
        'arc_challenge',
        TfdsSource('ai2_arc/ARC-Challenge:1.0.0', _ARC_SPLITS, _arc_row),
        templates=_ARC_CHALLENGE,
        texts_from='arc',
    ),
    _exam(
        'arc_easy', TfdsSource('ai2_arc/ARC-Easy:1.0.0', _ARC_SPLITS, _arc_row), templates=_ARC_EASY, texts_from='arc'
    ),
    _exam(
        'openbookqa',
        TfdsSource('openbookqa:0.1.0', _ARC_SPLITS, _openbookqa_row),
        templates=_OPENBOOKQA,
        texts_from='openbookqa',
    ),
    _queries(
        'nq_open',
        TfdsSource(
            'natural_questions_open:1.0.0',
            {'train': 'train[:95%]', 'validation': 'train[95%:]', 'test': 'validation'},
            _nq_row,
        ),
        templates=_NQ_OPEN,
        texts_from='natural_questions',
    ),
    _queries(
        'webquestions',
        TfdsSource(
            'web_questions:1.0.0',
            {'train': 'train[:90%]', 'validation': 'train[90%:]', 'test': 'test'},
            _webquestions_row,
        ),
        templates=_WEBQUESTIONS,
        texts_from='webquestions',
    ),
)
