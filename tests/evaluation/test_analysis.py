"""What goes wrong in instruction tuning: found where it was put, and not where it was not."""

import dataclasses
import doctest
import json
import types

import numpy as np
import pytest
from suites_by_hand import chosen, ranked, said, scores, suite

from flan_jax import errors
from flan_jax.config import FormatConfig
from flan_jax.data import encoding
from flan_jax.data.encoding import Example
from flan_jax.data.formats import Renderer
from flan_jax.data.task import GeneratedSource, Task
from flan_jax.data.templates import Template, fill
from flan_jax.evaluation import analysis, budget, calibration, labels, likelihood, outcomes, probes, resampling
from flan_jax.evaluation.probes import Probe


@pytest.mark.parametrize('module', [budget, calibration, likelihood, probes, resampling])
def test_the_docstrings_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def of(asked, answers, probes_=()):
    found = outcomes.of(asked, answers)
    return analysis.of(found, [(probe, outcomes.of(probe.suite, given)) for probe, given in probes_])


def test_a_budget_keeps_the_rows_it_found_and_only_ever_asks_fewer():
    limit = budget.Budget(4.0, most=50)
    for seconds in (40.0, 0.4):  # compilation, then what it takes
        assert not limit.settled and limit.rows == budget.FIRST_ROWS
        limit.took(seconds)
    assert limit.settled and limit.rows == 18
    asked = []
    for seconds in (9.0, 3.0, 3.9, 0.1, 0.1):  # one late evaluation is a new shape's compilation
        limit.took(seconds)
        asked.append(limit.rows)
    assert asked == [18] * 5
    for seconds in (8.0, 8.0):
        limit.took(seconds)
    assert limit.rows == 8
    free = budget.Budget(None, most=5)
    free.took(1e9)
    assert free.settled and free.rows == 5 and budget.Budget(1e-9, most=1).rows == 1


def test_a_model_as_right_as_it_is_sure_has_no_calibration_error_and_a_boaster_has():
    draw = np.random.default_rng(0)
    sure = draw.uniform(0.5, 1.0, 20_000)
    honest = (draw.random(20_000) < sure).astype(float)
    assert calibration.reliability(sure, honest)['ece'] < 0.015
    assert calibration.reliability(np.full(100, 0.99), np.tile([0.0, 1.0], 50))['ece'] == pytest.approx(0.49)


def test_a_ranked_task_tells_its_calibration_and_the_groups_pool_it():
    asked = ranked(answers=['a', 'b'] * 10, options=['a', 'b'])
    given = chosen(asked, np.log([[0.9, 0.1]] * 20))
    got = scores([asked], [given])
    assert got['tasks']['r']['calibration'] == {
        'ece': 0.4, 'confidence': 0.9, 'bins': [{'confidence': 0.9, 'accuracy': 0.5, 'count': 20}],
    }  # fmt: skip
    assert got['calibration'] == {'ece': 0.4, 'bins': [{'confidence': 0.9, 'accuracy': 0.5, 'count': 20}]}
    assert scores([suite(answers=['x'])], [['x']])['calibration'] is None


def test_labels_given_whatever_is_asked_show_as_bias_and_in_the_confusion():
    asked = suite(answers=['yes'] * 6 + ['no'] * 2)
    found = of(asked, said(['no'] * 6 + ['no', 'maybe']))['labels']
    assert found['labels'] == ['yes', 'no'] and found['counts'] == [[0, 6, 0], [0, 1, 1]]
    assert found['true'] == [0.75, 0.25] and found['predicted'] == [0.0, 0.875, 0.125] and found['bias'] == 0.75
    right = of(asked, said(['yes'] * 6 + ['no'] * 2))['labels']
    assert right['bias'] == 0 and right['counts'] == [[6, 0, 0], [0, 2, 0]]


def test_open_questions_are_no_classification():
    assert labels.of(suite(answers=[f'{i}' for i in range(100)])) == []
    assert labels.of(suite(answers=['x', 'y'])) == []  # too few rows to tell
    assert labels.of(suite(answers=['x'] * 50)) == []


def test_batch_calibration_takes_a_templates_preference_away():
    truth = np.tile([0, 1], 25)
    names = ['a', 'b'] * 50
    favour = np.where(np.array(names) == 'a', 3.0, -3.0)  # each template favours another label
    evidence = np.repeat(np.where(truth == 1, 1.0, -1.0), 2)
    asked = ranked(
        answers=[['no', 'yes'][t] for t in np.repeat(truth, 2)], options=['no', 'yes'], templates=names,
        rows=np.repeat(np.arange(50), 2),
    )  # fmt: skip
    found = of(asked, chosen(asked, np.stack([np.zeros(100), evidence + favour], axis=1)))['batch_calibrated']
    assert found == {'before': 0.5, 'after': 1.0}


