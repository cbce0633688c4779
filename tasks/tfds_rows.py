"""From TFDS's values to the plain text and label names of a task's own rows."""

from collections.abc import Sequence

# What `label_name` gives for an unlabelled row; a task's `fields` rejects such rows.
UNLABELLED = ''


def text(value: str | bytes) -> str:
    """TFDS gives strings as UTF-8 bytes; nothing is stripped.

    >>> text(b'caf\\xc3\\xa9 ')
    'café '
    """
    return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def label_name(index: int, names: Sequence[str]) -> str:
    """The name of a ClassLabel; TFDS marks a row without a label by -1.

    >>> label_name(1, ['no', 'yes']), label_name(-1, ['no', 'yes'])
    ('yes', '')
    """
    return names[int(index)] if int(index) >= 0 else UNLABELLED
