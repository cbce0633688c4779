"""Adapters begin as the base, train alone, merge, survive packing and a restart, and refuse what they cannot do."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flan_jax import errors
from flan_jax.batch import Batch, Rows
from flan_jax.config import CheckpointConfig, Config, TrainingConfig, resolve, to_dict
from flan_jax.models import adapters, adapters_prompt, presets
from flan_jax.models.adapter_config import AdapterConfig, OtherAdapter, check_adapter
from flan_jax.models.adapters_quantised import Quantised
from flan_jax.models.adapters_weights import LowRank, size
from flan_jax.models.config import AttentionConfig, ExecutionConfig, MLPConfig
from flan_jax.training import checkpoint, step, telemetry
from flan_jax.training import state as state_lib
from flan_jax.training.state import TrainState

LORA = AdapterConfig(kind='lora', rank=2, alpha=8.0)
KINDS = {
    'lora': LORA,
    'rslora': dataclasses.replace(LORA, rank_stabilised=True),
    'dora': dataclasses.replace(LORA, kind='dora'),
    'ia3': AdapterConfig(kind='ia3'),
    'prompt': AdapterConfig(kind='prompt', prompt_tokens=3),
    'bias': AdapterConfig(kind='bias', norms=True),
    'weights': AdapterConfig(kind='weights', targets=('mlp.*', 'embedding.*'), layers=(1,)),
}
MERGEABLE = [name for name in KINDS if name != 'prompt']
EXAMPLES = [[3, 4, 5, 6, 7], [8, 9, 10]]
# Six sevenths of XLA's time on a CPU go into making code fast that runs once.
CPU = {'xla_backend_optimization_level': 0, 'xla_cpu_use_fusion_emitters': False}
TX = optax.lion(1e-2)
QUICK = CPU if jax.default_backend() == 'cpu' else None
quick = functools.partial(jax.jit, compiler_options=QUICK)


@dataclasses.dataclass(frozen=True)
class Adapting:
    """A toy, the adapter on it, and both its parts."""

    toy: object
    config: AdapterConfig
    frozen: object
    first: object
    axes: object

    def whole(self, frozen, trained):
        return adapters.assemble(frozen, trained, config=self.config, axes=self.axes)

    def logits(self, params, *sides):
        model = self.toy.merged(params)
        return model.logits(model(*sides))

    @functools.cached_property
    def logits_of(self):
        return quick(self.logits)

    @functools.cached_property
    def step(self):
        settings = dict(training=TrainingConfig(steps=9), schedule=lambda s: 1e-2, dropout_seed=None)
        return quick(step.make(self.toy.graph, TX, whole=self.whole, **settings))

    def trained(self, pack, steps: int, state: TrainState | None = None) -> tuple[TrainState, list[float]]:
        """The state after some steps, and the loss before each."""
        zero, losses = jnp.zeros((), jnp.int32), []
        state = TrainState(zero, self.first, TX.init(self.first), zero) if state is None else state
        for _ in range(steps):
            state, metrics = self.step(state, batch_of(pack), self.frozen)
            losses.append(float(metrics['loss']))
        return state, losses

    def moved(self, spread=0.3):
        """Trained weights that are no longer the first ones."""
        rng = np.random.default_rng(3)
        return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, spread, x.shape), x.dtype), self.first)


@pytest.fixture(scope='session')
def adapt(make, toys):
    """Kind or config, and the toy's name -> the two parts."""

    @functools.cache
    def build(kind, wiring='rope', **changes) -> Adapting:
        config = dataclasses.replace(KINDS[kind] if isinstance(kind, str) else kind, **changes)
        toy = toys[wiring]
        if wiring == 'rope' and config.kind in ('ia3', 'bias'):
            biased = dict(attention=AttentionConfig(bias=True, output_bias=True), mlp=MLPConfig(bias=True))
            toy = make(dataclasses.replace(toy.config, **biased))
        bones = state_lib.skeleton(toy.config, ExecutionConfig())
        shapes, axes = adapters.parts(config, bones.shapes, axes=bones.axes)
        frozen = adapters.keep(config, toy.params, shapes=shapes, axes=bones.axes)
        first = adapters.begin(config, toy.params, shapes=shapes, axes=bones.axes, seed=1)
        assert jax.tree.map(lambda x: x.shape, first) == jax.tree.map(lambda x: x.shape, shapes)
        assert jax.tree.structure(first) == jax.tree.structure(axes, is_leaf=lambda a: isinstance(a, tuple))
        return Adapting(toy, config, frozen, first, bones.axes)

    return build


