"""The protocol: which prompts, scored how, averaged over what.

Every straight template of a task is asked about the same source rows. A task's score is the mean over its templates;
a cluster's, the mean over its tasks; a group's, the mean over its tasks:

    held_in             trained tasks, templates training saw
    held_out_templates  trained tasks, templates it did not
    held_out_clusters   tasks of held-out clusters (and held-out tasks), all templates
"""

import dataclasses
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flan_jax.config import EvaluationConfig
from flan_jax.data import store
from flan_jax.data.store import TokenStore
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.score import Request, Scorer
from flan_jax.evaluation import metrics

GROUPS = ('held_in', 'held_out_templates', 'held_out_clusters')
RESAMPLES = 500


@dataclasses.dataclass(frozen=True)
class Suite:
    """What is asked of one task.

    Attributes:
      name, cluster, mode: of the task.
      metrics: names; the first is the score.
      held_out: whether the task was kept out of training.
      prompts: ids.
      options: option ids of each prompt, empty if it is generated.
      metas: answer, options, references, fields of each prompt.
      rows: source row of each prompt.
      templates: template of each prompt, by name.
      unseen: names of the templates training did not see.
      fields: names of the fields the prompts show.
      trimmed: prompts cut on the left.
    """

    name: str
    cluster: str
    mode: str
    metrics: tuple[str, ...]
    held_out: bool
    prompts: list[np.ndarray]
    options: list[list[np.ndarray]]
    metas: list[dict[str, Any]]
    rows: np.ndarray
    templates: list[str]
    unseen: frozenset[str]
    fields: tuple[str, ...]
    trimmed: int


def suite(task_store: TokenStore, *, held_out: bool, rows: int | None) -> Suite | None:
    """The evaluation prompts of a task's store: its first `rows` source rows (None: all) through every template."""
    split_name = next((n for n, c in task_store.info['splits'].items() if c['kind'] == 'evaluation'), None)
    if split_name is None or not task_store.info['splits'][split_name]['examples']:
        return None
    split = task_store.split(split_name)
    row_ids = split.column('row_id')
    chosen = np.unique(row_ids)[:rows]
    index = np.flatnonzero(np.isin(row_ids, chosen))
    ends = split.token_starts[index + 1] - split.column('target')[index]
    prompts = [split.tokens[a:b] for a, b in zip(split.token_starts[index], ends)]
    info = task_store.info
    names = [t['name'] for t in info['templates']]
    rank = info['mode'] == 'rank'
    return Suite(
        name=task_store.task,
        cluster=info['cluster'],
        mode=info['mode'],
        metrics=tuple(info['metrics']),
        held_out=held_out,
        prompts=prompts,
        options=[store.options(split, int(i)) if rank else [] for i in index],
        metas=store.metas(split, index),
        rows=row_ids[index],
        templates=[names[t] for t in split.column('template')[index]],
        unseen=frozenset(names[t] for t in info['held_out_templates']),
        fields=tuple(info['shown_fields']),
        trimmed=int((split.column('trimmed')[index] > 0).sum()),
    )


@dataclasses.dataclass(frozen=True)
class Judge:
    """A model with what it takes to ask it.

    Attributes:
      generator, scorer: of its graph.
      vocabulary: of the stores.
      config: evaluation settings.
    """

    generator: Generator
    scorer: Scorer
    vocabulary: Vocabulary
    config: EvaluationConfig

    def predict(
        self, params: Any, suites: Sequence[Suite], *, progress: Callable[[int], None] = lambda n: None
    ) -> list[list[str]]:
        """Predictions of every suite, all generated prompts in common batches, and all ranked ones."""
        out: list[list[str]] = [[''] * len(s.prompts) for s in suites]
        ranked = [(i, j) for i, s in enumerate(suites) if s.mode == 'rank' for j in range(len(s.prompts))]
        generated = [(i, j) for i, s in enumerate(suites) if s.mode == 'generate' for j in range(len(s.prompts))]
        answers = self.generator(
            params, [suites[i].prompts[j] for i, j in generated], new=self.config.max_new_tokens, progress=progress
        )
        for (i, j), ids in zip(generated, answers):
            out[i][j] = self.vocabulary.decode(ids)
        requests = [Request(suites[i].prompts[j], tuple(suites[i].options[j])) for i, j in ranked]
        for (i, j), sums in zip(ranked, self.scorer(params, requests, progress=progress)):
            names = suites[i].metas[j]['options']
            out[i][j] = names[int(np.argmax(self._normalised(sums, suites[i].options[j], names=names)))]
        return out

    def _normalised(self, sums: np.ndarray, options: Sequence[Sequence[int]], *, names: Sequence[str]) -> np.ndarray:
        match self.config.normalise:
            case 'sum':
                return sums
            case 'token':
                return sums / np.array([len(option) for option in options])
            case 'byte':
                return sums / np.array([max(len(name.encode()), 1) for name in names])


