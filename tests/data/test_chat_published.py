"""Chat templates as models were published with them: an answer and the token that ends it are learned, no more."""

import importlib.util
import itertools
from collections import Counter

import pytest
import toy_tokenizers

from flan_jax import errors
from flan_jax.config import FormatConfig
from flan_jax.data import chat, formats, vocabulary
from flan_jax.data.encoding import Encoder, Lengths

PHI3 = (
    '{% for message in messages %}'
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA3 = (  # of the first release: it opens the next turn, asked or not
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + message['content'].strip() + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant') }}{% endif %}{% endfor %}"
)
QWEN3 = (
    '{%- set ns = namespace(last=0) %}'
    "{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.index0 > ns.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# name -> (tokenizer, template, end of a turn, whether a system message is shown, whether white space is taken off)
PUBLISHED = {
    'phi3': ('phi3', PHI3, '<|end|>', True, False),
    'llama3': ('llama3', LLAMA3, '<|eot_id|>', True, True),
    'llama2': ('llama2', LLAMA2, '</s>', False, True),
}


@pytest.fixture(scope='module')
def opened(tmp_path_factory):
    """name -> (chat, vocabulary)."""
    root = tmp_path_factory.mktemp('published')

    def make(name: str):
        tokenizer, template = PUBLISHED[name][:2] if name in PUBLISHED else ('chatml', QWEN3)
        vocab = vocabulary.load(toy_tokenizers.write(root / name, tokenizer, chat_template=template))
        return chat.load('tokenizer', vocab), vocab

    return make


def chats(name: str) -> list[list[dict]]:
    return toy_tokenizers.chats(60, tools=False, system=PUBLISHED[name][3])


@pytest.mark.parametrize('name', PUBLISHED)
def test_what_is_learned_is_each_answer_and_the_one_token_that_ends_it(opened, name):
    _, _, end, _, trims = PUBLISHED[name]
    form, vocab = opened(name)
    assert chat.stop_ids(form, vocab)[0] == vocab.specials[end]
    for messages in chats(name):
        answers = [m['content'] for m in messages if m['role'] == 'assistant']
        for last_only in (False, True):
            (spans,) = chat.encode(form, [{'messages': messages}], vocabulary=vocab, last_only=last_only)
            for answer, span in zip(answers[-1 if last_only else 0 :], spans[1::2], strict=True):
                # Phi's tokens swallow the space behind them, Llama 2 has one on both sides.
                shown, wanted = (text.strip() if trims else text.lstrip() for text in (vocab.show(span[:-1]), answer))
                assert shown == wanted
                assert span[-1] == vocab.specials[end]
                assert not set(span[:-1]) & set(vocab.specials.values())


@pytest.mark.skipif(not importlib.util.find_spec('transformers'), reason='needs transformers')
@pytest.mark.parametrize('name', PUBLISHED)
def test_their_ids_are_those_of_transformers(opened, name):
    import transformers

    form, vocab = opened(name)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=f'{vocab.path}/tokenizer.json', chat_template=form.template, **vocab.named
    )
    for messages in chats(name):
        (spans,) = chat.encode(form, [{'messages': messages}], vocabulary=vocab)
        ours = list(itertools.chain.from_iterable(spans))
        assert ours == theirs.apply_chat_template(messages)['input_ids'][: len(ours)]
        asked = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True)['input_ids']
        assert asked == chat.prompt(form, {'messages': messages[:-1]}, vocabulary=vocab)
        assert asked == list(itertools.chain.from_iterable(spans[:-1]))


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_conversation_that_the_assistant_begins_is_found_or_refused(opened, name):
    form, vocab = opened(name)
    talk = {'messages': [{'role': 'assistant', 'content': 'a cat'}, *chats(name)[0]]}
    if name == 'phi3':
        (spans,) = chat.encode(form, [talk], vocabulary=vocab)
        assert vocab.show(spans[0]) == '<|assistant|>' and vocab.show(spans[1]) == 'a cat<|end|>'
    else:
        with pytest.raises(errors.DataError, match='writes message 1 of'):
            chat.encode(form, [talk], vocabulary=vocab)


def test_conversations_whose_earlier_answers_are_written_anew_are_counted_by_that_reason(opened):
    form, vocab = opened('qwen3')
    asked = {'role': 'user', 'content': 'a red cat?'}
    talks = [[asked, {'role': 'assistant', 'content': 'Yes.'}] * turns for turns in (1, 2)]
    shown = [formats.Shown(i, 0, {'messages': talk, 'answer': 'Yes.'}, '', 'Yes.') for i, talk in enumerate(talks)]

    def made(supervise: str):
        dropped = Counter()
        encoder = Encoder(vocab, FormatConfig(chat='tokenizer', supervise=supervise), Lengths(300, 60), True)
        return [vocab.show(example.target) for example in encoder.train(shown, dropped)], dropped

    thought = '<think>\n\n</think>\n\nYes.<|im_end|>'
    assert made('all') == ([thought], {'earlier_turns_rewritten': 1})
    assert made('last') == ([thought] * 2, {})
