"""FLAN 2021's role of instructions: trained with instructions, with the data set's name alone, or with neither.

    python -m flan_jax.ablate --config=configs/studies/flan2021_instructions.py

On rows at hand:

    python -m flan_jax.ablate --config=configs/studies/flan2021_instructions.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true

Wei et al. 2021, arXiv:2109.01652, the ablation of instructions, mean over held-out clusters, 137B: trained without a
template and asked with instructions 37.3; with the name, asked with instructions 46.6, asked with the name 47.0; with
instructions 55.2.

The clusters that `flan2021_clusters` holds out are held out here. For one GPU of 24 GB or one TPU v5e chip. No result
was measured.
"""

from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, choice, default


def get_config():
    s = default()
    s.name = 'flan2021_instructions'
    s.description = 'Is it the instructions that help on held-out tasks, or only training on many tasks?'
    s.base = flan2021_clusters.base()
    s.base.mixture.held_out_clusters = ('nli', 'closed_book_qa', 'commonsense')
    s.axes = (
        axis(
            name='instructions',
            kind='choices',
            choices=(
                choice('none', {'format.instructions': 'none', 'format.eval_instructions': 'natural'}),
                choice('name', {'format.instructions': 'name', 'format.eval_instructions': 'natural'}),
                choice('name, asked by name', {'format.instructions': 'name', 'format.eval_instructions': 'name'}),
                choice('natural', {'format.instructions': 'natural'}),
            ),
            published=(
                'Wei et al. 2021, role of instructions, 137B: no template 37.3; name 46.6; name, asked by name 47.0; '
                'instructions 55.2.'
            ),
        ),
    )
    s.equalise = 'supervised_tokens'
    return s
