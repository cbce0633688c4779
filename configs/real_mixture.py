"""Real tasks in nine clusters, natural language inference held out, from scratch.

    python -m flan_jax.train --config=configs/real_mixture.py --config.data.local_root=DIR

DIR holds <task>/<split>.jsonl; without it the rows come from TensorFlow Datasets where that has the set. A small
decoder and a short run, to see the whole way on a laptop: it learns the form of the answers, not the tasks.
"""

from flan_jax.config import default


def get_config():
    c = default()
    c.name = 'real_mixture'
    c.data.max_inputs = 352
    c.data.max_targets = 160
    c.data.eval_rows = 8
    c.vocabulary.train_size = 4096
    c.vocabulary.train_rows = 500
    c.mixture.members = (
        'nli',
        'sentiment',
        'paraphrase',
        'closed_book_qa',
        'reading_comprehension',
        'commonsense',
        'coreference',
        'topic_classification',
        'math_word_problems',
        'cot',
    )
    c.mixture.held_out_clusters = ('nli',)
    c.mixture.cap = 3000
    c.packing.row_tokens = 512
    c.execution.compute_dtype = 'float32'
    c.execution.remat = 'none'
    c.optimizer.name = 'muon'
    c.optimizer.learning_rate = 4e-3
    c.optimizer.schedule.warmup_steps = 20
    c.training.steps = 200
    c.training.batch_rows = 8
    c.evaluation.max_new_tokens = 24
    return c
