"""A 2.2 M parameter decoder learns to follow the embedded instructions, from scratch.

    python -m flan_jax.train --config=configs/quickstart.py        (or: make quickstart)

23 tasks in six clusters are trained, two clusters held out; eight of each task's ten phrasings are trained. Two CPU
cores, f32: see README.md for the time it takes and the scores it reaches.
"""

from flan_jax.config import default


def get_config():
    c = default()
    c.name = 'quickstart'
    c.data.max_inputs = 64
    c.data.max_targets = 24
    c.data.eval_rows = 20
    c.data.train_rows = 5000
    c.vocabulary.train_size = 2048
    c.vocabulary.train_rows = 1000
    c.mixture.members = ('mini_*',)
    c.mixture.held_out_clusters = ('mini_classification', 'mini_counting')
    c.packing.row_tokens = 128
    c.model.layers = 3
    c.model.width = 256
    c.model.mlp_width = 512
    c.execution.compute_dtype = 'float32'
    c.execution.remat = 'none'
    c.optimizer.name = 'muon'
    c.optimizer.learning_rate = 4e-3
    c.optimizer.schedule.name = 'wsd'
    c.optimizer.schedule.warmup_steps = 20
    c.optimizer.schedule.decay_share = 0.4
    c.training.steps = 380
    c.training.batch_rows = 32
    c.checkpoint.every_steps = 100
    c.evaluation.max_new_tokens = 12
    c.evaluation.batch_tokens = 8192
    return c
