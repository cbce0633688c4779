"""Writes docs/models.md: every family, and how far its tiny models are from the transformers library's.

python tools/model_table.py            (with torch and transformers installed; a few minutes on a CPU)
"""

import argparse
import importlib.metadata
import pathlib
import sys
import tempfile

import reference_models  # beside this file

from flan_jax.interop.families import family_of
from flan_jax.models import presets
from flan_jax.models.published import PRESETS

TEXT = """# Models

Made by `python tools/model_table.py`; do not edit.

A family is a preset of `ModelConfig` over the same parts; there is one decoder and one encoder-decoder. A Hugging Face
directory is read by `flan_jax.interop.hugging_face.read_config` and `load`, and written by `save`.

## Agreement with the transformers library

Tiny random models (2 to 4 layers, 32 to 48 wide) with the same weights, f32 on a CPU:
{versions}.

Largest absolute difference of logits: of whole rows of {length} tokens (past the sliding window, where there is one);
of two examples packed in a row against each by itself; of a prompt and then one token at a time against a cache.
Largest difference of any weight's gradient, as a share of the largest entry of that gradient. The tests ask for 2e-4
and 1e-3, and for bit-equal tensors after reading and writing, in f32 and bf16.

| Model | Logits | Packed | Cached | Loss | Gradients |
|---|---|---|---|---|---|
{rows}

Two RoPE rules look at how long a text is: `dynamic`, and `longrope` of Phi-3 and Phi-4-mini. When an answer grows past
the original length, keys that were read before stay as they were turned. transformers does the same with `dynamic`, but
reads Phi's text again from its beginning there, so that from that token on (4,096 in the published files) a Phi's
greedy answer may differ from ours. A prompt that is already longer is read alike.

## Presets

`c.model = to_config_dict(preset('qwen3_0_6b'))` in a config file. Weights in millions; of sparse experts, those a
token goes through in brackets.

| Preset | Written as | Weights (M) | Layers | Width | Heads (key) |
|---|---|---|---|---|---|
{presets}
"""


def measured(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = reference_models.distances(name, pathlib.Path(folder))
    columns = ' | '.join(f'{found[key]:.0e}' for key in ('logits', 'packed', 'cached', 'loss', 'gradients'))
    return f'| {name} | {columns} |'


def shape(name: str) -> str:
    config = PRESETS[name]
    weights = f'{presets.parameter_count(config) / 1e6:,.0f}'
    if config.experts.count is not None:
        weights += f' ({presets.active_count(config) / 1e6:,.0f})'
    layers = f'{config.encoder_layers} + {config.layers}' if config.encoder_decoder else config.layers
    heads = f'{config.heads} ({config.kv_heads})'
    return f'| `{name}` | {family_of(config).name} | {weights} | {layers} | {config.width} | {heads} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', default='docs/models.md', help='file to write')
    args = parser.parse_args()
    packages = ('transformers', 'torch', 'jax')
    versions = ', '.join(f'{package} {importlib.metadata.version(package)}' for package in packages)
    rows = []
    for name in reference_models.CASES:
        rows.append(measured(name))
        print(rows[-1], file=sys.stderr)
    text = TEXT.format(
        versions=versions, length=reference_models.LENGTH, rows='\n'.join(rows), presets='\n'.join(map(shape, PRESETS))
    )
    pathlib.Path(args.out).write_text(text)


if __name__ == '__main__':
    main()
