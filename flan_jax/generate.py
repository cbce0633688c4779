"""Answers: to a file of prompts, or in a chat on the terminal.

    python -m flan_jax.generate --config=configs/X.py                                 a chat with the run's newest step
    python -m flan_jax.generate --config=configs/X.py --checkpoint=best --prompts=questions.jsonl --out=answers.jsonl
    python -m flan_jax.generate --checkpoint=smollm2                                  a chat with another's model
    python -m flan_jax.generate --checkpoint=smollm2 --prompts=q.txt --temperature=0.8 --top_p=0.95 --samples=4
    python -m flan_jax.generate --checkpoint=FOLDER --vocabulary=FOLDER --prompts=q.txt --beams=4 --length_penalty=0.6

Prompts are the lines of a .txt file, or JSON lines with `prompt` (text) or `messages` (and `tools`, if any); in them
`seed` overrides --seed. Answers are JSON lines: `prompt` or `messages`, `answers`, `flags` ('unfinished' after --new
tokens) and `cut` (tokens of the prompt's left that had no room). They go to --out, or to the terminal.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.config import resolve


def define() -> list[str]:
    """This verb's own flags."""
    from absl import flags

    flags.DEFINE_string('checkpoint', None, "'latest', 'best', a step, or what checkpoint.warm_start takes.")
    flags.DEFINE_string('vocabulary', None, 'Without a config: as vocabulary.path; by default the checkpoint itself.')
    flags.DEFINE_string('chat', None, "Chat template, as format.chat; by default the config's, or the tokenizer's own.")
    flags.DEFINE_string('prompts', None, '.txt or .jsonl file; none: a chat.')
    flags.DEFINE_string('out', None, 'File of the answers.')
    flags.DEFINE_string('system', None, 'System message of a chat.')
    flags.DEFINE_multi_string('stop', [], 'Text that ends an answer; may be given more than once.')
    flags.DEFINE_integer('new', 256, 'Tokens of an answer, at most.', lower_bound=1)
    flags.DEFINE_integer('samples', 1, 'Answers to each prompt.', lower_bound=1)
    flags.DEFINE_float('temperature', 0.0, '0: the likeliest tokens.')
    flags.DEFINE_integer('top_k', None, 'Draw from the k likeliest tokens only.')
    flags.DEFINE_float('top_p', 1.0, 'Draw from the likeliest tokens that together have this probability.')
    flags.DEFINE_float('min_p', 0.0, "Draw from tokens with this share of the likeliest one's probability.")
    flags.DEFINE_float('repetition_penalty', 1.0, 'Divides the logits of tokens that are there already.')
    flags.DEFINE_integer('seed', 0, 'Of what is drawn.')
    flags.DEFINE_integer('beams', 1, 'Search with so many beams instead; answers are the best --samples of them.')
    flags.DEFINE_float('length_penalty', 1.0, 'Power of the length that beam scores are divided by.')
    flags.DEFINE_integer('batch_tokens', 16_384, 'Tokens of one batch.', lower_bound=1)
    return [
        'checkpoint', 'vocabulary', 'chat', 'prompts', 'out', 'system', 'stop', 'new', 'samples', 'temperature',
        'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed', 'beams', 'length_penalty', 'batch_tokens',
    ]  # fmt: skip


