"""Every test runs with strict promotion, checked types and, without a GPU, eight virtual devices."""

import os
import pathlib

# Before JAX is imported: its devices are made once.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
if os.environ['JAX_PLATFORMS'] == 'cpu':
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Types are enforced at the boundaries of what computes.
CHECKED = ['flan_jax.models', 'flan_jax.training.loss', 'flan_jax.decoding']
install_import_hook(CHECKED, 'beartype.beartype')


def _local_rows() -> pathlib.Path | None:
    """FLAN_JAX_LOCAL_ROOT, or a folder beside the checkout that holds data/tasks/<task>/<split>.jsonl."""
    named = os.environ.get('FLAN_JAX_LOCAL_ROOT')
    beside = sorted(pathlib.Path(__file__).resolve().parents[2].glob('*/data/tasks'))
    return pathlib.Path(named) if named else next(iter(beside), None)


@pytest.fixture(autouse=True)
def strict():
    """No silent promotion of types or ranks."""
    with jax.numpy_dtype_promotion('strict'), jax.numpy_rank_promotion('raise'):
        yield


@pytest.fixture(scope='session')
def local_rows() -> str:
    """The folder of real rows, as `data.local_root` takes it."""
    root = _local_rows()
    if root is None or not root.is_dir():
        pytest.skip('no real rows: set FLAN_JAX_LOCAL_ROOT to a folder of <task>/<split>.jsonl')
    return str(root)
