"""Adapters in the format of the PEFT library, in and out: `adapter_config.json` and `adapter_model.safetensors`.

    save('mine', trained, config=adapter, model=model, base='HuggingFaceTB/SmolLM2-135M')
    adapter, trained = load('theirs', model)

A matrix of theirs is [outputs, inputs]: W + scale B A is our w + scale a b transposed, with heads merged.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from flan_jax import errors
from flan_jax.interop import families, safetensors_file
from flan_jax.interop.directory import DTYPES, Path, read_json, write_json, written_whole
from flan_jax.interop.layout import Layout
from flan_jax.interop.safetensors_file import Stored
from flan_jax.interop.weight_plan import flat_shapes, sources
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import ModelConfig
from flan_jax.models.weight_tree import flat, nested

CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
PREFIX, PROMPT = 'base_model.model.', 'prompt_embeddings'
KINDS = {'LORA': 'lora', 'IA3': 'ia3', 'PROMPT_TUNING': 'prompt'}
SUFFIXES = {
    'lora_a': '.lora_A.weight', 'lora_b': '.lora_B.weight', 'magnitude': '.lora_magnitude_vector', 'factor': '.ia3_l',
}  # fmt: skip
# Keys that change what is computed in a way that is not ours -> the values that do not.
PLAIN = {
    'bias': ('none',), 'fan_in_fan_out': (False,), 'modules_to_save': (), 'rank_pattern': (), 'alpha_pattern': (),
    'lora_bias': (False,), 'layer_replication': (), 'trainable_token_indices': (), 'target_parameters': (),
    'num_transformer_submodules': (1,),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Place:
    """A module of theirs, and where its matrix lies in ours.

    Attributes:
      path: of our weight.
      layer: along its leading axis; None: it is not stacked.
      inputs: sizes of our input axes.
      outputs: sizes of our output axes.
    """

    path: str
    layer: int | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def theirs(self, part: str, *, rank: int) -> tuple[int, ...]:
        """Shape of their tensor."""
        into, out = math.prod(self.inputs), math.prod(self.outputs)
        match part:
            case 'lora_a':
                return rank, into
            case 'lora_b':
                return out, rank
            case 'magnitude':
                return (out,)
            case _:
                return (1, into) if self.on_inputs else (out, 1)

    def ours(self, part: str, *, rank: int) -> tuple[int, ...]:
        match part:
            case 'lora_a':
                return *self.inputs, rank
            case 'lora_b':
                return rank, *self.outputs
            case 'magnitude':
                return self.outputs
            case _:
                return self.inputs if self.on_inputs else self.outputs

    @property
    def on_inputs(self) -> bool:
        return self.path.endswith('.down')


def places(model: ModelConfig) -> dict[str, Place]:
    """Name of each of their modules that an adapter may stand at -> where that is.

    A matrix of ours that is a part of one of theirs (Phi-3's query, BLOOM's, experts) has no module of its own.
    """
    family, shapes = families.family_of(model), flat_shapes(model)
    out = {}
    for path, shape in shapes.items():
        if (
            path not in family.table
            or family.table[path][1].ours[:1] == ('V',)
            or len(family.table[path][1].theirs) < 2
        ):
            continue
        names, how = sources(family, path, config=model)
        if names.ndim > 1 or not _alone(how):
            continue
        given = len(how.theirs[0])
        into = shape[names.ndim : len(shape) - given]
        for at in np.ndindex(names.shape):
            module = names[at].removesuffix('.weight')
            out[module] = Place(path, at[0] if at else None, into, shape[len(shape) - given :])
    return out


def _alone(how: Layout) -> bool:
    """Whether one of our matrices is one of theirs: outputs and inputs, each in our order."""
    letters = [axis for group in how.theirs for axis in group]
    swapped = (*how.theirs[1], *how.theirs[0]) if len(how.theirs) == 2 else ()
    return not how.fused and not any(axis.isdigit() for axis in letters) and swapped == how.ours


def save(
    directory: Path, trained: Any, *, config: AdapterConfig, model: ModelConfig, base: str, dtype: str = 'float32'
) -> None:
    """Writes a directory that `peft.PeftModel.from_pretrained` loads.

    Args:
      directory: made anew; nothing is there until all is.
      trained: see `models.adapters`.
      config: of the adapter.
      model: it belongs to.
      base: the model's name or directory, for `base_model_name_or_path`.
      dtype: of the tensors in the file.

    Raises:
      ConfigError: PEFT has no such adapter; names the weight.
      CheckpointError: the directory is in use.
    """
    values = {'base_model_name_or_path': base, 'inference_mode': True}
    values['task_type'] = 'SEQ_2_SEQ_LM' if model.encoder_decoder else 'CAUSAL_LM'
    if config.kind == 'prompt':
        prompt = np.asarray(jax.device_get(trained['embedding']['table']['prompt']))
        tensors = {PROMPT: prompt}
        values |= {
            'peft_type': 'PROMPT_TUNING', 'num_virtual_tokens': prompt.shape[0], 'token_dim': prompt.shape[1],
            'num_transformer_submodules': 1, 'num_attention_heads': model.heads, 'num_layers': model.layers,
        }  # fmt: skip
    else:
        tensors, modules = _tensors(trained, config, model=model)
        values |= _targets(config, modules, model=model)
    made = {name: (value.shape, lambda value=value: value) for name, value in tensors.items()}
    with written_whole(directory) as folder:
        safetensors_file.write(folder / WEIGHTS, made, dtype=DTYPES[dtype])
        write_json(folder / CONFIG, values)


def _tensors(
    trained: Any, config: AdapterConfig, *, model: ModelConfig
) -> tuple[dict[str, np.ndarray], dict[str, Place]]:
    """Tensors by name, and the modules they stand at."""
    known: dict[str, dict[int | None, str]] = {}
    for module, place in (all_places := places(model)).items():
        known.setdefault(place.path, {})[place.layer] = module
    out, used = {}, {}
    for name, value in flat(trained).items():
        path, _, part = name.rpartition('.')
        if path not in known or part not in SUFFIXES:
            raise errors.ConfigError(
                f'adapter {config.name!r}: PEFT has no place for {name}, since the {families.family_of(model).name} '
                'family has no module of that kind; merge it into the weights instead'
            )
        value = np.asarray(jax.device_get(value))
        layers = [None] if None in known[path] else config.layers or sorted(known[path])
        for at, layer in enumerate(layers):
            module = known[path][layer]
            place = used[module] = all_places[module]
            one = value if layer is None else value[at]
            shape = place.theirs(part, rank=config.rank)
            out[PREFIX + module + SUFFIXES[part]] = (
                one.reshape(shape[::-1]).T if part.startswith('lora') else one.reshape(shape)
            )
    return out, used


def _targets(config: AdapterConfig, modules: Mapping[str, Place], *, model: ModelConfig) -> dict[str, Any]:
    """What adapter_config.json says of a LoRA, DoRA or IA3 adapter."""
    last = lambda module: module.rpartition('.')[2]  # noqa: E731
    whole = {last(module) for module in modules} - {last(m) for m in places(model) if m not in modules}
    targets = sorted({last(m) if last(m) in whole else m for m in modules})
    if config.kind == 'ia3':
        into = sorted({last(m) if last(m) in whole else m for m, place in modules.items() if place.on_inputs})
        return {'peft_type': 'IA3', 'target_modules': targets, 'feedforward_modules': into, 'fan_in_fan_out': False}
    return {
        'peft_type': 'LORA', 'target_modules': targets, 'r': config.rank, 'lora_alpha': config.alpha,
        'use_rslora': config.rank_stabilised, 'use_dora': config.kind == 'dora', 'lora_dropout': 0.0, 'bias': 'none',
        'fan_in_fan_out': False,
    }  # fmt: skip


def read_config(directory: Path) -> AdapterConfig:
    """What `adapter_config.json` says; the targets are known from the tensors only (see `load`).

    Raises:
      ConfigError: a kind of adapter or a setting that cannot be represented; names key and file.
      CheckpointError: the file is missing or broken.
    """
    file = pathlib.Path(directory) / CONFIG
    values = read_json(file)
    kind = KINDS.get(str(values.get('peft_type')))
    if kind is None:
        raise errors.ConfigError(f'{file}: peft_type={values.get("peft_type")!r} is none of {", ".join(KINDS)}')
    for key, plain in PLAIN.items():
        if values.get(key) and values[key] not in plain:
            raise errors.ConfigError(f'{file}: {key}={values[key]!r} cannot be represented; merge it with PEFT first')
    name = pathlib.Path(directory).name
    if kind == 'prompt':
        return AdapterConfig(kind='prompt', name=name, prompt_tokens=_count(values, 'num_virtual_tokens', file=file))
    if kind == 'ia3':
        return AdapterConfig(kind='ia3', name=name)
    alpha = values.get('lora_alpha')
    if type(alpha) not in (int, float):
        raise errors.ConfigError(f'{file}: lora_alpha={alpha!r} must be a number')
    return AdapterConfig(
        kind='dora' if values.get('use_dora') else 'lora', name=name, rank=_count(values, 'r', file=file),
        alpha=float(alpha), rank_stabilised=bool(values.get('use_rslora')),
    )  # fmt: skip


def _count(values: Mapping[str, Any], key: str, *, file: pathlib.Path) -> int:
    value = values.get(key)
    if type(value) is not int or value < 1:
        raise errors.ConfigError(f'{file}: {key}={value!r} must be a whole number, at least 1')
    return value


def load(directory: Path, model: ModelConfig) -> tuple[AdapterConfig, dict[str, Any]]:
    """An adapter's config and its f32 weights, on the host.

    Raises:
      ConfigError: see `read_config`.
      CheckpointError: a tensor has no place in this model, another shape, or is missing, as if the adapter was made for
        another base; names tensor and file.
    """
    config, file = read_config(directory), pathlib.Path(directory) / WEIGHTS
    if not file.is_file() and file.with_name('adapter_model.bin').is_file():
        raise errors.CheckpointError(
            f'{file.with_name("adapter_model.bin")} is a pickle, which could run code and is never opened: convert it'
        )
    tensors, base = safetensors_file.read(file), read_json(file.with_name(CONFIG)).get('base_model_name_or_path')
    if config.kind == 'prompt':
        _check(tensors.get(PROMPT), (config.prompt_tokens, model.width), name=PROMPT, file=file, base=base)
        return config, {'embedding': {'table': {'prompt': tensors[PROMPT].rows().astype(np.float32)}}}
    found: dict[str, dict[int | None, np.ndarray]] = {}
    for place, part, stored in _placed(tensors, places(model), file=file, base=base):
        shape = place.theirs(part, rank=config.rank)
        _check(stored, shape, name=stored.name, file=file, base=base)
        value = stored.rows().astype(np.float32)
        value = (value.T if part.startswith('lora') else value).reshape(place.ours(part, rank=config.rank))
        found.setdefault(f'{place.path}.{part}', {})[place.layer] = value
    if not found:
        raise errors.CheckpointError(f'{file} holds no adapter: {sorted(tensors)[:3]}')
    layers = _layers(config, found, model=model, file=file)
    stacked = {
        name: values[None] if None in values else np.stack([values[i] for i in sorted(values)])
        for name, values in found.items()
    }
    targets = tuple(sorted({name.rpartition('.')[0] for name in found}))
    return dataclasses.replace(config, targets=targets, layers=layers), nested(stacked)


def _placed(
    tensors: Mapping[str, Stored], known: Mapping[str, Place], *, file: pathlib.Path, base: str | None
) -> Iterator[tuple[Place, str, Stored]]:
    for name, stored in tensors.items():
        bare = name.removeprefix(PREFIX)
        bare = bare.removesuffix('.weight') if bare.endswith('.lora_magnitude_vector.weight') else bare
        part = next((part for part, suffix in SUFFIXES.items() if bare.endswith(suffix)), None)
        module = bare.removesuffix(SUFFIXES[part]) if part else bare
        if part is None or module not in known:
            raise errors.CheckpointError(
                f'{file}: tensor {name!r} has no place in this model{errors.near(module, known)}; '
                f'the adapter was made for {base!r}'
            )
        yield known[module], part, stored


def _check(stored: Stored | None, shape: tuple[int, ...], *, name: str, file: pathlib.Path, base: str | None) -> None:
    if stored is None:
        raise errors.CheckpointError(f'{file}: tensor {name!r} is missing')
    if stored.shape != shape:
        raise errors.CheckpointError(
            f'{file}: tensor {name!r} has shape {list(stored.shape)}, this model means {list(shape)}; '
            f'the adapter was made for {base!r}'
        )


def _layers(
    config: AdapterConfig, found: Mapping[str, Mapping[int | None, Any]], *, model: ModelConfig, file: pathlib.Path
) -> tuple[int, ...]:
    """The layers an adapter acts on, () for all.

    Raises:
      CheckpointError: weights differ in it, or a part of one is missing.
    """
    wanted = {'lora': ('lora_a', 'lora_b'), 'dora': ('lora_a', 'lora_b', 'magnitude'), 'ia3': ('factor',)}[config.kind]
    chosen = set()
    for name, values in found.items():
        path = name.rpartition('.')[0]
        for part in wanted:
            if found.get(f'{path}.{part}', {}).keys() != values.keys():
                raise errors.CheckpointError(f'{file}: {path} has not all of {", ".join(wanted)} in each layer')
        count = model.encoder_layers if path.startswith('encoder.') else model.layers
        if None not in values:
            chosen.add(() if len(values) == count else tuple(sorted(values)))
    if len(chosen) > 1 or (config.kind == 'dora' and chosen - {()}):
        raise errors.CheckpointError(
            f'{file}: layers {sorted(chosen)} (all: ()) differ from weight to weight; merge it with PEFT first'
        )
    return next(iter(chosen), ())
