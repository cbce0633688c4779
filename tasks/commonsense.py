"""Common sense: CommonsenseQA, causes and effects (COPA), how to do everyday things (PIQA)."""

from flan_jax.data.task import Fields, LocalSource, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks import choices
from tasks.tfds_rows import label_name, text

# ------------------------------------------------------------------------------------------------------ CommonsenseQA
# Talmor et al. 2019, arXiv:1811.00937.

_COMMONSENSE_QA = (
    Template('{question}\n{options}'),
    Template('Use common sense.\n{question}\n{options}\nMost fitting:'),
    Template('Ask anyone on the street: {question} What would most people say?'),
    Template('Several of these may be possible, but one is the most natural. {question}\n{options}'),
    Template('{options}\n\nTake one of them as the reply to this question: {question}'),
    Template('Question: {question}\nReply in a word or two.'),
    Template('A child asks you, "{question}" Which answer do you give?\n{options}'),
    Template('Think about how the world usually works and answer.\n\n>> {question}'),
    Template('Write a question that common knowledge answers with "{answer}".', '{question}', inverted=True),
    Template(
        'Quiz authors begin from a concept and an answer.\nConcept: {concept}\nAnswer: {answer}\n'
        'The question they came up with:',
        '{question}',
        inverted=True,
    ),
)


def _commonsense_qa_fields(row: Row) -> Fields:
    return {**choices.fields(row), 'concept': row['concept']}


# --------------------------------------------------------------------------------------------------------------- COPA
# Roemmele et al. 2011, "Choice of plausible alternatives", AAAI Spring Symposium; as in SuperGLUE.


def _copa_row(row: Row) -> Row:
    names = ('premise', 'question', 'choice1', 'choice2')
    return {name: text(row[name]) for name in names} | {'label': label_name(row['label'], ('choice1', 'choice2'))}


def _copa_fields(row: Row) -> Fields | None:
    if row['label'] not in ('choice1', 'choice2'):
        return None
    cause = row['question'] == 'cause'
    return {
        'premise': row['premise'],
        'clause': row['premise'].rstrip('. '),
        'relation': row['question'],
        'asks': 'What was the cause?' if cause else 'What happened as a result?',
        'link': 'because' if cause else 'and so',
        'when': 'just before' if cause else 'right after',
        'choice1': row['choice1'],
        'choice2': row['choice2'],
        'options': [row['choice1'], row['choice2']],
        'answer': row[row['label']],
    }


_COPA = (
    Template('{premise} {asks}\n{options}'),
    Template('Which is the more plausible {relation} of this event?\nEvent: {premise}\n{options}'),
    Template('"{clause}, {link} ..."\nFinish the thought with one of these sentences.\n{options}'),
    Template(
        'Consider two sentences.\n1) {choice1}\n2) {choice2}\nOne of them is the likely {relation} of: {premise}\n'
        'Write down that sentence.'
    ),
    Template('Somebody tells you: {premise}\nYou can guess what took place {when} that.\n{options}'),
    Template('{choice1} Or: {choice2}\nWhich of the two is linked to "{premise}" as its {relation}?'),
    Template('Premise: {premise}\nRelation asked for: {relation}\n{options}\nAlternative chosen:'),
    Template(
        'I need the next panel of a comic strip. This panel shows: {premise} The panel I need shows the {relation}. '
        'Should it be "{choice1}" or "{choice2}"?'
    ),
    Template('{premise}\nThink up a plausible {relation} of this in one sentence.', '{answer}', inverted=True),
    Template('A story says: {answer}\nThis was the {relation} of something. Of what?', '{premise}', inverted=True),
)

# --------------------------------------------------------------------------------------------------------------- PIQA
# Bisk et al. 2020, arXiv:1911.11641.


def _piqa_row(row: Row) -> Row:
    ways = [text(row['sol1']), text(row['sol2'])]
    index = int(row['label'])
    return {'goal': text(row['goal']), 'choices': ways, 'answer_index': index, 'answer': ways[index]}


def _piqa_fields(row: Row) -> Fields | None:
    first, second = row['choices']
    if first == second:
        return None
    return {
        'goal': row['goal'],
        'first': first,
        'second': second,
        'options': [first, second],
        'answer': row['answer'],
    }


_PIQA = (
    Template('{goal}\n{options}'),
    Template('Goal: {goal}\nOnly one of these ways works as it should.\n{options}'),
    Template(
        'Two entries compete for one place in a household handbook. Keep the one that can be trusted.\n{goal}\n'
        '{options}'
    ),
    Template(
        'Two people give advice. The matter is this: {goal}\nAnn: {first}\nBen: {second}\n'
        'One of them knows how things work. '
        'Repeat what that person says.'
    ),
    Template('Picture the physical steps before you choose.\n\nTask: {goal}\n{options}\n\nBetter way:'),
    Template(
        'I want to get this done: {goal}\nShould I follow (1) or (2)? Write out the one to follow.\n'
        '(1) {first}\n(2) {second}'
    ),
    Template('{options}\n\nWhich of these belongs to the following aim and makes physical sense?\n{goal}'),
    Template('Handyman, I have a question.\n{goal}\nWhat do you advise?\n{options}'),
    Template('Here is a piece of practical advice.\n{answer}\nWhat is it meant to achieve?', '{goal}', inverted=True),
    Template('Give the goal that somebody has in mind who does this: {answer}', '{goal}', inverted=True),
)

# COPA and PIQA have no labelled test split: the end of `train` serves for validation, their development set is `test`.
_DEVELOPMENT_AS_TEST = {'train': 'train[:90%]', 'validation': 'train[90%:]', 'test': 'validation'}

TASKS: tuple[Task, ...] = (
    Task(
        name='commonsense_qa',
        cluster='commonsense',
        source=LocalSource(reason='not in TFDS; its authors distribute JSON lines'),
        fields=_commonsense_qa_fields,
        templates=_COMMONSENSE_QA,
        mode='rank',
        metrics=('accuracy',),
        texts_from=('commonsense_qa',),
    ),
    Task(
        name='copa',
        cluster='commonsense',
        source=TfdsSource('super_glue/copa:1.0.2', _DEVELOPMENT_AS_TEST, _copa_row),
        fields=_copa_fields,
        templates=_COPA,
        mode='rank',
        metrics=('accuracy',),
        texts_from=('copa',),
    ),
    Task(
        name='piqa',
        cluster='commonsense',
        source=TfdsSource('piqa:1.0.0', _DEVELOPMENT_AS_TEST, _piqa_row),
        fields=_piqa_fields,
        templates=_PIQA,
        mode='rank',
        metrics=('accuracy',),
        texts_from=('piqa',),
    ),
)
