"""Trains a config: `python -m flan_jax.train --config=configs/X.py [--config.KNOB=VALUE ...]`."""

import json
import pathlib
from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """The command."""
    del argv
    from absl import flags

    from flan_jax.config import resolve

    given = flags.FLAGS
    config = resolve(json.loads(pathlib.Path(given.resolved).read_text()) if given.resolved else given.config)

    from flan_jax import run  # deferred: JAX takes two seconds that neither --help nor a wrong knob should

    run.train(config)


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, resolved=True)
