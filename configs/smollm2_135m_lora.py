"""SmolLM2-135M-Instruct goes on learning as in `smollm2_135m.py`, but only a LoRA adapter of rank 8 is trained.

    python -m flan_jax.train --config=configs/smollm2_135m_lora.py

2.4 M of 134.5 M weights have moments and are in the checkpoints, 1.8 % of the bytes. Scores were not measured: of a run
cut down to 6 steps the merged export, its GGUF and its PEFT adapter gave the run's own greedy answers in transformers,
CTranslate2, llama.cpp and PEFT. The base can be kept in fewer bits with `--config.adapter.base=nf4` (needs the package
qwix), and `--config.adapter.kind=dora` or `ia3` trains another adapter.
"""

from configs import smollm2_135m


def get_config():
    c = smollm2_135m.get_config()
    c.name = 'smollm2_135m_lora'
    c.adapter.kind = 'lora'
    c.adapter.rank = 8
    c.adapter.alpha = 16.0
    c.optimizer.learning_rate = 5e-4
    return c
