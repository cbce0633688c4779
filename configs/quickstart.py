"""A small model learns the embedded tasks from scratch."""

from flan_jax.config import default


def get_config():
    c = default()
    c.name = 'quickstart'
    c.data.max_inputs = 96
    c.data.max_targets = 32
    c.data.eval_rows = 50
    c.data.train_rows = 8000
    c.vocabulary.train_size = 2048
    c.mixture.members = ('mini_*',)
    c.mixture.held_out_clusters = ('mini_comparison',)
    c.packing.row_tokens = 256
    c.execution.compute_dtype = 'float32'
    c.execution.remat = 'none'
    c.training.steps = 1000
    c.training.batch_rows = 16
    return c
