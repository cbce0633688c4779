"""What a study will run, on what, and about how long it takes: known before the first step."""

import time
from collections.abc import Mapping

from flan_jax.ablation.study import Study, Variant
from flan_jax.ablation.table import Result
from flan_jax.training import telemetry

BUSY = 0.35  # share of a device's matrix speed that training reaches, where nothing was measured yet


def told(found: Study, *, done: Mapping[str, Result]) -> str:
    """The study as text: what is held equal, and a line a variant."""
    config, variants = found.config, found.variants
    seconds = _seconds(found, done)
    name = max(len(variant.name) for variant in variants)
    spending = f' of {found.budget:,.6g}' if found.budget is not None else ''
    lines = [
        f'study {config.name}: {len(variants)} variants, {len(config.axes)} axes ({config.combine}), '
        f'equal {config.equalise}{spending}',
        f'{"variant":<{name}}{"tasks":>7}{"examples":>11}{"tokens":>12}{"supervised":>12}{"steps":>8}{"epochs":>9}'
        f'{"minutes":>9}',
    ]
    for variant in variants:
        spent = variant.spent
        lines.append(
            f'{variant.name:<{name}}{len(variant.groups["held_in"]):>7}{spent.examples:>11,}{spent.tokens:>12,}'
            f'{spent.supervised_tokens:>12,}{spent.steps:>8,}{spent.epochs:>9.2f}'
            f'{"done" if variant.name in done else f"{seconds[variant.name] / 60:.1f}":>9}'
        )
    left = sum(seconds[variant.name] for variant in variants if variant.name not in done)
    how = (
        'as finished variants took' if done else f'at {BUSY:.0%} of the matrix speed of this device; compiling is extra'
    )
    lines.append(f'about {left / 60:.0f} minutes for {len(variants) - len(done)} variants on this device, {how}')
    return '\n'.join(lines)


def _seconds(found: Study, done: Mapping[str, Result]) -> dict[str, float]:
    """Variant -> seconds it will take: by what finished ones took for a position of a row, or by arithmetic."""
    work = {variant.name: positions(variant) for variant in found.variants}
    if done:
        each = sum(row.cost['wall_s'] for row in done.values()) / sum(work[name] for name in done if name in work)
        return {name: each * positions for name, positions in work.items()}
    speed = BUSY * device_speed()
    return {
        variant.name: work[variant.name] * flops(variant) / speed for variant in found.variants
    }  # fmt: skip


def positions(variant: Variant) -> int:
    """Positions of all rows a variant trains on, padding included."""
    packing = variant.config.packing
    row = packing.row_tokens
    if variant.config.model.encoder_decoder:
        row = packing.encoder_tokens + packing.decoder_tokens
    return variant.spent.steps * variant.config.training.batch_rows * row


def flops(variant: Variant) -> float:
    """Training FLOPs of a position; of an encoder-decoder roughly, for half of its weights see half of the text."""
    from flan_jax import run
    from flan_jax.data import vocabulary

    config = variant.config
    pieces = vocabulary.load(config.vocabulary.path, bos=config.vocabulary.bos).size
    model = run.model_config(config, pieces)
    return telemetry.flops_per_token(model, row_tokens=config.packing.row_tokens) / (1 + model.encoder_decoder)


def device_speed() -> float:
    """FLOP/s of this process's devices: the vendor's figure, or what a multiplication here reaches."""
    import jax
    import jax.numpy as jnp

    device = jax.devices()[0]
    if device.device_kind in telemetry.PEAKS:
        return telemetry.PEAKS[device.device_kind] * jax.device_count()
    size, times = 1024, 4
    multiply = jax.jit(lambda x: x @ x)
    x = multiply(jnp.ones((size, size), jnp.float32)).block_until_ready()
    began = time.perf_counter()
    for _ in range(times):
        x = multiply(x)
    x.block_until_ready()
    return times * 2.0 * size**3 / (time.perf_counter() - began)
