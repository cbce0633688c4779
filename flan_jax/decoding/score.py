"""Log-likelihoods of continuations: a prompt is computed once for all its options, and what many prompts begin with
once for all of them.

Options are branches of their prompt (see `option_rows`). Prompts with a common beginning, such as the exemplars of a
few-shot task, are found by their ids (`beginnings`); the model reads the beginning, and what it remembers of it
(`memory`) is seen by all rows of the rest.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from flan_jax import errors
from flan_jax.batch import Rows
from flan_jax.data.loader import place
from flan_jax.decoding import beginnings, option_rows
from flan_jax.decoding import memory as memory_lib
from flan_jax.decoding.beginnings import Ids
from flan_jax.decoding.memory import Memory
from flan_jax.decoding.option_rows import Layout, OptionRows, Request, bucket
from flan_jax.models.config import ModelConfig
from flan_jax.parallel import distributed
from flan_jax.training.loss import take


@dataclasses.dataclass(frozen=True)
class Scored:
    """A request's options.

    Attributes:
      sums: of log p(token), f64[options].
      greedy: whether every token of the option is the likeliest one, bool[options].
    """

    sums: np.ndarray
    greedy: np.ndarray


@functools.partial(jax.jit, static_argnames=('graph', 'chunk'))
def _log_likelihoods(
    params: Any, arrays: dict[str, Int[Array, 'B T']], *, memory: Memory | None, graph: Any, chunk: int
) -> tuple[Float[Array, 'G M'], Bool[Array, 'G M']]:
    """Log-likelihoods of the labels at the supervised positions of each group of rows.

    Beside them whether no other token is likelier. `arrays` are those of `OptionRows`.
    """
    model, branches = nnx.merge(graph, params), arrays['branches']
    sides = [
        Rows(*(arrays[side + name] for name in ('tokens', 'segments', 'positions')))
        for side in ('', 'encoder_')
        if f'{side}tokens' in arrays
    ]
    if memory is None:
        hidden = model.branches(*sides, branches=branches)
    else:
        hidden = memory_lib.branches(model, *sides, branches=branches, memory=memory)
    hidden = take(hidden, arrays['supervised'])
    groups, positions, width = hidden.shape
    pieces = max(positions // chunk, 1)

    def piece(x):
        hidden, labels = x
        logits = model.logits(hidden)
        chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(logits, axis=-1), chosen >= jnp.max(logits, axis=-1)

    split = (
        jnp.moveaxis(hidden.reshape(groups, pieces, -1, width), 1, 0),
        jnp.moveaxis(arrays['labels'].reshape(groups, pieces, -1), 1, 0),
    )
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(groups, positions), jax.lax.map(piece, split))


@functools.partial(jax.jit, static_argnames=('graph',))
def _read(params: Any, tokens: Int[Array, 'B T'], *, length: Int[Array, ''], graph: Any) -> Memory:
    return memory_lib.read(nnx.merge(graph, params), tokens, length=length)


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Scores options with one model.

    Attributes:
      graph: of the model.
      mesh: devices; rows are split over its batch axes.
      encoder_decoder: whether prompts go to an encoder.
      batch_tokens: tokens of a batch.
      share: whether a beginning of many prompts is read once; changes nothing but the time.
    """

    graph: Any
    mesh: jax.sharding.Mesh
    encoder_decoder: bool
    batch_tokens: int
    share: bool = True

    def __call__(
        self, params: Any, requests: Sequence[Request], *, progress: Callable[[int], None] = lambda n: None
    ) -> list[np.ndarray]:
        """Sums of log p(token) of every option of every request, f64[options] each, in the requests' order.

        Raises:
          DataError: a request has an empty prompt or option.
        """
        return [found.sums for found in self.scored(params, requests, progress=progress)]

    def scored(
        self, params: Any, requests: Sequence[Request], *, progress: Callable[[int], None] = lambda n: None
    ) -> list[Scored]:
        """The same, and which options are the greedy answers as far as they go.

        Raises:
          DataError: a request has an empty prompt or option, or is longer than the model's table of positions.
        """
        for i, request in enumerate(requests):
            if not len(request.prompt):
                raise errors.DataError(f'request {i} has an empty prompt; its options need a token to follow')
            if not request.options or not all(len(option) for option in request.options):
                raise errors.DataError(f'request {i} has an empty option; every option needs at least one token')
        config = nnx.merge(self.graph, params).config
        _check_room(config, requests)
        out = [Scored(np.zeros(len(r.options)), np.ones(len(r.options), bool)) for r in requests]
        alone = Layout(self._groups, self.encoder_decoder, self.batch_tokens)
        shared = self._beginnings(requests) if self.share and memory_lib.possible(config) else []
        begun = {i for beginning in shared for i in beginning.members}
        for beginning in shared:
            first = requests[beginning.members[0]].prompt[: beginning.length]
            memory, layout = self._read(params, first), dataclasses.replace(alone, skip=beginning.length)
            for batch in option_rows.batches(requests, beginning.members, layout=layout):
                self._add(params, batch, memory=memory, out=out)
                progress(len(batch.requests))
        rest = [i for i in range(len(requests)) if i not in begun]
        for batch in option_rows.batches(requests, rest, layout=alone):
            self._add(params, batch, memory=None, out=out)
            progress(len(batch.requests))
        return out

    @property
    def _groups(self) -> int:
        return self.mesh.shape['data'] * self.mesh.shape['fsdp']

    def _beginnings(self, requests: Sequence[Request]) -> list[beginnings.Beginning]:
        prompts = [request.prompt for request in requests]
        return beginnings.common(prompts, least=beginnings.LEAST, price=beginnings.PRICE)

    def _read(self, params: Any, tokens: Ids) -> Memory:
        padded = np.zeros((self._groups, bucket(len(tokens))), np.int32)
        padded[:, : len(tokens)] = tokens
        length = jnp.asarray(len(tokens), jnp.int32)
        return _read(params, self._place(padded), length=length, graph=self.graph)

    def _add(self, params: Any, batch: OptionRows, *, memory: Memory | None, out: list[Scored]) -> None:
        """Adds what the batch's tokens say to the options they are of."""
        arrays = {name: self._place(array) for name, array in batch.arrays.items()}
        found = _log_likelihoods(params, arrays, memory=memory, graph=self.graph, chunk=option_rows.CHUNK)
        values, best = map(distributed.everywhere, found)
        for group, position, request, option in batch.owners:
            out[request].sums[option] += values[group, position]
            out[request].greedy[option] &= best[group, position]

    def _place(self, x: np.ndarray) -> jax.Array:
        groups = self._groups
        mine = distributed.local_groups(self.mesh, groups)
        each = x.shape[0] // groups
        local = x.reshape(groups, each, -1)[mine].reshape(1, len(mine) * each, -1)
        return place(local, mesh=self.mesh, groups=groups, mine=mine)[0]


def _check_room(config: ModelConfig, requests: Sequence[Request]) -> None:
    if config.positions != 'learned' or not requests:
        return
    room = config.embedding.positions - config.embedding.offset
    reads = [len(request.prompt) + max(map(len, request.options)) - 1 for request in requests]
    longest = int(np.argmax(reads))
    if reads[longest] > room:
        raise errors.DataError(
            f'request {longest} has {len(requests[longest].prompt)} tokens and an option to read {reads[longest]} in '
            f'all, but the model has {room} positions; cut {reads[longest] - room} tokens from the prompt'
        )