def sides_of(toy, pack):
    rows = pack([EXAMPLES], 10)
    return (rows, rows) if toy.config.encoder_decoder else (rows,)


@pytest.mark.parametrize(
    ('kind', 'wiring'),
    [*((kind, 'rope') for kind in MERGEABLE), ('lora', 'encoder_decoder'), ('ia3', 'encoder_decoder')],
)
def test_an_adapter_begins_as_the_base_and_merged_equals_unmerged(adapt, pack, kind, wiring):
    one = adapt(kind, wiring)
    sides = sides_of(one.toy, pack)
    run = one.logits_of
    base, first = run(one.toy.params, *sides), run(one.whole(one.frozen, one.first), *sides)
    if kind == 'dora':  # its norms are computed twice, in programs that may add up in another order
        np.testing.assert_allclose(first, base, atol=1e-5, rtol=1e-5)
    else:
        np.testing.assert_array_equal(first, base)
    whole = one.whole(one.frozen, one.moved())
    moved, merged = run(whole, *sides), run(adapters.merge(whole), *sides)
    assert np.abs(moved - base).max() > 1e-2
    # Relative to the largest logit: both are sums in f32, in another order, of numbers that large.
    np.testing.assert_allclose(merged, moved, atol=1e-5 * np.abs(moved).max(), rtol=0)


def test_merging_is_exact_to_the_last_places_of_f32(adapt):
    """Against float64: the product, its scale and the sum are each rounded once, to half a unit in the last place."""
    one = adapt('lora')
    trained = one.moved()
    merged, base = adapters.flat(adapters.merge(one.whole(one.frozen, trained))), adapters.flat(one.toy.params)
    own = adapters.flat(trained)
    for path in {name.rpartition('.')[0] for name in own}:
        a, b = (np.asarray(own[f'{path}.lora_{side}'], np.float64) for side in 'ab')
        a, b = a.reshape(len(a), -1, a.shape[-1]), b.reshape(len(b), b.shape[1], -1)
        w = np.asarray(base[path], np.float64).reshape(len(a), a.shape[1], b.shape[2])
        off = np.abs(np.asarray(merged[path], np.float64).reshape(w.shape) - (w + one.config.scale * (a @ b)))
        summed = np.abs(w) + one.config.scale * (np.abs(a) @ np.abs(b))
        assert (off <= 2 * np.spacing(summed.astype(np.float32))).all(), path


@pytest.mark.parametrize('kind', ['lora', 'ia3'])
def test_unmerging_gives_the_base_again(adapt, kind):
    one = adapt(kind)
    trained = one.moved()
    merged = adapters.merge(one.whole(one.frozen, trained))
    again = quick(lambda m, t: adapters.unmerge(m, t, config=one.config, axes=one.axes))(merged, trained)
    assert jax.tree.structure(again) == jax.tree.structure(one.toy.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), again, dict(one.toy.params))
    with pytest.raises(errors.ConfigError, match='merging dora forgets the base'):
        adapters.unmerge(merged, trained, config=KINDS['dora'], axes=one.axes)


