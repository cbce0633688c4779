"""Chats: conversations through a chat template, as alternating context and supervised spans of ids.

    messages      user: Hi         assistant: Hello!
    text          <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello!<|im_end|>\\n
    spans         [-------------------- context -------------------][-supervised-]

A template's text is tokenised once, whole, and cut by the characters that ids stand for, so that the ids are those of
the template and of nothing else. Supervised is what the model has to write after the generation prompt, the token that
ends its turn included. An example ends there: what the template writes behind its last turn (ChatML's newline) is read
by nobody and left out. An id that stands for characters on both sides of a border is supervised.
"""

import bisect
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.data import chat_jinja, chat_turns
from flan_jax.data.chat_formats import FORMATS
from flan_jax.data.chat_turns import Border
from flan_jax.data.conversations import ASSISTANT, ROLES
from flan_jax.data.vocabulary import Parsed, Vocabulary

Message = Mapping[str, Any]  # role, content, what else the template reads; `weight` is ours and not shown to it
Conversation = Mapping[str, Any]  # messages; tools

OWN = 'tokenizer'  # the name of the template that comes with the tokenizer
DATE = '2024-07-26'  # what templates take for today unless told otherwise, Llama 3.1's own choice without a clock

_REASONING = ('reasoning_content', 'thinking', 'reasoning')  # names of one field; templates read the first or second


@dataclasses.dataclass(frozen=True)
class Chat:
    """A chat template with what it refers to.

    Attributes:
      name: as `load` was given it.
      template: Jinja text.
      tool_template: the text for conversations with tools, where the model has a separate one.
      named: (name, token) of the special tokens, `bos_token` and the like.
      date: ISO date that templates take for today, fixed so that a store can be made again.
    """

    name: str
    template: str
    tool_template: str | None
    named: tuple[tuple[str, str], ...]
    date: str = DATE

    @property
    def fingerprint(self) -> str:
        """Of all that decides the text."""
        content = json.dumps([self.template, self.tool_template, self.named, self.date])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def text(self, messages: Sequence[Message], *, tools: Any = None, generation_prompt: bool = False) -> str:
        """The messages as the template writes them.

        Args:
          messages: in order.
          tools: definitions, as JSON-like values.
          generation_prompt: whether the opening of an assistant's turn follows.

        Raises:
          DataError: the template refuses the conversation or cannot be run.
        """
        return self._render(messages, tools=tools, generation_prompt=generation_prompt)

    def marked_text(self, messages: Sequence[Message], *, tools: Any = None) -> tuple[str, list[Border]] | None:
        """The text and the stretches in `{% generation %}`; None if the template has no such marks."""
        if not chat_jinja.has_marks(self._source(tools)):
            return None
        return chat_jinja.unmark(self._render(messages, tools=tools, marked=True))

    def _source(self, tools: Any) -> str:
        return self.tool_template if tools and self.tool_template is not None else self.template

    def _render(
        self, messages: Sequence[Message], *, tools: Any, generation_prompt: bool = False, marked: bool = False
    ) -> str:
        values = dict(self.named) | {
            'messages': [_shown(message) for message in messages],
            'tools': tools or None,
            'documents': None,
            'add_generation_prompt': generation_prompt,
            chat_jinja.MARKED: marked,
        }
        return chat_jinja.render(self._source(tools), values, name=self.name, date=self.date)


def _shown(message: Message) -> dict[str, Any]:
    """What a template sees of a message: nothing that is None, and the reasoning under each of its names."""
    kept = {key: value for key, value in message.items() if value is not None and key != 'weight'}
    reasoning = next((kept[key] for key in _REASONING if key in kept), None)
    return kept if reasoning is None else {'thinking': reasoning, **kept, 'reasoning_content': reasoning}


