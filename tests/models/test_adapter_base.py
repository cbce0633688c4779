"""The frozen weights of an adapter's run: read one by one and narrowed at once, they are those read all in f32."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flan_jax import errors, run_adapters
from flan_jax.config import CheckpointConfig, Config, MeshConfig, TrainingConfig
from flan_jax.data import vocabulary
from flan_jax.interop import gguf, hugging_face, peft
from flan_jax.interop.weight_plan import flat_shapes
from flan_jax.models import adapters
from flan_jax.models.adapter_config import AdapterConfig, OtherAdapter
from flan_jax.models.config import AttentionConfig, ExecutionConfig, ModelConfig
from flan_jax.models.weight_tree import flat, nested
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import checkpoint
from flan_jax.training import state as state_lib

MODEL = ModelConfig(
    vocab_size=384, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=64, max_length=64, norm_eps=1e-5
)
BIASED = dataclasses.replace(MODEL, attention=AttentionConfig(bias=True, output_bias=True))
EXECUTION = ExecutionConfig(compute_dtype='float32', attention='dense', remat='none')
LORA = AdapterConfig(kind='lora', rank=2, alpha=4.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A model as a directory and as GGUF, and an adapter of it."""
    folder, rng = tmp_path_factory.mktemp('base'), np.random.default_rng(0)
    params = nested({path: rng.normal(size=shape).astype(np.float32) for path, shape in flat_shapes(MODEL).items()})
    hugging_face.save(folder / 'hf', params, config=MODEL)
    more = {path: rng.normal(size=shape).astype(np.float32) for path, shape in flat_shapes(BIASED).items()}
    hugging_face.save(folder / 'biased', nested(more), config=BIASED)
    vocabulary.train(['a few words to learn pieces from, and some more of them'] * 5, f'{folder}/v.model', size=280)
    words = vocabulary.load(f'{folder}/v.model')
    gguf.save(f'{folder}/m.gguf', params, config=MODEL, vocabulary=words, kind='F32')
    bones = state_lib.skeleton(MODEL, EXECUTION)
    shapes, _ = adapters.parts(LORA, bones.shapes, axes=bones.axes)
    trained = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)
    peft.save(folder / 'adapter', trained, config=LORA, model=MODEL, base='base')
    return folder


def ask(source: str, adapter: AdapterConfig, *, model: ModelConfig = MODEL) -> tuple:
    """A config, what it trains, and one device."""
    config = Config(
        training=TrainingConfig(steps=1), model=model, execution=EXECUTION, adapter=adapter,
        checkpoint=CheckpointConfig(warm_start=source),
    )  # fmt: skip
    mesh = mesh_lib.make(MeshConfig(data=1), jax.devices()[:1])
    return config, run_adapters.tuned(config, state_lib.skeleton(model, EXECUTION), model=model), mesh


def based(source: str, adapter: AdapterConfig, *, model: ModelConfig = MODEL) -> run_adapters.Base:
    config, part, mesh = ask(source, adapter, model=model)
    with jax.set_mesh(mesh):
        return run_adapters.base(config, part, model=model, mesh=mesh)


