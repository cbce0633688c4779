"""Makes the token stores (and the vocabulary) of a config: `python -m flan_jax.prepare --config=configs/X.py`.

The only verb that runs SeqIO and TensorFlow. Stores that are there are left alone.
"""

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
from flan_jax.data import mixture, request, store, vocabulary
from flan_jax.data.store import TokenStore
from flan_jax.data.templates import field_names
from flan_jax.data.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Stores:
    """What a run reads.

    Attributes:
      vocabulary: of all stores.
      stores: task -> store.
      missing: task -> why it has none.
    """

    vocabulary: Vocabulary
    stores: Mapping[str, TokenStore]
    missing: Mapping[str, str]


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
    tasks, mixtures = request.load_tasks(config.data.task_modules)
    node = mixture.resolve(config.mixture, tasks, mixtures=mixtures)
    selection = mixture.select(node, tasks)
    vocab = request.vocabulary(config, tasks, names=selection.train)
    names = [*selection.train, *selection.held_out]
    requests = {name: request.request(config, tasks[name], vocabulary=vocab) for name in names}
    return Needs(tasks, node, selection, vocab, requests)


def find(config: Config, wanted: Needs) -> Stores:
    """The stores that are there."""
    stores, missing = {}, {}
    for name, ask in wanted.requests.items():
        found = store.find(config.data.store_root, name, request=ask.digest, source=ask.source)
        if found is None:
            missing[name] = 'not prepared'
        else:
            stores[name] = found
    return Stores(wanted.vocabulary, stores, missing)


def ensure(config: Config) -> tuple[Needs, Stores]:
    """The stores of a run, made by a child process if some are missing, so that this one stays free of TensorFlow.

    Raises:
      DataError: tasks are missing still, by name (with `data.keep_going` only if all are).
    """
    wanted = needs(config)
    ready = find(config, wanted) if pathlib.Path(wanted.vocabulary.path).exists() else None
    if ready is None or ready.missing:
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


def prepare(config: Config) -> Stores:
    """Makes what is missing, in parallel over tasks.

    Raises:
      DataError: a task is broken; named, and with `data.keep_going` raised only if no task could be made.
    """
    wanted = needs(config)
    os.makedirs(config.data.store_root, exist_ok=True)
    workers = config.data.prepare_workers or os.cpu_count() or 1
    # Workers are forked from a process that has imported SeqIO once (7 s) and has no TensorFlow threads yet.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['flan_jax.data.seqio_tasks'])
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        if not pathlib.Path(wanted.vocabulary.path).exists():
            _train_vocabulary(config, wanted, pool=pool)
        ready = find(config, wanted)
        jobs = {
            name: {'values': to_dict(config), 'name': name, 'vocab': wanted.vocabulary, 'ask': wanted.requests[name]}
            for name in sorted(ready.missing)
        }
        failures = _run(pool, _prepare_task, jobs=jobs, progress=config.telemetry.progress, unit='stores')
    if failures:
        told = '\n'.join(f'  {name}: {reason}' for name, reason in sorted(failures.items()))
        message = f'{len(failures)} of {len(wanted.requests)} tasks could not be prepared:\n{told}'
        if not config.data.keep_going or len(failures) == len(wanted.requests):
            raise errors.DataError(f'{message}\nfix them, or go on without them with --config.data.keep_going=true')
        print(message, file=sys.stderr)
    done = find(config, wanted)
    return dataclasses.replace(done, missing=dict(done.missing) | failures)


def _run(pool, function, *, jobs: Mapping[str, dict[str, Any]], progress: bool, unit: str) -> dict[str, str]:
    """Runs jobs, task -> the function's arguments, with a bar; task -> why it failed."""
    from tqdm import tqdm

    failures = {}
    futures = {pool.submit(_attempt, function, **job): name for name, job in jobs.items()}
    bar = tqdm(total=len(futures), desc=f'prepare {unit}', disable=not progress or not futures, unit=unit[:-1])
    with bar:
        for future in concurrent.futures.as_completed(futures):
            try:
                _, failure = future.result()
            except concurrent.futures.BrokenExecutor as e:
                failure = f'its process ended or another one did: {e}'
            if failure is not None:
                failures[futures[future]] = failure
            bar.set_postfix_str(futures[future])
            bar.update()
    return failures


def _attempt(function, *args, **settings) -> tuple[Any, str | None]:
    """(result, None) or (None, why), in a worker: what a task's code raises may not survive the way to the parent."""
    try:
        return function(*args, **settings), None
    except errors.FlanJaxError as e:
        return None, str(e)
    except Exception as e:
        return None, f'{type(e).__name__}: {e}'


