"""GGUF files of llama.cpp, in and out: Llama, Mistral and SmolLM (all `llama`), Qwen 2 and 3, Gemma 2 and 3, Phi-3.

    config = read_config('SmolLM2-135M-Instruct.Q4_1.gguf')
    params = load('SmolLM2-135M-Instruct.Q4_1.gguf', config, shardings=weight_shardings(skeleton(config, ...), mesh))
    save('mine.gguf', params, config=config, vocabulary=vocabulary.load('smollm2'), kind='Q8_0')

The file is mapped. A tensor is turned into floats when its turn comes, under its Hugging Face name and in that layout,
and goes through the tables of `weight_names`, straight to where it lies.
"""

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from flan_jax import errors
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.interop import families, gguf_config, gguf_file, gguf_vocabulary, gguf_weights, hugging_face
from flan_jax.interop.config_keys import Family, differing, essential
from flan_jax.interop.gguf_blocks import KINDS
from flan_jax.interop.weight_plan import axis_sizes, flat_shapes, sources
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat, nested

Makers = dict[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]]  # name -> shape, and what makes the tensor


def read_config(path: str) -> ModelConfig:
    """The model a file holds.

    Raises:
      CheckpointError: the file cannot be read, or its architecture is not known; names both.
      ConfigError: a value in it cannot be represented.
    """
    return _config(gguf_file.read(str(path)))[1]


def _config(file: gguf_file.GGUF) -> tuple[Family, ModelConfig]:
    values = gguf_config.to_hugging_face(file)
    family = families.family(values['model_type'])
    return family, family.read(values, file.path)


def load(path: str, config: ModelConfig, *, shardings: Any = None, dtype: str = 'float32') -> Any:
    """Weights of a file, each straight to its devices.

    Args:
      path: of the file.
      config: what `read_config` said, if need be with another dropout.
      shardings: a tree like the weights, as `training.state.weight_shardings` makes; None: all on the first device.
      dtype: of the weights in memory.

    Returns:
      Nested dictionaries, as `nnx.merge` takes them.

    Raises:
      CheckpointError: a tensor is missing, unknown or of another shape; names tensor and file.
      ConfigError: the file holds another model than `config`.
    """
    return nested(dict(each_weight(path, config, shardings=shardings, dtype=dtype)))


def each_weight(
    path: str, config: ModelConfig, *, shardings: Any = None, dtype: str = 'float32'
) -> Iterator[tuple[str, jax.Array]]:
    """Path and weight, one after the other, for who does not want to hold them all; otherwise as `load`."""
    file = gguf_file.read(str(path))
    family, own = _config(file)
    if differences := differing(essential(own), essential(config)):
        told = ', '.join(f'model.{field}={asked!r}, there {theirs!r}' for field, theirs, asked in differences)
        raise errors.ConfigError(f'{path} holds another model: {told}')
    _, tensors = gguf_weights.read(file)
    yield from hugging_face.each_made(tensors, family, config=config, source=path, shardings=shardings, dtype=dtype)


def save(
    path: str,
    params: Any,
    *,
    config: ModelConfig,
    vocabulary: Vocabulary,
    kind: str = 'F16',
    family: str | None = None,
) -> None:
    """Writes a file that llama.cpp and transformers load; under its name only when it is whole.

    Args:
      path: of the file; replaced if it is there.
      params: nested dictionaries of weights, wherever they lie, or of functions that give them: each is called once,
        when its weight's turn comes, in the order of `weight_plan.flat_shapes`.
      config: of the model; its `max_length` must be set.
      vocabulary: whose pieces, chat template and choice of BOS go with it.
      kind: of the matrices: F32, F16, BF16 or Q8_0.
      family: Hugging Face's `model_type`; None: the first that can represent the model.

    Raises:
      ConfigError, CheckpointError: no GGUF architecture can hold the model, or the tokenizer does not fit; nothing is
        written.
    """
    tokenizer = gguf_vocabulary.entries(vocabulary.path, rows=config.vocab_size, bos=vocabulary.prepend_bos)
    write(path, params, config=config, tokenizer=tokenizer, kind=kind, family=family)


def write(
    path: str, params: Any, *, config: ModelConfig, tokenizer: Mapping[str, bytes], kind: str, family: str | None = None
) -> None:
    """`save` with the tokenizer as packed metadata, such as `gguf_vocabulary.entries` makes."""
    chosen = families.family_of(config) if family is None else families.family(family)
    values = chosen.write(config)
    makers = _tensors(chosen, params, config=config)
    _check_read_back(str(path), values, config=config, makers=makers)
    gguf_weights.write(str(path), values, tensors=makers, kind=kind, more=tokenizer)


def _tensors(family: Family, params: Any, *, config: ModelConfig) -> Makers:
    """A model's tensors by their Hugging Face names."""
    sizes, weights = axis_sizes(config), flat(params)
    parts: dict[str, list] = {}
    for path in flat_shapes(config):
        names, how = sources(family, path, config=config)
        for place in np.ndindex(names.shape):
            parts.setdefault(names[place], []).append((path, place, how))

    left = collections.Counter(path for made in parts.values() for path, _, _ in made)
    held: dict[str, Any] = {}

    def take(path: str) -> Any:
        """A weight; what was read is let go with its last tensor."""
        if path not in held:
            held[path] = weights[path]() if callable(weights[path]) else weights[path]
        left[path] -= 1
        return held[path] if left[path] else held.pop(path)

    def make(name: str) -> np.ndarray:
        whole = np.empty(parts[name][0][2].shape(sizes), np.float32)
        for path, place, how in parts[name]:
            how.put(whole, np.asarray(jax.device_get(take(path)[place])).astype(np.float32), sizes=sizes)
        return whole

    return {name: (parts[name][0][2].shape(sizes), lambda name=name: make(name)) for name in parts}


def _check_read_back(path: str, values: gguf_config.Config, *, config: ModelConfig, makers: Makers) -> None:
    """What a file's metadata cannot say is refused before it is written.

    Raises:
      ConfigError: names the fields.
    """
    kind, entries, factors = gguf_config.from_hugging_face(values, path=path)
    f32 = KINDS['F32']
    tensors = {name: gguf_file.Tensor(name, x.shape, f32, 0, x.reshape(1, -1)) for name, x in factors.items()}
    for theirs, (shape, _) in makers.items():
        name = kind.gguf(theirs) or theirs
        tensors[name] = gguf_file.Tensor(name, shape, f32, 0, np.empty((0, 0), np.float32))
    file = gguf_file.GGUF(path, {name: gguf_file.Entry(value, b'') for name, value in entries.items()}, tensors)
    back = _config(file)[1]
    differences = [
        (field, ours, theirs)
        for field, ours, theirs in differing(essential(config), essential(back))
        if not _close(ours, theirs)
    ]
    if differences:
        told = ', '.join(f'model.{field}={ours!r} (it would be {theirs!r})' for field, ours, theirs in differences)
        raise errors.ConfigError(f'{path}: GGUF metadata of {kind.name!r} models cannot say {told}')


def _close(a: Any, b: Any) -> bool:
    """Whether two values are the same but for being stored in f32.

    >>> _close(10000.0, 10000.0001), _close(None, 1.0), _close((1.0, 2.0), (1.0, 2.5))
    (True, False, False)
    """
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        return all(map(_close, a, b))
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return bool(np.isclose(a, b, rtol=1e-6, atol=0.0)) if numbers else a == b
