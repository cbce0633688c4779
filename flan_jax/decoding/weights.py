"""Weights as decoding reads them: all of them at every token, so in the type they are multiplied in, and uncut."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def narrowed(params: Any, graph: Any) -> Any:
    """The weights with matrices and tables in the model's compute dtype, each where it lies.

    Every product rounds them to that type anyway, so no answer changes; a step reads half as many bytes in bf16. What
    is added or multiplied elementwise in f32 (norms, biases, T5's table of distances) stays as it is, and so does a
    weight with an adapter or in few bits.
    """
    model = nnx.merge(graph, params)
    if model.dtype == jnp.float32:
        return params
    for _, weight in nnx.iter_graph(model):
        if isinstance(weight, nnx.Param) and 'embed' in weight.get_metadata('axes'):
            held = weight.get_value()
            if isinstance(held, jax.Array):
                weight.set_value(held.astype(model.dtype))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def apart(params: Any, graph: Any) -> tuple[Any, Any]:
    """(weights, graph) of the same model with its decoder's blocks one by one, for steps of one token.

    The weights of the blocks are copies: prompts are still read with the stacked ones.
    """
    model = nnx.merge(graph, params)
    model.take_apart()
    graph, state = nnx.split(model)
    return nnx.to_pure_dict(state), graph