def _train_vocabulary(config: Config, wanted: Needs, *, pool) -> None:
    names = sorted(wanted.selection.train)
    futures = [pool.submit(_attempt, _texts, to_dict(config), name) for name in names]
    texts: list[str] = []
    for name, future in zip(names, futures):
        found, failure = future.result()
        if failure is not None and not config.data.keep_going:
            raise errors.DataError(f'task {name!r} gives no text for the vocabulary: {failure}')
        texts += found or []
    print(f'training a vocabulary of {config.vocabulary.train_size} pieces on {len(texts)} texts', file=sys.stderr)
    vocabulary.train(texts, wanted.vocabulary.path, size=config.vocabulary.train_size)


def _texts(values: dict, name: str) -> list[str]:
    """Rendered inputs and targets of a task's first training rows, if it has any."""
    from flan_jax.data import seqio_tasks

    config = resolve(values)
    task = request.load_tasks(config.data.task_modules)[0][name]
    source = seqio_tasks.source_of(task, local_root=config.data.local_root, tfds_dir=config.data.tfds_dir)
    if 'train' not in source.splits:
        return []
    render = request.renderer(config, task, vocabulary=Vocabulary('', ''))
    allowed = render.training_templates()
    out = []
    where = seqio_tasks.place_of(task, 'train', local_root=config.data.local_root)
    for row_id, fields in seqio_tasks.fields_in(
        task, source, split='train', rows=config.vocabulary.train_rows, where=where
    ):
        out += render.text(row_id, fields, template=allowed[row_id % len(allowed)], shots=0, training=True)
    return out


def _prepare_task(values: dict, name: str, *, vocab: Vocabulary, ask: request.StoreRequest) -> str:
    """One store, in a worker."""
    from flan_jax.data import seqio_tasks

    config = resolve(values)
    task = request.load_tasks(config.data.task_modules)[0][name]
    source = seqio_tasks.source_of(task, local_root=config.data.local_root, tfds_dir=config.data.tfds_dir)
    exemplars = ()
    if (config.format.shots or config.format.eval_shots) and 'train' in source.splits:
        where = seqio_tasks.place_of(task, 'train', local_root=config.data.local_root)
        pool = seqio_tasks.fields_in(task, source, split='train', rows=seqio_tasks.EXEMPLAR_POOL, where=where)
        exemplars = tuple(pool)
    render = dataclasses.replace(request.renderer(config, task, vocabulary=vocab), exemplars=exemplars)
    splits = []
    for split, kind in ask.splits.items():
        if split not in source.splits:
            continue
        account = seqio_tasks.Account()
        ready = seqio_tasks.task_of(
            render, split, source=source, account=account,
            where=seqio_tasks.place_of(task, split, local_root=config.data.local_root),
            rows=config.data.train_rows if kind == 'train' else config.data.eval_rows,
        )  # fmt: skip
        splits.append((split, kind, *_counted(seqio_tasks.columns(ready, split, account=account), account)))
    info = {
        'cluster': task.cluster, 'mode': task.mode, 'metrics': list(task.metrics), 'vocabulary': vocab.fingerprint,
        'templates': [{'name': t.name, 'inverted': t.inverted} for t in task.templates],
        'held_out_templates': sorted(set(range(len(task.templates))) - set(render.training_templates())),
        'shown_fields': sorted(set().union(*(field_names(t.inputs) for t in task.templates if not t.inverted))),
    }  # fmt: skip
    made = store.write(
        config.data.store_root, name, request=ask.digest, source=ask.source or 'unseen', splits=splits, info=info
    )
    return made.path


def _counted(batches, account):
    """The batches, and a function that tells afterwards what was counted on the way."""
    trimmed = {'examples': 0, 'tokens': 0}

    def count():
        for batch in batches:
            trimmed['examples'] += int((batch['trimmed'] > 0).sum())
            trimmed['tokens'] += int(batch['trimmed'].sum())
            yield batch

    return count(), lambda: {'rows': account.rows, 'dropped': dict(account.dropped), 'trimmed': dict(trimmed)}


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    del argv
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'  # a broken task is told by name; TensorFlow adds a page to it
    if flags.FLAGS.resolved:
        config = resolve(json.loads(pathlib.Path(flags.FLAGS.resolved).read_text()))
    else:
        config = resolve(flags.FLAGS.config)
    began = time.perf_counter()
    done = prepare(config)
    tokens = sum(c['tokens'] for s in done.stores.values() for c in s.info['splits'].values())
    print(f'{len(done.stores)} stores, {tokens:,} tokens, {time.perf_counter() - began:.1f} s')


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, resolved=True)
