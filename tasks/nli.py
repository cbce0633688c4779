"""Natural language inference: does one text follow from another? SuperGLUE, GLUE, SNLI and SciTail by way of TFDS."""

import functools
from collections.abc import Mapping, Sequence

from flan_jax.data.task import Fields, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks.tfds_rows import UNLABELLED, label_name, text

# SNLI writes '-' where its annotators found no majority.
_NO_LABEL = (UNLABELLED, '-')

# How the hypothesis stands to the premise, for the templates that ask to write one of the two.
_RELATIONS = {
    'entailment': 'confirmed by',
    'contradiction': 'ruled out by',
    'neutral': 'neither confirmed nor ruled out by',
    'not_entailment': 'not confirmed by',
}


def _fields(answers: Mapping[str, str], row: Row) -> Fields | None:
    label = row['label']
    if label in _NO_LABEL:
        return None
    return {
        'premise': row['premise'].strip(),
        'hypothesis': row['hypothesis'].strip(),
        'relation': _RELATIONS[label],
        'answer': answers[label],
        'options': list(answers.values()),
    }


def _from_tfds(names: Sequence[str], row: Row) -> Row:
    return {
        'premise': text(row['premise']),
        'hypothesis': text(row['hypothesis']),
        'label': label_name(row['label'], names),
    }


def _task(
    name: str,
    source: TfdsSource,
    *,
    answers: Mapping[str, str],
    templates: tuple[Template, ...],
    corpora: tuple[str, ...],
) -> Task:
    return Task(
        name=name,
        cluster='nli',
        source=source,
        fields=functools.partial(_fields, answers),
        templates=templates,
        mode='rank',
        metrics=('accuracy',),
        texts_from=corpora,
    )


# CommitmentBank: is the author of a short discourse committed to a clause in it? (de Marneffe et al., 2019)
_CB = _task(
    'cb',
    TfdsSource(
        'super_glue/cb:1.0.2',
        {'train': 'train', 'validation': 'validation'},
        functools.partial(_from_tfds, ('entailment', 'contradiction', 'neutral')),
    ),
    answers={'entailment': 'true', 'contradiction': 'false', 'neutral': 'undetermined'},
    corpora=('commitment_bank',),
    templates=(
        Template('{premise}\n\nJudging by this passage alone, is it true that {hypothesis}?\n{options}'),
        Template(
            'Read the excerpt and decide whether the claim is true, false or undetermined.\n'
            'Excerpt: {premise}\nClaim: {hypothesis}\nVerdict:'
        ),
        Template(
            'How does the statement "{hypothesis}" stand in the light of the text below?\n{options}\n\nText: {premise}'
        ),
        Template(
            'Somebody said or wrote the following: {premise}\n\nTaking them at their word, what can be said of the '
            'claim that {hypothesis}?\n{options}'
        ),
        Template(
            'Statement: {hypothesis}\nSource: {premise}\n\nDoes the source make the statement true, make it false, or '
            'leave it undetermined?'
        ),
        Template(
            'I want to check one sentence against a snippet of text. The snippet goes:\n\n{premise}\n\n'
            'The sentence is: {hypothesis}\n\nWhat do you find?\n{options}'
        ),
        Template('True, false or undetermined: {hypothesis}?\n\nGo only by this text: {premise}'),
        Template('Text: {premise}\nInference: {hypothesis}\n{options}\nStatus of the inference:'),
        Template('Text: {premise}\n\nWrite a short claim that is {relation} this text.', '{hypothesis}', inverted=True),
        Template(
            'Make up a passage of prose or dialogue. A careful reader of it should judge the claim "{hypothesis}" to '
            'be {answer}.',
            '{premise}',
            inverted=True,
        ),
    ),
)

