"""An engine of Ray actors: each runs variants in a process of its own, on whatever machines the cluster has.

Where the actors see the study's folder, everything is written there as by the other engines, and a variant that was
lost goes on from its last checkpoint. On machines that do not see it, an actor works in a folder of its own, makes its
token stores there, and sends the small files of a run back.
"""

import dataclasses
import os
import pathlib
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.ablation import assignment, compiling, processes, runner, stopping, table
from flan_jax.ablation.assignment import Assignment
from flan_jax.ablation.study import Study
from flan_jax.ablation.table import Result

MARK = 'driver'  # file that says whether an actor sees the driver's folder
SMALL = 64_000_000  # bytes; files above are not sent
PASSED = ('JAX_PLATFORMS', 'XLA_FLAGS')  # settings that actors are to have from the driver


@dataclasses.dataclass(frozen=True)
class Back:
    """What an actor sends back.

    Attributes:
      row: of the variant; None if another process is at it or has finished it.
      files: name -> content of the files of its run, where the folder is not shared.
    """

    row: Result | None
    files: dict[str, bytes]


class Runner:
    """A worker as an actor.

    Args:
      found: the study.
      vocabularies: path -> content.
      place: the driver's working directory, which the study's folders are relative to.
      mark: content of the driver's mark.
      threads: of computing on CPUs.
    """

    def __init__(self, found: Study, vocabularies: Mapping[str, bytes], *, place: str, mark: str, threads: int):
        os.environ['PJRT_NPROC'] = str(threads)  # read when JAX makes its devices
        if os.path.isdir(place):
            os.chdir(place)
        path = pathlib.Path(found.config.folder) / MARK
        self.shared = path.exists() and path.read_text() == mark
        for name, content in vocabularies.items():
            if not os.path.exists(name):
                os.makedirs(os.path.dirname(name) or '.', exist_ok=True)
                pathlib.Path(name).write_bytes(content)
        compiling.keep(os.path.abspath(f'{found.config.folder}/compiled'))
        self.found, self.worker = found, runner.Worker()
        self.by_name = {variant.name: variant for variant in found.variants}

    def ready(self) -> None:
        """Returns once the actor is made."""

    def run(self, name: str) -> Back:
        """Runs a variant.

        Raises:
          Stopped: the process was told to stop.
        """
        variant = self.by_name[name]
        row = runner.run_variant(self.found, variant, worker=self.worker)
        return Back(row, {} if self.shared or row is None else small_files(variant.config.run_dir))


def small_files(folder: str) -> dict[str, bytes]:
    """Name -> content of the files in a run's directory, checkpoints and other folders left out."""
    found = [path for path in sorted(pathlib.Path(folder).iterdir()) if path.is_file()]
    return {path.name: path.read_bytes() for path in found if path.stat().st_size <= SMALL}


def run(found: Study, names: Sequence[str], *, said: Callable[[Result], None], workers: int) -> None:
    """Runs variants in Ray actors: of the cluster that RAY_ADDRESS names, or of one that is made for them here.

    Args:
      found: the study.
      names: of the variants.
      said: told every row.
      workers: actors at once.

    Raises:
      ConfigError: Ray is missing, or the cluster cannot be reached or has no room for an actor.
    """
    if not names:
        return
    ray = _ray()
    processes.let_go()
    mine = not ray.is_initialized()
    if mine:
        _connect(ray)
    try:
        _all(ray, assignment.of(found, names, said=said), workers=min(workers, len(names)))
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as e:
        raise errors.ConfigError("--engine=ray needs Ray: pip install 'flan_jax[ray]'") from e
    return ray


def _connect(ray: Any) -> None:
    address = os.environ.get('RAY_ADDRESS')
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # a cluster made here tells nobody
    try:
        with warnings.catch_warnings():
            # Ray forks between threads of JAX; what it forks does nothing but become another program.
            warnings.filterwarnings('ignore', message='os.fork', category=RuntimeWarning)
            ray.init(address=address, log_to_driver=False, include_dashboard=None if address else False)
    except (ConnectionError, ValueError, RuntimeError) as e:
        raise errors.ConfigError(f'RAY_ADDRESS={address}: no Ray cluster can be used there ({e})') from e


