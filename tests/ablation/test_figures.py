import re
import sys

import pytest
from invented_study import CLUSTERS, EVIL, HEIGHTS, choices, effects, estimate, numbers, study

from flan_jax.ablation import canvas, figures, plots
from flan_jax.ablation.canvas import Figure, Panel
from flan_jax.ablation.findings import Attribution, Curve, Estimate, Point, Proposal


def axes_of(panel: Panel):
    """The panel, drawn on axes that can be asked."""
    from matplotlib.figure import Figure as Canvas

    axes = Canvas().add_subplot()
    panel.draw(axes=axes)
    return axes


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def rows_of(results):
    return {result.variant: result for result in results}


def test_an_axis_has_a_panel_a_target_and_one_for_tokens_where_they_differ():
    curves, results = numbers('tasks', (8, 25, 50, 100), log=True)
    figure = figures.of_axis('tasks', curves, results=rows_of(results))
    titles = [panel.title for panel in figure.panels]
    assert titles[0] == 'trained tasks' and titles[-1] == 'training tokens' and len(titles) == len(HEIGHTS) + 1
    curves, results = choices('instructions', ('a', 'b'))
    figure = figures.of_axis('instructions', curves, results=rows_of(results))
    assert 'training tokens' not in [panel.title for panel in figure.panels]


def test_an_axis_without_scores_has_no_figure():
    unknown = Point(1.0, '1', Estimate(float('nan')), {}, 1.0, ('x',))
    assert figures.of_axis('x', [], results={}) is None
    assert figures.of_axis('x', [Curve('x', 'held_out', (unknown,), None)], results={}) is None


def test_values_spread_evenly_on_a_log_scale_are_drawn_on_one_with_their_own_numbers():
    curves, results = numbers('tasks', (8, 25, 50, 100, 200, 400), log=True)
    axes = axes_of(figures.of_axis('tasks', curves, results=rows_of(results)).panels[0])
    assert axes.get_xscale() == 'log'
    assert labels(axes.xaxis) == ['8', '25', '50', '100', '200', '400']


def test_a_zero_keeps_its_place_on_a_log_scale():
    curves, results = numbers('templates', (0, 1, 4, 10), log=True)
    axes = axes_of(figures.of_axis('templates', curves, results=rows_of(results)).panels[0])
    assert axes.get_xscale() == 'symlog' and labels(axes.xaxis) == ['0', '1', '4', '10']


def test_a_value_that_is_no_number_lies_beyond_the_last_one():
    points = [Point(x, label, estimate(0.5), {}, 1.0, ()) for x, label in ((1.0, '1'), (10.0, '10'), (None, 'all'))]
    axes = axes_of(figures.of_axis('x', [Curve('x', 'unseen', tuple(points), None, log=True)], results={}).panels[0])
    assert dict(zip(labels(axes.xaxis), axes.get_xticks(), strict=True)) == {'1': 1.0, '10': 10.0, 'all': 100.0}


def test_only_the_chosen_formula_is_drawn_with_the_base_and_every_single_variant():
    curves, results = numbers('clusters', (1, 2, 4, 7), kind='log_linear', log=True, targets=('held_out',))
    axes = axes_of(figures.of_axis('clusters', curves, results=rows_of(results)).panels[0])
    assert [len(line.get_xdata()) for line in axes.lines].count(41) == 1
    assert len(axes.collections) == 1 + 4  # its band, and an error bar a value
    assert any(list(line.get_ydata()) == [100 * curves[0].base.mean] * 2 for line in axes.lines)
    singles = [line for line in axes.lines if len(line.get_xdata()) == 3 and len(set(line.get_xdata())) == 1]
    assert len(singles) == 4


def test_bars_begin_at_the_base():
    curves, results = choices('instructions', ('with', 'without'), targets=('unseen',))
    axes = axes_of(figures.of_axis('instructions', curves, results=rows_of(results)).panels[0])
    for bar, point in zip(axes.patches, curves[0].points, strict=True):
        ends = sorted((100 * curves[0].base.mean, 100 * point.estimate.mean))
        assert sorted((bar.get_x(), bar.get_x() + bar.get_width())) == pytest.approx(ends)


def test_few_names_keep_their_order_and_many_are_sorted_by_score():
    few, _ = choices('x', ('c', 'a', 'b'), targets=('unseen',))
    many, _ = choices('x', [f'choice {i}' for i in range(60)], targets=('unseen',))
    assert [point.label for point in plots.rows(few[0])] == ['c', 'a', 'b']
    scores = [point.estimate.mean for point in plots.rows(many[0])]
    assert len(scores) == plots.MOST_ROWS and scores == sorted(scores, reverse=True)
    every = [point.estimate.mean for point in many[0].points]
    assert (scores[0], scores[-1]) == (max(every), min(every))


