"""What each source of training data does for a score: by leaving it out, and by regression over random subsets.

A target's tasks are the same in all variants that are compared, whether a variant trains on them or not, so that the
effect of a cluster on itself is what training on it brings.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from flan_jax.ablation import differences, ridge, uncertainty
from flan_jax.ablation.findings import Attribution, Estimate
from flan_jax.ablation.uncertainty import Run

DRAWS = 300
FEWEST = 6  # subsets; of fewer nothing can be said


@dataclasses.dataclass(frozen=True)
class Subset:
    """A variant's training tasks and its score.

    Attributes:
      sources: source -> how much of it the variant trains on, 0 to 1.
      score: of the target.
    """

    sources: Mapping[str, float]
    score: float


def leave_one_out(target: str, *, base: Sequence[Run], without: Mapping[str, Sequence[Run]]) -> Attribution | None:
    """Base minus the variants without a source, on the same rows.

    Args:
      base: the base's runs on the target's tasks.
      without: source -> runs that leave it out, on the same tasks.

    Returns:
      None where nothing can be compared.
    """
    effects = {}
    for source, runs in without.items():
        changes = differences.paired(base, runs)
        if changes:
            found = uncertainty.of(changes).estimate
            low, high = (None, None) if found.low is None else (-found.high, -found.low)
            effects[source] = Estimate(-found.mean, low, high)
    return Attribution(target, 'leave_one_out', effects) if effects else None


def regression(target: str, subsets: Sequence[Subset]) -> Attribution | None:
    """Ridge regression of the score on what is trained on; an effect is of all of a source against none of it.

    Variants with the same sources (other seeds) count as one, with their mean score: they are left out together.

    Returns:
      None where there are fewer than `FEWEST` different subsets, or all are alike.
    """
    names = sorted({name for subset in subsets for name in subset.sources})
    scores: dict[tuple[float, ...], list[float]] = {}
    for subset in subsets:
        key = tuple(subset.sources[name] if name in subset.sources else 0.0 for name in names)
        scores.setdefault(key, []).append(subset.score)
    if len(scores) < FEWEST:
        return None
    features, means = np.array(list(scores)), np.array([np.mean(values) for values in scores.values()])
    varied = [i for i in range(len(names)) if np.ptp(features[:, i]) > 0]
    if not varied:
        return None
    features = features[:, varied]
    model = ridge.fit(features, means)
    drawn = ridge.draws(features, means, count=DRAWS, seed=zlib.crc32(target.encode()))
    low, high = np.quantile([m.effects for m in drawn], [0.025, 0.975], axis=0)
    effects = {names[i]: Estimate(float(model.effects[j]), float(low[j]), float(high[j])) for j, i in enumerate(varied)}
    return Attribution(
        target, 'regression', effects,
        held_out_error=_root(ridge.left_out(features, means)), baseline_error=_root(ridge.mean_left_out(means)),
    )  # fmt: skip


def by_cluster(tasks: Sequence[str], *, clusters: Mapping[str, str]) -> dict[str, float]:
    """Share of each cluster's tasks that is trained on.

    >>> by_cluster(['rte', 'sst2'], clusters={'rte': 'nli', 'anli': 'nli', 'sst2': 'sentiment', 'copa': 'causes'})
    {'nli': 0.5, 'sentiment': 1.0, 'causes': 0.0}
    """
    sizes: dict[str, int] = {}
    found: dict[str, int] = {}
    for task, cluster in clusters.items():
        sizes[cluster] = sizes.setdefault(cluster, 0) + 1
        found[cluster] = found.setdefault(cluster, 0) + (task in tasks)
    return {cluster: found[cluster] / size for cluster, size in sizes.items()}


def _root(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))
