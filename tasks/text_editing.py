"""Text editing: repaired speech, passive, negation, numbers in words, and long sentences split in two."""

import functools
import re

from flan_jax.data.task import Drop, Fields, LocalSource, Row, Task
from flan_jax.data.templates import Template
from tasks import prose

# ------------------------------------------------------------------------------------------------------------ Disfl-QA
# Gupta et al. 2021, arXiv:2106.04016: questions of SQuAD 2.0 with slips of the tongue and their repair.


def _disfl_fields(row: Row) -> Fields | Drop:
    spoken, meant = ' '.join(row['disfluent'].split()), ' '.join(row['original'].split())
    return {'spoken': spoken, 'answer': meant} if spoken != meant else Drop('nothing_to_edit')


_DISFL_QA = (
    Template(
        'Somebody asked this aloud and corrected themselves halfway. Write the question they meant to ask.\n\n{spoken}'
    ),
    Template('Transcript: {spoken}\nClean question:'),
    Template('Remove slips, fillers and false starts: {spoken}'),
    Template('A voice assistant heard "{spoken}"\nWhich question should it answer?'),
    Template('Edit for fluency, and keep only what the speaker wanted in the end.\n{spoken}'),
    Template('{spoken}\n\nThe speaker had a change of mind while talking. Which question is left?'),
    Template('Rewrite as a well-formed question without self-corrections.\nSpoken: {spoken}\nWritten:'),
    Template('You subtitle interviews and leave out whatever a speaker takes back. Subtitle this: {spoken}'),
    Template(
        'Make this question sound as if it were asked off the cuff, with a false start that the speaker repairs: '
        '{answer}',
        '{spoken}',
        inverted=True,
    ),
    Template(
        'Question: {answer}\nThe same question, with a slip of the tongue and its correction:',
        '{spoken}',
        inverted=True,
    ),
)

# ----------------------------------------------------------------------------------------------- Instruction Induction
# Honovich et al. 2022, arXiv:2205.10782; its sentences are from LAMA and other sets of statements.


def _edit_fields(row: Row) -> Fields | Drop:
    before, after = ' '.join(row['input'].split()), ' '.join(row['output'].split())
    return {'before': before, 'answer': after} if before != after else Drop('nothing_to_edit')


_PASSIVE = (
    Template('Put the sentence into the passive voice: {before}'),
    Template('Active: {before}\nPassive:'),
    Template('{before}\n\nSay the same, but begin with the one to whom it was done.'),
    Template('Rewrite so that the object becomes the subject.\n{before}'),
    Template('Grammar exercise: from active to passive.\n\n1. {before}\n\nSolution:'),
    Template('How does "{before}" read in the passive?'),
    Template(
        'Change the voice of the verb from active to passive and leave the meaning as it is.\nSentence: {before}\n'
        'Result:'
    ),
    Template('The style guide of my department wants a passive here. Please adapt the sentence: {before}'),
    Template('Put the sentence into the active voice: {answer}', '{before}', inverted=True),
    Template('{answer}\n\nRewrite this with the one who did it as the subject.', '{before}', inverted=True),
)

_NEGATION = (
    Template('Negate this sentence: {before}'),
    Template('Statement: {before}\nNegated statement:'),
    Template('Deny the following in one sentence, with as few changes as you can.\n{before}'),
    Template('{before}\n\nWrite a sentence that is true just if this one is false.'),
    Template('Put in a "not" where it belongs: {before}'),
    Template('What does somebody say who thinks this is wrong? Keep the wording as far as possible.\n"{before}"'),
    Template('Turn the claim into its negation.\nClaim: {before}\nNegation:'),
    Template('Anna: {before}\nBen holds the contrary and says so in almost the same words.\nBen:'),
    Template('Take the negation out of this sentence: {answer}', '{before}', inverted=True),
    Template('Negative form: {answer}\nAffirmative form:', '{before}', inverted=True),
)

