"""Likeness in meaning of two sentences: SemEval STS pairs from Stack Exchange, from local rows."""

from flan_jax.data.task import Fields, LocalSource, Row, Task
from flan_jax.data.templates import Template


def _fields(row: Row) -> Fields:
    return {
        'sentence1': row['sentence1'].strip(),
        'sentence2': row['sentence2'].strip(),
        'answer': f'{float(row["score"]):.1f}',
    }


# SemEval STS: answers-forums of 2015 (Agirre et al., 2015), answer-answer and question-question of 2016 (Agirre et
# al., 2016). The score is the mean of several annotators' grades from 0 to 5.
_STS_STACKEXCHANGE = Task(
    name='sts_stackexchange',
    cluster='paraphrase',
    source=LocalSource(reason='not in TFDS; the STS files of 2015 and 2016 are on the SemEval site'),
    fields=_fields,
    mode='generate',
    metrics=('pearson',),
    texts_from=('stack_exchange',),
    templates=(
        Template(
            'How similar in meaning are these two sentences? Give a score from 0.0 (unrelated) to 5.0 (equivalent).\n'
            '1. {sentence1}\n2. {sentence2}'
        ),
        Template('Sentence A: {sentence1}\nSentence B: {sentence2}\nSimilarity from 0.0 to 5.0:'),
        Template(
            '"{sentence1}"\n"{sentence2}"\n\nWith 5.0 for the same meaning and 0.0 for nothing in common, which number '
            'fits this pair?'
        ),
        Template(
            'Two people wrote on a question and answer site.\nFirst: {sentence1}\nSecond: {sentence2}\n'
            'Grade from 0 to 5, with one decimal, how nearly they say the same thing.'
        ),
        Template(
            'I am looking for duplicate posts, so I need a number between 0.0 (different matters) and 5.0 (the same '
            'post in other words). One post reads:\n{sentence1}\n\nThe other reads:\n{sentence2}\n\nWhat is the number?'
        ),
        Template(
            'On a five-point scale where 5.0 is a perfect paraphrase and 0.0 is no relation at all, how well does '
            '"{sentence2}" restate "{sentence1}"?'
        ),
        Template(
            'Measure how close the meanings are. Any value from 0.0 to 5.0 is allowed; higher is closer.\n\n'
            'Left: {sentence1}\nRight: {sentence2}\nCloseness:'
        ),
        Template(
            'If "{sentence1}" were replaced by "{sentence2}", how much of the meaning would be kept? Answer with a '
            'number from 0.0 (none) to 5.0 (all).'
        ),
        Template(
            'Write a sentence whose likeness in meaning to the one below is {answer}, where 0.0 stands for unrelated '
            'and 5.0 for equivalent.\n\n{sentence1}',
            '{sentence2}',
            inverted=True,
        ),
        Template(
            'Given: {sentence2}\nWanted: another sentence that scores {answer} out of 5.0 for similarity to it.',
            '{sentence1}',
            inverted=True,
        ),
    ),
)

TASKS: tuple[Task, ...] = (_STS_STACKEXCHANGE,)
