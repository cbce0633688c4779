"""Generation with a static key/value cache: the most likely tokens, or drawn ones.

Prompts wait in a queue, longest first. They are answered in the slots of one cache; when some slots are done, the next
prompts are read into them while the other answers wait, so that one long answer holds up nobody but itself.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flan_jax import errors
from flan_jax.decoding import prompt_batches, sampling, slots
from flan_jax.decoding.prompt_batches import Queue
from flan_jax.decoding.sampling import GREEDY, Sampling, SamplingRows
from flan_jax.decoding.score import Ids, bucket
from flan_jax.decoding.slots import Writing
from flan_jax.decoding.weights import apart, narrowed
from flan_jax.parallel import distributed

LOOK_EVERY = 8  # tokens written between looks of `until`
REFILLED_SHARE = 8  # a slot in so many is done when others begin: fewer wait less, and interrupt the others more often

Until = Callable[[int, list[int]], bool]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is to be answered; see `Generator.__call__`."""

    prompts: Sequence[Ids]
    how: Sequence[Sampling]
    new: int
    until: Until | None = None
    progress: Callable[[int], None] = lambda n: None


@dataclasses.dataclass
class Work:
    """What answers took.

    Attributes:
      steps: times that every slot was given a token.
      reads: times that prompts were read.
    """

    steps: int = 0
    reads: int = 0


@dataclasses.dataclass(frozen=True)
class Generator:
    """Generates with one model.

    Attributes:
      graph: of the model.
      mesh: devices; rows are split over its batch axes.
      ends: ids that end an answer, any of them.
      batch_tokens: tokens of a batch, prompts and answers.
    """

    graph: Any
    mesh: jax.sharding.Mesh
    ends: tuple[int, ...]
    batch_tokens: int

    def __call__(
        self,
        params: Any,
        prompts: Sequence[Ids],
        *,
        new: int,
        how: Sampling | Sequence[Sampling] = GREEDY,
        until: Until | None = None,
        progress: Callable[[int], None] = lambda n: None,
    ) -> list[list[int]]:
        """Answers in the prompts' order, up to and with an end id, at most `new` tokens each.

        Args:
          params: the weights.
          prompts: ids.
          new: tokens of an answer, at most.
          how: tokens are chosen; one for all (with one seed) or one a prompt. Several answers to one prompt are the
            prompt several times with `sample` 0, 1, ...
          until: told the prompt's place and its answer so far after every token, in the order of writing; where it is
            true, the answer ends with that token. The device is asked every LOOK_EVERY tokens.
          progress: told how many prompts were answered.

        Raises:
          DataError: a prompt is empty, or with its answer longer than the model's table of positions; as many `how`
            as prompts are not given.
        """
        each = [how] * len(prompts) if isinstance(how, Sampling) else list(how)
        if len(each) != len(prompts):
            raise errors.DataError(f'{len(prompts)} prompts and {len(each)} samplings; give one, or one a prompt')
        return self.write(params, Asked(prompts, each, new, until, progress))[0]

    def write(self, params: Any, asked: Asked) -> tuple[list[list[int]], Work]:
        """The answers, and what they took."""
        _check_room(nnx.merge(self.graph, params).config, asked.prompts, new=asked.new)
        answers: list[list[int]] = [[] for _ in asked.prompts]
        params = narrowed(params, self.graph)
        stepping = apart(params, self.graph)
        work, groups = Work(), prompt_batches.groups_of(self.mesh)
        for queue in prompt_batches.queues(asked.prompts, groups=groups, batch_tokens=self.batch_tokens, new=asked.new):
            _Serving(self, (params, *stepping), asked=asked, queue=queue, answers=answers).run(work)
        return answers, work


