"""How much of a mixture should show its reasoning: Flan 2022's chains of thought from none to half of it.

    python -m flan_jax.ablate --config=configs/studies/cot_share.py

On rows at hand, natural language inference held out:

    python -m flan_jax.ablate --config=configs/studies/cot_share.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.base.mixture.held_out_clusters="('nli',)"

Chung et al. 2022, arXiv:2210.11416, the ablation of chains of thought: tuning on both kinds does best on both. Longpre
et al. 2023, arXiv:2301.13688, the ablation of methods, T5-XL, zero-shot / few-shot, with and without chains of thought
(by a transcription): held-in 73.8/74.8 and
73.3/73.2, CoT 35.8/34.1 and 28.8/24.6, MMLU 50.3/52.4 and 47.5/46.9, BBH 26.2/39.3 and 18.2/30.0. Flan 2022 has 1.8 to
5 % of them.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, choice, default
from tasks.mixtures import FLAN2021_CLUSTERS

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
REST = tuple(task for members in FLAN2021_CLUSTERS.values() for task in members)


def get_config():
    s = default()
    s.name = 'cot_share'
    s.description = 'How many chains of thought does a mixture need, and when do they harm the rest?'
    s.base = flan2021_clusters.base()
    s.base.mixture.members = ('flan2021', 'flan2022_cot', 'suite_bbh', 'suite_bbh_cot')
    s.base.mixture.rule = 'weights'
    s.base.mixture.weights = weights(0.05)
    s.base.data.eval_rows = 20
    s.base.evaluation.max_new_tokens = 128
    s.axes = (
        axis(
            name='cot_share',
            kind='choices',
            choices=(
                choice('none', {'mixture.train_only': REST}, value=0.0),
                *(choice(f'{share:g}', {'mixture.weights': weights(share)}, value=share) for share in SHARES),
            ),
            published=(
                'Longpre et al. 2023, chains of thought, T5-XL, zero-shot / few-shot, with and without: held-in '
                '73.8/74.8, 73.3/73.2; CoT 35.8/34.1, 28.8/24.6; MMLU 50.3/52.4, 47.5/46.9; BBH 26.2/39.3, 18.2/30.0.'
            ),
        ),
    )
    return s


def weights(share):
    """Of all else, chains of thought, and two suites that are only asked."""
    return (1.0 - share, share, 1.0, 1.0)
