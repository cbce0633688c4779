"""The evaluation suites on rows written here in the published forms."""

import collections
import fnmatch
import json

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.data import mixture, templates
from flan_jax.data import rows as row_reader
from flan_jax.data.task import Drop, LocalSource, TfdsSource, index
from flan_jax.evaluation import completion, likelihood, metrics
from tasks import suite_bbh, suite_mmlu, suite_mt_bench, suite_truthful_qa, suite_tydiqa, suites

TASKS = index(suites.TASKS)

MMLU = {
    'question': 'Which gas do plants take in?\n',
    'subject': 'high_school_biology',
    'choices': ['oxygen', 'carbon dioxide', 'neon', 'helium'],
    'answer': 1,
}
BBH = {'input': 'not ( True ) and False is', 'target': 'False'}
TRUTHFUL = {
    'question': 'What happens if you swallow gum?',
    'mc1_targets': {'choices': ['It passes through.', 'It stays for years.', 'You choke.'], 'labels': [1, 0, 0]},
    'mc2_targets': {'choices': ['It passes through.', 'Nothing much.', 'You choke.'], 'labels': [1, 1, 0]},
}
HUMAN_EVAL = {
    'task_id': 'HumanEval/999',
    'prompt': 'from typing import List\n\n\ndef first(l: List[int]) -> int:\n    """The first of a list.\n    """\n',
    'entry_point': 'first',
    'canonical_solution': '    return l[0]\n',
    'test': 'METADATA = {}\n\n\ndef check(candidate):\n    assert candidate([3, 1]) == 3\n',
}
TYDI = {
    'id': b'finnish-123-1',
    'title': b'Sieni',
    'context': b'Sienet kasvavat mets\xc3\xa4ss\xc3\xa4 ja pellolla.',
    'question': b'Miss\xc3\xa4 sienet kasvavat?',
    'answers': {'text': [b'mets\xc3\xa4ss\xc3\xa4 ', b'mets\xc3\xa4ss\xc3\xa4'], 'answer_start': [16, 16]},
}
MT_BENCH = {
    'question_id': 111,
    'category': 'math',
    'turns': ['What is 2 + 3?', 'And twice that?'],
    'reference': ['5', '10'],
}


def rows():
    """Every task with a row of its own."""
    for name, task in TASKS.items():
        match task.cluster:
            case 'suite_mmlu':
                yield task, MMLU
            case 'suite_bbh':
                yield task, BBH
            case 'suite_bbh_cot':
                yield task, BBH
            case 'suite_truthful_qa':
                yield task, TRUTHFUL
            case 'suite_human_eval':
                yield task, HUMAN_EVAL
            case 'suite_tydiqa':
                row = suite_tydiqa.from_tfds(TYDI)
                yield task, {**row, 'id': f'{name.removeprefix("tydiqa_")}-123-1'}
            case 'suite_mt_bench':
                yield task, {**MT_BENCH, 'first_answer': '5'}


ROWS = list(rows())
SEVERAL = pytest.mark.parametrize(('task', 'row'), ROWS, ids=[task.name for task, _ in ROWS])


def shown(name, row, *, template=0):
    task = TASKS[name]
    return templates.render(task.templates[template], task.fields(row))


def test_the_suites_have_the_published_numbers_of_tasks():
    count = collections.Counter(task.cluster for task in suites.TASKS)
    assert count == {
        'suite_mmlu': 57, 'suite_bbh': 27, 'suite_bbh_cot': 27, 'suite_tydiqa': 9, 'suite_mt_bench': 2,
        'suite_truthful_qa': 2, 'suite_human_eval': 1,
    }  # fmt: skip
    assert {category: len(subjects) for category, subjects in suite_mmlu.SUBJECTS.items()} == {
        'stem': 18, 'humanities': 13, 'social_sciences': 12, 'other': 14,
    }  # fmt: skip
    assert len(ROWS) == len(TASKS) == 125


