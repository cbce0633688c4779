"""Makes the token stores (and the vocabulary) of a config: `python -m flan_jax.prepare --config=configs/X.py`.

The only verb that may run TensorFlow: it reads TFDS sets. Stores that are there are left alone.
"""

import collections
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import Config, resolve, to_dict
from flan_jax.data import beam, filters, making, mixture, request, rows, store, vocabulary
from flan_jax.data.filters import Filters
from flan_jax.data.making import Made, Part
from flan_jax.data.store import TokenStore
from flan_jax.data.task import LocalSource, Task, TfdsSource
from flan_jax.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Stores:
    """What a run reads.

    Attributes:
      vocabulary: of all stores.
      stores: task -> store.
      missing: task -> why it has none.
      filters: what of the training rows is left out; None if nothing was asked for, or looked for yet.
    """

    vocabulary: Vocabulary
    stores: Mapping[str, TokenStore]
    missing: Mapping[str, str]
    filters: Filters | None = None


@dataclasses.dataclass(frozen=True)
class Needs:
    """A config's mixture, and the stores it needs.

    Attributes:
      tasks: every known task.
      node: the mixture as a tree.
      selection: what is trained on, held out, excluded.
      vocabulary: file and fingerprint; the file may be missing still.
      requests: task -> its store's request.
    """

    tasks: Mapping
    node: mixture.Node
    selection: mixture.Selection
    vocabulary: Vocabulary
    requests: Mapping[str, request.StoreRequest]


def needs(config: Config) -> Needs:
    """What a config asks for; reads no rows but hashes local files."""
    known = request.known(config.data)
    node = mixture.resolve(config.mixture, known.tasks, mixtures=known.mixtures, stages=config.stages)
    selection = mixture.select(node, known.tasks, mixtures=known.mixtures, related=known.related)
    if config.data.local_only:
        selection = _local_only(config, selection, tasks=known.tasks)
    vocab = request.vocabulary(config, known.tasks, names=(*selection.train, *selection.unseen))
    names = [*selection.train, *selection.held_out]
    requests = {name: request.request(config, known.tasks[name], vocabulary=vocab) for name in names}
    return Needs(known.tasks, node, selection, vocab, requests)


def _local_only(config: Config, selection: mixture.Selection, *, tasks: Mapping[str, Task]) -> mixture.Selection:
    """A selection without the tasks whose rows would have to come from elsewhere.

    Raises:
      ConfigError: no local root is there, or none of its tasks is trained on.
    """
    root = config.data.local_root
    if root is None or not os.path.isdir(root):
        raise errors.ConfigError(f'data.local_only needs a folder as data.local_root, which is {root!r}')
    away = {
        name for name in (*selection.train, *selection.held_out)
        if isinstance(tasks[name].source, TfdsSource | LocalSource) and not _is_local(config, tasks[name])
    }  # fmt: skip
    train = tuple(name for name in selection.train if name not in away)
    if not train:
        raise errors.ConfigError(f'data.local_only: no task of the mixture has rows in {root}')
    held_out = tuple(name for name in selection.held_out if name not in away)
    excluded = {**selection.excluded, **dict.fromkeys(sorted(away), 'no local rows')}
    return mixture.Selection(train, held_out, excluded, tuple(name for name in selection.unseen if name not in away))


def find(config: Config, wanted: Needs) -> Stores:
    """The stores that are there."""
    stores, missing = {}, {}
    for name, ask in wanted.requests.items():
        found = store.find(config.data.store_root, name, request=ask.digest, source=ask.source)
        if found is None:
            reason = _reason_file(config, ask)
            missing[name] = reason.read_text() if reason.exists() else 'not prepared'
        else:
            stores[name] = found
    seen = None
    if filters.asked(config) and stores:
        seen = filters.find(config, _made(wanted, stores), trained=wanted.selection.train)
    return Stores(wanted.vocabulary, stores, missing, seen)


def _reason_file(config: Config, ask: request.StoreRequest) -> pathlib.Path:
    """Why a store could not be made the last time, for the process that asked for it."""
    return pathlib.Path(config.data.store_root) / f'{ask.task}-{ask.digest}-{ask.source}.failed'


def _made(wanted: Needs, stores: Mapping[str, TokenStore]) -> dict[str, request.StoreRequest]:
    return {name: ask for name, ask in wanted.requests.items() if name in stores}


