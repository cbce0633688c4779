"""Studies planned: which variants there are, what each trains on and spends, and what is refused before the first."""

import dataclasses
import json
import subprocess
import sys

import pytest

from flan_jax import errors
from flan_jax.ablation import axes, runner, study, table
from flan_jax.ablation.config import axis, choice
from flan_jax.ablation.table import Result
from flan_jax.config import to_dict

CAPS = dict(name='cap', knob='mixture.max_examples', values=(10, None))


def names(found) -> list[str]:
    return [variant.name for variant in found.variants]


def by_name(found, name):
    return next(variant for variant in found.variants if variant.name == name)


def test_the_plan_is_the_same_every_time(studies):
    config = studies.config(
        'again', axes=(axis(**CAPS), axis(name='n', kind='task_count', values=(1, 2))), seeds=(0, 1)
    )
    one, other = study.plan(config), study.plan(config)
    assert one == other
    assert len({variant.plan for variant in one.variants}) == len(one.variants)


def test_what_a_plan_was_is_read_again_as_it_was(studies):
    found = studies.plan('saved', axes=(axis(**CAPS),))
    assert study.load(found.config.folder) == found


def test_points_that_come_to_the_base_are_the_base(studies):
    axes = (axis(**CAPS), axis(name='n', kind='task_count', values=(2, 4)))
    found = study.plan(studies.config('listed', axes=axes))
    assert names(found) == ['base', 'cap=10', 'n=2']
    assert [told['base_value'] for told in found.axes] == [None, 4.0]
    found = study.plan(studies.config('crossed', axes=axes, combine='product'))
    assert names(found) == ['base', 'cap=10,n=2', 'cap=10', 'n=2']
    assert by_name(found, 'cap=10').settings.keys() == {'cap'}


def test_axes_are_listed_multiplied_paired_or_zipped(studies):
    axes = (
        axis(name='lr', knob='optimizer.learning_rate', values=(0.1, 0.2)),
        axis(name='clip', knob='optimizer.clip_norm', values=(0.5, 2.0)),
        axis(name='b1', knob='optimizer.b1', values=(0.7, 0.8)),
    )
    counts = {
        combine: len(study.plan(studies.config('combined', axes=axes, combine=combine)).variants) - 1
        for combine in ('list', 'product', 'pairs', 'zip')
    }
    assert counts == {'list': 6, 'product': 8, 'pairs': 12, 'zip': 2}
    zipped = study.plan(studies.config('combined', axes=axes, combine='zip'))
    assert names(zipped)[1:] == ['lr=0.1,clip=0.5,b1=0.7', 'lr=0.2,clip=2,b1=0.8']
    with pytest.raises(errors.ConfigError, match="combine='zip' needs axes of one length, not {'cap': 2, 'lr': 1}"):
        one = axis(name='lr', knob='optimizer.learning_rate', values=(0.1,))
        study.plan(studies.config('combined', axes=(axis(**CAPS), one), combine='zip'))


def test_two_axes_of_one_knob_are_not_multiplied(studies):
    axes = (axis(**CAPS), axis(name='n', kind='total_examples', values=(40,)))
    with pytest.raises(errors.ConfigError, match="axes 'cap' and 'n' both set mixture.max_examples"):
        study.plan(studies.config('clash', axes=axes, combine='product'))


def test_a_variant_is_scored_on_what_it_trains_on_and_on_all_the_study_has_besides(studies):
    axes = (axis(name='n', kind='task_count', values=(2,)), axis(name='without', kind='leave_out'))
    found = study.plan(studies.config('groups', axes=axes, knobs={'mixture.held_out_clusters': ('mini_comparison',)}))
    base, two = by_name(found, 'base'), by_name(found, 'n=2')
    trained = {'mini_add', 'mini_double', 'mini_even_or_odd'}
    assert set(base.groups['held_in']) == trained and base.groups['unseen'] == ()
    for variant in found.variants:
        assert set(variant.groups['held_in']) | set(variant.groups['unseen']) == trained
        assert 'mini_largest' in variant.groups['held_out'] and not set(variant.groups['held_out']) & trained
    assert len(two.groups['held_in']) == 2
    without = by_name(found, 'without=mini_arithmetic')
    assert without.groups['held_in'] == ('mini_even_or_odd',)
    assert set(without.groups['unseen']) == {'mini_add', 'mini_double'}