# MultiNLI: ten genres of written and spoken English (Williams et al., 2018).
_MNLI = _task(
    'mnli',
    TfdsSource(
        'glue/mnli:2.0.0',
        {'train': 'train', 'validation': 'validation_matched', 'test': 'validation_mismatched'},
        functools.partial(_from_tfds, ('entailment', 'neutral', 'contradiction')),
    ),
    answers={'entailment': 'yes', 'neutral': 'it is not possible to tell', 'contradiction': 'no'},
    corpora=('multi_nli',),
    templates=(
        Template('{premise}\n\nDoes this make the following true?\n{hypothesis}\n{options}'),
        Template(
            'Premise: {premise}\nHypothesis: {hypothesis}\nIf the premise holds, does the hypothesis hold as well? '
            'Reply yes, no, or it is not possible to tell.'
        ),
        Template(
            'Suppose somebody tells you: "{premise}"\n\nIs the next sentence then right?\n{hypothesis}\n{options}'
        ),
        Template(
            'Claim to check: {hypothesis}\n\nEvidence: {premise}\n\nGoing by the evidence, is the claim correct?\n'
            '{options}'
        ),
        Template(
            'Answer from the context and nothing else.\nContext: {premise}\nQuestion: is it a fact that '
            '"{hypothesis}"?\n{options}\nAnswer:'
        ),
        Template(
            'Anna read out: "{premise}"\nBen asked: "And is this true? {hypothesis}"\nHow should Anna reply: yes, no, '
            'or it is not possible to tell?'
        ),
        Template(
            'Take the first sentence as a fact and judge the second by it.\n1. {premise}\n2. {hypothesis}\n'
            'Is the second one true?\n{options}'
        ),
        Template('Is "{hypothesis}" true if all we know is "{premise}"?'),
        Template(
            'Here is a piece of text: {premise}\nCompose a sentence that is {relation} it.',
            '{hypothesis}',
            inverted=True,
        ),
        Template(
            'Someone was shown a short text and asked whether "{hypothesis}" is true. The right reply was "{answer}". '
            'Write a text that fits.',
            '{premise}',
            inverted=True,
        ),
    ),
)

# The Recognizing Textual Entailment challenges 1, 2, 3 and 5, two-way, as SuperGLUE joins them (Wang et al., 2019).
_RTE = _task(
    'rte',
    TfdsSource(
        'super_glue/rte:1.0.2',
        {'train': 'train', 'validation': 'validation'},
        functools.partial(_from_tfds, ('entailment', 'not_entailment')),
    ),
    answers={'entailment': 'yes', 'not_entailment': 'no'},
    corpora=('rte',),
    templates=(
        Template('{premise}\n\nCan we conclude from the paragraph above that "{hypothesis}"?\n{options}'),
        Template(
            'Passage: {premise}\nStatement: {hypothesis}\nDoes the statement follow from the passage? Say yes or no.'
        ),
        Template(
            'Does a reader of this news text learn that the statement is true?\n\nNews text: {premise}\n'
            'Statement: {hypothesis}\n{options}'
        ),
        Template(
            'I would like to print this sentence: {hypothesis}\nMy only source says: {premise}\n'
            'Does the source back the sentence up?\n{options}'
        ),
        Template('{hypothesis}\n\nIs that established by the report that follows?\n\n{premise}\n\n{options}'),
        Template(
            'As an editor you accept a one-line summary only if the text proves it.\nText: {premise}\n'
            'Summary: {hypothesis}\nDo you accept it?\n{options}'
        ),
        Template('Yes or no: is "{hypothesis}" a safe conclusion to draw from the text below?\n\n{premise}'),
        Template('Text: {premise}\nQuestion: does this text entail that "{hypothesis}"?\nAnswer:'),
        Template(
            'Read this text:\n{premise}\n\nNow write one sentence that is {relation} it.',
            '{hypothesis}',
            inverted=True,
        ),
        Template(
            'Write a short text in the style of a news report. The following statement must be one that is {relation} '
            'your text: {hypothesis}',
            '{premise}',
            inverted=True,
        ),
    ),
)

