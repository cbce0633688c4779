"""Writes a run's weights and tokenizer the way other programs read them.

    python -m flan_jax.export --run=runs/NAME --to=DIR                         a Hugging Face directory, bfloat16
    python -m flan_jax.export --run=runs/NAME --to=DIR --dtype=float32         as trained
    python -m flan_jax.export --run=runs/NAME --to=DIR --checkpoint=best       or a step, such as 500; else the newest
    python -m flan_jax.export --run=runs/NAME --to=FILE.gguf --format=gguf     for llama.cpp, F16; or --dtype=q8_0
    python -m flan_jax.export --run=runs/NAME --to=DIR --format=peft           the adapter alone, as PEFT keeps it

Reads the run's own config, its vocabulary and the weights of one checkpoint, nothing of the optimizer's. The embedding
is written with a row for each id of the tokenizer and no more, and an adapter is merged into its base unless it is
asked for alone. It runs on the CPU unless JAX_PLATFORMS says otherwise, beside whatever trains. Nothing is under the
name asked for until all of it is.
"""

import dataclasses
import json
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flan_jax import errors
from flan_jax.config import Config, resolve

if TYPE_CHECKING:
    from flan_jax.data.vocabulary import Vocabulary
    from flan_jax.models.adapter_config import AdapterConfig
    from flan_jax.models.config import ModelConfig

HUGGING_FACE, GGUF, PEFT = 'hugging_face', 'gguf', 'peft'
# What --dtype may be in each format, the default first -> the format's own name of it.
DTYPES = {
    HUGGING_FACE: {name: name for name in ('bfloat16', 'float32', 'float16')},
    GGUF: {'float16': 'F16', 'q8_0': 'Q8_0', 'float32': 'F32', 'bfloat16': 'BF16'},
    PEFT: {name: name for name in ('float32', 'bfloat16', 'float16')},
}
LARGEST = {'float16': 65504.0, 'q8_0': 127 * 65504.0}  # weights they hold; the others hold what f32 does


@dataclasses.dataclass(frozen=True)
class Parting:
    """What leaves a run.

    Attributes:
      model: with as many rows as the vocabulary has ids, and a length.
      params: nested dictionaries of weights, in the dtype they are written in if it is narrower than f32; of an adapter
        alone, its own f32 weights; for `q8_0`, functions that read each when it is written, once.
      vocabulary: of the run.
      templates: chat templates by name, the plain one `default`.
      end_ids: ids that end an answer, the usual one first.
      source: run directory and step.
      adapter: what `params` are the weights of; None: of the model.
    """

    model: 'ModelConfig'
    params: Any
    vocabulary: 'Vocabulary'
    templates: dict[str, str]
    end_ids: tuple[int, ...]
    source: str
    adapter: 'AdapterConfig | None' = None


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_string('run', None, 'Run directory.')
    flags.DEFINE_string('to', None, 'Directory to make, or .gguf file.')
    flags.DEFINE_string('format', HUGGING_FACE, f'What is written: {" or ".join(DTYPES)}.')
    told = '; '.join(f'{form}: {", ".join(names)}' for form, names in DTYPES.items())
    flags.DEFINE_string('dtype', None, f"Of the weights written; by default a format's first. {told}.")
    flags.DEFINE_string('checkpoint', 'latest', "'latest', 'best', or a step.")
    flags.DEFINE_string('store_root', None, "Folder of the run's vocabulary, if it was moved since.")
    flags.DEFINE_string('base', None, 'peft: name of the base in its config; by default checkpoint.warm_start.')
    return ['run', 'to', 'format', 'dtype', 'checkpoint', 'store_root', 'base']


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    given = flags.FLAGS
    if argv[1:] or given.run is None or given.to is None:
        raise errors.ConfigError('export needs --run=runs/NAME and --to=DIR, and takes no other arguments')
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # an accelerator may be busy, and on some only one process may run
    config = run_config(given.run)
    if given.store_root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, store_root=given.store_root))
    parting = export(
        config, given.to, form=given.format, dtype=given.dtype, checkpoint=given.checkpoint, base=given.base
    )
    print(f'{given.to}: {parting.source}, {parting.vocabulary.size} pieces', file=sys.stderr)


