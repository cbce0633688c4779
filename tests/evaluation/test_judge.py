"""The judge: questions to the model and back, on models made of a line."""

import dataclasses

import numpy as np
import pytest
from suites_by_hand import EOS, Words, ranked, suite

from flan_jax import errors
from flan_jax.config import EvaluationConfig
from flan_jax.data.chat import Chat
from flan_jax.evaluation.judge import Judge


def judge(sums, *, vocabulary=None, context=None, **config) -> Judge:
    """A judge whose scorer gives these sums whatever it is asked."""
    return Judge(
        lambda params, prompts, *, new, progress: [], lambda params, requests, *, progress: [np.array(s) for s in sums],
        vocabulary or Words(), EvaluationConfig(**config), context,
    )  # fmt: skip


@pytest.mark.parametrize(
    'normalise, choice', [('sum', 'b'), ('token', 'two words'), ('byte', 'a_very_long_single_word')]
)
def test_normalising_the_likelihoods_changes_the_choice(normalise, choice):
    names = ['b', 'two words', 'a_very_long_single_word']
    asked = ranked(answers=['b'], options=names)
    asked.options[0] = [[2, EOS], [3, 4, EOS], [5, EOS]]
    sums = [[-4.0, -4.5, -5.0]]  # a token: -2, -1.5, -2.5; a byte: -4, -0.5, -0.22
    (found,) = judge(sums, normalise=normalise).ask(None, [asked])
    assert found.texts == [choice] and found.sums[0].tolist() == sums[0]
    assert (found.compared[0].tolist() == sums[0]) == (normalise == 'sum')


def test_pmi_takes_away_what_an_option_gets_without_its_question():
    words = Words('p Answer: common rare')
    common, rare = ([words.words.index(w), EOS] for w in ('common', 'rare'))
    asked = ranked(answers=['rare'], options=['common', 'rare'], prompts=[np.array(words.encode(['p'])[0])])
    asked.options[0] = [common, rare]
    calls = []

    def score(params, requests, *, progress):
        calls.append([words.decode(r.prompt) for r in requests])
        if calls[-1] == ['p']:
            return [np.array([-1.0, -2.0])]
        return [np.array([{2: 0.0, 4: -0.5, 5: -9.0}[o[0]] for o in r.options]) for r in requests]

    asking = Judge(None, score, words, EvaluationConfig(normalise='pmi', unconditional_prompt='Answer:'))
    asking = dataclasses.replace(asking, generator=lambda params, prompts, *, new, progress: [])
    (found,) = asking.ask(None, [asked])
    assert calls == [['p'], ['Answer:']]
    assert found.texts == ['rare'] and found.compared[0].tolist() == [-0.5, 7.0]


def test_pmi_of_chats_asks_without_a_question_in_the_form_of_a_chat():
    words = Words('p <user> Answer: <end> <assistant> common rare')
    words.added = words.specials = {name: words.words.index(name) for name in ('<user>', '<end>', '<assistant>')}
    words.end_ids = (words.specials['<end>'],)
    words.parse = lambda texts: [(ids, []) for ids in words.encode(texts)]
    template = '<user> {{ messages[0].content }} <end>{% if add_generation_prompt %} <assistant>{% endif %}'
    calls = []

    def score(params, requests, *, progress):
        calls.append([words.decode(r.prompt) for r in requests])
        return [np.zeros(len(r.options)) for r in requests]

    asking = Judge(
        lambda params, prompts, *, new, progress: [], score, words,
        EvaluationConfig(normalise='pmi', unconditional_prompt='Answer:'), chat=Chat('c', template, None, ()),
    )  # fmt: skip
    asking.ask(None, [ranked(answers=['a'], options=['a', 'b'], prompts=[np.array([2])])])
    assert calls == [['p'], ['<user> Answer: <end> <assistant>']]


def test_generated_and_ranked_prompts_of_many_suites_come_back_to_their_own():
    words = Words('p q yes no')
    ids = {w: i for i, w in enumerate(words.words)}
    generated = suite('g', answers=['p', 'q'], prompts=[np.array([ids['p']]), np.array([ids['q']])])
    two = ranked(answers=['no', 'yes'], options=['yes', 'no'], prompts=[np.array([ids['q']]), np.array([ids['p']])])

    def generate(params, prompts, *, new, progress):
        assert new == 5
        return [[*prompt, EOS] for prompt in prompts]

    def score(params, requests, *, progress):
        return [np.array([0.0, 1.0]) if r.prompt[0] == ids['q'] else np.array([1.0, 0.0]) for r in requests]

    found = Judge(generate, score, words, EvaluationConfig(max_new_tokens=5)).ask(None, [two, generated])
    assert [one.texts for one in found] == [['no', 'yes'], ['p', 'q']]
    assert found[0].flags == found[1].flags == ['', '']


def test_an_answer_that_does_not_end_is_flagged():
    asking = Judge(
        lambda params, prompts, *, new, progress: [[3] * new, [3, EOS]],
        lambda params, requests, *, progress: [], Words('a b c'), EvaluationConfig(max_new_tokens=2),
    )  # fmt: skip
    (found,) = asking.ask(None, [suite(answers=['x', 'y'])])
    assert found.flags == ['unfinished', '']


