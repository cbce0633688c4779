"""A run exported: other programs read the same weights, give the same ids and write the same answers."""

import dataclasses
import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from flan_jax import errors, export, run, run_adapters, scored_model
from flan_jax.config import Config, MeshConfig, resolve, to_dict
from flan_jax.data import chat_formats, vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.interop import config_keys, gguf, gguf_file, hugging_face, peft
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models.adapter_config import AdapterConfig
from flan_jax.models.config import ExecutionConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import checkpoint, state

ROOT = pathlib.Path(__file__).resolve().parents[1]
LLAMA = {'layers': 2, 'width': 32, 'heads': 4, 'kv_heads': 2, 'head_width': 8, 'mlp_width': 48}
T5 = LLAMA | {
    'encoder_layers': 2, 'kv_heads': 4, 'positions': 'relative_bias', 'scaled_attention': False,
    'activation': 'gelu_tanh', 'tied_embeddings': False,
}  # fmt: skip
TURNS = ('<|im_start|>', '<|im_end|>')


def texts() -> list[str]:
    """A few hundred of all sorts, and what lies at the edges."""
    prose = [path.read_text() for path in sorted((ROOT / 'docs').glob('*.md'))[:3]]
    code = [path.read_text() for path in sorted((ROOT / 'flan_jax').glob('*.py'))]
    pieces = [piece for text in prose + code for piece in text.split('\n\n')][:300]
    return [
        *pieces,
        '',
        ' ',
        ' lead',
        '  two',
        'end \n',
        '\n\n',
        'naïve café 日本語 🙂',
        'tab\tand\r\nreturn',
        '0123456789',
    ]


@pytest.fixture(scope='module')
def sentencepiece_file(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp('vocabulary') / 'trained.model')
    vocabulary.train(texts(), path, size=500)
    return path


@pytest.fixture(scope='module')
def byte_level_file(tmp_path_factory) -> str:
    """A tokenizer.json with ChatML's tokens, and one of its turns' ends as EOS of nothing."""
    built = tokenizers.Tokenizer(
        models.BPE({c: i for i, c in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), 'th'])}, [('t', 'h')])
    )
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    built.add_special_tokens(['<|end|>', *TURNS])
    folder = tmp_path_factory.mktemp('byte_level')
    built.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(json.dumps({'eos_token': '<|end|>', 'bos_token': TURNS[0]}))
    return str(folder)