class _Serving:
    """A queue being answered: who is in which slot, and who waits.

    Args:
      model: weights for reading prompts; those for writing a token at a time, and the graph that goes with them.
    """

    def __init__(
        self,
        generator: Generator,
        model: tuple[Any, Any, Any],
        *,
        asked: Asked,
        queue: Queue,
        answers: list[list[int]],
    ):
        self.params, self.stepping, self.graph = model
        self.generator, self.asked, self.answers = generator, asked, answers
        self.width, self.groups = queue.width, prompt_batches.groups_of(generator.mesh)
        self.slots: list[int | None] = [*queue.indices[: queue.slots]]
        self.slots += [None] * (queue.slots - len(self.slots))
        self.waiting = collections.deque(queue.indices[queue.slots :])
        self.share = max(queue.slots // self.groups // REFILLED_SHARE, 1)  # slots of a group filled at once
        # Programs that draw take twice as long to compile; most queues, evaluation's, draw nothing.
        self.draws = any(dataclasses.replace(asked.how[i], seed=0, sample=0) != GREEDY for i in queue.indices)

    def run(self, work: Work) -> None:
        """Answers everybody."""
        read = prompt_batches.filled(self.asked.prompts, self.slots, width=self.width)
        writing = slots.begin(
            self.params, (self._put(read.tokens), self._put(read.lengths)), how=self._how(self.slots),
            new=self.asked.new, **self._model(),
        )  # fmt: skip
        work.reads += 1
        while self.waiting or self.slots.count(None) < len(self.slots):
            while self.waiting and self.slots.count(None) >= self._enough():
                writing = self._refill(writing)
                work.reads += 1
            writing, steps = self._go_on(writing)
            work.steps += steps

    def _refill(self, writing: Writing) -> Writing:
        size = len(self.slots) // self.groups
        at = np.full((self.groups, self.share), size, np.int32)  # beyond the group: nobody
        begun: list[int | None] = [None] * at.size
        for group in range(self.groups):
            free = [slot for slot in range(size) if self.slots[group * size + slot] is None]
            for place, slot in enumerate(free[: min(self.share, len(self.waiting))]):
                at[group, place] = slot
                begun[group * self.share + place] = self.slots[group * size + slot] = self.waiting.popleft()
        width = bucket(max(len(self.asked.prompts[i]) for i in begun if i is not None), smallest=16)
        read = prompt_batches.filled(self.asked.prompts, begun, width=width)
        asked = self._put(read.tokens), self._put(read.lengths), self._put(at)
        return slots.refill(self.params, writing, asked=asked, how=self._how(begun), **self._model())

    def _go_on(self, writing: Writing) -> tuple[Writing, int]:
        until, count = self.asked.until, len(self.slots)
        ended = np.array([[i is None] for i in self.slots], np.int32)
        most = self.asked.new if until is None else LOOK_EVERY
        enough = self._enough() if self.waiting else count
        stop = jnp.asarray(most, jnp.int32), jnp.asarray(enough, jnp.int32), self._put(ended)
        writing, steps, told = slots.go_on(
            self.stepping, writing, how=self._how(self.slots), stop=stop, graph=self.graph, ends=self.generator.ends
        )
        told = distributed.everywhere(told)
        for slot, i in enumerate(self.slots):
            if i is None:
                continue
            written, done = told[slot, :2].tolist()
            fresh = told[slot, 2 + len(self.answers[i]) : 2 + written].tolist()
            if not self._take(i, fresh) or done:
                self.slots[slot] = None
        self.asked.progress(self.slots.count(None) - int(ended.sum()))
        return writing, int(steps)

    def _take(self, index: int, fresh: list[int]) -> bool:
        """Adds what was written to an answer; whether it goes on, if `until` is asked."""
        if self.asked.until is None:
            self.answers[index] += fresh
            return True
        for token in fresh:
            self.answers[index].append(token)
            if self.asked.until(index, self.answers[index]):
                return False
        return True

    def _enough(self) -> int:
        """Slots that are free when others begin."""
        return min(self.share * self.groups, len(self.waiting))

    def _how(self, rows: Sequence[int | None]) -> SamplingRows | None:
        if not self.draws:
            return None
        each = [GREEDY if i is None else self.asked.how[i] for i in rows]
        return jax.tree.map(self._put, sampling.rows(each, len(each)))

    def _put(self, x: np.ndarray) -> jax.Array:
        return prompt_batches.put(x, self.generator.mesh)

    def _model(self) -> dict[str, Any]:
        return {'graph': self.generator.graph, 'ends': self.generator.ends}


def _check_room(config: Any, prompts: Sequence[Ids], *, new: int) -> None:
    if config.positions != 'learned' or not len(prompts):
        return
    room = config.embedding.positions - config.embedding.offset
    longest = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    if (needed := len(prompts[longest]) + new) > room:
        raise errors.DataError(
            f'prompt {longest} has {len(prompts[longest])} tokens and its answer up to {new}, but the model has '
            f'{room} positions; cut {needed - room} tokens from the prompt, or ask for fewer'
        )
