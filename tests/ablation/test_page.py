import html
import os
import re

import pytest
from invented_study import ABOUT, CLUSTERS, EVIL, LONG, choices, estimate, result, study

from flan_jax.ablation import mixture_report, page
from flan_jax.ablation.findings import Difference, Estimate, Findings, Proposal
from flan_jax.ablation.table import Result, Setting, mean

EMPTY = Findings('empty', (), (), (), (), {}, {}, ())


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A study's folder with its page: the base's own report is there, the others' are not."""
    directory = tmp_path_factory.mktemp('study')
    report = directory / 'runs' / 'base' / 'report.html'
    report.parent.mkdir(parents=True)
    report.write_text('a run')
    results, findings = study()
    results[0] = result('base', {}, run_dir=str(report.parent))
    assert page.write(directory, results, findings=findings, about=ABOUT) == directory / 'report.html'
    return directory, results, findings


@pytest.fixture(scope='module')
def text(written) -> str:
    return (written[0] / 'report.html').read_text()


def plain(markup: str) -> str:
    """What a reader sees."""
    return html.unescape(re.sub(r'\s+', ' ', re.sub(r'<[^>]*>', ' ', markup)))


def section(text: str, name: str) -> str:
    return re.search(rf'<section id="{name}">(.*?)</section>', text, re.DOTALL).group(1)


def test_the_page_loads_nothing(text):
    assert not re.search(r'src=|<link|@import|<iframe|<img|url\((?!#)', text)
    assert not re.search(r'href="(https?:)?//', text)
    assert set(re.findall(r'https?://[^\s"\'<]+', text)) <= {'http://www.w3.org/2000/svg'}  # a name in the script


def test_names_stay_text(text):
    assert text.count('<script>') == 1 and html.escape(EVIL) in text


def test_every_axis_is_named_with_its_sentences_before_its_figures(written, text):
    _, results, findings = written
    names = page.axes(findings, results)
    assert {'clusters', 'instructions', 'no_score_at_all', 'mixture', LONG} <= set(names)
    heads = [html.unescape(head) for head in re.findall(r'<h3 id="axis-\d+">(.*?)</h3>', text)]
    assert heads == [name.replace('_', ' ') for name in names]
    for sentences in findings.sentences.values():
        assert all(html.escape(sentence) in section(text, 'findings') for sentence in sentences)
    assert text.index('id="findings"') < text.index('id="axes"') < text.index('id="variants"')


def test_scores_and_differences_on_the_page_are_the_findings(written, text):
    _, _, findings = written
    shown = plain(section(text, 'axes'))
    for curve in findings.curves:
        for point in curve.points:
            score = point.estimate
            assert f'{100 * score.mean:.1f} {100 * score.low:.1f}–{100 * score.high:.1f}' in shown
    for found in findings.differences:
        change = found.difference
        assert f'{100 * change.mean:+z.1f} {100 * change.low:+z.1f} … {100 * change.high:+z.1f}' in shown
    for one in findings.attributions:
        for effect in one.effects.values():
            assert f'{100 * effect.mean:+z.1f} {100 * effect.low:+z.1f}' in plain(section(text, 'attribution'))


def test_tables_sort_by_the_numbers_themselves(written, text):
    _, _, findings = written
    values = set(re.findall(r'data-v="([^"]*)"', section(text, 'axes')))
    assert {str(point.estimate.mean) for curve in findings.curves for point in curve.points} <= values
    assert {str(found.p_corrected) for found in findings.differences} <= values
    first = re.search(r'<tbody>(.*?)</tbody>', section(text, 'attribution'), re.DOTALL).group(1)
    numbers = [float(v) for v in re.findall(r'<td class="number" data-v="([^"]*)"><(?:strong|span)', first)]
    assert len(CLUSTERS) <= len(numbers)
    effects = [float(row.split('data-v="')[3].split('"')[0]) for row in first.split('<tr>')[1:]]
    assert effects[:7] == sorted(effects[:7], reverse=True)


def test_what_the_paper_found_stands_under_its_axis(text):
    assert 'FLAN (2021), figure 6' in text.split('<h3 id="axis-1">')[0].split('<h3 id="axis-0">')[1]


def test_every_file_that_the_page_leads_to_is_there(written, text):
    directory, _, _ = written
    files = re.findall(r'href="(plots/[^"]*)"', text)
    assert len(files) == 2 * len(set(file[:-4] for file in files)) > 10
    assert all((directory / file).stat().st_size for file in files)
    assert sorted(f'plots/{name}' for name in os.listdir(directory / 'plots')) == sorted(files)


