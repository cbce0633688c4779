"""Any checkpoint as a model of EleutherAI's lm-eval, whose tasks run on it unchanged.

    model = LMEvalModel(generator, scorer, params=params, vocabulary=vocabulary, limits=Limits(2048))
    results = evaluate(model, tasks=['arc_easy'], num_fewshot=5)
    write('results.json', results)

Texts become ids as lm-eval's own model of the transformers library makes them: context and continuation are encoded
together and cut at the length of the context encoded alone, special tokens written in a text are read as such, and what
is too long is cut on the left. Continuations of one context are scored together (see `decoding.score`).
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax import errors
from flan_jax.data import chat as chat_lib
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.sampling import GREEDY, Sampling
from flan_jax.decoding.score import Request, Scorer
from flan_jax.decoding.stopping import StopStrings
from flan_jax.evaluation import not_a_number

_TOGETHER = 512  # tokens of continuations scored after one context at once
_NO_NUMBER = 'request {}: the log-likelihood is NaN; the weights hold NaN, or the numbers do not fit compute_dtype'
_LENGTHS = ('max_gen_toks', 'max_new_tokens', 'max_tokens', 'max_completion_tokens')  # names of one thing


@dataclasses.dataclass(frozen=True)
class Limits:
    """Tokens a model reads and writes at most."""

    context: int  # of a text, prompt and answer; of each side of an encoder-decoder
    answer: int = 256  # of an answer where a task does not say


@dataclasses.dataclass
class LMEvalModel:
    """What lm-eval asks of a model.

    Attributes:
      generator, scorer: of one graph.
      params: its weights.
      vocabulary: its own.
      limits: of lengths.
      chat: its template, for `apply_chat_template`; None: it has none.
      cut: requests whose context was too long, and lost its beginning.
    """

    generator: Generator
    scorer: Scorer
    params: Any
    vocabulary: Vocabulary
    limits: Limits
    chat: chat_lib.Chat | None = None
    cut: int = 0

    # lm-eval reads these of every model; we spread a batch over devices ourselves.
    rank = 0
    world_size = 1
    device = None
    cache_hook = None

    def set_cache_hook(self, hook: Any) -> None:
        """For lm-eval's cache of answers."""
        self.cache_hook = hook

    @property
    def tokenizer_name(self) -> str:
        """Names the cache of requests."""
        return self.vocabulary.fingerprint

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template's text, which lm-eval writes into its results."""
        return self.chat.template if chat_template and self.chat is not None else ''

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """Messages as text; without a generation prompt the last one is left open, to be gone on with.

        Raises:
          ConfigError: the model has no chat template.
        """
        if self.chat is None:
            raise errors.ConfigError('the model was given no chat template; load one, or ask without')
        text = self.chat.text(chat_history, generation_prompt=add_generation_prompt)
        return text if add_generation_prompt else _left_open(text, chat_history[-1]['content'])

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(sum of log p, whether it is the greedy answer) of each (context, continuation).

        Raises:
          DataError: a continuation is empty or longer than the model's limit, or its log-likelihood is NaN.
        """
        pairs = self._pairs([request.args for request in requests])
        for i, (_, continuation) in enumerate(pairs):
            if not continuation:
                raise errors.DataError(f'request {i}: the continuation {requests[i].args[1]!r} has no token')
        return self._kept('loglikelihood', requests, found=self._score(pairs))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Sum of log p of whole texts, the long ones in windows that each begin with the last token before it.

        Raises:
          DataError: a sum is NaN.
        """
        windows, owners = [], []
        for i, ids in enumerate(self._parse([request.args[0] for request in requests])):
            found = list(rolling(ids, first=self._first, width=self.limits.context))
            windows += found
            owners += [i] * len(found)
        sums = [0.0] * len(requests)
        for i, (value, _) in zip(owners, self._score(windows), strict=True):
            sums[i] += value
        return self._kept('loglikelihood_rolling', requests, found=sums)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers up to a stop string.

        Raises:
          ConfigError: a setting of the request is not known, or leaves no room for its context.
          DataError: the model's logits are NaN.
        """
        prompts = self._parse([request.args[0] for request in requests])
        asked = [settings(request.args[1], answer=self.limits.answer) for request in requests]
        texts = [''] * len(requests)
        for new in sorted({one.new for one in asked}):
            some = [i for i, one in enumerate(asked) if one.new == new]
            room = self.limits.context - (0 if self.scorer.encoder_decoder else new)
            if room <= 0:
                raise errors.ConfigError(
                    f'answers of {new} tokens leave no room in a context of {self.limits.context}; ask for fewer'
                )
            stops = {i: StopStrings(asked[i].stops, self.vocabulary.decode) for i in some}
            fitting = [self._last(prompts[i] or [self._first], room) for i in some]
            answers = self.generator(
                self.params, fitting, new=new,
                how=[asked[i].sampling for i in some],
                until=lambda place, ids: stops[some[place]].reached(ids),  # noqa: B023
            )  # fmt: skip
            if lost := not_a_number.places(fitting, answers, ends=self.generator.ends, score=self._sums):
                raise errors.DataError(_NO_NUMBER.format(some[lost[0]]))
            for i, ids in zip(some, answers, strict=True):
                ids = ids[:-1] if ids and ids[-1] in self.generator.ends else ids
                texts[i] = stops[i].cut(self.vocabulary.decode(ids))
        return self._kept('generate_until', requests, found=texts)

    @property
    def _first(self) -> int:
        """What stands before a text that has no context: BOS if the vocabulary has one, even unused, or EOS."""
        bos = self.vocabulary.added.get(self.vocabulary.named.get('bos_token', ''))
        return self.vocabulary.eos_id if bos is None else bos

    def _parse(self, texts: Sequence[str]) -> list[list[int]]:
        prefix = self.vocabulary.prefix
        parsed = [ids for ids, _ in self.vocabulary.parse(texts)]
        return [ids if ids[: len(prefix)] == prefix else [*prefix, *ids] for ids in parsed]

    def _pairs(self, texts: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """Ids of contexts and continuations; spaces at the end of a context go to its continuation."""
        moved = [(a.rstrip(), a[len(a.rstrip()) :] + b) for a, b in texts]
        alone = {a: None for a, _ in moved}
        contexts = dict(zip(alone, self._parse(list(alone)), strict=True))
        if self.scorer.encoder_decoder:
            behind = [ids for ids, _ in self.vocabulary.parse([b for _, b in moved])]
            return [(contexts[a] or [self._first], ids) for (a, _), ids in zip(moved, behind, strict=True)]
        wholes = self._parse([a + b for a, b in moved])
        out = []
        for (a, _), whole in zip(moved, wholes, strict=True):
            at = len(contexts[a])
            out.append((contexts[a], whole[at:]) if at else _opened(whole, first=self._first))
        return out

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        context = self.limits.context
        groups: dict[tuple[int, ...], list[list[int]]] = {}  # of places in `pairs`, by context
        for i, (prompt, continuation) in enumerate(pairs):
            if len(continuation) > context:
                raise errors.DataError(
                    f'request {i}: a continuation of {len(continuation)} tokens is longer than the context, {context}'
                )
            room = context if self.scorer.encoder_decoder else context + 1 - len(continuation)
            parts = groups.setdefault(tuple(self._last(prompt, room)), [[]])
            if parts[-1] and sum(len(pairs[j][1]) for j in parts[-1]) + len(continuation) > _TOGETHER:
                parts.append([])
            parts[-1].append(i)
        asked = [(prompt, part) for prompt, parts in groups.items() for part in parts]
        requests = [Request(prompt, tuple(pairs[i][1] for i in part)) for prompt, part in asked]
        out: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
        for (_, part), found in zip(asked, self.scorer.scored(self.params, requests), strict=True):
            for i, value, greedy in zip(part, found.sums, found.greedy, strict=True):
                out[i] = float(value), bool(greedy)
        return out

    def _sums(self, requests: Sequence[Request]) -> list[np.ndarray]:
        return [found.sums for found in self.scorer.scored(self.params, requests)]

    def _last(self, ids: list[int], room: int) -> list[int]:
        self.cut += len(ids) > room
        return ids[-room:]

    def _kept(self, kind: str, requests: Sequence[Any], *, found: list) -> list:
        """What was found, given to lm-eval's cache, if there is one.

        Raises:
          DataError: a log-likelihood is NaN, which lm-eval would choose or count as wrong in silence.
        """
        for i, value in enumerate(found):
            number = value[0] if isinstance(value, tuple) else value
            if isinstance(number, float) and math.isnan(number):
                raise errors.DataError(_NO_NUMBER.format(i))
        if self.cache_hook is not None:
            for request, value in zip(requests, found, strict=True):
                self.cache_hook.add_partial(kind, request.args, value)
        return found


@dataclasses.dataclass(frozen=True)
class Settings:
    """How one answer is generated: tokens at most, stop strings, sampling."""

    new: int
    stops: tuple[str, ...]
    sampling: Sampling


def settings(asked: Mapping[str, Any], *, answer: int) -> Settings:
    """What a task's `generation_kwargs` ask for; nothing is drawn unless `do_sample` or a temperature says so.

    >>> settings({'until': ['\\n'], 'do_sample': False, 'temperature': 0.7}, answer=64)
    Settings(new=64, stops=('\\n',), sampling=Sampling(temperature=0.0, top_k=None, top_p=1.0, min_p=0.0, \
repetition_penalty=1.0, seed=0, sample=0))

    Raises:
      ConfigError: a setting is not known.
    """
    knobs = ('temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed')
    known = ('until', 'do_sample', *_LENGTHS, *knobs)
    if unknown := [name for name in asked if name not in known]:
        raise errors.ConfigError(
            f'generation_kwargs: {unknown[0]!r} is not known here; known are {", ".join(known)}'
            + errors.near(unknown[0], known)
        )
    until = asked.get('until') or []
    stops = (until,) if isinstance(until, str) else tuple(s for s in until if s)
    new = next((int(asked[name]) for name in _LENGTHS if asked.get(name) is not None), answer)
    values = {name: asked[name] for name in knobs if asked.get(name) is not None}
    temperature = float(values.get('temperature', 1.0 if asked.get('do_sample') else 0.0))
    if asked.get('do_sample') is False or not temperature:
        penalty = values.get('repetition_penalty', GREEDY.repetition_penalty)
        return Settings(new, stops, Sampling(repetition_penalty=float(penalty)))
    if values.get('top_k') == 0:  # off, in other programs' words
        values['top_k'] = None
    return Settings(new, stops, Sampling(**values | {'temperature': temperature}))


def rolling(ids: Sequence[int], *, first: int, width: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, continuation) pairs that predict every token once, `width` tokens read a window.

    >>> list(rolling([1, 2, 3, 4, 5], first=0, width=2))
    [([0], [1, 2]), ([2], [3, 4]), ([3, 4], [5])]
    """
    for start in range(0, len(ids), width):
        cut = list(ids[start : start + width])
        if start == 0:
            yield [first], cut
        else:  # the last window is filled up with context
            yield list(ids[start + len(cut) - width - 1 : start]), cut


