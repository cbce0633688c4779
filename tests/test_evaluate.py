"""A checkpoint scored by itself, on its own tasks and on others; what a person sees of it."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from flan_jax import errors, evaluate, run, run_scores, scored_model
from flan_jax.config import Config, resolve, to_dict
from flan_jax.data import store
from flan_jax.evaluation import predictions
from flan_jax.interop import hugging_face
from flan_jax.parallel import mesh as mesh_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def config(folder, **evaluation) -> Config:
    return resolve({
        'name': 'tiny', 'run_root': f'{folder}/runs',
        'data': {
            'store_root': f'{folder}/stores', 'local_root': f'{folder}/rows', 'max_inputs': 48, 'max_targets': 16,
            'train_rows': 40, 'eval_rows': 4, 'prepare_workers': 1,
        },
        'vocabulary': {'train_size': 360, 'train_rows': 100},
        'mixture': {'members': ['mini_add', 'sst2'], 'held_out_clusters': []},
        'packing': {'row_tokens': 128, 'window': 64},
        'model': {'layers': 1, 'width': 32, 'heads': 2, 'kv_heads': 2, 'head_width': 16, 'mlp_width': 32},
        'execution': {'compute_dtype': 'float32', 'remat': 'none'},
        'training': {'steps': 4, 'batch_rows': 8},
        'checkpoint': {'every_steps': 2, 'keep_last': 2},
        'evaluation': {'every_steps': 2, 'rows': 2, 'max_new_tokens': 3, 'batch_tokens': 2048, **evaluation},
        'telemetry': {'every_steps': 1, 'tensorboard': False, 'progress': False},
    })  # fmt: skip


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run directory's config; the run has a generated and a ranked task."""
    folder = tmp_path_factory.mktemp('evaluate')
    (folder / 'rows' / 'sst2').mkdir(parents=True)
    for split, count in (('train', 60), ('validation', 12)):
        lines = [
            json.dumps({'sentence': f'a {"fine" if i % 3 else "dull"} film number {i}',
                        'label': 'positive' if i % 3 else 'negative'})
            for i in range(count)
        ]  # fmt: skip
        (folder / 'rows' / 'sst2' / f'{split}.jsonl').write_text('\n'.join(lines))
    made = config(folder)
    run.train(made)
    return made


def store_of(trained: Config, name: str) -> store.TokenStore:
    return store.open_store(min(pathlib.Path(trained.data.store_root).glob(f'{name}-*')))


def read(path: str) -> dict:
    return json.loads(pathlib.Path(path).read_text())


def test_a_checkpoint_scores_by_itself_as_at_the_end_of_its_run(trained, capsys):
    before = read(f'{trained.run_dir}/scores.json')
    kept, _ = predictions.read(trained.run_dir)
    stores = {p.name for p in pathlib.Path(trained.data.store_root).iterdir()}
    evaluate.score(trained)
    after = read(f'{trained.run_dir}/scores.json')
    assert after['checkpoint'] == f'{trained.run_dir}, step 4'
    assert {k: v for k, v in after.items() if k != 'checkpoint'} == before
    assert predictions.read(trained.run_dir)[0].equals(kept)
    assert {p.name for p in pathlib.Path(trained.data.store_root).iterdir()} == stores, 'nothing is prepared again'
    assert 'mini_add' in capsys.readouterr().out


def test_evaluations_during_training_score_tasks_and_pick_the_best_checkpoint(trained):
    lines = [json.loads(line) for line in pathlib.Path(f'{trained.run_dir}/metrics.jsonl').read_text().splitlines()]
    (line,) = [line for line in lines if line['event'] == 'evaluation']
    assert line['rows'] == 2 and set(line['tasks']) == {'mini_add', 'sst2'}
    assert set(line['tasks']['sst2']) == {'held_in', 'held_out_templates'}
    assert line['held_in']['length_ratio'] >= 0 and line['seconds'] > 0
    assert scored_model.choose(trained, 'best') == 2 and scored_model.choose(trained, 'latest') == 4


def test_a_budget_of_seconds_chooses_the_rows_of_each_evaluation(trained, monkeypatch):
    asked = run_scores.suites({'mini_add': store_of(trained, 'mini_add')}, trained=(), rows=None)
    state, rows = types.SimpleNamespace(params=None), []

    def slow(config, judge, *, asked, params):
        rows.append(len(np.unique(asked[0].rows)))
        time.sleep(0.05 * rows[-1])
        return {}

    monkeypatch.setattr(run_scores, 'evaluate', slow)
    for seconds in (0.06, 60.0, None):
        limits = dataclasses.replace(trained.evaluation, rows=4, budget_s=seconds)
        score = run_scores.during(dataclasses.replace(trained, evaluation=limits), None, asked=asked)
        assert [score(state)['rows'] for _ in range(3)] == rows[-3:]
    assert rows == [2, 2, 1, 1, 1, 2, 2, 4, 4, 4, 4, 4, 4]


