"""What all verbs share on the command line: the config flag, and errors a person can read."""

import functools
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from flan_jax import config, errors


def run(
    main: Callable[[Sequence[str]], None],
    *,
    resolved: bool = False,
    define: Callable[[], Sequence[str]] = tuple,
    optional: bool = False,
    kind: type = config.Config,
    takes: Callable[[], bool] = bool,
) -> None:
    """Runs a verb's `main` with `--config` parsed.

    Args:
      main: gets what is left of the command line.
      resolved: also take `--resolved=FILE`, a whole config as JSON, as parents hand it to their children.
      define: declares the verb's own flags and gives their names.
      optional: whether the verb does something without a config.
      kind: dataclass that the config file describes.
      takes: whether, with the flags that were given, words that are no flags mean something; by default they do not.
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
        if argv[1:] and not takes():
            _fail(f'ConfigError: {argv[1]!r} is no flag; a knob is given as --config.KNOB=VALUE', status=2)
        try:
            main(argv)
        except errors.FlanJaxError as e:
            _fail(f'{type(e).__name__}: {e}', status=1)
        except OSError as e:  # a full disk, a folder that may not be written
            if e.filename is None:
                raise
            _fail(f'{type(e).__name__}: {e.filename}: {e.strerror}', status=1)

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
        if flags.FLAGS['config'].present:
            if flags.FLAGS.config is not None:
                flags.FLAGS.config.keys()  # a file that could not be loaded says so on the first look
            if not isinstance(flags.FLAGS.config, config_dict.ConfigDict):
                kind = type(flags.FLAGS.config).__name__
                raise errors.ConfigError(f'get_config() gives a {kind}; change and return flan_jax.config.default()')
            flags.FLAGS.config.update_from_flattened_dict(dict.fromkeys(off))
        return parsed
    except errors.ConfigError as e:
        _fail(f'ConfigError: {e}', status=2)
    except ModuleNotFoundError as e:
        place = _place(e, argv)
        _fail(f'ConfigError: {place}no module {e.name!r}; run from its folder or put that on PYTHONPATH', status=2)
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError, flags.Error) as e:
        _fail(f'ConfigError: {_place(e, argv)}{_said(e)}', status=2)


def _place(error: Exception, argv: Sequence[str]) -> str:
    """File and line of a config file that an error comes from, as the beginning of a message; '' if from none."""
    files = {word.removeprefix('--config=') for word in argv[1:]}
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames += re.findall(r'File "(.*)", line (\d+)', str(error))  # ml_collections writes the traceback into some
    lines = [line for file, line in frames if file in files]
    return f'{next(file for file, _ in frames if file in files)}:{lines[-1]}: ' if lines else ''


def _said(error: Exception) -> str:
    """An error's message without what ml_collections adds: a traceback, quotes, the values of all other fields."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error).strip()
    if 'Traceback (most recent call last)' in text or 'Failed loading config file' in text:
        return text.splitlines()[-1].strip()
    text = re.sub(r'\s*Other fields present: "{.*}"', '', text, flags=re.DOTALL)
    first, *more = text.split('\n')
    name = first.strip('\'"')
    return ' '.join([f'there is no {name!r}.' if name.isidentifier() else first, *more])  # a name alone: a KeyError's


def _fail(message: str, *, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
