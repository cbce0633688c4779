"""Shows what a model would be trained on, before anything is trained.

    python -m flan_jax.preview --list [PATTERN ...]              every task, and whether its rows are at hand
    python -m flan_jax.preview --task=NAME --n=5                 some of its examples, in the terminal
    python -m flan_jax.preview --config=configs/X.py             a page: rates, lengths, fill, examples of every task

The first two need no config; --local_root=FOLDER says where local rows lie.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence

from flan_jax import config as config_lib
from flan_jax import errors
from flan_jax.config import Config
from flan_jax.data import request, rows, vocabulary
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.previewing import listing, samples, terminal

FILE = 'preview.html'


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_bool('list', False, 'List tasks, mixtures, adapters and chat templates; arguments filter the tasks.')
    flags.DEFINE_string('cluster', None, 'With --list: only the tasks of this cluster.')
    flags.DEFINE_string('task', None, 'Show examples of this task in the terminal.')
    flags.DEFINE_integer('n', 3, 'Examples a task.', lower_bound=1)
    flags.DEFINE_string('template', None, 'With --task: only this template, such as t03.')
    flags.DEFINE_string('split', None, 'With --task: the split; by default train, or the first one there is.')
    flags.DEFINE_enum('color', 'auto', ['auto', 'always', 'never'], 'With --task: colours instead of [[...]].')
    flags.DEFINE_string('local_root', None, 'Short for --config.data.local_root; needs no config.')
    flags.DEFINE_string('out', None, f'Where the page goes; by default {FILE} in the run directory.')
    return ['list', 'cluster', 'task', 'n', 'template', 'split', 'color', 'local_root', 'out']


def takes() -> bool:
    """Whether arguments mean something: patterns of a list."""
    from absl import flags

    return flags.FLAGS.list


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    given = flags.FLAGS
    config = config_lib.resolve(given.config if given.config is not None else config_lib.default())
    if given.local_root is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, local_root=given.local_root))
    if given.list:
        known, place = request.known(config.data), request.place(config.data)
        tell('\n'.join(listing.listing(known, place, cluster=given.cluster, patterns=argv[1:])))
    elif given.task is not None:
        color = given.color == 'always' or (given.color == 'auto' and sys.stdout.isatty())
        tell(show(config, given.task, split=given.split, n=given.n, template=given.template, color=color))
    elif given.config is not None:
        os.environ['JAX_PLATFORMS'] = 'cpu'  # nothing is computed, and an accelerator may be at work for others
        from flan_jax.previewing import page  # imports JAX

        print(page.write(config, pathlib.Path(given.out or f'{config.run_dir}/{FILE}'), shown=given.n))
    else:
        raise errors.ConfigError('nothing to show; give --list, --task=NAME or --config=configs/X.py')


def tell(text: str) -> None:
    """Prints; a reader that has seen enough, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end


def show(config: Config, name: str, *, split: str | None, n: int, template: str | None, color: bool) -> str:
    """Examples of one task as text, made from its rows; see `previewing.samples.rendered`.

    Raises:
      ConfigError: there is no such task, split or template.
    """
    tasks = request.known(config.data).tasks
    if name not in tasks:
        raise errors.ConfigError(f'no task {name!r}{errors.near(name, tasks)}; --list shows all')
    task = tasks[name]
    if split is None:
        here = rows.splits(task, place=request.place(config.data))
        split = 'train' if 'train' in here else here[0]
    found, account = samples.rendered(
        config, task, split=split, n=n, template=template, vocabulary=find_vocabulary(config)
    )
    return terminal.show(task, found, split=split, account=account, color=color)


def find_vocabulary(config: Config) -> Vocabulary | None:
    """The config's vocabulary; None if it would have to be trained first."""
    if config.vocabulary.path is not None:
        return vocabulary.load(config.vocabulary.path, bos=config.vocabulary.bos)
    if not any(pathlib.Path(config.data.store_root).glob('vocabulary-*.model')):
        return None
    from flan_jax import prepare

    try:
        found = prepare.needs(config).vocabulary
    except errors.FlanJaxError:  # the mixture's other tasks are not what is asked for
        return None
    return found if os.path.exists(found.path) else None


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, define=define, optional=True, takes=takes)
