"""Metrics: how predictions agree with references.

A metric takes one list of accepted answers and one prediction for each example:

    references                     predictions     exact_match
    [['yes'], ['Rome', 'Roma']]    ['no', 'Roma']  {'exact_match': 0.5}

Values are shares from 0 to 1, correlations lie between -1 and 1. `PER_EXAMPLE` has the same metrics for one example,
so that a confidence interval can be drawn from resampled examples: the mean of their values. A metric that is missing
there (BLEU, chrF, correlations, shares of all instructions) is no mean over examples; its interval takes the metric
itself on every resample. `resampled` does both.
"""

import collections
import decimal
import json
import math
import re
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from flan_jax import errors
from flan_jax.evaluation import completion, correlation, ifeval, overlap, sandbox

Metric = Callable[[Sequence[Sequence[str]], Sequence[str]], dict[str, float]]
PerExample = Callable[[Sequence[str], str], float]
Statistic = Callable[[np.ndarray], float]  # indices of rows, some perhaps twice -> the metric on these
Prepare = Callable[[Sequence[Sequence[str]], Sequence[str]], Statistic]

_PUNCTUATION = str.maketrans('', '', string.punctuation)
# TriviaQA's script: these too, and all of them leave a space.
_TRIVIA_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + '‘’´`', ' '))
_ARTICLES = re.compile(r'\b(a|an|the)\b')
# A minus counts as a sign unless a word or a bracket ends right before it: '10-15' and 'COVID-19' have none. Thousands
# are parted by commas or by the two spaces that do not break; an exponent belongs to its number.
_NUMBER = re.compile(
    r'((?<![\w)\]])[-\u2212])?[$€£]?(\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)'
    r'([eE][-+]?\d{1,3}(?!\w))?'
)
_THOUSANDS = re.compile('[,\u00a0\u202f]')
_ANSWER_IS = re.compile(r'\banswer\s+is\b', re.IGNORECASE)
# A letter of its own: no part of a word, nor of a contraction.
_LETTER = re.compile(r"(?<![\w'’])(?:([A-J])|(?<=\()([a-j])(?=\)))(?![\w'’])")
_WORD = re.compile(r'\s+[a-z]')
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


def resampled(
    name: str, references: Sequence[Sequence[str]], *, predictions: Sequence[str], picks: Sequence[np.ndarray]
) -> np.ndarray:
    """The metric on resampled rows, for intervals; what each row contributes is worked out once.

    >>> resampled('accuracy', [['a'], ['b']], predictions=['a', 'a'], picks=np.array([[0, 0], [0, 1], [1, 1]]))
    array([1. , 0.5, 0. ])

    Args:
      name: of the metric.
      references, predictions: as the metric takes them.
      picks: indices of the rows of every resample; resamples may differ in length.

    Returns:
      [resamples] values.
    """
    get(name)
    statistic = _statistic(name, references, predictions=predictions)
    return np.array([statistic(rows) for rows in picks])


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

    No-break spaces between thousands count as commas; 1.5e3 is one number.

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


def letter_match(references: Sequence[str], prediction: str) -> float:
    """1 if the prediction's first letter A to J that stands alone is that of a reference.

    What follows the last 'answer is' comes first. The article A and the pronoun I count only if there is no other
    letter; lower case counts in brackets or all alone.

    >>> letter_match(['B'], 'I think it is (B), a lake.'), letter_match(['B'], 'Bears'), letter_match(['(B)'], 'b.')
    (1.0, 0.0, 1.0)

    Raises:
      DataError: a reference holds no such letter.
    """
    wanted = {_letter(reference) for reference in references}
    if None in wanted:
        raise errors.DataError(f'letter_match: no letter A to J in one of the references {list(references)}')
    return float(_letter(prediction) in wanted)


def trivia_qa_exact_match(references: Sequence[str], prediction: str) -> float:
    """1 if the prediction is one of the aliases after TriviaQA's normalisation (Joshi et al. 2017).

    >>> trivia_qa_exact_match(['Well-Known'], 'the "well_known"')
    1.0
    """
    answer = trivia_qa_normalise(prediction)
    return float(any(answer == trivia_qa_normalise(reference) for reference in references))


def trivia_qa_f1(references: Sequence[str], prediction: str) -> float:
    """F1 of the bags of words after TriviaQA's normalisation, with the alias it fits best; nothing in common is 0.

    >>> trivia_qa_f1(['the old red barn'], 'an old barn')
    0.8
    """
    answer = trivia_qa_normalise(prediction).split()
    return max(_bag_f1(trivia_qa_normalise(reference).split(), answer) for reference in references) if answer else 0.0


def trivia_qa_normalise(text: str) -> str:
    """As SQuAD's, but punctuation, underscores and single quotes of every make become spaces.

    >>> trivia_qa_normalise('The well-known_O\u2019Hara')
    'well known o hara'
    """
    return ' '.join(_ARTICLES.sub(' ', text.lower().translate(_TRIVIA_PUNCTUATION)).split())


def super_ni_exact_match(references: Sequence[str], prediction: str) -> float:
    """Exact match as Super-NaturalInstructions has it: SQuAD's normalisation, articles kept (Wang et al. 2022).

    >>> super_ni_exact_match(['A dog!'], 'a  dog'), super_ni_exact_match(['A dog!'], 'dog')
    (1.0, 0.0)
    """
    answer, *accepted = (' '.join(t.lower().translate(_PUNCTUATION).split()) for t in (prediction, *references))
    return float(answer in accepted)


