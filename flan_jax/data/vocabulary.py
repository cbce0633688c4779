"""Vocabularies: text to ids and back, without TensorFlow."""

import dataclasses
import functools
import hashlib
import io
import os
from collections.abc import Iterable, Sequence

import sentencepiece

from flan_jax import errors


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece model (Kudo & Richardson 2018).

    Attributes:
      path: the model file.
      fingerprint: what decides its content.
      prepend_bos: whether examples begin with the model's BOS piece.
    """

    path: str
    fingerprint: str
    prepend_bos: bool = False

    @functools.cached_property
    def _model(self) -> sentencepiece.SentencePieceProcessor:
        if not os.path.exists(self.path):
            raise errors.DataError(f'vocabulary {self.path} is missing; run prepare, or set vocabulary.path')
        model = sentencepiece.SentencePieceProcessor(model_file=self.path)
        if self.prepend_bos and model.bos_id() < 0:
            raise errors.ConfigError(f'vocabulary.bos is set, but {self.path} has no BOS piece')
        if model.eos_id() < 0:
            raise errors.ConfigError(f'vocabulary {self.path} has no EOS piece; a target could not end')
        return model

    def __getstate__(self):  # the model itself is loaded again in each process
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def size(self) -> int:
        return self._model.vocab_size()

    @property
    def eos_id(self) -> int:
        return self._model.eos_id()

    @property
    def pad_id(self) -> int:
        """Fills rows; masks go by position, so a model without a padding piece may use any id."""
        return max(self._model.pad_id(), 0)

    @property
    def prefix(self) -> list[int]:
        """What an example begins with: one BOS, or nothing."""
        return [self._model.bos_id()] if self.prepend_bos else []

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text by itself; no BOS, no EOS."""
        return self._model.encode(list(texts), out_type=int)

    def decode(self, ids: Sequence[int]) -> str:
        """Text up to the first EOS, the way it was before `encode`."""
        ids = [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        return self._model.decode([i for i in ids if i < self.size and i != self.pad_id])


def load(path: str, *, bos: bool = False) -> Vocabulary:
    """The model in a file, fingerprinted by its content."""
    if not os.path.exists(path):
        raise errors.DataError(f'vocabulary.path={path!r}: no such file')
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    return Vocabulary(path, f'{digest[:16]}{"-bos" if bos else ""}', bos)


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
