import dataclasses
import itertools
from collections import Counter

import jax
import numpy as np
import pytest

from flan_jax import errors
from flan_jax.config import MeshConfig, TrainingConfig
from flan_jax.data import gather, loader, planning
from flan_jax.data.planning import Recipe
from flan_jax.parallel import mesh as mesh_lib

SIDES = {'decoder-only': (24,), 'encoder-decoder': (40, 12)}


@pytest.fixture(scope='module')
def plans(toys):
    """Two epochs of the toy tasks, on one side and on two."""
    lengths = {name: toy.lengths for name, toy in toys.items()}
    sizes = {name: len(toy.examples) for name, toy in toys.items()}

    def make(row_tokens):
        recipe = Recipe(
            fingerprints={name: name for name in toys}, rates={name: n / 80 for name, n in sizes.items()}, seed=0,
            row_tokens=row_tokens, pack=True, window=64, epoch_examples=80,
        )  # fmt: skip
        return planning.make(recipe, lengths, epochs=2)

    return {name: make(row_tokens) for name, row_tokens in SIDES.items()}


@pytest.fixture(scope='module')
def load(plans, toys):
    """Loaders by side, devices and microbatches."""

    def make(side, *, devices=1, fsdp=1, rows=8, microbatches=1):
        mesh = mesh_lib.make(MeshConfig(data=devices // fsdp, fsdp=fsdp), jax.devices()[:devices])
        training = TrainingConfig(epochs=1, batch_rows=rows, microbatches=microbatches)
        cut = loader.layout(plans[side], training, mesh=mesh)
        splits = {name: toy.split for name, toy in toys.items()}
        return loader.Loader(plans[side], splits, layout=cut, mesh=mesh)

    return make


def examples_of(plan, toys, row):
    """The spans of a row's examples, in order."""
    a, b = plan.row_starts[row : row + 2]
    return [toys[plan.tasks[t]].examples[e] for t, e in zip(plan.task[a:b], plan.example[a:b])]


def spread(batch):
    """(row, position) -> label of each weighted position, by rows of the whole batch, whatever the cut."""
    labels = {}
    a, groups, _ = batch.supervised.shape
    rows, width = batch.rows.tokens.shape[1:]
    for i in range(a):
        for g in range(groups):
            for at, label, weight in zip(batch.supervised[i, g], batch.labels[i, g], batch.weights[i, g]):
                if weight:
                    row = i * rows + g * (rows // groups) + at // width
                    assert (row, at % width) not in labels and weight == 1
                    labels[row, int(at % width)] = int(label)
    return labels


def flat(side):
    """[A, B, T] -> [A * B, T]."""
    return np.asarray(side).reshape(-1, side.shape[-1])


def test_packed_rows_hold_their_examples_one_after_the_other(load, plans, toys):
    load, plan = load('decoder-only'), plans['decoder-only']
    for step in range(load.steps):
        rows = load.gather(step).rows
        tokens, segments, positions = flat(rows.tokens), flat(rows.segments), flat(rows.positions)
        for r in range(8):
            number = 8 * step + r
            examples = examples_of(plan, toys, number) if number < len(plan) else []
            ids = [[i for span in spans for i in span] for spans in examples]
            length = sum(map(len, ids))
            assert tokens[r, :length].tolist() == sum(ids, [])
            assert segments[r, :length].tolist() == [s for s, e in enumerate(ids, 1) for _ in e]
            assert positions[r, :length].tolist() == [i for e in ids for i in range(len(e))]
            assert not tokens[r, length:].any() and not segments[r, length:].any()


def test_labels_are_the_next_tokens_of_supervised_spans_and_cross_no_border(load, plans, toys):
    load, plan = load('decoder-only'), plans['decoder-only']
    talks = 0
    for step in range(load.steps):
        batch = load.gather(step)
        expected = {}
        for r in range(min(8, len(plan) - 8 * step)):
            at = 0
            for spans in examples_of(plan, toys, 8 * step + r):
                talks += len(spans) == 4
                for i, span in enumerate(spans):
                    expected |= {(r, at + j - 1): token for j, token in enumerate(span) if i % 2}
                    at += len(span)
        labels = spread(batch)
        assert labels == expected
        segments = flat(batch.rows.segments)
        for row, at in labels:  # the last token of an example predicts nothing
            assert segments[row, at] == segments[row, at + 1] > 0
    assert talks == 30


def test_an_encoder_decoder_reads_the_context_and_the_target_shifted_by_one(load, plans, toys):
    load, plan = load('encoder-decoder'), plans['encoder-decoder']
    for step in range(load.steps):
        batch = load.gather(step)
        labels = spread(batch)
        encoder, decoder = ([flat(x) for x in jax.tree.leaves(side)] for side in (batch.encoder, batch.rows))
        for r in range(min(8, len(plan) - 8 * step)):
            examples = examples_of(plan, toys, 8 * step + r)
            contexts = [[i for span in spans[:-1] for i in span] for spans in examples]
            targets = [spans[-1] for spans in examples]
            shifted = [[0, *target[:-1]] for target in targets]
            for side, parts in ((encoder, contexts), (decoder, shifted)):
                n = sum(map(len, parts))
                tokens, segments, positions = (x[r] for x in side)
                assert tokens[:n].tolist() == sum(parts, []) and not tokens[n:].any()
                assert segments[:n].tolist() == [s for s, p in enumerate(parts, 1) for _ in p]
                assert positions[:n].tolist() == [i for p in parts for i in range(len(p))]
                assert not segments[n:].any()
            mine = [labels.pop((r, t)) for t in range(sum(map(len, targets)))]
            assert mine == sum(targets, [])
        assert labels == {}


@pytest.mark.parametrize('side', SIDES)
def test_no_position_is_lost_however_the_batch_is_cut(load, side):
    plain = load(side, rows=32)
    for devices, fsdp, microbatches in itertools.product((1, 2, 4, 8), (1, 2), (1, 2, 4)):
        if devices % fsdp:
            continue
        cut = load(side, devices=devices, fsdp=fsdp, rows=32, microbatches=microbatches)
        assert (cut.layout.groups, cut.layout.microbatches) == (devices, microbatches)
        for step in range(plain.steps):
            got, expected = cut.gather(step), plain.gather(step)
            assert spread(got) == spread(expected)
            sides = [jax.tree.leaves((batch.rows, batch.encoder)) for batch in (got, expected)]
            assert all(np.array_equal(flat(a), flat(b)) for a, b in zip(*sides, strict=True))


@pytest.mark.parametrize('side', SIDES)
def test_every_supervised_token_of_the_plan_is_in_some_batch_once(load, plans, toys, side):
    load = load(side, devices=2, microbatches=2)
    got = Counter(label for step in range(load.steps) for label in spread(load.gather(step)).values())
    spans = slice(1, None, 2) if side == 'decoder-only' else slice(-1, None)
    once = Counter(t for toy in toys.values() for e in toy.examples for span in e[spans] for t in span)
    assert got == Counter({token: 2 * n for token, n in once.items()})
    assert got.total() == plans[side].row_supervised.sum()


def test_a_batch_lies_on_its_devices_as_it_was_gathered(load):
    load = load('encoder-decoder', devices=8, fsdp=2, rows=16, microbatches=2)
    host = load.gather(1)
    placed = load.place(host)
    for there, here in zip(jax.tree.leaves(placed), jax.tree.leaves(host), strict=True):
        assert np.array_equal(np.asarray(there), here)
        assert there.addressable_shards[0].data.shape[1] == here.shape[1] // 8


def test_reading_from_the_middle_gives_the_tail_of_reading_from_the_start(load):
    load = load('decoder-only', devices=2)
    whole, tail = list(load.batches(0, load.steps)), list(load.batches(2, load.steps))
    assert len(whole) == load.steps and len(tail) == load.steps - 2 > 0
    for a, b in zip(whole[2:], tail):
        assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_the_end_of_the_plan_is_filled_with_empty_rows(load, plans):
    load, plan = load('decoder-only', rows=len(plans['decoder-only']) - 1), plans['decoder-only']
    assert load.steps == 2
    last = load.gather(1)
    assert flat(last.rows.segments)[0].any() and not flat(last.rows.segments)[1:].any()
    assert last.weights.sum() == plan.row_supervised[-1]
    beyond = load.gather(2)
    assert all(not leaf.any() for leaf in jax.tree.leaves(beyond))


@pytest.mark.parametrize('rows, microbatches', [(6, 1), (8, 2), (4, 1)])
def test_a_batch_that_does_not_divide_names_the_knobs_and_a_size_that_does(load, rows, microbatches):
    with pytest.raises(errors.ConfigError) as e:
        load('decoder-only', devices=8, fsdp=2, rows=rows, microbatches=microbatches)
    message = str(e.value)
    assert f'training.batch_rows={rows}' in message and f'{microbatches} microbatches on 8 devices' in message
    assert 'mesh.data=4, mesh.fsdp=2' in message and f'take a multiple of {8 * microbatches}' in message


def test_columns_of_a_wrong_type_are_never_read_as_addresses(toys):
    split = toys['short'].split
    wrong = dataclasses.replace(split, tokens=split.tokens.astype(np.int64))
    with pytest.raises(ValueError, match='contiguous int32 values and int64 starts'):
        gather.addresses([wrong])
