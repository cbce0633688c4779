"""The report of a study: one HTML file that says what was found, shows it, and leads to every run.

Made from the table and the findings alone, so it can be made again at any time. Scores are in per cent, differences and
effects in points of a per cent, both with one decimal.
"""

import dataclasses
import os
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax.ablation import axis_report, canvas, figures, mixture_report, table
from flan_jax.ablation.canvas import Figure
from flan_jax.ablation.findings import TITLES, Findings
from flan_jax.ablation.table import Result
from flan_jax.evaluation import svg
from flan_jax.evaluation.page import Cell, Column, Markup, document, facts, fold, missing, tag, tree
from flan_jax.evaluation.page import table as sortable
from flan_jax.evaluation.scoreboard import count, percent
from flan_jax.evaluation.svg import is_number

FILE, PLOTS = 'report.html', 'plots'
_WIDE = 5.0  # inches; a wider panel has a line of the page for itself


def write(
    study_dir: str | os.PathLike, results: Sequence[Result], *, findings: Findings, about: Mapping[str, Any]
) -> pathlib.Path:
    """Writes `report.html` and `plots/*.png`, `plots/*.svg` into a study's folder.

    Args:
      study_dir: of the study.
      results: all variants, failed ones, too.
      findings: what they came to.
      about: name, description, command, fingerprint, started, wall_s (seconds), device, versions (of packages),
        equalise and budget (what all variants spend alike), published (axis -> what a paper found, shown under the
        axis); what is missing is left out.

    Returns:
      The page's path.
    """
    directory = pathlib.Path(study_dir)
    drawn = _figures(findings, results)
    for figure in drawn.values():
        canvas.write(figure, directory / PLOTS)
    shown = {key: _inline(figure) for key, figure in drawn.items()}
    sections = [
        ('Findings', _sentences(findings)),
        ('Axes', _axes(findings, results, shown=shown, published=about.get('published') or {})),
        ('Attribution', _attributions(findings, shown)),
        ('Mixtures', _mixtures(findings, shown)),
        ('Failures and notes', _notes(findings)),
        ('Variants', _variants(results, directory)),
        ('Configuration', _configuration(results)),
    ]
    name = str(about.get('name') or findings.study)
    text = document(f'{name} · flan_jax', head=_head(name, results, about=about), sections=sections)
    path = directory / FILE
    temporary = path.with_suffix(f'.{os.getpid()}.tmp')
    temporary.write_text(text, encoding='utf-8', errors='replace')
    return temporary.replace(path)


def axes(findings: Findings, results: Sequence[Result]) -> list[str]:
    """Every axis that anything is known of, in the order of the findings."""
    named = [curve.axis for curve in findings.curves] + [found.axis for found in findings.differences]
    return list(dict.fromkeys(named + [axis for result in results for axis in result.settings]))


def _figures(findings: Findings, results: Sequence[Result]) -> dict[tuple[str, Any], Figure]:
    """(part, which) -> its figure; no two have files of the same name."""
    rows = {result.variant: result for result in results}
    found: dict[tuple[str, Any], Figure | None] = {}
    for axis in axes(findings, results):
        curves = [curve for curve in findings.curves if curve.axis == axis]
        found['axis', axis] = figures.of_axis(axis, curves, results=rows)
    for method in _methods(findings):
        of = [one for one in findings.attributions if one.method == method]
        found['attribution', method] = figures.of_attributions(method, of)
    for i, proposal in enumerate(findings.proposals):
        found['mixture', i] = figures.of_proposal(proposal, weights=mixture_report.weights(proposal))
    out, taken = {}, set()
    for key, figure in found.items():
        if figure is not None:
            name, number = figure.name, 2
            while name.lower() in taken:
                name, number = f'{figure.name}-{number}', number + 1
            taken.add(name.lower())
            out[key] = dataclasses.replace(figure, name=name)
    return out


def _methods(findings: Findings) -> list[str]:
    return list(dict.fromkeys(one.method for one in findings.attributions))


