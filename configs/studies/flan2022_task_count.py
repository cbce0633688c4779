"""The Flan Collection's number of tasks: from one task to all of them.

    python -m flan_jax.ablate --config=configs/studies/flan2022_task_count.py

On rows at hand, of which there are at least 32 tasks, natural language inference held out:

    python -m flan_jax.ablate --config=configs/studies/flan2022_task_count.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.axes[0].values="(1, 2, 4, 8, 16, 32)" \
        --config.base.mixture.held_out_clusters="('nli',)"

With Natural Instructions, `--config.base.data.task_files="('natural-instructions',)"`, values go beyond 1,000.

Longpre et al. 2023, arXiv:2301.13688, the scaling of the number of tasks, T5: held-in tasks peak near 200 tasks,
held-out ones grow with the logarithm of the number up to 1,836. Chung et al. 2022, arXiv:2210.11416, the same for PaLM,
normalised average over held-out suites for 0, 9, 89, 282 and 1,836 tasks: 8B 6.4, 8.3, 14.8, 20.5, 21.9; 62B 28.4,
29.0, 33.4, 37.9, 38.8; 540B 49.1, 52.6, 57.0, 57.5, 58.5. MMLU and BBH, which are held out here, have no rows to train
on.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'flan2022_task_count'
    s.description = 'How do trained and held-out tasks fare as the number of trained tasks grows?'
    s.base = flan2021_clusters.base()
    s.base.mixture.members = ('*',)
    s.base.mixture.leave_out = (
        'mini_*', 'bbh_cot_*', 'tydiqa_*', 'truthful_qa_*', 'human_eval', 'mt_bench*', 'ifeval', 'safety',
    )  # fmt: skip
    s.base.data.eval_rows = 20
    s.axes = (
        axis(
            name='tasks',
            kind='task_count',
            values=(1, 2, 4, 8, 16, 32, 64, 128),
            draws=3,
            spread='clusters',
            log=True,
            published=(
                'Longpre et al. 2023: held-in peaks near 200 tasks, held-out grows with the logarithm. '
                'Chung et al. 2022, 0, 9, 89, 282, 1,836 tasks: 8B 6.4, 8.3, 14.8, 20.5, 21.9.'
            ),
        ),
    )
    return s
