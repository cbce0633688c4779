"""Requests: which token stores a run needs, known without TensorFlow and, if it must be, without the rows.

    request digest = task, templates, code of the task, format, lengths, limits, seed, vocabulary
    source digest  = content of the local files, or the name of the TFDS set

A change of any of them gives another store; rates, caps, packing and the model give none.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from flan_jax import errors
from flan_jax.config import Config, MixtureConfig
from flan_jax.data import formats, store
from flan_jax.data import vocabulary as vocabulary_lib
from flan_jax.data.task import GeneratedSource, LocalSource, Task, TfdsSource, index
from flan_jax.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class StoreRequest:
    """One task's store.

    Attributes:
      task: its name.
      digest: of what is asked for.
      source: of the rows; None if they cannot be seen from here.
      splits: split -> 'train' or 'evaluation'.
    """

    task: str
    digest: str
    source: str | None
    splits: Mapping[str, str]


def load_tasks(modules: tuple[str, ...]) -> tuple[dict[str, Task], dict[str, MixtureConfig]]:
    """Tasks and named mixtures of some modules.

    A module has `all_tasks()` or `TASKS`, and may have `MIXTURES`.

    Raises:
      ConfigError: a module cannot be imported or names no tasks.
    """
    tasks: list[Task] = []
    mixtures: dict[str, MixtureConfig] = {}
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise errors.ConfigError(
                f'data.task_modules: no module {name!r}; run from its folder or put that on PYTHONPATH'
            )
        found = vars(importlib.import_module(name))
        if 'all_tasks' in found:
            tasks += found['all_tasks']().values()
        elif 'TASKS' in found:
            tasks += found['TASKS']
        else:
            raise errors.ConfigError(f'data.task_modules: module {name!r} has neither TASKS nor all_tasks()')
        mixtures |= found.get('MIXTURES', {})
    return index(tasks), mixtures


def vocabulary(config: Config, tasks: Mapping[str, Task], *, names: tuple[str, ...]) -> Vocabulary:
    """The run's vocabulary: a given file, or the place of the one trained on the tasks `names`."""
    wanted = config.vocabulary
    if wanted.path is not None:
        return vocabulary_lib.load(wanted.path, bos=wanted.bos)
    chosen = [tasks[name] for name in sorted(names)]
    asked = store.digest([wanted.train_size, wanted.train_rows, [_text_digest(config, task) for task in chosen]])
    sources = [_source_digest(config, task) for task in chosen]
    path = pathlib.Path(config.data.store_root) / f'vocabulary-{asked}-{store.digest(sources)}.model'
    if None in sources:  # rows out of sight: the newest that was trained for this request, as with stores
        trained = pathlib.Path(config.data.store_root).glob(f'vocabulary-{asked}-*.model')
        path = max(trained, key=lambda found: found.stat().st_mtime_ns, default=path)
    return Vocabulary(str(path), f'{path.stem}{"-bos" if wanted.bos else ""}', wanted.bos)


def request(config: Config, task: Task, *, vocabulary: Vocabulary) -> StoreRequest:
    """The store of a task under a config."""
    data, form = config.data, config.format
    splits = {'train': 'train'} if 'train' in task.splits else {}
    evaluation = next((s for s in data.eval_splits if s in task.splits), None)
    if evaluation is not None:
        splits[evaluation] = 'evaluation'
    digest = store.digest([
        _text_digest(config, task), store.FORMAT_VERSION, vocabulary.fingerprint, splits,
        [data.train_rows, data.eval_rows, data.max_inputs, data.max_targets, data.template_draws],
        [form.eval_shots, config.model.encoder_decoder], task.cluster, list(task.metrics),
    ])  # fmt: skip
    return StoreRequest(task.name, digest, _source_digest(config, task), splits)


