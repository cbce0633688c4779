"""Tasks over a short list of words: selecting, editing and counting. Only the instruction tells them apart."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import KIND_OF, KINDS, PLURALS, WORDS


def _words(rng: random.Random, shortest: int, longest: int) -> list[str]:
    return rng.sample(WORDS, rng.randint(shortest, longest))


def _first_word(rng):
    words = _words(rng, 3, 5)
    return {'words': listed(words), 'answer': words[0]}


FIRST_WORD = mini(
    'first_word',
    'selecting',
    draw=_first_word,
    templates=(
        'Write the first word of this list: {words}.',
        'Here is a list: {words}. Which word comes first?',
        'What is the first word here: {words}.',
        'List: {words}. Give only the first word.',
        'Say which word is at the start of this list: {words}.',
        'Words: {words}. Your answer is the first one.',
        'Read these words: {words}. Pick the one at the start.',
        'Look at the list and copy its first word: {words}.',
        'Pick the first one of these words: {words}.',
        'Look at this list: {words}. Which word is at the start?',
    ),
)


def _last_word(rng):
    words = _words(rng, 3, 5)
    return {'words': listed(words), 'answer': words[-1]}


LAST_WORD = mini(
    'last_word',
    'selecting',
    draw=_last_word,
    templates=(
        'Give the last word of this list: {words}.',
        'Words: {words}. Which one comes last?',
        'Which word is at the end of this list: {words}.',
        'List: {words}. Write only the last word.',
        'Pick the last one of these and copy it: {words}.',
        'Look at these words: {words}. Say the one at the end.',
        'I need the last word here: {words}.',
        'Here are some words: {words}. What is the last one?',
        'Say which word is at the end of this list: {words}.',
        'Read this list: {words}. What is the last word?',
    ),
)


def _middle_word(rng):
    words = _words(rng, 3, 3)
    return {'words': listed(words), 'answer': words[1]}


MIDDLE_WORD = mini(
    'middle_word',
    'selecting',
    draw=_middle_word,
    templates=(
        'Write the middle word of this list: {words}.',
        'Words: {words}. Which one is in the middle?',
        'Pick the middle word of these three: {words}.',
        'List: {words}. Give only the middle word.',
        'Look at this list: {words}. What stands in the middle?',
        'Here are three words: {words}. Say the one in the middle.',
        'Read these words: {words}. Now copy the middle one.',
        'The middle word stands between two others. Find it: {words}.',
        'Which word is in the middle of these three: {words}.',
        'Look at this list: {words}. Give the middle one.',
    ),
)


def _word_after(rng):
    words = _words(rng, 4, 4)
    place = rng.randrange(3)
    return {'words': listed(words), 'word': words[place], 'answer': words[place + 1]}


WORD_AFTER = mini(
    'word_after',
    'selecting',
    draw=_word_after,
    templates=(
        'Which word comes right after {word} in this list: {words}.',
        'List: {words}. What comes after {word}?',
        'Find {word} and write the word after it: {words}.',
        'Words: {words}. Say the one that follows {word}.',
        'Read these words: {words}. Which one follows {word}?',
        'Go to {word}, then one step to the right: {words}.',
        'Here is a list: {words}. What follows {word} in it?',
        'After {word} there is another word. Copy it: {words}.',
        'Write the word that follows {word} in this list: {words}.',
        'Words: {words}. Find the one right after {word}.',
    ),
)


def _word_before(rng):
    words = _words(rng, 4, 4)
    place = rng.randrange(1, 4)
    return {'words': listed(words), 'word': words[place], 'answer': words[place - 1]}


WORD_BEFORE = mini(
    'word_before',
    'selecting',
    draw=_word_before,
    templates=(
        'Which word comes right before {word} in this list: {words}.',
        'List: {words}. What comes before {word}?',
        'Find {word} and copy the word before it: {words}.',
        'Words: {words}. Say the one just before {word}.',
        'Go to {word}, then one step to the left: {words}.',
        'Here are some words: {words}. One of them comes before {word}. Write it.',
        'Before {word} there is another word. Give it: {words}.',
        'Read these words: {words}. What stands before {word}?',
        'Give the word just before {word}: {words}.',
        'Read this list: {words}. Which one comes right before {word}?',
    ),
)


def _drop_first(rng):
    words = _words(rng, 3, 4)
    return {'words': listed(words), 'answer': listed(words[1:])}


DROP_FIRST = mini(
    'drop_first',
    'editing',
    draw=_drop_first,
    templates=(
        'Drop the first word and write the rest: {words}.',
        'List: {words}. Remove the first word from it.',
        'Write this list without its first word: {words}.',
        'Words: {words}. Leave out the first one.',
        'Leave out the word at the start and write the rest: {words}.',
        'Here is a list: {words}. Drop the first word and copy the rest.',
        'Read these words: {words}. Now write them without the one at the start.',
        'This list is too long. Remove the word that comes first: {words}.',
        'Drop the word at the start of this list: {words}.',
        'Words: {words}. Remove the first one and write the rest.',
    ),
)


def _drop_last(rng):
    words = _words(rng, 3, 4)
    return {'words': listed(words), 'answer': listed(words[:-1])}


DROP_LAST = mini(
    'drop_last',
    'editing',
    draw=_drop_last,
    templates=(
        'Drop the last word and write the rest: {words}.',
        'List: {words}. Leave out the last word.',
        'Write these words without the last one: {words}.',
        'Words: {words}. Remove the one at the end.',
        'Remove the last word of this list and copy the rest: {words}.',
        'Here are some words: {words}. Leave out the one that comes last.',
        'Read this list: {words}. Now write it without the last word.',
        'Make this list shorter. Drop the word at its end: {words}.',
        'Leave out the word at the end of this list: {words}.',
        'List: {words}. Drop the last one and write the rest.',
    ),
)


def _replace_word(rng):
    *words, new = rng.sample(WORDS, 4)
    old = rng.choice(words)
    changed = [new if word == old else word for word in words]
    return {'words': listed(words), 'old': old, 'new': new, 'answer': listed(changed)}


REPLACE_WORD = mini(
    'replace_word',
    'editing',
    draw=_replace_word,
    templates=(
        'Change {old} to {new} in this list: {words}.',
        'List: {words}. Replace {old} with {new}.',
        'Write this list with {new} in place of {old}: {words}.',
        'Words: {words}. Put {new} where {old} is.',
        'Replace {old} with {new} and write the list: {words}.',
        'Read these words: {words}. Now write them, but {old} becomes {new}.',
        'Copy this list, but change {old} to {new}: {words}.',
        'Here is a list: {words}. I want {new} instead of {old}.',
        'Put {new} in place of {old} here: {words}.',
        'Words: {words}. Write them with {new} instead of {old}.',
    ),
)


def _add_word(rng):
    words = _words(rng, 3, 4)
    return {'words': listed(words[:-1]), 'word': words[-1], 'answer': listed(words)}


ADD_WORD = mini(
    'add_word',
    'editing',
    draw=_add_word,
    templates=(
        'Add {word} to the end of this list: {words}.',
        'List: {words}. Put {word} at the end.',
        'Write this list with {word} added at the end: {words}.',
        'Words: {words}. Now add {word}.',
        'Copy these words and then add {word}: {words}.',
        'Here is a list: {words}. Make it longer with {word} at the end.',
        'The list needs one more word, {word}. List: {words}.',
        'Read this list: {words}. Write it again and add {word}.',
        'Put {word} at the end of these words: {words}.',
        'List: {words}. Add the word {word} and write it again.',
    ),
)


def _count_items(rng):
    words = _words(rng, 2, 6)
    return {'words': listed(words), 'answer': str(len(words))}


COUNT_ITEMS = mini(
    'count_items',
    'counting',
    draw=_count_items,
    templates=(
        'How many words are in this list: {words}.',
        'Count these words: {words}.',
        'List: {words}. How many words does it have?',
        'Words: {words}. Count them all.',
        'Here is a list: {words}. Write how many words it has.',
        'Give the number of words here: {words}.',
        'Read this list: {words}. How long is it?',
        'How long is this list? Count every word: {words}.',
        'Write the number of words in this list: {words}.',
        'List: {words}. Count the words and write how many.',
    ),
)


def _count_word(rng):
    word, *others = rng.sample(WORDS, 6)
    count = rng.randrange(5)
    words = [word] * count + others[count:]
    rng.shuffle(words)
    return {'words': listed(words), 'word': word, 'answer': str(count)}


COUNT_WORD = mini(
    'count_word',
    'counting',
    draw=_count_word,
    templates=(
        'How many times does {word} appear in this list: {words}.',
        'Count how often {word} appears here: {words}.',
        'List: {words}. How often is {word} in it?',
        'Words: {words}. How many times do you see {word}?',
        'Here is a list: {words}. Count each {word} in it.',
        'Find every {word} and say how many times it appears: {words}.',
        'Read these words: {words}. How often does {word} come up?',
        'The word {word} may appear many times or never. Count it: {words}.',
        'How often does {word} appear in this list: {words}.',
        'Words: {words}. Count how many times you see {word}.',
    ),
)


def _count_kind(rng):
    kind = rng.choice(tuple(KINDS))
    count = rng.randrange(5)
    others = [word for word in WORDS if KIND_OF[word] != kind]
    words = rng.sample(KINDS[kind], count) + rng.sample(others, 5 - count)
    rng.shuffle(words)
    return {'words': listed(words), 'kind': PLURALS[kind], 'answer': str(count)}


COUNT_KIND = mini(
    'count_kind',
    'counting',
    draw=_count_kind,
    templates=(
        'How many of these words are {kind}: {words}.',
        'Count the {kind} in this list: {words}.',
        'List: {words}. How many {kind} are in it?',
        'Words: {words}. How many of them are {kind}?',
        'Here is a list: {words}. Count only the {kind}.',
        'Look for {kind} and say how many there are: {words}.',
        'Read these words: {words}. Give the number of {kind}.',
        'Some of these words may be {kind}. How many: {words}.',
        'Give the number of {kind} in this list: {words}.',
        'Words: {words}. Count all the {kind}.',
    ),
)

TASKS = (
    FIRST_WORD,
    LAST_WORD,
    MIDDLE_WORD,
    WORD_AFTER,
    WORD_BEFORE,
    DROP_FIRST,
    DROP_LAST,
    REPLACE_WORD,
    ADD_WORD,
    COUNT_ITEMS,
    COUNT_WORD,
    COUNT_KIND,
)