def ensure(config: Config) -> tuple[Needs, Stores]:
    """The stores of a run, made by a child process if some are missing, so that this one stays free of TensorFlow.

    Raises:
      DataError: tasks are missing still, by name (with `data.keep_going` only if all are).
    """
    wanted = needs(config)
    ready = find(config, wanted) if pathlib.Path(wanted.vocabulary.path).exists() else None
    if ready is None or ready.missing or (filters.asked(config) and ready.filters is None):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
            json.dump(to_dict(config), file)
            file.flush()
            child = subprocess.run(
                [sys.executable, '-m', 'flan_jax.prepare', f'--resolved={file.name}'],
                env={**os.environ, 'PYTHONPATH': os.pathsep.join(p or os.getcwd() for p in sys.path)},
            )
        if child.returncode:
            raise errors.DataError('preparing the data failed; its message is above')
        ready = find(config, wanted)
    if ready.missing and not (config.data.keep_going and ready.stores):
        raise errors.DataError(f'no token store for {", ".join(sorted(ready.missing))}')
    return wanted, ready


def prepare(config: Config, *, beam_options: Any = None) -> Stores:
    """Makes what is missing, in parallel over tasks and parts of large ones.

    Args:
      config: of the run.
      beam_options: of `beam.pipeline_options`, to make the stores in a pipeline; None: in processes here.

    Raises:
      DataError: a task is broken; named, and with `data.keep_going` raised only if no task could be made.
    """
    wanted, root = needs(config), config.data.local_root
    try:
        os.makedirs(config.data.store_root, exist_ok=True)
    except OSError as e:
        raise errors.DataError(f'data.store_root={config.data.store_root!r} cannot be made: {e.strerror}') from e
    if root is not None and not os.path.isdir(root) and find(config, wanted).missing:
        raise errors.DataError(f'data.local_root={root!r} is no folder; correct it, or leave it out to do without')
    with _pool(config, wanted) as pool:
        if not pathlib.Path(wanted.vocabulary.path).exists():
            _train_vocabulary(config, wanted, pool=pool)
        names = sorted(find(config, wanted).missing)
        if beam_options is None:
            failures = _make(config, wanted, names=names, pool=pool)
    if beam_options is not None:
        asks = {name: wanted.requests[name] for name in names}
        failures = beam.make(config, asks, vocabulary=wanted.vocabulary, options=beam_options)
    for name, ask in wanted.requests.items():
        path = _reason_file(config, ask)
        if name not in failures:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_text() != failures[name]:
            path.write_text(failures[name])
    told(config, failures, of=len(wanted.requests))
    done = find(config, wanted)
    if filters.asked(config) and done.filters is None:
        made = _made(wanted, done.stores)
        seen = filters.make(config, wanted.tasks, requests=made, trained=wanted.selection.train)
        done = dataclasses.replace(done, filters=seen)
    return dataclasses.replace(done, missing=dict(done.missing) | failures)


def told(config: Config, failures: Mapping[str, str], *, of: int) -> None:
    """Says which tasks could not be made.

    Raises:
      DataError: some could not, and `data.keep_going` is off or nothing is left.
    """
    if not failures:
        return
    lines = '\n'.join(f'  {name}: {reason}' for name, reason in sorted(failures.items()))
    message = f'{len(failures)} of {of} tasks could not be prepared:\n{lines}'
    if len(failures) == of:
        raise errors.DataError(message)
    if not config.data.keep_going:
        raise errors.DataError(f'{message}\nfix them, or go on without them with --config.data.keep_going=true')
    print(message, file=sys.stderr)


def _pool(config: Config, wanted: Needs) -> concurrent.futures.ProcessPoolExecutor:
    """Workers, forked from a process that has done the imports once (TensorFlow, if need be) and has no threads."""
    context = multiprocessing.get_context('forkserver')
    asked = [wanted.tasks[name] for name in wanted.requests]
    online = any(isinstance(t.source, TfdsSource) and not _is_local(config, t) for t in asked)
    context.set_forkserver_preload(['flan_jax.data.seqio_tasks' if online else 'flan_jax.data.making'])
    workers = config.data.prepare_workers or os.cpu_count() or 1
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=vocabulary.one_thread)


def _is_local(config: Config, task: Task) -> bool:
    return any(rows.local_files(task, split, local_root=config.data.local_root) for split in task.splits)


