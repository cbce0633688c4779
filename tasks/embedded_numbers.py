"""Tasks over small numbers: sorting, comparison and arithmetic. Sums are told as stories about people and things."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import NAMES, NUMBERS, THINGS, WORDS


def _story(rng: random.Random) -> dict[str, str]:
    return {'name': rng.choice(NAMES), 'things': rng.choice(THINGS)}


def _two_people(rng: random.Random) -> dict[str, str]:
    name, other = rng.sample(NAMES, 2)
    return {'name': name, 'other': other, 'things': rng.choice(THINGS)}


def _sort_up(rng):
    numbers = rng.sample(NUMBERS, 3)
    return {'numbers': listed(numbers), 'answer': listed(sorted(numbers))}


SORT_UP = mini(
    'sort_up',
    'sorting',
    draw=_sort_up,
    templates=(
        'Sort these numbers from small to large: {numbers}.',
        'Numbers: {numbers}. Write them with the smallest first.',
        'Put these numbers in order, smallest first: {numbers}.',
        'List: {numbers}. Sort it from low to high.',
        'Sort from the smallest to the largest: {numbers}.',
        'Here are three numbers: {numbers}. Write them in order, going up.',
        'Which order goes up from low to high? Sort: {numbers}.',
        'Read these numbers: {numbers}. Now sort them, smallest first.',
        'Write these numbers in order from low to high: {numbers}.',
        'Numbers: {numbers}. Sort them with the smallest first.',
    ),
)


def _sort_down(rng):
    numbers = rng.sample(NUMBERS, 3)
    return {'numbers': listed(numbers), 'answer': listed(sorted(numbers, reverse=True))}


SORT_DOWN = mini(
    'sort_down',
    'sorting',
    draw=_sort_down,
    templates=(
        'Sort these numbers from large to small: {numbers}.',
        'Numbers: {numbers}. Write them with the largest first.',
        'Put these numbers in order, largest first: {numbers}.',
        'List: {numbers}. Sort it from high to low.',
        'Sort from the largest to the smallest: {numbers}.',
        'Here are some numbers: {numbers}. Write them in order, going down.',
        'Which order goes down from high to low? Sort: {numbers}.',
        'Read this list: {numbers}. Now sort the numbers, largest first.',
        'Write these numbers in order from high to low: {numbers}.',
        'Numbers: {numbers}. Sort them with the largest first.',
    ),
)


def _reverse_list(rng):
    words = rng.sample(WORDS, rng.randint(3, 4))
    return {'words': listed(words), 'answer': listed(words[::-1])}


REVERSE_LIST = mini(
    'reverse_list',
    'sorting',
    draw=_reverse_list,
    templates=(
        'Write this list backwards: {words}.',
        'Words: {words}. Now write them in reverse order.',
        'Reverse these words: {words}.',
        'List: {words}. Turn it around and write it backwards.',
        'Copy the words in reverse, from the end to the start: {words}.',
        'Here is a list: {words}. Say it backwards.',
        'Read these words: {words}. Turn them around.',
        'Go from the end to the start and write every word backwards: {words}.',
        'Turn these words around: {words}.',
        'List: {words}. Write all the words in reverse order.',
    ),
)


def _largest(rng):
    numbers = rng.sample(NUMBERS, 3)
    return {'numbers': listed(numbers), 'answer': str(max(numbers))}


LARGEST = mini(
    'largest',
    'comparison',
    draw=_largest,
    templates=(
        'Which number is the largest: {numbers}.',
        'Numbers: {numbers}. Pick the largest one.',
        'Find the largest of these numbers: {numbers}.',
        'List: {numbers}. What is the biggest number?',
        'Look at these numbers: {numbers}. Which one is larger than the others?',
        'Write only the biggest number: {numbers}.',
        'Here are three numbers: {numbers}. Say the biggest.',
        'Compare the numbers and give the largest: {numbers}.',
        'Pick the biggest of these numbers: {numbers}.',
        'Numbers: {numbers}. What is the largest one?',
    ),
)


def _smallest(rng):
    numbers = rng.sample(NUMBERS, 3)
    return {'numbers': listed(numbers), 'answer': str(min(numbers))}


SMALLEST = mini(
    'smallest',
    'comparison',
    draw=_smallest,
    templates=(
        'Which number is the smallest: {numbers}.',
        'Numbers: {numbers}. Give the smallest one.',
        'Find the smallest of these numbers: {numbers}.',
        'List: {numbers}. What is the lowest number?',
        'Look at these numbers: {numbers}. Which one is smaller than the others?',
        'Pick only the lowest number: {numbers}.',
        'Here are some numbers: {numbers}. Say the lowest.',
        'Compare the numbers and write the smallest: {numbers}.',
        'Give the lowest of these numbers: {numbers}.',
        'Numbers: {numbers}. Which one is the smallest?',
    ),
)


def _who_has_more(rng):
    a, b = rng.sample(NUMBERS, 2)
    story = _two_people(rng)
    return {**story, 'a': str(a), 'b': str(b), 'answer': story['name'] if a > b else story['other']}


WHO_HAS_MORE = mini(
    'who_has_more',
    'comparison',
    draw=_who_has_more,
    templates=(
        '{name} has {a} {things} and {other} has {b} {things}. Who has more?',
        'Who has more {things} if {name} has {a} and {other} has {b}?',
        'Compare: {name} found {a} {things} and {other} found {b}. Write the name of who has more.',
        'Name the one with more {things}. {name} has {a}, {other} has {b}.',
        'There are {a} {things} for {name} and {b} for {other}. Who gets more?',
        '{name} counts {a} {things}. {other} counts {b}. Who has the larger number?',
        'Find who has the larger number of {things}: {name} has {a}, {other} has {b}.',
        '{name} buys {a} {things} but {other} buys {b}. Who buys more?',
        'Write the name of who has more {things}: {name} has {a}, {other} has {b}.',
        '{name} found {a} {things} and {other} found {b}. Who has the larger number?',
    ),
)


def _oldest(rng):
    ages = dict(zip(rng.sample(NAMES, 3), rng.sample(NUMBERS[1:], 3), strict=True))
    told = listed([f'{name} is {age}' for name, age in ages.items()])
    return {'ages': told, 'answer': max(ages, key=ages.__getitem__)}


OLDEST = mini(
    'oldest',
    'comparison',
    draw=_oldest,
    templates=(
        'Who is the oldest? Ages: {ages}.',
        'Ages: {ages}. Name the oldest one.',
        'Here are three ages: {ages}. Who is the oldest?',
        'Find the oldest of these three: {ages}.',
        'Look at the ages: {ages}. Who is older than the others?',
        'Write the name of the oldest one: {ages}.',
        'Read these ages: {ages}. Say who is oldest.',
        'Compare the ages and say who is older than the others: {ages}.',
        'Say who is the oldest of these three: {ages}.',
        'Here are some ages: {ages}. Write the name of the oldest.',
    ),
)


def _add(rng):
    a, b = rng.randrange(10), rng.randrange(10)
    return {**_story(rng), 'a': str(a), 'b': str(b), 'answer': str(a + b)}


ADD = mini(
    'add',
    'arithmetic',
    draw=_add,
    templates=(
        '{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?',
        'Add the numbers: {name} found {a} {things} and then {b} more.',
        'How many {things} are there in all if {name} has {a} and buys {b} more?',
        '{name} puts {a} {things} and {b} {things} in a box. What is the total?',
        'Work out {a} plus {b} to see how many {things} {name} has in all.',
        'There are {a} {things} here and {name} gets {b} more. Add them all.',
        'First {name} had {a} {things}, then {b} more came. What is the total?',
        'Find the total of {a} and {b} {things} for {name}.',
        '{name} had {a} {things} and then buys {b} more. What is the total?',
        'Add {a} and {b} to see how many {things} {name} has in all.',
    ),
)


def _subtract(rng):
    left, gone = rng.randrange(10), rng.randrange(10)
    return {**_story(rng), 'a': str(left + gone), 'b': str(gone), 'answer': str(left)}


SUBTRACT = mini(
    'subtract',
    'arithmetic',
    draw=_subtract,
    templates=(
        '{name} has {a} {things} and gives away {b}. How many {things} are left?',
        '{name} had {a} {things} and lost {b}. Take away what is lost. How many are left?',
        'How many {things} are left if {name} has {a} and sells {b}?',
        'Work out {a} minus {b} to see how many {things} {name} has left.',
        'There are {a} {things}, but {name} takes away {b}. How many remain?',
        'Subtract the numbers: {name} has {a} {things} and sells {b}.',
        'Of {a} {things}, {name} gives away {b}. How many remain?',
        'Subtract {b} from the {a} {things} that {name} has. How many are left?',
        '{name} had {a} {things} and sells {b}. How many remain?',
        'Subtract {b} from {a} to see how many {things} {name} has left.',
    ),
)


def _next_number(rng):
    step = rng.choice((1, 2))
    start = rng.randint(0, 20 - 3 * step)
    numbers = listed(range(start, start + 3 * step, step))
    return {**_story(rng), 'numbers': numbers, 'answer': str(start + 3 * step)}


NEXT_NUMBER = mini(
    'next_number',
    'arithmetic',
    draw=_next_number,
    templates=(
        '{name} counts {things}: {numbers}. Which number comes next?',
        'What is the next number when {name} counts {things}: {numbers}.',
        '{name} counts {things} and says these numbers: {numbers}. Say the next one.',
        'Numbers: {numbers}. {name} goes on counting {things}. What comes next?',
        'Go on with the numbers that {name} writes on the {things}: {numbers}.',
        'The {things} of {name} have these numbers: {numbers}. Give the number that comes next.',
        'Find the next one. {name} has {things} with these numbers: {numbers}.',
        '{name} writes numbers on {things}: {numbers}. Go on with the next number.',
        'Give the next number. {name} counts {things}: {numbers}.',
        '{name} writes these numbers on {things}: {numbers}. Which one comes next?',
    ),
)


def _double(rng):
    number = rng.randrange(11)
    return {**_two_people(rng), 'a': str(number), 'answer': str(2 * number)}


DOUBLE = mini(
    'double',
    'arithmetic',
    draw=_double,
    templates=(
        '{name} has {a} {things}. {other} has twice as many. How many does {other} have?',
        'Double the number of {things} that {name} gives to {other}: {a}.',
        'If {name} has {a} {things} and {other} has double, how many {things} does {other} have?',
        '{other} wants twice as many {things} as {name}, who has {a}. How many is that?',
        'What is two times {a}? {name} and {other} want to see how many {things} that is.',
        '{name} has {a} {things} and {other} has double that number. How many is that?',
        'Work out the double of {a} to see how many {things} {name} gives to {other}.',
        'Take the {a} {things} of {name} and double the number for {other}.',
        '{other} has double the {a} {things} that {name} has. How many is that?',
        '{name} has {a} {things} and {other} wants twice as many. How many {things} is that?',
    ),
)

TASKS = (
    SORT_UP,
    SORT_DOWN,
    REVERSE_LIST,
    LARGEST,
    SMALLEST,
    WHO_HAS_MORE,
    OLDEST,
    ADD,
    SUBTRACT,
    NEXT_NUMBER,
    DOUBLE,
)