@pytest.mark.parametrize(
    ('source', 'base', 'kind'), [('hf', 'bfloat16', 'dora'), ('hf', 'nf4', 'lora'), ('m.gguf', 'int8', 'prompt')]
)
def test_weights_read_one_by_one_are_those_read_all_at_once(source, base, kind, folder, monkeypatch):
    pytest.importorskip('qwix')
    others = (OtherAdapter(str(folder / 'adapter'), 'frozen'),) if kind == 'lora' else ()
    adapter = dataclasses.replace(LORA, kind=kind, base=base, others=others)
    narrow = based(str(folder / source), adapter)
    with monkeypatch.context() as patched:
        patched.setattr(run_adapters, '_read_narrow', lambda *_, **__: None)
        wide = based(str(folder / source), adapter)
    assert (narrow.fingerprint, narrow.account) == (wide.fingerprint, wide.account)
    assert jax.tree.structure(narrow.frozen) == jax.tree.structure(wide.frozen)
    for ours, theirs in zip(*(jax.tree.leaves((found.frozen, found.first)) for found in (narrow, wide)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_never_more_than_one_weight_is_there_in_f32(folder, monkeypatch):
    alive, most = jax.live_arrays, []
    keep = adapters.keep

    def watched(config, base, **others):
        found = [x for x in alive() if x.dtype == jnp.float32 and x.shape[-1:] not in ((), (32,)) and x.ndim > 2]
        most.append(len(found))
        return keep(config, base, **others)

    before = len([x for x in alive() if x.dtype == jnp.float32 and x.shape[-1:] not in ((), (32,)) and x.ndim > 2])
    monkeypatch.setattr(adapters, 'keep', watched)
    based(str(folder / 'hf'), dataclasses.replace(LORA, base='bfloat16'))
    assert len(most) == len(flat_shapes(MODEL)) and max(most) <= before + 1


def test_an_embedding_of_another_size_is_still_read(folder):
    found = based(str(folder / 'hf'), dataclasses.replace(LORA, base='bfloat16'),
                  model=dataclasses.replace(MODEL, vocab_size=512))  # fmt: skip
    assert 'partly: embedding.table, 384 rows of 512' in found.account
    assert found.frozen['embedding']['table'].shape == (512, 32)


@pytest.mark.parametrize(
    ('source', 'kind', 'base', 'how'),
    [('hf', 'lora', 'bfloat16', 'merged'), ('biased', 'ia3', 'float32', 'frozen'), ('m.gguf', 'dora', 'float32', None)],
)
def test_merged_one_by_one_they_are_those_merged_all_at_once(source, kind, base, how, folder, tmp_path):
    model = BIASED if source == 'biased' else MODEL
    others = () if how is None else (OtherAdapter(str(folder / 'adapter'), how),)
    adapter = dataclasses.replace(LORA, kind=kind, base=base, others=others)
    found = based(str(folder / source), adapter, model=model)
    rng = np.random.default_rng(2)
    own = jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape) * 0.1, x.dtype), found.first)
    step, rest = saved(tmp_path, own, found.fingerprint), ask(str(folder / source), adapter, model=model)
    read = dict(run_adapters.each_merged(*rest[:2], model=model, mesh=rest[2], step=step))
    whole = flat(adapters.merge(found.whole(own)))
    assert read.keys() == whole.keys()
    for name in whole:
        assert read[name].dtype == whole[name].dtype
        # A program for all weights may round a sum of two products otherwise than one for each.
        off = 1e-2 if how == 'merged' else 0
        np.testing.assert_allclose(
            read[name].astype(jnp.float32), whole[name].astype(jnp.float32), rtol=off, atol=off, err_msg=name
        )


def test_of_another_base_not_all_weights_are_given(folder, tmp_path):
    found = based(str(folder / 'hf'), LORA)
    rest, given = ask(str(folder / 'hf'), LORA), []
    step = saved(tmp_path, found.first, 'another')
    with pytest.raises(errors.CheckpointError, match=f'was trained on base weights another.*{found.fingerprint}'):
        for name, _ in run_adapters.each_merged(*rest[:2], model=MODEL, mesh=rest[2], step=step):
            given.append(name)
    assert len(given) == len(flat_shapes(MODEL)) - 1


def saved(folder: pathlib.Path, own: dict, base: str) -> pathlib.Path:
    """The folder of a checkpoint that holds an adapter."""
    zero, kept = jnp.zeros((), jnp.int32), checkpoint.Checkpoints(str(folder), CheckpointConfig())
    kept.save(state_lib.TrainState(zero, own, {'count': zero}, zero), checkpoint.Description(1, 'plan', {}, base))
    kept.finish()
    kept.close()
    return folder / 'checkpoints' / '1'
