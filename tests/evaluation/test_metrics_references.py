"""Metrics against implementations that were written elsewhere, or against the published definition, on random cases."""

import json
import math
import random
import re

import pytest

from flan_jax.evaluation import ifeval, metrics, overlap, sandbox

CASES = 500


def test_accuracy_and_exact_match_equal_scikit_learns_accuracy():
    accuracy_score = pytest.importorskip('sklearn.metrics').accuracy_score
    labels = ['yes', 'no', 'Yes', 'maybe so', 'ja', '']
    for seed in range(CASES):
        draw = random.Random(seed)
        right = draw.choices(labels, k=draw.randint(1, 30))
        said = [label if draw.random() < 0.5 else draw.choice(labels) for label in right]
        for name in ('accuracy', 'exact_match'):
            value = metrics.get(name)([[label] for label in right], [f' {label}\n' for label in said])[name]
            assert value == pytest.approx(accuracy_score(right, said), abs=1e-12)


def test_edit_similarity_has_nltks_distance():
    from nltk.metrics.distance import edit_distance

    draw = random.Random(0)
    for case in range(CASES):
        a, b = (''.join(draw.choices('abü日 -'[: 2 + case % 5], k=draw.randint(0, 20))) for _ in range(2))
        longest = max(len(a), len(b))
        expected = 1 - edit_distance(a, b) / longest if longest else 1.0
        assert overlap.edit_similarity([a], b) == pytest.approx(expected)


def test_pass_at_k_equals_the_estimator_of_its_paper():
    """1 - C(n - c, k) / C(n, k), Chen et al. 2021, equation 1."""
    draw = random.Random(0)
    for _ in range(CASES):
        n = draw.randint(1, 200)
        correct, k = draw.randint(0, n), draw.randint(1, n)
        expected = 1 - math.comb(n - correct, k) / math.comb(n, k)
        assert sandbox.pass_at_k(n, correct, k=k) == pytest.approx(expected, abs=1e-9)


def grade_school(seed: int) -> tuple[str, str]:
    """(reference answer, solution) in GSM8K's own form, sometimes with another result."""
    draw = random.Random(seed)
    right = draw.choice([draw.randint(-20, 99), draw.randint(1000, 9_999_999)])
    said = right if draw.random() < 0.5 else right + draw.choice([-10, -1, 1, 1000])
    steps = '\n'.join(
        f'{a} {op} ${b:,}.50 is <<{a}{op}{b}={a + b}>>{a + b}.'
        for a, b, op in [(draw.randint(1, 50), draw.randint(1, 5000), draw.choice('+-*')) for _ in range(3)]
    )
    return draw.choice(['{}', '{:,}']).format(right), f'{steps}\n#### {draw.choice(["{}", "{:,}"]).format(said)}'


def test_number_match_agrees_with_gsm8ks_own_comparison():
    """The text after '#### ', digits, points and commas, commas taken out, compared as text (Cobbe et al. 2021)."""
    found = []
    for seed in range(CASES):
        reference, solution = grade_school(seed)
        said = re.search(r'#### (\-?[0-9\.\,]+)', solution).group(1).replace(',', '')
        assert metrics.number_match([reference], solution) == float(said == reference.replace(',', ''))
        found.append(metrics.number_match([f'#### {reference}'], solution))
    assert 0.3 < sum(found) / CASES < 0.7


# -------------------------------------------------------------------------------------------------------------- IFEval

WORDS = 'rain sun tea Tea teapot cat Cat dog. two, words THE A I END "no" * - [x] <<T>> P.S. 1 über'.split()
BLOCKS = ['\n', '\n\n', '***', '\n***\n', '******', '\n* point', '\n- point', '*high*', '**bold**', 'My answer is yes.',
          'SECTION 1', 'SECTION 2', '{"a": 1}', '```json\n{"a": 1}\n```', '"quoted"', 'p. s. more', '']  # fmt: skip


def relation(draw):
    return draw.choice(['at least', 'less than'])


