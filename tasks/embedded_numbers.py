"""Tasks over small numbers: sorting, comparison and arithmetic. Sums are told as stories about people and things."""

import random

from tasks.embedded_instances import listed, mini
from tasks.embedded_words import FEW_NAMES, NAMES, NUMBERS, THINGS, WORDS


def _story(rng: random.Random) -> dict[str, str]:
    return {'name': rng.choice(NAMES), 'things': rng.choice(THINGS)}


def _two_people(rng: random.Random) -> dict[str, str]:
    name, other = rng.sample(FEW_NAMES, 2)
    return {'name': name, 'other': other, 'things': rng.choice(THINGS)}


def _sort_up(rng):
    numbers = rng.sample(NUMBERS, 3)
    return {'numbers': listed(numbers), 'answer': listed(sorted(numbers))}


SORT_UP = mini(
    'sort_up',
    'sorting',
    draw=_sort_up,
    templates=(
        '{Say} these numbers with the smallest first: {numbers}.',
        '{Numbers}: {numbers}. {Say} the numbers with the smallest first.',
        'What are these numbers with the smallest first: {numbers}.',
        '{Numbers}: {numbers}. I need the numbers with the smallest first.',
        'Sort these numbers with the smallest first: {numbers}.',
        '{Numbers}: {numbers}. Can you {say} the numbers with the smallest first?',
        'I need these numbers with the smallest first: {numbers}.',
        '{Numbers}: {numbers}. Sort them with the smallest first.',
        '{Numbers}: {numbers}. What are the numbers with the smallest first?',
        'Read this and {say} these numbers with the smallest first: {numbers}.',
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
        '{Say} these numbers with the largest first: {numbers}.',
        '{Numbers}: {numbers}. {Say} the numbers with the largest first.',
        'What are these numbers with the largest first: {numbers}.',
        '{Numbers}: {numbers}. I need the numbers with the largest first.',
        'Sort these numbers with the largest first: {numbers}.',
        '{Numbers}: {numbers}. Can you {say} the numbers with the largest first?',
        'I need these numbers with the largest first: {numbers}.',
        '{Numbers}: {numbers}. Sort them with the largest first.',
        '{Numbers}: {numbers}. What are the numbers with the largest first?',
        'Read this and {say} these numbers with the largest first: {numbers}.',
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
        '{Say} this {list} in reverse: {words}.',
        '{Here}: {words}. {Say} the {list} in reverse.',
        'What is this {list} in reverse: {words}.',
        '{Here}: {words}. I need the {list} in reverse.',
        'Reverse this {list}: {words}.',
        '{Here}: {words}. Can you {say} the {list} in reverse?',
        'I need this {list} in reverse: {words}.',
        '{Here}: {words}. Now reverse the {list}.',
        '{Here}: {words}. What is the {list} in reverse?',
        'Read this and {say} this {list} in reverse: {words}.',
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
        '{Say} the largest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. {Say} the largest number.',
        'What is the largest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. I need the largest number.',
        'Which number is the largest: {numbers}.',
        '{Numbers}: {numbers}. Can you {say} the largest number?',
        'I need the largest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. Which number is the largest?',
        '{Numbers}: {numbers}. What is the largest number?',
        'Read this and {say} the largest of these numbers: {numbers}.',
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
        '{Say} the smallest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. {Say} the smallest number.',
        'What is the smallest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. I need the smallest number.',
        'Which number is the smallest: {numbers}.',
        '{Numbers}: {numbers}. Can you {say} the smallest number?',
        'I need the smallest of these numbers: {numbers}.',
        '{Numbers}: {numbers}. Which number is the smallest?',
        '{Numbers}: {numbers}. What is the smallest number?',
        'Read this and {say} the smallest of these numbers: {numbers}.',
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
        '{Say} the name of who {has} more: {name} {has} {a} {things} and {other} {has} {b}.',
        '{name} {has} {a} {things} and {other} {has} {b}. {Say} the name of who {has} more.',
        'What is the name of who {has} more: {name} {has} {a} {things} and {other} {has} {b}.',
        '{name} {has} {a} {things} and {other} {has} {b}. I need the name of who {has} more.',
        'Who {has} more: {name} {has} {a} {things} and {other} {has} {b}.',
        '{name} {has} {a} {things} and {other} {has} {b}. Can you {say} the name of who {has} more?',
        'I need the name of who {has} more: {name} {has} {a} {things} and {other} {has} {b}.',
        '{name} {has} {a} {things} and {other} {has} {b}. Who {has} more?',
        '{name} {has} {a} {things} and {other} {has} {b}. What is the name of who {has} more?',
        'Read this and {say} the name of who {has} more: {name} {has} {a} {things} and {other} {has} {b}.',
    ),
)


