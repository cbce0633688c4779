"""T5 1.1 base shape on the real mixture, as encoder-decoder, with T5's own optimizer settings.

    python -m flan_jax.train --config=configs/t5_base.py --config.data.local_root=DIR --config.mesh.fsdp=-1 \
        --config.mesh.data=1

For a TPU v5e slice or one large GPU; the step is compiled for a v5e:4x4 in the tests. No result was measured.
"""

from configs import real_mixture
from flan_jax.config import to_config_dict
from flan_jax.models.presets import preset


def get_config():
    c = real_mixture.get_config()
    c.name = 't5_base'
    c.data.max_inputs = 512
    c.data.max_targets = 128
    c.vocabulary.train_size = 32_000
    c.packing.encoder_tokens = 512
    c.packing.decoder_tokens = 128
    c.model = to_config_dict(preset('t5_1_1_base'))
    c.model.dropout = 0.05
    c.execution.compute_dtype = 'bfloat16'
    c.execution.remat = 'minimal'
    c.optimizer.name = 'adafactor'
    c.optimizer.learning_rate = 5e-4
    c.optimizer.clip_norm = None
    c.optimizer.schedule.name = 'constant'
    c.optimizer.schedule.warmup_steps = 0
    c.training.steps = 10_000
    c.training.batch_rows = 64
    c.training.z_loss = 1e-4
    return c
