"""Files of Hugging Face `tokenizers`: `tokenizer.json`, and what its neighbours say about it."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flan_jax import errors
from flan_jax.data import gguf_tokenizer, word_cache

if TYPE_CHECKING:
    import tokenizers


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """What files say of a tokenizer.

    Attributes:
      fingerprint: of the content that decides ids.
      named: special tokens by the names chat templates call them: `bos_token`, `eos_token`, ...
      end_ids: ids besides EOS that end a generation.
      templates: chat templates by name, the plain one `default`.
      build: makes the tokenizer.
    """

    fingerprint: str
    named: Mapping[str, str]
    end_ids: tuple[int, ...]
    templates: Mapping[str, str]
    build: Callable[[], 'tokenizers.Tokenizer']


def read(path: str) -> TokenizerFiles:
    """Of a `.gguf` file, a `tokenizer.json` file, or a folder with one.

    Beside `tokenizer.json` are read, where there: `special_tokens_map.json`, `tokenizer_config.json` (which wins),
    `generation_config.json`, `chat_template.jinja` (which wins over the config's) and `additional_chat_templates/`.

    Raises:
      DataError: a file is missing or cannot be read.
    """
    if path.endswith('.gguf'):
        gguf_tokenizer.model(path)
        return TokenizerFiles(
            fingerprint=gguf_tokenizer.fingerprint(path),
            named=gguf_tokenizer.named_tokens(path),
            end_ids=gguf_tokenizer.end_ids(path),
            templates=gguf_tokenizer.templates(path),
            build=lambda: gguf_tokenizer.byte_level(path),
        )
    place = pathlib.Path(path)
    file = place / 'tokenizer.json' if place.is_dir() else place
    if not file.is_file():
        raise errors.DataError(f'vocabulary.path={path!r}: no such file' + (f' as {file}' if place.is_dir() else ''))
    settings = _json(file.with_name('tokenizer_config.json'))
    named = _named(_json(file.with_name('special_tokens_map.json'))) | _named(settings)
    ends = _json(file.with_name('generation_config.json')).get('eos_token_id') or ()
    ends = tuple(ends) if isinstance(ends, list) else (ends,) if isinstance(ends, int) else ()
    content = file.read_bytes()
    digest = hashlib.sha256(content)
    digest.update(json.dumps([named, ends], sort_keys=True).encode())
    return TokenizerFiles(
        fingerprint=digest.hexdigest()[:16],
        named=named,
        end_ids=ends,
        templates=_templates(settings.get('chat_template'), file.parent),
        build=lambda: _build(file, content),
    )


def _build(file: pathlib.Path, content: bytes) -> 'tokenizers.Tokenizer':
    import tokenizers

    try:
        built = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as e:  # the library raises bare Exceptions
        raise errors.DataError(f'{file} cannot be read as a tokenizer: {e}; fetch it again') from e
    # A file may carry the limits of whoever saved it, and a post-processor would move offsets off the spaces.
    built.no_truncation()
    built.no_padding()
    built.post_processor = None
    return built


def _json(file: pathlib.Path) -> dict[str, Any]:
    """A JSON object, or nothing where there is no such file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text('utf-8'))
    except ValueError as e:
        raise errors.DataError(f'{file} is no JSON: {e}') from e
    if not isinstance(found, dict):
        raise errors.DataError(f'{file} holds a {type(found).__name__}, expected an object')
    return found


def _named(settings: Mapping[str, Any]) -> dict[str, str]:
    """The `*_token` entries, which are strings or objects with a `content`.

    >>> _named({'bos_token': None, 'eos_token': {'content': '</s>'}, 'pad_token': '<pad>', 'add_bos_token': True})
    {'eos_token': '</s>', 'pad_token': '<pad>'}
    """
    texts = {name: v.get('content') if isinstance(v, dict) else v for name, v in settings.items()}
    return {name: text for name, text in texts.items() if name.endswith('_token') and isinstance(text, str)}


def _templates(configured: Any, folder: pathlib.Path) -> dict[str, str]:
    """Chat templates by name, from the config's entry (a text, or a list of named texts) and from files."""
    found: dict[str, str] = {}
    if isinstance(configured, str):
        found['default'] = configured
    elif isinstance(configured, list):
        found = {entry['name']: entry['template'] for entry in configured}
    files = {'default': folder / 'chat_template.jinja'}
    files |= {file.stem: file for file in sorted((folder / 'additional_chat_templates').glob('*.jinja'))}
    return found | {name: file.read_text('utf-8') for name, file in files.items() if file.is_file()}


