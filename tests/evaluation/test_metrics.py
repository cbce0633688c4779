import doctest
import random

import pytest

from flan_jax import errors
from flan_jax.evaluation import metrics

# Takes any text as a reference, and gives a text its full score for itself and nothing for another one.
FREE_TEXT = (
    'exact_match', 'accuracy', 'squad_exact_match', 'squad_f1', 'trivia_qa_exact_match', 'trivia_qa_f1',
    'super_ni_exact_match', 'super_ni_rouge_l', 'number_match', 'final_answer_match', 'label_set_f1', 'rouge1',
    'rouge_l', 'edit_similarity',
)  # fmt: skip


def score(name, references, prediction):
    """One example through the registry, and the same through the per-example version."""
    value = metrics.get(name)([references], [prediction])
    assert value == {name: metrics.PER_EXAMPLE[name](references, prediction)}
    return value[name]


def test_the_docstrings_examples_hold():
    result = doctest.testmod(metrics)
    assert result.attempted >= 14 and result.failed == 0


@pytest.mark.parametrize('name', metrics.METRICS)
def test_no_rows_are_an_error_that_names_the_metric(name):
    with pytest.raises(errors.DataError, match=f'^{name} got no rows'):
        metrics.get(name)([], [])


@pytest.mark.parametrize('name', metrics.METRICS)
def test_references_and_predictions_must_pair_up(name):
    with pytest.raises(errors.DataError, match=f'{name}: 1 rows of references for 2 predictions'):
        metrics.get(name)([['1']], ['1', '2'])
    with pytest.raises(errors.DataError, match=f'{name}: row 1 has no reference'):
        metrics.get(name)([['1'], []], ['1', '2'])
    with pytest.raises(errors.DataError, match=f"{name}: the references of row 0 are the string '12'"):
        metrics.get(name)(['12'], ['1'])


def test_an_unknown_metric_lists_near_names():
    with pytest.raises(errors.ConfigError, match="'exact_mach'; did you mean exact_match"):
        metrics.get('exact_mach')
    with pytest.raises(errors.ConfigError, match='there are exact_match, accuracy, .*pearson'):
        metrics.get('zzzz')


@pytest.mark.parametrize('name', FREE_TEXT)
def test_a_reference_scores_1_and_a_mean_is_the_mean(name):
    answers = ['3', 'x 4', '1,200', '-7.50', 'x, 2']
    rows = [[answer, '99'] for answer in answers]
    assert metrics.get(name)(rows, answers) == {name: 1.0}
    assert metrics.get(name)(rows, ['99'] * len(rows)) == {name: 1.0}
    assert metrics.get(name)(rows, [*answers[:2], 'no', 'no', 'no']) == {name: 0.4}


@pytest.mark.parametrize('name', FREE_TEXT)
def test_values_are_shares_and_neither_order_of_references_nor_more_of_them_lower_one(name):
    draw = random.Random(0)
    words = ['the', 'a', '3', '-4', 'über', 'answer is', 'x.', '', '5%', ',', '日本']
    for _ in range(300):
        references = [' '.join(draw.choices(words, k=3)) + ' 3' for _ in range(3)]
        prediction = ' '.join(draw.choices(words, k=3))
        value = score(name, references, prediction)
        assert 0.0 <= value <= 1.0
        assert value == score(name, references[::-1], prediction)
        assert value >= score(name, references[:1], prediction)


@pytest.mark.parametrize('name', ['exact_match', 'accuracy'])
@pytest.mark.parametrize(
    ('references', 'prediction', 'value'),
    [
        (['yes'], ' yes\n', 1.0),
        ([' yes'], 'yes', 1.0),
        (['yes'], 'Yes', 0.0),
        (['yes'], 'yes.', 0.0),
        (['no', 'nope'], 'nope', 1.0),
        ([''], '', 1.0),
        (['yes'], '', 0.0),
        (['Zürich'], 'Zürich', 1.0),
        (['東京', '京都'], '京都', 1.0),
    ],
)
def test_exact_match_forgives_space_only(name, references, prediction, value):
    assert score(name, references, prediction) == value


@pytest.mark.parametrize(
    ('references', 'prediction', 'exact', 'f1'),
    [
        (['Denver Broncos'], 'The Denver Broncos!', 1.0, 1.0),
        (['Denver Broncos'], 'Broncos', 0.0, 2 / 3),
        (['Denver Broncos', 'Broncos'], 'Broncos', 1.0, 1.0),
        (['U.S.'], 'us', 1.0, 1.0),
        (['well-known'], 'well known', 0.0, 0.0),  # hyphens close up, as in the published script
        (['another theatre'], 'nor re', 0.0, 0.0),  # articles go as words, never inside one
        (['to be or not to be'], 'to to to', 0.0, 2 * 2 / 9),  # a word counts as often as both have it
        (['Über-Ich'], 'überich', 1.0, 1.0),
        (['the'], '', 1.0, 1.0),
        (['Rome'], '', 0.0, 0.0),
        (['a  cat\tsat'], 'cat sat', 1.0, 1.0),
    ],
)
def test_squad_metrics_on_hand_worked_cases(references, prediction, exact, f1):
    assert score('squad_exact_match', references, prediction) == exact
    assert score('squad_f1', references, prediction) == pytest.approx(f1)