def test_content_free_prompts_take_a_preference_away_that_training_data_gave():
    asked = ranked(answers=['no', 'yes'] * 10, options=['no', 'yes'])
    sums = [[0.0, 0.5], [0.0, 2.0]] * 10  # 'yes' is favoured by 1
    free = ranked('r', answers=['no'] * 2, options=['no', 'yes'])
    found = of(asked, chosen(asked, sums), [(Probe('content_free', free), chosen(free, [[0.0, 1.0]] * 2))])
    assert found['content_free']['before'] == 0.5 and found['content_free']['after'] == 1.0
    assert found['content_free']['shares'] == [0.2689, 0.7311]


def test_answers_that_hang_on_the_order_of_options_are_counted():
    asked = ranked(answers=['a', 'b', 'a', 'b'], options=['a', 'b'])
    turned = ranked(answers=['a', 'b', 'a', 'b'], options=['b', 'a'])
    first = [[0.0, -1.0]] * 4  # always the first place
    found = of(asked, chosen(asked, first), [(Probe('permuted', turned), chosen(turned, first))])
    assert found['option_order'] == {'same': 0.0, 'score': 0.5, 'permuted_score': 0.5, 'flipped': 1.0}
    assert found['positions'] == {'right': [0.5, 0.5], 'chosen': [1.0, 0.0], 'bias': 0.5}
    steady = [[0.0, -1.0], [-1.0, 0.0]] * 2
    back = [[-1.0, 0.0], [0.0, -1.0]] * 2
    found = of(asked, chosen(asked, steady), [(Probe('permuted', turned), chosen(turned, back))])
    assert found['option_order'] == {'same': 1.0, 'score': 1.0, 'permuted_score': 1.0, 'flipped': 0.0}


def test_rows_that_every_template_answers_alike_are_counted():
    asked = suite(answers=['x'] * 4, templates=('a', 'b', 'a', 'b'), rows=[0, 0, 1, 1])
    assert of(asked, said(['x', 'x ', 'x', 'y']))['agreement'] == 0.5
    assert of(suite(answers=['x']), said(['x']))['agreement'] is None


# ------------------------------------------------------------------------------------------------------------ outcomes


def test_mc2_is_the_share_of_the_true_options_and_a_score_like_any_other():
    asked = ranked(answers=['a', 'a'], options=['a', 'b', 'c'], metrics=('mc2', 'accuracy'))
    asked.metas[1]['references'] = ['a', 'c']
    given = chosen(asked, np.log([[0.5, 0.25, 0.25], [0.1, 0.6, 0.3]]))
    part = scores([asked], [given])['tasks']['r']
    assert part['held_in']['mc2'] == part['held_in']['score'] == pytest.approx((0.5 + 0.4) / 2)
    assert part['held_in']['accuracy'] == 0.5 and part['chance'] == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_likelihoods_that_are_no_numbers_count_as_wrong_and_are_told():
    asked = ranked(answers=['', 'b'], options=['', 'b'], metrics=('mc2', 'accuracy'))
    given = said(['', 'b'], sums=[[np.nan, 0.0], [-9.0, 0.0]], flags=['not_a_number', ''])
    task = scores([asked], [given])['tasks']['r']
    assert task['held_in']['accuracy'] == 0.5 and task['held_in']['mc2'] == pytest.approx(0.5, abs=1e-3)
    assert task['flags'] == {'not_a_number': 1} and sum(b['count'] for b in task['calibration']['bins']) == 1
    assert task['examples'][0]['flag'] == 'not_a_number'


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'metrics': ()}, "task 't' has no metric; name one"),
        ({'metrics': ('mc2',)}, "metric 'mc2' of task 't' needs likelihoods; set its mode to 'rank'"),
        ({'metas': [{'references': [], 'options': [], 'fields': {}}]}, r"task 't': row 0 has the references \[\]"),
        ({'metas': [{'references': 'x', 'options': [], 'fields': {}}]}, "row 0 has the references 'x'; give a list"),
    ],
)
def test_what_cannot_be_scored_is_an_error(changes, message):
    with pytest.raises(errors.DataError, match=message):
        outcomes.of(suite(answers=['x'], **changes), said(['x']))


@pytest.mark.parametrize(
    'metric, reference, error, message',
    [
        ('number_match', 'none', errors.DataError, r"task 't': number_match: no number in one of the references"),
        ('letter_match', '?', errors.DataError, "task 't': letter_match: no letter A to J"),
        ('spearman', 'two', errors.DataError, "task 't': spearman: the reference 'two' is no number"),
        ('human_eval_passes', '{}', errors.DataError, "task 't': human_eval_passes: the reference '{}' is no"),
        ('ifeval_strict', '{}', errors.DataError, "task 't': ifeval"),
        ('mc2', 'x', errors.DataError, "metric 'mc2' of task 't' needs likelihoods"),
        ('accurracy', 'x', errors.ConfigError, "no metric is named 'accurracy'; did you mean accuracy"),
    ],
)
def test_references_a_metric_cannot_read_are_an_error_before_anything_is_asked(metric, reference, error, message):
    outcomes.check(suite(answers=['1'], metrics=('exact_match', 'number_match', 'bleu')))
    with pytest.raises(error, match=message):
        outcomes.check(suite(answers=['1', reference][::-1], metrics=('exact_match', metric)))


