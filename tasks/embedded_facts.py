"""Tasks over stated facts and kinds of words: lookup and classification."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import KIND_OF, KINDS, LETTERS, NAMES, NUMBERS, PLACES, THINGS, WITH_ARTICLE, WORDS


def _pairs(rng: random.Random, values: tuple[str, ...]) -> dict[str, str]:
    count = rng.randint(2, 4)
    return dict(zip(rng.sample(NAMES, count), rng.sample(values, count), strict=True))


def _table(pairs: dict[str, str]) -> str:
    """
    >>> _table({'ann': 'red', 'bob': 'pie'})
    'ann = red, bob = pie'
    """
    return listed([f'{name} = {word}' for name, word in pairs.items()])


def _lookup_value(rng):
    pairs = _pairs(rng, WORDS)
    key = rng.choice(tuple(pairs))
    return {'table': _table(pairs), 'key': key, 'answer': pairs[key]}


LOOKUP_VALUE = mini(
    'lookup_value',
    'lookup',
    draw=_lookup_value,
    templates=(
        'Table: {table}. What does {key} have?',
        'What is the value of {key} in this table: {table}.',
        'Look up {key} and write the value: {table}.',
        'Table: {table}. Find {key} and give the word beside it.',
        'Here is a table: {table}. Which word belongs to {key}?',
        'Which word goes with {key}? Table: {table}.',
        'Read this table: {table}. What is the value for {key}?',
        'I need the value of {key}. Look it up here: {table}.',
        'Find the value of {key} here: {table}.',
        'Table: {table}. Which word goes with {key}?',
    ),
)


def _lookup_key(rng):
    pairs = _pairs(rng, WORDS)
    key = rng.choice(tuple(pairs))
    return {'table': _table(pairs), 'value': pairs[key], 'answer': key}


LOOKUP_KEY = mini(
    'lookup_key',
    'lookup',
    draw=_lookup_key,
    templates=(
        'Table: {table}. Who has {value}?',
        'Who has {value} in this table: {table}.',
        'Find {value} and write the name beside it: {table}.',
        'Here is a table: {table}. Which name goes with {value}?',
        'Look up who has {value}: {table}.',
        'Table: {table}. Give the name that belongs to {value}.',
        'Which name belongs to {value} here: {table}.',
        'One name in this table has {value}. Say who: {table}.',
        'Which name goes with {value}? Table: {table}.',
        'Read this table: {table}. Who has {value}?',
    ),
)


def _where_is(rng):
    pairs = _pairs(rng, PLACES)
    name = rng.choice(tuple(pairs))
    facts = listed([f'{who} is in the {place}' for who, place in pairs.items()])
    return {'facts': facts, 'name': name, 'answer': pairs[name]}


WHERE_IS = mini(
    'where_is',
    'lookup',
    draw=_where_is,
    templates=(
        'Where is {name}? Facts: {facts}.',
        'Facts: {facts}. Where can you find {name}?',
        'Name the place where {name} is: {facts}.',
        'Read these facts: {facts}. In which place is {name}?',
        'I want to see {name}. Where do I go? Facts: {facts}.',
        'Here are some facts: {facts}. Where is {name} now?',
        'Find {name} and write the place: {facts}.',
        'In which place can you find {name}: {facts}.',
        'Read these facts: {facts}. Where is {name}?',
        'Write the place where you can find {name}: {facts}.',
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
        'What kind of thing is {word}? Choose one: {kinds}.',
        'Kinds: {kinds}. Which kind is {word}?',
        'Put {word} in the right group: {kinds}.',
        'Word: {word}. To which group does it belong?\n{options}',
        'Groups: {kinds}. Say which one {word} belongs to.',
        'What kind of word is {word}?\n{options}',
        'Choose the right group for the word {word}: {kinds}.',
        'Name the kind of thing that {word} is.\n{options}',
        'To which group does {word} belong: {kinds}.',
        'Word: {word}. Choose the right kind.\n{options}',
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
        'Which word does not belong: {words}.',
        'Words: {words}. Which one is of a different kind?',
        'Find the odd one out: {words}.',
        'List: {words}. One word is not like the others. Write it.',
        'Three of these words are of one kind. Say the different one: {words}.',
        'Read these words: {words}. Pick the odd one out.',
        'One word does not belong to the group. Which: {words}.',
        'Here is a list: {words}. Say which word is not like the others.',
        'Pick the word that is not like the others: {words}.',
        'Words: {words}. Which is the odd one out?',
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
        'If {word} is {kind}, write {yes}. If not, write {no}.',
        'Rule: write {yes} for {kind}, otherwise write {no}. Word: {word}.',
        'Write {yes} for {kind} and {no} for any other word. Word: {word}.',
        'Word: {word}. Say {yes} if it is {kind}, otherwise say {no}.',
        'Is {word} {kind}? If so say {yes}, otherwise say {no}.',
        'Here is a rule: if the word is {kind}, answer {yes}, if not, answer {no}. Word: {word}.',
        'Answer {yes} for {kind} and {no} for any other word. The word is {word}.',
        'The word is {word}. Answer {yes} if it is {kind} and {no} if not.',
        'Is {word} {kind}? Write {yes} if so and {no} if not.',
        'Rule: say {yes} for {kind}, otherwise say {no}. The word is {word}.',
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
        '{name} has {number} {things}. Is that number even or odd?',
        'Even or odd? {name} counts {number} {things}.',
        'Choose even or odd for the number of {things}. {name} has {number}.',
        '{name} buys {number} {things}. Is this an even number or an odd number?',
        'Is {number} even or odd? That is how many {things} {name} has.',
        '{name} found {number} {things}. What kind of number is that?\n{options}',
        'Number: {number}. {name} has that many {things}. Is it odd or even?',
        'Choose the right word for the number of {things} that {name} has: {number}.\n{options}',
        '{name} counts {number} {things}. Is it an even number or an odd one?',
        'Is the number of {things} even or odd? {name} has {number}.',
    ),
)

TASKS = (
    LOOKUP_VALUE,
    LOOKUP_KEY,
    WHERE_IS,
    KIND_OF_WORD,
    ODD_ONE_OUT,
    STATED_RULE,
    EVEN_OR_ODD,
)