def _inline(figure: Figure) -> Markup:
    """A card a panel, and where the files are."""
    cards = [
        tag(
            'figure',
            tag('figcaption', panel.title),
            drawn,
            style='grid-column:1/-1' if panel.size[0] > _WIDE else None,
        )
        for panel, drawn in zip(figure.panels, canvas.inline(figure), strict=True)
    ]
    files = [
        tag('a', kind.upper(), href=f'{PLOTS}/{urllib.parse.quote(figure.name)}.{kind}', class_='small')
        for kind in ('png', 'svg')
    ]
    return tag('div', tag('div', cards, class_='plots'), tag('p', 'Files: ', files[0], ' ', files[1], class_='legend'))


def _head(name: str, results: Sequence[Result], *, about: Mapping[str, Any]) -> Markup:
    done = [result for result in results if result.status == 'finished']
    failed = len(results) - len(done)
    wall = [(r.cost.get('wall_s'), r.cost.get('devices', 1)) for r in results if is_number(r.cost.get('wall_s'))]
    versions = about.get('versions') or {}
    shown = {
        'variants': f'{len(done):,} finished' + (f', {failed:,} failed' if failed else ''),
        'seeds': ', '.join(str(seed) for seed in sorted({result.seed for result in results})) or None,
        'steps a variant': _range([result.cost.get('steps') for result in done]),
        'tokens a variant': _range([result.cost.get('tokens') for result in done]),
        'tokens in all': _sum([result.cost.get('tokens') for result in results]),
        'supervised': _sum([result.cost.get('supervised_tokens') for result in results]),
        'held equal': about.get('equalise'),
        'budget': svg.short(about['budget']) if is_number(about.get('budget')) else about.get('budget'),
        'device': about.get('device'),
        'started': about.get('started'),
        'wall time': duration(about['wall_s']) if is_number(about.get('wall_s')) else None,
        'device time in all': duration(sum(seconds * devices for seconds, devices in wall)) if wall else None,
        'study': about.get('fingerprint'),
        **{package: version for package, version in versions.items() if isinstance(version, str)},
    }
    warning = tag('div', f'{failed:,} of {len(results):,} variants failed; the reasons are below.', class_='warning')
    return tag(
        'div',
        tag('h1', name),
        tag('p', about['description']) if about.get('description') else None,
        facts(shown),
        tag('pre', about['command']) if about.get('command') else None,
        warning if failed else None,
    )


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(42.4), duration(754), duration(9000)
    ('42 s', '13 min', '2.5 h')
    """
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:,.1f} h'


def _range(values: Sequence[Any]) -> str | None:
    known = [value for value in values if is_number(value)]
    if not known:
        return None
    low, high = svg.short(min(known)), svg.short(max(known))
    return low if low == high else f'{low} – {high}'


def _sum(values: Sequence[Any]) -> str | None:
    known = [value for value in values if is_number(value)]
    return svg.short(sum(known)) if known else None


def _sentences(findings: Findings) -> Markup:
    """First what it came to, in words."""
    if not findings.sentences:
        return missing('The analysis said nothing in words.')
    cards = [
        tag('div', tag('strong', axis_report.title(axis)), [tag('p', sentence) for sentence in sentences])
        for axis, sentences in findings.sentences.items()
    ]
    return tag('div', cards, class_='cards')


def _axes(
    findings: Findings, results: Sequence[Result], *, shown: Mapping[tuple[str, Any], Markup], published: Mapping
) -> Markup:
    names = [*axes(findings, results)]
    names += [axis for axis in published if axis not in names]
    if not names:
        return missing('The study has no axis.')
    parts = []
    for i, axis in enumerate(names):
        curves = [curve for curve in findings.curves if curve.axis == axis]
        differences = [found for found in findings.differences if found.axis == axis]
        parts.append(tag('h3', axis_report.title(axis), id=f'axis-{i}'))
        parts.append(
            axis_report.content(curves, differences, plots=shown.get(('axis', axis)), published=published.get(axis))
        )
    links = [tag('a', axis_report.title(axis), href=f'#axis-{i}') for i, axis in enumerate(names)]
    note = (
        'Every mark is the mean over the variants of a value, with 95 % over draws, seeds and examples together; faint '
        'dots are single variants. The dashed line is the base, bars begin at it. A shaded line is the formula that '
        'predicts values left out best; a dotted line says until where doubling the value pays. Scales are cut to '
        'what they show.'
    )
    return tag('div', tag('p', note, class_='soft'), tag('p', links, class_='contents'), parts)


def _attributions(findings: Findings, shown: Mapping[tuple[str, Any], Markup]) -> Markup:
    if not findings.attributions:
        return missing('No axis of this study leaves sources out or draws them at random.')
    parts = []
    for method in _methods(findings):
        found = [one for one in findings.attributions if one.method == method]
        parts.append(mixture_report.effects(method, found, figure=shown.get(('attribution', method))))
    return tag('div', parts)


def _mixtures(findings: Findings, shown: Mapping[tuple[str, Any], Markup]) -> Markup:
    if not findings.proposals:
        return missing('No axis of this study trains on random mixtures.')
    return tag(
        'div',
        [
            mixture_report.proposed(proposal, figure=shown.get(('mixture', i)))
            for i, proposal in enumerate(findings.proposals)
        ],
    )


def _notes(findings: Findings) -> Markup:
    if not findings.failed and not findings.notes:
        return missing('None.')
    failed = [
        tag('div', tag('strong', name), tag('pre', reason or 'no reason was written'), class_='bad')
        for name, reason in findings.failed.items()
    ]
    return tag('div', failed, tag('ul', [tag('li', note) for note in findings.notes]) if findings.notes else None)


def _variants(results: Sequence[Result], directory: pathlib.Path) -> Markup:
    """All of them, with a way to each run's own report."""
    if not results:
        return missing('The study has no variants yet.')
    columns = [
        Column('variant'),
        Column('settings', title='axes it leaves as the base has them are not named'),
        Column('seed', number=True),
        Column('state'),
        *(Column(f'{title}, %', number=True) for title in TITLES.values()),
        *(Column(name, number=True) for name in ('steps', 'tokens', 'supervised tokens', 'time')),
    ]
    return tag('div', sortable(columns, [_variant(result, directory) for result in results]), class_='tall')


