"""Which values a knob may have by itself; what contradicts another knob is `config.check`'s."""

import math
from typing import Any

from flan_jax import errors

COUNTS = (  # of which there is at least one
    'data.train_rows', 'data.max_inputs', 'data.max_targets', 'data.template_draws', 'data.prepare_workers',
    'vocabulary.train_size', 'vocabulary.train_rows',
    'packing.row_tokens', 'packing.encoder_tokens', 'packing.decoder_tokens', 'packing.window',
    'filters.ngram',
    'model.vocab_size', 'model.layers', 'model.width', 'model.heads', 'model.kv_heads', 'model.head_width',
    'model.mlp_width', 'model.max_length', 'execution.unroll',
    'training.steps', 'training.batch_rows', 'training.microbatches', 'training.loss_chunk', 'training.positions',
    'training.max_nonfinite',
    'checkpoint.every_steps', 'checkpoint.keep_last', 'telemetry.every_steps',
    'evaluation.every_steps', 'evaluation.rows', 'evaluation.max_new_tokens', 'evaluation.batch_tokens',
)  # fmt: skip
COUNTS_OR_NONE = (
    'data.eval_rows', 'data.held_out_templates', 'format.shots', 'format.eval_shots', 'model.encoder_layers',
    'optimizer.schedule.warmup_steps', 'checkpoint.keep_best', 'evaluation.permute_options', 'evaluation.examples',
)  # fmt: skip
SHARES = (
    'format.options_share', 'format.few_shot_share', 'format.inverted_share', 'format.rationale_share',
    'optimizer.schedule.decay_share', 'optimizer.schedule.final_share',
)  # fmt: skip
SHARES_BELOW_1 = ('optimizer.b1', 'optimizer.b2', 'optimizer.momentum', 'training.label_smoothing', 'model.dropout')
SIZES = ('training.epochs', 'optimizer.clip_norm', 'evaluation.budget_s', 'model.rope_theta')
SIZES_OR_ZERO = (
    'optimizer.learning_rate', 'optimizer.adam_learning_rate', 'optimizer.weight_decay', 'optimizer.eps',
    'training.z_loss', 'model.norm_eps',
)  # fmt: skip
POOLS = ('format.option_markers', 'format.exemplar_separators')

RANGES = (  # a NaN is in none of them
    (COUNTS, 'at least 1', lambda value: value >= 1),
    (COUNTS_OR_NONE, 'at least 0', lambda value: value >= 0),
    (SHARES, 'from 0 to 1', lambda value: 0 <= value <= 1),
    (SHARES_BELOW_1, 'at least 0 and below 1', lambda value: 0 <= value < 1),
    (SIZES, 'above 0 and finite', lambda value: 0 < value < math.inf),
    (SIZES_OR_ZERO, 'at least 0 and finite', lambda value: 0 <= value < math.inf),
    (('filters.near_threshold',), 'above 0, at most 1', lambda value: 0 < value <= 1),
    (('seed',), 'from 0 to 4294967295', lambda value: 0 <= value < 1 << 32),
    (POOLS, 'more than nothing', bool),
)


def check(config: Any) -> None:
    """Refuses a value out of its knob's range; None is off, and in every range.

    Args:
      config: of a run.

    Raises:
      ConfigError: with the knob, its value and the range.
    """
    for names, wanted, fits in RANGES:
        for name in names:
            value = config
            for part in name.split('.'):
                value = vars(value)[part]
            if value is not None and not fits(value):
                raise errors.ConfigError(f'{name}={value!r} must be {wanted}')
