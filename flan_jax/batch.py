"""Rows as arrays: what the loader makes and the step eats."""

import dataclasses

import jax
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """One side of packed rows.

    Attributes:
      tokens: ids; 0 where there is no example.
      segments: which example of its row a token belongs to, from 1; 0 is padding.
      positions: place within its example, from 0.
    """

    tokens: Int[Array, '*A B T']
    segments: Int[Array, '*A B T']
    positions: Int[Array, '*A B T']


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """The rows of an optimizer step, in A microbatches of B rows, and where their loss is.

    The rows of a microbatch lie in G groups, one for each device the batch is split over, so that a device finds its
    supervised positions without asking another.

    Attributes:
      rows: what the decoder reads (for an encoder-decoder shifted right by one).
      encoder: what the encoder reads; None for decoder-only models.
      supervised: flat positions (row in group * T + t) whose output predicts a supervised token.
      labels: that token.
      weights: its weight; 0 fills up to M, the plan's bound.
    """

    rows: Rows
    encoder: Rows | None
    supervised: Int[Array, 'A G M']
    labels: Int[Array, 'A G M']
    weights: Float[Array, 'A G M']