def _variant(result: Result, directory: pathlib.Path) -> list[Cell]:
    settings = [
        tag('div', f'{axis_report.title(axis)}: {place.label}', _draw(place.draw), class_='name')
        for axis, place in result.settings.items()
    ]
    places = ' '.join(f'{axis} {place.label}' for axis, place in result.settings.items())
    scores = [table.mean(result, target) for target in TITLES]
    cost = {name: result.cost.get(name) for name in ('steps', 'tokens', 'supervised_tokens', 'wall_s')}
    cost = {name: value if is_number(value) else None for name, value in cost.items()}
    state = tag('span', 'failed', class_='bad', title=result.error) if result.status == 'failed' else result.status
    report = _report(result, directory)
    return [
        Cell(tag('a' if report else 'span', result.variant, href=report, class_='name'), result.variant),
        Cell(settings or 'the base', places),
        Cell(result.seed, result.seed),
        Cell(state, result.status),
        *(Cell(percent(score), score) for score in scores),
        Cell(count(cost['steps']), cost['steps']),
        *(Cell('–' if cost[k] is None else svg.short(cost[k]), cost[k]) for k in ('tokens', 'supervised_tokens')),
        Cell('–' if cost['wall_s'] is None else duration(cost['wall_s']), cost['wall_s']),
    ]


def _draw(number: int) -> str | None:
    return f', draw {number}' if number else None


def _report(result: Result, directory: pathlib.Path) -> str | None:
    """The way from the study's page to a run's, which may have failed before it wrote one."""
    if not result.run_dir or not (pathlib.Path(result.run_dir) / FILE).exists():
        return None
    way = os.path.relpath(pathlib.Path(result.run_dir) / FILE, directory)
    return urllib.parse.quote(pathlib.PurePath(way).as_posix())


def _configuration(results: Sequence[Result]) -> Markup:
    base = next((result for result in results if not result.settings and result.config), None)
    if base is None:
        return missing('No data: the base has no resolved configuration.')
    return fold(f'Resolved configuration of {base.variant}', tree(base.config))
