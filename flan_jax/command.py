"""What all verbs share on the command line: the config flag, and errors a person can read."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from ml_collections import config_flags

from flan_jax import errors


def run(main: Callable[[Sequence[str]], None], *, resolved: bool = False) -> None:
    """Runs a verb's `main` with `--config` parsed.

    Args:
      main: gets what is left of the command line.
      resolved: also take `--resolved=FILE`, a whole config as JSON, as parents hand it to their children.
    """
    config_flags.DEFINE_config_file('config', None, 'Config file; --config.KNOB=VALUE overrides a knob of it.')
    if resolved:
        flags.DEFINE_string('resolved', None, 'A resolved config as JSON, instead of --config.')

    for name in ('config', 'resolved') if resolved else ('config',):  # so that --help of the verb shows them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])

    def guarded(argv: Sequence[str]) -> None:
        if flags.FLAGS.config is None and not (resolved and flags.FLAGS.resolved):
            print('--config=configs/X.py is missing', file=sys.stderr)
            sys.exit(2)
        try:
            main(argv)
        except errors.FlanJaxError as e:
            print(f'{type(e).__name__}: {e}', file=sys.stderr)
            sys.exit(1)

    app.run(guarded)