class OpenTokenizer:
    """A tokenizer at work in one process; `open_tokenizer` keeps it."""

    def __init__(self, path: str):
        self.files = read(path)
        self.path = path
        self.marked = self._with_named(self.files.build())

    def _with_named(self, tokenizer: 'tokenizers.Tokenizer') -> 'tokenizers.Tokenizer':
        """Tokens that are named special somewhere, or end a generation, are special, whatever `tokenizer.json` says."""
        import tokenizers

        added = tokenizer.get_added_tokens_decoder()
        known = {token.content for token in added.values() if token.special}
        wanted = {*self.files.named.values(), *(added[i].content for i in self.files.end_ids if i in added)}
        missing = {t for t in wanted if t not in known and tokenizer.token_to_id(t) is not None}
        tokenizer.add_special_tokens(
            [tokenizers.AddedToken(t, special=True, normalized=False) for t in sorted(missing)]
        )
        return tokenizer

    @functools.cached_property
    def added(self) -> dict[str, int]:
        """Added tokens, the special ones among them, and their ids."""
        return {token.content: i for i, token in self.marked.get_added_tokens_decoder().items()}

    @functools.cached_property
    def specials(self) -> dict[str, int]:
        """Special tokens and their ids."""
        return {token.content: i for i, token in self.marked.get_added_tokens_decoder().items() if token.special}

    @functools.cached_property
    def size(self) -> int:
        return max(self.marked.get_vocab_size(with_added_tokens=False), 1 + max(self.added.values(), default=-1))

    @functools.cached_property
    def plain(self) -> 'tokenizers.Tokenizer':
        """Takes special tokens in a text for the text they are.

        Raises:
          ConfigError: some text still becomes a special token.
        """
        plain = self._with_named(self.files.build())
        plain.encode_special_tokens = True
        if not self._leaks(plain):
            return plain
        # The model itself knows the token as a piece: give that piece a name that no text holds.
        try:
            plain = _renamed(plain, self.specials)
        except Exception as e:  # of the library, bare: the piece is the outcome of merges, too
            raise errors.ConfigError(self._forgeable(self.specials)) from e
        if leaks := self._leaks(plain):
            raise errors.ConfigError(self._forgeable(leaks))
        return plain

    @functools.cached_property
    def cache(self) -> word_cache.WordCache | None:
        """Of what `plain` gives, where its kind allows one."""
        return word_cache.WordCache(self.plain) if word_cache.fits(self.plain) else None

    def _forgeable(self, tokens: Iterable[str]) -> str:
        return (
            f'{self.path} turns plain text into one of its special tokens {", ".join(list(tokens)[:5])}; a user could '
            'forge a turn. Use another tokenizer'
        )

    def _leaks(self, tokenizer: 'tokenizers.Tokenizer') -> list[str]:
        """Special tokens that come out where their names are written."""
        names = list(self.specials)
        texts = [text for name in names for text in (name, f'a {name} b')]
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        unknown = self.files.named.get('unk_token')
        return [
            name
            for i, name in enumerate(names)
            if name != unknown and any(self.specials[name] in e.ids for e in encoded[2 * i : 2 * i + 2])
        ]


def _renamed(tokenizer: 'tokenizers.Tokenizer', specials: Mapping[str, int]) -> 'tokenizers.Tokenizer':
    """The same tokenizer with the special pieces of its model called by names that no text holds."""
    import tokenizers

    spec = json.loads(tokenizer.to_str())
    core = spec['model']

    def rename(piece: str) -> str:
        return f'\U0010fffe{piece}' if piece in specials else piece

    if isinstance(core['vocab'], dict):
        core['vocab'] = {rename(piece): i for piece, i in core['vocab'].items()}
    else:
        core['vocab'] = [[rename(piece), score] for piece, score in core['vocab']]
    if isinstance(core.get('unk_token'), str):
        core['unk_token'] = rename(core['unk_token'])
    spec['added_tokens'] = [token for token in spec['added_tokens'] if not token['special']]
    renamed = tokenizers.Tokenizer.from_str(json.dumps(spec))
    for token in spec['added_tokens']:  # without the special ones the library may number these anew
        if renamed.token_to_id(token['content']) != token['id']:
            raise ValueError(f'the added token {token["content"]!r} has no place in the model')
    return renamed


@functools.lru_cache(maxsize=4)
def open_tokenizer(path: str, fingerprint: str | None = None) -> OpenTokenizer:
    """The tokenizer of some files, once in each process.

    Raises:
      DataError: the files cannot be read, or are no longer those of `fingerprint`.
    """
    opened = OpenTokenizer(path)
    if fingerprint is not None and opened.files.fingerprint != fingerprint:
        raise errors.DataError(
            f'{path} has changed: its fingerprint is {opened.files.fingerprint}, it was {fingerprint}; start again'
        )
    return opened