def renderer(config: Config, task: Task, *, vocabulary: Vocabulary) -> formats.Renderer:
    """What makes a task's examples under a config."""
    return formats.Renderer(
        task=task,
        format=config.format,
        lengths=formats.Lengths(config.data.max_inputs, config.data.max_targets),
        vocabulary=vocabulary,
        seed=config.seed,
        decoder_only=not config.model.encoder_decoder,
        template_draws=config.data.template_draws,
        held_out=config.data.held_out_templates,
    )


def _text_digest(config: Config, task: Task) -> str:
    """Of everything that decides the text of a task's examples, but for the rows."""
    form = dataclasses.asdict(config.format)
    code = [_described(function) for function in _functions(task)]
    return store.digest([formats.describe(task), code, form, config.seed, config.data.held_out_templates, _sizes(task)])


def _functions(task: Task) -> list[Callable]:
    """The code a task's rows go through."""
    match task.source:
        case GeneratedSource(row=row):
            return [task.fields, row]
        case TfdsSource(convert=convert) if convert is not None:
            return [task.fields, convert]
    return [task.fields]


def _sizes(task: Task) -> Any:
    return dict(task.source.sizes) if isinstance(task.source, GeneratedSource) else None


def _described(value: Any) -> Any:
    """A function as JSON: the code it runs and, of a partial, all it is given; other values as they print."""
    match value:
        case functools.partial(func=function, args=args, keywords=keywords):
            return ['partial', _described(function), _described(args), _described(keywords)]
        case Mapping():
            return [[_described(key), _described(inner)] for key, inner in value.items()]
        case list() | tuple():
            return [_described(inner) for inner in value]
        case set() | frozenset():
            return sorted(map(repr, value))
        case _ if inspect.isroutine(value) or inspect.isclass(value):
            return [value.__qualname__, _code_digest(value.__module__)]
    return re.sub(r' at 0x[0-9a-f]+', '', repr(value))  # an address would differ in the next process


@functools.cache
def _code_digest(module: str) -> str:
    """Of a module's file and of what it imports from its own package or folder, so that no edit is overlooked."""
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name not in seen and path is not None:
            seen[name] = path.read_bytes()
            waiting += [other for other in _imports(name, seen[name]) if _beside(other, module)]
    joined = b''.join(hashlib.sha256(seen[name]).digest() for name in sorted(seen))
    return hashlib.sha256(joined).hexdigest()[:12]


def _imports(module: str, code: bytes) -> list[str]:
    """The modules, and what may be modules, that some code imports."""
    package = importlib.util.find_spec(module).parent
    out = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name('.' * node.level + (node.module or ''), package)
            out += [base, *(f'{base}.{alias.name}' for alias in node.names)]
        elif isinstance(node, ast.Import):
            out += [alias.name for alias in node.names]
    return out


def _beside(other: str, module: str) -> bool:
    """Whether a module is of the same package, or a file in the same folder; those of libraries are not followed."""
    if other.split('.')[0] == module.split('.')[0]:
        return True
    path = _file(other) if '.' not in other else None
    return path is not None and path.parent == _file(module).parent


def _file(module: str) -> pathlib.Path | None:
    """A module's source; None for what is no module, or has none."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name in a module, `package.module.function`
        return None
    return pathlib.Path(spec.origin) if spec is not None and (spec.origin or '').endswith('.py') else None


def _source_digest(config: Config, task: Task) -> str | None:
    """Of the rows: the local files' content, else what the source is called; None if local rows are out of sight."""
    root = config.data.local_root
    if root is not None and not pathlib.Path(root).is_dir():
        return None
    files = sorted((pathlib.Path(root) / task.name).glob('*.jsonl')) if root is not None else []
    files = [file for file in files if file.stem in task.splits]
    if files:
        return store.digest([[file.name, _file_digest(str(file), file.stat().st_mtime_ns)] for file in files])
    match task.source:
        case GeneratedSource():
            return 'generated'
        case TfdsSource(name=name, splits=splits):
            return store.digest([name, dict(splits)])
        case LocalSource():
            return None


@functools.lru_cache(maxsize=None)
def _file_digest(path: str, changed: int) -> str:
    del changed  # part of the key: a file that is written anew is read anew
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