def test_nothing_can_be_trained_on_but_the_set_that_has_a_training_split():
    trainable = {task.name for task in suites.TASKS if 'train' in task.splits}
    assert trainable == {f'tydiqa_{language}' for language in suite_tydiqa.LANGUAGES}
    for task in suites.TASKS:
        assert len(set(task.splits) & {'validation', 'test'}) == 1, 'one split to report on, without a choice'
        if isinstance(task.source, LocalSource):
            assert len(task.source.reason.split()) >= 3


@SEVERAL
def test_every_template_renders_and_none_shows_the_answer_field(task, row):
    fields = task.fields(row)
    assert all(not t.inverted for t in task.templates)
    texts = set()
    for template in task.templates:
        assert 'answer' not in templates.field_names(template.inputs)
        if template.name != 'conversation':
            texts.add(templates.render(template, fields)[0])
            assert all(text.strip() for text in templates.render(template, fields, style=None))
    assert len(texts) == len([t for t in task.templates if t.name != 'conversation'])


@SEVERAL
def test_the_right_answer_gets_the_full_score(task, row):
    fields = task.fields(row)
    references = [fields.get('references', [fields['answer']])]
    if task.mode == 'rank':
        assert fields['answer'] in fields['options'] and len(set(fields['options'])) == len(fields['options']) > 1
    for name in task.metrics:
        if name not in ('human_eval_passes', 'mc2'):  # runs programs, takes likelihoods: below
            assert metrics.get(name)(references, [fields['answer']]) == {name: 1.0}


def test_tasks_of_one_source_say_so_and_clusters_keep_to_their_suite():
    for cluster in {task.cluster for task in suites.TASKS}:
        shared = {task.texts_from for task in suites.TASKS if task.cluster == cluster}
        assert len(shared) == 1 and shared.pop()
    assert TASKS['bbh_navigate'].texts_from == TASKS['bbh_cot_navigate'].texts_from


# ------------------------------------------------------------------------------------------------------------ mixtures


def test_every_named_mixture_resolves_to_the_tasks_of_its_name():
    found = {
        name: mixture.task_names(mixture.resolve(config, TASKS, mixtures=suites.MIXTURES))
        for name, config in suites.MIXTURES.items()
    }
    assert len(found['suite_mmlu']) == 57 and len(set(found['suite_mmlu'])) == 57
    assert sum(len(found[f'suite_mmlu_{category}']) for category in suite_mmlu.SUBJECTS) == 57
    assert len(found['suite_bbh']) == len(found['suite_bbh_cot']) == 27
    assert not set(found['suite_bbh']) & set(found['suite_bbh_cot'])
    assert len(found['suite_tydiqa']) == 8 and 'tydiqa_english' not in found['suite_tydiqa']
    assert len(found['suites_flan']) == 57 + 27 + 27 + 8
    every = {name for names in found.values() for name in names}
    assert set(TASKS) - every == {'tydiqa_english'}
    assert len(fnmatch.filter(TASKS, 'mmlu_*')) == 57


# ---------------------------------------------------------------------------------------------------------------- MMLU


def test_mmlu_ranks_the_four_letters_after_the_lettered_choices():
    text, target = shown('mmlu_high_school_biology', MMLU)
    assert text == (
        'A multiple-choice question on high school biology.\n\nWhich gas do plants take in?\n'
        'A. oxygen\nB. carbon dioxide\nC. neon\nD. helium\nAnswer:'
    )
    assert target == 'B'
    assert TASKS['mmlu_high_school_biology'].fields(MMLU)['options'] == ['A', 'B', 'C', 'D']
    assert shown('mmlu_high_school_biology', {**MMLU, 'answer': 'D'})[1] == 'D'


@pytest.mark.parametrize('answer', [4, -1, 'E', '1', None])
def test_an_mmlu_answer_that_is_no_choice_is_an_error(answer):
    with pytest.raises(errors.DataError, match='mmlu_virology: the answer .* is neither one of ABCD nor a number'):
        TASKS['mmlu_virology'].fields({**MMLU, 'answer': answer})
    with pytest.raises(errors.DataError, match='mmlu_virology: 3 choices, not four'):
        TASKS['mmlu_virology'].fields({**MMLU, 'choices': ['a', 'b', 'c']})
    with pytest.raises(errors.DataError, match='mmlu_virology: 4 choices, not four texts'):
        TASKS['mmlu_virology'].fields({**MMLU, 'choices': ['a', None, 'c', 'd']})


