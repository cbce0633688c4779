"""The Flan Collection's mixed prompts: zero-shot and few-shot prompts in training, from the one alone to the other.

    python -m flan_jax.ablate --config=configs/studies/few_shot_share.py

On rows at hand, natural language inference held out as by default:

    python -m flan_jax.ablate --config=configs/studies/few_shot_share.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true

Longpre et al. 2023, arXiv:2301.13688, the ablation of few-shot prompts, T5-XL: any share between 10 and 90 % is near
the best, asked with and without exemplars. Their ablation of methods, zero-shot / few-shot, with and without few-shot
templates (by a transcription): held-in 73.8/74.8 and 72.5/62.2,
MMLU 50.3/52.4 and 47.3/38.7, BBH 26.2/39.3 and 27.6/30.8.

Each share is trained once for either way of asking. For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'few_shot_share'
    s.description = 'Which share of few-shot prompts in training is best, asked with exemplars and without?'
    s.base = flan2021_clusters.base()
    s.base.mixture.held_out_clusters = ('nli',)
    s.base.format.shots = 2
    s.base.data.eval_rows = 20
    s.axes = (
        axis(
            name='few_shot_share',
            knob='format.few_shot_share',
            values=(0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
            published=(
                'Longpre et al. 2023, few-shot prompts, T5-XL: any share between 10 and 90 % is near the best; '
                'zero-shot / few-shot, with and without: held-in 73.8/74.8, 72.5/62.2; MMLU 50.3/52.4, 47.3/38.7.'
            ),
        ),
        axis(name='shots_asked', knob='format.eval_shots', values=(0, 2)),
    )
    s.combine = 'product'
    return s
