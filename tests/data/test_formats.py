import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from flan_jax import errors
from flan_jax.config import Config, FormatConfig, TrainingConfig
from flan_jax.data import encoding, formats, request, templates, vocabulary
from flan_jax.data.encoding import Encoder
from flan_jax.data.formats import Renderer
from flan_jax.data.task import CONVERSATION, Drop, GeneratedSource, Task
from flan_jax.data.templates import Template

STRAIGHT = tuple(Template(f'{opening} {{text}}?\n{{options}}') for opening in ('red', 'green', 'is it blue', 'tell'))
TEMPLATES = (*STRAIGHT, Template('runs {answer}', '{text}', inverted=True))
TASK = Task(
    name='toy',
    cluster='toys',
    source=GeneratedSource(lambda split, i: {}, {'train': 1}),
    fields=dict,
    templates=TEMPLATES,
    mode='rank',
)
FEW_SHOT = FormatConfig(shots=3, few_shot_share=1.0, eval_shots=3)
FORMATS = {
    'zero-shot': (FormatConfig(), True),
    'few-shot': (FEW_SHOT, True),
    'half few-shot': (FormatConfig(shots=2, few_shot_share=0.5), True),
    'encoder-decoder': (FormatConfig(), False),
    'few-shot encoder-decoder': (FEW_SHOT, False),
}


def row(number, text=None):
    text = text or f'{"cat dog bird tree".split()[number % 4]} {number}'
    return number, {'text': text, 'answer': ('yes', 'no')[number % 2], 'options': ['yes', 'no']}


ROWS = [row(i) for i in range(40)]


@dataclasses.dataclass(frozen=True)
class Maker(encoding.Maker):
    """With the calls the tests make most."""

    @property
    def vocabulary(self):
        return self.encoder.vocabulary

    def train(self, rows, dropped):
        return self.examples(rows, training=True, dropped=dropped)

    def evaluate(self, rows, dropped):
        return self.examples(rows, training=False, dropped=dropped)

    def text(self, row_id, fields, **how):
        shown = self.renderer.show(row_id, fields, **how)
        return shown.context, shown.target


@pytest.fixture(scope='module')
def make(vocab_path):
    """Makers of the toy task, by default with long limits and every row as a possible exemplar."""

    def build(form=FormatConfig(), *, bos=False, limits=(400, 40), exemplars=ROWS, decoder_only=True, **more):
        vocab = vocabulary.load(vocab_path, bos=bos)
        settings = dict(task=TASK, format=form, seed=0, decoder_only=decoder_only, exemplars=exemplars)
        encoder = Encoder(vocab, form, encoding.Lengths(*limits), decoder_only)
        return Maker(Renderer(**(settings | more)), encoder)

    return build


def test_a_draw_depends_on_its_key_alone_in_every_process():
    code = 'from flan_jax.data.formats import draw; print([draw(1000, 3, "mnli", i, "x") for i in range(20)])'
    told = set()
    for hash_seed in ('0', '1', 'random'):
        env = {**os.environ, 'PYTHONHASHSEED': hash_seed}
        told.add(subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, check=True).stdout)
    here = [formats.draw(1000, 3, 'mnli', i, 'x') for i in range(20)]
    assert [json.loads(t) for t in told] == [here]
    assert len(set(here)) > 15 and all(0 <= d < 1000 for d in here)


def test_templates_are_drawn_evenly_and_never_the_held_out_ones(make):
    examples = make(held_out=1).train([row(i) for i in range(800)], Counter())
    counts = Counter(e.template for e in examples)
    assert set(counts) == {0, 1, 2, 4}
    assert min(counts.values()) > 150


def test_several_draws_of_a_row_use_different_templates(make):
    examples = make(template_draws=3).train(ROWS, Counter())
    for number in range(40):
        assert len({e.template for e in examples if e.row_id == number}) == 3
    assert len(make(template_draws=99).train(ROWS[:1], Counter())) == len(TEMPLATES)


def test_evaluation_asks_every_straight_template_and_no_inverted_one(make):
    asked = make(held_out=2).evaluate(ROWS[:3], Counter())
    assert [(e.row_id, e.template) for e in asked] == [(r, t) for r in range(3) for t in range(4)]


def test_holding_out_every_straight_template_says_how_many_there_are(make):
    with pytest.raises(errors.ConfigError) as e:
        make(held_out=4).renderer.training_templates()
    assert 'data.held_out_templates=4' in str(e.value) and "'toy'" in str(e.value) and '4 straight' in str(e.value)