def test_a_prompt_is_seen_by_every_example_of_a_packed_row_as_by_one_alone(adapt, pack):
    one = adapt('prompt')
    whole, run = one.whole(one.frozen, one.moved()), one.logits_of
    packed = run(whole, pack([EXAMPLES], 10))[0]
    at = 0
    for example in EXAMPLES:
        alone = run(whole, pack([[example]], 10))[0, : len(example)]
        np.testing.assert_allclose(packed[at : at + len(example)], alone, atol=1e-4)
        # As it would be with the vectors in the vocabulary, written out before the example.
        prompt = one.moved()['embedding']['table']['prompt']
        table = jnp.concatenate([one.toy.params['embedding']['table'], prompt])
        spelt = pack([[[64, 65, 66, *example]]], 10)
        hidden = one.toy.merged(one.toy.params | {'embedding': {'table': table}})(spelt)[0, 3 : 3 + len(example)]
        np.testing.assert_allclose(hidden @ one.toy.params['embedding']['table'].T, alone, atol=1e-4)
        at += len(example)
    assert np.abs(packed - run(one.toy.params, pack([EXAMPLES], 10))[0])[:8].max() > 0.1
    with pytest.raises(errors.ConfigError, match='a tuned prompt cannot be merged'):
        adapters.merge(whole)


@pytest.mark.parametrize('kind', ['lora', 'prompt'])
def test_a_cache_gives_what_the_whole_row_gives(adapt, pack, kind):
    one = adapt(kind)
    whole = one.whole(one.frozen, one.moved())

    def cached(params, tokens, positions):
        model, out = one.toy.merged(params), []
        cache = model.empty_cache(1, 5)
        for cut in (slice(0, 3), slice(3, 4), slice(4, 5)):
            hidden, cache = model.extend(tokens[:, cut], positions[:, cut], cache=cache)
            out.append(model.logits(hidden))
        return jnp.concatenate(out, axis=1)

    rows = pack([[EXAMPLES[0]]], 5)
    expected = one.logits_of(whole, rows)
    np.testing.assert_allclose(quick(cached)(whole, rows.tokens, rows.positions), expected, atol=1e-4)


def batch_of(pack) -> Batch:
    rows = jax.tree.map(lambda x: x[None], pack([EXAMPLES, EXAMPLES[::-1]], 10))
    marks = jnp.arange(6)[None, None] + 1
    return Batch(rows, None, marks, marks + 20, jnp.ones((1, 1, 6)))


@pytest.mark.parametrize('kind', ['lora', 'dora', 'ia3', 'prompt', 'bias', 'weights'])
def test_training_moves_every_part_of_the_adapter_and_lowers_the_loss(adapt, pack, kind):
    one = adapt(kind)
    before = jax.tree.map(np.array, one.frozen)
    state, losses = one.trained(pack, 3)
    for path, value in adapters.flat(state.params).items():
        assert np.abs(value - adapters.flat(one.first)[path]).max() > 0, path
    jax.tree.map(np.testing.assert_array_equal, before, one.frozen)
    assert losses[2] < losses[0]


def test_no_gradient_of_a_frozen_matrix_is_computed(adapt, pack):
    one = adapt('lora')

    def loss(trained, frozen, rows):
        return jnp.sum(one.logits(one.whole(frozen, trained), rows))

    rows = pack([EXAMPLES], 11)
    flops = [
        jax.jit(jax.grad(loss, argnums=which)).lower(one.first, one.frozen, rows).compile().cost_analysis()['flops']
        for which in (0, (0, 1))
    ]
    assert flops[0] < 0.8 * flops[1]