def _make(config: Config, wanted: Needs, *, names: Sequence[str], pool) -> dict[str, str]:
    """Makes the stores of some tasks, with a bar; task -> why it failed."""
    from tqdm import tqdm

    values, failures, waiting = to_dict(config), {}, {}
    done: dict[str, list[Made]] = collections.defaultdict(list)
    with tqdm(total=len(names), desc='prepare', disable=not config.telemetry.progress or not names, unit='task') as bar:

        def settled(name: str, failure: str | None) -> None:
            if name not in failures:
                bar.set_postfix_str(name)
                bar.update()
            if failure is not None:
                failures.setdefault(name, failure)

        for name in names:
            job = {'vocabulary': wanted.vocabulary, 'ask': wanted.requests[name]}
            work, failure = making.attempt(making.parts, config, wanted.tasks[name], ask=wanted.requests[name])
            if failure is not None:
                settled(name, failure)
            elif all(part.of == 1 for part in work):  # a worker makes and writes it
                waiting[pool.submit(making.attempt, _store, values, work, **job)] = (name, None)
            else:
                for part in work:
                    waiting[pool.submit(making.attempt, _part, values, part, vocab=wanted.vocabulary)] = (
                        name,
                        len(work),
                    )
        for future in concurrent.futures.as_completed(waiting):
            name, parts = waiting.pop(future)
            try:
                made, failure = future.result()
            except concurrent.futures.BrokenExecutor as e:
                made, failure = None, f'its process ended or another one did: {e}'
            if parts is None or failure is not None:
                settled(name, failure)
                continue
            done[name].append(made)
            if len(done[name]) == parts:
                ask = wanted.requests[name]
                _, failure = making.attempt(
                    making.finish, config, done.pop(name), ask=ask, vocabulary=wanted.vocabulary
                )
                settled(name, failure)
    return failures


def _store(values: dict, work: Sequence[Part], *, vocabulary: Vocabulary, ask: request.StoreRequest) -> str:
    """One whole store, in a worker."""
    config = resolve(values)
    made = [making.make(config, part, vocabulary=vocabulary) for part in work]
    return making.finish(config, made, ask=ask, vocabulary=vocabulary)


def _part(values: dict, part: Part, *, vocab: Vocabulary) -> Made:
    """A part of a store, in a worker."""
    return making.make(resolve(values), part, vocabulary=vocab)


def _train_vocabulary(config: Config, wanted: Needs, *, pool) -> None:
    names = sorted((*wanted.selection.train, *wanted.selection.unseen))
    futures = [pool.submit(making.attempt, _texts, to_dict(config), name) for name in names]
    texts: list[str] = []
    for name, future in zip(names, futures):
        found, failure = future.result()
        if failure is not None and not config.data.keep_going:
            raise errors.DataError(f'task {name!r} gives no text for the vocabulary: {failure}')
        texts += found or []
    if not texts:
        raise errors.DataError(f'no training row of {", ".join(names)} gives a text to train the vocabulary on')
    print(f'training a vocabulary of {config.vocabulary.train_size} pieces on {len(texts)} texts', file=sys.stderr)
    vocabulary.train(texts, wanted.vocabulary.path, size=config.vocabulary.train_size)


def _texts(values: dict, name: str) -> list[str]:
    """Rendered inputs and targets of a task's first training rows, if it has any."""
    config = request.natural(resolve(values))
    task = request.known(config.data).tasks[name]
    place = request.place(config.data)
    if 'train' not in rows.splits(task, place=place):
        return []
    render = request.renderer(config, task)
    allowed = render.training_templates()
    found = rows.fields(task, 'train', place=place, account=rows.Account(), limit=config.vocabulary.train_rows)
    out = []
    for row_id, fields in found:
        template = allowed[row_id % len(allowed)]
        shown = render.show(row_id, fields, template=template, shots=0, training=True)
        said = [m['content'] for m in fields['messages']] if 'messages' in fields else []
        out += said or [shown.context, shown.target]
    return out


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_enum('runner', 'local', ['local', 'beam'], 'Who makes the stores: processes here, or Apache Beam.')
    flags.DEFINE_bool('keep_going', False, 'Make the other tasks when one is broken, as --config.data.keep_going=true.')
    return ['runner', 'keep_going']


def takes() -> bool:
    """Whether arguments mean something: Beam's own options."""
    from absl import flags

    return flags.FLAGS.runner == 'beam'


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'  # a broken task is told by name; TensorFlow adds a page to it
    given = flags.FLAGS
    config = resolve(json.loads(pathlib.Path(given.resolved).read_text()) if given.resolved else given.config)
    if given.keep_going:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, keep_going=True))
    began = time.perf_counter()
    done = prepare(config, beam_options=beam.pipeline_options(config, argv[1:]) if given.runner == 'beam' else None)
    tokens = sum(c['tokens'] for s in done.stores.values() for c in s.info['splits'].values())
    seconds = time.perf_counter() - began
    print(f'{len(done.stores)} stores, {tokens:,} tokens, {seconds:.1f} s, {tokens / seconds:,.0f} tokens/s')


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, resolved=True, define=define, takes=takes)