def test_options_are_shown_in_the_share_asked_for(make):
    shown = {}
    for share in (0.0, 0.3, 1.0):
        render = make(FormatConfig(options_share=share))
        texts = [
            render.text(i, fields, template=i % 4, shots=0, training=True)[0] for i, fields in map(row, range(1000))
        ]
        shown[share] = sum('Options' in text for text in texts) / 1000
    assert shown[0.0] == 0.0 and shown[1.0] == 1.0
    assert abs(shown[0.3] - 0.3) < 0.05


def test_few_shot_examples_come_in_the_share_asked_for(make):
    examples = make(FormatConfig(shots=2, few_shot_share=0.3)).train([row(i) for i in range(1000)], Counter())
    assert Counter(e.shots for e in examples).keys() == {0, 2}
    assert abs(sum(e.shots > 0 for e in examples) / 1000 - 0.3) < 0.05


def test_a_row_never_is_its_own_exemplar_even_if_another_row_has_its_text(make):
    pool = [row(i, f'cat {i % 10}') for i in range(40)]  # every text four times
    render = make(FEW_SHOT, exemplars=pool)
    for number, fields in pool:
        for template in range(len(TEMPLATES)):
            query = render.text(number, fields, template=template, shots=0, training=True)[0]
            shown = render.text(number, fields, template=template, shots=3, training=True)[0]
            assert shown.endswith(query) and shown.count(query.rstrip()) == 1
            exemplars = shown[: -len(query)].split('\n\n')[:-1]
            assert len(set(exemplars)) == len(exemplars) == (3 if template < 4 else len(exemplars))
    _, fields = pool[0]
    # In evaluation, row 0 is another row than row 0 of the pool; here it has the same text by accident.
    asked = render.text(0, fields, template=0, shots=3, training=False)[0]
    assert asked.count('red cat 0?') == 1 and asked.count('red cat ') == 4


def test_exemplars_change_with_the_seed_and_with_nothing_else(make):
    def shown(**settings):
        return [make(FEW_SHOT, **settings).text(*row(i), template=0, shots=3, training=True)[0] for i in range(20)]

    assert shown() == shown()
    assert shown(seed=1) != shown()


def test_a_pool_smaller_than_the_shots_is_used_up_and_counted(make):
    examples = make(FEW_SHOT, exemplars=ROWS[:2]).train([ROWS[0], ROWS[30]], Counter())
    assert [e.shots for e in examples] == [1, 2]
    assert [e.shots for e in make(FEW_SHOT, exemplars=()).evaluate(ROWS[:1], Counter())] == [0] * 4


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('bos', [False, True])
@pytest.mark.parametrize('limits', [(400, 40), (12, 40)], ids=['whole', 'trimmed'])
def test_one_bos_begins_and_one_supervised_eos_ends(make, name, bos, limits):
    form, decoder_only = FORMATS[name]
    render = make(form, bos=bos, limits=limits, decoder_only=decoder_only)
    vocab, dropped = render.vocabulary, Counter()
    bos_id = vocabulary.load(vocab.path, bos=True).prefix[0]
    examples = render.train(ROWS, dropped) + render.evaluate(ROWS[:5], dropped)
    assert len(examples) == 40 + 20 and not dropped
    for example in examples:
        assert [i for i in example.context if i == bos_id] == example.context[:1] * bos
        assert (example.context + example.target).count(bos_id) == int(bos)
        assert example.target[-1] == vocab.eos_id
        assert (example.context + example.target).count(vocab.eos_id) == 1
        assert len(example.context) <= limits[0]


@pytest.mark.parametrize('bos', [False, True])
def test_trimming_cuts_the_left_of_the_context_only(make, bos):
    whole = make(FEW_SHOT, bos=bos).train(ROWS, Counter())
    short = make(FEW_SHOT, bos=bos, limits=(20, 40)).train(ROWS, Counter())
    for full, cut in zip(whole, short, strict=True):
        assert full.trimmed == 0 and len(cut.context) == 20 and cut.target == full.target
        assert cut.context[int(bos) :] == full.context[-20 + int(bos) :]
        assert cut.trimmed == len(full.context) - 20 > 0


@pytest.mark.parametrize('decoder_only', [True, False])
def test_context_and_target_are_tokenised_apart_alike_in_training_and_evaluation(make, decoder_only):
    render = make(FEW_SHOT, decoder_only=decoder_only, exemplars=[row(100 + i) for i in range(9)])
    encode = render.vocabulary.encode
    asked = {(e.row_id, e.template): e for e in render.evaluate(ROWS, Counter())}
    met = 0
    for example in render.train(ROWS, Counter()):
        context, target = render.text(
            example.row_id, ROWS[example.row_id][1], template=example.template, shots=3, training=True
        )
        assert context.endswith('\n' if decoder_only else ('?', 'no', 'yes'))
        assert example.context == encode([context])[0]
        assert example.target == [*encode([target])[0], render.vocabulary.eos_id]
        twin = asked.get((example.row_id, example.template))
        if twin is not None:
            met += 1
            assert (twin.context, twin.target) == (example.context, example.target)
            assert twin.options[twin.answer].copy() == twin.target
    assert met > 20