# SciTail: web sentences against science exam questions turned into statements (Khot et al., 2018). Its questions come
# from grade school exams and SciQ.
_SCITAIL = _task(
    'scitail',
    TfdsSource(
        'sci_tail:1.0.0',
        {'train': 'train', 'validation': 'validation', 'test': 'test'},
        # TFDS keeps the names of the original release, where the second class is 'neutral'.
        functools.partial(_from_tfds, ('entailment', 'not_entailment')),
    ),
    answers={'entailment': 'supported', 'not_entailment': 'not supported'},
    corpora=('science_exams', 'sciq'),
    templates=(
        Template(
            'Fact: {premise}\nHypothesis: {hypothesis}\nIs the hypothesis supported or not supported by the fact?'
        ),
        Template(
            '{premise}\n\nFrom this sentence a student concludes: "{hypothesis}"\nHow would you judge the conclusion?\n'
            '{options}'
        ),
        Template(
            'You are marking science homework. The textbook says: {premise}\nThe pupil wrote: {hypothesis}\n'
            'Going by that line of the textbook alone, what is your mark?\n{options}'
        ),
        Template('Does the evidence carry the claim?\nClaim: {hypothesis}\nEvidence: {premise}\n{options}'),
        Template(
            'Label sentence 2 as supported or not supported by sentence 1.\nSentence 1: {premise}\n'
            'Sentence 2: {hypothesis}\nLabel:'
        ),
        Template(
            'Somebody searched the web for proof that "{hypothesis}"\nThis was all they found:\n{premise}\n\n'
            'What is the status of the statement now?\n{options}'
        ),
        Template(
            'Statement: {hypothesis}\n\nWith nothing to go on but the following line, how do you rate the statement?\n'
            '{premise}\n{options}'
        ),
        Template('"{hypothesis}"\nIs this supported or not supported by the scientific sentence "{premise}"?'),
        Template(
            'A sentence from a science text: {premise}\nState something on the same topic that is {answer} by it.',
            '{hypothesis}',
            inverted=True,
        ),
        Template(
            'Give a sentence from a science text by which the claim "{hypothesis}" is {answer}.',
            '{premise}',
            inverted=True,
        ),
    ),
)

# SNLI: the premises are captions of Flickr30k photos (Bowman et al., 2015).
_SNLI = _task(
    'snli',
    TfdsSource(
        'snli:1.1.0',
        {'train': 'train', 'validation': 'validation', 'test': 'test'},
        functools.partial(_from_tfds, ('entailment', 'neutral', 'contradiction')),
    ),
    answers={'entailment': 'entailment', 'neutral': 'neutral', 'contradiction': 'contradiction'},
    corpora=('snli', 'flickr30k'),
    templates=(
        Template(
            'Caption of a photo: {premise}\nSentence: {hypothesis}\nHow does the sentence relate to the caption?\n'
            '{options}'
        ),
        Template('Premise: {premise}\nHypothesis: {hypothesis}\nLabel (entailment, neutral or contradiction):'),
        Template(
            'Picture this scene: {premise}\nNow consider: {hypothesis}\nDoes the second follow from the first '
            '(entailment), clash with it (contradiction), or do neither (neutral)?'
        ),
        Template(
            'Classify how the second description of a scene relates to the first.\n{options}\n\n'
            'First: {premise}\nSecond: {hypothesis}'
        ),
        Template(
            '"{hypothesis}"\n\nSomebody says this about an image with the caption "{premise}"\n\n'
            'What would a logician call the relation?\n{options}'
        ),
        Template('What kind of inference is the step from "{premise}" to "{hypothesis}"?\n{options}'),
        Template(
            'I looked at a picture and noted: {premise}\nMy sister, who never saw it, guessed: {hypothesis}\n'
            'Measured against my note, her guess is a case of what?\n{options}'
        ),
        Template(
            'Name the logical relation between the context and the sentence that follows it: entailment, neutral or '
            'contradiction.\n\nContext: {premise}\nSentence: {hypothesis}\nRelation:'
        ),
        Template(
            'Photo caption: {premise}\nWrite a sentence about the same photo. Its relation to the caption should be '
            'this: {answer}.',
            '{hypothesis}',
            inverted=True,
        ),
        Template(
            'Invent a photo caption such that the sentence "{hypothesis}" is {relation} it.',
            '{premise}',
            inverted=True,
        ),
    ),
)

TASKS: tuple[Task, ...] = (_CB, _MNLI, _RTE, _SCITAIL, _SNLI)
