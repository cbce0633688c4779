"""What all verbs share on the command line: the config flag, and errors a person can read."""

import functools
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from flan_jax import config, errors


def run(
    main: Callable[[Sequence[str]], None],
    *,
    resolved: bool = False,
    define: Callable[[], Sequence[str]] = tuple,
    optional: bool = False,
    kind: type = config.Config,
) -> None:
    """Runs a verb's `main` with `--config` parsed.

    Args:
      main: gets what is left of the command line.
      resolved: also take `--resolved=FILE`, a whole config as JSON, as parents hand it to their children.
      define: declares the verb's own flags and gives their names.
      optional: whether the verb does something without a config.
      kind: dataclass that the config file describes.
    """
    config_flags.DEFINE_config_file('config', None, 'Config file; --config.KNOB=VALUE overrides a knob of it.')
    names = ['config']
    if resolved:
        flags.DEFINE_string('resolved', None, 'A resolved config as JSON, instead of --config.')
        names.append('resolved')
    names += define()
    for name in names:  # so that the verb's own --help shows them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    logging.set_verbosity(logging.WARNING)  # Orbax says several lines a checkpoint otherwise; --verbosity=0 shows them

    def guarded(argv: Sequence[str]) -> None:
        if flags.FLAGS.config is None and not optional and not (resolved and flags.FLAGS.resolved):
            _fail('--config=configs/X.py is missing', status=2)
        try:
            main(argv)
        except errors.FlanJaxError as e:
            _fail(f'{type(e).__name__}: {e}', status=1)

    app.run(guarded, flags_parser=functools.partial(_parse, kind=kind))


def _parse(argv: Sequence[str], *, kind: type) -> list[str]:
    """absl's parser; a misspelt or mistyped knob is told in one line, with the nearest right name."""
    try:
        off, rest = [], list(argv[:1])
        for argument in argv[1:]:
            name, _, value = argument.removeprefix('--config.').partition('=')
            knob = argument.startswith('--config.')
            if knob:
                config.check_name(name, kind)
            if knob and value == 'None':  # of a number, ml_collections takes it for a misspelt one
                off.append(name)
            else:
                rest.append(argument)
        parsed = flags.FLAGS(rest)
        if flags.FLAGS.config is not None:
            flags.FLAGS.config.keys()  # a file that could not be loaded says so on the first look
            flags.FLAGS.config.update_from_flattened_dict(dict.fromkeys(off))
        return parsed
    except errors.ConfigError as e:
        _fail(f'ConfigError: {e}', status=2)
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError, flags.Error) as e:
        _fail(f'ConfigError: {e}', status=2)


def _fail(message: str, *, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
