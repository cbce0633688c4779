"""Metrics: how predictions agree with references.

A metric takes one list of accepted answers and one prediction for each example:

    references                     predictions     exact_match
    [['yes'], ['Rome', 'Roma']]    ['no', 'Roma']  {'exact_match': 0.5}

Values are shares from 0 to 1, correlations lie between -1 and 1. `PER_EXAMPLE` has the same metrics for one example,
so that a confidence interval can be drawn from resampled examples; a metric that is missing there (a correlation) is
no mean over examples.
"""

import collections
import decimal
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from flan_jax import errors

Metric = Callable[[Sequence[Sequence[str]], Sequence[str]], dict[str, float]]
PerExample = Callable[[Sequence[str], str], float]

_PUNCTUATION = str.maketrans('', '', string.punctuation)
_ARTICLES = re.compile(r'\b(a|an|the)\b')
# A minus counts as a sign unless a word or a bracket ends right before it: '10-15' and 'COVID-19' have none.
_NUMBER = re.compile(r'((?<![\w)\]])[-\u2212])?[$€£]?(\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)')
_ANSWER_IS = re.compile(r'\banswer\s+is\b', re.IGNORECASE)
_QUOTES = '"\'`“”‘’«»'
_AROUND_ANSWER = re.compile(rf'^[\s:{_QUOTES}]+|[\s.{_QUOTES}]+$')


def get(name: str) -> Metric:
    """The metric of that name.

    Raises:
      ConfigError: there is none (near names listed).
    """
    if name not in METRICS:
        hint = errors.near(name, METRICS) or f'; there are {", ".join(METRICS)}'
        raise errors.ConfigError(f'no metric is named {name!r}{hint}')
    return METRICS[name]


def exact_match(references: Sequence[str], prediction: str) -> float:
    """1 if the prediction is one of the references, apart from space around them.

    >>> exact_match(['yes', 'yeah'], ' yeah\\n'), exact_match(['yes'], 'Yes')
    (1.0, 0.0)
    """
    return float(prediction.strip() in {reference.strip() for reference in references})


def squad_exact_match(references: Sequence[str], prediction: str) -> float:
    """1 if the prediction is one of the references after SQuAD's normalisation (Rajpurkar et al. 2016).

    >>> squad_exact_match(['Eiffel Tower'], 'the Eiffel tower.')
    1.0
    """
    answer = squad_normalise(prediction)
    return float(any(answer == squad_normalise(reference) for reference in references))


def squad_f1(references: Sequence[str], prediction: str) -> float:
    """F1 of the bags of words after SQuAD's normalisation, with the reference it fits best (Rajpurkar et al. 2016).

    Two answers that both normalise to nothing agree, as in the SQuAD 2.0 script, so F1 is never below exact match.

    >>> squad_f1(['the old red barn'], 'an old barn')  # 2 of 2 words right, 2 of 3 found
    0.8
    """
    answer = squad_normalise(prediction).split()
    return max(_bag_f1(squad_normalise(reference).split(), answer) for reference in references)