def test_a_target_that_is_too_long_is_dropped_and_counted_in_training(make):
    render, dropped = make(limits=(400, 3)), Counter()
    long = (7, {'text': 'cat', 'answer': 'yes no maybe ' * 9, 'options': []})
    assert {e.row_id for e in render.train([long, ROWS[0]], dropped) if e.template != 4} <= {0}
    straight = Counter()
    for number in range(50):
        render.train([(number, long[1])], straight)
    assert straight['target_too_long'] > 30


@pytest.mark.parametrize('empty', ['', ' ', '\n'])
def test_an_empty_target_is_dropped_and_counted(make, empty):
    render, dropped = make(held_out=0), Counter()
    kept = render.train([(i, {'text': empty, 'answer': empty, 'options': [empty]}) for i in range(9)], dropped)
    assert kept == [] and dropped == {'empty_target': 9}


def test_something_stands_before_the_first_predicted_token(make):
    task = Task(name='bare', cluster='toys', source=TASK.source, fields=dict, templates=(Template('{text}'),))
    render = make(FormatConfig(separator=''), task=task)
    (example,) = render.train([(0, {'text': '', 'answer': 'yes'})], Counter())
    assert example.context == [render.vocabulary.pad_id]


def test_evaluation_keeps_options_references_and_fields(make):
    render = make()
    fields = {'text': 'cat', 'answer': 'no', 'options': ['yes', 'no'], 'references': ['no', 'nope']}
    example = render.evaluate([(3, fields)], Counter())[0]
    told = json.loads(example.meta)
    assert told == {'answer': 'no', 'options': ['yes', 'no'], 'references': ['no', 'nope'], 'fields': fields}
    assert example.answer == 1
    assert [render.vocabulary.decode(ids) for ids in example.options] == ['yes', 'no']
    assert all(ids[-1] == render.vocabulary.eos_id for ids in example.options)


def reading(fields) -> Task:
    return Task(name='reader', cluster='toys', source=TASK.source, fields=fields, templates=(Template('{a}'),))


def test_a_row_without_a_field_names_place_field_and_near_ones():
    task = reading(lambda r: {'a': r['premise'], 'answer': 'x'})
    with pytest.raises(errors.DataError) as e:
        formats.fields_of(task, {'premises': 1, 'label': 2}, where='rows.jsonl:7')
    message = str(e.value)
    assert message.startswith('rows.jsonl:7:') and "'reader'" in message and "'premise'" in message
    assert 'label, premises' in message and 'did you mean premises?' in message


@pytest.mark.parametrize('label', [9, -1, 'Yes', None])
def test_a_label_that_the_task_does_not_know_is_not_told_as_a_missing_field(label):
    task = reading(lambda r: {'answer': {0: 'no', 1: 'yes'}[r['label']]})
    with pytest.raises(errors.DataError, match=f"f:1: task 'reader' knows no label that is {label!r}; correct"):
        formats.fields_of(task, {'text': 'a', 'label': label}, where='f:1')


def test_an_answer_that_is_no_option_shows_both():
    task = reading(lambda r: {'answer': r['y'], 'options': ['yes', 'no']})
    with pytest.raises(errors.DataError, match=r"f:1: the answer 'nein' of task 'reader'.*\['yes', 'no'\]"):
        formats.fields_of(task, {'y': 'nein'}, where='f:1')


def test_fields_without_an_answer_are_refused():
    with pytest.raises(errors.DataError, match=r"f:1: task 'reader' gives no 'answer'; its fields are \['a'\]"):
        formats.fields_of(reading(lambda r: {'a': 'x'}), {}, where='f:1')


@pytest.mark.parametrize('given, reason', [(None, 'rejected'), (Drop('too_old'), 'too_old')])
def test_a_row_left_out_says_why(given, reason):
    assert formats.fields_of(reading(lambda r: given), {}, where='f:1') == Drop(reason)


def test_a_row_whose_code_fails_is_named():
    with pytest.raises(errors.DataError, match=r"f:1: task 'reader' cannot read this row: .*lower.*are x: int"):
        formats.fields_of(reading(lambda r: {'answer': r['x'].lower()}), {'x': 3}, where='f:1')


