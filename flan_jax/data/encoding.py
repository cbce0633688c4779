"""Encoding: text to examples, alternating context and supervised spans of tokens, and these to store columns."""

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.config import FormatConfig
from flan_jax.data import chat as chat_lib
from flan_jax.data.formats import Renderer, Shown
from flan_jax.data.task import Fields
from flan_jax.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Limits in tokens; see `config.DataConfig`."""

    inputs: int
    targets: int


@dataclasses.dataclass(frozen=True)
class Example:
    """One example as token spans.

    Attributes:
      spans: ids, context and supervised in turn; the last one is supervised and ends with EOS.
      row_id: which source row.
      template: place of the template in the task.
      shots: exemplars shown.
      trimmed: tokens cut from the context's left.
      options: ids of every option with EOS, for evaluation; empty for tasks without.
      answer: place of the right option, or -1.
      meta: references and raw fields as JSON, for evaluation; '' in training.
    """

    spans: list[list[int]]
    row_id: int
    template: int
    shots: int
    trimmed: int = 0
    options: tuple[list[int], ...] = ()
    answer: int = -1
    meta: str = ''

    @property
    def context(self) -> list[int]:
        """All before the last span."""
        return list(itertools.chain.from_iterable(self.spans[:-1]))

    @property
    def target(self) -> list[int]:
        """The last span."""
        return self.spans[-1]


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Text to examples, under one vocabulary and one format.

    Attributes:
      decoder_only: whether an example is one sequence; else everything before its last span is the encoder's.
    """

    vocabulary: Vocabulary
    format: FormatConfig
    lengths: Lengths
    decoder_only: bool

    def train(self, shown: Sequence[Shown], dropped: Counter) -> list[Example]:
        """Training examples; what cannot be one is counted by reason."""
        out = []
        for one, spans, trimmed in self._encoded(shown, dropped, training=True):
            if any(len(span) > self.lengths.targets for span in spans[1::2]):
                dropped['target_too_long'] += 1
                continue
            out.append(Example(spans, one.row_id, one.template, one.shots, trimmed))
        return out

    def evaluate(self, shown: Sequence[Shown], dropped: Counter) -> list[Example]:
        """Prompts with the expected answer, the options' ids, and what metrics and reports need."""
        out = []
        options = _Options(self)
        for one, spans, trimmed in self._encoded(shown, dropped, training=False):
            texts = [str(option) for option in one.fields.get('options', ())]
            answer = str(one.fields['answer'])
            references = [str(r) for r in one.fields.get('references', [answer])]
            option_ids = tuple(options.ids(text) for text in texts)
            if None in option_ids:
                dropped['special_token_in_text'] += 1
                continue
            meta = {'answer': answer, 'options': texts, 'references': references, 'fields': dict(one.fields)}
            example = Example([list(itertools.chain.from_iterable(spans[:-1])), spans[-1]], one.row_id, one.template,
                              one.shots, trimmed)  # fmt: skip
            out.append(
                dataclasses.replace(
                    example,
                    options=option_ids,
                    answer=texts.index(answer) if texts else -1,
                    meta=json.dumps(meta, ensure_ascii=False),
                )
            )
        return out

    def _encoded(self, shown: Sequence[Shown], dropped: Counter, *, training: bool):
        """(text, spans, tokens trimmed) of what has a target."""
        usable = []
        for one in shown:
            if one.target.strip():
                usable.append(one)
            else:
                dropped['empty_target'] += 1
        encode = self._plain if self.format.chat is None else self._chat
        for one, found in zip(usable, encode(usable, dropped, training=training), strict=True):
            if found is None:
                continue
            spans, trimmed = found
            if not self.decoder_only and len(spans) > 2:
                spans = [list(itertools.chain.from_iterable(spans[:-1])), spans[-1]]
            yield one, spans, trimmed

    # ------------------------------------------------------------------------------------------------- plain text

    def _plain(self, shown: Sequence[Shown], dropped: Counter, *, training: bool):
        """Context and target tokenised apart, BOS before and EOS behind; a conversation's turns likewise."""
        pieces = [self._turns(one) for one in shown]
        ids = self._distinct_ids([text for turns in pieces for text, _ in turns])
        for turns in pieces:
            spans: list[list[int]] = [list(self.vocabulary.prefix)]
            for text, supervised in turns:
                if supervised:
                    spans.append([*ids[text], self.vocabulary.eos_id])
                    spans.append([])
                else:
                    spans[-1].extend(ids[text])
            spans.pop()  # a conversation ends with its last supervised turn
            if not spans[0]:
                spans[0].append(self.vocabulary.pad_id)  # something must stand before the first predicted token
            yield self._trim(spans, dropped)

    def _turns(self, one: Shown) -> list[tuple[str, bool]]:
        """Text pieces, and whether each is supervised."""
        if 'messages' not in one.fields:
            return [(one.context, False), (one.target, True)]
        messages = self._messages(one)
        last_only = self.format.supervise == 'last' or not self.decoder_only
        turns = []
        for i, message in enumerate(messages):
            learned = message['role'] == 'assistant' and message.get('weight', 1) != 0
            if i == len(messages) - 1 or (learned and not last_only):
                turns.append((message['content'], True))
            else:
                turns.append((message['content'] + self.format.separator, False))
        return turns

    def _distinct_ids(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """Each text tokenised once: answers and options repeat."""
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self.vocabulary.encode(distinct)))

    def _trim(self, spans: list[list[int]], dropped: Counter) -> tuple[list[list[int]], int] | None:
        """Cuts the first context from its left, but not BOS, until all contexts fit."""
        excess = sum(map(len, spans[0::2])) - self.lengths.inputs
        if excess <= 0:
            return spans, 0
        kept = len(self.vocabulary.prefix)
        if excess > len(spans[0]) - kept - 1:
            dropped['conversation_too_long'] += 1
            return None
        del spans[0][kept : kept + excess]
        return spans, excess

    # ------------------------------------------------------------------------------------------------------ chat

    def _chat(self, shown: Sequence[Shown], dropped: Counter, *, training: bool):
        """The chat template over the whole conversation; too long ones lose their oldest turns."""
        chat = chat_lib.load(self.format.chat, self.vocabulary)
        chat_lib.stop_ids(chat, self.vocabulary)  # one that cannot write 'a', 'b' is broken: an error, not dropped rows
        last_only = self.format.supervise == 'last' or not self.decoder_only or not training
        waiting = {i: ({**one.fields, 'messages': self._messages(one)}, None) for i, one in enumerate(shown)}
        done: dict[int, tuple[list[list[int]], int] | None] = {}
        while waiting:
            conversations = [conversation for conversation, _ in waiting.values()]
            encoded = self._rendered(chat, conversations, last_only=last_only)
            again = {}
            for (i, (conversation, whole)), spans in zip(waiting.items(), encoded, strict=True):
                if isinstance(spans, str):
                    dropped[spans] += 1
                    done[i] = None
                    continue
                total = sum(map(len, spans))
                whole = total if whole is None else whole  # tokens before anything was cut
                excess = sum(map(len, spans[0::2])) - self.lengths.inputs
                if excess <= 0:
                    done[i] = (spans, whole - total)
                    continue
                shorter = self._shortened(conversation['messages'], excess)
                if shorter is None:
                    dropped['conversation_too_long'] += 1
                    done[i] = None
                else:
                    again[i] = ({**conversation, 'messages': shorter}, whole)
            waiting = again
        return [done[i] for i in range(len(shown))]

    def _rendered(
        self, chat: chat_lib.Chat, conversations: Sequence[dict], *, last_only: bool
    ) -> list[list[list[int]] | str]:
        """Spans of each conversation, or why it has none."""
        try:
            found = chat_lib.encode(chat, conversations, vocabulary=self.vocabulary, last_only=last_only)
        except errors.DataError:
            if len(conversations) > 1:
                return [out for one in conversations for out in self._rendered(chat, [one], last_only=last_only)]
            # Templates refuse what the model was not trained on, as two users in a row.
            fits = not last_only and not isinstance(self._rendered(chat, conversations, last_only=True)[0], str)
            return ['earlier_turns_rewritten' if fits else 'refused_by_chat_template']
        return ['special_token_in_text' if spans is None else spans or 'nothing_supervised' for spans in found]

    def _shortened(self, messages: Sequence[dict], excess: int) -> list[dict] | None:
        """The conversation without its oldest exchange, or with the beginning of its only question cut off."""
        head = [m for m in messages[:1] if m['role'] == 'system']
        rest = list(messages[len(head) :])
        later = [i for i, m in enumerate(rest) if m['role'] == 'user' and i > 0]
        if later:
            return head + rest[later[0] :]
        asked = rest[0]['content']
        ((ids, offsets),) = self.vocabulary.parse([asked])
        if rest[0]['role'] != 'user' or excess >= len(ids):
            return None
        # At whole characters: what decoding makes of half of one may be longer than it was.
        cut = max(offsets[excess - 1][1], 1)
        return [*head, {**rest[0], 'content': asked[cut:]}, *rest[1:]] if cut < len(asked) else None

    def _messages(self, one: Shown) -> list[dict]:
        """The conversation to show: the row's own, or the template's text as one exchange."""
        messages = one.fields.get('messages')
        if messages is None or one.context:
            messages = [{'role': 'user', 'content': one.context}, {'role': 'assistant', 'content': one.target}]
        if self.format.system is not None and messages[0]['role'] != 'system':
            messages = [{'role': 'system', 'content': self.format.system}, *messages]
        return list(messages)


