"""What each cluster of FLAN 2021 does for the others: all are trained on, but for one in turn.

    python -m flan_jax.ablate --config=configs/studies/leave_one_cluster_out.py

On rows at hand:

    python -m flan_jax.ablate --config=configs/studies/leave_one_cluster_out.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.base.mixture.members="('*',)" \
        --config.base.mixture.leave_out="('mini_*', 'suite_*', 'ifeval', 'dialogue', 'open_ended')"

Wei et al. 2021, arXiv:2109.01652, the main result: a model for each cluster that is asked, with all others trained,
137B; zero-shot FLAN beats zero-shot GPT-3 175B on 20 of 25 data sets. Clusters that are too near to the one held out go
with it.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'leave_one_cluster_out'
    s.description = 'Which clusters help which others, and how well is each answered without training on it?'
    s.base = flan2021_clusters.base()
    s.axes = (
        axis(
            name='without',
            kind='leave_out',
            published='Wei et al. 2021, main result, 137B: zero-shot FLAN beats zero-shot GPT-3 on 20 of 25 data sets.',
        ),
    )
    s.seeds = (0, 1)
    return s