def test_leaving_a_cluster_out_leaves_out_tasks_that_share_its_texts(local_rows, studies):
    knobs = {
        'data.local_root': local_rows, 'data.local_only': True, 'mixture.members': ('nli', 'paraphrase', 'cot'),
        'data.train_rows': 40, 'data.max_inputs': 240, 'packing.row_tokens': 256, 'vocabulary.train_size': 512,
    }  # fmt: skip
    found = study.plan(
        studies.config('related', knobs=knobs, axes=(axis(name='without', kind='leave_out', values=('nli',)),))
    )
    (base, without) = found.variants
    gone = set(base.groups['held_in']) - set(without.groups['held_in'])
    assert gone > {name for name in gone if name in ('snli', 'rte', 'anli_r1', 'cb')}, gone


@pytest.mark.parametrize('what', ['tokens', 'supervised_tokens'])
def test_tokens_are_equal_within_two_percent(studies, what):
    axes = (
        axis(name='n', kind='task_count', values=(1, 2), draws=2),
        axis(name='pack', knob='packing.pack', values=(False,)),
    )
    found = study.plan(studies.config(f'equal_{what}', axes=axes, equalise=what, knobs={'training.steps': 60}))
    base, *others = found.variants
    assert others and base.spent.steps == 60
    for variant in others:
        assert vars(variant.spent)[what] == pytest.approx(vars(base.spent)[what], rel=0.02), variant.name
    assert len({variant.spent.steps for variant in found.variants}) > 1


def test_epochs_are_equal_and_more_data_takes_more_steps(studies):
    found = study.plan(studies.config('epochs', axes=(axis(**CAPS),), equalise='epochs', budget=3.0))
    base, ten = found.variants
    assert [variant.config.training.epochs for variant in found.variants] == [3.0, 3.0]
    assert ten.spent.epochs == pytest.approx(3, abs=0.05) == base.spent.epochs
    assert ten.spent.steps < base.spent.steps


