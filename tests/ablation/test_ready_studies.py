"""The ready studies: each resolves, says what it repeats and how it is run, and finds the tasks it asks for."""

import functools
import importlib
import pathlib
import re
import shlex

import pytest
from ml_collections import config_dict

from flan_jax.ablation import axes, dry_run, study
from flan_jax.ablation.axes import Facts
from flan_jax.ablation.config import AxisConfig, StudyConfig
from flan_jax.config import check_name, resolve
from flan_jax.data import mixture, request

ROOT = pathlib.Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / 'configs/studies').glob('*.py'))
OWN = ('smoke', 'mixture_proposal', 'smollm2_local_tasks', 'smollm2_local_clusters')  # that repeat no paper's figure
LINES = 110


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)


def module(name):
    return importlib.import_module(f'configs.studies.{name}')


@functools.cache
def resolved(name) -> StudyConfig:
    return resolve(module(name).get_config(), StudyConfig)


def selected(base) -> mixture.Selection:
    known = request.known(base.data)
    node = mixture.resolve(base.mixture, known.tasks, mixtures=known.mixtures, stages=base.stages)
    return mixture.select(node, known.tasks, mixtures=known.mixtures, related=known.related)


def facts(base) -> Facts:
    tasks = request.known(base.data).tasks
    trained = selected(base).train
    return Facts({name: tasks[name].cluster for name in trained}, dict.fromkeys(trained, 1000))


def commands(text: str) -> list[str]:
    joined = text.replace('\\\n', ' ')
    return [line.strip() for line in joined.splitlines() if line.strip().startswith('python -m')]


def changes(command: str) -> dict[str, str]:
    """Knob -> value, as given on a command line."""
    given = [word.removeprefix('--config.') for word in shlex.split(command) if word.startswith('--config.')]
    return dict(change.split('=', 1) for change in given)


def set_knob(config: config_dict.ConfigDict, knob: str, value: str) -> None:
    """As the command line does."""
    for axis in re.findall(r'^axes\[(\d+)]', knob):
        config, knob = config.axes[int(axis)], knob.partition('.')[2]
    *way, last = knob.split('.')
    for part in way:
        config = config[part]
    text = isinstance(config.get_type(last), type) and issubclass(config.get_type(last), str)
    config[last] = value if text else {'true': True, 'false': False}.get(value) or eval(value, {})  # noqa: S307


@pytest.mark.parametrize('name', STUDIES)
def test_a_ready_study_is_short(name):
    assert len((ROOT / f'configs/studies/{name}.py').read_text().splitlines()) <= LINES


@pytest.mark.parametrize('name', STUDIES)
def test_the_header_gives_commands_that_exist_with_knobs_that_exist(name):
    found = commands(module(name).__doc__)
    assert found
    for command in found:
        words = shlex.split(command)
        assert words[2] == 'flan_jax.ablate' and f'--config=configs/studies/{name}.py' in words
        for knob in changes(command):
            check_name(knob, StudyConfig)


@pytest.mark.parametrize('name', [name for name in STUDIES if name not in OWN])
def test_the_header_says_what_of_which_paper_is_repeated_and_on_which_hardware(name):
    text = ' '.join(module(name).__doc__.split())
    assert re.search(r'\d{4}( \(LIMA\))?, arXiv:\d{4}\.\d{5}, the (ablation|scaling|main result)', text)
    assert re.search(r'GPU|TPU|CPU', text)
    assert 'No result was measured.' in text or 'Measured' in text
    assert any(re.match(r'[A-Z]\w+ et al\. \d{4}[,:] ', axis.published) for axis in resolved(name).axes)
    assert resolved(name).name == name and resolved(name).description


@pytest.mark.parametrize('name', STUDIES)
def test_no_number_of_a_figure_or_table_is_given_from_memory(name):
    text = (ROOT / f'configs/studies/{name}.py').read_text()
    assert not re.search(r'(figure|table)s? \d', text, re.IGNORECASE)


@pytest.mark.parametrize('name', STUDIES)
def test_every_axis_finds_what_it_asks_for_and_every_variant_has_tasks(name):
    config = resolved(name)
    known = facts(config.base)
    points = {axis.name: axes.points(axis, config.base, facts=known) for axis in config.axes}
    made = list(study._wanted(config, config.base, points=points))
    assert len(made) > len(config.axes)
    for _, _, variant in made:
        assert selected(variant).train
    names = [name for name, _, _ in made]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize('name', [name for name in STUDIES if name not in ('smoke', 'mixture_proposal')])
def test_rows_at_hand_are_enough_for_the_smaller_command(name, local_rows):
    config = module(name).get_config()
    command = commands(module(name).__doc__)[-1]
    assert 'local_root=DIR' in command
    for knob, value in changes(command).items():
        set_knob(config, knob, local_rows if value == 'DIR' else value)
    found = resolve(config, StudyConfig)
    assert found.base.data.local_only
    files = {path.parent.name: path for path in pathlib.Path(local_rows).glob('*/train.jsonl')}
    trained = {task: cluster for task, cluster in facts(found.base).clusters.items() if task in files}
    sizes = {task: len(files[task].read_bytes().splitlines()) for task in trained}
    for axis in found.axes:
        assert axes.points(axis, found.base, facts=Facts(trained, sizes))


def test_the_tasks_of_the_local_studies_are_asked_through_one_phrasing():
    for name in ('smollm2_local_tasks', 'smollm2_local_clusters'):
        base = resolved(name).base
        known = request.known(base.data).tasks
        assert {len(task.templates) for task in known.values()} == {1}
    assert len(selected(resolved('smollm2_local_tasks').base).train) == 32


def small(name, tmp_path, **knobs) -> StudyConfig:
    """A ready study on two clusters of the embedded tasks, with a model that is never made."""
    config = module(name).get_config()
    config.study_root = str(tmp_path / 'studies')
    base = config.base
    base.data.store_root = str(tmp_path / 'stores')
    base.data.train_rows, base.data.eval_rows, base.data.prepare_workers = 60, 2, 1
    base.data.max_inputs, base.data.max_targets, base.packing.row_tokens = 96, 32, 128
    base.vocabulary.path, base.vocabulary.train_size, base.vocabulary.train_rows = None, 512, 60
    base.format.chat = None
    base.checkpoint.warm_start = None
    base.mixture.members, base.mixture.held_out_clusters = ('mini_selecting', 'mini_lookup', 'mini_sorting'), ()
    base.training.steps, base.training.batch_rows = 4, 8
    for knob, value in knobs.items():
        config[knob] = value
    return resolve(config, StudyConfig)


@pytest.mark.parametrize('name, variants', [('data_size', 3), ('leave_one_cluster_out', 4)])
def test_a_ready_study_can_be_planned_on_tiny_data(name, variants, tmp_path):
    values = {'data_size': (4, 16)}.get(name, ())
    axis = resolved(name).axes[0]
    given = AxisConfig(axis.name, kind=axis.kind, knob=axis.knob, values=values)
    found = study.plan(small(name, tmp_path, axes=(given,), seeds=()))
    assert len(found.variants) == variants
    told = dry_run.told(found, done={})
    assert all(variant.name in told for variant in found.variants)
    assert all(variant.spent.steps == 4 for variant in found.variants)