def _oldest(rng):
    ages = dict(zip(rng.sample(FEW_NAMES, 3), rng.sample(NUMBERS[1:], 3), strict=True))
    told = listed([f'{name} is {age}' for name, age in ages.items()])
    return {'ages': told, 'answer': max(ages, key=ages.__getitem__)}


OLDEST = mini(
    'oldest',
    'comparison',
    draw=_oldest,
    templates=(
        '{Say} the name of the oldest: {ages}.',
        '{Ages}: {ages}. {Say} the name of the oldest.',
        'What is the name of the oldest: {ages}.',
        '{Ages}: {ages}. I need the name of the oldest.',
        'Who is the oldest: {ages}.',
        '{Ages}: {ages}. Can you {say} the name of the oldest?',
        'I need the name of the oldest: {ages}.',
        '{Ages}: {ages}. Who is the oldest?',
        '{Ages}: {ages}. What is the name of the oldest?',
        'Read this and {say} the name of the oldest: {ages}.',
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
        '{Say} the total number of {things}: {name} has {a} {things} and {gets} {b} more.',
        '{name} has {a} {things} and {gets} {b} more. {Say} the total number of {things}.',
        'What is the total number of {things}: {name} has {a} {things} and {gets} {b} more.',
        '{name} has {a} {things} and {gets} {b} more. I need the total number of {things}.',
        'How many {things} is that in all: {name} has {a} {things} and {gets} {b} more.',
        '{name} has {a} {things} and {gets} {b} more. Can you {say} the total number of {things}?',
        'I need the total number of {things}: {name} has {a} {things} and {gets} {b} more.',
        '{name} has {a} {things} and {gets} {b} more. How many {things} is that in all?',
        '{name} has {a} {things} and {gets} {b} more. What is the total number of {things}?',
        'Read this and {say} the total number of {things}: {name} has {a} {things} and {gets} {b} more.',
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
        '{Say} the number of {things} left: {name} has {a} {things} and {loses} {b}.',
        '{name} has {a} {things} and {loses} {b}. {Say} the number of {things} left.',
        'What is the number of {things} left: {name} has {a} {things} and {loses} {b}.',
        '{name} has {a} {things} and {loses} {b}. I need the number of {things} left.',
        'How many {things} are left: {name} has {a} {things} and {loses} {b}.',
        '{name} has {a} {things} and {loses} {b}. Can you {say} the number of {things} left?',
        'I need the number of {things} left: {name} has {a} {things} and {loses} {b}.',
        '{name} has {a} {things} and {loses} {b}. How many {things} are left?',
        '{name} has {a} {things} and {loses} {b}. What is the number of {things} left?',
        'Read this and {say} the number of {things} left: {name} has {a} {things} and {loses} {b}.',
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
        '{Say} the next number if {name} counts {things}: {numbers}.',
        '{name} counts {things}: {numbers}. {Say} the next number.',
        'What is the next number if {name} counts {things}: {numbers}.',
        '{name} counts {things}: {numbers}. I need the next number.',
        'Which number comes next if {name} counts {things}: {numbers}.',
        '{name} counts {things}: {numbers}. Can you {say} the next number?',
        'I need the next number if {name} counts {things}: {numbers}.',
        '{name} counts {things}: {numbers}. Which number comes next?',
        '{name} counts {things}: {numbers}. What is the next number?',
        'Read this and {say} the next number if {name} counts {things}: {numbers}.',
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
        '{Say} the number for {other}: {name} has {a} {things} and {other} has twice as many.',
        '{name} has {a} {things} and {other} has twice as many. {Say} the number for {other}.',
        'What is the number for {other}: {name} has {a} {things} and {other} has twice as many.',
        '{name} has {a} {things} and {other} has twice as many. I need the number for {other}.',
        'How many {things} does {other} have: {name} has {a} {things} and {other} has twice as many.',
        '{name} has {a} {things} and {other} has twice as many. Can you {say} the number for {other}?',
        'I need the number for {other}: {name} has {a} {things} and {other} has twice as many.',
        '{name} has {a} {things} and {other} has twice as many. How many {things} does {other} have?',
        '{name} has {a} {things} and {other} has twice as many. What is the number for {other}?',
        'Read this and {say} the number for {other}: {name} has {a} {things} and {other} has twice as many.',
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
