"""Trains a config: `python -m flan_jax.train --config=configs/X.py [--config.KNOB=VALUE ...]`."""

from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """The command."""
    del argv
    from absl import flags

    from flan_jax import run  # deferred: JAX takes two seconds that --help should not
    from flan_jax.config import resolve

    run.train(resolve(flags.FLAGS.config))


if __name__ == '__main__':
    from flan_jax import command

    command.run(main)
