"""The verb that answers: files of prompts, chats, what it says of them."""

import json
import types

import pytest

from flan_jax import errors, generate
from flan_jax.decoding.sampling import Sampling
from flan_jax.decoding.stopping import StopStrings
from flan_jax.speaker import Speaker

END = 0


class Letters:
    """A vocabulary of letters."""

    prefix: list[int] = []
    pad_id = END

    def encode(self, texts):
        return [[ord(c) for c in text] for text in texts]

    def decode(self, ids):
        return ''.join(map(chr, ids))


class Echo:
    """Says each prompt again in capitals, then ends."""

    ends = (END,)

    def __init__(self):
        self.asked = []

    def __call__(self, params, prompts, *, new, how, until):
        self.asked.append((prompts, how))
        out = []
        for place, prompt in enumerate(prompts):
            ids = []
            for i in [*map(ord, Letters().decode(prompt).upper()), END][:new]:
                ids.append(i)
                if until is not None and until(place, ids):
                    break
            out.append(ids)
        return out


@pytest.fixture
def speaker() -> Speaker:
    return Speaker(Echo(), None, Letters(), None, '', context=16, encoder_decoder=False)


def test_every_prompt_has_its_answers_their_flags_and_what_was_cut(speaker):
    asking = generate.Asking(Sampling(), new=6, stops=('D',))
    rows = generate.answer(speaker, [{'prompt': t} for t in ('hello', 'abcdef', 'x' * 12)], asking=asking)
    assert [row['answers'] for row in rows] == [['HELLO'], ['ABC'], ['XXXXXX']]
    assert [row['flags'] for row in rows] == [[''], [''], ['unfinished']]
    assert [row['cut'] for row in rows] == [0, 0, 2]


def test_samples_have_seeds_of_their_own_that_do_not_depend_on_the_place_in_the_file(speaker):
    asking = generate.Asking(Sampling(temperature=1.0), new=6, samples=2)
    asked = [{'prompt': 'a'}, {'prompt': 'b'}, {'prompt': 'a', 'seed': 5}]
    assert [len(row['answers']) for row in generate.answer(speaker, asked, asking=asking)] == [2, 2, 2]
    generate.answer(speaker, asked[1:2], asking=asking)
    first, alone = (how for _, how in speaker.generator.asked)
    assert first[2:4] == alone and [one.sample for one in first] == [0, 1] * 3
    assert len({one.seed for one in first}) == 3


def test_a_chat_goes_on_and_an_empty_line_begins_anew(speaker, capsys):
    generate.talk(speaker, generate.Asking(Sampling(), new=8), system=None, lines=['hi', 'ho', '', 'abcdefgh'])
    assert capsys.readouterr().out == 'HI\nHO\nABCDEFGH [unfinished]\n'


def test_messages_without_a_chat_template_are_refused(speaker):
    with pytest.raises(errors.ConfigError, match='messages need a chat template; name one with --chat'):
        generate.answer(speaker, [{'messages': [{'role': 'user', 'content': 'a'}]}], asking=generate.Asking(Sampling()))


def test_an_answer_that_fills_the_context_is_refused(speaker):
    with pytest.raises(errors.ConfigError, match='--new=16 leaves no room in a context of 16 tokens'):
        generate.answer(speaker, [{'prompt': 'a'}], asking=generate.Asking(Sampling(), new=16))


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('a.jsonl', '{"prompt": "a"}\n{"prompt": 3}\n', 'line 2: neither `prompt` .text. nor `messages` in'),
        ('a.jsonl', 'hello', 'line 1: no JSON .*; a .txt file holds a prompt a line'),
        ('a.txt', '\n \n', 'holds no prompt'),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.DataError, match=message):
        generate.read(str(tmp_path / name))
    with pytest.raises(errors.DataError, match='cannot be read'):
        generate.read(str(tmp_path / 'none.txt'))


def test_prompts_are_lines_of_text_or_of_json(tmp_path):
    (tmp_path / 'a.txt').write_text('one\n\ntwo\r\n')
    assert generate.read(str(tmp_path / 'a.txt')) == [{'prompt': 'one'}, {'prompt': 'two'}]
    rows = [{'prompt': 'a', 'seed': 3}, {'messages': [{'role': 'user', 'content': 'b'}]}]
    (tmp_path / 'b.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    assert generate.read(str(tmp_path / 'b.jsonl')) == rows


def test_beams_take_nothing_that_is_drawn():
    with pytest.raises(errors.ConfigError, match='--beams=4 looks for the likeliest answer; it takes no temperature'):
        generate.Asking(Sampling(temperature=1.0), beams=4)
    with pytest.raises(errors.ConfigError, match='--samples=3 of --beams=2: there are not so many'):
        generate.Asking(Sampling(), beams=2, samples=3)


@pytest.mark.parametrize('wrong, message', [('', 'is empty and would end'), ('a\ufffd', 'holds half a character')])
def test_a_stop_string_that_no_text_holds_is_refused(wrong, message):
    with pytest.raises(errors.ConfigError, match=message):
        StopStrings((wrong,), Letters().decode)


class Bytes:
    """Says a text byte by byte, and ends unless it is told to before."""

    ends = (END,)

    def __init__(self, text):
        self.text = text.encode()

    def __call__(self, params, prompts, *, new, how, until):
        ids = []
        for byte in [*self.text, END]:
            ids.append(byte)
            if until(0, ids):
                break
        return [ids]


def said(text: str, *stops: str) -> tuple[list[str], tuple[str, str]]:
    """What is shown of a text written in bytes, piece by piece, and the answer with its flag."""
    words = types.SimpleNamespace(decode=lambda ids: bytes(ids).decode(errors='replace'))
    speaker = Speaker(Bytes(text), None, words, None, '', context=16, encoder_decoder=False)
    shown, asking = [], generate.Asking(Sampling(), stops=stops)
    (answer,) = generate.written_by(speaker, [[1]], asking=asking, how=Sampling(), show=shown.append)
    return [piece for piece in shown if piece], answer


def test_half_a_character_is_shown_when_it_is_whole():
    assert said('né漢') == (['n', 'é', '漢'], ('né漢', ''))


def test_a_stop_string_of_characters_in_pieces_ends_an_answer_at_its_last_byte():
    assert said('né漢字!', '漢') == (['n', 'é'], ('né', ''))
    assert said('né漢字!', 'é漢') == (['n'], ('n', ''))


def test_nothing_of_a_stop_string_is_shown_and_what_only_began_as_one_is():
    assert said('one\nQ: two', '\nQ:') == (['o', 'n', 'e'], ('one', ''))
    assert said('a\nb\nQ', '\nQ:') == (['a', '\nb', '\nQ'], ('a\nb\nQ', ''))


def test_what_is_cut_is_counted_behind_bos_if_the_prompt_begins_with_it(speaker):
    words = types.SimpleNamespace(prefix=[1])
    asked = Speaker(None, None, words, None, '', context=8, encoder_decoder=False)
    assert asked.fitted([1, 2, 3, 4, 5, 6], 4) == ([1, 4, 5, 6], 2)
    assert asked.fitted([2, 3, 4, 5, 6], 4) == ([3, 4, 5, 6], 1)