def test_a_variant_leads_to_its_own_report_where_it_wrote_one(written, text):
    _, results, _ = written
    rows = section(text, 'variants')
    assert rows.count('<tr>') == len(results) + 1 > 61
    assert re.findall(r'href="([^"]*)"', rows) == ['runs/base/report.html']
    assert f'data-v="{mean(results[1], "held_out")}"' in rows


def test_failures_and_notes_are_told(written, text):
    _, results, findings = written
    told = plain(section(text, 'failures-and-notes'))
    assert all(name in told for name in findings.failed) and findings.notes[0] in told and EVIL in told
    assert f'1 of {len(results)} variants failed' in plain(text)


def test_the_head_says_what_was_run_and_what_it_cost(written, text):
    _, results, _ = written
    head = plain(text[text.index('<header>') : text.index('<nav>')])
    done = sum(one.status == 'finished' for one in results)
    known = ('0, 1', '1200', 'TPU v5e', '84 min', 'held equal tokens', ABOUT['command'], '0123abcd', '0.10.2')
    assert f'{done} finished, 1 failed' in head and not [told for told in known if told not in head]
    assert f'{done * 3_250_000 / 1e6:.4g}M' in head and f'{done * 2 * 321.5 / 3600:.1f} h' in head


def test_a_proposal_that_predicts_no_better_than_the_mean_is_not_to_be_trusted(written, text):
    _, _, findings = written
    good, bad = findings.proposals
    assert 'Do not trust' not in ' '.join(mixture_report.verdict(good))
    assert mixture_report.verdict(bad)[0].startswith('Do not trust this proposal')
    assert 'Do not trust' in section(text, 'mixtures')


@pytest.mark.parametrize(
    ('own', 'other', 'low', 'end'),
    [
        (0.5, 0.4, 0.05, 'It came out best.'),
        (0.5, 0.4, -0.01, 'It came out best, but not surely.'),
        (0.3, 0.4, -0.2, 'It did not come out best.'),
    ],
)
def test_a_verdict_says_whether_the_measured_proposal_won_on_the_same_prompts(own, other, low, end):
    others = {'equal': (estimate(0.4), estimate(other)), 'proposal': (estimate(0.5), estimate(own))}
    gains = {'equal': Estimate(own - other, low, 2 * (own - other) - low)}
    proposal = Proposal(
        ('a', 'b'), 'unseen', (0.2, 0.8), estimate(0.5), others, 'linear', 0.01, 0.02, True, gains=gains
    )
    last = mixture_report.verdict(proposal)[-1]
    assert last.endswith(end) and f'{100 * (own - other):+.1f} points (' in last and ' against equal.' in last
    untrained = Proposal(('a',), 'unseen', (1.0,), estimate(0.5), {}, 'linear', 0.01, 0.02, True)
    assert 'not trained' in mixture_report.verdict(untrained)[-1]


def test_weights_of_all_mixtures_that_are_known_stand_side_by_side(written):
    _, _, findings = written
    found = mixture_report.weights(findings.proposals[0])
    assert list(found) == ['proportional', 'equal', 'proposal']
    assert found['proportional']['nli'] == pytest.approx(1 / sum(2.0**-i for i in range(7)))
    assert all(sum(weights.values()) == pytest.approx(1.0) for weights in found.values())


def test_a_study_of_which_nothing_is_known_has_a_page(tmp_path):
    text = page.write(tmp_path, [], findings=EMPTY, about={}).read_text()
    assert '<h1>empty</h1>' in text and 'no variants yet' in text
    failed = Result('x', {'axis': Setting('axis', None, 'x')}, 0, 'failed', error='out of memory')
    assert 'axis' in page.write(tmp_path, [failed], findings=EMPTY, about={}).read_text()


def test_axes_whose_names_make_the_same_file_keep_theirs_apart(tmp_path):
    curves = [curve for name in ('a b', 'a/b', 'A.B') for curve in choices(name, ('x', 'y'), targets=('unseen',))[0]]
    found = Findings('apart', tuple(curves), (), (), (), {}, {}, ())
    page.write(tmp_path, [], findings=found, about={})
    assert len(list((tmp_path / 'plots').glob('*.svg'))) == 3


def test_a_difference_without_a_point_is_shown(tmp_path):
    lone = Difference('x', 'gone', 'unseen', estimate(-0.0321, 0.01), 0.01, 0.02, 0, 4)
    text = page.write(tmp_path, [], findings=Findings('s', (), (lone,), (), (), {}, {}, ()), about={}).read_text()
    assert '<strong>-3.2</strong>' in text and 'gone' in text and '0 / 4' in text


def test_half_a_surrogate_pair_does_not_cost_the_page(tmp_path):
    found = Findings('s', (), (), (), (), {'x': ('\ud800',)}, {}, ())
    assert page.write(tmp_path, [], findings=found, about={}).exists()
