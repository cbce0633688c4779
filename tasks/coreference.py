"""What a pronoun refers to, in sentences written or picked to be hard: DPR, GAP and WSC by way of TFDS."""

import string

from flan_jax.data.task import Fields, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks.tfds_rows import UNLABELLED, label_name, text

_NEITHER = 'neither of them'
_WSC_ANSWERS = {'true': 'yes', 'false': 'no'}
# Words that are upper case only because they begin a sentence, and would give away which candidate comes first.
_DETERMINERS = {'The', 'A', 'An', 'Some', 'Many', 'My', 'His', 'Her', 'Their', 'Our'}


def _noun_phrase(phrase: str) -> str:
    """'The program' -> 'the program'; names stay."""
    first, space, rest = phrase.strip().partition(' ')
    return first.lower() + space + rest if space and first in _DETERMINERS else phrase.strip()


def _dpr_row(row: Row) -> Row:
    choices = [text(candidate) for candidate in row['candidates']]
    return {
        'sentence': text(row['sentence']),
        'pronoun': text(row['pronoun']),
        'choices': choices,
        'answer': choices[int(row['label'])],
    }


def _dpr_fields(row: Row) -> Fields:
    choice_a, choice_b = (_noun_phrase(choice) for choice in row['choices'])
    return {
        'sentence': row['sentence'].strip(),
        'pronoun': row['pronoun'].strip(),
        'choice_a': choice_a,
        'choice_b': choice_b,
        'answer': _noun_phrase(row['answer']),
        'options': [choice_a, choice_b],
    }


def _gap_row(row: Row) -> Row:
    return {
        'text': text(row['Text']),
        'pronoun': text(row['Pronoun']),
        'pronoun_offset': int(row['Pronoun-offset']),
        'candidate_a': text(row['A']),
        'candidate_b': text(row['B']),
        'label': 'A' if row['A-coref'] else 'B' if row['B-coref'] else 'neither',
    }


def _gap_fields(row: Row) -> Fields | None:
    """Brackets the pronoun: the same word often occurs more than once in a passage."""
    passage, pronoun, start = row['text'], row['pronoun'], row['pronoun_offset']
    a, b = row['candidate_a'], row['candidate_b']
    end = start + len(pronoun)
    if a == b or passage[start:end] != pronoun:
        return None
    return {
        'text': passage.strip(),
        'marked': f'{passage[:start]}[{pronoun}]{passage[end:]}'.strip(),
        'pronoun': pronoun,
        'candidate_a': a,
        'candidate_b': b,
        'answer': {'A': a, 'B': b, 'neither': _NEITHER}[row['label']],
        'options': [a, b, _NEITHER],
    }


def _wsc_row(row: Row) -> Row:
    return {
        'text': text(row['text']),
        'span1_text': text(row['span1_text']),
        'span2_text': text(row['span2_text']),
        'span2_index': int(row['span2_index']),
        'label': label_name(row['label'], ('false', 'true')),
    }


def _wsc_fields(row: Row) -> Fields | None:
    """Puts the pronoun nearest to word `span2_index` between asterisks; a few of the published indices are off."""
    if row['label'] == UNLABELLED:
        return None
    words, pronoun = row['text'].split(), row['span2_text'].strip()
    at = [i for i, word in enumerate(words) if word.strip(string.punctuation).lower() == pronoun.lower()]
    if not at:
        return None
    nearest = min(at, key=lambda i: abs(i - row['span2_index']))
    bare = words[nearest].strip(string.punctuation)
    words[nearest] = words[nearest].replace(bare, f'*{bare}*')
    return {
        'text': ' '.join(row['text'].split()),
        'marked': ' '.join(words),
        'pronoun': pronoun,
        'span': _noun_phrase(row['span1_text']),
        'relation': 'refers' if row['label'] == 'true' else 'does not refer',
        'answer': _WSC_ANSWERS[row['label']],
        'options': list(_WSC_ANSWERS.values()),
    }


