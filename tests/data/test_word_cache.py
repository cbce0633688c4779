import random

import pytest

from flan_jax.data import word_cache

tokenizers = pytest.importorskip('tokenizers')
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers  # noqa: E402

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPLITS = {
    'gpt2': pre_tokenizers.ByteLevel(add_prefix_space=False),
    'smollm2': pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
} | {
    f'expression {i}': pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), 'isolated'), BYTES])
    for i, expression in enumerate(sorted(word_cache.EXPRESSIONS))
}
PIECES = (
    'the cat sat mat, on. yes! don\'t DON\'T we\'ll 123 4567 1 3.14 x=1; (a) "b" é ü 日本語 は 。 ½ ٣ ﬁ '
    '\u0301 \u00a0 \u3000 \u180e \ufeff \u200b # ## <b> http://a.b/c?d=e _x_ -- … a\u0308 \t \n \n\n \r\n \x1c \u2028'
).split(' ') + [' ', '  ', '\n', '\n\n', ' \n', '\n ', '\t']  # fmt: skip


def made(before, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = before
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    texts = [' '.join(PIECES)] * 3 + ['the cat sat on the mat. the cat\nsat\n\n  on'] * 5
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, min_frequency=2, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def random_texts(count):
    generator = random.Random(0)
    joined = ['', ' ', ' ', ' ', '\n', '  ']
    return [
        ''.join(generator.choice(PIECES) + generator.choice(joined) for _ in range(generator.randrange(12)))
        for _ in range(count)
    ]


@pytest.mark.parametrize('name', SPLITS)
@pytest.mark.parametrize('normalizer', [None, normalizers.NFC()], ids=['raw', 'nfc'])
def test_the_ids_are_those_of_the_whole_text(name, normalizer):
    tokenizer = made(SPLITS[name], normalizer)
    assert word_cache.fits(tokenizer)
    texts = random_texts(3000)
    cache = word_cache.WordCache(tokenizer)
    wanted = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert cache.encode(texts) == wanted
    assert cache.encode(texts) == wanted  # every part met before


def test_parts_join_to_the_text():
    for text in random_texts(2000):
        assert ''.join(word_cache.parts(text)) == text


def test_an_added_token_is_one_id_wherever_it_is_written():
    tokenizer = made(SPLITS['gpt2'])
    tokenizer.add_tokens(['<think>', '</tool_call>', 'a_b'])
    assert word_cache.fits(tokenizer)
    cache = word_cache.WordCache(tokenizer)
    texts = ['so <think>red', 'x</tool_call>.', 'is a_b, and a_b', 'a _b', 'red']
    for _ in range(2):
        assert cache.encode(texts) == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_full_cache_begins_anew(monkeypatch):
    monkeypatch.setattr(word_cache, 'LIMIT', 20)
    tokenizer, texts = made(SPLITS['gpt2']), random_texts(60)
    cache = word_cache.WordCache(tokenizer)
    for text in texts:
        assert cache.encode([text]) == [tokenizer.encode(text, add_special_tokens=False).ids]
        assert len(cache._ids) <= 40


@pytest.mark.parametrize(
    'before',
    [
        pre_tokenizers.Metaspace(),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r'.{3}'), 'isolated'), BYTES]),
        BYTES,
    ],
)
def test_tokenizers_that_may_merge_over_a_space_are_not_cut(before):
    assert not word_cache.fits(made(before))


def test_a_normaliser_or_an_added_token_with_a_space_is_not_cut():
    assert not word_cache.fits(made(SPLITS['gpt2'], normalizers.Lowercase()))
    tokenizer = made(SPLITS['gpt2'])
    tokenizer.add_tokens(['two words'])
    assert not word_cache.fits(tokenizer)