def scores(
    suites: Sequence[Suite],
    predictions: Sequence[Sequence[str]],
    *,
    examples: int,
    show: Callable[[Sequence[int]], str],
    seed: int = 0,
) -> dict[str, Any]:
    """scores.json of some predictions.

    Args:
      suites: what was asked.
      predictions: what was said, in the same order.
      examples: shown of each task.
      show: ids -> text, for those.
      seed: of the resampling.
    """
    tasks = {}
    for asked, said in zip(suites, predictions):
        tasks[asked.name] = _task(asked, said, seed=seed) | {
            'examples': _examples(asked, said, count=examples, show=show)
        }
    out: dict[str, Any] = {}
    for group in GROUPS:
        parts = [t[group] for t in tasks.values() if t.get(group)]
        if parts:
            members = [t for t in tasks.values() if t.get(group)]
            out[group] = _average(parts) | {
                'constant_baseline': _mean([t['constant_baseline'] for t in members]),
                'copy_baseline': _mean([t['copy_baseline'] for t in members]),
            }
        else:
            out[group] = None
    clusters = {}
    for name in sorted({t['cluster'] for t in tasks.values()}):
        members = [t for t in tasks.values() if t['cluster'] == name]
        # Of a cluster that is trained on in part, a task held out by itself counts in its group alone.
        held_out = all(t['held_out'] for t in members)
        parts = [t['held_out_clusters' if held_out else 'held_in'] for t in members]
        if any(parts):
            clusters[name] = _average([part for part in parts if part]) | {'held_out': held_out}
    for task in tasks.values():
        for group in GROUPS:
            if task[group]:
                del task[group]['draws']
    return out | {'clusters': clusters, 'tasks': tasks}


def _average(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over tasks, and the interval of that mean from the tasks' own resamples."""
    draws = np.mean([part['draws'] for part in parts], axis=0)
    return {
        'exact_match': _mean([part['exact_match'] for part in parts]),
        'score': _mean([part['score'] for part in parts]),
        'interval': _interval(draws),
        'tasks': len(parts),
        'examples': sum(part['examples'] for part in parts),
    }


def _task(asked: Suite, said: Sequence[str], *, seed: int) -> dict[str, Any]:
    references = [meta['references'] for meta in asked.metas]
    exact = np.array([metrics.PER_EXAMPLE['exact_match'](r, p) for r, p in zip(references, said)])
    name = asked.metrics[0]
    per_template = {}
    for template in dict.fromkeys(asked.templates):
        index = [i for i, t in enumerate(asked.templates) if t == template]
        found = metrics.get(name)([references[i] for i in index], [said[i] for i in index])
        per_template[template] = {
            'exact_match': float(exact[index].mean()),
            'score': found[name],
            'held_out': template in asked.unseen,
        }

    def part(templates: list[str]) -> dict[str, Any] | None:
        index = np.array([i for i, t in enumerate(asked.templates) if t in templates], np.int64)
        if not len(index):
            return None
        by_score = sorted(templates, key=lambda t: per_template[t]['exact_match'])
        draws = _resampled(exact[index], asked.rows[index], seed=(seed, zlib.crc32(asked.name.encode())))
        found = {}
        for metric in asked.metrics:
            found |= metrics.get(metric)([references[i] for i in index], [said[i] for i in index])
        return found | {
            'exact_match': float(exact[index].mean()),
            'score': found[name],
            'interval': _interval(draws),
            'best_template': by_score[-1],
            'worst_template': by_score[0],
            'examples': len(index),
            'draws': draws,
        }

    seen = [t for t in per_template if asked.held_out or t not in asked.unseen]
    unseen = [t for t in per_template if t not in seen]
    return {
        'cluster': asked.cluster,
        'held_out': asked.held_out,
        'mode': asked.mode,
        'metric': name,
        'held_in': None if asked.held_out else part(seen),
        'held_out_templates': None if asked.held_out else part(unseen),
        'held_out_clusters': part(seen) if asked.held_out else None,
        'constant_baseline': _constant(references),
        'copy_baseline': _copy(asked),
        'trimmed': asked.trimmed,
        'templates': per_template,
    }


def _resampled(exact: np.ndarray, rows: np.ndarray, *, seed: tuple[int, int]) -> np.ndarray:
    """Means of `exact` with the source rows drawn anew; templates of a row stay together.

    The seed is a task's own: tasks drawn alike would seem to err together, and their mean to be less certain.
    """
    _, inverse = np.unique(rows, return_inverse=True)
    count = inverse.max() + 1
    totals, sizes = np.bincount(inverse, exact, count), np.bincount(inverse, minlength=count)
    draws = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    return totals[draws].sum(axis=1) / sizes[draws].sum(axis=1)


def _interval(draws: np.ndarray) -> list[float]:
    """95 %, by percentiles (Efron & Tibshirani 1993)."""
    return [round(float(q), 4) for q in np.quantile(draws, [0.025, 0.975])]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _constant(references: Sequence[Sequence[str]]) -> float:
    """Exact match of the best answer that is always the same."""
    counts = Counter(answer for accepted in references for answer in set(accepted))
    return max(counts.values()) / len(references)


def _copy(asked: Suite) -> float:
    """Exact match of copying: the best field among those the prompts show, always repeated as it is."""
    hits: Counter = Counter()
    for meta in asked.metas:
        accepted = set(meta['references'])
        for field in asked.fields:
            value = meta['fields'].get(field)
            if isinstance(value, str):
                hits[field] += value.strip() in accepted
    return max(hits.values(), default=0) / len(asked.metas)


def _examples(
    asked: Suite, said: Sequence[str], *, count: int, show: Callable[[Sequence[int]], str]
) -> list[dict[str, Any]]:
    """A few answers, wrong ones first."""
    correct = [metrics.PER_EXAMPLE['exact_match'](m['references'], p) > 0 for m, p in zip(asked.metas, said)]
    order = sorted(range(len(said)), key=lambda i: (correct[i], i))[:count]
    return [
        {
            'row': int(asked.rows[i]), 'template': asked.templates[i], 'prompt': show(asked.prompts[i]),
            'references': asked.metas[i]['references'], 'prediction': said[i], 'correct': correct[i],
        }
        for i in order
    ]  # fmt: skip