def answered(references: Sequence[str], prediction: str) -> float:
    """1 if anything was said, whatever the references: for tasks whose answers a judge reads.

    >>> answered(['-'], ' '), answered(['-'], 'Aloha')
    (0.0, 1.0)
    """
    return float(bool(prediction.strip()))


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
    sign, digits, exponent = found[-1]
    value = decimal.Decimal(_THOUSANDS.sub('', digits) + exponent)
    return value.copy_negate() if sign else value


def _final_answer(text: str) -> str:
    return _AROUND_ANSWER.sub('', _ANSWER_IS.split(text)[-1]).lower()


def _letter(text: str) -> str | None:
    alone = text.strip(' \t\n().:')
    if re.fullmatch('[a-jA-J]', alone):
        return alone.upper()
    for part in dict.fromkeys((_ANSWER_IS.split(text)[-1], text)):
        found = list(_LETTER.finditer(part))
        certain = [m for m in found if m[0] not in 'AI' or not _WORD.match(part, m.end())]
        if found:
            return (certain or found)[0][0].upper()
    return None


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


def _numbers(name: str, references: Sequence[Sequence[str]], *, predictions: Sequence[str]) -> list[np.ndarray]:
    """First references and predictions as numbers; a prediction that is no finite number counts as 0."""
    wanted = [_number(accepted[0]) for accepted in references]
    if None in wanted:
        raise errors.DataError(f'{name}: the reference {references[wanted.index(None)][0]!r} is no number')
    return [np.array(wanted), np.array([_number(prediction) or 0.0 for prediction in predictions])]


def _pearson(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Statistic:
    """Correlation of the predicted numbers with the first references; see `_numbers`."""
    wanted, got = _numbers('pearson', references, predictions=predictions)
    return lambda rows: correlation.pearson(wanted[rows], got[rows])


def _spearman(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Statistic:
    """Rank correlation of the predicted numbers with the first references; see `_numbers`."""
    wanted, got = _numbers('spearman', references, predictions=predictions)
    return lambda rows: correlation.spearman(wanted[rows], got[rows])


def _matthews(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Statistic:
    """Correlation of the predicted labels with the first references, apart from space around them."""
    wanted = [accepted[0].strip() for accepted in references]
    got = [prediction.strip() for prediction in predictions]
    return lambda rows: correlation.matthews([wanted[i] for i in rows], [got[i] for i in rows])


def _mean(per_example: PerExample) -> Prepare:
    """Mean of a per-example metric."""

    def prepare(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Statistic:
        pairs = zip(references, predictions, strict=True)
        values = np.array([per_example(accepted, answer) for accepted, answer in pairs])
        return lambda rows: math.fsum(values[rows]) / len(rows)

    return prepare


def _over_instructions(per_example: PerExample) -> Prepare:
    """Share of all instructions that are followed, from each prompt's share (Zhou et al. 2023, instruction level)."""

    def prepare(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> Statistic:
        pairs = zip(references, predictions, strict=True)
        shares = np.array([per_example(accepted, answer) for accepted, answer in pairs])
        sizes = np.array([len(json.loads(accepted[0])['instruction_id_list']) for accepted in references])
        return lambda rows: math.fsum((sizes * shares)[rows]) / int(sizes[rows].sum())

    return prepare


def _statistic(name: str, references: Sequence[Sequence[str]], *, predictions: Sequence[str]) -> Statistic:
    _check(name, references, predictions=predictions)
    return _PREPARE[name](references, predictions)


def _metric(name: str) -> Metric:
    def metric(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
        rows = np.arange(len(references))
        return {name: float(_statistic(name, references, predictions=predictions)(rows))}

    metric.__name__ = metric.__qualname__ = name
    return metric


PER_EXAMPLE: Mapping[str, PerExample] = {
    'exact_match': exact_match,
    'accuracy': exact_match,
    'squad_exact_match': squad_exact_match,
    'squad_f1': squad_f1,
    'trivia_qa_exact_match': trivia_qa_exact_match,
    'trivia_qa_f1': trivia_qa_f1,
    'super_ni_exact_match': super_ni_exact_match,
    'super_ni_rouge_l': overlap.rouge_l,  # the package's default tokenizer with its stemmer there, too
    'number_match': number_match,
    'final_answer_match': final_answer_match,
    'letter_match': letter_match,
    'label_set_f1': label_set_f1,
    'rouge1': overlap.rouge1,
    'rouge2': overlap.rouge2,
    'rouge_l': overlap.rouge_l,
    'edit_similarity': overlap.edit_similarity,
    'code_passes': sandbox.code_passes,
    'human_eval_passes': completion.human_eval_passes,
    'ifeval_strict': ifeval.strict,
    'ifeval_loose': ifeval.loose,
    'answered': answered,
}

_PREPARE: Mapping[str, Prepare] = {
    **{name: _mean(per_example) for name, per_example in PER_EXAMPLE.items()},
    'ifeval_instruction_strict': _over_instructions(ifeval.instruction_strict),
    'ifeval_instruction_loose': _over_instructions(ifeval.instruction_loose),
    'bleu': overlap.bleu,
    'chrf': overlap.chrf,
    'matthews': _matthews,
    'pearson': _pearson,
    'spearman': _spearman,
}

METRICS: Mapping[str, Metric] = {name: _metric(name) for name in _PREPARE}
