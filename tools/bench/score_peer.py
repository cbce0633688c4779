"""The other side of score.py: lm-eval's own model of the transformers library, asked over standard input.

    python tools/bench/score_peer.py DIR    a line {"pairs": [[context, continuation], ...], "batch_size": 8} each time

Answers a line {"seconds": [wall, CPU], "found": [[log-likelihood, greedy], ...]}. Imports nothing of this project.
"""

import json
import os
import sys
import time


def main() -> None:
    """The command."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    import torch
    import transformers
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = sys.argv[1]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    peer = HFLM(
        pretrained=model, tokenizer=tokenizer, backend='causal', device='cuda' if torch.cuda.is_available() else 'cpu'
    )
    versions = {name: sys.modules[name].__version__ for name in ('torch', 'transformers')}
    print(json.dumps(versions | {'threads': torch.get_num_threads()}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        peer.batch_size_per_gpu = asked['batch_size']
        requests = [
            Instance(request_type='loglikelihood', doc={}, arguments=tuple(pair), idx=i)
            for i, pair in enumerate(asked['pairs'])
        ]
        began, cpu = time.perf_counter(), time.process_time()
        found = peer.loglikelihood(requests, disable_tqdm=True)
        seconds = [time.perf_counter() - began, time.process_time() - cpu]
        print(
            json.dumps({'seconds': seconds, 'found': [[float(a), bool(b)] for a, b in found]}), file=answers, flush=True
        )


if __name__ == '__main__':
    main()