@pytest.mark.parametrize(
    'alone, asked_with, text, flag', [(np.nan, -5.0, '', 'not_a_number'), (-np.inf, -np.inf, 'b', '')]
)
def test_pmi_chooses_neither_what_is_no_number_nor_what_cannot_be(alone, asked_with, text, flag):
    asked = ranked(answers=['b'], options=['a', 'b'])

    def score(params, requests, *, progress):
        return [np.array([alone, -1.0] if len(r.prompt) == 2 else [asked_with, -9.0]) for r in requests]

    asking = dataclasses.replace(judge([], normalise='pmi', unconditional_prompt='two words'), scorer=score)
    (found,) = asking.ask(None, [asked])
    assert (found.texts, found.flags) == ([text], [flag])


@pytest.mark.parametrize('sums', [[np.nan, -1.0], [np.inf, -1.0], [-np.inf, -np.inf]])
def test_likelihoods_that_are_no_numbers_choose_nothing_and_are_flagged(sums):
    (found,) = judge([sums]).ask(None, [ranked(answers=['a'], options=['a', 'b'])])
    assert (found.texts, found.flags) == ([''], ['not_a_number'])


def test_an_option_that_cannot_be_is_never_chosen():
    (found,) = judge([[-np.inf, -9.0]]).ask(None, [ranked(answers=['a'], options=['a', 'b'])])
    assert (found.texts, found.flags) == (['b'], [''])


def test_an_empty_option_is_flagged():
    (found,) = judge([[-1.0, -2.0]]).ask(None, [ranked(answers=['a'], options=['a', ' '])])
    assert (found.texts, found.flags) == (['a'], ['empty_option'])


@pytest.mark.parametrize('context, flag', [((3,), ''), ((2,), 'too_long'), ((2, 3), ''), ((2, 2), 'too_long')])
def test_an_option_that_is_longer_than_the_context_is_flagged(context, flag):
    asked = ranked(answers=['a'], options=['a', 'b'])
    asked.options[0] = [[2, EOS], [3, 4, EOS]]  # with a prompt of one token: 1 + 3 - 1 in one row
    (found,) = judge([[-1.0, -2.0]], context=context).ask(None, [asked])
    assert found.flags == [flag]


def writer(answers, *, nan=(), **more) -> Judge:
    """A judge whose model writes these ids, and has no log-likelihood where prompts begin with one of `nan`."""
    return Judge(
        lambda params, prompts, *, new, progress: answers,
        lambda params, requests, *, progress: [
            np.full(len(r.options), np.nan if r.prompt[0] in nan else -1.0) for r in requests
        ],
        Words('a b c'), EvaluationConfig(max_new_tokens=3), **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    'context, flags',
    [((4,), ['', '']), ((3,), ['too_long', '']), ((2, 3), ['', '']), ((2, 2), ['too_long', '']),
     ((1, 3), ['too_long', 'too_long'])],
)  # fmt: skip
def test_a_generated_prompt_that_is_longer_than_the_context_with_its_answer_is_flagged(context, flags):
    asked = suite(answers=['x', 'y'], prompts=[np.array([2, 3])] * 2)
    (found,) = writer([[2, 3, EOS], [EOS]], context=context).ask(None, [asked])  # the last token is never read
    assert found.flags == flags and found.texts == ['a b', '']


def test_generated_answers_of_logits_that_are_nan_are_flagged_and_say_nothing():
    asked = suite(answers=['x'] * 4, prompts=[np.array([i]) for i in (7, 8, 7, 7)])
    answers = [[0, 0, 0], [0, 2, EOS], [2, 0, EOS], [2, EOS]]
    (found,) = writer(answers, nan=(7,)).ask(None, [asked])
    assert found.flags == ['not_a_number', '', 'not_a_number', '']
    assert found.texts == ['', 'a', '', 'a']
    # Where 0 ends answers, only empty ones are read again.
    (found,) = writer([[0], [0], [2, 0], [2, 3]], nan=(7,), ends=(0,)).ask(None, [asked])
    assert found.flags == ['not_a_number', '', '', 'unfinished']


def test_what_goes_beyond_a_table_of_positions_is_an_error_before_anything_is_asked():
    generated = suite('g', answers=['x'], prompts=[np.array([2, 3])], rows=np.array([5]))
    one = ranked('r', answers=['a'], options=['a', 'b'], prompts=[np.array([2, 3])])
    assert writer([[EOS]], table=5).ask(None, [generated])[0].flags == ['']
    with pytest.raises(errors.DataError, match="task 'g': the prompt of row 5, 2 tokens, with an answer of 3 goes bey"):
        writer([], table=4).ask(None, [generated])
    with pytest.raises(errors.DataError, match="task 'r'.* 2 positions of the model; lower data.max_inputs by 1, or"):
        writer([], table=2).ask(None, [one])


@pytest.mark.parametrize('ids', [[], [[2, EOS]]])
def test_a_ranked_prompt_without_its_options_is_an_error_that_names_task_and_row(ids):
    asked = ranked('quiz', answers=['a'], options=['a', 'b'], rows=np.array([7]))
    asked.options[0] = ids
    with pytest.raises(errors.DataError, match="task 'quiz' ranks options, but row 7 has 2 of them and ids of"):
        judge([[-1.0, -2.0]]).ask(None, [asked])
