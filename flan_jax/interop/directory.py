"""The files of a Hugging Face directory: JSON, the index of shards, tokenizer files; written whole or not at all."""

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from flan_jax import errors
from flan_jax.interop import safetensors_file
from flan_jax.interop.safetensors_file import Stored

Path = str | os.PathLike
SINGLE, INDEX = 'model.safetensors', 'model.safetensors.index.json'
PICKLES = ('.bin', '.pt', '.pth', '.ckpt')
SHARD_BYTES = 5 * 10**9  # of one file written
TEMPLATES = 'additional_chat_templates'  # a folder of them
DTYPES = {'float32': np.dtype(np.float32), 'bfloat16': np.dtype(ml_dtypes.bfloat16), 'float16': np.dtype(np.float16)}
# What goes with the weights: everything a tokenizer, a chat and a generation are made of.
COMPANIONS = (
    'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json', 'vocab.json',
    'merges.txt', 'vocab.txt', 'tokenizer.model', 'spiece.model', 'sentencepiece.bpe.model', 'chat_template.jinja',
    'chat_template.json', 'generation_config.json',
)  # fmt: skip


def read_json(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        raise errors.CheckpointError(f'{file} is missing')
    try:
        values = json.loads(file.read_text())
    except ValueError as error:
        raise errors.CheckpointError(f'{file} is no JSON: {error}') from None
    except OSError as error:
        raise errors.CheckpointError(f'{file} cannot be read: {error.strerror}') from None
    if not isinstance(values, dict):
        raise errors.CheckpointError(f'{file} is no mapping')
    return values


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """All tensors of a directory's safetensors files, by name, without their numbers.

    Raises:
      CheckpointError: a shard or a tensor the index promises is missing, a file is cut off, or there are only pickles.
    """
    directory = pathlib.Path(directory)
    if not (directory / INDEX).is_file():
        if not (directory / SINGLE).is_file():
            pickles = sorted(p.name for p in directory.iterdir() if p.suffix in PICKLES)
            what = f'{pickles[0]} is a pickle, which could run code and is never opened: convert it' if pickles else ''
            raise errors.CheckpointError(
                f'{directory} has neither {SINGLE} nor {INDEX}; {what or "fetch its weights in that format"}'
            )
        return safetensors_file.read(directory / SINGLE)
    promised = read_json(directory / INDEX).get('weight_map')
    if not isinstance(promised, dict):
        raise errors.CheckpointError(f'{directory / INDEX} has no weight_map')
    for shard in set(promised.values()):
        if not isinstance(shard, str) or pathlib.PurePath(shard).name != shard or not shard.endswith('.safetensors'):
            raise errors.CheckpointError(f'{directory / INDEX}: {shard!r} is not the name of a safetensors file')
    shards = {shard: safetensors_file.read(directory / shard) for shard in sorted(set(promised.values()))}
    for name, shard in promised.items():
        if name not in shards[shard]:
            raise errors.CheckpointError(
                f'{directory / shard}: tensor {name!r} is missing, which {INDEX} says is there'
            )
    return {name: shards[shard][name] for name, shard in promised.items()}


def check_tokenizer(directory: Path, rows: int) -> None:
    """Raises CheckpointError if the directory's tokenizer has an id that the embedding has no row for."""
    file = pathlib.Path(directory) / 'tokenizer.json'
    if not file.is_file():
        return
    values = read_json(file)
    try:
        vocabulary = (values.get('model') or {}).get('vocab') or {}
        highest = len(vocabulary) - 1 if isinstance(vocabulary, list) else max(vocabulary.values(), default=-1)
        highest = max([highest, *(token['id'] for token in values.get('added_tokens') or ())])
    except (AttributeError, KeyError, TypeError) as error:
        raise errors.CheckpointError(f'{file} is no tokenizer: {error!r}; fetch it again') from None
    if highest >= rows:
        raise errors.CheckpointError(
            f'{file}: the tokenizer has ids up to {highest}, the embedding {rows} rows; they do not belong together'
        )


@contextlib.contextmanager
def written_whole(directory: Path) -> Iterator[pathlib.Path]:
    """A folder to write to, which takes the directory's name when all went well and is gone if not.

    Raises:
      CheckpointError: the directory is there and not empty, or cannot be written.
    """
    directory = pathlib.Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise errors.CheckpointError(f'{directory} is there and not empty; choose another directory, or remove it')
    unfinished = directory.with_name(f'.{directory.name}.unfinished-{os.getpid()}')
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir()
        yield unfinished
        os.replace(unfinished, directory)
    except OSError as error:  # no right to, no room, a file in the way
        raise errors.CheckpointError(f'{directory} cannot be written: {error}; choose another place') from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def copy_companions(source: Path, directory: pathlib.Path) -> None:
    """Tokenizer files, chat templates and generation config, as they are."""
    for name in COMPANIONS:
        if (pathlib.Path(source) / name).is_file():
            shutil.copyfile(pathlib.Path(source) / name, directory / name)
    if (pathlib.Path(source) / TEMPLATES).is_dir():
        shutil.copytree(pathlib.Path(source) / TEMPLATES, directory / TEMPLATES)


def write_tensors(
    directory: pathlib.Path,
    tensors: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]],
    *,
    dtype: np.dtype,
    shard_bytes: int,
) -> None:
    """One file, or as many as it takes with an index; a tensor is made when its turn comes and then let go."""
    shards: list[dict] = [{}]
    at, total = 0, 0
    for name, (shape, make) in tensors.items():
        size = math.prod(shape) * dtype.itemsize
        if at + size > shard_bytes and shards[-1]:
            shards.append({})
            at = 0
        shards[-1][name] = (shape, make)
        at, total = at + size, total + size
    if len(shards) == 1:
        safetensors_file.write(directory / SINGLE, shards[0], dtype=dtype)
        return
    where = {}
    for i, shard in enumerate(shards):
        file = f'model-{i + 1:05}-of-{len(shards):05}.safetensors'
        safetensors_file.write(directory / file, shard, dtype=dtype)
        where |= dict.fromkeys(shard, file)
    write_json(directory / INDEX, {'metadata': {'total_size': total}, 'weight_map': where})


def write_json(file: pathlib.Path, values: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + '\n')
