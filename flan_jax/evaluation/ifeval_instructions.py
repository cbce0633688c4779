"""The 25 instructions of IFEval that a program can check (Zhou et al. 2023, arXiv:2311.07911, table 1).

A check takes the answer and, as keywords, the arguments the data set names; their annotations are what the data must
hold. Where the paper leaves a choice (is a star at the start of a line a bullet, is the keyword a word of its own), a
check does what the published evaluation does, so that scores can be compared. It differs where that one would act
against its instruction: arguments are text, not patterns, and a letter may be any character ('#' is asked for once).
"""

import collections
import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

from flan_jax.evaluation import ifeval_text

Relation = Literal['at least', 'less than']


def _holds(count: int, relation: Relation, *, than: int) -> bool:
    return count >= than if relation == 'at least' else count < than


# ------------------------------------------------------------------------------------------------------------- keywords


def keywords_exist(answer: str, *, keywords: list[str]) -> bool:
    """All of them, in any case, also inside other words."""
    return all(keyword.lower() in answer.lower() for keyword in keywords)


def keyword_frequency(answer: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """So often, in any case, also inside other words."""
    return _holds(answer.lower().count(keyword.strip().lower()), relation, than=frequency)


def no_forbidden_words(answer: str, *, forbidden_words: list[str]) -> bool:
    """None of them as a word of its own, in any case."""
    return not any(re.search(rf'\b{re.escape(word)}\b', answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(answer: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """So often, in any case."""
    return _holds(collections.Counter(answer.lower())[letter.strip().lower()], let_relation, than=let_frequency)


# ---------------------------------------------------------------------------------------------------- language, lengths


def in_language(answer: str, *, language: str) -> bool:
    """In that language; an answer without letters is in every language."""
    return ifeval_text.language(answer) in (language, None)


def number_of_sentences(answer: str, *, num_sentences: int, relation: Relation) -> bool:
    return _holds(len(ifeval_text.sentences(answer)), relation, than=num_sentences)


def number_of_words(answer: str, *, num_words: int, relation: Relation) -> bool:
    return _holds(len(ifeval_text.words(answer)), relation, than=num_words)


def number_of_paragraphs(answer: str, *, num_paragraphs: int) -> bool:
    """Exactly so many between lines of three stars; only the first and the last may be empty, which do not count."""
    first, *middle = [part.strip() for part in answer.split('***')]
    last = middle.pop() if middle else ''
    return all(middle) and len(middle) + bool(first) + bool(last) == num_paragraphs


def paragraph_starts_with(answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Exactly so many between empty lines, and the n-th of them begins with the word, quotes and punctuation aside."""
    paragraphs = [part.strip() for part in answer.split('\n\n')]
    count = sum(map(bool, paragraphs))
    if nth_paragraph > count or not paragraphs[nth_paragraph - 1]:
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return count == num_paragraphs and re.split('[.,?!\'"]', word)[0].lower() == first_word.lower()


# --------------------------------------------------------------------------------------------------- content and format


def number_of_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """At least so many [in brackets]."""
    return len(re.findall(r'\[.*?\]', answer)) >= num_placeholders


def has_postscript(answer: str, *, postscript_marker: str) -> bool:
    """The marker somewhere, in any case; between the letters of P.S. and P.P.S there may be a space."""
    marker = postscript_marker.strip().lower()
    pattern = {'p.p.s': r'p\.\s?p\.\s?s', 'p.s.': r'p\.\s?s\.'}.get(marker, re.escape(marker))
    return re.search(pattern, answer.lower()) is not None


def number_of_bullets(answer: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with a minus, or with one star and something behind it.

    The published evaluation takes a line break for that something: a star alone on its line and the next line are one.
    """
    stars = re.findall(r'^\s*\*(?!\*)[\s\S].*', answer, re.MULTILINE)
    return len(stars) + len(re.findall(r'^\s*-', answer, re.MULTILINE)) == num_bullets


def constrained_answer(answer: str) -> bool:
    """One of the three sentences the prompts offer, somewhere."""
    return any(f'My answer is {choice}.' in answer for choice in ('yes', 'no', 'maybe'))


def number_of_highlights(answer: str, *, num_highlights: int) -> bool:
    """At least so many *parts* or **parts** with something inside."""
    single = [part.strip('*').strip() for part in re.findall(r'\*[^\n*]*\*', answer)]
    double = [part[2:-2].strip() for part in re.findall(r'\*\*[^\n*]*\*\*', answer)]
    return sum(map(bool, single + double)) >= num_highlights


def number_of_sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many numbered headings: 'SECTION 1', 'SECTION 2', ..., the case as asked."""
    return len(re.findall(rf'{re.escape(section_spliter.strip())}\s?\d+', answer)) >= num_sections


def is_json(answer: str) -> bool:
    """All of it, apart from a code fence around it."""
    text = re.sub(r'^```(?:json)?', '', answer.strip(), flags=re.IGNORECASE).removesuffix('```')
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def has_title(answer: str) -> bool:
    """A <<title>> on one line, with something inside."""
    return any(title.lstrip('<').rstrip('>').strip() for title in re.findall(r'<<[^\n]+>>', answer))


# ---------------------------------------------------------------------------------------------- combination, start, end


def two_responses(answer: str) -> bool:
    """Two different ones with six stars between them; nothing empty but at the start or the end."""
    first, *middle = [part.strip() for part in answer.split('******')]
    last = middle.pop() if middle else ''
    given = [part for part in [first, *middle, last] if part]
    return all(middle) and len(given) == 2 and given[0] != given[1]


def repeats_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """Begins with the request, in any case."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(answer: str, *, end_phrase: str) -> bool:
    """In any case; quotation marks around the answer do not count."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(answer: str) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


# ------------------------------------------------------------------------------------------------- case and punctuation


def capital_words(answer: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """So many words without a small letter; 'I' and 'A' are such words."""
    return _holds(sum(map(str.isupper, ifeval_text.tokens(answer))), capital_relation, than=capital_frequency)


def all_capitals(answer: str) -> bool:
    """English without a small letter."""
    return answer.isupper() and ifeval_text.language(answer) in ('en', None)


def all_lowercase(answer: str) -> bool:
    """English without a capital."""
    return answer.islower() and ifeval_text.language(answer) in ('en', None)


def no_comma(answer: str) -> bool:
    return ',' not in answer


CHECKS: Mapping[str, Callable[..., bool]] = {
    'keywords:existence': keywords_exist,
    'keywords:frequency': keyword_frequency,
    'keywords:forbidden_words': no_forbidden_words,
    'keywords:letter_frequency': letter_frequency,
    'language:response_language': in_language,
    'length_constraints:number_sentences': number_of_sentences,
    'length_constraints:number_paragraphs': number_of_paragraphs,
    'length_constraints:number_words': number_of_words,
    'length_constraints:nth_paragraph_first_word': paragraph_starts_with,
    'detectable_content:number_placeholders': number_of_placeholders,
    'detectable_content:postscript': has_postscript,
    'detectable_format:number_bullet_lists': number_of_bullets,
    'detectable_format:constrained_response': constrained_answer,
    'detectable_format:number_highlighted_sections': number_of_highlights,
    'detectable_format:multiple_sections': number_of_sections,
    'detectable_format:json_format': is_json,
    'detectable_format:title': has_title,
    'combination:two_responses': two_responses,
    'combination:repeat_prompt': repeats_prompt,
    'startend:end_checker': ends_with,
    'startend:quotation': is_quoted,
    'change_case:capital_word_frequency': capital_words,
    'change_case:english_capital': all_capitals,
    'change_case:english_lowercase': all_lowercase,
    'punctuation:no_comma': no_comma,
}
