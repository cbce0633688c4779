"""RoPE settings of a config.json: one of the wrong kind, or a rule without its numbers, never becomes another model."""

import pytest

from flan_jax import errors
from flan_jax.interop import families

CONFIG = {
    'vocab_size': 64, 'num_hidden_layers': 2, 'hidden_size': 32, 'num_attention_heads': 4, 'num_key_value_heads': 2,
    'head_dim': 8, 'intermediate_size': 48, 'max_position_embeddings': 128,
}  # fmt: skip
LLAMA3 = {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0}
FOUR = [1.0, 1.5, 2.0, 4.0]  # one for each turned pair


def read(**more):
    return families.family('llama').read(CONFIG | more, 'there/config.json')


@pytest.mark.parametrize('key', ['rope_scaling', 'rope_parameters'])
@pytest.mark.parametrize(
    'value, message',
    [
        ({'rope_type': 'linear'}, "rope_type 'linear' needs 'factor'"),
        ({'rope_type': 'dynamic', 'factor': None}, "rope_type 'dynamic' needs 'factor'"),
        ({'rope_type': 'yarn'}, "rope_type 'yarn' needs 'factor'"),
        ({'rope_type': 'llama3', 'factor': 8.0}, "rope_type 'llama3' needs 'low_freq_factor'"),
        ({'rope_type': 'longrope', 'short_factor': FOUR}, "rope_type 'longrope' needs 'long_factor'"),
        ({'rope_type': 'su', 'long_factor': FOUR}, "rope_type 'su' needs 'short_factor'"),
        ({'rope_type': 'linear', 'factor': 'two'}, "factor='two' must be a number above 0"),
        ({'rope_type': 'linear', 'factor': [2.0]}, 'factor=[2.0] must be a number above 0'),
        ({'rope_type': 'linear', 'factor': True}, 'factor=True must be a number above 0'),
        ({'rope_type': 'linear', 'factor': 0}, 'factor=0 must be a number above 0'),
        ({'rope_type': 'linear', 'factor': float('nan')}, 'factor=nan must be a number above 0'),
        ({'rope_type': 'default', 'rope_theta': 'x'}, "rope_theta='x' must be a number above 0"),
        (LLAMA3 | {'low_freq_factor': 4.0}, 'low_freq_factor=4.0 must be less than high_freq_factor'),
        (LLAMA3 | {'original_max_position_embeddings': '64'}, "original_max_position_embeddings='64' must be a whole"),
        ({'rope_type': 'yarn', 'factor': 4.0, 'truncate': 'no'}, "truncate='no' must be true or false"),
        ({'rope_type': 'yarn', 'factor': 4.0, 'mscale': 'x'}, "mscale='x' must be a number, at least 0"),
        ({'rope_type': 'longrope', 'short_factor': 1.0, 'long_factor': FOUR}, 'short_factor=1.0 must be a list'),
        ({'rope_type': 'longrope', 'short_factor': [1], 'long_factor': FOUR}, 'must be as long as each other'),
        ({'rope_type': 'longrope', 'short_factor': [1], 'long_factor': [1]}, '1 factors for the 4 turned pairs'),
        ({'rope_type': 'spiral', 'factor': 2.0}, "rope_type 'spiral' is none of default, linear"),
        ({'rope_type': ['linear'], 'factor': 2.0}, "rope_type=['linear'] must be a name"),
        (['linear', 2.0], "must be a mapping, such as {'rope_type': 'linear', 'factor': 2.0}"),
        ([['type', 'linear'], ['factor', 2.0]], 'must be a mapping'),
        ('linear', "'linear' must be a mapping"),
        (2.0, '2.0 must be a mapping'),
    ],
)
def test_a_setting_that_says_no_rule_is_refused_with_the_file_the_key_and_the_value(key, value, message):
    with pytest.raises(errors.ConfigError) as e:
        read(**{key: value})
    assert str(e.value).startswith(f'there/config.json: {key}={value!r} cannot be represented: ')
    assert message in str(e.value)


@pytest.mark.parametrize('value', ['x', [1], 0, True])
def test_a_base_that_is_no_number_is_refused_by_its_key(value):
    with pytest.raises(errors.ConfigError) as e:
        read(rope_theta=value)
    assert f'there/config.json: rope_theta={value!r}' in str(e.value) and 'a number above 0' in str(e.value)


@pytest.mark.parametrize('broken', [['x'], {'rope_type': 'linear'}])
def test_the_settings_of_each_kind_of_layer_are_looked_at(broken):
    plain = {'rope_type': 'default', 'rope_theta': 1e6}
    with pytest.raises(errors.ConfigError, match=r"there/config\.json: rope_parameters=.*(a mapping|needs 'factor')"):
        families.family('gemma3_text').read(
            CONFIG | {'rope_parameters': {'full_attention': broken, 'sliding_attention': plain}}, 'there/config.json'
        )


@pytest.mark.parametrize(
    'value',
    [
        None,
        {},
        {'rope_type': 'default', 'rope_theta': 500_000},
        {'type': 'linear', 'factor': 2},
        {'type': 'dynamic', 'factor': 2.0},
        LLAMA3,
        {'rope_type': 'yarn', 'original_max_position_embeddings': 64},
        {'type': 'su', 'short_factor': FOUR, 'long_factor': FOUR},
    ],
)
def test_whole_settings_are_read(value):
    assert read(rope_scaling=value).positions == 'rope'