@functools.lru_cache(maxsize=16)
def load(name: str, vocabulary: Vocabulary, *, date: str = DATE) -> Chat:
    """A chat template for a vocabulary.

    Args:
      name: 'tokenizer' for the tokenizer's own, one of the built-in FORMATS, or the path of a `.jinja` file.
      vocabulary: whose special tokens it writes.
      date: what the template takes for today.

    Raises:
      ConfigError: no such template, or the vocabulary lacks a special token that it writes.
      DataError: its text is no Jinja.
    """
    template, tool_template = _template(name, vocabulary)
    needs = FORMATS[name].needs if name in FORMATS else ()
    if missing := [token for token in needs if token not in vocabulary.added]:
        free = [other for other, known in FORMATS.items() if all(t in vocabulary.added for t in known.needs)]
        raise errors.ConfigError(
            f'the chat template {name!r} writes {", ".join(missing)}, which the tokenizer {vocabulary.path} does '
            f'not have as special tokens; it has those of {", ".join(free)}'
        )
    return Chat(name, template, tool_template, tuple(sorted(vocabulary.named.items())), date)


def source_digest(name: str, vocabulary: Vocabulary) -> str:
    """Of a template's text; the vocabulary, whose fingerprint covers the rest, need not be there yet."""
    return hashlib.sha256(json.dumps(_template(name, vocabulary)).encode()).hexdigest()[:16]


def _template(name: str, vocabulary: Vocabulary) -> tuple[str, str | None]:
    """A template's text, and that for conversations with tools where there is a separate one."""
    if name == OWN:
        if 'default' not in vocabulary.templates:
            raise errors.ConfigError(
                f'the tokenizer {vocabulary.path} has no chat template; set format.chat to one of '
                f'{", ".join(FORMATS)}, or to a .jinja file'
            )
        return vocabulary.templates['default'], vocabulary.templates.get('tool_use')
    if name in FORMATS:
        return FORMATS[name].template, None
    if name.endswith('.jinja'):
        if not os.path.isfile(name):
            raise errors.ConfigError(f'format.chat={name!r}: no such file')
        try:
            with open(name, encoding='utf-8') as file:
                return file.read(), None
        except (OSError, UnicodeDecodeError) as e:
            raise errors.DataError(f'format.chat={name!r} cannot be read as UTF-8: {e}') from e
    known = (OWN, *FORMATS)
    raise errors.ConfigError(
        f'no chat template {name!r}; known are {", ".join(known)}, and .jinja files' + errors.near(name, known)
    )


def encode(
    chat: Chat, conversations: Sequence[Conversation], *, vocabulary: Vocabulary, last_only: bool = False
) -> list[list[list[int]] | None]:
    """Conversations as spans of ids: context, supervised, context, supervised, ...

    Joined, they are the ids of the template over the whole conversation, up to the end of its last supervised turn,
    with BOS before them where `vocabulary.prefix` asks for one and the template wrote none.

    Args:
      conversations: each with `messages`, the last one the assistant's, and perhaps `tools`. A `weight` of 0 at an
        assistant's message makes it context.
      last_only: whether only the last message is supervised (if its weight allows), the only way with templates that
        write earlier turns anew, like those that take out earlier thoughts.

    Returns:
      For each conversation its spans, the last one supervised and ending with the token that ends a turn; an empty
      list if no turn is supervised; None if a special token is written in its text, since it would be read as one.

    Raises:
      DataError: an unknown role, a weight other than 0 and 1, no assistant's message at the end; a template that
        refuses the conversation, that writes earlier turns anew (without `last_only`), or that ends the assistant's
        turn with no special token.
    """
    texts: list[str] = []
    borders: list[list[Border] | None] = []
    for conversation in conversations:
        _check(conversation['messages'])
        if _forged(conversation, vocabulary) is not None:
            borders.append(None)
            continue
        text, found = chat_turns.supervised(chat, conversation, vocabulary=vocabulary, last_only=last_only)
        texts.append(text)
        borders.append(found)
    parsed = iter(vocabulary.parse(texts))
    return [None if found is None else _cut(next(parsed), found, vocabulary=vocabulary) for found in borders]


