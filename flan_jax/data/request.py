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
import pathlib
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


def vocabulary(config: Config, tasks: Mapping[str, Task], names: tuple[str, ...]) -> Vocabulary:
    """The run's vocabulary: a given file, or the place of the one trained on the tasks `names`."""
    wanted = config.vocabulary
    if wanted.path is not None:
        return vocabulary_lib.load(wanted.path, bos=wanted.bos)
    texts = [[_text_digest(config, tasks[name]), _source_digest(config, tasks[name])] for name in sorted(names)]
    digest = store.digest([wanted.train_size, wanted.train_rows, texts])
    path = pathlib.Path(config.data.store_root) / f'vocabulary-{digest}.model'
    if not path.exists() and any(source is None for _, source in texts):
        path = _trained_elsewhere(config, digest, path)
    return Vocabulary(str(path), f'{path.stem}{"-bos" if wanted.bos else ""}', wanted.bos)


def _trained_elsewhere(config: Config, digest: str, path: pathlib.Path) -> pathlib.Path:
    """Without the rows their digest is unknown: the one trained vocabulary that lies beside the stores is meant."""
    found = sorted(pathlib.Path(config.data.store_root).glob('vocabulary-*.model'))
    if len(found) > 1:
        raise errors.DataError(
            f'{config.data.store_root} holds {len(found)} trained vocabularies and the rows of data.local_root='
            f'{config.data.local_root!r} are not here to tell which is meant; set vocabulary.path to one of '
            f'{[str(f) for f in found]}'
        )
    return found[0] if found else path


def request(config: Config, task: Task, vocabulary: Vocabulary) -> StoreRequest:
    """The store of a task under a config."""
    data, form = config.data, config.format
    splits = {'train': 'train'} if 'train' in task.splits else {}
    evaluation = next((s for s in data.eval_splits if s in task.splits), None)
    if evaluation is not None:
        splits[evaluation] = 'evaluation'
    digest = store.digest([
        _text_digest(config, task), store.FORMAT_VERSION, vocabulary.fingerprint, splits,
        [data.train_rows, data.eval_rows, data.max_inputs, data.max_targets, data.template_draws],
        [form.eval_shots, config.model.encoder_decoder],
    ])  # fmt: skip
    return StoreRequest(task.name, digest, _source_digest(config, task), splits)


def renderer(config: Config, task: Task, vocabulary: Vocabulary) -> formats.Renderer:
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
    code = [_code_digest(module) for function in _functions(task) for module in _modules(function)]
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


def _modules(function: Callable) -> list[str]:
    """The modules whose code a function runs; a partial runs the functions it is given, too."""
    if not isinstance(function, functools.partial):
        return [function.__module__]
    inner = [function.func, *function.args, *function.keywords.values()]
    return [module for part in inner if callable(part) for module in _modules(part)]


@functools.cache
def _code_digest(module: str) -> str:
    """Of a module's file and of what it imports from its own package, so that an edit is never overlooked."""
    seen: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name)
        if name in seen or spec is None or spec.origin is None or not spec.origin.endswith('.py'):
            continue
        seen[name] = pathlib.Path(spec.origin).read_bytes()
        package = module.split('.')[0]
        for node in ast.walk(ast.parse(seen[name])):
            if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == package:
                waiting += [node.module, *(f'{node.module}.{a.name}' for a in node.names if _is_module(node, a))]
            elif isinstance(node, ast.Import):
                waiting += [a.name for a in node.names if a.name.split('.')[0] == package]
    joined = b''.join(hashlib.sha256(seen[name]).digest() for name in sorted(seen))
    return hashlib.sha256(joined).hexdigest()[:12]


def _is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    parent = importlib.util.find_spec(node.module)
    if parent is None or parent.submodule_search_locations is None:
        return False
    return importlib.util.find_spec(f'{node.module}.{alias.name}') is not None


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
