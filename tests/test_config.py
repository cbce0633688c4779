"""The config: every knob explained once, checked at once, and named in every refusal."""

import ast
import dataclasses
import importlib.util
import json
import math
import pathlib
import re
import subprocess
import sys
import typing

import pytest

from flan_jax import config as config_lib
from flan_jax import errors, knob_ranges
from flan_jax.ablation import config as study_config
from flan_jax.ablation.config import StudyConfig
from flan_jax.config import Config, TrainingConfig, default, resolve, to_dict
from flan_jax.models import config as model_config

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted((ROOT / 'configs').rglob('*.py'))


@pytest.mark.parametrize('module', [config_lib, model_config, study_config], ids=lambda m: m.__name__)
def test_every_knob_has_a_comment_on_its_line(module):
    source = pathlib.Path(module.__file__).read_text()
    lines = source.splitlines()
    for node in ast.parse(source).body:
        for field in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(field, ast.AnnAssign) and not ast.unparse(field.annotation).endswith('Config'):
                line = lines[field.end_lineno - 1]
                assert re.search(r'  # \S', line), f'{node.name}: {line.strip()}'


def test_the_defaults_survive_the_config_dict_and_json():
    expected = Config(training=TrainingConfig(steps=1000))
    assert resolve(default()) == expected
    assert resolve(json.loads(json.dumps(to_dict(expected)))) == expected
    assert resolve(json.loads(default().to_json_best_effort())) == expected


def test_a_missing_key_takes_its_default_and_lists_become_tuples():
    got = resolve({'training': {'steps': 3}, 'mixture': {'members': ['a', 'b']}, 'optimizer': {'learning_rate': 1}})
    assert got == dataclasses.replace(
        Config(training=TrainingConfig(steps=3)),
        mixture=config_lib.MixtureConfig(members=('a', 'b')),
        optimizer=config_lib.OptimizerConfig(learning_rate=1.0),
    )
    assert isinstance(got.optimizer.learning_rate, float)


