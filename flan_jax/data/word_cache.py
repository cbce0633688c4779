"""A word cache: byte-level BPE over text whose words were met before, several times faster than the tokenizer itself.

Byte-level tokenizers (GPT-2's and those after it) split a text by a regular expression and merge bytes only within the
pieces. All of the expressions in `EXPRESSIONS` begin a new piece at a single space, and behind a single newline, that
stands between two characters that are no white space, and behind a letter that an ASCII mark follows. So the ids of a
text are those of its parts cut there:

    'Is it  so? Yes.'  ->  'Is', ' it  so', '?', ' Yes', '.'

Instruction data repeats its words; a part met before costs a look into a dictionary. A text with an added token in it,
such as Qwen's `<think>`, goes to the tokenizer as it is: the token is one id, and the cuts may go through it.
"""

import itertools
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tokenizers

LIMIT = 1 << 20  # parts remembered, about 200 MB; then the cache begins anew
# White space and words in turn, up to where the next part begins. Python's \s holds all that the expressions' \s does.
_MARK = r'[!-/:-@\[-`{-~]'
_WORD = rf'(?:[^\sA-Za-z]++|[A-Za-z]++(?!{_MARK}))*+(?:[A-Za-z]++(?={_MARK}))?+'
_PART = re.compile(rf'\s*+(?=\S){_WORD}(?:(?! \S)(?!\n\S)\s++(?=\S){_WORD})*+(?:\n(?=\S)|\s++\Z)?+|\s++')
# What the published byte-level tokenizers split by: GPT-2 (also ByteLevel's own), Llama 3, Qwen 2 and 2.5.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
EXPRESSIONS = frozenset({
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    rf'{_WORDS}|\p{{N}}{{1,3}}{_REST}',
    rf'{_WORDS}|\p{{N}}{_REST}',
})  # fmt: skip


class WordCache:
    """Ids of texts by way of their parts.

    Args:
      tokenizer: one that `fits`.
    """

    def __init__(self, tokenizer: 'tokenizers.Tokenizer'):
        self._tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
        self._added = re.compile('|'.join(map(re.escape, added)) or '(?!)')

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        known = self._ids
        whole = [i for i, text in enumerate(texts) if self._added.search(text)]
        cut = [parts(text) for text in texts]
        for i in whole:
            cut[i] = []
        new = list(set(itertools.chain.from_iterable(cut)).difference(known))
        if len(known) + len(new) > LIMIT:
            known.clear()
            new = list(set(itertools.chain.from_iterable(cut)))
        known.update(zip(new, self._encoded(new)))
        out = [list(itertools.chain.from_iterable(map(known.__getitem__, pieces))) for pieces in cut]
        for i, ids in zip(whole, self._encoded([texts[i] for i in whole])):
            out[i] = ids
        return out

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        return [e.ids for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def parts(text: str) -> list[str]:
    """The text cut before each single space and after each single newline between characters that are no white space,
    and between an ASCII letter and a mark.

    >>> parts("Isn't it  so?\\nYes. No.")
    ['Isn', "'t", ' it  so', '?\\n', 'Yes', '.', ' No', '.']
    """
    return _PART.findall(text)


def fits(tokenizer: 'tokenizers.Tokenizer') -> bool:
    """Whether a tokenizer never merges across the places where `parts` cuts."""
    said = json.loads(tokenizer.to_str())
    model, before = said['model'], said['pre_tokenizer']
    steps = before['pretokenizers'] if before and before['type'] == 'Sequence' else [before]
    return (
        model['type'] == 'BPE'
        and model['dropout'] is None
        and (said['normalizer'] is None or said['normalizer']['type'] == 'NFC')
        and all(step is not None and _splits(step) for step in steps)
        and any(step['type'] == 'ByteLevel' for step in steps)
        and any(step['type'] == 'Split' or step.get('use_regex') for step in steps)
        and all(token['special'] or _is_one_part(token) for token in said['added_tokens'])
    )


def _splits(step: dict[str, Any]) -> bool:
    match step:
        case {'type': 'ByteLevel', 'add_prefix_space': False} | {'type': 'Digits'}:
            return True
        case {'type': 'Split', 'pattern': {'Regex': expression}, 'behavior': 'Isolated' | 'Removed', 'invert': invert}:
            return expression in EXPRESSIONS and invert == (step['behavior'] == 'Removed')
    return False


def _is_one_part(token: dict[str, Any]) -> bool:
    """Whether an added token lies within a part wherever it is written."""
    return ' ' not in token['content'] and not token['lstrip'] and not token['rstrip']
