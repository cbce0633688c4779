"""Tasks over a short list of words: selecting, editing and counting. Only the instruction tells them apart."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import KIND_OF, KINDS, PLURALS, WORDS


def _words(rng: random.Random, shortest: int, *, longest: int) -> list[str]:
    return rng.sample(WORDS, rng.randint(shortest, longest))


def _first_word(rng):
    words = _words(rng, 3, longest=5)
    return {'words': listed(words), 'answer': words[0]}


FIRST_WORD = mini(
    'first_word',
    'selecting',
    draw=_first_word,
    templates=(
        '{Say} the first word of this {list}: {words}.',
        '{Here}: {words}. {Say} the first word.',
        'What is the first word of this {list}: {words}.',
        '{Here}: {words}. I need the first word.',
        'Which word comes first in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the first word?',
        'I need the first word of this {list}: {words}.',
        '{Here}: {words}. Which word is the first?',
        '{Here}: {words}. What is the first word?',
        'Read this and {say} the first word of this {list}: {words}.',
    ),
)


def _last_word(rng):
    words = _words(rng, 3, longest=5)
    return {'words': listed(words), 'answer': words[-1]}


LAST_WORD = mini(
    'last_word',
    'selecting',
    draw=_last_word,
    templates=(
        '{Say} the last word of this {list}: {words}.',
        '{Here}: {words}. {Say} the last word.',
        'What is the last word of this {list}: {words}.',
        '{Here}: {words}. I need the last word.',
        'Which word comes last in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the last word?',
        'I need the last word of this {list}: {words}.',
        '{Here}: {words}. Which word is the last?',
        '{Here}: {words}. What is the last word?',
        'Read this and {say} the last word of this {list}: {words}.',
    ),
)


def _middle_word(rng):
    words = _words(rng, 3, longest=3)
    return {'words': listed(words), 'answer': words[1]}


MIDDLE_WORD = mini(
    'middle_word',
    'selecting',
    draw=_middle_word,
    templates=(
        '{Say} the middle word of this {list}: {words}.',
        '{Here}: {words}. {Say} the middle word.',
        'What is the middle word of this {list}: {words}.',
        '{Here}: {words}. I need the middle word.',
        'Which word is in the middle of this {list}: {words}.',
        '{Here}: {words}. Can you {say} the middle word?',
        'I need the middle word of this {list}: {words}.',
        '{Here}: {words}. Which word is in the middle?',
        '{Here}: {words}. What is the middle word?',
        'Read this and {say} the middle word of this {list}: {words}.',
    ),
)


def _word_after(rng):
    words = rng.sample(KINDS['colour'] + KINDS['animal'], 3)  # few: which one is meant must be learned for each
    place = rng.randrange(2)
    return {'words': listed(words), 'word': words[place], 'answer': words[place + 1]}


WORD_AFTER = mini(
    'word_after',
    'selecting',
    draw=_word_after,
    templates=(
        '{Say} the word after {word} in this {list}: {words}.',
        '{Here}: {words}. {Say} the word after {word}.',
        'What is the word after {word} in this {list}: {words}.',
        '{Here}: {words}. I need the word after {word}.',
        'Which word comes after {word} in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the word after {word}?',
        'I need the word after {word} in this {list}: {words}.',
        '{Here}: {words}. Which word comes after {word}?',
        '{Here}: {words}. What is the word after {word}?',
        'Read this and {say} the word after {word} in this {list}: {words}.',
    ),
)


def _word_of_kind(rng):
    kinds = rng.sample(tuple(KINDS), 3)
    words = [rng.choice(KINDS[kind]) for kind in kinds]
    place = rng.randrange(3)
    return {'words': listed(words), 'kind': kinds[place], 'answer': words[place]}


WORD_OF_KIND = mini(
    'word_of_kind',
    'selecting',
    draw=_word_of_kind,
    templates=(
        '{Say} the {kind} in this {list}: {words}.',
        '{Here}: {words}. {Say} the {kind}.',
        'What is the {kind} in this {list}: {words}.',
        '{Here}: {words}. I need the {kind}.',
        'Which word is the {kind} in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {kind}?',
        'I need the {kind} in this {list}: {words}.',
        '{Here}: {words}. Which word is the {kind}?',
        '{Here}: {words}. What is the {kind}?',
        'Read this and {say} the {kind} in this {list}: {words}.',
    ),
)


def _drop_first(rng):
    words = _words(rng, 3, longest=4)
    return {'words': listed(words), 'answer': listed(words[1:])}


DROP_FIRST = mini(
    'drop_first',
    'editing',
    draw=_drop_first,
    templates=(
        '{Say} this {list} without the first word: {words}.',
        '{Here}: {words}. {Say} the {list} without the first word.',
        'What is this {list} without the first word: {words}.',
        '{Here}: {words}. I need the {list} without the first word.',
        '{Drop} the first word of this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {list} without the first word?',
        'I need this {list} without the first word: {words}.',
        '{Here}: {words}. Now {drop} the first word.',
        '{Here}: {words}. What is the {list} without the first word?',
        'Read this and {say} this {list} without the first word: {words}.',
    ),
)


def _drop_last(rng):
    words = _words(rng, 3, longest=4)
    return {'words': listed(words), 'answer': listed(words[:-1])}


DROP_LAST = mini(
    'drop_last',
    'editing',
    draw=_drop_last,
    templates=(
        '{Say} this {list} without the last word: {words}.',
        '{Here}: {words}. {Say} the {list} without the last word.',
        'What is this {list} without the last word: {words}.',
        '{Here}: {words}. I need the {list} without the last word.',
        '{Drop} the last word of this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {list} without the last word?',
        'I need this {list} without the last word: {words}.',
        '{Here}: {words}. Now {drop} the last word.',
        '{Here}: {words}. What is the {list} without the last word?',
        'Read this and {say} this {list} without the last word: {words}.',
    ),
)


def _add_first(rng):
    words = _words(rng, 3, longest=4)
    return {'words': listed(words[1:]), 'word': words[0], 'answer': listed(words)}


ADD_FIRST = mini(
    'add_first',
    'editing',
    draw=_add_first,
    templates=(
        '{Say} this {list} with {word} added at the start: {words}.',
        '{Here}: {words}. {Say} the {list} with {word} added at the start.',
        'What is this {list} with {word} added at the start: {words}.',
        '{Here}: {words}. I need the {list} with {word} added at the start.',
        'Add {word} at the start of this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {list} with {word} added at the start?',
        'I need this {list} with {word} added at the start: {words}.',
        '{Here}: {words}. Now add {word} at the start.',
        '{Here}: {words}. What is the {list} with {word} added at the start?',
        'Read this and {say} this {list} with {word} added at the start: {words}.',
    ),
)


def _add_last(rng):
    words = _words(rng, 3, longest=4)
    return {'words': listed(words[:-1]), 'word': words[-1], 'answer': listed(words)}


ADD_LAST = mini(
    'add_last',
    'editing',
    draw=_add_last,
    templates=(
        '{Say} this {list} with {word} added at the end: {words}.',
        '{Here}: {words}. {Say} the {list} with {word} added at the end.',
        'What is this {list} with {word} added at the end: {words}.',
        '{Here}: {words}. I need the {list} with {word} added at the end.',
        'Add {word} at the end of this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {list} with {word} added at the end?',
        'I need this {list} with {word} added at the end: {words}.',
        '{Here}: {words}. Now add {word} at the end.',
        '{Here}: {words}. What is the {list} with {word} added at the end?',
        'Read this and {say} this {list} with {word} added at the end: {words}.',
    ),
)


def _count_items(rng):
    words = _words(rng, 2, longest=6)
    return {'words': listed(words), 'answer': str(len(words))}


COUNT_ITEMS = mini(
    'count_items',
    'counting',
    draw=_count_items,
    templates=(
        '{Say} the number of words in this {list}: {words}.',
        '{Here}: {words}. {Say} the number of words.',
        'What is the number of words in this {list}: {words}.',
        '{Here}: {words}. I need the number of words.',
        'How many words are in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the number of words?',
        'I need the number of words in this {list}: {words}.',
        '{Here}: {words}. How many words are there?',
        '{Here}: {words}. What is the number of words?',
        'Read this and {say} the number of words in this {list}: {words}.',
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
        '{Say} the number of times you see {word} in this {list}: {words}.',
        '{Here}: {words}. {Say} the number of times you see {word}.',
        'What is the number of times you see {word} in this {list}: {words}.',
        '{Here}: {words}. I need the number of times you see {word}.',
        'How many times do you see {word} in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the number of times you see {word}?',
        'I need the number of times you see {word} in this {list}: {words}.',
        '{Here}: {words}. How many times do you see {word}?',
        '{Here}: {words}. What is the number of times you see {word}?',
        'Read this and {say} the number of times you see {word} in this {list}: {words}.',
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
        '{Say} the number of {kind} in this {list}: {words}.',
        '{Here}: {words}. {Say} the number of {kind}.',
        'What is the number of {kind} in this {list}: {words}.',
        '{Here}: {words}. I need the number of {kind}.',
        'How many {kind} are in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the number of {kind}?',
        'I need the number of {kind} in this {list}: {words}.',
        '{Here}: {words}. How many {kind} are there?',
        '{Here}: {words}. What is the number of {kind}?',
        'Read this and {say} the number of {kind} in this {list}: {words}.',
    ),
)

TASKS = (
    FIRST_WORD,
    LAST_WORD,
    MIDDLE_WORD,
    WORD_AFTER,
    WORD_OF_KIND,
    DROP_FIRST,
    DROP_LAST,
    ADD_FIRST,
    ADD_LAST,
    COUNT_ITEMS,
    COUNT_WORD,
    COUNT_KIND,
)
