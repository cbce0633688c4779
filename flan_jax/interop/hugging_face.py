"""Hugging Face directories, in and out: `config.json`, safetensors, and the files of the tokenizer.

    config = read_config('meta-llama/Llama-3.2-1B')
    params = load('meta-llama/Llama-3.2-1B', config, shardings=weight_shardings(skeleton(config, execution), mesh))
    save('mine', params, config=config, source='meta-llama/Llama-3.2-1B', dtype='bfloat16')

A weight is read straight to where it lies, a tensor of theirs at a time; nothing of torch or transformers is needed,
and no pickle is ever opened.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from flan_jax import errors
from flan_jax.interop import directory as files
from flan_jax.interop import families
from flan_jax.interop.config_keys import Family, differing
from flan_jax.interop.directory import DTYPES, Path, check_tokenizer, read_json, stored_tensors
from flan_jax.interop.layout import Layout
from flan_jax.interop.safetensors_file import Stored
from flan_jax.interop.weight_plan import axis_sizes, flat_shapes, naming, sources
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat, nested


def read_config(directory: Path) -> ModelConfig:
    """The model that a directory's `config.json` describes; whether its head is tied, the weights have a say in.

    Raises:
      ConfigError: a family, key or value that cannot be represented; names it and the file.
      CheckpointError: a file is missing or broken.
    """
    family, config = _config(directory)
    tensors = stored_tensors(directory)
    head = family.table['head.kernel'][0]
    if head not in tensors:
        if not config.tied_embeddings and not config.encoder_decoder:
            raise errors.CheckpointError(
                f'{directory}: tie_word_embeddings is false, but there is no tensor {head!r} in its files'
            )
        return _tied(config, True)
    # Some files hold the tied table twice, and in some the config is wrong; transformers compares them, too.
    table = tensors[naming(family, tensors)(family.table['embedding.table'][0])]
    tied = config.tied_embeddings and _equal(table, tensors[head])
    if not tied and config.encoder_decoder and config.embedding.scaled_head:
        raise errors.ConfigError(
            f'{pathlib.Path(directory) / "config.json"}: tie_word_embeddings or scale_decoder_outputs says that the '
            f'head reads scaled states, as only a tied one does, but the files have {head!r}, which is not the '
            'embedding; set tie_word_embeddings, and scale_decoder_outputs if it is there, to false'
        )
    return _tied(config, tied)


def _tied(config: ModelConfig, tied: bool) -> ModelConfig:
    return dataclasses.replace(config, tied_embeddings=tied)


def _equal(a: Stored, b: Stored) -> bool:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    step = 4096  # rows compared at once
    return all(
        np.array_equal(*(x.rows(at, min(at + step, a.shape[0])).view(np.uint8) for x in (a, b)))
        for at in range(0, a.shape[0], step)
    )


def _config(directory: Path) -> tuple[Family, ModelConfig]:
    file = pathlib.Path(directory) / 'config.json'
    values = read_json(file)
    if 'model_type' not in values:
        raise errors.ConfigError(f'{file}: no model_type, so the family is unknown')
    if not isinstance(values['model_type'], str) or values['model_type'] not in families.BY_NAME:
        raise errors.ConfigError(f'{file}: {_unknown(values)}')
    if 'quantization_config' in values and values['quantization_config'] is not None:
        raise errors.ConfigError(f'{file}: quantization_config: quantised weights cannot be read')
    family = families.family(values['model_type'])
    if family.name == 't5' and not str(values.get('feed_forward_proj') or 'relu').startswith('gated'):
        family = families.PLAIN_T5
    return family, family.read(values, str(file))


def _unknown(values: Mapping[str, Any]) -> str:
    """Of which kind a model is that none of the families is."""
    known = ', '.join(sorted(families.BY_NAME))
    told, near = f'model_type={values["model_type"]!r}', errors.near(str(values['model_type']), families.BY_NAME)
    architectures = f' (architectures={values["architectures"]!r})' if values.get('architectures') else ''
    if values.get('text_config'):
        return f'{told} is a model of more than text, with a text_config inside; models that can be read: {known}'
    return f'{told} is none of {known}{near}{architectures}'


def load(directory: Path, config: ModelConfig, *, shardings: Any = None, dtype: str | None = 'float32') -> Any:
    """Weights of a directory, each read straight to its devices.

    Args:
      directory: with config.json and safetensors.
      config: what `read_config` said, if need be with another dropout.
      shardings: a tree like the weights, as `training.state.weight_shardings` makes; None: all on the first device.
      dtype: of the weights in memory; None: as stored.

    Returns:
      Nested dictionaries, as `nnx.merge` takes them.

    Raises:
      CheckpointError: a tensor is missing, unknown or of another shape, or the tokenizer has more ids than the
        embedding rows; names tensor and file.
      ConfigError: the directory holds another model than `config`.
    """
    return nested(dict(each_weight(directory, config, shardings=shardings, dtype=dtype)))


def each_weight(
    directory: Path, config: ModelConfig, *, shardings: Any = None, dtype: str | None = 'float32'
) -> Iterator[tuple[str, jax.Array]]:
    """Path and weight, one after the other, for who does not want to hold them all; otherwise as `load`."""
    family, own = _config(directory)
    if differences := differing(config, own):
        told = ', '.join(f'model.{field}={asked!r}, there {theirs!r}' for field, asked, theirs in differences)
        raise errors.ConfigError(f'{directory} holds another model: {told}')
    check_tokenizer(directory, config.vocab_size)
    tensors = stored_tensors(directory)
    yield from each_made(tensors, family, config=config, source=directory, shardings=shardings, dtype=dtype)


def each_made(
    tensors: Mapping[str, Stored],
    family: Family,
    *,
    config: ModelConfig,
    source: Path,
    shardings: Any = None,
    dtype: str | None = 'float32',
) -> Iterator[tuple[str, jax.Array]]:
    """Weights made of a family's tensors, each read straight to its devices.

    Args:
      tensors: by their names; anything with `name`, `file`, `shape`, `dtype` and `rows` as `Stored` has them.
      family: whose names and layouts those are.
      config: of the model.
      source: where they come from, for messages.
      shardings: a tree like the weights; None: all on the first device.
      dtype: of the weights in memory; None: as stored.

    Yields:
      (dotted path, weight).

    Raises:
      CheckpointError: a tensor is missing, unknown or of another shape; names tensor and file.
    """
    sizes, shapes = axis_sizes(config), flat_shapes(config)
    plan = {path: sources(family, path, config=config) for path in shapes}
    _check(source, family, tensors=tensors, plan=plan, sizes=sizes)
    named = naming(family, tensors)
    placed = {} if shardings is None else flat(shardings)
    alone = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for path, shape in shapes.items():
        names, how = plan[path]
        kind = tensors[named(names.flat[0])].dtype if dtype is None else DTYPES[dtype]
        found = np.empty(names.shape, object)
        for place in np.ndindex(names.shape):
            found[place] = tensors[named(names[place])]
        read = _reader(found, how, sizes=sizes, shape=shape, dtype=kind)
        made = jax.make_array_from_callback(shape, placed.get(path, alone), read, dtype=kind)
        yield path, made.block_until_ready()


def _reader(
    found: np.ndarray, how: Layout, *, sizes: Mapping[str, int], shape: tuple[int, ...], dtype: np.dtype
) -> Callable[[tuple[slice, ...]], np.ndarray]:
    """Index of a part of one of our weights -> its numbers."""
    made: dict[tuple, np.ndarray] = {}  # devices that hold the same part share it

    def read(index: tuple[slice, ...]) -> np.ndarray:
        bounds = tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        if bounds not in made:
            made.clear()
            made[bounds] = _aligned([last - first for first, last in bounds], dtype)
            chosen = found[(*(slice(*b) for b in bounds[: found.ndim]), ...)]
            inner = tuple(slice(*b) for b in bounds[found.ndim :])
            for place in np.ndindex(chosen.shape):
                made[bounds][place] = how.read(chosen[place], sizes, index=inner)
        return made[bounds]

    return read


def _aligned(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """An array at a multiple of 64 bytes, which JAX takes over on a CPU instead of copying it."""
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(size + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


def _check(directory: Path, family: Family, *, tensors: Mapping[str, Stored], plan: Mapping, sizes) -> None:
    named, used = naming(family, tensors), set()
    for path, (names, how) in plan.items():
        for name in map(named, names.flat):
            used.add(name)
            if name not in tensors:
                raise errors.CheckpointError(
                    f'{directory}: tensor {name!r} (our {path}) is in none of its files{errors.near(name, tensors)}'
                )
            if tensors[name].shape != how.shape(sizes):
                raise errors.CheckpointError(
                    f'{tensors[name].file}: tensor {name!r} has shape {list(tensors[name].shape)}; config.json means '
                    f'{list(how.shape(sizes))}'
                )
    allowed = [*family.unused, re.escape(family.table['head.kernel'][0])]
    for name in tensors:
        if name not in used and not any(re.fullmatch(pattern, name) for pattern in allowed):
            raise errors.CheckpointError(
                f'{tensors[name].file}: tensor {name!r} has no place in the model that config.json describes'
            )


def save(
    directory: Path,
    params: Any,
    *,
    config: ModelConfig,
    source: Path | None = None,
    dtype: str = 'float32',
    shard_bytes: int = files.SHARD_BYTES,
) -> None:
    """Writes a directory that transformers loads.

    Args:
      directory: made anew; nothing is there until all is.
      params: nested dictionaries of weights, wherever they lie.
      config: of the model.
      source: a directory of the same family, whose config.json is kept but for what differs, and whose tokenizer, chat
        template and generation config are copied; None: the family is the first that can represent the model.
      dtype: of the tensors in the files.
      shard_bytes: of one file at most, unless a tensor is larger.

    Raises:
      ConfigError: the model cannot be represented; names the field.
      CheckpointError: the directory is in use, or the source's tokenizer has more ids than the embedding rows.
    """
    family, values = _values(config, source)
    sizes, shapes, weights = axis_sizes(config), flat_shapes(config), flat(params)
    if set(shapes) != set(weights):
        raise errors.CheckpointError(
            f'the weights are not those of the config: missing {sorted(set(shapes) - set(weights))}, '
            f'too many {sorted(set(weights) - set(shapes))}'
        )
    parts: dict[str, list[tuple[str, tuple[int, ...], Layout]]] = {}
    for path in shapes:
        names, how = sources(family, path, config=config)
        for place in np.ndindex(names.shape):
            parts.setdefault(names[place], []).append((path, place, how))
    kind = DTYPES[dtype]

    def tensor(name: str) -> tuple[tuple[int, ...], Callable[[], np.ndarray]]:
        shape = parts[name][0][2].shape(sizes)

        def make() -> np.ndarray:
            whole = np.empty(shape, kind)
            for path, place, how in parts[name]:
                part = weights[path][place] if place else weights[path]
                how.put(whole, np.asarray(jax.device_get(part)), sizes=sizes)
            return whole

        return shape, make

    if source is not None:
        check_tokenizer(source, config.vocab_size)
    with files.written_whole(directory) as folder:
        files.write_tensors(folder, {name: tensor(name) for name in parts}, dtype=kind, shard_bytes=shard_bytes)
        files.write_json(folder / 'config.json', values | {'dtype': dtype, 'torch_dtype': dtype})
        if source is not None:
            files.copy_companions(source, folder)


def _values(config: ModelConfig, source: Path | None) -> tuple[Family, dict[str, Any]]:
    """The family, and what config.json will say."""
    if source is None:
        family = families.family_of(config)
        return family, family.write(config)
    family, own = _config(source)
    values = read_json(pathlib.Path(source) / 'config.json')
    if differing(config, own):
        for key in ('rope_parameters', 'layer_types', 'no_rope_layers'):  # new names, which would win over the old
            values.pop(key, None)
        written = family.write(config)
        values |= {key: value for key, value in written.items() if not key.endswith('token_id')}
    return family, values | ({} if config.encoder_decoder else {'tie_word_embeddings': config.tied_embeddings})