def test_frozen_weights_cost_no_gradient_of_theirs_in_the_count_of_flops(adapt):
    one = adapt('lora')
    shapes, _ = adapters.parts(one.config, one.toy.params, axes=one.axes)
    config = one.toy.config
    whole = telemetry.flops_per_token(config, row_tokens=16)
    own = 6 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    weights = presets.parameter_count(config, embeddings=False)
    assert telemetry.flops_per_token(config, row_tokens=16, trained=shapes) == whole - 2 * weights + own
    for targets, named in ((('query',), ['query']), (('*',), list(adapters.MATRICES))):
        some = AdapterConfig(kind='weights', targets=targets)
        shapes, _ = adapters.parts(some, one.toy.params, axes=one.axes)
        found = telemetry.flops_per_token(config, row_tokens=16, trained=shapes)
        known = adapters.flat(one.toy.params)
        trained = sum(w.size for path, w in known.items() if path.rpartition('.')[2] in named)
        trained += known['embedding.table'].size if targets == ('*',) else 0  # tied: the head's matrix, too
        assert found == whole - 2 * weights + 2 * trained


def test_chosen_layers_change_and_the_others_stay(adapt):
    one = adapt('lora', layers=(1,), targets=('query',))
    assert one.first['stack']['blocks']['attention']['query']['lora_a'].shape == (1, 32, 2)
    merged = adapters.flat(adapters.merge(one.whole(one.frozen, one.moved())))
    changed = {path: np.abs(w - adapters.flat(one.toy.params)[path]) for path, w in merged.items()}
    assert {path for path, by in changed.items() if by.max() > 0} == {'stack.blocks.attention.query'}
    assert [by.max() > 0 for by in changed['stack.blocks.attention.query']] == [False, True]


def test_an_adapter_goes_around_another_one(adapt, pack):
    inner = adapt('lora')
    outer = adapt('lora', targets=('query', 'up'))
    rows = pack([EXAMPLES], 10)
    around = inner.whole(inner.frozen, inner.moved())
    both = outer.whole(around, outer.moved(0.1))
    assert isinstance(both['stack']['blocks']['mlp']['up'].w, LowRank)
    merged = outer.whole(adapters.merge(around), outer.moved(0.1))
    np.testing.assert_allclose(inner.logits_of(both, rows), inner.logits_of(merged, rows), atol=2e-4)


@pytest.mark.parametrize(
    ('base', 'limit', 'share'), [('bfloat16', 4e-3, 0.51), ('int8', 8e-3, 0.4), ('nf4', 0.12, 0.3)]
)
def test_a_base_in_fewer_bits_is_near_and_small_and_trains(adapt, pack, base, limit, share):
    if base in ('int8', 'nf4'):
        pytest.importorskip('qwix', reason='the base is quantised by qwix')
    one = adapt('lora', base=base)
    up, given = one.frozen['stack']['blocks']['mlp']['up'], one.toy.params['stack']['blocks']['mlp']['up']
    assert isinstance(up, Quantised) == (base != 'bfloat16')
    assert size(up) < share * size(given)
    wide = up.dense() if isinstance(up, Quantised) else up.astype(jnp.float32)
    assert np.abs(wide - given).max() < limit * np.abs(given).max()
    assert np.isfinite(one.trained(pack, 1)[1]).all()
    rows = pack([EXAMPLES], 10)
    whole = one.whole(one.frozen, one.moved())
    near, exact = (one.logits_of(w, rows) for w in (whole, adapters.merge(whole)))
    tolerance = 0.05 if base == 'bfloat16' else 1e-4
    np.testing.assert_allclose(near, exact, atol=tolerance * np.abs(exact).max())


def test_lora_on_smollm2_keeps_under_three_percent_of_the_bytes():
    bones = state_lib.skeleton(presets.preset('smollm2_135m'), ExecutionConfig())
    shapes, axes = adapters.parts(AdapterConfig(kind='lora', rank=8), bones.shapes, axes=bones.axes)
    tx = optax.adamw(1e-3)
    full, ours = (
        size(vars(state_lib.shapes(one, tx))) for one in (bones, state_lib.Skeleton(bones.graph, shapes, axes))
    )
    assert ours < 0.03 * full