def _left_open(text: str, last: str) -> str:
    """A chat up to the end of its last message; spaces there are kept if the template keeps them.

    >>> _left_open('<user> Hi <end><assistant> Well, <end>', 'Well, ')
    '<user> Hi <end><assistant> Well, '
    """
    at = text.rindex(last.strip())
    kept = last.lstrip() if text.startswith(last.lstrip(), at) else last.strip()
    return text[: at + len(kept)]


def _opened(whole: list[int], *, first: int) -> tuple[list[int], list[int]]:
    """A text without context, after `first`, unless it begins with that anyway."""
    return ([first], whole[1:]) if whole[:1] == [first] else ([first], whole)


def evaluate(model: LMEvalModel, *, tasks: Sequence[Any], **options: Any) -> dict[str, Any]:
    """lm-eval's `simple_evaluate` on the model; `options` are its own.

    Returns:
      Its results, and `contexts_cut`: how many requests lost the beginning of their context.

    Raises:
      ConfigError: lm-eval is not installed.
    """
    try:
        import lm_eval
        from lm_eval.api.model import LM
    except ImportError as e:
        raise errors.ConfigError(f'lm-eval is not installed ({e}); pip install lm-eval') from e
    LM.register(LMEvalModel)
    before = model.cut
    results = lm_eval.simple_evaluate(model=model, tasks=list(tasks), **options)
    return results | {'contexts_cut': model.cut - before}


def write(path: str, results: Mapping[str, Any]) -> None:
    """Results as lm-eval writes them, whole or not at all."""
    temporary = pathlib.Path(f'{path}.tmp')
    temporary.write_text(json.dumps(results, indent=2, ensure_ascii=False, default=str))
    os.replace(temporary, path)
