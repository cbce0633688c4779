"""How the next token is chosen, row by row.

The order is that of the transformers library: repetition penalty, temperature, top-k, top-p, min-p. What a row draws
follows from its own seed and the place in its own answer, so it depends neither on the batch nor on who else is in it.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from flan_jax import errors


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How one answer is chosen.

    Raises:
      ConfigError: a value is out of its range.
    """

    temperature: float = 0.0  # logits are divided by it; 0: the most likely token, nothing is drawn
    top_k: int | None = None  # only the k most likely tokens; None: off
    top_p: float = 1.0  # only the most likely tokens that together have this probability (Holtzman et al. 2020)
    min_p: float = 0.0  # only tokens with this share of the likeliest one's probability (Nguyen et al. 2024)
    repetition_penalty: float = 1.0  # logits of tokens already there are divided by it (Keskar et al. 2019)
    seed: int = 0  # of what is drawn
    sample: int = 0  # which of several answers with one seed

    def __post_init__(self):
        wrong = [
            f'{name}={value} must be {range_}'
            for name, value, good, range_ in (
                ('temperature', self.temperature, 0 <= self.temperature < float('inf'), 'a number, at least 0'),
                ('top_k', self.top_k, self.top_k is None or self.top_k >= 1, 'at least 1, or None'),
                ('top_p', self.top_p, 0 < self.top_p <= 1, 'above 0 and at most 1'),
                ('min_p', self.min_p, 0 <= self.min_p <= 1, 'from 0 to 1'),
                ('repetition_penalty', self.repetition_penalty, 0 < self.repetition_penalty < float('inf'), 'above 0'),
                ('seed', self.seed, 0 <= self.seed < 2**32, 'from 0 to 2^32 - 1'),
                ('sample', self.sample, self.sample >= 0, 'at least 0'),
            )
            if not good
        ]
        if wrong:
            raise errors.ConfigError(f'sampling: {"; ".join(wrong)}')


GREEDY = Sampling()

_FIELDS = ('temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed', 'sample')


@functools.partial(jax.tree_util.register_dataclass, data_fields=list(_FIELDS), meta_fields=[])
@dataclasses.dataclass(frozen=True)
class SamplingRows:
    """`Sampling` of every row, [B 1] each, so that one compiled step serves all; top-k 0 is off."""

    temperature: Array | np.ndarray
    top_k: Array | np.ndarray
    top_p: Array | np.ndarray
    min_p: Array | np.ndarray
    repetition_penalty: Array | np.ndarray
    seed: Array | np.ndarray
    sample: Array | np.ndarray


def rows(each: Sequence[Sampling], count: int) -> SamplingRows:
    """The given ones, and greedy ones up to `count` rows."""
    each = [*each, *[GREEDY] * (count - len(each))]
    kinds = {'top_k': np.int32, 'seed': np.uint32, 'sample': np.uint32}
    columns = {
        name: np.array([[vars(s)[name] or 0] for s in each], kinds.get(name, np.float32)).reshape(count, 1)
        for name in _FIELDS
    }
    return SamplingRows(**columns)


def choose(
    logits: Float[Array, 'B V'], how: SamplingRows, *, seen: Bool[Array, 'B V'], step: Int[Array, 'B 1']
) -> Int[Array, 'B 1']:
    """The next token of every row.

    Args:
      logits: f32.
      how: of the rows.
      seen: tokens that are in the row's text already.
      step: places in the answers, from 0.
    """
    logits = jax.lax.cond(
        jnp.any(how.repetition_penalty != 1),
        lambda: penalised(logits, how.repetition_penalty, seen=seen),
        lambda: logits,
    )
    best = jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32)

    def drawn() -> Array:
        keep = kept(logits, how)

        def one(seed, sample, place, row):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), sample), place)
            return jax.random.categorical(key, row)

        tokens = jax.vmap(one)(how.seed[:, 0], how.sample[:, 0], step[:, 0], keep)
        return jnp.where(how.temperature > 0, tokens[:, None].astype(jnp.int32), best)

    # Sorting a vocabulary takes longer than a small model's step; a batch that draws nothing does not pay for it.
    return jax.lax.cond(jnp.any(how.temperature > 0), drawn, lambda: best)


def penalised(
    logits: Float[Array, 'B V'], penalty: Float[Array, 'B 1'], *, seen: Bool[Array, 'B V']
) -> Float[Array, 'B V']:
    """Seen tokens made less likely, whatever the sign of their logits."""
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)


def kept(logits: Float[Array, 'B V'], how: SamplingRows) -> Float[Array, 'B V']:
    """Logits over temperature, minus infinity where top-k, top-p or min-p leave a token out.

    The likeliest token always stays. Tokens as likely as the last one kept stay too.
    """
    size = logits.shape[-1]
    scaled = logits / jnp.where(how.temperature > 0, how.temperature, 1)
    ordered = -jnp.sort(-scaled, axis=-1)
    k = jnp.where(how.top_k > 0, jnp.minimum(how.top_k, size), size)
    lowest = jnp.take_along_axis(ordered, k - 1, axis=-1)
    shares = jax.nn.softmax(jnp.where(ordered >= lowest, ordered, -jnp.inf), axis=-1)
    before = jnp.cumsum(shares, axis=-1) - shares
    nucleus = jnp.sum((before < how.top_p) | (how.top_p >= 1), axis=-1, keepdims=True)
    lowest = jnp.maximum(lowest, jnp.take_along_axis(ordered, jnp.maximum(nucleus - 1, 0), axis=-1))
    lowest = jnp.maximum(lowest, ordered[:, :1] + jnp.log(how.min_p))
    return jnp.where(scaled >= lowest, scaled, -jnp.inf)
