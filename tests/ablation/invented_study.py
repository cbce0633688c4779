"""A study with every kind of axis and every kind of trouble, from formulas instead of runs."""

import math

from flan_jax.ablation.findings import Attribution, Curve, Difference, Estimate, Findings, Fit, Point, Proposal
from flan_jax.ablation.table import Result, Setting

EVIL = '<script>alert("x")</script> & $5'  # a name that must stay text
LONG = 'a_choice_with_a_very_long_name_' * 4
CLUSTERS = ('nli', 'sentiment', 'summarisation', 'closed_book_qa', 'translation', 'commonsense', 'coreference')
HEIGHTS = {'held_in': 0.62, 'held_out_templates': 0.58, 'unseen': 0.47, 'held_out': 0.41}


def wiggle(*parts) -> float:
    """A number from -1 to 1 that looks drawn."""
    return math.sin(sum((i + 1) * 12.9898 * (hash_of(part) % 1000) for i, part in enumerate(parts)))


def hash_of(part) -> int:
    return sum((i + 1) * ord(c) for i, c in enumerate(str(part)))


def estimate(mean: float, half: float = 0.02) -> Estimate:
    return Estimate(mean, mean - half, mean + half)


def result(variant: str, settings: dict[str, Setting], *, seed: int = 0, score: float = 0.0, **more) -> Result:
    """A finished run with one task a target, `score` above what the target usually has."""
    groups = {'held_in': ('mnli',), 'held_out_templates': ('mnli',), 'unseen': ('sst2',), 'held_out': ('boolq',)}
    scores = {target: {'score': HEIGHTS[target] + score + 0.01 * wiggle(variant, target)} for target in HEIGHTS}
    tasks = {
        'mnli': {'held_in': scores['held_in'], 'held_out_templates': scores['held_out_templates']},
        'sst2': {'held_out_clusters': scores['unseen']},
        'boolq': {'held_out_clusters': scores['held_out']},
    }
    plan = {'tasks': [{'task': f'{c}_a', 'cluster': c, 'asked_rate': 2.0**-i} for i, c in enumerate(CLUSTERS)]}
    cost = {'wall_s': 321.5, 'steps': 1200, 'tokens': 3_250_000, 'supervised_tokens': 410_000, 'devices': 2}
    fields = {
        'groups': groups, 'scores': {'tasks': tasks}, 'cost': cost, 'plan': plan, 'run_dir': f'runs/{variant}',
        'config': {'name': variant, 'seed': seed, 'optimizer': {'learning_rate': 3e-4}},
    }  # fmt: skip
    return Result(variant, settings, seed, 'finished', **(fields | more))


def numbers(axis: str, xs, *, kind=None, log=False, gain=0.03, targets=tuple(HEIGHTS)) -> tuple[list, list]:
    """Curves of an axis of numbers, three draws a value, and their results."""
    results, curves = [], []
    for x in xs:
        for draw in range(3):
            place = {axis: Setting(axis, x, f'{x:g}', draw)}
            results.append(result(f'{axis}-{x:g}-{draw}', place, score=gain * math.log2(x + 1)))
    for target in targets:
        height = HEIGHTS[target]
        points = tuple(
            Point(
                x, f'{x:g}', estimate(height + gain * math.log2(x + 1) + 0.006 * wiggle(x, target)),
                {'draws': 0.008, 'examples': 0.004}, 1e5 * x, tuple(f'{axis}-{x:g}-{draw}' for draw in range(3)),
            )
            for x in xs
        )  # fmt: skip
        fits = ()
        if kind:
            steps = [min(xs) * (max(xs) / min(xs)) ** (i / 40) for i in range(41)]
            mean = [height + gain * math.log2(x + 1) for x in steps]
            bands = tuple(tuple(m + side for m in mean) for side in (-0.012, 0.012))
            told, flat = {'a': estimate(height), 'b': estimate(gain)}, [height] * len(steps)
            fits = (
                Fit('constant', {'a': estimate(height)}, 0.031, False, (steps, flat, flat, flat)),
                Fit(kind, told, 0.008, True, (steps, mean, *bands)),
            )  # fmt: skip
        until = Estimate(xs[-2], xs[-3], xs[-1]) if kind and target == 'held_out' else None
        curves.append(Curve(axis, target, points, estimate(height + gain, 0.01), fits, until, 0.01, log))
    return curves, results


def choices(axis: str, labels, *, targets=tuple(HEIGHTS)) -> tuple[list, list]:
    """Curves of an axis of names, two draws a value, and their results."""
    names = {label: [f'{axis}-{i}-{draw}' for draw in range(2)] for i, label in enumerate(labels)}
    results = [
        result(name, {axis: Setting(axis, None, label, draw)}, seed=draw, score=0.03 * wiggle(label))
        for label, own in names.items()
        for draw, name in enumerate(own)
    ]
    curves = [
        Curve(
            axis, target,
            tuple(
                Point(None, label, estimate(HEIGHTS[target] + 0.03 * wiggle(label, target)), {}, 3e6, tuple(own))
                for label, own in names.items()
            ),
            estimate(HEIGHTS[target]),
        )
        for target in targets
    ]  # fmt: skip
    return curves, results