def made(folder: pathlib.Path, path: str, model: dict, *, scale: dict | None = None, **knobs) -> Config:
    """A run directory with a checkpoint of random weights; nothing is trained. `scale` multiplies some of them."""
    config = resolve({
        'name': 'run', 'run_root': str(folder), 'data': {'store_root': str(folder / 'stores')},
        'mixture': {'members': ['mini_add'], 'held_out_clusters': []}, 'vocabulary': {'path': path}, 'model': model,
        'training': {'steps': 1}, 'execution': {'compute_dtype': 'float32', 'remat': 'none'},
    } | knobs)  # fmt: skip
    rows = -(-vocabulary.load(path).size // 128) * 128
    rng, shapes = np.random.default_rng(0), flat_shapes(dataclasses.replace(config.model, vocab_size=rows))
    # Sharp, so that greedy answers have no ties.
    drawn = {name: rng.normal(size=shape) * 0.3 * (scale or {}).get(name, 1.0) for name, shape in shapes.items()}
    write(config, nested({name: jnp.asarray(values, jnp.float32) for name, values in drawn.items()}))
    return export.run_config(config.run_dir)


def write(config: Config, params: dict, *, base: str | None = None) -> None:
    """A run's config and its only checkpoint."""
    zero = jnp.zeros((), jnp.int32)
    fresh = state.TrainState(zero, params, {'count': zero}, zero)
    kept = checkpoint.Checkpoints(config.run_dir, config.checkpoint)
    kept.save(fresh, checkpoint.Description(1, 'plan', to_dict(config), base))
    kept.finish()
    kept.close()
    pathlib.Path(config.run_dir, 'config.json').write_text(json.dumps(to_dict(config)))


@pytest.fixture(scope='module')
def runs(tmp_path_factory, sentencepiece_file) -> dict[str, Config]:
    return {
        'llama': made(tmp_path_factory.mktemp('llama'), sentencepiece_file, LLAMA),
        't5': made(tmp_path_factory.mktemp('t5'), sentencepiece_file, T5),
    }


def read(path: pathlib.Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize('shape', ['llama', 't5'])
def test_an_exported_run_comes_back_with_a_row_for_each_piece_and_no_more(shape, runs, tmp_path):
    parting = export.export(runs[shape], str(tmp_path / 'out'), dtype='float32')
    size = parting.vocabulary.size
    assert size % 128, 'training had more rows'
    config = hugging_face.read_config(tmp_path / 'out')
    assert config.vocab_size == size and not config_keys.differing(config, parting.model)
    back = hugging_face.load(tmp_path / 'out', config)
    assert back['embedding']['table'].shape[0] == size
    for (path, ours), theirs in zip(flat(parting.params).items(), flat(back).values(), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=path)
    assert (tmp_path / 'out' / ('spiece.model' if shape == 't5' else 'tokenizer.model')).is_file()
    said = read(tmp_path / 'out' / 'generation_config.json')
    assert said['eos_token_id'] == parting.vocabulary.eos_id == 1 and said['pad_token_id'] == 0
    assert said.items() <= read(tmp_path / 'out' / 'config.json').items()
    assert ('decoder_start_token_id' in said) == (shape == 't5')


@pytest.mark.parametrize('bos', [False, True])
@pytest.mark.parametrize('shape', ['llama', 't5'])
def test_the_transformers_library_gives_our_ids(shape, bos, sentencepiece_file, tmp_path):
    transformers = pytest.importorskip('transformers', reason='compares with the transformers library')
    config = made(tmp_path, sentencepiece_file, {'llama': LLAMA, 't5': T5}[shape],
                  vocabulary={'path': sentencepiece_file, 'bos': bos})  # fmt: skip
    ours = export.export(config, str(tmp_path / 'out')).vocabulary
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / 'out')
    asked = texts()
    assert len(asked) > 200
    assert theirs(asked, add_special_tokens=True)['input_ids'] == [[*ours.prefix, *ids] for ids in ours.encode(asked)]
    ids = ours.encode(asked)
    assert theirs.batch_decode(ids, clean_up_tokenization_spaces=False) == [ours.decode(each) for each in ids]
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.pad_token_id) == (1, 3, 0)


def test_a_published_kind_of_unigram_model_is_converted_and_one_of_words_is_refused(tmp_path):
    import sentencepiece

    for kind in ('unigram', 'word'):
        with open(tmp_path / f'{kind}.model', 'wb') as file:
            words = [' '.join(text.split()) for text in texts()]
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(words), model_writer=file, vocab_size=400, model_type=kind, pad_id=0, eos_id=1,
                unk_id=2, bos_id=-1, minloglevel=2, num_threads=1, hard_vocab_limit=False,
            )  # fmt: skip
    ours = export.export(made(tmp_path / 'a', str(tmp_path / 'unigram.model'), T5), str(tmp_path / 'out')).vocabulary
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / 'out' / 'tokenizer.json'))
    assert [e.ids for e in theirs.encode_batch(texts())] == ours.encode(texts())
    with pytest.raises(errors.ConfigError, match=r"vocabulary\.path='.*word\.model' .* of the kind WORD"):
        export.export(made(tmp_path / 'b', str(tmp_path / 'word.model'), T5), str(tmp_path / 'other'))
    assert not (tmp_path / 'other').exists() and not list(tmp_path.glob('.*'))


def test_the_chat_template_of_the_run_goes_along_and_its_turns_end_answers(byte_level_file, tmp_path):
    config = made(tmp_path, byte_level_file, LLAMA, format={'chat': 'chatml'})
    parting = export.export(config, str(tmp_path / 'out'))
    end, eos = (parting.vocabulary.specials[token] for token in (TURNS[1], '<|end|>'))
    assert read(tmp_path / 'out' / 'generation_config.json')['eos_token_id'] == [end, eos]
    back = vocabulary.load(str(tmp_path / 'out'))
    assert back.templates == {'default': chat_formats.FORMATS['chatml'].template}
    assert set(back.end_ids) == {end, eos} and back.encode(texts()) == parting.vocabulary.encode(texts())
    export.export(config, str(tmp_path / 'out.gguf'), form='gguf')
    inside = vocabulary.load(str(tmp_path / 'out.gguf'))
    assert inside.templates == back.templates and set(inside.end_ids) == {end, eos}
    assert inside.encode(texts()) == back.encode(texts())


