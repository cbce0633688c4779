"""Tiny studies of real runs, in one folder where stores and executables are shared."""

import pathlib
from typing import Any

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from flan_jax.ablation import compiling, study
from flan_jax.ablation import config as study_config
from flan_jax.ablation.config import StudyConfig
from flan_jax.ablation.study import Study
from flan_jax.config import default, resolve

TASKS = ('mini_add', 'mini_double', 'mini_even_or_odd', 'mini_largest')  # of three clusters
STEPS = 2
KNOBS = (  # of JAX, that `compiling.keep` sets
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
)


def base(folder: pathlib.Path):
    """A run of 17k parameters."""
    c = default()
    c.data.store_root, c.data.prepare_workers, c.data.train_rows, c.data.eval_rows = f'{folder}/stores', 2, 60, 2
    c.data.max_inputs, c.data.max_targets, c.data.held_out_templates = 48, 16, 1
    c.mixture.members = TASKS
    c.vocabulary.train_size, c.vocabulary.train_rows = 320, 200
    c.packing.row_tokens, c.packing.window = 64, 64
    m = c.model
    m.layers, m.width, m.heads, m.kv_heads, m.head_width, m.mlp_width = 1, 16, 2, 2, 8, 32
    c.execution.compute_dtype, c.execution.remat = 'float32', 'none'
    c.training.steps, c.training.batch_rows = STEPS, 8
    c.evaluation.max_new_tokens, c.evaluation.batch_tokens = 2, 2048
    c.telemetry.every_steps, c.telemetry.tensorboard, c.telemetry.progress = 1, False, False
    return c


class Studies:
    """Makes studies in one folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def config(self, name: str, *, knobs: dict[str, Any] | None = None, **own: Any) -> StudyConfig:
        """A study with some of its own fields set, and some knobs of its base."""
        s = study_config.default()
        s.name, s.study_root, s.base = name, str(self.folder), base(self.folder)
        s.base.update_from_flattened_dict(knobs or {})
        for field, value in own.items():
            s[field] = value
        return resolve(s, StudyConfig)

    def plan(self, name: str, **changes: Any) -> Study:
        """Planned and saved."""
        found = study.plan(self.config(name, **changes))
        study.save(found)
        return found


@pytest.fixture(scope='session')
def studies(tmp_path_factory) -> Studies:
    return Studies(tmp_path_factory.mktemp('studies'))


@pytest.fixture(scope='session')
def kept(studies):
    """Executables of all tests here are kept together; other tests keep none."""
    folder = studies.folder / 'compiled'
    before = {name: jax.config.values[name] for name in KNOBS}
    compiling.keep(str(folder))
    compilation_cache.reset_cache()
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
