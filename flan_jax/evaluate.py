"""Scores a checkpoint on everything prepared, or puts two runs side by side.

    python -m flan_jax.evaluate --config=configs/X.py                                  the newest checkpoint of the run
    python -m flan_jax.evaluate --config=configs/X.py --checkpoint=best                or a step, such as 500
    python -m flan_jax.evaluate --config=configs/X.py --checkpoint=smollm2             a model not trained here
    python -m flan_jax.evaluate --config=configs/X.py --config.mixture.members=bbh_*   on other tasks
    python -m flan_jax.evaluate --config=configs/X.py --shots=0,5                      zero-shot and few-shot
    python -m flan_jax.evaluate --compare runs/a runs/b                                with paired tests

Writes scores.json (and the same in lm-eval's form, lm_eval_results.json), predictions.parquet and report.html into the
run directory; for other tasks, or a model not trained here, into a folder of their own in it. A comparison goes to
compare.html in the second run's directory. --out=FOLDER sends either elsewhere.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import Config, resolve, to_dict

FILE = 'compare.html'


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_string('checkpoint', 'latest', "'latest', 'best', a step, or what checkpoint.warm_start takes.")
    flags.DEFINE_string('compare', None, 'A run directory; a second one follows as an argument. Needs no config.')
    flags.DEFINE_string('out', None, 'Folder of the results; by default the run directory.')
    flags.DEFINE_list('shots', None, 'Numbers of exemplars to evaluate with; by default format.eval_shots alone.')
    return ['checkpoint', 'compare', 'out', 'shots']


def takes() -> bool:
    """Whether arguments mean something: the second run of a comparison."""
    from absl import flags

    return flags.FLAGS.compare is not None


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    given = flags.FLAGS
    if given.compare is not None:
        if len(argv) != 2:
            raise errors.ConfigError(f'--compare takes two run directories, got {[given.compare, *argv[1:]]}')
        compare(given.compare, argv[1], out=given.out)
        return
    if given.config is None:
        raise errors.ConfigError('nothing to score; give --config=configs/X.py, or --compare RUN RUN')
    if given.shots is not None and not all(text.isdecimal() for text in given.shots):
        raise errors.ConfigError(f'--shots={",".join(given.shots)} must be numbers, such as 0,5')
    score(
        resolve(given.config), checkpoint=given.checkpoint, out=given.out,
        shots=[int(text) for text in given.shots] if given.shots else None,
    )  # fmt: skip


def compare(first: str, second: str, *, out: str | None = None) -> pathlib.Path:
    """Prints two runs' scores side by side with paired tests and writes the page.

    Raises:
      DataError: a run has no answers, or they share no prompt.
    """
    from flan_jax.evaluation import comparison, comparison_page

    found = comparison.compare(first, second)
    print(comparison_page.text(found))
    path = pathlib.Path(out or second) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_page.page(found), encoding='utf-8', errors='replace')
    print(path, file=sys.stderr)
    return path


def score(
    config: Config, *, checkpoint: str = 'latest', out: str | None = None, shots: Sequence[int] | None = None
) -> dict[str, Any]:
    """Scores of a checkpoint; writes them down.

    Args:
      config: what is asked, and the run by its name.
      checkpoint: 'latest', 'best' (by `checkpoint.best_score`), a step, or what `checkpoint.warm_start` takes.
      out: folder; None: chosen as the module says.
      shots: exemplars; of several the first one's scores are the file's, the others are under `by_shots`.

    Raises:
      CheckpointError: there is no such checkpoint, or it holds another model.
    """
    import jax  # deferred: --help should not wait for it

    from flan_jax import run_scores, scored_model
    from flan_jax.evaluation import report
    from flan_jax.parallel import distributed
    from flan_jax.parallel import mesh as mesh_lib

    distributed.initialise()
    mesh = mesh_lib.make(config.mesh)
    model = scored_model.load(config, checkpoint, mesh=mesh)
    folder = out or (config.run_dir if model.at_home else f'{config.run_dir}/{model.label}')
    if jax.process_index() == 0:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    found = {}
    with jax.set_mesh(mesh):
        for count in shots or [config.format.eval_shots]:
            asking = dataclasses.replace(
                model.config, format=dataclasses.replace(model.config.format, eval_shots=count)
            )
            found[count] = scored_model.score(asking, model, mesh=mesh, keep=None if found else folder)
    scores = {'step': model.step, 'checkpoint': model.source} | next(iter(found.values()))
    if len(found) > 1:
        scores['by_shots'] = {str(count): scored_model.outline(one) for count, one in found.items()}
    if jax.process_index() == 0:
        run_scores.write(folder, scores)
        if folder != config.run_dir:
            run_scores.write_json(folder, 'config.json', value=to_dict(model.config))
        print(report.score_table(scores))
        print(f'report: {report.write(folder)}', file=sys.stderr)
    return scores


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, define=define, optional=True, takes=takes)
