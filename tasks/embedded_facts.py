"""Tasks over stated facts and kinds of words: lookup and classification."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import FEW_NAMES, KIND_OF, KINDS, LETTERS, NAMES, NUMBERS, PLACES, THINGS, WITH_ARTICLE, WORDS


def _pairs(rng: random.Random, values: tuple[str, ...], *, count: int) -> dict[str, str]:
    return dict(zip(rng.sample(FEW_NAMES, count), rng.sample(values, count), strict=True))


def _table(pairs: dict[str, str]) -> str:
    """
    >>> _table({'ann': 'red', 'bob': 'pie'})
    'ann = red, bob = pie'
    """
    return listed([f'{name} = {word}' for name, word in pairs.items()])


def _lookup_value(rng):
    pairs = _pairs(rng, WORDS, count=rng.randint(2, 3))
    key = rng.choice(tuple(pairs))
    return {'table': _table(pairs), 'key': key, 'answer': pairs[key]}


LOOKUP_VALUE = mini(
    'lookup_value',
    'lookup',
    draw=_lookup_value,
    templates=(
        '{Say} the word that goes with {key} in this table: {table}.',
        '{Table}: {table}. {Say} the word that goes with {key}.',
        'What is the word that goes with {key} in this table: {table}.',
        '{Table}: {table}. I need the word that goes with {key}.',
        'Which word goes with {key} in this table: {table}.',
        '{Table}: {table}. Can you {say} the word that goes with {key}?',
        'I need the word that goes with {key} in this table: {table}.',
        '{Table}: {table}. Which word goes with {key}?',
        '{Table}: {table}. What is the word that goes with {key}?',
        'Read this and {say} the word that goes with {key} in this table: {table}.',
    ),
)


def _lookup_field(rng):
    card = {
        'name': rng.choice(NAMES),
        'age': str(rng.choice(NUMBERS[1:])),
        'pet': rng.choice(KINDS['animal']),
        'food': rng.choice(KINDS['food']),
    }
    fields = rng.sample(tuple(card), 3)
    field = rng.choice(fields)
    return {'card': listed([f'{name} = {card[name]}' for name in fields]), 'field': field, 'answer': card[field]}


LOOKUP_FIELD = mini(
    'lookup_field',
    'lookup',
    draw=_lookup_field,
    templates=(
        '{Say} the {field} on this card: {card}.',
        '{Card}: {card}. {Say} the {field}.',
        'What is the {field} on this card: {card}.',
        '{Card}: {card}. I need the {field}.',
        'Which {field} is on this card: {card}.',
        '{Card}: {card}. Can you {say} the {field}?',
        'I need the {field} on this card: {card}.',
        '{Card}: {card}. Which {field} is on it?',
        '{Card}: {card}. What is the {field}?',
        'Read this and {say} the {field} on this card: {card}.',
    ),
)


def _where_is(rng):
    pairs = _pairs(rng, PLACES, count=2)
    name = rng.choice(tuple(pairs))
    facts = listed([f'{who} is in the {place}' for who, place in pairs.items()])
    return {'facts': facts, 'name': name, 'answer': pairs[name]}


WHERE_IS = mini(
    'where_is',
    'lookup',
    draw=_where_is,
    templates=(
        '{Say} the place of {name}: {facts}.',
        '{Facts}: {facts}. {Say} the place of {name}.',
        'What is the place of {name}: {facts}.',
        '{Facts}: {facts}. I need the place of {name}.',
        'Where is {name}: {facts}.',
        '{Facts}: {facts}. Can you {say} the place of {name}?',
        'I need the place of {name}: {facts}.',
        '{Facts}: {facts}. Where is {name}?',
        '{Facts}: {facts}. What is the place of {name}?',
        'Read this and {say} the place of {name}: {facts}.',
    ),
)


def _kind_of_word(rng):
    word = rng.choice(WORDS)
    others = rng.sample([kind for kind in KINDS if kind != KIND_OF[word]], rng.randint(2, 3))
    options = rng.sample([KIND_OF[word], *others], 1 + len(others))
    return {'word': word, 'kinds': listed(options), 'options': options, 'answer': KIND_OF[word]}


KIND_OF_WORD = mini(
    'kind_of_word',
    'classification',
    draw=_kind_of_word,
    templates=(
        '{Say} the kind of {word}: {kinds}.',
        '{Kinds}: {kinds}. {Say} the kind of {word}.',
        'What is the kind of {word}?\n{options}',
        '{Kinds}: {kinds}. I need the kind of {word}.',
        'Which kind of word is {word}: {kinds}.',
        '{Kinds}: {kinds}. Can you {say} the kind of {word}?',
        'I need the kind of {word}: {kinds}.',
        'Which kind of word is {word}?\n{options}',
        '{Kinds}: {kinds}. What is the kind of {word}?',
        'Read this and {say} the kind of {word}: {kinds}.',
    ),
)


def _odd_one_out(rng):
    kind, other = rng.sample(tuple(KINDS), 2)
    odd = rng.choice(KINDS[other])
    words = [*rng.sample(KINDS[kind], 3), odd]
    rng.shuffle(words)
    return {'words': listed(words), 'answer': odd}


ODD_ONE_OUT = mini(
    'odd_one_out',
    'classification',
    draw=_odd_one_out,
    templates=(
        '{Say} the odd word in this {list}: {words}.',
        '{Here}: {words}. {Say} the odd word.',
        'What is the odd word in this {list}: {words}.',
        '{Here}: {words}. I need the odd word.',
        'Which word is the odd one in this {list}: {words}.',
        '{Here}: {words}. Can you {say} the odd word?',
        'I need the odd word in this {list}: {words}.',
        '{Here}: {words}. Which word is the odd one?',
        '{Here}: {words}. What is the odd word?',
        'Read this and {say} the odd word in this {list}: {words}.',
    ),
)


def _stated_rule(rng):
    kind = rng.choice(tuple(KINDS))
    other = rng.choice([name for name in KINDS if name != kind])
    word_kind = rng.choice((kind, other))
    yes, no = rng.sample(LETTERS, 2)
    return {
        'word': rng.choice(KINDS[word_kind]),
        'kind': WITH_ARTICLE[kind],
        'yes': yes,
        'no': no,
        'answer': yes if word_kind == kind else no,
    }


STATED_RULE = mini(
    'stated_rule',
    'classification',
    draw=_stated_rule,
    templates=(
        '{Say} {yes} if {word} is {kind} and {no} if not.',
        'The word is {word}. {Say} {yes} if it is {kind} and {no} if not.',
        'Is {word} {kind}? I need {yes} if so and {no} if not.',
        'The word is {word}. I need {yes} if it is {kind} and {no} if not.',
        'If {word} is {kind}, {say} {yes}. If not, {say} {no}.',
        'The word is {word}. If it is {kind}, {say} {yes}. If not, {say} {no}.',
        'I need {yes} if {word} is {kind} and {no} if not.',
        'Can you {say} {yes} if {word} is {kind} and {no} if not?',
        'Is {word} {kind}? {Say} {yes} if so and {no} if not.',
        'Read this and {say} {yes} if {word} is {kind} and {no} if not.',
    ),
)


def _even_or_odd(rng):
    number = rng.choice(NUMBERS)
    return {
        'name': rng.choice(NAMES),
        'things': rng.choice(THINGS),
        'number': str(number),
        'options': ['even', 'odd'],
        'answer': 'odd' if number % 2 else 'even',
    }


EVEN_OR_ODD = mini(
    'even_or_odd',
    'classification',
    draw=_even_or_odd,
    templates=(
        '{Say} if this number is even or odd: {name} {has} {number} {things}.',
        '{name} {has} {number} {things}. {Say} if this number is even or odd.',
        'Is this number even or odd: {name} {has} {number} {things}.',
        '{name} {has} {number} {things}. I need to see if this number is even or odd.',
        'What kind of number is it if {name} {has} {number} {things}?\n{options}',
        '{name} {has} {number} {things}. Can you {say} if this number is even or odd?',
        'I need to see if this number is even or odd: {name} {has} {number} {things}.',
        '{name} {has} {number} {things}. What kind of number is it?\n{options}',
        '{name} {has} {number} {things}. Is this number even or odd?',
        'Read this and {say} if this number is even or odd: {name} {has} {number} {things}.',
    ),
)

TASKS = (
    LOOKUP_VALUE,
    LOOKUP_FIELD,
    WHERE_IS,
    KIND_OF_WORD,
    ODD_ONE_OUT,
    STATED_RULE,
    EVEN_OR_ODD,
)
