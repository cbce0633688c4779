"""FLAN 2021's number of clusters: one to seven are trained on, three others are always asked.

    python -m flan_jax.ablate --config=configs/studies/flan2021_clusters.py

On rows at hand, which reach for three of the clusters:

    python -m flan_jax.ablate --config=configs/studies/flan2021_clusters.py --config.base.data.local_root=DIR \
        --config.base.data.local_only=true --config.axes[0].values="(1, 2, 3)" \
        --config.axes[0].order="('reading_comprehension', 'sentiment', 'struct_to_text')"

Wei et al. 2021, arXiv:2109.01652, the ablation of the number of clusters, mean over natural language inference,
closed-book QA and commonsense, for 1 to 7 clusters, LaMDA-PT 137B: 49.9, 55.0, 59.3, 59.2, 60.8, 61.9, 63.5 (by a
transcription). In their ablation of scale, models of 8B and less got worse on held-out tasks, so that a small model may
well show the opposite.

Held out is more than in the paper: tasks that share texts with held-out ones (SQuAD with QNLI, WSC273 with WNLI, ...)
go with them. AG News is no summarization here and left out. For one GPU of 24 GB or one TPU v5e chip. No result was
measured.
"""

from configs import smollm2_135m
from flan_jax.ablation.config import axis, default

ORDER = (
    'summarization', 'translation', 'reading_comprehension', 'sentiment', 'struct_to_text', 'coreference',
    'conversational_qa',
)  # fmt: skip


def get_config():
    s = default()
    s.name = 'flan2021_clusters'
    s.description = 'Are tasks of held-out clusters answered better after training on more clusters?'
    s.base = base()
    s.base.mixture.members = (
        *(f'flan2021_{cluster}' for cluster in (*ORDER[:-1], 'nli', 'closed_book_qa', 'commonsense')),
        'conversational_qa',
    )
    s.base.mixture.leave_out = ('topic_classification',)
    s.base.mixture.held_out_clusters = ('nli', 'closed_book_qa', 'commonsense')
    s.axes = (
        axis(
            name='clusters',
            kind='cluster_count',
            values=(1, 2, 3, 4, 5, 6, 7),
            order=ORDER,
            published='Wei et al. 2021, 1 to 7 clusters, 137B: 49.9, 55.0, 59.3, 59.2, 60.8, 61.9, 63.5.',
        ),
    )
    return s


def base():
    """FLAN 2021 with SmolLM2-135M-Instruct, all weights trained; 32 million positions.

    The weights have been tuned on instructions before, which hides part of what tuning does. To start from others of
    this shape and tokenizer, set `checkpoint.warm_start` to their folder.
    """
    c = smollm2_135m.get_config()
    c.data.max_inputs = 768
    c.data.max_targets = 256
    c.data.train_rows = 30_000
    c.data.eval_rows = 50
    c.data.keep_going = True
    c.mixture.members = ('flan2021',)
    c.mixture.cap = 3000
    c.packing.row_tokens = 1024
    c.execution.compute_dtype = 'bfloat16'
    c.execution.remat = 'minimal'
    c.optimizer.learning_rate = 1e-4
    c.optimizer.schedule.warmup_steps = 50
    c.training.steps = 1000
    c.training.batch_rows = 32
    c.evaluation.max_new_tokens = 64
    c.evaluation.batch_tokens = 32_768
    c.telemetry.every_steps = 20
    return c