def squad_normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no articles, single spaces.

    >>> squad_normalise('The  U.S. and an ally')
    'us and ally'
    """
    return ' '.join(_ARTICLES.sub(' ', text.lower().translate(_PUNCTUATION)).split())


def number_match(references: Sequence[str], prediction: str) -> float:
    """1 if the prediction's last number equals that of a reference; thousands commas, currencies and % do not count.

    >>> number_match(['1200'], 'She paid 3 times $400, so $1,200.00.')
    1.0

    Raises:
      DataError: a reference holds no number.
    """
    wanted = {_last_number(reference) for reference in references}
    if None in wanted:
        raise errors.DataError(f'number_match: no number in one of the references {list(references)}')
    return float(_last_number(prediction) in wanted)


def final_answer_match(references: Sequence[str], prediction: str) -> float:
    """1 if what follows the last 'answer is' is a reference, apart from case, quotes, space and a final full stop.

    A prediction without 'answer is' counts as a whole.

    >>> final_answer_match(['Paris'], 'The Louvre is there, so the answer is "paris".')
    1.0
    """
    return float(_final_answer(prediction) in {_final_answer(reference) for reference in references})


def label_set_f1(references: Sequence[str], prediction: str) -> float:
    """F1 of comma-separated sets of labels, with the reference it fits best; order, case and repetition do not count.

    >>> label_set_f1(['joy, love, pride'], 'Love, joy, fear, joy')  # 2 of 3 right, 2 of 3 found
    0.6666666666666666
    """
    answer = _labels(prediction)
    return max(_bag_f1(_labels(reference), answer) for reference in references)


def pearson(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Correlation of the predicted numbers with each example's first reference.

    A prediction that is no finite number counts as 0. Fewer than two examples, or one value throughout on either
    side, have no correlation: 0.

    >>> round(pearson([['1'], ['2'], ['3']], ['2.0', '4.0', '6.5'])['pearson'], 3)
    0.998

    Raises:
      DataError: a reference is no number, or there are no examples.
    """
    _check('pearson', references, predictions=predictions)
    wanted = [_number(accepted[0]) for accepted in references]
    if None in wanted:
        raise errors.DataError(f'pearson: the reference {references[wanted.index(None)][0]!r} is no number')
    x = _standardised(wanted)
    y = _standardised([_number(prediction) or 0.0 for prediction in predictions])
    return {'pearson': float(np.clip(np.dot(x, y), -1.0, 1.0))}


def _standardised(values: Sequence[float]) -> np.ndarray:
    """Centred and of length 1; zeros if all values are alike."""
    if min(values) == max(values):  # asked first: the mean of equal values may differ from them in the last bit
        return np.zeros(len(values))
    scaled = np.asarray(values, np.float64) / max(abs(value) for value in values)  # 1e300 squared would overflow
    centred = scaled - scaled.mean()
    length = np.linalg.norm(centred)
    return centred / length if length > 0 else centred


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().rstrip('.'))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _last_number(text: str) -> decimal.Decimal | None:
    """The last number of a text, exactly, so that 14.0 == 14 and 0.1 == .10."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    sign, digits = found[-1]
    value = decimal.Decimal(digits.replace(',', ''))
    return value.copy_negate() if sign else value


def _final_answer(text: str) -> str:
    return _AROUND_ANSWER.sub('', _ANSWER_IS.split(text)[-1]).lower()


def _labels(text: str) -> list[str]:
    return sorted({label.strip().lower() for label in text.split(',')} - {''})


def _bag_f1(reference: Sequence[str], answer: Sequence[str]) -> float:
    """Harmonic mean of precision and recall, 2 common / (all of both)."""
    if not reference and not answer:
        return 1.0
    common = sum((collections.Counter(reference) & collections.Counter(answer)).values())
    return 2.0 * common / (len(reference) + len(answer))


def _check(name: str, references: Sequence[Sequence[str]], *, predictions: Sequence[str]) -> None:
    if len(references) != len(predictions):
        raise errors.DataError(f'{name}: {len(references)} rows of references for {len(predictions)} predictions')
    if not references:
        raise errors.DataError(f'{name} got no rows; the split is empty or every row was dropped')
    for i, accepted in enumerate(references):
        if isinstance(accepted, str):
            raise errors.DataError(f'{name}: the references of row {i} are the string {accepted!r}; give a list')
        if not accepted:
            raise errors.DataError(f'{name}: row {i} has no reference')


def _mean(name: str, per_example: PerExample) -> Metric:
    def metric(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
        _check(name, references, predictions=predictions)
        values = [per_example(accepted, answer) for accepted, answer in zip(references, predictions, strict=True)]
        return {name: math.fsum(values) / len(values)}

    metric.__name__ = metric.__qualname__ = name
    metric.__doc__ = f'Mean of the per-example {name}.'
    return metric


PER_EXAMPLE: Mapping[str, PerExample] = {
    'exact_match': exact_match,
    'accuracy': exact_match,
    'squad_exact_match': squad_exact_match,
    'squad_f1': squad_f1,
    'number_match': number_match,
    'final_answer_match': final_answer_match,
    'label_set_f1': label_set_f1,
}

METRICS: Mapping[str, Metric] = {
    **{name: _mean(name, per_example) for name, per_example in PER_EXAMPLE.items()},
    'pearson': pearson,
}
