"""Which mixture of four embedded clusters? Twelve random ones, a fit, its proposal, and that trained beside the others.

    python -m flan_jax.ablate --config=configs/studies/mixture_proposal.py

A decoder of 0.5 M parameters is trained from scratch for a hundred steps. Selecting words, comparing, looking up and
arithmetic share its time by size (the base), in equal parts, by twelve sets of random weights, and by the weights that
a formula fitted to the twelve scores calls best; each with three seeds. The proposal is judged by what it scores, not
by what the formula foretells; where it is one of the twelve, only new seeds can judge it. Two CPU cores; measured:
docs/results.
"""

from configs import quickstart
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'mixture_proposal'
    s.description = 'Does a mixture fitted to small random ones do better than mixing by size, or in equal parts?'
    s.base = base()
    s.axes = (axis(name='mixture', kind='weights', design='random', draws=12, propose=True),)
    s.seeds = (0, 1, 2)
    return s


def base():
    """A minute or less."""
    c = quickstart.get_config()
    c.mixture.members = ('mini_selecting', 'mini_comparison', 'mini_lookup', 'mini_arithmetic')
    c.mixture.held_out_clusters = ()
    c.data.train_rows = 2000
    c.data.eval_rows = 10
    c.vocabulary.train_size = 1024
    c.model.layers = 2
    c.model.width = 128
    c.model.heads = 2
    c.model.kv_heads = 2
    c.model.mlp_width = 256
    c.training.steps = 100
    c.training.batch_rows = 16
    c.optimizer.schedule.warmup_steps = 10
    c.telemetry.progress = False
    c.telemetry.tensorboard = False
    return c
