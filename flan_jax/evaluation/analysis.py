"""Analysis of the answers for what goes wrong in instruction tuning: phrasing, labels, order of options, length."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax.evaluation import answers as answers_lib
from flan_jax.evaluation import calibration, labels, resampling
from flan_jax.evaluation.outcomes import Outcomes
from flan_jax.evaluation.probes import Probe


def of(found: Outcomes, probes: Sequence[tuple[Probe, Outcomes]] = ()) -> dict[str, Any]:
    """What of it applies to a task, fit for JSON.

    Returns:
      Some of: `flags` (counts of doubtful answers by kind), `agreement` (share of rows that all templates answer
      alike), `labels` (see `labels.confusion`), `positions` (see `labels.positions`), `calibration` (see
      `calibration.reliability`), `batch_calibrated` (accuracy after batch calibration, beside that before), `lengths`
      (mean words of predictions and references), `copied` (share of answers that repeat a field and are wrong), and
      from probes `option_order`, `content_free`, `instruction` (see `instruction`).
    """
    asked, answers = found.asked, found.answers
    flags = collections.Counter(flag for flag in answers.flags if flag)
    kinds = labels.of(asked)
    out: dict[str, Any] = {'flags': dict(flags), 'agreement': agreement(found)}
    if kinds:
        out['labels'] = labels.confusion(asked, answers.texts, labels=kinds)
    by_kind = {probe.kind: answered for probe, answered in probes}
    told = instruction(found, by_kind)
    out |= {'instruction': told} if told else {}
    if asked.mode == 'generate':
        out['copied'] = copied(found)
        said, wanted = _words(found, np.arange(len(asked)))
        out['lengths'] = {
            'predicted': round(said, 2), 'references': round(wanted, 2),
            'unfinished': round(flags[answers_lib.UNFINISHED] / len(asked), 4),
        }  # fmt: skip
        return out
    valid = ~np.isnan(found.confidence)
    if valid.any():
        out['calibration'] = calibration.reliability(found.confidence[valid], found.exact[valid])
    placed = labels.positions(asked, answers.texts)
    out |= {'positions': placed} if placed else {}
    logs = _logs(found, kinds)
    if logs is not None:
        out['batch_calibrated'] = _accuracies(found, kinds, logs=logs)
    if 'permuted' in by_kind:
        out['option_order'] = option_order(found, by_kind['permuted'])
    if 'content_free' in by_kind and logs is not None:
        content_free = _content_free(found, by_kind['content_free'], kinds=kinds, logs=logs)
        out |= {'content_free': content_free} if content_free else {}
    return out


def agreement(found: Outcomes) -> float | None:
    """Share of the source rows to which all templates give the same answer; None with one template."""
    said: dict[int, set[str]] = {}
    for row, text in zip(found.asked.rows.tolist(), found.answers.texts, strict=True):
        said.setdefault(row, set()).add(text.strip())
    if len(set(found.asked.templates)) < 2:
        return None
    return round(sum(len(texts) == 1 for texts in said.values()) / len(said), 4)


def length_ratio(found: Outcomes, index: np.ndarray) -> float | None:
    """Words of the generated answers over words of the references; None for ranked tasks."""
    if found.asked.mode != 'generate':
        return None
    said, wanted = _words(found, index)
    return round(said / wanted, 4) if wanted else None


def instruction(found: Outcomes, probed: Mapping[str, Outcomes]) -> dict[str, Any]:
    """What is left of the score without the instruction, and with its words in another order.

    Returns:
      For `bare` and `shuffled`, as far as asked: `score` of the same prompts as they are, `probed` score, `change` with
      its `interval` over rows (None for metrics that are no means, or of one row), and `same`, the share of prompts
      answered alike.
    """
    rows, names = found.asked.rows.tolist(), found.asked.templates
    out = {}
    for kind in ('bare', 'shuffled'):
        if kind not in probed:
            continue
        other = probed[kind]
        by_row = kind == 'bare'  # one prompt a row, beside which all templates of that row are put
        places = {
            (row if by_row else (row, name)): i
            for i, (row, name) in enumerate(zip(other.asked.rows.tolist(), other.asked.templates, strict=True))
        }
        keys = rows if by_row else list(zip(rows, names, strict=True))
        pairs = [(i, places[key]) for i, key in enumerate(keys) if key in places]
        if pairs:
            before, after = (np.array(side) for side in zip(*pairs, strict=True))
            out[kind] = _changed(found, other, before=before, after=after)
    return out


def _changed(found: Outcomes, other: Outcomes, *, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    score, probed = found.measure([before])[0], other.measure([np.unique(after)])[0]
    interval = None
    if found.metric in found.values and len(np.unique(found.asked.rows[before])) > 1:
        change = other.values[found.metric][after] - found.values[found.metric][before]
        interval = resampling.interval(resampling.means(change, found.asked.rows[before], seed=0))
    same = [found.answers.texts[i] == other.answers.texts[j] for i, j in zip(before, after, strict=True)]
    return {
        'score': round(float(score), 4), 'probed': round(float(probed), 4),
        'change': round(float(probed - score), 4), 'interval': interval, 'same': round(float(np.mean(same)), 4),
    }  # fmt: skip


def copied(found: Outcomes) -> float:
    """Share of answers that repeat a field of the prompt as it is and are wrong."""
    hits = 0
    for meta, text, right in zip(found.asked.metas, found.answers.texts, found.exact, strict=True):
        fields = (meta['fields'].get(field) for field in found.asked.fields)
        hits += not right and text.strip() in {f.strip() for f in fields if isinstance(f, str) and f.strip()}
    return round(hits / len(found.asked), 4)


def option_order(found: Outcomes, permuted: Outcomes) -> dict[str, float]:
    """How the answers hold when options are listed in another order.

    Returns:
      `same`: share of prompts with the same answer; `score`, `permuted_score` of the templates that list options;
      `flipped`: share that was right in one order and wrong in another.
    """
    places = {key: i for i, key in enumerate(zip(found.asked.rows.tolist(), found.asked.templates))}
    pairs = [
        (places[key], i)
        for i, key in enumerate(zip(permuted.asked.rows.tolist(), permuted.asked.templates))
        if key in places
    ]
    before, after = (np.array(side) for side in zip(*pairs))
    same = [found.answers.texts[i] == permuted.answers.texts[j] for i, j in pairs]
    return {
        'same': round(float(np.mean(same)), 4),
        'score': round(float(found.exact[before].mean()), 4),
        'permuted_score': round(float(permuted.exact[after].mean()), 4),
        'flipped': round(float((found.exact[before] != permuted.exact[after]).mean()), 4),
    }


def pooled_calibration(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Reliability over all ranked tasks of scores.json, `ece` the mean of theirs by answers; None if there are none."""
    parts = [task['calibration']['bins'] for task in tasks.values() if task.get('calibration')]
    if not parts:
        return None
    return {'ece': calibration.error([b for bins in parts for b in bins]), 'bins': calibration.pooled(parts)}


