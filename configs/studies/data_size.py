"""How many examples: of each task, and of the whole mixture, for the same number of steps.

    python -m flan_jax.ablate --config=configs/studies/data_size.py

On rows at hand, 2,000 of a task at most, natural language inference held out as by default:

    python -m flan_jax.ablate --config=configs/studies/data_size.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.axes[1].values="(500, 1000, 2000, 4000)"

Wang et al. 2022, arXiv:2204.07705, the scaling of instances a task: with 757 tasks the gain ends at 64. Zhou et al.
2023 (LIMA), arXiv:2305.11206, the ablation of quantity: 2,000 to 32,000 examples from one source are alike; 1,000
curated ones were enough for 65B. Few examples are repeated over and over here, for all variants take as many steps;
`--config.equalise=epochs` gives each the same passes over its own instead.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'data_size'
    s.description = 'From which number of examples on do more of them no longer help?'
    s.base = flan2021_clusters.base()
    s.base.mixture.held_out_clusters = ('nli',)
    s.base.mixture.cap = None
    s.base.mixture.rule = 'equal'
    s.axes = (
        axis(
            name='rows_per_task',
            knob='mixture.max_examples',
            values=(1, 4, 16, 64, 256, 1024),
            log=True,
            published='Wang et al. 2022, instances a task, T5 3B on 757 tasks: no gain beyond 64 instances a task.',
        ),
        axis(
            name='rows',
            kind='total_examples',
            values=(1000, 2000, 4000, 8000, 16_000, 32_000),
            log=True,
            published='Zhou et al. 2023, quantity, LLaMA 7B: no gain from 2,000 to 32,000 examples of one source.',
        ),
    )
    return s
