"""One mixture after the other: tasks, reasoning and dialogue in every order, and all at once.

    python -m flan_jax.ablate --config=configs/studies/stages.py

On rows at hand, natural language inference held out as by default:

    python -m flan_jax.ablate --config=configs/studies/stages.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true

Chung et al. 2022, arXiv:2210.11416, the ablation of chains of thought: reasoning and other tasks tuned on together do
as well as each alone on its own kind. No figure of theirs is on their order.

How long a stage lasts is in `STEPS`; all at once takes as many steps.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, choice, default
from flan_jax.config import MixtureConfig, StageConfig, to_config_dict

TASKS = MixtureConfig(members=('flan2021',), cap=3000)
REASONING = MixtureConfig(members=('flan2022_cot',), cap=3000)
DIALOGUE = MixtureConfig(members=('dialogue', 'open_ended'), cap=3000)
STEPS = {'tasks': 600, 'reasoning': 200, 'dialogue': 200}


def get_config():
    s = default()
    s.name = 'stages'
    s.description = 'Does the order of mixtures matter, and is one after the other better than all at once?'
    s.base = flan2021_clusters.base()
    s.base.mixture.members = ('flan2021', 'flan2022_cot', 'dialogue', 'open_ended')
    s.base.mixture.held_out_clusters = ('nli',)
    s.base.training.steps = None
    s.base.stages = tuple(
        to_config_dict(StageConfig(name, mixture, steps=STEPS[name]))
        for name, mixture in (('tasks', TASKS), ('reasoning', REASONING), ('dialogue', DIALOGUE))
    )
    together = StageConfig('together', steps=sum(STEPS.values()))
    s.axes = (
        axis(
            name='order',
            kind='stage_order',
            published='Chung et al. 2022: together, reasoning and other tasks do not harm each other.',
        ),
        axis(name='at_once', kind='choices', choices=(choice('together', {'stages': (together,)}),)),
    )
    return s