def room(nodes: Sequence[Mapping[str, float]], workers: int) -> dict[str, Any]:
    """What an actor asks of a cluster so that so many find room, and each as much as there is.

    Accelerators are divided where there are any, else cores.

    >>> room([{'CPU': 16.0, 'GPU': 4.0}, {'CPU': 8.0}], 2)
    {'num_cpus': 1.0, 'num_gpus': 2.0}
    >>> room([{'CPU': 4.0}] * 3, 2), room([{'CPU': 2.0}], 4)
    ({'num_cpus': 4.0}, {'num_cpus': 0.5})
    """
    for kind in ('TPU', 'GPU', 'CPU'):
        units = [int(node.get(kind, 0)) for node in nodes]
        if any(units):
            break
    if sum(units) < workers:
        # Whole actors must fit each unit; rounded down, for three thirds must not be more than one.
        each = int(1000 / -(-workers // max(sum(units), 1))) / 1000
    else:
        sizes = sorted({unit // n for unit in units for n in range(1, workers + 1)} - {0}, reverse=True)
        each = float(next(size for size in sizes if sum(unit // size for unit in units) >= workers))
    match kind:
        case 'TPU':
            return {'num_cpus': 1.0, 'resources': {'TPU': each}}
        case 'GPU':
            return {'num_cpus': 1.0, 'num_gpus': each}
        case _:
            return {'num_cpus': each}


@dataclasses.dataclass
class _Company:
    """Actors and what they are at.

    Attributes:
      ray: the module.
      make: a new actor.
      asked: what each asks of the cluster.
      assigned: what is to be run.
      busy: what is waited for -> actor and the variant it is at; None: it is not ready yet.
    """

    ray: Any
    make: Callable[[], Any]
    asked: Mapping[str, Any]
    assigned: Assignment
    busy: dict[Any, tuple[Any, str | None]] = dataclasses.field(default_factory=dict)

    def hire(self) -> None:
        """One more actor; it is handed a variant when it is ready."""
        actor = self.make()
        self.busy[actor.ready.remote()] = actor, None

    def hand(self, actor: Any) -> None:
        """Gives an actor a variant, or lets it go."""
        name = self.assigned.next()
        if name is None:
            self.ray.kill(actor)
        else:
            self.busy[actor.run.remote(name)] = actor, name

    def answered(self, ready: Any) -> None:
        """Takes an answer, and gives the next variant.

        Raises:
          FlanJaxError: as the actor raised it; or actors cannot start.
        """
        actor, name = self.busy.pop(ready)
        try:
            back = self.ray.get(ready)
        except errors.FlanJaxError as e:  # Ray raises what the actor raised, under a class of its own
            raise e.cause from e
        except self.ray.exceptions.RayError as e:
            if name is None:
                raise errors.ConfigError(f'no actor with {self.asked} can be had: {_why(e)}') from e
            self.assigned.ended(name, _why(e))
            if self.assigned.waiting:
                self.hire()
            return
        if name is not None and back.row is not None:
            _written(self.assigned.found, name, back=back)
            self.assigned.done(name)
        self.hand(actor)


def _all(ray: Any, assigned: Assignment, *, workers: int) -> None:
    """Hands out variants until all have rows."""
    found = assigned.found
    mark = f'{socket.gethostname()} {os.getpid()} {time.time_ns()}'
    (pathlib.Path(found.config.folder) / MARK).write_text(mark)
    asked = room([node['Resources'] for node in ray.nodes() if node['Alive']], workers)
    settings = {name: os.environ[name] for name in PASSED if name in os.environ}
    settings['PYTHONPATH'] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    actor = ray.remote(Runner).options(runtime_env={'env_vars': settings}, **asked)
    threads = max(1, int(asked['num_cpus']))
    company = _Company(
        ray,
        lambda: actor.remote(found, _vocabularies(found), place=os.getcwd(), mark=mark, threads=threads),
        asked,
        assigned,
    )
    ends: list[bool] = []
    try:
        with stopping.told(lambda: ends.append(True)):
            for _ in range(workers):
                company.hire()
            while company.busy and not ends:
                answers, _ = ray.wait(list(company.busy), num_returns=1, timeout=1)
                for ready in answers:
                    company.answered(ready)
    finally:
        for one, _ in company.busy.values():
            ray.kill(one)
    if ends:
        raise runner.Stopped('told to stop; variants go on from their last checkpoints when the study is started again')


def _vocabularies(found: Study) -> dict[str, bytes]:
    """Path -> content, for machines that have none: a vocabulary trained there might be another one."""
    paths = {variant.config.vocabulary.path for variant in found.variants}
    return {path: pathlib.Path(path).read_bytes() for path in paths if path is not None and os.path.isfile(path)}


def _why(e: Exception) -> str:
    lines = [line for line in str(e).splitlines() if line.strip()]
    return f'a Ray actor ended ({type(e).__name__}: {lines[0].strip() if lines else "no reason given"})'


def _written(found: Study, name: str, *, back: Back) -> None:
    """Writes what an actor on a machine of its own sent."""
    variant = next(one for one in found.variants if one.name == name)
    folder = pathlib.Path(variant.config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in back.files.items():
        (folder / file).write_bytes(content)
    if back.files:
        table.write_row(found.config.folder, back.row, fingerprint=found.identity)
