"""What a pronoun refers to when occupations invite a guess by gender: WinoBias and Winogender, from local rows."""

from flan_jax.data.task import Fields, LocalSource, Row, Task
from flan_jax.data.templates import Template


def _winobias_fields(row: Row) -> Fields:
    """Leaves out the row's `marked`, which shows the answer."""
    occupation = row['answer'].strip().removeprefix('The ').removeprefix('the ')
    return {
        'sentence': ' '.join(row['sentence'].split()),
        'pronoun': row['pronoun'].strip(),
        'answer': f'the {occupation.strip()}',
    }


def _winogender_fields(row: Row) -> Fields:
    return {
        'sentence': row['sentence'].strip(),
        'pronoun': row['pronoun'].strip(),
        'choice_a': row['choices'][0],
        'choice_b': row['choices'][1],
        'answer': row['answer'],
        'options': list(row['choices']),
    }


# WinoBias: two occupations and a pronoun, with and against the stereotype (Zhao et al., 2018).
_WINOBIAS = Task(
    name='winobias',
    cluster='coreference',
    source=LocalSource(
        reason='not in TFDS; the sentences are in github.com/uclanlp/corefBias', splits=('train', 'test')
    ),
    fields=_winobias_fields,
    mode='generate',
    metrics=('squad_exact_match', 'squad_f1'),
    texts_from=('winobias',),
    templates=(
        Template('{sentence}\n\nWhom does "{pronoun}" refer to?'),
        Template('Sentence: {sentence}\nPronoun: {pronoun}\nRefers to:'),
        Template('Name the person that the word "{pronoun}" stands for in this sentence.\n\n{sentence}'),
        Template(
            'There are two people in the sentence below, each named by a job. Which one is "{pronoun}"?\n{sentence}'
        ),
        Template('I read: "{sentence}"\nI am not sure who is meant by "{pronoun}". Can you help?'),
        Template('Copy the words from the sentence that "{pronoun}" takes the place of.\nSentence: {sentence}\nWords:'),
        Template('Going by what is said and not by who usually does the job, who is "{pronoun}" here? {sentence}'),
        Template('Q: In "{sentence}", what is the antecedent of "{pronoun}"?\nA:'),
        Template(
            'Write a sentence about two people at work in which "{pronoun}" refers to {answer}.',
            '{sentence}',
            inverted=True,
        ),
        Template('{sentence}\n\nWith which pronoun does this sentence refer to {answer}?', '{pronoun}', inverted=True),
    ),
)

# Winogender schemas: an occupation, a participant and a pronoun of any gender (Rudinger et al., 2018).
_WINOGENDER = Task(
    name='winogender',
    cluster='coreference',
    source=LocalSource(
        reason='not in TFDS (super_glue/axg is an inference form of it); see github.com/rudinger/winogender-schemas'
    ),
    fields=_winogender_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('winogender',),
    templates=(
        Template('"{sentence}"\nWho is "{pronoun}" in this sentence?\n{options}'),
        Template('Is "{pronoun}" {choice_a} or {choice_b}? Read closely: {sentence}'),
        Template('{options}\n\nTo whom does "{pronoun}" point in the following sentence?\n{sentence}'),
        Template('Context: {sentence}\nQuestion: whom is the speaker calling "{pronoun}"?\n{options}\nAnswer:'),
        Template(
            'Work out from the situation alone who "{pronoun}" is.\n\n{sentence}\n\nThe pronoun takes the place of'
        ),
        Template(
            'An interpreter must know who is meant before translating "{sentence}" Who is "{pronoun}"?\n{options}'
        ),
        Template('{sentence} Which of the two does "{pronoun}" name here, {choice_a} or {choice_b}?'),
        Template('Identify the referent of "{pronoun}".\nSentence: {sentence}\n{options}'),
        Template(
            'Use {choice_a}, {choice_b} and the pronoun "{pronoun}" in one sentence. The pronoun must mean {answer}.',
            '{sentence}',
            inverted=True,
        ),
        Template('Which word in the sentence is a pronoun for {answer}?\n{sentence}', '{pronoun}', inverted=True),
    ),
)

TASKS: tuple[Task, ...] = (_WINOBIAS, _WINOGENDER)
