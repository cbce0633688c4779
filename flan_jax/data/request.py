"""Requests: which token stores a run needs, known without TensorFlow and, if it must be, without the rows.

    request digest = task, templates, code of the task, format, lengths, limits, seed, vocabulary
    source digest  = content of the local files, or the name of the TFDS set

A change of any of them gives another store; rates, caps, packing and the model give none.
"""

import ast
import dataclasses
import functools
import glob
import hashlib
import importlib
import importlib.util
import inspect
import pathlib
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import Config, DataConfig, MixtureConfig
from flan_jax.data import chat, encoding, formats, natural_instructions, rows, store, task_file
from flan_jax.data import vocabulary as vocabulary_lib
from flan_jax.data.task import Fields, FileSource, GeneratedSource, LocalSource, Task, TfdsSource, index
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


@dataclasses.dataclass(frozen=True)
class Known:
    """All that a config can name.

    Attributes:
      tasks: by name.
      mixtures: named mixtures.
      related: cluster -> clusters that are held out with it.
    """

    tasks: Mapping[str, Task]
    mixtures: Mapping[str, MixtureConfig]
    related: Mapping[str, tuple[str, ...]]


def known(data: DataConfig) -> Known:
    """Tasks and named mixtures of `data.task_modules` and `data.task_files`."""
    return _known(tuple(data.task_modules), tuple(data.task_files))


@functools.cache
def _known(modules: tuple[str, ...], files: tuple[str, ...]) -> Known:
    """A module has `all_tasks()` or `TASKS`, and may have `MIXTURES` and `RELATED_CLUSTERS`.

    Raises:
      ConfigError: a module cannot be imported or names no tasks.
      DataError: two tasks have one name, or a file is no task file.
    """
    tasks: list[Task] = []
    mixtures: dict[str, MixtureConfig] = {}
    related: dict[str, tuple[str, ...]] = {}
    for name in modules:
        found = _imported(name)
        if 'all_tasks' in found:
            tasks += found['all_tasks']().values()
        elif 'TASKS' in found:
            tasks += found['TASKS']
        else:
            raise errors.ConfigError(f'data.task_modules: module {name!r} has neither TASKS nor all_tasks()')
        if (odd := next((one for one in tasks if not isinstance(one, Task)), None)) is not None:
            raise errors.ConfigError(f'data.task_modules: module {name!r} has {odd!r:.80} among its tasks, no `Task`')
        mixtures |= found.get('MIXTURES', {})
        related |= found.get('RELATED_CLUSTERS', {})
    for path in files:
        tasks += _of_file(path)
        mixtures |= task_file.mixtures(path) if path.endswith('.toml') else {}
    return Known(index(tasks), mixtures, related)


def _imported(name: str) -> dict[str, Any]:
    """What a module holds.

    Raises:
      ConfigError: it is not there, or fails; with the line of it that does.
    """
    try:
        there = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package it is to be in
        there = False
    if not there:
        raise errors.ConfigError(
            f'data.task_modules: no module {name!r}; run from its folder or put that on PYTHONPATH'
        )
    try:
        return vars(importlib.import_module(name))
    except Exception as e:  # whatever somebody's code raises, their line is what helps
        said = str(e) if isinstance(e, errors.FlanJaxError) else f'{type(e).__name__}: {e}'
        own = [frame for frame in traceback.extract_tb(e.__traceback__) if frame.filename == str(_file(name))]
        place = f' at {own[-1].filename}:{own[-1].lineno}' if own else ''
        raise errors.ConfigError(f'data.task_modules: module {name!r} fails{place}: {said}') from e


def _of_file(path: str) -> list[Task]:
    """Tasks of a TOML file, or of a folder of Natural Instructions."""
    if path.endswith('.toml'):
        return task_file.load(path)
    if pathlib.Path(path).is_dir():
        return natural_instructions.tasks(path)
    raise errors.ConfigError(
        f'data.task_files: {path!r} is neither a .toml file of tasks nor a folder of Natural Instructions tasks'
    )


def vocabulary(config: Config, tasks: Mapping[str, Task], *, names: tuple[str, ...]) -> Vocabulary:
    """The run's vocabulary: a given file, or the place of the one trained on the tasks `names`."""
    wanted = config.vocabulary
    if wanted.path is not None:
        return vocabulary_lib.load(wanted.path, bos=wanted.bos)
    chosen, config = [tasks[name] for name in sorted(names)], natural(config)
    asked = store.digest([wanted.train_size, wanted.train_rows, [_text_digest(config, task) for task in chosen]])
    sources = [_source_digest(config, task) for task in chosen]
    path = pathlib.Path(config.data.store_root) / f'vocabulary-{asked}-{store.digest(sources)}.model'
    if None in sources:  # rows out of sight: the newest that was trained for this request, as with stores
        trained = pathlib.Path(config.data.store_root).glob(f'vocabulary-{asked}-*.model')
        path = max(trained, key=lambda found: found.stat().st_mtime_ns, default=path)
    return vocabulary_lib.SentencePieceVocabulary(str(path), f'{path.stem}{"-bos" if wanted.bos else ""}', wanted.bos)