def test_a_metric_that_runs_programs_is_tried_on_one_row_before_anything_is_asked(monkeypatch):
    calls = []
    monkeypatch.setitem(outcomes.metrics.METRICS, 'code_passes', lambda r, p: calls.append((r, p)) or {})
    outcomes.check(suite(answers=['x', 'y'], metrics=('code_passes',)))
    assert calls == [([['x']], [''])]


def test_a_metric_without_rows_is_an_error():
    with pytest.raises(errors.DataError, match="task 't' got no rows to be scored on"):
        outcomes.of(suite(answers=[]), said([]))
    found = outcomes.of(suite(answers=['x']), said(['x']))
    with pytest.raises(errors.DataError, match="exact_match of task 't' got no rows"):
        found.measure([np.zeros(0, np.int64)])


def test_a_misspelt_metric_names_its_neighbours_those_of_likelihoods_too():
    with pytest.raises(errors.ConfigError, match="no metric is named 'mc3'; did you mean mc2"):
        outcomes.check_metric('mc3')


def test_a_metric_that_runs_programs_is_asked_once_a_prompt(monkeypatch):
    calls = []
    monkeypatch.setitem(outcomes.metrics.PER_EXAMPLE, 'code_passes', lambda r, p: calls.append(p) or 1.0)
    asked = suite(answers=['x'] * 4, templates=('a', 'b', 'a', 'b'), rows=[0, 0, 1, 1], metrics=('code_passes',))
    task = scores([asked], [['1', '2', '3', '4']])['tasks']['t']
    assert calls == ['1', '2', '3', '4'] and task['chance'] == 0.0 and task['held_in']['score'] == 1.0


# -------------------------------------------------------------------------------------------------------------- probes


class Maker:
    """Renders rows as a maker does, by two templates of which one lists options; ids are characters."""

    def __init__(self):
        listing, silent = Template('{text}\n{options}', name='listing'), Template('{text}', name='silent')
        self.renderer = types.SimpleNamespace(task=types.SimpleNamespace(templates=(listing, silent)))

    def examples(self, rows, *, training, dropped):
        out = []
        for row, fields in rows:
            for template in range(2):
                meta = {'references': [fields['answer']], 'options': fields['options'], 'fields': fields}
                ids = tuple([ord(o), 1] for o in fields['options'])
                spans = [[ord(c) for c in fields['text']], [1]]
                out.append(Example(spans, row, template, 0, options=ids, meta=json.dumps(meta)))
        return out


def probed():
    asked = ranked(answers=['a', 'b'], options=['a', 'b', 'c'], templates=['listing', 'listing'], fields=('text',))
    for meta in asked.metas:
        meta['fields'] = {'text': 'q', 'answer': meta['references'][0], 'options': ['a', 'b', 'c']}
    return asked


def test_permuted_prompts_list_the_same_options_in_other_orders_by_the_templates_that_list_them():
    probe = probes.permuted(probed(), Maker(), orders=5)
    assert [m['options'] for m in probe.suite.metas] == [['b', 'c', 'a'], ['c', 'a', 'b']] * 2
    assert set(probe.suite.templates) == {'listing'} and probe.suite.rows.tolist() == [0, 0, 1, 1]
    assert [chr(ids[0]) for ids in probe.suite.options[0]] == ['b', 'c', 'a']
    assert len(probes.permuted(probed(), Maker(), orders=1).suite) == 2
    assert probes.permuted(suite(answers=['x']), Maker(), orders=1) is None


def test_content_free_prompts_show_nothing_but_the_options():
    probe = probes.content_free(probed(), Maker())
    assert [''.join(map(chr, p)) for p in probe.suite.prompts] == list(probes.CONTENT_FREE)
    assert all(m['options'] == ['a', 'b', 'c'] for m in probe.suite.metas)
    assert probes.content_free(suite(answers=['x']), Maker()) is None


# ---------------------------------------------------------------------------------------------------------- instruction


class Characters:
    """A vocabulary of characters."""

    eos_id, pad_id, prefix = 1, 0, ()

    def encode(self, texts):
        return [[ord(c) for c in text] for text in texts]


