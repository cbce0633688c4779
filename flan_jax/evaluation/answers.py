"""Answers: what a model said to the prompts of one suite, and why an answer is doubtful."""

import dataclasses

import numpy as np

# Why a prompt's answer is doubtful; such prompts are scored all the same, and counted.
UNFINISHED = 'unfinished'  # generation reached evaluation.max_new_tokens before EOS
NOT_A_NUMBER = 'not_a_number'  # a log-likelihood is NaN; nothing is chosen or said, and that counts as wrong
EMPTY_OPTION = 'empty_option'  # an option without text
TOO_LONG = 'too_long'  # prompt and answer are longer than a training row, or than the model's published context


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model said to the prompts of one suite.

    Attributes:
      texts: its answers; of a ranked prompt the chosen option, '' if there was no choosing.
      sums: f64[options] log-likelihoods of each prompt's options in nats, empty where it was generated.
      compared: the same as they were compared, see `EvaluationConfig.normalise`.
      flags: why an answer is doubtful, '' if it is not.
    """

    texts: list[str]
    sums: list[np.ndarray]
    compared: list[np.ndarray]
    flags: list[str]