def natural(config: Config) -> Config:
    """A config with natural instructions: a vocabulary is trained on them whatever a run is shown, so that runs that
    differ in this alone have the same.
    """
    form = dataclasses.replace(config.format, instructions='natural', eval_instructions=None)
    return dataclasses.replace(config, format=form)


def request(config: Config, task: Task, *, vocabulary: Vocabulary) -> StoreRequest:
    """The store of a task under a config."""
    data, form = config.data, config.format
    splits = {'train': 'train'} if 'train' in task.splits else {}
    evaluation = next((s for s in data.eval_splits if s in task.splits), None)
    if evaluation is not None:
        splits[evaluation] = 'evaluation'
    asked = [form.eval_instructions] if form.eval_instructions not in (None, form.instructions) else []
    digest = store.digest([
        _text_digest(config, task), store.FORMAT_VERSION, vocabulary.fingerprint, splits,
        _chat_digest(config, vocabulary),
        [data.train_rows, data.eval_rows, data.max_inputs, data.max_targets, data.template_draws],
        [form.eval_shots, config.model.encoder_decoder, *asked], task.cluster, list(task.metrics),
    ])  # fmt: skip
    return StoreRequest(task.name, digest, _source_digest(config, task), splits)


def renderer(config: Config, task: Task) -> formats.Renderer:
    """What makes a task's text under a config."""
    return formats.Renderer(
        task=task,
        format=config.format,
        seed=config.seed,
        decoder_only=not config.model.encoder_decoder,
        template_draws=config.data.template_draws,
        held_out=config.data.held_out_templates,
    )


def maker(
    config: Config, task: Task, *, vocabulary: Vocabulary, exemplars: Sequence[tuple[int, Fields]] = ()
) -> encoding.Maker:
    """What makes a task's examples under a config."""
    lengths = encoding.Lengths(config.data.max_inputs, config.data.max_targets)
    return encoding.Maker(
        dataclasses.replace(renderer(config, task), exemplars=exemplars),
        encoding.Encoder(vocabulary, config.format, lengths, decoder_only=not config.model.encoder_decoder),
    )


def place(data: DataConfig) -> rows.Place:
    """Where a config's rows are looked for."""
    return rows.Place(data.local_root, data.tfds_dir)


def _text_digest(config: Config, task: Task) -> str:
    """Of everything that decides the text of a task's examples, but for the rows."""
    form = formats.describe_format(config.format)
    code = [_described(function) for function in _functions(task)]
    return store.digest([formats.describe(task), code, form, config.seed, config.data.held_out_templates, _sizes(task)])


def _chat_digest(config: Config, vocabulary: Vocabulary) -> str | None:
    return chat.source_digest(config.format.chat, vocabulary) if config.format.chat is not None else None


def _functions(task: Task) -> list[Callable]:
    """The code a task's rows go through."""
    of_source = {
        GeneratedSource: ['row'], TfdsSource: ['convert'], FileSource: ['read'], LocalSource: []
    }  # fmt: skip
    given = [task.fields, task.expand, *(vars(task.source)[name] for name in of_source[type(task.source)])]
    return [function for function in given if function is not None]


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


@functools.cache
def _imports(module: str, code: bytes) -> tuple[str, ...]:
    """The modules that some code imports; a package itself only for what it defines, not for the modules in it."""
    package = importlib.util.find_spec(module).parent
    out = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name('.' * node.level + (node.module or ''), package)
            inner = [f'{base}.{alias.name}' for alias in node.names]
            out += [name if _file(name) is not None else base for name in inner]
        elif isinstance(node, ast.Import):
            out += [alias.name for alias in node.names]
    return tuple(dict.fromkeys(out))


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
    local = {split: rows.local_files(task, split, local_root=root) for split in task.splits}
    if any(local.values()):
        return store.digest([[split, _content(files)] for split, files in sorted(local.items()) if files])
    match task.source:
        case GeneratedSource():
            return 'generated'
        case TfdsSource(name=name, splits=splits):
            return store.digest([name, dict(splits)])
        case FileSource(files=patterns):
            found = {split: sorted(p for pattern in of for p in glob.glob(pattern)) for split, of in patterns.items()}
            if not any(found.values()):
                return None
            return store.digest([[split, _content(map(pathlib.Path, of))] for split, of in sorted(found.items())])
        case LocalSource():
            return None


def _content(files: Iterable[pathlib.Path]) -> list[list[str]]:
    try:
        return [[file.name, _file_digest(str(file), file.stat().st_mtime_ns)] for file in files]
    except OSError as e:  # a folder, no permission: told by task when rows are read, so that others can go on
        return [['unreadable', str(e)]]


@functools.lru_cache(maxsize=None)
def _file_digest(path: str, changed: int) -> str:
    del changed  # part of the key: a file that is written anew is read anew
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
