"""Stop strings: where an answer's text ends."""

import dataclasses
from collections.abc import Callable, Sequence

from flan_jax import errors

_BROKEN = '\ufffd'  # what half a character is shown as


@dataclasses.dataclass(frozen=True)
class StopStrings:
    """Strings that end an answer, found in its text, so that they may begin and end inside tokens.

    Attributes:
      strings: any of them ends it.
      decode: ids to text.

    Raises:
      ConfigError: one is empty or holds half a character, which text never does.
    """

    strings: tuple[str, ...]
    decode: Callable[[Sequence[int]], str]

    def __post_init__(self):
        for string in self.strings:
            if not string:
                raise errors.ConfigError('a stop string is empty and would end every answer at once; leave it out')
            if _BROKEN in string or any('\ud800' <= c <= '\udfff' for c in string):
                raise errors.ConfigError(
                    f'the stop string {string!r} holds half a character, which no text does; stop at whole characters'
                )

    def reached(self, ids: Sequence[int]) -> bool:
        """Whether the last token brought a stop string; asked after every token."""
        if not self.strings:
            return False
        # A token stands for a byte at least, but for the marks that decode to nothing.
        tail = max(len(s.encode()) for s in self.strings) + 8
        text = self.decode(ids[-tail:])
        return any(s in text for s in self.strings)

    def cut(self, text: str) -> str:
        """The text before the first stop string.

        >>> StopStrings(('\\n\\n', 'Q:'), str).cut('Paris.\\nQ: And Rome?')
        'Paris.\\n'
        """
        places = [at for s in self.strings if (at := text.find(s)) >= 0]
        return text[: min(places)] if places else text

    def certain(self, text: str) -> str:
        """What of an unfinished text stays whatever follows: without half a character or the beginning of a stop.

        >>> StopStrings(('\\n\\n', 'Q:'), str).certain('Paris.\\nQ')
        'Paris.\\n'
        """
        text = self.cut(text).rstrip(_BROKEN)
        ends = (n for s in self.strings for n in range(len(s) - 1, 0, -1) if text.endswith(s[:n]))
        return text[: len(text) - max(ends, default=0)]
