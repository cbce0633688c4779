"""Repairs to crowd-written and pre-tokenised English."""

import re

_SPACE_BEFORE = re.compile(r" +(?=[.,;:!?)%]|(?:n['’]t|['’](?:s|re|ve|ll|d|m))\b)")
_SPACE_AFTER = re.compile(r'(?<=\() +')


def join_tokens(text: str) -> str:
    """Undoes the spaces that a tokeniser left around punctuation and clitics.

    >>> join_tokens("Dale 's dog does n't bark , or ( sometimes ) it does .")
    "Dale's dog doesn't bark, or (sometimes) it does."
    """
    return _SPACE_AFTER.sub('', _SPACE_BEFORE.sub('', ' '.join(text.split())))


def closed(text: str) -> str:
    """Ends the text with a full stop unless it already ends a sentence, so that another sentence can follow.

    >>> closed('60 / 2 = 30')
    '60 / 2 = 30.'
    """
    text = text.strip().rstrip(',;:')
    return text if text.rstrip('"\')”’')[-1:] in ('.', '!', '?') else text + '.'


def sentence(text: str) -> str:
    """A capital letter at the start and a full stop at the end.

    >>> sentence(' robots do not eat')
    'Robots do not eat.'
    """
    text = closed(text)
    return text[:1].upper() + text[1:]
