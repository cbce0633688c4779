"""Turns of a chat: where in a template's text stands what the assistant has to write.

    <|user|>\\nHi<|end|>\\n<|assistant|>\\nHello!<|end|>\\n<|endoftext|>
                                       [---supervised---]

The template is asked for no marks: it is rendered up to a turn, with the generation prompt behind it, and through it.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flan_jax import errors
from flan_jax.data import chat_jinja
from flan_jax.data.conversations import ASSISTANT
from flan_jax.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from flan_jax.data.chat import Chat

Border = tuple[int, int]  # the characters [start, end) of a supervised stretch


def supervised(
    chat: 'Chat', conversation: Mapping[str, Any], *, vocabulary: Vocabulary, last_only: bool
) -> tuple[str, list[Border]]:
    """The conversation's text, and the stretches the model is to write."""
    messages, tools = conversation['messages'], conversation.get('tools')
    turns = [i for i, message in enumerate(messages) if message['role'] == ASSISTANT]
    written_marks = any(mark in text for text in strings(messages) for mark in chat_jinja.MARKS)
    marked = None if written_marks else chat.marked_text(messages, tools=tools)
    if marked is not None and len(marked[1]) == len(turns):
        text, stretches = marked[0], dict(zip(turns, marked[1]))
    else:
        text, stretches = chat.text(messages, tools=tools), {}
    wanted = [i for i in (turns[-1:] if last_only else turns) if messages[i].get('weight', 1) == 1]
    borders = []
    for i in wanted:
        if i not in stretches:
            stretches[i] = _stretch(chat, conversation, turn=i, text=text, vocabulary=vocabulary)
        borders.append(_with_end(text, stretches[i], vocabulary=vocabulary, chat=chat))
    return text, borders


def _stretch(chat: 'Chat', conversation: Mapping[str, Any], *, turn: int, text: str, vocabulary: Vocabulary) -> Border:
    """From the end of a turn's generation prompt to the end of what the template writes of it."""
    messages, tools = conversation['messages'], conversation.get('tools')
    if turn:
        before = chat.text(messages[:turn], tools=tools, generation_prompt=True)
    else:  # templates need not bear an empty list of messages
        head, opening, _ = text.partition(_opening(chat, vocabulary) or text)
        before = head + opening
    through = text if turn == len(messages) - 1 else chat.text(messages[: turn + 1], tools=tools)
    through = through.removesuffix(_tail(chat, vocabulary))
    if text.startswith(before) and text.startswith(through) and len(before) <= len(through):
        return len(before), len(through)
    remedy = (
        'no turn of it can be supervised' if turn == len(messages) - 1
        else "only the last turn can be supervised: set format.supervise='last'"
    )  # fmt: skip
    raise errors.DataError(
        f'the chat template {chat.name!r} writes message {turn + 1} of {len(messages)} or what stands before it '
        f'otherwise once more follows; {remedy}'
    )


def _with_end(text: str, border: Border, *, vocabulary: Vocabulary, chat: 'Chat') -> Border:
    """The stretch up to the first of the special tokens that end the turn, which a mark may leave out."""
    start, end = border
    controls = controls_of(vocabulary)
    written = text[start:end].rstrip()
    if written.endswith(controls):
        while (shorter := _without_last(written, controls)).endswith(controls):
            written = shorter  # Phi-3 writes <|end|> and, at the very end, <|endoftext|>
        return start, start + len(written)
    for token in controls:
        if text.startswith(token, end) and token != vocabulary.named.get('bos_token'):
            return start, end + len(token)
    raise errors.DataError(
        f"the chat template {chat.name!r} ends the assistant's turn with no special token of {vocabulary.path}, but "
        f'with {text[start:end][-30:]!r}; a model tuned on it would never stop. Let the template write eos_token there'
    )


def _without_last(text: str, controls: Sequence[str]) -> str:
    """A text without the special token that ends it, and without the white space before that."""
    return text.removesuffix(next(token for token in controls if text.endswith(token))).rstrip()


@functools.lru_cache(maxsize=16)
def _tail(chat: 'Chat', vocabulary: Vocabulary) -> str:
    """What the template writes behind an answer only if nothing follows: another end, the opening of the next turn."""
    answer = 'Indeed.'
    talk = [{'role': 'user', 'content': 'a'}, {'role': ASSISTANT, 'content': answer}]
    try:
        last, more = chat.text(talk), chat.text([*talk, talk[0]])
    except errors.DataError:  # told where a conversation is refused
        return ''
    tail = _beyond(last, more, vocabulary=vocabulary)
    return tail if answer not in tail else ''


@functools.lru_cache(maxsize=16)
def _opening(chat: 'Chat', vocabulary: Vocabulary) -> str:
    """What the generation prompt adds to a question."""
    question = [{'role': 'user', 'content': 'a'}]
    return _beyond(chat.text(question, generation_prompt=True), chat.text(question), vocabulary=vocabulary)


def _beyond(text: str, other: str, *, vocabulary: Vocabulary) -> str:
    """What follows in a text after all that it begins with like another, special tokens being whole."""
    place = len(os.path.commonprefix([text, other]))
    cut = (found.start() for found in pattern_of(vocabulary).finditer(text) if found.start() < place < found.end())
    return text[next(cut, place) :]


@functools.lru_cache(maxsize=16)
def controls_of(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Tokens that shape a chat, longest first: the special ones, and added ones that end a turn or look like `<|it|>`.

    Other added tokens (`<think>`, runs of spaces, tags) are text that a conversation may well hold.
    """
    more = {t for t, i in vocabulary.added.items() if i in vocabulary.end_ids or re.fullmatch(r'<[|｜].*[|｜]>', t)}
    return tuple(sorted({*vocabulary.specials, *more}, key=len, reverse=True))


@functools.lru_cache(maxsize=16)
def control_ids(vocabulary: Vocabulary) -> frozenset[int]:
    """Ids of the tokens that shape a chat."""
    return frozenset(vocabulary.added[token] for token in controls_of(vocabulary))


@functools.lru_cache(maxsize=16)
def pattern_of(vocabulary: Vocabulary) -> re.Pattern:
    """Finds the tokens that shape a chat."""
    return re.compile('|'.join(map(re.escape, controls_of(vocabulary))) or '(?!)')


def strings(value: Any) -> Iterator[str]:
    """All text in JSON-like values, keys too.

    >>> list(strings([{'content': 'a', 'calls': [{'b': 1}]}, None]))
    ['content', 'a', 'calls', 'b']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