def test_squad_f1_is_never_below_squad_exact_match():
    draw = random.Random(1)
    words = ['the', 'A', 'cat', 'Cat.', '--', 'sat']
    for _ in range(300):
        a, b = (' '.join(draw.choices(words, k=draw.randint(0, 3))) for _ in range(2))
        assert score('squad_f1', [a], b) >= score('squad_exact_match', [a], b)
        assert score('squad_f1', [a], b) == score('squad_f1', [b], a)


@pytest.mark.parametrize(
    ('reference', 'prediction', 'value'),
    [
        ('14', 'It takes 2 * 7 = 14.', 1.0),
        ('14', '14.0', 1.0),
        ('14.0', '14', 1.0),
        ('14', '14.5', 0.0),
        ('1200', '$1,200.00', 1.0),
        ('1,234,567', '1234567', 1.0),
        ('3', '1,2,3', 1.0),  # a list, no thousands
        ('45', '45%', 1.0),
        ('45%', 'about 45 percent', 1.0),
        ('-3', 'x=-3', 1.0),
        ('-3', '\u22123', 1.0),
        ('-5', '-$5', 1.0),
        ('15', '10-15', 1.0),
        ('19', 'COVID-19', 1.0),
        ('3', '-3', 0.0),
        ('0.5', '.5', 1.0),
        ('0', '-0.0', 1.0),
        ('0.3', '0.30', 1.0),
        ('7', 'seven', 0.0),
        ('7', '', 0.0),
        ('7', '7 apples for 3 children', 0.0),
        ('12345678901234567890123456789012345', '12345678901234567890123456789012344', 0.0),
        ('7', '７', 1.0),  # full-width digit
        ('1000', '1\u202f000 km', 1.0),  # as French and ISO have it
        ('1234567.5', '1\u00a0234\u00a0567.5', 1.0),
        ('150000', '1.5e5', 1.0),
        ('5', '1e5', 0.0),
        ('0.002', '2E-3', 1.0),
        ('3', '2em 3', 1.0),
        ('-7', '\\boxed{-7}', 1.0),
    ],
)
def test_number_match_reads_the_last_number(reference, prediction, value):
    assert score('number_match', [reference], prediction) == value


def test_number_match_accepts_any_reference_and_refuses_one_without_a_number():
    assert score('number_match', ['3', '4'], 'It is 4') == 1.0
    with pytest.raises(errors.DataError, match=r"number_match: no number in one of the references \['none'\]"):
        metrics.number_match(['none'], '3')


@pytest.mark.parametrize(
    ('references', 'prediction', 'value'),
    [
        (['yes'], 'Ice floats. So the answer is yes.', 1.0),
        (['Yes'], 'THE ANSWER IS: "yes"', 1.0),
        (['no'], 'The answer is yes? Wait, the answer is no', 1.0),
        (['yes'], 'The answer is yes? Wait, the answer is no', 0.0),
        (['yes'], 'Yes.', 1.0),
        (['yes'], 'I would say yes', 0.0),
        (['(B) a lake'], 'so the answer is (B) a lake.', 1.0),
        (['U.S.'], 'The answer is U.S.', 1.0),
        (['café', 'coffee house'], 'The answer is “Café”.', 1.0),
        (['land'], 'The answer island', 0.0),
        (['0.5'], 'the answer\nis 0.5.', 1.0),
        (['yes'], 'the answer is', 0.0),
        (['yes'], '', 0.0),
        ([''], '', 1.0),
    ],
)
def test_final_answer_match_takes_what_follows_the_last_answer_is(references, prediction, value):
    assert score('final_answer_match', references, prediction) == value


@pytest.mark.parametrize(
    ('references', 'prediction', 'value'),
    [
        (['joy, love'], 'love,joy', 1.0),
        (['joy, love'], 'joy', 2 / 3),
        (['joy'], 'joy, joy, JOY', 1.0),
        (['joy, love'], 'fear', 0.0),
        (['joy, love', 'fear'], 'fear', 1.0),
        (['joy, love, pride, fear'], 'joy, anger', 2 / 6),
        (['joy'], '', 0.0),
        ([''], ' , ', 1.0),
        (['Überraschung'], 'überraschung', 1.0),
    ],
)
def test_label_set_f1_on_hand_worked_cases(references, prediction, value):
    assert score('label_set_f1', references, prediction) == pytest.approx(value)