def export(
    config: Config,
    to: str,
    *,
    form: str = HUGGING_FACE,
    dtype: str | None = None,
    checkpoint: str = 'latest',
    base: str | None = None,
) -> Parting:
    """Writes a run's weights and tokenizer.

    Args:
      config: the run's own, as `run_config` reads it.
      to: a directory that is not there or empty, or a .gguf file that is not there.
      form: one of `DTYPES`.
      dtype: one of those of the form; None: the first.
      checkpoint: 'latest', 'best' or a step.
      base: of an adapter alone, the name that its config gives the base; None: `checkpoint.warm_start`.

    Returns:
      What was written.

    Raises:
      ConfigError: an unknown form or dtype; a model, vocabulary or weight that the form cannot hold.
      CheckpointError: no such checkpoint, something is at `to`, or it cannot be written.
    """
    dtype = check(config, to, form=form, dtype=dtype)
    if form == GGUF:
        _make_folder(pathlib.Path(to).absolute().parent)
        parting = read(config, checkpoint, form=form, dtype=dtype)
        _write_gguf(parting, to, kind=DTYPES[GGUF][dtype])
        return parting
    from flan_jax.interop import directory  # deferred: --help should not wait for JAX

    with directory.written_whole(to) as folder:
        parting = read(config, checkpoint, form=form, dtype=dtype)
        if form == PEFT:
            _write_peft(parting, folder, base=base or config.checkpoint.warm_start, dtype=dtype)
        else:
            _write_hugging_face(parting, folder, dtype=dtype)
    return parting


def run_config(run_dir: str) -> Config:
    """The config a run was started with, under the name its directory has now.

    Raises:
      CheckpointError: the directory is no run's.
    """
    folder = pathlib.Path(run_dir)
    try:
        config = resolve(json.loads((folder / 'config.json').read_text()))
    except (OSError, ValueError, errors.ConfigError) as e:
        raise errors.CheckpointError(f'--run={run_dir}: {folder / "config.json"} is no config of a run: {e}') from e
    return dataclasses.replace(config, name=folder.name, run_root=str(folder.parent))