_NUMBER_WORDS = (
    Template('Write {before} in words.'),
    Template('Number: {before}\nIn words:'),
    Template('How is the number {before} spelled out in English?'),
    Template('Read {before} aloud and write down what you say.'),
    Template('A cheque is made out for {before} pounds. Write the number out, without the currency.'),
    Template('{before} = ?\nReply in English number words.'),
    Template('Spell out the following, with "and" between hundreds and tens and a comma after thousands: {before}'),
    Template('Replace the figures by words.\n\n{before}'),
    Template('Write this number in figures: {answer}', '{before}', inverted=True),
    Template('{answer}\n\nThe same in digits only:', '{before}', inverted=True),
)

# ----------------------------------------------------------------------------------------------------------- WikiSplit
# Botha et al. 2018, arXiv:1808.09468: edits of Wikipedia that made two sentences of one. Some halves say a little more
# or less than the whole.


def _wikipedia_text(text: str) -> str:
    """Undoes the tokens; two apostrophes stand for a quotation mark, and hyphens stand apart.

    >>> _wikipedia_text("The re - issue is called '' Zolonta '' , or '' Zalanta '' .")
    'The re-issue is called "Zolonta", or "Zalanta".'
    """
    pieces = [piece.strip() for piece in (' ' + text + ' ').split(" '' ")]
    quoted = [f'"{piece}"' if i % 2 else piece for i, piece in enumerate(pieces)]
    # An odd one out has lost its partner.
    joined = ' '.join(quoted if len(pieces) % 2 else pieces)
    return re.sub(r'(?<=\w) - (?=\w)', '-', prose.join_tokens(joined)).replace(',.', '.')


def _split_fields(row: Row) -> Fields | Drop:
    parts = [_wikipedia_text(part) for part in row['split']]
    if len(parts) != 2 or not all(parts):
        return Drop('not_two_sentences')
    return {'whole': _wikipedia_text(row['sentence']), 'first': parts[0], 'second': parts[1], 'answer': ' '.join(parts)}


_WIKI_SPLIT = (
    Template('Split this sentence into two shorter ones that together say the same.\n\n{whole}'),
    Template('Long sentence: {whole}\nTwo sentences:'),
    Template('Make the following easier to read: break it into two sentences.\n{whole}'),
    Template('{whole}\n\nAn editor finds this too long and asks for two sentences instead. Write them.'),
    Template('Rewrite with one more full stop. Adapt the words around it where you must.\n\n{whole}'),
    Template('Say this in two steps, one sentence each: {whole}'),
    Template(
        'For readers who tire quickly, divide the sentence in two and keep every fact.\nSentence: {whole}\nDivided:'
    ),
    Template('Too much is packed into one sentence here. Unpack it into two.\n{whole}'),
    Template('Join the two sentences into one.\n\n1. {first}\n2. {second}', '{whole}', inverted=True),
    Template('{answer}\n\nSay it in a single sentence.', '{whole}', inverted=True),
)

_task = functools.partial(Task, cluster='text_editing', metrics=('exact_match', 'rouge_l'))
_induction = functools.partial(
    _task, source=LocalSource('Instruction Induction was never in TFDS'), fields=_edit_fields
)

TASKS: tuple[Task, ...] = (
    _task(
        name='disfl_qa',
        source=LocalSource('Disfl-QA was never in TFDS'),
        fields=_disfl_fields,
        templates=_DISFL_QA,
        texts_from=('squad',),
    ),
    _induction(name='ii_active_to_passive', templates=_PASSIVE, texts_from=('ii_active_to_passive',)),
    _induction(name='ii_negation', templates=_NEGATION, texts_from=('lama',)),
    _induction(
        name='ii_num_to_verbal', templates=_NUMBER_WORDS, metrics=('exact_match',), texts_from=('ii_num_to_verbal',)
    ),
    _task(
        name='wiki_split',
        source=LocalSource('WikiSplit was never in TFDS'),
        fields=_split_fields,
        templates=_WIKI_SPLIT,
        metrics=('bleu', 'rouge_l'),
        texts_from=('wiki_split',),
    ),
)