def instructed(mode='generate', **form):
    """A suite of two rows through two templates, its maker, and the suite's prompts as text."""
    templates = (
        Template('Please name the colour of {text} now\n{options}', name='long'),
        Template('{text}?', name='short'),
    )
    task = Task(
        name='t', cluster='c', source=GeneratedSource(lambda split, i: {}, {'train': 1}), fields=dict,
        templates=(*templates, Template('Name what is {answer}.', '{text}', inverted=True)), mode=mode,
    )  # fmt: skip
    config = FormatConfig(**form)
    encoder = encoding.Encoder(Characters(), config, encoding.Lengths(400, 40), True)
    maker = encoding.Maker(Renderer(task, config, seed=0, decoder_only=True), encoder)
    asked = suite(answers=['red', 'red', 'blue', 'blue'], templates=('long', 'short'), rows=[0, 0, 1, 1], mode=mode)
    for meta, text in zip(asked.metas, ('rust', 'rust', 'sky', 'sky')):
        meta |= {'fields': {'text': text, 'answer': meta['references'][0], 'options': ['red', 'blue']}}
    return asked, maker


def told(probe):
    return [''.join(map(chr, prompt)) for prompt in probe.suite.prompts]


def test_without_instruction_a_row_is_asked_once_and_by_its_fields_alone():
    asked, maker = instructed()
    probe = probes.bare(asked, maker)
    assert told(probe) == [f'{text}\nOptions:\n- red\n- blue\n' for text in ('rust', 'sky')]
    assert probe.suite.rows.tolist() == [0, 1] and [m['references'] for m in probe.suite.metas] == [['red'], ['blue']]


def test_a_shuffled_instruction_has_the_same_words_in_another_order_and_the_row_in_its_place():
    asked, maker = instructed()
    probe = probes.shuffled(asked, maker)
    assert set(probe.suite.templates) == {'long'} and probe.suite.rows.tolist() == [0, 1]  # 'short' has no words
    plain = 'Please name the colour of rust now\nOptions:\n- red\n- blue\n'
    (first, _), again = told(probe), told(probes.shuffled(asked, maker))
    assert first != plain and sorted(first.split()) == sorted(plain.split()) and again[0] == first
    assert first.split()[5] == 'rust' and first.endswith('\nOptions:\n- red\n- blue\n')


@pytest.mark.parametrize('words', ['{a} {b}', 'one {a}', '', '{{one}} {a}'])
def test_a_template_without_two_words_stays_as_it_is(words):
    assert probes.shuffled_words(Template(words), 3).inputs == words


def test_two_words_always_change_places_and_literal_braces_stay_balanced():
    for key in range(20):
        assert probes.shuffled_words(Template('one {a}\n two'), key).inputs == 'two {a}\n one'
        words = probes.shuffled_words(Template('say {{so}} to {a}! Why, {b}?'), key).inputs
        assert fill(words, {'a': 'A', 'b': 'B'}).count('{') == 1 and '{a}! ' in words


def test_conversations_and_prompts_without_instructions_are_not_asked_again():
    asked, maker = instructed(eval_instructions='none')
    assert probes.bare(asked, maker) is None and probes.shuffled(asked, maker) is None
    asked, maker = instructed()
    for meta in asked.metas:
        meta['fields'] |= {'messages': []}
    assert probes.bare(asked, maker) is None and probes.shuffled(asked, maker) is None


def test_a_score_that_hangs_on_the_instruction_falls_without_it_and_one_that_does_not_stays():
    asked, maker = instructed()
    bare, shuffled = probes.bare(asked, maker), probes.shuffled(asked, maker)
    right = said(['red', 'red', 'blue', 'blue'])
    deaf = of(asked, right, [(bare, said(['red', 'blue'])), (shuffled, said(['red', 'blue']))])['instruction']
    assert deaf == {
        kind: {'score': 1.0, 'probed': 1.0, 'change': 0.0, 'interval': [0.0, 0.0], 'same': 1.0}
        for kind in ('bare', 'shuffled')
    }
    heard = of(asked, right, [(bare, said(['rust', 'blue']))])['instruction']['bare']
    assert heard == {'score': 1.0, 'probed': 0.5, 'change': -0.5, 'interval': [-1.0, 0.0], 'same': 0.5}
    corpus = dataclasses.replace(asked, metrics=('bleu',))
    other = dataclasses.replace(bare, suite=dataclasses.replace(bare.suite, metrics=('bleu',)))
    assert of(corpus, right, [(other, said(['red', 'blue']))])['instruction']['bare']['interval'] is None
    assert 'instruction' not in of(asked, right)


def test_wrong_answers_that_repeat_the_prompt_are_counted():
    asked, _ = instructed()
    asked = dataclasses.replace(asked, fields=('text', 'answer'))
    assert of(asked, said(['rust', 'red', ' sky', 'sky?']))['copied'] == 0.5
    asked.metas[0]['references'] = ['rust']
    assert of(asked, said(['rust', 'red', 'blue', '']))['copied'] == 0.0