def test_markers_and_separators_are_drawn_from_their_pools_in_training_and_are_the_first_in_evaluation(make):
    form = FormatConfig(
        option_markers=('dash', 'letter', 'bracket'), exemplar_separators=('\n\n', '\n###\n'), shots=1,
        few_shot_share=1.0, eval_shots=1,
    )  # fmt: skip
    render = make(form).renderer
    trained = [one.context for one in render.train([row(i) for i in range(300)]) if one.template < 4]
    for pool in (('- yes', 'A. yes', '(A) yes'), ('\n\n', '\n###\n')):
        counts = [sum(mark in text for text in trained) for mark in pool]
        assert min(counts) > 0.7 * len(trained) / len(pool)
    asked = [one.context for one in render.evaluate(ROWS)]
    assert all('- yes' in text and '###' not in text for text in asked)
    assert [one.context for one in make(form).renderer.train(ROWS)] == [one.context for one in render.train(ROWS)]


def test_turned_around_and_reasoned_templates_come_in_the_share_asked_for(make):
    reasoned = tuple(dataclasses.replace(t, rationale=True) for t in STRAIGHT[:2])
    task = dataclasses.replace(TASK, templates=(*reasoned, *STRAIGHT[2:], TEMPLATES[-1]))
    rows = [row(i) for i in range(2000)]
    counts = Counter()
    form = FormatConfig(inverted_share=0.23, rationale_share=0.75)
    for one in make(form, task=task).renderer.train(rows):
        counts['inverted' if one.template == 4 else 'reasoned' if one.template < 2 else 'bare'] += 1
    assert abs(counts['inverted'] / 2000 - 0.23) < 0.03
    assert abs(counts['reasoned'] / (counts['reasoned'] + counts['bare']) - 0.75) < 0.03
    never = make(FormatConfig(inverted_share=0.0, rationale_share=0.0), task=task).renderer.train(rows)
    assert {one.template for one in never} == {2, 3}


# ------------------------------------------------------------------------------------------------- instruction controls

NLI = Template('Read "{premise}". Given {{this}}, does {hypothesis} hold for {premise}?\n{options}')
REASONED = Template('{question}\nSay why.', '{rationale} The answer is {answer}.', rationale=True)


@pytest.mark.parametrize(
    ('template', 'none', 'name'),
    [
        (NLI, '{premise}\n{hypothesis}\n{options}', '[Task: a{{b}}] {premise}\n{hypothesis}\n{options}'),
        (REASONED, '{question}', '[Task: a{{b}}] {question}'),
        (Template('{asked} {question} {options}'), '{question}\n{options}', '[Task: a{{b}}] {question}\n{options}'),
        (Template('{instruction}\n{options}'), '{instruction}\n{options}', '[Task: a{{b}}] {instruction}\n{options}'),
        (Template('Write a poem.'), '', '[Task: a{{b}}]'),
    ],
)
def test_a_bare_template_has_its_fields_once_and_in_order(template, none, name):
    assert formats.bare(template) == dataclasses.replace(template, inputs=none)
    assert formats.bare(template, task='a{b}') == dataclasses.replace(template, inputs=name)


def test_the_controls_show_a_row_as_this_table_says(make):
    """One training rendering and one prompt, whatever the row; the turned template is left out."""
    expected = {
        'natural': 'red dog 1?\nOptions:\n- yes\n- no\n',
        'name': '[Task: toy] dog 1\nOptions:\n- yes\n- no\n',
        'none': 'dog 1\nOptions:\n- yes\n- no\n',
    }
    for instructions, text in expected.items():
        render = make(FormatConfig(instructions=instructions), template_draws=3).renderer
        first = render.evaluate([row(1)])[0]
        assert (first.context, first.target, first.template) == (text, 'no', 0)
        if instructions != 'natural':
            assert [one.context for one in render.train([row(1)])] == [text] and len(render.evaluate(ROWS)) == len(ROWS)
            assert {one.template for one in render.train(ROWS)} == {0}
    bare = make(FormatConfig(instructions='none', options_share=0.0)).renderer
    assert bare.train([row(1)])[0].context == 'dog 1\n'
    asked = make(FormatConfig(instructions='none', eval_instructions='natural')).renderer
    assert len(asked.evaluate([row(1)])) == 4 and len(asked.train([row(1)])) == 1


def test_exemplars_are_shown_as_the_query_is(make):
    render = make(FormatConfig(instructions='name', eval_shots=1, shots=1, few_shot_share=1.0), exemplars=ROWS[:1])
    shown = '[Task: toy] cat 0\nOptions:\n- yes\n- no\nyes\n\n[Task: toy] dog 1\nOptions:\n- yes\n- no\n'
    assert render.renderer.evaluate([row(1)])[0].context == render.renderer.train([row(1)])[0].context == shown