def test_a_gguf_holds_the_weights_and_the_trained_vocabulary(runs, tmp_path):
    path = str(tmp_path / 'new' / 'm.gguf')
    parting = export.export(runs['llama'], path, form='gguf', dtype='float32')
    back = gguf.load(path, gguf.read_config(path))
    for (name, ours), theirs in zip(flat(parting.params).items(), flat(back).values(), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=name)
    inside = vocabulary.load(path)
    assert inside.encode(texts()) == parting.vocabulary.encode(texts())
    assert gguf_file.read(path).value('tokenizer.ggml.add_bos_token') is False
    export.export(runs['llama'], str(tmp_path / 'q.gguf'), form='gguf', dtype='q8_0')
    assert (tmp_path / 'q.gguf').stat().st_size < 0.6 * pathlib.Path(path).stat().st_size


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_read(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('mine')
    monkeypatch.setattr(export, 'read', None)
    with pytest.raises(errors.CheckpointError, match=r'--to: the folder .*/file cannot be made: .*another place'):
        export.export(resolve({'training': {'steps': 1}}), str(tmp_path / 'file' / 'm.gguf'), form='gguf')


def adapted(folder: pathlib.Path, base: Config, **adapter) -> tuple[Config, dict, AdapterConfig]:
    """A run directory with a checkpoint of a random adapter on the weights of another run."""
    knobs = {
        'checkpoint': {'warm_start': base.run_dir}, 'adapter': {'kind': 'lora', 'rank': 3, 'alpha': 6.0, **adapter},
        'execution': {'compute_dtype': 'float32', 'remat': 'none'},
    }  # fmt: skip
    config = resolve({**to_dict(base), **knobs, 'name': 'run', 'run_root': str(folder)})
    model = run.model_config(config, vocabulary.load(base.vocabulary.path).size)
    part = run_adapters.tuned(config, state.skeleton(model, config.execution), model=model)
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    with jax.set_mesh(mesh):
        found = run_adapters.base(config, part, model=model, mesh=mesh)
    rng = np.random.default_rng(1)
    trained = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.3, jnp.float32), part.bones.shapes)
    write(config, trained, base=found.fingerprint)
    return export.run_config(config.run_dir), trained, part.adapter


