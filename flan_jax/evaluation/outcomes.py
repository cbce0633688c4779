"""Outcomes: how right a model's answers to one suite are, each by itself where the metric allows, worked out once."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flan_jax import errors
from flan_jax.evaluation import answers as answers_lib
from flan_jax.evaluation import calibration, likelihood, metrics, resampling
from flan_jax.evaluation.answers import Answers
from flan_jax.evaluation.suite import Suite

_UNCENTRED = {'matthews', 'pearson', 'spearman'}  # a constant answer has no correlation with anything
_PROGRAMS = {'code_passes', 'human_eval_passes'}
# Their references are no answers, so that none of these could be given always.
_NO_ANSWERS = _PROGRAMS | {'answered'} | {m for m in metrics.METRICS if m.startswith('ifeval')}


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """How right some answers are.

    Attributes:
      asked, answers: questions and answers.
      exact: f64[prompts], 1 where the answer is one of the references.
      values: metric -> f64[prompts], for metrics that are means over prompts.
      confidence: f64[prompts] probability of the chosen option among the options; NaN where it was generated.
    """

    asked: Suite
    answers: Answers
    exact: np.ndarray
    values: Mapping[str, np.ndarray]
    confidence: np.ndarray

    @property
    def metric(self) -> str:
        """The one that is the task's score."""
        return self.asked.metrics[0]

    @property
    def references(self) -> list[list[str]]:
        return [meta['references'] for meta in self.asked.metas]

    @property
    def best_known(self) -> np.ndarray:
        """What comes closest to a score of each prompt: the metric's own value, or exact match."""
        return self.values.get(self.metric, self.exact)

    def measure(self, picks: Sequence[np.ndarray], metric: str | None = None) -> np.ndarray:
        """A metric (None: the score) on some prompts, for each list of their places.

        Raises:
          DataError: a list is empty.
        """
        name = metric or self.metric
        if not all(map(len, picks)):
            raise errors.DataError(f'{name} of task {self.asked.name!r} got no rows; every row of the part was dropped')
        if name in self.values:
            return np.array([self.values[name][places].mean() for places in picks])
        return metrics.resampled(name, self.references, predictions=self.answers.texts, picks=picks)

    def draws(self, index: np.ndarray, *, seed: resampling.Seed) -> np.ndarray:
        """The score of some prompts with their source rows drawn anew, [resampling.RESAMPLES]."""
        rows = self.asked.rows[index]
        if self.metric in self.values:
            return resampling.means(self.values[self.metric][index], rows, seed=seed)
        return self.measure([index[places] for places in resampling.picks(rows, seed=seed)])


def check_metric(name: str) -> None:
    """Refuses a name that is no metric.

    Raises:
      ConfigError: with the near names.
    """
    known = [*metrics.METRICS, *likelihood.METRICS]
    if name not in known:
        hint = errors.near(name, known) or f'; there are {", ".join(known)}'
        raise errors.ConfigError(f'no metric is named {name!r}{hint}')


def check(asked: Suite) -> None:
    """Refuses, before anything is asked, what could not be scored afterwards.

    Every metric gets the references of every row with an empty answer; one that runs programs gets one row.

    Raises:
      DataError: no prompts, no metric, a row without references, or with some that a metric cannot read.
      ConfigError: there is no such metric, or it needs what this machine does not have.
    """
    _check_references(asked)
    _, places = np.unique(asked.rows, return_index=True)
    references = [asked.metas[i]['references'] for i in places]
    for name in asked.metrics:
        check_metric(name)
        if name in likelihood.METRICS:
            _check_ranked(name, asked)
            continue
        given = references[:1] if name in _PROGRAMS else references
        try:
            metrics.get(name)(given, [''] * len(given))
        except errors.DataError as e:
            raise errors.DataError(f'task {asked.name!r}: {e}') from e


def of(asked: Suite, answers: Answers) -> Outcomes:
    """The outcomes of a suite.

    Raises:
      DataError: no prompts, no metric, a prompt without references, or a metric of likelihoods on generated answers.
      ConfigError: there is no such metric.
    """
    _check_references(asked)
    valid = np.array([flag != answers_lib.NOT_A_NUMBER for flag in answers.flags])
    values = {}
    for name in dict.fromkeys(('exact_match', *asked.metrics)):
        found = _values(name, asked, answers=answers, valid=valid)
        values |= {name: found} if found is not None else {}
    confidence = np.array([
        calibration.probabilities(compared).max() if len(compared) and ok else np.nan
        for compared, ok in zip(answers.compared, valid, strict=True)
    ])  # fmt: skip
    return Outcomes(asked, answers, values['exact_match'], values, confidence)


def _check_references(asked: Suite) -> None:
    if not len(asked):
        raise errors.DataError(f'task {asked.name!r} got no rows to be scored on; its evaluation split is empty')
    if not asked.metrics:
        raise errors.DataError(f'task {asked.name!r} has no metric; name one in its `metrics`')
    for row, meta in zip(asked.rows, asked.metas):
        if not meta['references'] or isinstance(meta['references'], str):
            raise errors.DataError(
                f'task {asked.name!r}: row {row} has the references {meta["references"]!r}; give a list of answers'
            )


def _check_ranked(name: str, asked: Suite) -> None:
    if asked.mode != 'rank':
        raise errors.DataError(f"metric {name!r} of task {asked.name!r} needs likelihoods; set its mode to 'rank'")


def _values(name: str, asked: Suite, *, answers: Answers, valid: np.ndarray) -> np.ndarray | None:
    """A metric of every prompt; None if it is none of single prompts. What could not be answered is wrong."""
    if name in likelihood.METRICS:
        _check_ranked(name, asked)
        metric = likelihood.METRICS[name]
        pairs = zip(asked.metas, answers.sums, valid, strict=True)
        return np.array([metric(m['references'], m['options'], sums=sums) if ok else 0.0 for m, sums, ok in pairs])
    check_metric(name)
    if name not in metrics.PER_EXAMPLE:
        return None
    pairs = zip(asked.metas, answers.texts, strict=True)
    return np.array([metrics.PER_EXAMPLE[name](m['references'], text) for m, text in pairs]) * valid


def chance(asked: Suite) -> float:
    """The score of knowing nothing.

    Ranked: the share of options that are right. Generated: that of always giving the commonest answer. Correlations,
    programs and checks of instructions: 0.
    """
    name = asked.metrics[0]
    if name in _UNCENTRED | _NO_ANSWERS:
        return 0.0
    if asked.mode == 'rank':
        shares = [np.mean([o in m['references'] for o in m['options']]) for m in asked.metas]
        return float(np.mean(shares))
    _, places = np.unique(asked.rows, return_index=True)
    references = [asked.metas[i]['references'] for i in places]
    commonest = Counter(answer for accepted in references for answer in dict.fromkeys(accepted)).most_common(1)[0][0]
    return metrics.get(name)(references, [commonest] * len(references))[name]


def constant(asked: Suite) -> float:
    """Exact match of the best answer that is always the same."""
    counts = Counter(answer for meta in asked.metas for answer in set(meta['references']))
    return max(counts.values()) / len(asked)


def copying(asked: Suite) -> float:
    """Exact match of copying: the best field among those the prompts show, always repeated as it is."""
    hits: Counter = Counter()
    for meta in asked.metas:
        accepted = set(meta['references'])
        for field in asked.fields:
            value = meta['fields'].get(field)
            if isinstance(value, str):
                hits[field] += value.strip() in accepted
    return max(hits.values(), default=0) / len(asked)