def effects(target: str, size: float) -> dict[str, Estimate]:
    return {cluster: estimate(size * wiggle(cluster, target), 0.008) for cluster in CLUSTERS}


def proposals() -> tuple[Proposal, ...]:
    weights = tuple(w / 28 for w in (7, 6, 5, 4, 3, 2, 1))
    others = {
        'proportional': (estimate(0.412, 0.01), estimate(0.409, 0.012)),
        'equal': (estimate(0.421, 0.01), None),
        'proposal': (estimate(0.446, 0.01), estimate(0.4385, 0.012)),
    }
    return (
        Proposal(
            CLUSTERS,
            'held_out',
            weights,
            estimate(0.446),
            others,
            'score = a + sum b log w',
            0.011,
            0.019,
            True,
            {'equal': [1 / 7] * 7, 'proportional': [2.0**-i / 1.984375 for i in range(7)], 'proposal': weights},
            {'proportional': Estimate(0.02, -0.01, 0.05)},
        ),
        Proposal(
            CLUSTERS, 'unseen', weights, Estimate(0.5), {'equal': (Estimate(0.49), None)}, 'a <b> c', 0.03, 0.02, False
        ),
    )


def study(targets=('held_in', 'held_out')) -> tuple[list[Result], Findings]:
    """Results and findings, more than sixty variants, with the worst of each kind."""
    results = [result('base', {}), result('base-seed1', {}, seed=1)]
    curves: list[Curve] = []
    for found, rows in (
        numbers('clusters', (1, 2, 4, 7), kind='log_linear', log=True, targets=targets),
        numbers('tasks', (8, 25, 50, 100, 200, 400), kind='power', log=True, gain=0.012, targets=targets),
        numbers('templates', (0, 1, 4, 10), log=True, gain=0.01, targets=targets),
        numbers('share_of_few_shot', (0.0, 0.25, 0.5, 1.0), gain=0.02, targets=targets),
        numbers('one_value_only', (3,), targets=targets),
        choices('instructions', ('with instructions', 'data set names', 'no template', EVIL), targets=targets),
        choices('leave_one_out', [f'without {c}' for c in CLUSTERS], targets=('unseen', 'held_out')),
        choices(LONG, [f'{LONG}{i}' for i in range(16)], targets=('held_out',)),
    ):
        curves += found
        results += rows
    places = {'no_score_at_all': Setting('no_score_at_all', 2.0, '2')}
    results.append(Result('no_score_at_all-2', places, 0, 'failed', error=f'DataError: {EVIL}', run_dir='runs/failed'))
    curves.append(Curve('no_score_at_all', 'held_out', (), None))
    differences = tuple(
        Difference(
            curve.axis, point.label, curve.target, estimate(point.estimate.mean - curve.base.mean, 0.015),
            0.004, 0.02 if i % 2 else 0.3, 3, 1,
        )
        for curve in curves for i, point in enumerate(curve.points)
    )  # fmt: skip
    attributions = (
        *(Attribution(target, 'leave_one_out', effects(target, 0.04)) for target in ('unseen', 'held_out')),
        *(Attribution(c, 'regression', effects(c, 0.06), 0.012, 0.02) for c in CLUSTERS),
        Attribution('held_out', 'regression', effects('held_out', 0.02), 0.022, 0.021),
    )
    sentences = {
        'clusters': ('Each doubling of the clusters adds 3.0 points on held-out clusters (2.1 to 3.9).', 'More: no.'),
        'tasks': ('From 200 tasks on, doubling adds less than 1.0 points.',),
        'instructions': (f'{EVIL} loses nothing that 2 seeds could show.',),
    }
    notes = ('Two seeds only: intervals over seeds are wide.',)
    failed = {'no_score_at_all-2': f'DataError: {EVIL}\n  in line 3'}
    found = Findings(
        'invented', tuple(curves), differences, attributions, proposals(), sentences, failed, notes
    )  # fmt: skip
    return [*results, result('proportional', {'mixture': Setting('mixture', None, 'proportional')})], found


ABOUT = {
    'name': 'an invented study',
    'description': 'What the number of clusters, tasks and templates does, from formulas.',
    'command': 'python -m flan_jax.ablate --config=configs/studies/invented.py',
    'fingerprint': '0123abcd',
    'started': '2026-01-02 03:04',
    'wall_s': 5025.0,
    'device': 'TPU v5e',
    'equalise': 'tokens',
    'budget': 3_250_000,
    'versions': {'jax': '0.10.2', 'flan_jax': '0.1'},
    'published': {'clusters': 'FLAN (2021), figure 6: 49.6, 54.2 and 55.0 with 1, 4 and 7 clusters.'},
}
