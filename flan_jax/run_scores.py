"""A run's scores: what asks the model, what it is asked, during training and at the end."""

import json
import os
import pathlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from flan_jax.config import Config
from flan_jax.data import chat, making, request
from flan_jax.data.store import TokenStore
from flan_jax.data.task import Task
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.score import Scorer
from flan_jax.evaluation import lm_eval_results, outcomes, predictions, probes, protocol, suite
from flan_jax.evaluation.budget import Budget
from flan_jax.evaluation.judge import Judge
from flan_jax.evaluation.probes import Probe
from flan_jax.evaluation.suite import Suite
from flan_jax.training.state import TrainState


def make_judge(
    config: Config, graph: Any, *, mesh: jax.sharding.Mesh, vocabulary: Vocabulary, trained_here: bool = True
) -> Judge:
    """What asks the model; see `context` for one that was not trained here."""
    encoder_decoder, tokens = config.model.encoder_decoder, config.evaluation.batch_tokens
    ends = end_ids(config, vocabulary)
    return Judge(
        Generator(graph, mesh, ends, tokens),
        Scorer(graph, mesh, encoder_decoder, tokens),
        vocabulary,
        config.evaluation,
        context(config, trained_here=trained_here),
        table(config),
        ends,
        None if config.format.chat is None else chat.load(config.format.chat, vocabulary),
    )


def context(config: Config, *, trained_here: bool) -> tuple[int, ...]:
    """Tokens the model is made to read at once, one number a side: of a training row, and no more than published.

    What was not trained here may have read longer texts than a row of the config: of it the published number counts
    alone, if there is one.
    """
    packing = config.packing
    rows = (packing.encoder_tokens, packing.decoder_tokens) if config.model.encoder_decoder else (packing.row_tokens,)
    limits = [size for size in (config.model.max_length, table(config)) if size is not None]
    if not limits:
        return rows
    return tuple(min(row, *limits) if trained_here else min(limits) for row in rows)


def table(config: Config) -> int | None:
    """Tokens that a model with learned positions can read; None: it has others, which go on."""
    embedding = config.model.embedding
    return None if config.model.positions != 'learned' else embedding.positions - embedding.offset


def end_ids(config: Config, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ids that end an answer: those of the chat template, if there is one, and the vocabulary's."""
    if config.format.chat is None:
        return vocabulary.end_ids
    return chat.stop_ids(chat.load(config.format.chat, vocabulary), vocabulary)


def suites(stores: Mapping[str, TokenStore], *, trained: Collection[str], rows: int | None) -> list[Suite]:
    """Evaluation prompts of all tasks that have stores; those that are not among the trained ones are held out.

    Raises:
      DataError, ConfigError: a task could not be scored, see `outcomes.check`; its later rows count, too.
    """
    found = [suite.of_store(made, held_out=name not in trained, rows=None) for name, made in stores.items()]
    out = [asked for asked in found if asked is not None]
    for asked in out:
        outcomes.check(asked)
    return [asked.first(rows) for asked in out]


def unasked(stores: Mapping[str, TokenStore]) -> dict[str, str]:
    """Tasks that are not scored, and why."""
    found = {name: suite.unasked(made) for name, made in stores.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def make_probes(
    config: Config, tasks: Mapping[str, Task], *, asked: Sequence[Suite], vocabulary: Vocabulary
) -> list[Probe]:
    """What the config asks besides the suites."""
    wanted, out = config.evaluation, []
    if not wanted.permute_options and not wanted.content_free and not wanted.without_instruction:
        return out
    for one in asked:
        task = tasks[one.name]
        pool = making.exemplars(config, task) if config.format.eval_shots else ()
        maker = request.maker(config, task, vocabulary=vocabulary, exemplars=pool)
        found = [probes.permuted(one, maker, orders=wanted.permute_options)]
        found += [probes.content_free(one, maker)] if wanted.content_free else []
        found += [probes.bare(one, maker), probes.shuffled(one, maker)] if wanted.without_instruction else []
        out += [probe for probe in found if probe is not None]
    return out


def evaluate(
    config: Config,
    judge: Judge,
    *,
    asked: Sequence[Suite],
    params: Any,
    besides: Sequence[Probe] = (),
    keep: str | None = None,
) -> dict[str, Any]:
    """Scores of some weights, shaped like scores.json.

    Args:
      config: of the run.
      judge: of its model.
      asked: suites; none is an error of the caller's.
      params: the weights.
      besides: probes.
      keep: folder that predictions.parquet goes to; None: it is not written, and no bar is shown.
    """
    from tqdm import tqdm

    everything = [*asked, *(probe.suite for probe in besides)]
    quiet = keep is None or not config.telemetry.progress or jax.process_index() != 0
    with tqdm(total=sum(map(len, everything)), desc='evaluate', unit='prompt', disable=quiet) as bar:
        answers = judge.ask(params, everything, progress=bar.update)
    found = [outcomes.of(suite_, said) for suite_, said in zip(everything, answers, strict=True)]
    own, extra = found[: len(asked)], found[len(asked) :]
    if keep is not None and jax.process_index() == 0:
        predictions.write(keep, own)
    return protocol.scores(
        own, examples=config.evaluation.examples, show=judge.vocabulary.decode,
        probes=list(zip(besides, extra, strict=True)), seed=config.seed,
    )  # fmt: skip


def during(config: Config, judge: Judge, *, asked: Sequence[Suite]) -> Callable[[TrainState], dict[str, Any]]:
    """What the loop calls: scores of a state, on as many rows as `evaluation.budget_s` allows."""
    budget = Budget(config.evaluation.budget_s, config.evaluation.rows)

    def timed(state: TrainState) -> dict[str, Any]:
        began, rows = time.perf_counter(), budget.rows
        scores = evaluate(config, judge, asked=[one.first(rows) for one in asked], params=state.params)
        budget.took(_agreed(time.perf_counter() - began))
        return scores | {'rows': rows}

    def score(state: TrainState) -> dict[str, Any]:
        while not budget.settled:  # so that all scores of the run are of the same rows
            timed(state)
        return timed(state)

    return score


def at_end(
    config: Config, judge: Judge, *, asked: Sequence[Suite], tasks: Mapping[str, Task], params: Any, keep: str
) -> dict[str, Any]:
    """Scores of everything prepared, with probes; predictions go to the folder `keep`."""
    besides = make_probes(config, tasks, asked=asked, vocabulary=judge.vocabulary)
    scores = evaluate(config, judge, asked=asked, params=params, besides=besides, keep=keep)
    settings = {
        'normalise': config.evaluation.normalise, 'eval_shots': config.format.eval_shots,
        'instructions': config.format.eval_instructions or config.format.instructions,
    }  # fmt: skip
    return {'settings': settings} | scores


def write(folder: str, scores: Mapping[str, Any]) -> None:
    """Writes scores.json, and the same in the form of lm-eval's results."""
    write_json(folder, 'scores.json', value=scores)
    write_json(folder, lm_eval_results.FILE, value=lm_eval_results.of(scores))


def write_json(folder: str, name: str, *, value: Mapping[str, Any]) -> None:
    """Writes a file of a run directory whole or not at all."""
    path = pathlib.Path(folder) / name
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)


def _agreed(seconds: float) -> float:
    """The first process's time: all must ask the same rows."""
    if jax.process_count() == 1:
        return seconds
    return float(multihost_utils.broadcast_one_to_all(np.float32(seconds)))