def test_other_tasks_go_to_a_folder_of_their_own_and_keep_the_vocabulary(trained):
    before = pathlib.Path(f'{trained.run_dir}/scores.json').read_bytes()
    other = dataclasses.replace(trained, mixture=dataclasses.replace(trained.mixture, members=('mini_double',)))
    scores = evaluate.score(other)
    assert list(scores['tasks']) == ['mini_double'] and scores['tasks']['mini_double']['held_out']
    assert scores['held_in'] is None and scores['held_out_clusters']['tasks'] == 1
    (folder,) = pathlib.Path(trained.run_dir).glob('evaluated-*')
    assert {p.name for p in folder.iterdir()} == {
        'scores.json', 'predictions.parquet', 'report.html', 'config.json', 'lm_eval_results.json'
    }  # fmt: skip
    assert pathlib.Path(f'{trained.run_dir}/scores.json').read_bytes() == before
    assert len(list(pathlib.Path(trained.data.store_root).glob('vocabulary-*.model'))) == 1
    shutil.rmtree(folder)


def test_a_run_can_be_scored_when_the_rows_its_vocabulary_was_trained_on_are_gone(trained, tmp_path):
    elsewhere = dataclasses.replace(
        trained,
        data=dataclasses.replace(trained.data, store_root=str(tmp_path)),
        mixture=dataclasses.replace(trained.mixture, members=('mini_double',)),
    )
    scores = evaluate.score(elsewhere, out=str(tmp_path / 'out'))
    assert list(scores['tasks']) == ['mini_double']
    assert not [*tmp_path.glob('vocabulary-*')], 'none is trained anew'


def test_probes_and_pmi_are_asked_at_the_end_alone(trained, tmp_path):
    probing = dataclasses.replace(
        trained.evaluation, permute_options=1, content_free=True, normalise='pmi'
    )  # fmt: skip
    scores = evaluate.score(dataclasses.replace(trained, evaluation=probing), out=str(tmp_path))
    ranked = scores['tasks']['sst2']
    assert {'option_order', 'content_free', 'batch_calibrated', 'positions', 'labels', 'calibration'} <= set(ranked)
    assert scores['settings'] == {'normalise': 'pmi', 'eval_shots': 0, 'instructions': 'natural'}
    assert len(ranked['content_free']['shares']) == 2
    assert sum(ranked['content_free']['shares']) == pytest.approx(1, abs=1e-3)
    plain = evaluate.score(trained, out=str(tmp_path / 'plain'))
    for scored in (scores, plain):  # probes are no part of a score
        assert scored['tasks']['sst2']['held_in']['examples'] == 4 * (len(ranked['templates']) - 2)


def test_zero_and_few_shot_stand_side_by_side(trained, tmp_path):
    scores = evaluate.score(trained, out=str(tmp_path), shots=[0, 2])
    assert set(scores['by_shots']) == {'0', '2'} and scores['held_in']['shots'] == 0
    assert scores['by_shots']['2']['held_in']['shots'] == pytest.approx(2, abs=0.5)
    assert set(scores['by_shots']['2']['tasks']) == {'mini_add', 'sst2'}
    assert 'By exemplars in the prompt' in (tmp_path / 'report.html').read_text()


def test_two_runs_are_put_side_by_side(trained, tmp_path, capsys):
    evaluate.score(trained, checkpoint='2', out=str(tmp_path))
    capsys.readouterr()
    path = evaluate.compare(str(tmp_path), trained.run_dir, out=str(tmp_path / 'page'))
    said = capsys.readouterr().out
    assert 'mini_add' in said and 'Held-out templates (2)' in said and path == tmp_path / 'page' / 'compare.html'
    assert 'Two runs compared' in path.read_text()