@pytest.mark.parametrize(
    'values, message',
    [
        ({'optimiser': {}}, r"config has no 'optimiser'; did you mean optimizer"),
        ({'optimizer': {'learning_rat': 1.0}}, r"config has no 'optimizer\.learning_rat'; did you mean learning_rate"),
        ({'training': {'steps': '10'}}, r"training\.steps='10' is a str, not a int"),
        ({'training': {'steps': 10.0}}, r'training\.steps=10\.0 is a float, not a int'),
        ({'training': {'steps': True}}, r'training\.steps=True is a bool, not a int'),
        ({'packing': {'pack': 1}}, r'packing\.pack=1 is a int, not a bool'),
        ({'name': None}, r'name=None is a NoneType, not a str'),
        ({'mixture': {'members': 'nli'}}, r"mixture\.members='nli' must be a list of str"),
        ({'mixture': {'members': [3]}}, r'mixture\.members=3 is a int, not a str'),
        ({'model': {'activation': 'tanh'}}, r"model\.activation='tanh' is none of 'silu', 'gelu_tanh'"),
        ({'optimizer': {'schedule': {'name': 'cosin'}}}, r"optimizer\.schedule\.name='cosin' is none of 'constant'"),
        ({'model': 5}, r'model=5 must be a mapping'),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_value(values, message):
    with pytest.raises(errors.ConfigError, match=message):
        resolve({'training': {'steps': 1}} | values)


@pytest.mark.parametrize(
    'values, message',
    [
        ({}, r'training\.steps=None and training\.epochs=None: set exactly one'),
        ({'training': {'steps': 1, 'epochs': 2.0}}, r'training\.steps=1 and training\.epochs=2\.0: set exactly one'),
        ({'training': {'steps': 1, 'batch_rows': 6, 'microbatches': 4}},
         r'training\.batch_rows=6 does not divide into training\.microbatches=4'),
        ({'training': {'steps': 1, 'microbatches': 0}}, r'training\.microbatches=0 must be at least 1'),
        ({'training': {'steps': 1, 'batch_rows': 0}}, r'training\.batch_rows=0 must be at least 1'),
        ({'training': {'steps': 0}}, r'training\.steps=0 must be at least 1'),
        ({'model': {'kv_heads': 0}}, r'model\.kv_heads=0 must be at least 1'),
        ({'model': {'heads': 4, 'kv_heads': 3}}, r'model\.heads=4 is no multiple of model\.kv_heads=3'),
        ({'model': {'encoder_layers': 2}},
         r"model\.positions='rope' with model\.encoder_layers=2: an encoder-decoder needs 'relative_bias'"),
        ({'mixture': {'rule': 'weights', 'members': ['a', 'b'], 'weights': [1.0]}},
         r'mixture\.weights has 1 values for 2 mixture\.members'),
        ({'mixture': {'temperature': 0.0}}, r'mixture\.temperature and mixture\.weights must be above 0'),
        ({'mixture': {'rule': 'weights', 'members': ['a'], 'weights': [-1.0]}}, r'mixture\.weights must be above 0'),
        ({'packing': {'row_tokens': 100}, 'data': {'max_inputs': 90, 'max_targets': 20}},
         r'packing\.row_tokens=100 is shorter than an example may be: data\.max_inputs \+ data\.max_targets = 110'),
    ],
)  # fmt: skip
def test_values_that_contradict_each_other_are_refused_before_anything_is_read(values, message):
    with pytest.raises(errors.ConfigError, match=message):
        resolve(({'training': {'steps': 1}} if values else {}) | values)


OUT_OF_RANGE = {  # by the range that is told
    'at least 1': {'data.train_rows': 0, 'data.max_inputs': 0, 'checkpoint.keep_last': 0, 'model.width': 0},
    'at least 0': {'format.shots': -1, 'data.eval_rows': -1, 'optimizer.schedule.warmup_steps': -3},
    'from 0 to 1': {'format.few_shot_share': 1.5, 'format.inverted_share': -0.1, 'optimizer.schedule.decay_share': 3.0},
    'at least 0 and below 1': {'model.dropout': 1.0, 'optimizer.b2': 1.0, 'training.label_smoothing': math.nan},
    'above 0 and finite': {'training.epochs': -1.0, 'optimizer.clip_norm': 0.0, 'evaluation.budget_s': math.inf},
    'at least 0 and finite': {'optimizer.learning_rate': math.nan, 'training.z_loss': -1.0},
    'from 0 to 4294967295': {'seed': -1},
    'more than nothing': {'format.option_markers': ()},
}


@pytest.mark.parametrize(
    'name, value, told', [(name, value, told) for told, knobs in OUT_OF_RANGE.items() for name, value in knobs.items()]
)
def test_a_value_out_of_its_knobs_range_is_refused_with_the_range(name, value, told):
    values = {'training': {'steps': 1}}
    *path, knob = name.split('.')
    inner = values
    for part in path:
        inner = inner.setdefault(part, {})
    inner[knob] = value
    with pytest.raises(errors.ConfigError, match=f'^{re.escape(f"{name}={value!r} must be {told}")}$'):
        resolve(values)


def test_the_ranges_name_knobs_only_once_each_and_hold_the_defaults():
    names = [name for group, _, _ in knob_ranges.RANGES for name in group]
    assert len(set(names)) == len(names)
    for name in names:
        config_lib.check_name(name)
    Config(training=TrainingConfig(steps=1))


def test_a_dotted_name_that_is_no_knob_names_the_nearest():
    config_lib.check_name('optimizer.schedule.warmup_steps')
    for name, near in {'optimizer.schedul.name': 'schedule', 'training.stepz': 'steps', 'mesh.dat': 'data'}.items():
        with pytest.raises(errors.ConfigError, match=rf'config has no .*did you mean {near}'):
            config_lib.check_name(name)
    with pytest.raises(errors.ConfigError, match=r"config has no 'training\.steps\.more'"):
        config_lib.check_name('training.steps.more')


def test_the_config_dict_is_locked_and_typed():
    values = default()
    with pytest.raises(AttributeError):
        values.trainig = 1
    with pytest.raises(TypeError):
        values.training.batch_rows = 'many'
    values.training.steps = None  # off, and can be set again with its own type only
    with pytest.raises(TypeError):
        values.training.steps = 'many'
    values.training.steps = 7
    assert values.training.steps == 7


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_config_file_resolves_and_says_in_its_header_how_it_is_run(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kind = StudyConfig if path.parent.name == 'studies' else Config
    resolved = resolve(module.get_config(), kind)
    assert resolved == resolve(to_dict(resolved), kind)
    assert resolved.name == path.stem
    relative = path.relative_to(ROOT)
    assert module.__doc__ and re.search(rf'python -m flan_jax\.\w+ .*--config={relative}', module.__doc__), path


PRINT_CONFIG = """
import json
from absl import flags
from flan_jax import command, config

def main(argv):
    print(json.dumps(config.to_dict(config.resolve(flags.FLAGS.config))))

command.run(main)
"""


def on_the_command_line(tmp_path, *overrides: str, words: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    script, file = tmp_path / 'verb.py', tmp_path / 'base.py'
    script.write_text(PRINT_CONFIG)
    file.write_text('from flan_jax.config import default\n\ndef get_config():\n    return default()\n')
    return subprocess.run(
        [sys.executable, str(script), f'--config={file}', *(f'--config.{o}' for o in overrides), *words],
        capture_output=True, text=True, env={'PYTHONPATH': str(ROOT), 'PATH': ''}, timeout=120,
    )  # fmt: skip


def test_the_command_line_overrides_knobs_of_every_kind_and_none_keeps_its_type(tmp_path):
    done = on_the_command_line(
        tmp_path, 'training.steps=None', 'training.epochs=2', 'data.train_rows=50', 'optimizer.clip_norm=None',
        'mixture.members=("nli","sentiment")', 'packing.pack=false', 'optimizer.schedule.name=wsd',
        'vocabulary.path=v.model', 'evaluation.every_steps=5',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = resolve(json.loads(done.stdout))
    assert (got.training.steps, got.training.epochs) == (None, 2.0)
    assert got.data.train_rows == 50 and got.optimizer.clip_norm is None and got.evaluation.every_steps == 5
    assert got.mixture.members == ('nli', 'sentiment') and not got.packing.pack
    assert got.optimizer.schedule.name == 'wsd' and got.vocabulary.path == 'v.model'


@pytest.mark.parametrize(
    'override, message',
    [
        ('training.batch_row=5', "config has no 'training.batch_row'; did you mean batch_rows"),
        ('data.train_rows=many', 'many'),
    ],
)
def test_the_command_line_refuses_in_one_line_what_is_no_knob_or_no_value(tmp_path, override, message):
    done = on_the_command_line(tmp_path, override)
    assert done.returncode != 0 and message in done.stderr and 'Traceback' not in done.stderr


def test_a_knob_without_its_dashes_is_refused_and_not_passed_over(tmp_path):
    done = on_the_command_line(tmp_path, words=('config.training.steps=5',))
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert done.stderr == "ConfigError: 'config.training.steps=5' is no flag; a knob is given as --config.KNOB=VALUE\n"


@pytest.mark.parametrize(
    'line, message',
    [
        ('c.training.stepz = 3', '{file}:5: Key "stepz" does not exist.*Did you mean "steps" instead of "stepz"'),
        ('c.training.steps = "x"', '{file}:5: TypeError: .*steps'),
        ('c.trainig.steps = 3', "{file}:5: there is no 'trainig'"),
        ('import nowhere', "{file}:5: no module 'nowhere'; run from its folder or put that on PYTHONPATH"),
        ('c = None', r'get_config\(\) gives a NoneType; change and return flan_jax.config.default\(\)'),
        ('c = {}', r'get_config\(\) gives a dict; change and return flan_jax.config.default\(\)'),
    ],
)
def test_a_mistake_in_a_config_file_is_told_in_one_line_with_its_place(tmp_path, line, message):
    file = tmp_path / 'own.py'
    file.write_text(
        f'from flan_jax.config import default\n\ndef get_config():\n    c = default()\n    {line}\n    return c\n'
    )
    done = on_the_command_line(tmp_path, words=(f'--config={file}',))
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and 'Traceback' not in done.stderr and len(last) < 300
    assert re.search('^ConfigError: ' + message.format(file=re.escape(str(file))), last), last


def test_a_config_file_that_is_missing_is_named(tmp_path):
    done = on_the_command_line(tmp_path, words=(f'--config={tmp_path}/no.py',))
    assert done.returncode == 2
    assert done.stderr == f"ConfigError: [Errno 2] No such file or directory: '{tmp_path}/no.py'\n"


def test_every_knob_has_one_of_the_types_a_config_file_can_express():
    def walk(hint, path=''):
        arguments = [a for a in typing.get_args(hint) if a not in (type(None), Ellipsis)]
        if dataclasses.is_dataclass(hint):
            for name, inner in typing.get_type_hints(hint).items():
                walk(inner, f'{path}.{name}')
        elif typing.get_origin(hint) is typing.Literal:
            assert len({type(a) for a in arguments}) == 1, f'{path}: {hint}'
        elif arguments:  # one kind of value in a tuple, or none in its place
            assert len(arguments) == 1, f'{path}: {hint}'
            walk(arguments[0], path)
        else:
            assert hint in {int, float, str, bool}, f'{path}: {hint}'

    walk(Config)