def check(config: Config, to: str, *, form: str, dtype: str | None) -> str:
    """The dtype to write; what cannot be asked for is refused before anything is read.

    Raises:
      ConfigError: an unknown form or dtype, or an encoder-decoder as GGUF.
      CheckpointError: something is at `to`.
    """
    if form not in DTYPES:
        raise errors.ConfigError(f'--format={form!r} is none of {", ".join(DTYPES)}{errors.near(form, DTYPES)}')
    dtype = next(iter(DTYPES[form])) if dtype is None else dtype
    if dtype not in DTYPES[form]:
        known = ', '.join(DTYPES[form])
        raise errors.ConfigError(
            f'--dtype={dtype!r} with --format={form} is none of {known}{errors.near(dtype, DTYPES[form])}'
        )
    path = pathlib.Path(to)
    if form == PEFT and config.adapter.kind not in ('lora', 'dora', 'ia3', 'prompt'):
        raise errors.ConfigError(
            f'--format=peft: a run with adapter.kind={config.adapter.kind!r} has no adapter that PEFT knows; '
            f'use --format={HUGGING_FACE}'
        )
    if form == GGUF and path.suffix != '.gguf':
        raise errors.ConfigError(f'--to={to} with --format=gguf must be the name of a .gguf file')
    if form == GGUF and config.model.encoder_decoder:
        raise errors.ConfigError(
            f'model.encoder_layers={config.model.encoder_layers}: an encoder-decoder is not written as GGUF; '
            f'use --format={HUGGING_FACE}'
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise errors.CheckpointError(f'--to={to} is there already; choose another name, or remove it')
    return dtype


def _make_folder(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise errors.CheckpointError(f'--to: the folder {folder} cannot be made: {e}; choose another place') from e
    if not os.access(folder, os.W_OK):
        raise errors.CheckpointError(f'--to: nothing can be written in {folder}; choose another place')


def read(config: Config, checkpoint: str, *, form: str = HUGGING_FACE, dtype: str = 'float32') -> Parting:
    """A run's weights on one device, and what goes with them; each weight is rounded to the dtype as it is read.

    Raises:
      CheckpointError: there is no such checkpoint, it cannot be read, or the run's vocabulary is gone.
      ConfigError: the run trained a prompt, which is no part of any weight, or a weight is more than the dtype holds.
    """
    import jax

    from flan_jax import scored_model
    from flan_jax.config import MeshConfig
    from flan_jax.data import vocabulary as vocabulary_lib
    from flan_jax.parallel import mesh as mesh_lib

    if not (checkpoint in ('latest', 'best') or checkpoint.isdecimal()):
        raise errors.ConfigError(f"--checkpoint={checkpoint!r} is neither 'latest' nor 'best' nor a step")

    def each(name: str, weight: jax.Array) -> jax.Array:
        check_weight(name, weight, dtype=dtype, source=config.run_dir)
        vector = name.endswith(('scale', 'bias'))
        return weight if dtype == 'q8_0' or (form == GGUF and vector) else weight.astype(dtype)

    # Blocks of a narrower kind are made of f32 when they are written, so that is when those weights are read.
    later = dtype == 'q8_0'
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    found = scored_model.load(config, checkpoint, mesh=mesh, each=None if form == PEFT else each, later=later)
    vocabulary = vocabulary_lib.load(found.vocabulary, bos=config.vocabulary.bos)
    templates, end_ids = _chat(config, vocabulary)
    length = config.model.max_length
    if length is None and not config.model.encoder_decoder:
        length = config.packing.row_tokens  # no text it has seen is longer
    model = dataclasses.replace(config.model, vocab_size=vocabulary.size, max_length=length)
    if form == PEFT:
        adapter, trained = found.adapter
        rows = config.model.vocab_size or -(-vocabulary.size // 128) * 128  # as trained: an adapter may be on the head
        model = dataclasses.replace(model, vocab_size=rows)
        return Parting(model, trained, vocabulary, templates, end_ids, found.source, adapter)
    return Parting(model, cut(found.params, vocabulary.size), vocabulary, templates, end_ids, found.source)


def cut(params: Any, rows: int) -> Any:
    """Weights, or what reads them, without the entries that belong to no id; training fills up to a multiple of 128.

    >>> import numpy as np
    >>> cut({'embedding': {'table': np.zeros((128, 4))}, 'stack': {'x': np.ones(3)}}, 100)['embedding']['table'].shape
    (100, 4)
    """
    from flan_jax.interop.warm_start import ROWS
    from flan_jax.models.weight_tree import flat, nested

    weights = flat(params)
    for name, axis in ROWS.items():
        kept = (slice(None),) * axis + (slice(rows),)
        if name in weights and callable(weights[name]):
            weights[name] = lambda read=weights[name], kept=kept: read()[kept]
        elif name in weights and weights[name].shape[axis] > rows:
            weights[name] = weights[name][kept]
    return nested(weights)


def _chat(config: Config, vocabulary: 'Vocabulary') -> tuple[dict[str, str], tuple[int, ...]]:
    """Chat templates by name, and the ids that end an answer."""
    from flan_jax.data import chat as chat_lib

    if config.format.chat is None:
        return dict(vocabulary.templates), tuple(vocabulary.end_ids)
    chat = chat_lib.load(config.format.chat, vocabulary)
    templates = {'default': chat.template} | ({} if chat.tool_template is None else {'tool_use': chat.tool_template})
    return templates, chat_lib.stop_ids(chat, vocabulary)


def check_weight(name: str, weight: Any, *, dtype: str, source: str) -> None:
    """Refuses a weight that is no number or that the dtype cannot hold.

    Raises:
      ConfigError, CheckpointError: names the weight.
    """
    import jax.numpy as jnp

    largest = float(jnp.maximum(jnp.max(weight), -jnp.min(weight)))  # without a copy of it
    if not math.isfinite(largest):
        raise errors.CheckpointError(f'{source}: the weight {name} holds what is no number; use an earlier step')
    if largest > LARGEST.get(dtype, math.inf):
        raise errors.ConfigError(
            f'{source}: {name} holds {largest:.3g}, --dtype={dtype} at most {LARGEST[dtype]:.6g}; '
            'use bfloat16 or float32'
        )


def _token_ids(parting: Parting) -> dict[str, Any]:
    """What config.json and generation_config.json say of special tokens."""
    vocabulary = parting.vocabulary
    bos = vocabulary.named['bos_token'] if 'bos_token' in vocabulary.named else None
    ids = {
        'bos_token_id': None if bos is None else vocabulary.specials[bos],
        'eos_token_id': parting.end_ids[0] if len(parting.end_ids) == 1 else list(parting.end_ids),
        'pad_token_id': vocabulary.pad_id,
    }
    return ids | ({'decoder_start_token_id': 0} if parting.model.encoder_decoder else {})


def _write_hugging_face(parting: Parting, folder: pathlib.Path, *, dtype: str) -> None:
    from flan_jax.interop import directory, hugging_face, tokenizer_directory

    hugging_face.save(folder, parting.params, config=parting.model, dtype=dtype)
    ids = _token_ids(parting)
    values = directory.read_json(folder / 'config.json')
    directory.write_json(folder / 'config.json', values | ids)
    directory.write_json(folder / 'generation_config.json', ids)
    tokenizer_directory.write(
        folder, parting.vocabulary, templates=parting.templates, encoder_decoder=parting.model.encoder_decoder,
        length=parting.model.max_length,
    )  # fmt: skip


def _write_peft(parting: Parting, folder: pathlib.Path, *, base: str | None, dtype: str) -> None:
    from flan_jax.interop import peft, tokenizer_directory

    model, adapter = parting.model, parting.adapter
    peft.save(folder, parting.params, config=adapter, model=model, base=base or '', dtype=dtype)
    tokenizer_directory.write(
        folder, parting.vocabulary, templates=parting.templates, encoder_decoder=model.encoder_decoder,
        length=model.max_length,
    )  # fmt: skip


def _write_gguf(parting: Parting, to: str, *, kind: str) -> None:
    from flan_jax.interop import gguf, gguf_file, gguf_vocabulary

    vocabulary, template = parting.vocabulary, 'tokenizer.chat_template'
    found = gguf_vocabulary.entries(vocabulary.path, rows=parting.model.vocab_size, bos=vocabulary.prepend_bos)
    found = {name: packed for name, packed in found.items() if not name.startswith(template)}
    more: dict[str, Any] = {
        template if name == 'default' else f'{template}.{name}': text for name, text in parting.templates.items()
    }
    more |= {'tokenizer.ggml.add_bos_token': bool(vocabulary.prefix), 'tokenizer.ggml.add_eos_token': False}
    more |= {'tokenizer.ggml.padding_token_id': vocabulary.pad_id}
    if others := [i for i in parting.end_ids if i != vocabulary.eos_id]:
        more['tokenizer.ggml.eot_token_id'] = others[0]
    tokenizer = found | {name: gguf_file.packed(value) for name, value in more.items()}
    gguf.write(to, parting.params, config=parting.model, tokenizer=tokenizer, kind=kind)


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, define=define, optional=True)