@pytest.mark.parametrize(
    'checkpoint, message',
    [
        ('3', r'no checkpoint of step 3 under .*; there are \[2, 4\]'),
        ('nowhere', "checkpoint.warm_start='nowhere' is no .gguf file"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_an_error(trained, checkpoint, message):
    with pytest.raises(errors.CheckpointError, match=message):
        evaluate.score(trained, checkpoint=checkpoint)


def test_somebody_elses_model_wants_its_own_vocabulary(trained, tmp_path):
    with pytest.raises(errors.ConfigError, match='trained with a vocabulary of its own; name it with --config.vocab'):
        evaluate.score(trained, checkpoint=trained.run_dir)
    (made,) = pathlib.Path(trained.data.store_root).glob('vocabulary-*.model')
    named = dataclasses.replace(trained, vocabulary=dataclasses.replace(trained.vocabulary, path=str(made)))
    scores = evaluate.score(named, checkpoint=trained.run_dir, out=str(tmp_path))
    assert scores['checkpoint'] == trained.run_dir and scores['step'] is None
    assert scores['held_in'] == read(f'{trained.run_dir}/scores.json')['held_in']


def test_a_run_that_was_never_trained_is_an_error(trained):
    with pytest.raises(errors.CheckpointError, match='no checkpoint under .*never.*; train the config first'):
        evaluate.score(dataclasses.replace(trained, name='never'))


def test_the_best_of_a_run_without_evaluations_is_an_error(trained, tmp_path):
    shutil.copytree(trained.run_dir, tmp_path / 'tiny')
    (tmp_path / 'tiny' / 'metrics.jsonl').unlink()
    with pytest.raises(errors.CheckpointError, match=r'was evaluated on held_in .* or give a step of \[2, 4\]'):
        scored_model.choose(dataclasses.replace(trained, run_root=str(tmp_path)), 'best')


def test_a_task_without_evaluation_rows_is_told(trained):
    made = store_of(trained, 'mini_add')
    emptied = {n: c | {'examples': 0, 'dropped': {'empty_target': 4}} for n, c in made.info['splits'].items()}
    bare = dataclasses.replace(made, info=made.info | {'splits': emptied})
    (reason,) = run_scores.unasked({'mini_add': bare}).values()
    assert 'can be asked; dropped: ' in reason and 'empty_target' in reason
    assert run_scores.suites({'mini_add': bare}, trained=(), rows=None) == []


@pytest.mark.parametrize(
    'model, here, limits, table',
    [
        ({'max_length': None}, True, (128,), None),
        ({'max_length': None}, False, (128,), None),  # nothing better is known
        ({'max_length': 64}, True, (64,), None),
        ({'max_length': 8192}, True, (128,), None),
        ({'max_length': 8192}, False, (8192,), None),
        ({'positions': 'learned', 'embedding': {'positions': 50, 'offset': 2}}, False, (48,), 48),
        ({'positions': 'relative_bias', 'encoder_layers': 1}, False, (384, 128), None),
    ],
)
def test_the_context_is_a_training_row_or_what_the_published_model_reads(trained, model, here, limits, table):
    values = to_dict(trained)
    made = resolve(values | {'model': values['model'] | model})
    assert run_scores.context(made, trained_here=here) == limits and run_scores.table(made) == table


def test_prompts_longer_than_the_published_context_are_flagged_and_told(trained, tmp_path):
    mesh = mesh_lib.make(trained.mesh)
    with jax.set_mesh(mesh):
        own = scored_model.load(trained, 'latest', mesh=mesh)
        size = own.params['embedding']['table'].shape[0]
        model = dataclasses.replace(own.config.model, max_length=16, vocab_size=size)
        hugging_face.save(tmp_path / 'short', own.params, config=model, dtype='float32')
    named = dataclasses.replace(trained, vocabulary=dataclasses.replace(trained.vocabulary, path=own.vocabulary))
    scores = evaluate.score(named, checkpoint=str(tmp_path / 'short'), out=str(tmp_path / 'out'))
    assert all(task['flags']['too_long'] > 0 for task in scores['tasks'].values())
    assert 'longer than a training row or the model' in (tmp_path / 'out' / 'report.html').read_text()


def test_help_is_quick_and_a_comparison_needs_neither_jax_nor_tensorflow(trained, tmp_path):
    program = (
        'import sys, flan_jax.evaluate\n'
        'flan_jax.evaluate.compare(*sys.argv[1:3], out=sys.argv[3])\n'
        "print([m for m in ('jax', 'tensorflow', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, '-c', program, trained.run_dir, trained.run_dir, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == '[]', done.stderr
    for arguments, message in (
        (['--compare', 'a'], '--compare takes two run directories'),
        ([], 'nothing to score; give --config=configs/X.py, or --compare RUN RUN'),
    ):
        done = subprocess.run(
            [sys.executable, '-m', 'flan_jax.evaluate', *arguments], cwd=ROOT, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 1 and message in done.stderr