# The two that need NLTK's sentence model, and the three that guess a language, are judged by hand elsewhere.
ASKED = {
    'keywords:existence': lambda draw: {'keywords': draw.sample(['rain', 'sun', 'tea', 'über'], 2)},
    'keywords:frequency': lambda draw: {
        'keyword': draw.choice(['tea', 'rain']), 'frequency': draw.randint(1, 3), 'relation': relation(draw),
    },
    'keywords:forbidden_words': lambda draw: {'forbidden_words': draw.sample(['cat', 'rain', 'point'], 2)},
    'keywords:letter_frequency': lambda draw: {
        'letter': draw.choice('aeu'), 'let_frequency': draw.randint(1, 9), 'let_relation': relation(draw),
    },
    'length_constraints:number_paragraphs': lambda draw: {'num_paragraphs': draw.randint(1, 3)},
    'length_constraints:number_words': lambda draw: {'num_words': draw.randint(1, 12), 'relation': relation(draw)},
    'length_constraints:nth_paragraph_first_word': lambda draw: {
        'num_paragraphs': draw.randint(1, 3), 'nth_paragraph': 1, 'first_word': draw.choice(['rain', 'tea', 'the']),
    },
    'detectable_content:number_placeholders': lambda draw: {'num_placeholders': draw.randint(1, 2)},
    'detectable_content:postscript': lambda draw: {'postscript_marker': draw.choice(['P.S.', 'P.P.S'])},
    'detectable_format:number_bullet_lists': lambda draw: {'num_bullets': draw.randint(1, 3)},
    'detectable_format:constrained_response': lambda draw: {},
    'detectable_format:number_highlighted_sections': lambda draw: {'num_highlights': draw.randint(1, 3)},
    'detectable_format:multiple_sections': lambda draw: {
        'section_spliter': 'SECTION', 'num_sections': draw.randint(1, 2),
    },
    'detectable_format:json_format': lambda draw: {},
    'detectable_format:title': lambda draw: {},
    'combination:two_responses': lambda draw: {},
    'combination:repeat_prompt': lambda draw: {'prompt_to_repeat': draw.choice(['rain', 'tea', 'the'])},
    'startend:end_checker': lambda draw: {'end_phrase': draw.choice(['END', 'point', 'tea'])},
    'startend:quotation': lambda draw: {},
    'punctuation:no_comma': lambda draw: {},
}  # fmt: skip


def answer(draw: random.Random) -> str:
    parts = [draw.choice(WORDS) if draw.random() < 0.6 else draw.choice(BLOCKS) for _ in range(draw.randint(0, 12))]
    text = draw.choice([' ', ' ', '\n']).join(parts)
    return draw.choice([text, text, f'"{text}"', f'Sure:\n{text}\nBye.', '{"a": [1, 2]}'])


@pytest.mark.slow
def test_ifeval_equals_the_evaluation_harness():
    """Each instruction on 500 answers, strict and loose, and on rows of two instructions."""
    theirs = pytest.importorskip('lm_eval.tasks.ifeval.utils')
    for place, (name, arguments) in enumerate(ASKED.items()):
        differ, outcomes = [], set()
        for case in range(CASES):
            draw = random.Random(f'{place} {case}')
            names = [name, draw.choice(list(ASKED))]
            kwargs = [arguments(draw), ASKED[names[1]](draw)]
            said = answer(draw)
            row = json.dumps({'prompt': 'Do.', 'instruction_id_list': names, 'kwargs': kwargs})
            asked = theirs.InputExample(0, names, 'Do.', kwargs)
            for check, mine, lenient in (
                (theirs.test_instruction_following_strict, ifeval.strict, False),
                (theirs.test_instruction_following_loose, ifeval.loose, True),
            ):
                expected = check(asked, said)
                found = ifeval.followed([row], said, lenient=lenient)
                if found != [bool(one) for one in expected.follow_instruction_list]:
                    differ.append((names, kwargs, said, expected.follow_instruction_list, found))
                else:
                    assert mine([row], said) == float(expected.follow_all_instructions)
                outcomes.add(found[0])
        assert not differ, f'{len(differ)} of {CASES}, first {differ[0]}'
        assert outcomes == {True, False}, name
