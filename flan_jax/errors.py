"""Errors that a person reads: what is wrong, the values, what to do."""

import difflib
from collections.abc import Iterable


class FlanJaxError(Exception):
    """An error of the input or the set-up, not of the program; drivers print it without a traceback."""


class ConfigError(FlanJaxError):
    """A knob is unknown, or values contradict each other."""


class DataError(FlanJaxError):
    """A row, a template, a task or a store cannot be used."""


class CheckpointError(FlanJaxError):
    """A checkpoint is missing, belongs to another run, or could not be written."""


class DivergenceError(FlanJaxError):
    """The loss stopped being a number."""


def near(name: str, known: Iterable[str], *, n: int = 3) -> str:
    """The `n` names nearest to `name`, as the end of an error message: '; did you mean a, b?'."""
    matches = difflib.get_close_matches(name, list(known), n=n, cutoff=0.5)
    return f'; did you mean {", ".join(matches)}?' if matches else ''