# Definite pronoun resolution: pairs of sentences after Winograd's, by students (Rahman and Ng, 2012). TFDS has no
# validation split.
_DPR = Task(
    name='definite_pronoun_resolution',
    cluster='coreference',
    source=TfdsSource(
        'definite_pronoun_resolution:1.1.0',
        {'train': 'train[:-150]', 'validation': 'train[-150:]', 'test': 'test'},
        _dpr_row,
    ),
    fields=_dpr_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('definite_pronoun_resolution',),
    templates=(
        Template('{sentence}\n\nWho or what is meant by "{pronoun}" here?\n{options}'),
        Template('Does "{pronoun}" refer to {choice_a} or to {choice_b}?\n\n{sentence}'),
        Template('Sentence: {sentence}\nPronoun: {pronoun}\n{options}\nAntecedent:'),
        Template('Put a noun phrase in place of "{pronoun}" so that nothing is left unclear.\n\n{sentence}\n{options}'),
        Template(
            'Two candidates are mentioned in the text. Which of the two does "{pronoun}" pick up?\n{options}\n\n'
            'Text: {sentence}'
        ),
        Template(
            'Someone who is learning English has trouble with this sentence: {sentence}\nThey ask you what '
            '"{pronoun}" stands for. What do you tell them?\n{options}'
        ),
        Template('{sentence}\nIn this sentence, "{pronoun}" ='),
        Template('Resolve the pronoun "{pronoun}" ({choice_a} / {choice_b}): {sentence}'),
        Template(
            'Write a sentence that mentions {choice_a} and {choice_b} and in which "{pronoun}" refers to {answer}.',
            '{sentence}',
            inverted=True,
        ),
        Template(
            'Which word (or words) in the sentence point back to {answer}?\n\n{sentence}', '{pronoun}', inverted=True
        ),
    ),
)

# GAP: ambiguous pronouns in Wikipedia, as many feminine as masculine ones (Webster et al., 2018).
_GAP = Task(
    name='gap_coreference',
    cluster='coreference',
    source=TfdsSource('gap:0.1.1', {'train': 'train', 'validation': 'validation', 'test': 'test'}, _gap_row),
    fields=_gap_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('gap',),
    templates=(
        Template('{marked}\n\nWho is the pronoun in square brackets?\n{options}'),
        Template(
            'One pronoun in this passage is in square brackets. Does it stand for {candidate_a}, for {candidate_b}, or '
            'for neither of them?\n\n{marked}'
        ),
        Template('Passage: {marked}\nPronoun: [{pronoun}]\n{options}\nPerson meant:'),
        Template('Find the person behind "[{pronoun}]".\n{options}\n\n{marked}'),
        Template(
            'A colleague is editing the encyclopedia entry below and is unsure whom the bracketed "{pronoun}" points '
            'to. Can you say?\n\n{marked}\n\n{options}'
        ),
        Template(
            'Names: {candidate_a}; {candidate_b}\nText: {marked}\nWhich of the names has the same referent as '
            '[{pronoun}]? If it is somebody else, write "neither of them".'
        ),
        Template('Read the entry and link the word in brackets to a name.\n\n{marked}\n{options}\nLink:'),
        Template('"{marked}"\n\nWhen the text says [{pronoun}], it is speaking of'),
        Template(
            'Quiz on pronouns. The one in brackets may or may not belong to a person on the list.\n{options}\n\n'
            '{marked}\n\nWhose is it?'
        ),
        Template(
            'Write a short passage as in an encyclopedia. Mention {candidate_a} and {candidate_b}, and use the pronoun '
            '"{pronoun}" in such a way that it refers to {answer}.',
            '{text}',
            inverted=True,
        ),
    ),
)

# The Winograd Schema Challenge as yes/no questions, in SuperGLUE's form (Levesque et al., 2012; Wang et al., 2019).
_WSC = Task(
    name='wsc',
    cluster='coreference',
    source=TfdsSource('super_glue/wsc.fixed:1.0.2', {'train': 'train', 'validation': 'validation'}, _wsc_row),
    fields=_wsc_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('winograd_schemas',),
    templates=(
        Template('{marked}\n\nDoes the word between asterisks refer to "{span}"?\n{options}'),
        Template('Yes or no: is "{span}" what *{pronoun}* stands for in the text below?\n\n{marked}'),
        Template('Text: {marked}\nClaim: *{pronoun}* means "{span}".\nIs the claim right?\n{options}'),
        Template('Could you swap *{pronoun}* for "{span}" without changing what is said?\n{options}\n\n{marked}'),
        Template(
            'Teacher: Look at the pronoun with the asterisks. {marked}\nPupil: I think that it goes back to "{span}".\n'
            'Is the pupil right, yes or no?'
        ),
        Template('Expression 1: {span}\nExpression 2: *{pronoun}*\n{marked}\nDo both name the same thing?\n{options}'),
        Template('Someone reads "{marked}" and takes *{pronoun}* to be "{span}". Did they understand it?\n{options}'),
        Template('{marked}\nIs "{span}" the antecedent of *{pronoun}*?'),
        Template(
            'A program for coreference has linked *{pronoun}* with "{span}" in the text below. Should the link stay?\n'
            '{options}\n\nText: {marked}'
        ),
        Template(
            'Write a short text with the expression "{span}" and the pronoun "{pronoun}". Take care that the pronoun '
            '{relation} to "{span}".',
            '{text}',
            inverted=True,
        ),
    ),
)

TASKS: tuple[Task, ...] = (_DPR, _GAP, _WSC)
