"""Every part of a study in minutes: how many of the embedded tasks, and how many examples of each, with two seeds.

    python -m flan_jax.ablate --config=configs/studies/smoke.py

The base is the quickstart's model, trained for an eighth of its steps on half its rows, so that scores are low: this
shows that a study works, and how its report looks.
"""

from configs import quickstart
from flan_jax.ablation.config import axis, default


def get_config():
    s = default()
    s.name = 'smoke'
    s.description = 'Do more tasks, or more examples of each, help a small model that is trained for a fixed time?'
    s.base = quickstart.get_config()
    s.base.data.train_rows = 2000
    s.base.data.eval_rows = 10
    s.base.training.steps = 50
    s.base.training.batch_rows = 16
    s.base.optimizer.schedule.warmup_steps = 5
    s.base.telemetry.progress = False
    s.base.telemetry.tensorboard = False
    s.axes = (
        axis(name='tasks', kind='task_count', values=(3, 9, 23), log=True),
        axis(name='examples', knob='mixture.max_examples', values=(20, None), log=True),
    )
    s.combine = 'product'
    s.seeds = (0, 1)
    return s
