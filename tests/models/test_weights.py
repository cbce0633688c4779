"""Weights: how many, on which axes, and the published shapes."""

import dataclasses
import math

import jax
import pytest
from flax import nnx

from flan_jax import errors
from flan_jax.config import Config, ModelConfig, TrainingConfig
from flan_jax.models import layers, presets
from flan_jax.models.config import ExecutionConfig
from flan_jax.parallel import axes
from flan_jax.training import state

SMALL = {
    'grouped': ModelConfig(vocab_size=96, layers=3, width=24, heads=6, kv_heads=2, head_width=10, mlp_width=40),
    'untied': ModelConfig(vocab_size=96, layers=1, width=24, heads=2, kv_heads=1, tied_embeddings=False),
    'bias': ModelConfig(vocab_size=96, width=24, positions='relative_bias', relative_buckets=12),
    'uneven_stacks': ModelConfig(vocab_size=96, layers=2, encoder_layers=5, width=24, positions='relative_bias'),
    'untied_encoder_decoder': ModelConfig(
        vocab_size=96, encoder_layers=1, width=24, positions='relative_bias', tied_embeddings=False
    ),
}
ALL = SMALL | presets.PRESETS


@pytest.fixture(scope='module')
def skeletons():
    return {name: state.skeleton(config, ExecutionConfig()) for name, config in ALL.items()}


def real_count(skeleton) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(skeleton.shapes))


@pytest.mark.parametrize('name', ALL)
def test_parameter_count_is_the_number_of_weights(skeletons, name):
    assert presets.parameter_count(ALL[name]) == real_count(skeletons[name])


@pytest.mark.parametrize(
    'name, published',
    [('t5_1_1_small', 77.0e6), ('t5_1_1_base', 247.6e6), ('t5_1_1_large', 783.2e6), ('llama3_1b', 1.236e9),
     ('smollm2_135m', 134.5e6)],
)  # fmt: skip
def test_presets_have_the_published_number_of_weights(skeletons, name, published):
    assert real_count(skeletons[name]) == pytest.approx(published, rel=5e-3)


def test_counting_without_embeddings_keeps_the_head(skeletons):
    tied, untied = presets.PRESETS['llama3_1b'], SMALL['untied']
    # A tied table is read as the head, an untied one only looked up.
    assert presets.parameter_count(tied, embeddings=False) == presets.parameter_count(tied)
    table = untied.vocab_size * untied.width
    assert presets.parameter_count(untied, embeddings=False) == presets.parameter_count(untied) - table


@pytest.mark.parametrize('name', ALL)
def test_every_weight_names_an_axis_of_the_table_for_each_dimension(skeletons, name):
    skeleton = skeletons[name]
    shapes = jax.tree_util.tree_leaves_with_path(skeleton.shapes)
    named = jax.tree.leaves(skeleton.axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    assert len(shapes) == len(named)
    for (path, shape), names in zip(shapes, named):
        assert len(names) == len(shape.shape), jax.tree_util.keystr(path)
        assert set(names) <= set(axes.TABLE), jax.tree_util.keystr(path)


def test_weights_are_f32_whatever_they_are_computed_in(skeletons):
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(skeletons['llama3_1b'].shapes)} == {'float32'}


def test_a_weight_with_too_few_axis_names_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\) needs 2 axis names, has \('embed',\)"):
        layers.weight(nnx.Rngs(0), (2, 3), axes=('embed',), init=layers.ones)


def test_an_unknown_preset_lists_near_ones():
    with pytest.raises(errors.ConfigError, match=r"no model preset 'lama3_1b'; did you mean llama3_1b.*there are"):
        presets.preset('lama3_1b')


def test_an_encoder_decoder_with_rope_is_refused_by_name():
    rope = dataclasses.replace(SMALL['uneven_stacks'], positions='rope')
    with pytest.raises(errors.ConfigError, match=r"model\.positions='rope'.*'relative_bias'"):
        Config(model=rope, training=TrainingConfig(steps=1))