def prompt(chat: Chat, conversation: Conversation, *, vocabulary: Vocabulary) -> list[int]:
    """Ids of all messages with the generation prompt behind them.

    Raises:
      DataError: an unknown role, a special token written in the text, or a template that refuses it.
    """
    _check_roles(conversation['messages'])
    if (forged := _forged(conversation, vocabulary)) is not None:
        raise errors.DataError(f'the text holds the special token {forged!r}, which would be read as one; take it out')
    text = chat.text(conversation['messages'], tools=conversation.get('tools'), generation_prompt=True)
    ((ids, _),) = vocabulary.parse([text])
    return [*_bos(ids, vocabulary), *ids]


def stop_ids(chat: Chat, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ids that end an assistant's turn: the one the template writes, then `vocabulary.end_ids`."""
    messages = [{'role': 'user', 'content': 'a'}, {'role': ASSISTANT, 'content': 'b'}]
    (spans,) = encode(chat, [{'messages': messages}], vocabulary=vocabulary, last_only=True)
    return tuple(dict.fromkeys((spans[-1][-1], *vocabulary.end_ids)))


# --------------------------------------------------------------------------------------------------- what is asked for


def _check_roles(messages: Sequence[Message]) -> None:
    if not messages:
        raise errors.DataError('a conversation without messages; leave it out')
    for i, message in enumerate(messages):
        role = message.get('role')
        if role not in ROLES:
            raise errors.DataError(
                f'message {i + 1} of {len(messages)} has the role {role!r}; the roles are {", ".join(ROLES)}'
                + errors.near(str(role), ROLES)
            )


def _check(messages: Sequence[Message]) -> None:
    _check_roles(messages)
    for i, message in enumerate(messages):
        weight = message.get('weight', 1)
        if weight not in (0, 1):
            raise errors.DataError(
                f'message {i + 1} of {len(messages)} has the weight {weight!r}; it is 1 (supervised) or 0'
            )
    if messages[-1]['role'] != ASSISTANT:
        raise errors.DataError(
            f"the conversation ends with the role {messages[-1]['role']!r}; cut it after its last assistant's message"
        )


def _forged(conversation: Conversation, vocabulary: Vocabulary) -> str | None:
    """A special token written in the conversation's text."""
    pattern = chat_turns.pattern_of(vocabulary)
    for text in chat_turns.strings([conversation['messages'], conversation.get('tools')]):
        if (found := pattern.search(text)) is not None:
            return found.group()
    return None


# --------------------------------------------------------------------------------------------------- text to tokens


def _cut(parsed: Parsed, borders: Sequence[Border], *, vocabulary: Vocabulary) -> list[list[int]]:
    """Ids cut at the borders; supervised stretches that touch are one."""
    ids, offsets = parsed
    bos = _bos(ids, vocabulary)
    controls = chat_turns.control_ids(vocabulary)
    spans: list[list[int]] = []
    at = 0
    for start, end in borders:
        first = bisect.bisect_right(offsets, start, key=lambda o: max(o[1], o[0] + 1))
        if first < len(ids) and offsets[first][0] < start and ids[first] in controls:
            first += 1  # a special token that swallows the white space behind it, as Phi's do
        beyond = bisect.bisect_left(offsets, end, key=lambda o: o[0])
        context, supervised = ids[at:first], ids[max(first, at) : beyond]
        if spans and not context:
            spans[-1] += supervised
        else:
            spans += [context if spans else bos + context, supervised]
        at = beyond
    if spans and not spans[0]:  # nothing stands before the first token, so nothing can predict it
        spans[:2] = [spans[1][:1], spans[1][1:]]
    return spans


def _bos(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The BOS that is missing at the beginning of a template's ids, if one is wanted."""
    prefix = vocabulary.prefix
    return [] if list(ids[: len(prefix)]) == prefix else prefix