def test_effects_are_sorted_and_several_targets_make_a_map():
    found = [Attribution(target, 'leave_one_out', effects(target, 0.04)) for target in ('unseen', 'held_out')]
    figure = figures.of_attributions('leave_one_out', found)
    assert len(figure.panels) == 3
    ranked = sorted(CLUSTERS, key=lambda name: -found[0].effects[name].mean)
    assert labels(axes_of(figure.panels[0]).yaxis) == ranked
    shown = {text.get_text() for text in axes_of(figure.panels[2]).texts}
    assert shown == {f'{100 * effect.mean:+.1f}' for one in found for effect in one.effects.values()}
    assert figures.of_attributions('regression', [Attribution('unseen', 'regression', {})]) is None


def test_mixtures_show_their_weights_and_what_was_predicted_and_measured():
    others = {'equal': (estimate(0.4), estimate(0.41)), 'proposal': (estimate(0.5), None)}
    proposal = Proposal(('a', 'b'), 'unseen', (0.25, 0.75), estimate(0.5), others, 'linear', 0.01, 0.02, True)
    weights = {'equal': {'a': 0.5, 'b': 0.5}, 'proposal': {'a': 0.25, 'b': 0.75}}
    bars, scores = figures.of_proposal(proposal, weights=weights).panels
    axes = axes_of(bars)
    assert labels(axes.yaxis) == ['b', 'a']
    assert [bar.get_width() for bar in axes.patches] == [50.0, 50.0, 75.0, 25.0]
    assert len([line for line in axes_of(scores).containers]) == 3


@pytest.fixture
def small() -> Figure:
    curves, results = choices('instructions', ('with', EVIL), targets=('unseen',))
    return figures.of_axis('instructions', curves, results=rows_of(results))


def test_files_are_png_and_svg_with_text_as_text_and_the_same_bytes_each_time(small, tmp_path):
    first = [path.read_bytes() for path in canvas.write(small, tmp_path / 'one')]
    canvas.inline(small)
    second = [path.read_bytes() for path in canvas.write(small, tmp_path / 'two')]
    assert first == second
    assert first[0].startswith(b'\x89PNG') and b'tasks not trained on' in first[1]
    assert b'&lt;script&gt;' in first[1] and b'<script' not in first[1] and b'$5' in first[1]
    assert sorted(path.name for path in (tmp_path / 'one').iterdir()) == [
        'axis-instructions.png', 'axis-instructions.svg',
    ]  # fmt: skip


def test_on_a_page_a_figure_takes_the_pages_colours_and_names_nothing_twice(small):
    drawn = ''.join(canvas.inline(small) + canvas.inline(Figure('other', 'x', small.panels)))
    assert 'var(--s2)' in drawn and 'var(--text)' in drawn and 'http' not in drawn and '<style' not in drawn
    assert not [colour for colour in canvas.SERIES if colour in drawn]
    names = re.findall(r' id="([^"]*)"', drawn)
    assert names and len(set(names)) == len(names)
    assert set(re.findall(r'(?:href="|url\()#(\w+)', drawn)) <= set(names)
    assert '<script' not in drawn


def test_drawing_leaves_no_settings_behind(small, tmp_path):
    import matplotlib

    def settings():  # as they lie there: asking for the backend would choose one
        return {name: dict.__getitem__(matplotlib.rcParams, name) for name in matplotlib.rcParams}

    before, modules = settings(), set(sys.modules)
    canvas.write(small, tmp_path)
    assert settings() == before and 'matplotlib.pyplot' not in set(sys.modules) - modules


def test_the_worst_names_can_be_drawn(tmp_path):
    names = ('', '\x00\x1b[0m', '\ud800', '名前 ' * 30, '$x_1$', 'a' * 400)
    curves, results = choices('worst', names, targets=('unseen',))
    png, svg = canvas.write(figures.of_axis('worst', curves, results=rows_of(results)), tmp_path)
    assert png.stat().st_size and '$x_1$' in svg.read_text()


def test_every_curve_of_a_study_has_its_figure():
    results, findings = study()
    for axis in {curve.axis for curve in findings.curves} - {'no_score_at_all'}:
        curves = [curve for curve in findings.curves if curve.axis == axis]
        assert figures.of_axis(axis, curves, results=rows_of(results)).panels


def test_a_mixture_has_its_colour_whatever_it_is_compared_with():
    others = {'equal': (estimate(0.4), None), 'mine': (estimate(0.3), None)}
    proposal = Proposal(('a', 'b'), 'unseen', (0.25, 0.75), estimate(0.5), others, 'linear', 0.01, 0.02, True)
    assert list(plots.compared(proposal)) == ['equal', 'proposal', 'mine']

    def colour(*names):
        weights = {name: {'a': 0.5, 'b': 0.5} for name in names}
        return axes_of(figures.of_proposal(proposal, weights=weights).panels[0]).patches[-1].get_facecolor()

    assert colour('equal', 'proposal') == colour('proportional', 'equal', 'proposal') == colour('proposal')
