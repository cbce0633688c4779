"""The judge: a model with what it takes to ask it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.config import EvaluationConfig
from flan_jax.data import chat as chat_lib
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.score import Request, Scorer
from flan_jax.evaluation import not_a_number
from flan_jax.evaluation.answers import EMPTY_OPTION, NOT_A_NUMBER, TOO_LONG, UNFINISHED, Answers
from flan_jax.evaluation.suite import Suite

_AT_ONCE = 64  # options scored after one unconditional prompt


@dataclasses.dataclass(frozen=True)
class Judge:
    """A model with what it takes to ask it.

    Attributes:
      generator, scorer: of its graph.
      vocabulary: of the stores.
      config: evaluation settings.
      context: tokens that the model is made to read at once, one number a side; None: no limit is known.
      table: tokens beyond which it has no positions and cannot read, prompt and answer; None: there is no such table.
      ends: ids that end a generated answer; None: EOS alone.
      chat: the template of the prompts; None: they are plain text.
    """

    generator: Generator
    scorer: Scorer
    vocabulary: Vocabulary
    config: EvaluationConfig
    context: tuple[int, ...] | None = None
    table: int | None = None
    ends: tuple[int, ...] | None = None
    chat: chat_lib.Chat | None = None

    def ask(
        self, params: Any, suites: Sequence[Suite], *, progress: Callable[[int], None] = lambda n: None
    ) -> list[Answers]:
        """Answers of every suite: all generated prompts in common batches, and all ranked ones.

        Raises:
          DataError: a ranked prompt has no options, or fewer ids than options; a prompt with its answer goes beyond the
            model's table of positions.
        """
        out = [Answers([''] * len(s), [np.zeros(0)] * len(s), [np.zeros(0)] * len(s), [''] * len(s)) for s in suites]
        ranked = [(i, j) for i, s in enumerate(suites) if s.mode == 'rank' for j in range(len(s))]
        generated = [(i, j) for i, s in enumerate(suites) if s.mode == 'generate' for j in range(len(s))]
        for i, j in ranked:
            _check_options(suites[i], j)
        self._check_table(suites)
        answers = self.generator(
            params, [suites[i].prompts[j] for i, j in generated], new=self.config.max_new_tokens, progress=progress
        )
        for (i, j), ids in zip(generated, answers, strict=True):
            ended = bool(ids) and ids[-1] in self._ends
            # An id that ends a chat's turn need not be one the vocabulary leaves out.
            out[i].texts[j] = self.vocabulary.decode(ids[:-1] if ended else ids)
            out[i].flags[j] = '' if ended else UNFINISHED
            if self._beyond(suites[i].prompts[j], len(ids)):
                out[i].flags[j] = TOO_LONG
        score = functools.partial(self.scorer, params, progress=lambda n: None)
        for k in not_a_number.places(
            [suites[i].prompts[j] for i, j in generated], answers, ends=self._ends, score=score
        ):
            i, j = generated[k]
            out[i].texts[j], out[i].flags[j] = '', NOT_A_NUMBER
        requests = [Request(suites[i].prompts[j], tuple(suites[i].options[j])) for i, j in ranked]
        found = self.scorer(params, requests, progress=progress)
        alone = self._unconditional(params, suites) if self.config.normalise == 'pmi' else {}
        for (i, j), sums in zip(ranked, found, strict=True):
            names, ids = suites[i].metas[j]['options'], suites[i].options[j]
            compared = self._compared(sums, ids, names=names, alone=alone)
            flag = self._flag(suites[i].prompts[j], sums, ids=ids, names=names)
            flag = NOT_A_NUMBER if np.isnan(compared).any() else flag
            out[i].sums[j], out[i].compared[j], out[i].flags[j] = sums, compared, flag
            out[i].texts[j] = '' if flag == NOT_A_NUMBER else names[int(np.argmax(compared))]
        return out

    @property
    def _ends(self) -> tuple[int, ...]:
        return (self.vocabulary.eos_id,) if self.ends is None else self.ends

    def _compared(
        self, sums: np.ndarray, options: Sequence[Sequence[int]], *, names: Sequence[str], alone: dict[tuple, float]
    ) -> np.ndarray:
        match self.config.normalise:
            case 'sum':
                return sums
            case 'token':
                return sums / np.array([len(option) for option in options])
            case 'byte':
                return sums / np.array([max(len(name.encode()), 1) for name in names])
            case 'pmi':
                without = np.array([alone[tuple(map(int, option))] for option in options])
                # What cannot be cannot be chosen, however unlikely it is without its question, too.
                return np.subtract(sums, without, out=sums.copy(), where=~np.isneginf(sums))

    def _unconditional(self, params: Any, suites: Sequence[Suite]) -> dict[tuple, float]:
        """Log-likelihood of every distinct option after the unconditional prompt (Holtzman et al. 2021)."""
        prompt = self._asked_nothing()
        found = {tuple(map(int, o)): None for s in suites if s.mode == 'rank' for options in s.options for o in options}
        distinct = list(found)
        parts = [distinct[i : i + _AT_ONCE] for i in range(0, len(distinct), _AT_ONCE)]
        requests = [Request(prompt, tuple(part)) for part in parts]
        sums = self.scorer(params, requests, progress=lambda n: None)
        return {option: float(value) for part, of in zip(parts, sums) for option, value in zip(part, of, strict=True)}

    def _asked_nothing(self) -> list[int]:
        """The unconditional prompt, in the form that prompts have: in a chat it is what the user says."""
        text = self.config.unconditional_prompt
        if self.chat is not None:
            messages = [{'role': 'user', 'content': text}]
            return chat_lib.prompt(self.chat, {'messages': messages}, vocabulary=self.vocabulary)
        return [*self.vocabulary.prefix, *self.vocabulary.encode([text])[0]] or [self.vocabulary.pad_id]

    def _flag(
        self, prompt: Sequence[int], sums: np.ndarray, *, ids: Sequence[Sequence[int]], names: Sequence[str]
    ) -> str:
        if np.isnan(sums).any() or np.isposinf(sums).any() or np.isneginf(sums).all():
            return NOT_A_NUMBER
        if not all(name.strip() for name in names):
            return EMPTY_OPTION
        return TOO_LONG if self._beyond(prompt, max(map(len, ids))) else ''

    def _beyond(self, prompt: Sequence[int], answer: int) -> bool:
        """Whether a prompt with an answer of so many tokens is more than the context; the last token is never read."""
        if self.context is None:
            return False
        reads = (len(prompt), answer) if len(self.context) == 2 else (len(prompt) + max(answer - 1, 0),)
        return any(read > room for read, room in zip(reads, self.context, strict=True))

    def _check_table(self, suites: Sequence[Suite]) -> None:
        if self.table is None:
            return
        worst = (0, None, 0, 0)  # tokens beyond, suite, place, tokens of the answer
        for asked in suites:
            for j, prompt in enumerate(asked.prompts):
                answer = max(map(len, asked.options[j])) - 1 if asked.mode == 'rank' else self.config.max_new_tokens
                if (beyond := len(prompt) + answer - self.table) > worst[0]:
                    worst = beyond, asked, j, answer
        beyond, asked, j, answer = worst
        if beyond:
            raise errors.DataError(
                f'task {asked.name!r}: the prompt of row {asked.rows[j]}, {len(asked.prompts[j])} tokens, with an '
                f'answer of {answer} goes beyond the {self.table} positions of the model; lower data.max_inputs by '
                f'{beyond}, or evaluation.max_new_tokens'
            )


def _check_options(asked: Suite, place: int) -> None:
    ids, names = asked.options[place], asked.metas[place]['options']
    if not ids or len(ids) != len(names):
        raise errors.DataError(
            f'task {asked.name!r} ranks options, but row {asked.rows[place]} has {len(names)} of them and ids of '
            f'{len(ids)}; prepare it again, or give every row its options'
        )
