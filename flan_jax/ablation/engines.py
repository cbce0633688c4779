"""Engines: who runs the variants of a study. All read the same plan and write the same rows."""

from collections.abc import Callable, Sequence

from flan_jax import errors
from flan_jax.ablation import processes, runner
from flan_jax.ablation.study import Study
from flan_jax.ablation.table import Result

NAMES = ('here', 'processes', 'ray')

Engine = Callable[[Study, Sequence[str], Callable[[Result], None]], None]  # study, names of variants, told every row


def make(name: str, *, workers: int) -> Engine:
    """An engine by name.

    Args:
      workers: processes, of the engines that have several.

    Raises:
      ConfigError: there is no such engine, or it has no worker.
    """
    if workers < 1:
        raise errors.ConfigError(f'--workers={workers} must be at least 1')
    match name:
        case 'here':
            worker = runner.Worker()
            return lambda found, names, said: runner.run_all(found, names, worker=worker, said=said)
        case 'processes':
            return lambda found, names, said: processes.run(found, names, said=said, workers=workers)
        case 'ray':
            from flan_jax.ablation import actors  # Ray is an extra

            return lambda found, names, said: actors.run(found, names, said=said, workers=workers)
        case _:
            raise errors.ConfigError(f'no engine {name!r}{errors.near(name, NAMES)}; there are {", ".join(NAMES)}')