def test_executables_fit_all_variants_of_one_model(studies):
    axes = (axis(name='n', kind='task_count', values=(1, 2), draws=3),)
    found = study.plan(studies.config('room', axes=axes, seeds=(0, 1)))
    assert len({variant.config.training.positions for variant in found.variants}) == 1


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(axes=(axis(name='n', kind='task_count', values=(9,)),)), "axis 'n': a subset of 9 tasks"),
        (
            dict(equalise='tokens', budget=1e6, knobs={'mixture.max_epochs': 1.0}),
            r'variant base: tokens cannot be equalised at 1,000,000, about \d+ steps: mixture.max_epochs allows 240',
        ),
        (
            dict(equalise='tokens', budget=1.0),
            r'variant base: tokens cannot be equalised: the nearest to 1 is \d+ \(1 steps\); raise the budget',
        ),
        (
            dict(axes=(axis(name='own', kind='choices', choices=(choice('long', {'data.max_inputs': 60}),)),)),
            'variant own=long: packing.row_tokens=64 is shorter than an example may be',
        ),
        (
            dict(axes=(axis(name='b', knob='training.batch_rows', values=('8',)),)),
            "training.batch_rows='8' is a str, not a int",
        ),
        (dict(budget=0.3), 'budget=0.3 must be at least 1 and finite'),
        (dict(equalise='tokens', budget=float('inf')), 'budget=inf must be above 0 and finite'),
        (dict(worth=0.0), 'worth=0.0 must be above 0'),
        (dict(combine='pairs', axes=(axis(**CAPS),)), "combine='pairs' pairs axes, and there is 1"),
        (dict(axes=(axis(name='e', knob='evaluation.at_end', values=(False,)),)), 'an axis sets evaluation.at_end'),
        (dict(axes=(axis(name='k', values=(1,)),)), "axis 'k' names no knob"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_its_name(studies, changes, message):
    with pytest.raises(errors.ConfigError, match=message):
        study.plan(studies.config('refused', **changes))


def test_a_variant_without_an_example_to_train_on_is_named(studies):
    axes = (
        axis(name='own', kind='choices', choices=(choice('short', {'data.max_inputs': 2, 'data.max_targets': 1}),)),
    )
    with pytest.raises(errors.DataError, match='variant own=short: .*to train on'):
        study.plan(studies.config('empty', axes=axes))


def test_a_folder_holds_one_study(studies):
    found = studies.plan('one', axes=(axis(**CAPS),))
    with pytest.raises(errors.ConfigError, match='holds another study'):
        studies.plan('one', axes=(axis(**CAPS),), knobs={'optimizer.learning_rate': 0.5})
    row = Result('base', {}, 0, 'finished', config=to_dict(found.variants[0].config))
    table.write_row(found.config.folder, row, fingerprint='another')
    with pytest.raises(errors.DataError, match='belongs to study another, not'):
        runner.finished(found)


def test_a_row_of_another_config_is_not_taken_for_the_variants(studies):
    found = studies.plan('moved', axes=(axis(**CAPS),))
    changed = dataclasses.replace(found.variants[1].config, seed=7)
    row = Result('cap=10', {}, 7, 'finished', config=to_dict(changed))
    table.write_row(found.config.folder, row, fingerprint=found.identity)
    with pytest.raises(errors.ConfigError, match='variant cap=10 was run with another seed; rename the axis'):
        runner.finished(found)


def ablate(studies, name: str, source: str, *arguments: str) -> subprocess.CompletedProcess:
    """`python -m flan_jax.ablate` on the tiny base with some lines more."""
    config = studies.folder / f'{name}.py'
    config.write_text(f"""
import json
from flan_jax.ablation.config import StudyConfig, axis, choice
from flan_jax.config import resolve, to_config_dict

def get_config():
    s = to_config_dict(resolve(json.loads({json.dumps(to_dict(studies.config(name)))!r}), StudyConfig))
    {source}
    return s
""")
    command = [sys.executable, '-m', 'flan_jax.ablate', f'--config={config}', '--dry_run', *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_bad_input_is_one_line_on_the_command_line(studies):
    done = ablate(studies, 'bad', "s.axes = (axis(name='n', kind='task_count', values=(9,)),)")
    assert done.returncode and "ConfigError: axis 'n': a subset of 9 tasks" in done.stderr
    assert 'Traceback' not in done.stderr


def test_more_steps_than_the_epochs_allow_are_refused(studies):
    with pytest.raises(errors.ConfigError, match='variant base: mixture.max_epochs allows 240 examples'):
        study.plan(studies.config('refused', knobs={'mixture.max_epochs': 1.0}, budget=500.0))


def test_points_that_make_no_sense_alone_may_do_so_together(studies):
    axes = (
        axis(name='inputs', knob='data.max_inputs', values=(60,)),
        axis(name='row', knob='packing.row_tokens', values=(128,)),
    )
    found = study.plan(studies.config('together', axes=axes, combine='zip'))
    assert names(found) == ['base', 'inputs=60,row=128']


def test_a_dry_run_says_what_would_be_run_and_a_second_process_is_refused(studies):
    from flan_jax.ablation import claim

    source = "s.axes = (axis(name='n', kind='task_count', values=(1, 2)),)"
    done = ablate(studies, 'dry', source)
    assert not done.returncode, done.stderr
    assert '3 variants, 1 axes (list), equal steps of 2' in done.stdout and 'n=2' in done.stdout
    with claim.claimed(studies.folder / 'dry' / 'claim') as mine:
        assert mine
        done = ablate(studies, 'dry', source)
    assert done.returncode and 'another process is running a study in' in done.stderr


def test_labels_that_make_one_folder_name_keep_their_variants_apart(studies):
    labels = ('a b', 'a/b', 'A.B' + 'x' * 80, 'A.B' + 'x' * 81)
    choices = tuple(choice(label, {'mixture.max_examples': 10 + i}) for i, label in enumerate(labels))
    found = studies.plan('apart', axes=(axis(name='c', kind='choices', choices=choices),))
    assert len({name.lower() for name in names(found)}) == 5
    assert names(study.plan(found.config)) == names(found)


def test_a_group_of_knobs_is_set_before_a_knob_in_it(studies):
    config = studies.config('grouped')
    group = {**to_dict(config.base)['mixture'], 'members': ('mini_add',)}
    for changes in ({'mixture.cap': 5, 'mixture': group}, {'mixture': group, 'mixture.cap': 5}):
        made = axes.changed(config.base, changes)
        assert made.mixture.cap == 5 and made.mixture.members == ('mini_add',)