@pytest.fixture
def saved(adapt, pack, tmp_path):
    """An adapter, its checkpoint after two steps, and what a restart needs."""
    one, keeper = adapt('lora'), checkpoint.Checkpoints(str(tmp_path), CheckpointConfig())
    state, print_ = one.trained(pack, 2)[0], adapters.fingerprint(one.frozen)
    keeper.save(state, checkpoint.Description(2, 'plan', {}, print_))
    keeper.finish()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    yield one, keeper, (shapes, jax.tree.map(lambda x: x.sharding, state)), print_
    keeper.close()


def test_a_resumed_adapter_is_bit_identical_to_one_that_was_not_stopped(saved, pack):
    one, keeper, places, print_ = saved
    resumed, _ = one.trained(pack, 1, keeper.restore(*places, plan='plan', base=print_))
    jax.tree.map(np.testing.assert_array_equal, resumed, one.trained(pack, 3)[0])


def test_a_checkpoint_of_another_base_is_refused_with_both_fingerprints(saved):
    one, keeper, places, print_ = saved
    other = dict(one.frozen) | {'embedding': {'table': one.frozen['embedding']['table'].at[5, 3].add(1e-6)}}
    wrong = adapters.fingerprint(other)
    assert wrong != print_
    with pytest.raises(errors.CheckpointError, match=f'base weights {print_}, this config gives {wrong}.*another name'):
        keeper.restore(*places, plan='plan', base=wrong)
    with pytest.raises(errors.CheckpointError, match=f'base weights {print_}, this config gives none'):
        keeper.restore(*places, plan='plan')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dataclasses.replace(LORA, targets=('querry',)), "no weight 'querry' among the matrices.*did you mean query"),
        (dataclasses.replace(LORA, targets=('embedding.table',)), "no weight 'embedding.table' among the matrices"),
        (AdapterConfig(kind='bias'), 'among the biases of this model; there are none'),
        (dataclasses.replace(LORA, layers=(0, 2)), r'adapter.layers=\(0, 2\): .* has 2 layers, from 0'),
    ],
)  # fmt: skip
def test_what_a_model_does_not_have_is_refused_by_name(toys, config, message):
    bones = state_lib.skeleton(toys['rope'].config, ExecutionConfig())
    with pytest.raises(errors.ConfigError, match=message):
        adapters.parts(config, bones.shapes, axes=bones.axes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rank': 0}, 'adapter.rank=0 must be at least 1'),
        ({'kind': 'none', 'base': 'nf4'}, "adapter.kind='none' trains all weights, so that adapter.base='nf4'"),
        ({'kind': 'weights'}, 'needs adapter.targets'),
        ({'kind': 'dora', 'layers': (1,)}, 'dora acts on all layers'),
        ({'layers': (2, 1)}, 'must be rising numbers'),
        ({'kind': 'prompt'}, "adapter.kind='prompt' is for decoders"),
        ({'kind': 'bias', 'source': 'x'}, 'bias has no format of its own'),
        ({'kind': 'bias', 'base': 'int8'}, "adapter.base='int8' is for lora"),
        ({'kind': 'bias', 'others': (OtherAdapter('x'),)}, "others can only be how='merged'"),
    ],
)
def test_knobs_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(errors.ConfigError, match=message):
        check_adapter(dataclasses.replace(LORA, **changes), encoder_decoder=True)


def test_a_config_with_adapters_comes_back_from_json():
    adapter = dataclasses.replace(LORA, others=(OtherAdapter('a', 'merged'),), layers=(0, 1))
    config = Config(training=TrainingConfig(steps=1), adapter=adapter)
    assert resolve(to_dict(config)) == config


def test_a_prompt_is_laid_out_before_the_row():
    rows = Rows(jnp.array([[7, 8, 9]]), jnp.array([[1, 1, 2]]), jnp.array([[0, 1, 0]]))
    from flan_jax.models.attention import packed

    longer, sight = adapters_prompt.prepend(rows, packed(rows.segments, causal=True), count=2)
    assert longer.tokens.tolist() == [[-1, -2, 7, 8, 9]] and longer.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert sight.mask[0].astype(int).tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]
    ]  # fmt: skip