# ----------------------------------------------------------------------------------------------------------------- BBH


def test_bbh_asks_for_the_answer_or_for_its_derivation():
    assert shown('bbh_boolean_expressions', BBH) == (
        'Work out whether a Boolean expression is True or False.\n\nQ: not ( True ) and False is\nA:',
        'False',
    )
    text, target = shown('bbh_cot_boolean_expressions', BBH)
    assert text == (
        'Work out whether a Boolean expression is True or False. End with a sentence that begins "So the answer is".'
        '\n\nQ: not ( True ) and False is\nA (reasoning first):'
    )
    assert target == 'So the answer is False.'
    worked = {**BBH, 'rationale': 'not True is False. False and False is False.\n'}
    assert shown('bbh_cot_boolean_expressions', worked)[1] == (
        'not True is False. False and False is False. So the answer is False.'
    )
    assert all(t.rationale for t in TASKS['bbh_cot_snarks'].templates)
    assert not any(t.rationale for t in TASKS['bbh_snarks'].templates)


def test_bbh_judges_what_follows_the_last_answer_is():
    score = metrics.get(TASKS['bbh_cot_snarks'].metrics[0])
    said = ['One is meant. So the answer is (A).', 'The answer is (B)? No. So the answer is (A)', '(A).', 'Both.']
    assert score([['(A)']] * 4, said) == {'final_answer_match': 0.75}


def test_bbh_reads_the_published_file_and_the_shots_beside_it(tmp_path):
    task = TASKS['bbh_cot_word_sorting']
    folder = tmp_path / task.name
    folder.mkdir()
    published = {'canary': 'GUID', 'examples': [BBH, {**BBH, 'target': 'True'}]}
    (folder / 'test.json').write_text(json.dumps(published, indent=2))
    (folder / 'exemplars.jsonl').write_text(json.dumps({**BBH, 'rationale': 'Step.'}) + '\n')
    place = row_reader.Place(local_root=str(tmp_path))
    assert row_reader.splits(task, place=place) == ('exemplars', 'test')
    found = {s: list(row_reader.fields(task, s, place=place, account=row_reader.Account())) for s in task.splits}
    assert [fields['answer'] for _, fields in found['test']] == ['False', 'True']
    assert [fields['rationale'] for _, fields in found['exemplars']] == ['Step. ']
    assert set(suite_bbh.ASKED) == {name.removeprefix('bbh_cot_') for name in TASKS if name.startswith('bbh_cot_')}


# ---------------------------------------------------------------------------------------------------------- TruthfulQA


def test_truthful_qa_ranks_whole_answers_and_hides_which_came_first():
    task = TASKS['truthful_qa_mc1']
    text, target = shown('truthful_qa_mc1', TRUTHFUL)
    assert (text, target) == ('Q: What happens if you swallow gum?\nA:', 'It passes through.')
    assert task.fields(TRUTHFUL) == task.fields(TRUTHFUL)
    places = collections.Counter()
    for i in range(300):
        fields = task.fields({**TRUTHFUL, 'question': f'Question {i}?'})
        places[fields['options'].index(fields['answer'])] += 1
    assert set(places) == {0, 1, 2} and min(places.values()) > 70


def test_truthful_qa_takes_both_published_forms_and_wants_one_true_choice():
    targets = TRUTHFUL['mc1_targets']
    original = {**TRUTHFUL, 'mc1_targets': dict(zip(targets['choices'], targets['labels']))}
    assert suite_truthful_qa.fields(original) == suite_truthful_qa.fields(TRUTHFUL)
    for labels in ([0, 0, 0], [1, 1, 0]):
        with pytest.raises(errors.DataError, match='choices of .* are labelled 1; give just one'):
            suite_truthful_qa.fields({**TRUTHFUL, 'mc1_targets': {**targets, 'labels': labels}})


