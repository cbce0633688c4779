"""Weights made narrow before they are read give the very same hidden states and logits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flan_jax.decoding.slots import begin
from flan_jax.decoding.weights import narrowed
from flan_jax.models.config import ExecutionConfig, ExpertsConfig
from flan_jax.training import state

HALF = ExecutionConfig(compute_dtype='bfloat16', attention='dense', remat='none')
CHANGES = {
    'rope': {},
    'experts': {'experts': ExpertsConfig(count=4, chosen=2, width=16)},
    'encoder_decoder': {},
}


@pytest.mark.parametrize('name', CHANGES)
def test_no_logit_changes(toys, name):
    base = toys['encoder_decoder' if name == 'encoder_decoder' else 'rope']
    bones, rng = state.skeleton(dataclasses.replace(base.config, **CHANGES[name]), HALF), np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0.1, 0.5, x.shape), x.dtype), bones.shapes)
    narrow = narrowed(params, bones.graph)
    kinds = {x.dtype.name for x in jax.tree.leaves(narrow)}
    assert kinds == {'bfloat16', 'float32'}
    asked = jnp.asarray(rng.integers(1, 64, (3, 16)), jnp.int32), jnp.full((3, 1), 16, jnp.int32)
    wide, small = (begin(p, asked, how=None, graph=bones.graph, new=3, ends=()) for p in (params, narrow))
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(*map(jax.tree.leaves, (wide.past, small.past))))
    hidden = jnp.asarray(rng.normal(0, 1, (1, 1, 32)), jnp.bfloat16)
    assert (nnx.merge(bones.graph, params).logits(hidden) == nnx.merge(bones.graph, narrow).logits(hidden)).all()


def test_weights_of_an_f32_model_are_left_as_they_are(toys):
    toy = toys['rope']
    assert narrowed(toy.params, toy.graph) is toy.params