class _Options:
    """Ids of options as they would be the answer, each made once."""

    def __init__(self, encoder: Encoder):
        self._encoder = encoder
        self._ids: dict[str, list[int] | None] = {}

    def ids(self, text: str) -> list[int] | None:
        """None for an option that holds a special token's name."""
        if text not in self._ids:
            self._ids[text] = self._encode(text)
        return self._ids[text]

    def _encode(self, text: str) -> list[int] | None:
        vocabulary, form = self._encoder.vocabulary, self._encoder.format
        if form.chat is None:
            return [*vocabulary.encode([text])[0], vocabulary.eos_id]
        # What follows the generation prompt does not depend on what was asked.
        asked = [{'role': 'user', 'content': '?'}, {'role': 'assistant', 'content': text}]
        chat = chat_lib.load(form.chat, vocabulary)
        (spans,) = chat_lib.encode(chat, [{'messages': asked}], vocabulary=vocabulary, last_only=True)
        return spans and spans[-1]


@dataclasses.dataclass(frozen=True)
class Maker:
    """Rows of one task to examples, under one config."""

    renderer: Renderer
    encoder: Encoder

    def examples(self, rows: Sequence[tuple[int, Fields]], *, training: bool, dropped: Counter) -> list[Example]:
        """Examples of some (row_id, fields), in order; what cannot be one is counted by reason."""
        if training:
            return self.encoder.train(self.renderer.train(rows), dropped)
        return self.encoder.evaluate(self.renderer.evaluate(rows), dropped)


