"""A run as one story: data, mesh, plan, model, optimizer, restore, evaluators, loop, scores, report."""

import dataclasses
import functools
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import flax
import jax

from flan_jax import errors, run_adapters, run_data, run_machine, run_scores
from flan_jax.config import Config, to_dict
from flan_jax.data import loader
from flan_jax.evaluation import report
from flan_jax.interop import warm_start
from flan_jax.models.config import ModelConfig
from flan_jax.parallel import distributed
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.shared import Shared
from flan_jax.training import checkpoint, loop, telemetry
from flan_jax.training import state as state_lib

VOCABULARY = 'vocabulary.model'  # in a run directory


def train(config: Config, *, shared: Shared | None = None) -> dict[str, Any] | None:
    """Runs a config to its end.

    Args:
      config: of the run.
      shared: what it can share with other runs of this process; None: nothing.

    Returns:
      The scores at the end, or None if the run was told to stop or asked for none.

    Raises:
      FlanJaxError: something a person must put right; nothing already written is harmed.
    """
    # --- devices and data
    if not config.name:
        raise errors.ConfigError(f'name={config.name!r} names no folder in {config.run_root!r}; give the run a name')
    shared, laps = shared or Shared(), telemetry.Laps()
    distributed.initialise()
    mesh = mesh_lib.make(config.mesh)
    _check_place(pathlib.Path(config.run_dir).absolute())  # before hours of preparing
    data = run_data.load(config)
    model = model_config(config, data.stores.vocabulary.size)
    laps.lap('data')

    # --- plan
    plan, steps = run_data.make_plan(config, data)
    cut = loader.layout(plan, config.training, mesh=mesh)
    summary = run_data.summarise(config, data, plan=plan, steps=steps, cut=cut)
    if jax.process_index() == 0:
        _write_run(config, summary, vocabulary=data.stores.vocabulary.path)
        print(run_data.told(summary), file=sys.stderr)

    # --- model and optimizer
    make = functools.partial(run_machine.make, config, model, mesh=mesh)
    machine = shared.compiled.get(run_machine.key(config, model, mesh=mesh), make)
    tx, tuned, placed = machine.tx, machine.tuned, machine.placed
    laps.lap('begin')

    # --- restore, or begin
    checkpoints = checkpoint.Checkpoints(config.run_dir, config.checkpoint)
    with jax.set_mesh(mesh):
        rates, seed = run_machine.arguments(config, steps, mesh=mesh)
        base = shared.weights.get(
            run_machine.base_key(config, model, mesh=mesh),
            lambda: run_adapters.base(config, tuned, model=model, mesh=mesh),
        )
        if checkpoints.latest() is not None:
            shapes = state_lib.shapes(tuned.bones, tx)
            state = checkpoints.restore(shapes, placed, plan=plan.fingerprint, base=base.fingerprint)
            account = f'weights: this run goes on from step {int(state.step)}'
        elif base.first is not None:
            state, account = base.begin(tx, placed), base.account
        else:
            state, account = machine.fresh(jax.random.key(config.seed)), 'weights: random'
            if config.checkpoint.warm_start is not None:
                state, taken = warm_start.begin(state, config, model=model, mesh=mesh)
                account = taken.told()
        if jax.process_index() == 0:
            print(account, file=sys.stderr)
        first = int(state.step)
        laps.lap('weights')

        # --- evaluators, loop
        judge = run_scores.make_judge(config, machine.bones.graph, mesh=mesh, vocabulary=data.stores.vocabulary)
        trained = data.needs.selection.train
        small = run_scores.suites(data.stores.stores, trained=trained, rows=config.evaluation.rows)
        batches = loader.Loader(plan, data.splits, layout=cut, mesh=mesh).batches(first, steps)
        lines = telemetry.Telemetry(config.run_dir, config.telemetry, first_step=first, steps=steps)
        during = run_scores.during(config, judge, asked=small)
        run = loop.Run(
            config=config, steps=steps, checkpoints=checkpoints, telemetry=lines,
            describe=lambda done: checkpoint.Description(done, plan.fingerprint, to_dict(config), base.fingerprint),
            evaluate=lambda state: during(dataclasses.replace(state, params=base.whole(state.params))),
            flops=None if model.encoder_decoder
            else telemetry.flops_per_token(model, row_tokens=config.packing.row_tokens, trained=tuned.part),
        )  # fmt: skip
        try:
            state, stopped = loop.fit(
                run, state, step=lambda *both: machine.step(*both, base.frozen, rates, seed), batches=batches
            )
        finally:
            lines.close()
            checkpoints.close()
        laps.lap('train')

        # --- scores and report
        if stopped:
            print(f'told to stop: step {int(state.step)} of {steps} is saved; start again to go on', file=sys.stderr)
            return None
        scores = None
        if config.evaluation.at_end:
            asked = run_scores.suites(data.stores.stores, trained=trained, rows=None)
            scores = {'step': int(state.step)} | run_scores.at_end(
                config, judge, asked=asked, tasks=data.needs.tasks, params=base.whole(state.params), keep=config.run_dir
            )
            scores |= {'unasked': run_scores.unasked(data.stores.stores) | dict(data.stores.missing)}
            laps.lap('evaluate')
    if jax.process_index() == 0:
        run_scores.write_json(config.run_dir, 'seconds.json', value=laps.seconds)
        if scores is not None:
            run_scores.write(config.run_dir, scores)
            print(report.score_table(scores))
        print(f'report: {report.write(config.run_dir)}', file=sys.stderr)
    return scores


def model_config(config: Config, vocabulary_size: int) -> ModelConfig:
    """The model with its vocabulary filled in.

    Raises:
      ConfigError: the model has fewer rows than the tokenizer has pieces.
    """
    size = config.model.vocab_size
    if size is not None and size < vocabulary_size:
        raise errors.ConfigError(
            f'model.vocab_size={size} is smaller than the tokenizer, {vocabulary_size} pieces; leave it out'
        )
    rows = size or -(-vocabulary_size // 128) * 128
    embedding = dataclasses.replace(config.model.embedding, pieces=vocabulary_size)
    return dataclasses.replace(config.model, vocab_size=rows, embedding=embedding)


def _check_place(folder: pathlib.Path) -> None:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise errors.ConfigError(f'{folder} cannot be made: nothing can be written in {there}; choose another run_root')


def _write_run(config: Config, summary: Mapping[str, Any], *, vocabulary: str) -> None:
    """The run directory's head: config, plan, versions, and the vocabulary if it was trained for the run."""
    os.makedirs(config.run_dir, exist_ok=True)
    if config.vocabulary.path is None:
        shutil.copyfile(vocabulary, os.path.join(config.run_dir, VOCABULARY))
    run_scores.write_json(config.run_dir, 'config.json', value=to_dict(config))
    run_scores.write_json(config.run_dir, 'plan.json', value=summary)
    environment = {
        'python': platform.python_version(), 'jax': jax.__version__, 'flax': flax.__version__,
        'device': jax.devices()[0].device_kind, 'devices': jax.device_count(), 'processes': jax.process_count(),
    }  # fmt: skip
    run_scores.write_json(config.run_dir, 'environment.json', value=environment)