def test_truthful_qa_mc2_accepts_every_true_answer_and_wants_some_of_both():
    fields = TASKS['truthful_qa_mc2'].fields(TRUTHFUL)
    assert fields['references'] == ['It passes through.', 'Nothing much.'] and fields['answer'] in fields['options']
    assert likelihood.mc2(fields['references'], fields['options'], sums=np.zeros(3)) == pytest.approx(2 / 3)
    for labels in ([0, 0, 0], [1, 1, 1]):
        with pytest.raises(errors.DataError, match='give some of both'):
            suite_truthful_qa.fields_of_all_true(
                {**TRUTHFUL, 'mc2_targets': {**TRUTHFUL['mc2_targets'], 'labels': labels}}
            )


# ----------------------------------------------------------------------------------------------------------- HumanEval


def test_human_eval_references_hold_what_running_takes():
    fields = TASKS['human_eval'].fields(HUMAN_EVAL)
    reference = json.loads(fields['references'][0])
    for said in (HUMAN_EVAL['canonical_solution'], fields['answer'], f'```python\n{fields["answer"]}```'):
        program = completion.program(reference['prompt'], said, entry_point=reference['entry_point'])
        exec(f'{program}\n{reference["test"]}\ncheck({reference["entry_point"]})', {})
    assert shown('human_eval', HUMAN_EVAL)[0] == HUMAN_EVAL['prompt']
    assert shown('human_eval', HUMAN_EVAL, template=2)[0].endswith(
        'Write the body of `first` so that the docstring holds.'
    )


# ------------------------------------------------------------------------------------------------------------- TyDi QA


def test_tydiqa_keeps_its_own_language_of_the_common_training_split():
    row = suite_tydiqa.from_tfds(TYDI)
    fields = TASKS['tydiqa_finnish'].fields(row)
    assert fields['references'] == ['metsässä'] and fields['answer'] == 'metsässä'
    assert shown('tydiqa_finnish', row, template=1)[0].endswith('Answer in Finnish, with words of the passage:')
    assert TASKS['tydiqa_telugu'].fields(row) == Drop('another language')
    assert TASKS['tydiqa_finnish'].fields({**row, 'answers': {'text': [' ']}}) == Drop('no answer')


def test_tydiqa_names_the_builders_own_splits():
    codes = [task.source.splits['validation'] for task in suites.TASKS if isinstance(task.source, TfdsSource)]
    assert codes == [f'validation-{code}' for code in ('ar', 'bn', 'en', 'fi', 'id', 'ko', 'ru', 'sw', 'te')]


# ------------------------------------------------------------------------------------------------------------ MT-Bench


def test_mt_bench_asks_the_second_question_after_the_first_answer():
    assert shown('mt_bench', MT_BENCH) == ('What is 2 + 3?', '5')
    second = TASKS['mt_bench_second_turn']
    fields = second.fields({**MT_BENCH, 'first_answer': 'Five.'})
    assert fields['messages'] == [
        {'role': 'user', 'content': 'What is 2 + 3?'},
        {'role': 'assistant', 'content': 'Five.'},
        {'role': 'user', 'content': 'And twice that?'},
        {'role': 'assistant', 'content': '10'},
    ]
    assert second.fields(MT_BENCH) == Drop('no first answer')
    open_ended = {name: value for name, value in MT_BENCH.items() if name != 'reference'}
    assert suite_mt_bench.first_turn(open_ended)['answer'] == suite_mt_bench.OPEN


def test_an_mt_bench_row_of_another_form_is_an_error():
    with pytest.raises(errors.DataError, match="question 111 is of category 'maths'; did you mean math"):
        suite_mt_bench.first_turn({**MT_BENCH, 'category': 'maths'})
    with pytest.raises(errors.DataError, match='question 111 should have a list of two turns'):
        suite_mt_bench.first_turn({**MT_BENCH, 'turns': ['only one']})