SCALARS = ('row_id', 'template', 'shots', 'trimmed', 'answer')


def columns(examples: Sequence[Example]) -> dict[str, Any]:
    """Examples as the columns of a token store; ragged ones as (values int32, starts int64)."""
    return {
        'tokens': ragged([list(itertools.chain.from_iterable(e.spans)) for e in examples]),
        'spans': ragged([[len(span) for span in e.spans] for e in examples]),
        'supervised': np.array([sum(map(len, e.spans[1::2])) for e in examples], np.int32),
        'target': np.array([len(e.spans[-1]) for e in examples], np.int32),
        'option_tokens': ragged([list(itertools.chain.from_iterable(e.options)) for e in examples]),
        'option_lengths': ragged([[len(option) for option in e.options] for e in examples]),
        'meta': [e.meta for e in examples],
        **{name: np.array([vars(e)[name] for e in examples], np.int64) for name in SCALARS},
    }


def ragged(lists: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists as (values int32, starts int64).

    >>> [part.tolist() for part in ragged([[7, 8], [], [9]])]
    [[7, 8, 9], [0, 2, 2, 3]]
    """
    starts = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(values) for values in lists], out=starts[1:])
    return np.fromiter(itertools.chain.from_iterable(lists), np.int32, count=int(starts[-1])), starts