def main(argv: Sequence[str]) -> None:
    """The command."""
    from absl import flags

    given = flags.FLAGS
    if given.config is None and given.checkpoint is None:
        raise errors.ConfigError('nothing to ask; give --config=configs/X.py or --checkpoint=SOURCE')
    from flan_jax.decoding.sampling import Sampling

    knobs = ('temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'seed')
    how = Sampling(**{name: getattr(given, name) for name in knobs})
    asking = Asking(
        how, new=given.new, samples=given.samples, stops=tuple(given.stop), beams=given.beams,
        length_penalty=given.length_penalty,
    )  # fmt: skip
    asked = None if given.prompts is None else read(given.prompts)
    config = None if given.config is None else resolve(given.config)
    from flan_jax import speaker as speaker_lib  # imports JAX, which --help should not wait for

    speaker = speaker_lib.load(
        config, given.checkpoint or 'latest', vocabulary=given.vocabulary, chat=given.chat,
        batch_tokens=given.batch_tokens,
    )  # fmt: skip
    if asked is None:
        talk(speaker, asking, system=given.system)
        return
    found = answer(speaker, asked, asking=asking)
    text = ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in found)
    if given.out is None:
        sys.stdout.write(text)
    else:
        path = pathlib.Path(given.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8', errors='replace')
    cut = sum(line['cut'] > 0 for line in found)
    unfinished = sum('unfinished' in line['flags'] for line in found)
    print(f'{len(found)} prompts answered; {cut} cut, {unfinished} with unfinished answers', file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Asking:
    """How answers are made: see the flags."""

    how: Any
    new: int = 256
    samples: int = 1
    stops: tuple[str, ...] = ()
    beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self):
        if self.beams > 1 and (self.how.temperature or self.how.repetition_penalty != 1 or self.stops):
            raise errors.ConfigError(
                f'--beams={self.beams} looks for the likeliest answer; it takes no temperature, repetition penalty or '
                'stop strings'
            )
        if self.beams > 1 and self.samples > self.beams:
            raise errors.ConfigError(f'--samples={self.samples} of --beams={self.beams}: there are not so many')


def read(path: str) -> list[dict[str, Any]]:
    """Prompts of a file: `prompt` or `messages` in each.

    Raises:
      DataError: it is missing, empty, or a line is no prompt; names the line.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding='utf-8').split('\n')
    except (OSError, UnicodeDecodeError) as e:
        raise errors.DataError(f'--prompts={path} cannot be read: {e}') from e
    plain = not path.endswith(('.jsonl', '.json'))
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if plain:
            out.append({'prompt': line.rstrip('\r')})
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            raise errors.DataError(f'{path}, line {number}: no JSON ({e}); a .txt file holds a prompt a line') from e
        if not isinstance(row, dict) or not (isinstance(row.get('prompt'), str) or row.get('messages')):
            raise errors.DataError(f'{path}, line {number}: neither `prompt` (text) nor `messages` in {line[:80]}')
        out.append(row)
    if not out:
        raise errors.DataError(f'--prompts={path} holds no prompt')
    return out


def answer(speaker: Any, asked: Sequence[Mapping[str, Any]], *, asking: Asking) -> list[dict[str, Any]]:
    """A line for every prompt: what was asked, `answers`, `flags` and `cut`."""
    fitted = [speaker.fitted(speaker.prompt(one), asking.new) for one in asked]
    if asking.beams > 1:
        written = searched(speaker, [ids for ids, _ in fitted], asking=asking)
    else:
        # Prompts of one file draw apart from each other, wherever they stand in it.
        from flan_jax.data.formats import draw

        prompts = [ids for ids, _ in fitted for _ in range(asking.samples)]
        how = [
            dataclasses.replace(asking.how, seed=draw(2**32, one.get('seed', asking.how.seed), ids), sample=sample)
            for one, (ids, _) in zip(asked, fitted, strict=True)
            for sample in range(asking.samples)
        ]
        flat = written_by(speaker, prompts, asking=asking, how=how)
        written = [flat[i : i + asking.samples] for i in range(0, len(flat), asking.samples)]
    return [
        {
            **{name: one[name] for name in ('prompt', 'messages') if name in one},
            'answers': [text for text, _ in texts],
            'flags': [flag for _, flag in texts],
            'cut': cut,
        }
        for one, (_, cut), texts in zip(asked, fitted, written, strict=True)
    ]


def written_by(
    speaker: Any, prompts: Sequence[list[int]], *, asking: Asking, how: Any, show: Callable[[str], None] | None = None
) -> list[tuple[str, str]]:
    """(text, flag) of answers; `show` is told each new piece of the text of a single one."""
    from flan_jax.decoding.stopping import StopStrings

    stops = StopStrings(asking.stops, speaker.vocabulary.decode)
    stopped = set()
    shown = ''

    def tell(text: str) -> None:
        nonlocal shown
        if show is not None and text.startswith(shown):
            show(text[len(shown) :])
            shown = text

    def until(place: int, ids: list[int]) -> bool:
        if show is not None:
            tell(stops.certain(speaker.text(ids, stops)))
        if stops.reached(ids):
            stopped.add(place)
            return True
        return False

    watch = until if asking.stops or show is not None else None
    answers = speaker.generator(speaker.params, prompts, new=asking.new, how=how, until=watch)
    done = [place in stopped or ids[-1] in speaker.generator.ends for place, ids in enumerate(answers)]
    texts = [speaker.text(ids, stops) for ids in answers]
    tell(texts[-1])  # of the one answer that is shown: what waited to become a stop string, and did not
    return [(text, '' if ended else 'unfinished') for text, ended in zip(texts, done, strict=True)]


def searched(speaker: Any, prompts: Sequence[list[int]], *, asking: Asking) -> list[list[tuple[str, str]]]:
    """(text, flag) of the best `samples` of every prompt's beams."""
    from flan_jax.decoding.beam_search import BeamSearch
    from flan_jax.decoding.stopping import StopStrings

    own, none = speaker.generator, StopStrings((), speaker.vocabulary.decode)
    search = BeamSearch(own.graph, own.mesh, own.ends, own.batch_tokens, asking.beams, asking.length_penalty)
    return [
        [(speaker.text(h.ids, none), '' if h.ids[-1] in own.ends else 'unfinished') for h in found[: asking.samples]]
        for found in search(speaker.params, prompts, new=asking.new)
    ]


def talk(speaker: Any, asking: Asking, *, system: str | None, lines: Iterable[str] | None = None) -> None:
    """A chat: a line of the terminal is a turn, an empty one begins a new chat, its end ends it."""
    if asking.beams > 1 or asking.samples > 1:
        raise errors.ConfigError('a chat has one answer a turn, told as it is written; leave out --beams and --samples')
    opening = [] if system is None else [{'role': 'system', 'content': system}]
    messages = list(opening)
    print('a line is a turn; an empty line begins anew, Ctrl-D ends', file=sys.stderr)
    for line in _typed() if lines is None else lines:
        if not line.strip():
            messages = list(opening)
            continue
        messages.append({'role': 'user', 'content': line})
        asked = {'prompt': line} if speaker.chat is None else {'messages': messages}
        ids, cut = speaker.fitted(speaker.prompt(asked), asking.new)
        if cut:
            print(f'({cut} tokens at the beginning of the chat have no room any more)', file=sys.stderr)
        ((text, flag),) = written_by(
            speaker,
            [ids],
            asking=asking,
            how=dataclasses.replace(asking.how, sample=len(messages)),
            show=lambda piece: print(piece, end='', flush=True),
        )
        print(f' [{flag}]' if flag else '', flush=True)
        messages.append({'role': 'assistant', 'content': text})


def _typed() -> Iterable[str]:
    while True:
        try:
            yield input('> ' if sys.stdin.isatty() else '')
        except (EOFError, KeyboardInterrupt):
            return


if __name__ == '__main__':
    from flan_jax import command

    command.run(main, define=define, optional=True)