def _words(found: Outcomes, index: np.ndarray) -> tuple[float, float]:
    """Mean words of predictions and of first references."""
    said = [len(found.answers.texts[i].split()) for i in index]
    wanted = [len(str(found.asked.metas[i]['references'][0]).split()) for i in index]
    return float(np.mean(said)), float(np.mean(wanted))


def _logs(found: Outcomes, kinds: Sequence[str]) -> np.ndarray | None:
    """[prompts, labels] log-probabilities, for tasks whose options are always the same."""
    if not kinds or answers_lib.NOT_A_NUMBER in found.answers.flags:
        return None
    return calibration.by_label(found.answers.compared, [m['options'] for m in found.asked.metas], labels=kinds)


def _accuracies(found: Outcomes, kinds: Sequence[str], *, logs: np.ndarray) -> dict[str, float]:
    _, groups = np.unique(found.asked.templates, return_inverse=True)
    chosen = calibration.batch_calibrated(logs, groups)
    return {'before': round(float(found.exact.mean()), 4), 'after': _accuracy(found, kinds, chosen=chosen)}


def _accuracy(found: Outcomes, kinds: Sequence[str], *, chosen: np.ndarray) -> float:
    right = [kinds[label] in meta['references'] for label, meta in zip(chosen, found.asked.metas, strict=True)]
    return round(float(np.mean(right)), 4)


def _content_free(
    found: Outcomes, answered: Outcomes, *, kinds: Sequence[str], logs: np.ndarray
) -> dict[str, Any] | None:
    """What labels get when nothing is asked, and the accuracy once that is taken away (Zhao et al. 2021).

    Returns:
      `shares`: probability of each label on content-free prompts, mean over templates; accuracies `before`, `after`.
    """
    empty = _logs(answered, kinds)
    if empty is None:
        return None
    of_template = {}
    for name in dict.fromkeys(answered.asked.templates):
        mine = [i for i, t in enumerate(answered.asked.templates) if t == name]
        of_template[name] = np.log(np.exp(empty[mine]).mean(axis=0) + 1e-12)
    shift = np.stack([of_template[name] for name in found.asked.templates])
    return {
        'labels': list(kinds),
        'shares': np.exp(list(of_template.values())).mean(axis=0).round(4).tolist(),
        'before': round(float(found.exact.mean()), 4),
        'after': _accuracy(found, kinds, chosen=(logs - shift).argmax(axis=1)),
    }
