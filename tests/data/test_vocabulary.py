import pathlib
import pickle

import pytest

from flan_jax import errors
from flan_jax.data import vocabulary


def test_text_survives_encoding_with_newlines_spaces_and_unseen_characters(vocab_path):
    vocab = vocabulary.load(vocab_path)
    texts = ['red cat\nblue dog', '  two  spaces ', 'naïve 漢字 🙂', '\n\n', 'tab\there']
    assert [vocab.decode(ids) for ids in vocab.encode(texts)] == texts


def test_decoding_ends_at_the_first_eos_and_skips_padding(vocab_path):
    vocab = vocabulary.load(vocab_path)
    (ids,) = vocab.encode(['red cat'])
    assert vocab.decode([vocab.pad_id, *ids, vocab.eos_id, *ids]) == 'red cat'


def test_encoding_adds_neither_bos_nor_eos(vocab_path):
    vocab = vocabulary.load(vocab_path, bos=True)
    (ids,) = vocab.encode(['red cat'])
    assert vocab.eos_id not in ids and vocab.prefix[0] not in ids
    assert len(vocab.prefix) == 1 and vocabulary.load(vocab_path).prefix == []


def test_training_twice_gives_the_same_file(tmp_path):
    texts = [f'word{i % 17} other{i % 5}\n' for i in range(100)]
    for name in 'ab':
        vocabulary.train(texts, str(tmp_path / name), size=300)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a', 'b']


def test_a_vocabulary_too_small_for_its_bytes_names_the_knob(tmp_path):
    with pytest.raises(errors.DataError, match='vocabulary.train_size=20 pieces failed'):
        vocabulary.train(['red cat'], str(tmp_path / 'v'), size=20)
    assert not any(tmp_path.iterdir())


def test_the_fingerprint_follows_content_and_bos_not_the_path(vocab_path, tmp_path):
    copy = tmp_path / 'copy.model'
    copy.write_bytes(pathlib.Path(vocab_path).read_bytes())
    one, other = vocabulary.load(vocab_path), vocabulary.load(str(copy))
    assert one.fingerprint == other.fingerprint != vocabulary.load(vocab_path, bos=True).fingerprint


def test_it_goes_to_another_process_without_its_model(vocab_path):
    vocab = vocabulary.load(vocab_path)
    vocab.encode(['red'])
    there = pickle.loads(pickle.dumps(vocab))
    assert there == vocab and there.encode(['red']) == vocab.encode(['red'])


def test_a_missing_file_is_named():
    with pytest.raises(errors.DataError, match=r"vocabulary.path='/nowhere/v.model': no such file"):
        vocabulary.load('/nowhere/v.model')
    with pytest.raises(errors.DataError, match='vocabulary /nowhere/v.model is missing; run prepare, or set'):
        vocabulary.Vocabulary('/nowhere/v.model', 'x').encode(['a'])