def test_an_adapter_is_merged_into_its_base(runs, tmp_path):
    config, trained, _ = adapted(tmp_path, runs['llama'])
    before = export.read(runs['llama'], 'latest').params
    export.export(config, str(tmp_path / 'out'), dtype='float32')
    back = hugging_face.load(tmp_path / 'out', hugging_face.read_config(tmp_path / 'out'))
    pair = trained['stack']['blocks']['mlp']['up']
    merged = before['stack']['blocks']['mlp']['up'] + 2.0 * jnp.matmul(
        pair['lora_a'], pair['lora_b'], precision='highest'
    )
    np.testing.assert_allclose(back['stack']['blocks']['mlp']['up'], merged, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(back['embedding']['table'], before['embedding']['table'])


@pytest.mark.parametrize('adapter', [False, True])
def test_weights_for_blocks_are_read_when_they_are_written_and_the_file_is_the_same(
    adapter, runs, tmp_path, monkeypatch
):
    config = adapted(tmp_path, runs['llama'])[0] if adapter else runs['llama']
    parting = export.export(config, str(tmp_path / 'turn.gguf'), form='gguf', dtype='q8_0')
    assert all(map(callable, flat(parting.params).values())), 'none is held'
    load = scored_model.load
    monkeypatch.setattr(scored_model, 'load', lambda *args, later, **more: load(*args, **more))
    parting = export.export(config, str(tmp_path / 'held.gguf'), form='gguf', dtype='q8_0')
    assert not any(map(callable, flat(parting.params).values()))
    assert (tmp_path / 'turn.gguf').read_bytes() == (tmp_path / 'held.gguf').read_bytes()


def test_an_adapter_is_written_alone_in_the_peft_format(runs, tmp_path):
    config, trained, adapter = adapted(tmp_path, runs['llama'])
    parting = export.export(config, str(tmp_path / 'out'), form='peft', base='some/base')
    assert read(tmp_path / 'out' / 'adapter_config.json')['base_model_name_or_path'] == 'some/base'
    theirs, back = peft.load(tmp_path / 'out', parting.model)
    assert (theirs.kind, theirs.rank, theirs.alpha) == (adapter.kind, adapter.rank, adapter.alpha)
    jax.tree.map(np.testing.assert_array_equal, back, trained)
    assert vocabulary.load(str(tmp_path / 'out')).encode(texts()) == parting.vocabulary.encode(texts())
    with pytest.raises(errors.ConfigError, match=r"--format=peft: a run with adapter\.kind='none' has no adapter"):
        export.export(runs['llama'], str(tmp_path / 'other'), form='peft')


def test_a_tuned_prompt_leaves_its_run_in_the_peft_format_only(runs, tmp_path):
    config, trained, _ = adapted(tmp_path, runs['llama'], kind='prompt', prompt_tokens=4)
    with pytest.raises(errors.ConfigError, match='prompt cannot be merged into weights; export it with --format=peft'):
        export.export(config, str(tmp_path / 'out'))
    parting = export.export(config, str(tmp_path / 'out'), form='peft')
    jax.tree.map(np.testing.assert_array_equal, peft.load(tmp_path / 'out', parting.model)[1], trained)


@pytest.mark.parametrize('adapter', [False, True])
def test_weights_are_in_the_dtype_of_the_export_before_it_is_written(adapter, runs, tmp_path):
    config = adapted(tmp_path, runs['llama'])[0] if adapter else runs['llama']
    f32, b16 = (flat(export.read(config, 'latest', dtype=dtype).params) for dtype in ('float32', 'bfloat16'))
    for name, weight in b16.items():
        assert weight.dtype == jnp.bfloat16
        np.testing.assert_array_equal(weight, f32[name].astype(jnp.bfloat16), err_msg=name)
    kept = {
        name: w.dtype for name, w in flat(export.read(config, 'latest', form='gguf', dtype='float16').params).items()
    }
    assert kept['stack.blocks.mlp.up'] == jnp.float16 and kept['stack.norm.scale'] == jnp.float32


def test_a_weight_that_the_dtype_cannot_hold_is_refused_by_its_name(runs, tmp_path):
    config = made(tmp_path, runs['llama'].vocabulary.path, LLAMA, scale={'stack.norm.scale': 1e5})
    with pytest.raises(errors.ConfigError, match=r'stack\.norm\.scale holds .*e\+0[45], --dtype=float16 at most 65504'):
        export.export(config, str(tmp_path / 'out'), dtype='float16')
    export.export(config, str(tmp_path / 'out'), dtype='bfloat16')
    config = made(tmp_path / 'nan', runs['llama'].vocabulary.path, LLAMA, scale={'stack.norm.scale': np.nan})
    with pytest.raises(errors.CheckpointError, match=r'run: the weight stack\.norm\.scale holds what is no number'):
        export.export(config, str(tmp_path / 'other'))


@pytest.mark.parametrize(
    'shape, options, kind, message',
    [
        (
            'llama',
            {'form': 'guff'},
            errors.ConfigError,
            r"--format='guff' is none of hugging_face, gguf, peft.*mean",
        ),
        ('llama', {'dtype': 'float64'}, errors.ConfigError, r"--dtype='float64' with --format=hugging_face is none of"),
        ('llama', {'dtype': 'q8_0'}, errors.ConfigError, r"--dtype='q8_0' with --format=hugging_face"),
        ('llama', {'form': 'gguf'}, errors.ConfigError, r'must be the name of a \.gguf file'),
        ('llama', {'checkpoint': '7'}, errors.CheckpointError, r'no checkpoint of step 7 .* there are \[1\]'),
        ('llama', {'checkpoint': 'lates'}, errors.ConfigError, r"--checkpoint='lates' is neither"),
        ('t5', {'form': 'gguf', 'to': 'x.gguf'}, errors.ConfigError, r'encoder_layers=2: an encoder-decoder is not'),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_nothing_is_left(shape, options, kind, message, runs, tmp_path):
    options = dict(options)
    to = tmp_path / options.pop('to', 'out')
    with pytest.raises(kind, match=message):
        export.export(runs[shape], str(to), **options)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_left_alone(runs, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine').touch()
    (tmp_path / 'm.gguf').write_text('mine')
    for to, form in (('out', 'hugging_face'), ('m.gguf', 'gguf')):
        with pytest.raises(errors.CheckpointError, match=rf'--to=.*{to} is there already'):
            export.export(runs['llama'], str(tmp_path / to), form=form)
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['m.gguf', 'mine', 'out']


def test_a_run_without_a_checkpoint_or_config_is_told(runs, tmp_path):
    bare = tmp_path / 'bare'
    bare.mkdir()
    with pytest.raises(errors.CheckpointError, match=r'bare: .*bare/config\.json is no config of a run'):
        export.run_config(str(bare))
    (bare / 'config.json').write_text(json.dumps(to_dict(runs['llama'])))
    with pytest.raises(errors.CheckpointError, match=r'no checkpoint under .*bare/checkpoints'):
        export.export(export.run_config(str(bare)), str(tmp_path / 'out'))
    assert [p.name for p in tmp_path.iterdir()] == ['bare']
    command = [sys.executable, '-m', 'flan_jax.export', f'--run={tmp_path / "none"}', f'--to={tmp_path / "out"}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and 'none/config.json is no config of a run' in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


# ------------------------------------------------------------------------------------------- with other programs


def answers(parting: export.Parting, prompts: list[list[int]]) -> list[list[int]]:
    """Our own greedy answers, twelve ids at most."""
    mesh = mesh_lib.make(MeshConfig(), jax.devices()[:1])
    bones = state.skeleton(parting.model, ExecutionConfig(compute_dtype='float32'))
    with jax.set_mesh(mesh):
        return Generator(bones.graph, mesh, parting.end_ids, 2048)(parting.params, prompts, new=12)


def exported(config: Config, folder: pathlib.Path) -> tuple[export.Parting, list[list[int]], list[list[int]]]:
    parting = export.export(config, str(folder), dtype='float32')
    asked = parting.vocabulary.encode(['Add 12 and 7.\n', 'Which is larger,\n3 or 5?', ' leading', 'naïve 日本'])
    found = answers(parting, asked)
    assert len(set(map(tuple, found))) > 1, 'the model says something'
    return parting, asked, found


@pytest.mark.parametrize('shape', ['llama', 't5'])
def test_the_transformers_library_writes_our_greedy_answers(shape, runs, tmp_path):
    torch = pytest.importorskip('torch', reason='compares with PyTorch models')
    transformers = pytest.importorskip('transformers', reason='compares with the transformers library')
    _, asked, expected = exported(runs[shape], tmp_path / 'out')
    kind = transformers.AutoModelForSeq2SeqLM if shape == 't5' else transformers.AutoModelForCausalLM
    model, report = kind.from_pretrained(tmp_path / 'out', dtype=torch.float32, output_loading_info=True)
    assert not any(report[key] for key in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
    for prompt, answer in zip(asked, expected, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0].tolist()
        assert out[1 if shape == 't5' else len(prompt) :] == answer


@pytest.mark.parametrize('shape', ['llama', 't5'])
def test_ctranslate2_converts_the_directory_and_writes_our_greedy_answers(shape, runs, tmp_path):
    for name in ('ctranslate2', 'torch', 'transformers'):
        pytest.importorskip(name, reason='runs the model in CTranslate2')
    import ctranslate2

    parting, asked, expected = exported(runs[shape], tmp_path / 'out')
    ctranslate2.converters.TransformersConverter(str(tmp_path / 'out')).convert(str(tmp_path / 'converted'))
    built = tokenizers.Tokenizer.from_file(str(tmp_path / 'out' / 'tokenizer.json'))
    pieces = [[built.id_to_token(i) for i in prompt] for prompt in asked]
    if shape == 't5':
        model = ctranslate2.Translator(str(tmp_path / 'converted'), intra_threads=1)
        found = model.translate_batch(pieces, beam_size=1, max_decoding_length=12)
        got = [[built.token_to_id(piece) for piece in one.hypotheses[0]] for one in found]
    else:
        model = ctranslate2.Generator(str(tmp_path / 'converted'), intra_threads=1)
        found = model.generate_batch(pieces, sampling_topk=1, max_length=12, include_prompt_in_result=False)
        got = [one.sequences_ids[0] for one in found]
    # CTranslate2 leaves the end out.
    assert got == [[i for i in answer if i not in parting.end_ids] for answer in expected]


@pytest.mark.skipif(importlib.util.find_spec('llama_cpp') is None, reason='llama_cpp is not here')
def test_llama_cpp_reads_the_file_and_writes_our_greedy_answers(runs, tmp_path):
    import llama_cpp

    _, asked, expected = exported(runs['llama'], tmp_path / 'out')
    export.export(runs['llama'], str(tmp_path / 'm.gguf'), form='gguf', dtype='float32')
    model = llama_cpp.Llama(str(tmp_path / 'm.gguf'), n_ctx=256, verbose=False)
    for prompt, answer in zip(asked, expected, strict=True):
        out = []
        for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0, reset=True):
            out.append(token)
            if len(out) == len(answer):
                break
        assert out == answer
