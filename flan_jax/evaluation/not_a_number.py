"""Generated answers during which a model's logits became NaN: they look like short answers, and are none."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from flan_jax.decoding.score import Request

Score = Callable[[Sequence[Request]], Sequence[np.ndarray]]


def places(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, ends: Collection[int], score: Score
) -> list[int]:
    """Places of such answers.

    Of a row of NaN the first entry counts as the largest, so such an answer has an id 0. The log-likelihood up to there
    tells whether it was meant. Where 0 ends answers, only empty ones are doubted, or all would be read twice.

    Args:
      prompts: ids.
      answers: ids, greedy, up to and with the one that ended them.
      ends: ids that end an answer.
      score: sums of log p of each request's options.
    """
    most = 1 if 0 in ends else None
    doubtful = [i for i, ids in enumerate(answers) if 0 in ids[:most]]
    if not doubtful:
        return []
    requests = [Request(prompts[i], (answers[i][: answers[i].index(0) + 1],)) for i in doubtful]
    return [i for i, sums in zip(doubtful, score(requests), strict=True) if not np.isfinite(sums).all()]
