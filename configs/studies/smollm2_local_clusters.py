"""What does each cluster do for the others? One in turn is left out, on rows at hand, with SmolLM2-135M-Instruct.

    python -m flan_jax.ablate --config=configs/studies/smollm2_local_clusters.py --config.base.data.local_root=DIR

The question of Wei et al. 2021, a model for each cluster left out, at a size that two CPU cores do: the tasks and the
base of `smollm2_local_tasks.py`. DIR holds <task>/<split>.jsonl (docs/data.md). Measured: docs/results, a minute a
variant.
"""

from configs.studies import smollm2_local_tasks
from flan_jax.ablation.config import axis, default

CLUSTERS = (
    'closed_book_qa', 'commonsense', 'coreference', 'math_word_problems', 'nli', 'sentiment', 'struct_to_text',
    'text_editing', 'topic_classification',
)  # fmt: skip


def get_config():
    s = default()
    s.name = 'smollm2_local_clusters'
    s.description = 'Which clusters help which others, and how well is each answered without training on it?'
    s.base = smollm2_local_tasks.base()
    s.axes = (axis(name='without', kind='leave_out', values=CLUSTERS),)
    return s
