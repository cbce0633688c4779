"""How many phrasings a task needs: one, two, four or all of them.

    python -m flan_jax.ablate --config=configs/studies/templates.py

On rows at hand, natural language inference held out as by default:

    python -m flan_jax.ablate --config=configs/studies/templates.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true

Wei et al. 2021, arXiv:2109.01652, the ablation of templates: 1, 4 and 10 a data set make little difference to held-out
clusters. Sanh et al. 2021, arXiv:2110.08207, the ablation of prompts: more a data set raise the median over prompts and
narrow their spread.

A task has six straight templates to train on and two turned around, besides two that are kept from training; those
kept are asked as well (`held_out_templates`). For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'templates'
    s.description = 'Do more phrasings of each task help on unseen phrasings, and on unseen tasks?'
    s.base = flan2021_clusters.base()
    s.base.mixture.held_out_clusters = ('nli',)
    s.axes = (
        axis(
            name='templates',
            knob='mixture.max_templates',
            values=(1, 2, 3, 4, 6, 8),
            published=(
                'Wei et al. 2021, templates: 1, 4, 10 of them differ little on held-out clusters. Sanh et al. 2021, '
                'number of prompts: more prompts raise the median and narrow the spread.'
            ),
        ),
    )
    s.seeds = (0, 1, 2)
    return s