def test_reasoning_stays_and_its_share_decides_between_the_two_kinds(make):
    task = dataclasses.replace(TASK, templates=(REASONED, Template('{question} Quick!')))
    rows = [(i, {'question': f'{i}?', 'rationale': 'So.', 'answer': 'yes'}) for i in range(200)]
    shown = make(FormatConfig(instructions='none'), task=task).renderer.train(rows)
    assert {one.target for one in shown} == {'So. The answer is yes.'} and shown[3].context == '3?\n'
    form = FormatConfig(instructions='none', rationale_share=0.5)
    assert 60 < sum(one.target == 'yes' for one in make(form, task=task).renderer.train(rows)) < 140


def test_a_conversation_is_shown_as_it_is_or_with_the_name_before_its_first_question(make):
    task = dataclasses.replace(TASK, templates=(CONVERSATION,))
    turns = ('system', 'Be kind.'), ('user', 'Hi'), ('assistant', 'Hello'), ('user', 'And?'), ('assistant', 'Well.')
    fields = {'messages': [{'role': role, 'content': text} for role, text in turns], 'answer': 'Well.'}
    for chat in (None, 'chatml'):
        bare, named = (
            make(FormatConfig(instructions=i, chat=chat), task=task).renderer.train([(0, fields)])[0].fields['messages']
            for i in ('none', 'name')
        )
        assert bare == fields['messages']
        assert [m['content'] for m in named] == ['Be kind.', '[Task: toy] Hi', 'Hello', 'And?', 'Well.']


def test_controls_reach_the_tokens_with_and_without_a_chat_template(make):
    for chat in (None, 'zephyr'):
        maker = make(FormatConfig(instructions='none', chat=chat))
        (example,) = maker.train([row(1)], Counter())
        text = maker.vocabulary.decode(example.context)
        assert 'dog 1' in text and not any(word in text for word in ('red', 'green', 'blue', 'tell', '?'))


def made_up(task):
    """Fields that every template of a task can be filled with."""
    if task.templates[0].inputs == CONVERSATION.inputs:
        turns = [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello'}]
        return {'messages': turns, 'answer': 'Hello'}
    return {name: f'<{name}>' for name in task.read_fields} | {'options': ['<answer>', '<other>']}


def test_every_task_can_be_shown_without_its_words_and_with_its_name():
    tasks = request.known(Config(training=TrainingConfig(steps=1)).data).tasks
    assert len(tasks) > 300
    for name, task in tasks.items():
        for instructions in ('none', 'name'):
            render = Renderer(task, FormatConfig(instructions=instructions), seed=0, decoder_only=False, held_out=2)
            fields = made_up(task)
            shown = [*render.evaluate([(0, fields)]), *(render.train([(0, fields)]) if 'train' in task.splits else [])]
            first = next(t for t in task.templates if not t.inverted)
            for one in shown:
                front = f'[Task: {name}] ' if instructions == 'name' else ''
                if 'messages' in fields:
                    assert one.fields['messages'][0]['content'] == f'{front}Hi'
                    continue
                lines = one.context.removeprefix(front).split('\n')
                words = {f'<{field}>' for field in templates.field_names(first.inputs)}
                assert one.context.startswith(front) and set(lines) <= words | {
                    '',
                    'Options:',
                    '- <answer>',
                    '- <other>',
                }


def test_a_store_without_controls_keeps_its_name_and_one_with_them_gets_another():
    form = FormatConfig()
    plain = {k: v for k, v in dataclasses.asdict(form).items() if not k.endswith('instructions')}
    assert formats.describe_format(form) == plain
    assert formats.describe_format(dataclasses.replace(form, eval_instructions='none')) == plain
    assert formats.describe_format(FormatConfig(instructions='none')) == plain | {'instructions': 'none'}

    class Vocabulary:
        fingerprint = 'v'

    def digest(**changes):
        config = Config(training=TrainingConfig(steps=1), format=FormatConfig(**changes))
        return request.request(config, TASK, vocabulary=Vocabulary()).digest

    found = [
        digest(), digest(instructions='none'), digest(instructions='name'), digest(eval_instructions='none'),
        digest(instructions='none', eval_instructions='natural'),
    ]  # fmt: skip
    assert len(set(found)) == 5
    assert digest(eval_instructions='natural') == found[0]
    assert digest(instructions='none', eval_instructions='none') == found[1]
