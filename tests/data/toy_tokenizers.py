"""Byte-level tokenizers trained on a few sentences, with the special tokens of some chat formats; random chats."""

import json
import pathlib
import random

SENTENCES = [
    'A small red cat sleeps by the river stone, and two dogs run past it.',
    'What is 12 + 30? It is 42, the answer to everything one might ask.',
    "Don't you think we'll need more birds?\nYes, I think so.\n\nThey're singing.",
    'USER: hello ASSISTANT: hello ### Instruction: ### Response: <|user|> <|assistant|> user model system tool',
] * 5

# format -> (named tokens, further special tokens)
SPECIALS = {
    'chatml': ({'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>'}, ['<|im_start|>']),
    'llama3': (
        {'bos_token': '<|begin_of_text|>', 'eos_token': '<|eot_id|>'},
        ['<|start_header_id|>', '<|end_header_id|>', '<|end_of_text|>'],
    ),
    'gemma': ({'bos_token': '<bos>', 'eos_token': '<eos>', 'pad_token': '<pad>'}, ['<start_of_turn>', '<end_of_turn>']),
    'vicuna': ({'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>'}, []),
    'alpaca': ({'bos_token': '<s>', 'eos_token': '</s>', 'pad_token': '[PAD]'}, []),
    'zephyr': ({'bos_token': '<s>', 'eos_token': '</s>'}, []),
    'phi3': (
        {'bos_token': '<s>', 'eos_token': '<|endoftext|>', 'pad_token': '<|endoftext|>'},
        ['<|system|>', '<|user|>', '<|assistant|>', '<|end|>'],
    ),
    'llama2': ({'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>'}, []),
}


def write(folder: pathlib.Path, name: str, **config) -> str:
    """A folder with the tokenizer of a chat format.

    Args:
      config: more entries of tokenizer_config.json.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    named, more = SPECIALS[name]
    tokens = [
        AddedToken(token, special=True, normalized=False, rstrip=name == 'phi3')  # Phi's swallow what is blank behind
        for token in dict.fromkeys([*named.values(), *more])
    ]
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=tokens, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({**named, **config}))
    return str(folder)


def chats(count: int, *, tools: bool, system: bool = True) -> list[list[dict]]:
    """Random conversations of 1 to 6 exchanges: spaces, newlines, other scripts, empty system messages."""
    draw = random.Random(0)
    words = [
        'red',
        'cat',
        "don't",
        '42',
        'naïve',
        '漢字',
        '🙂',
        '\n',
        '\n\n',
        '  ',
        '\t',
        'e\u0301',
        '{{ x }}',
        '[INST]',
    ]

    def text(*, empty: bool = False) -> str:
        size = draw.randint(0 if empty else 1, 8)
        inner = ' '.join(draw.choice(words) for _ in range(size))
        return draw.choice(['', '', ' ', '\n']) + inner + draw.choice(['', '', ' ', '\n'])

    out = []
    for _ in range(count):
        messages = []
        if system and draw.random() < 0.5:
            messages.append({'role': 'system', 'content': draw.choice(['', text()])})
        for _ in range(draw.randint(1, 6)):
            messages.append({'role': 'user', 'content': text(empty=True)})
            if tools and draw.random() < 0.3:
                messages.append({'role': 'assistant', 'content': text()})
                messages.append({'role': 'tool', 'content': text()})
            messages.append({'role': 'assistant', 'content': text(empty=True)})
        out.append(messages)
    return out
