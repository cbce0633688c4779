"""What the parts of the Flan Collection are worth, each left out or weighed otherwise.

    python -m flan_jax.ablate --config=configs/studies/flan2022_mixture_balance.py

On rows at hand, which have something of three parts, natural language inference held out:

    python -m flan_jax.ablate --config=configs/studies/flan2022_mixture_balance.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.base.mixture.held_out_clusters="('nli',)"

Parts: FLAN 2021, T0 without it (`p3_*`), Natural Instructions (`niv2_*`), chains of thought, dialogue, programs. T0 and
Natural Instructions need `data.task_modules` and `data.task_files` (docs/data.md); a part without tasks shares its
weight among the others, and the variant without it is the base once more.

Longpre et al. 2023, arXiv:2301.13688, the ablation of mixture weights: parts left out of an equally weighted mixture.
Their ablation of methods, T5-XL, zero-shot / few-shot, with and without balancing (by a transcription): held-in
73.8/74.8 and 71.2/73.1, CoT 35.8/34.1 and 32.3/30.5, MMLU 50.3/52.4 and 45.4/45.8, BBH 26.2/39.3 and 15.1/24.3.

For one GPU of 24 GB or one TPU v5e chip. No result was measured.
"""

import tasks
from configs.studies import flan2021_clusters
from flan_jax.ablation.config import axis, choice, default
from flan_jax.config import MixtureConfig
from flan_jax.data import mixture

PARTS = {
    'FLAN 2021': 'flan2022_flan2021', 'T0': 'flan2022_t0_sf', 'NIv2': 'flan2022_niv2', 'CoT': 'flan2022_cot',
    'dialogue': 'flan2022_dialog', 'programs': 'mbpp',
}  # fmt: skip
MUFFIN = ('FLAN 2021', 'dialogue', 'programs')  # together one part of Flan 2022
UNKNOWN = {'T0': 'p3_*?', 'NIv2': 'niv2_*?'}  # parts whose tasks do not all come with flan_jax


def get_config():
    s = default()
    s.name = 'flan2022_mixture_balance'
    s.description = 'Which part of the collection helps which tasks, and do weights matter?'
    s.base = flan2021_clusters.base()
    s.base.mixture.members = (*PARTS.values(), 'suite_mmlu', 'suite_bbh')
    s.base.mixture.rule = 'weights'
    s.base.mixture.weights = weights({})
    s.base.data.eval_rows = 20
    s.axes = (
        axis(
            name='parts',
            kind='choices',
            choices=(
                choice('equal', {'mixture.weights': weights({})}),
                choice('final models', {'mixture.weights': weights(of_four(46.0, 27.9, 24.2, 1.8))}),
                choice('ablations', {'mixture.weights': weights(of_four(52.0, 15.0, 30.0, 3.0))}),
                choice('by size', {'mixture.rule': 'proportional', 'mixture.weights': ()}),
                *(choice(f'without {part}', {'mixture.train_only': without(part)}) for part in PARTS),
            ),
            published=(
                'Longpre et al. 2023, balancing, T5-XL, zero-shot / few-shot, with and without: held-in 73.8/74.8, '
                '71.2/73.1; CoT 35.8/34.1, 32.3/30.5; MMLU 50.3/52.4, 45.4/45.8; BBH 26.2/39.3, 15.1/24.3.'
            ),
        ),
    )
    return s


def weights(given):
    """One a member; the suites at the end are only asked."""
    return (*(given.get(part, 1.0) for part in PARTS), 1.0, 1.0)


def of_four(muffin, t0, niv2, cot):
    """Weights of Flan 2022's four parts, Muffin's in equal shares among its own."""
    return {**dict.fromkeys(MUFFIN, muffin / len(MUFFIN)), 'T0': t0, 'NIv2': niv2, 'CoT': cot}


def without(left_out):
    """The tasks of all other parts."""
    names = []
    for part, member in PARTS.items():
        if part == left_out:
            continue
        one = MixtureConfig(members=(member, 'mini_*'))  # a part may have no task of its own
        node = mixture.resolve(one, tasks.all_tasks(), mixtures=tasks.MIXTURES)
        names += [name for name in mixture.task_names(node) if not name.startswith('mini_')]
        names += [UNKNOWN[part]] if part in UNKNOWN else []
    return tuple(dict.fromkeys(names))
