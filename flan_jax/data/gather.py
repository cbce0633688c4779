"""Gathering, compiled: the examples of some rows, out of mapped stores, into padded arrays."""

from collections.abc import Sequence

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from flan_jax.data.store import Split


@intrinsic
def _pointer(typing_context, address):
    """An address as a pointer, for `numba.carray`; mapped files of many stores cannot be one array."""

    def build(context, builder, signature, args):
        del context, signature
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), build


def addresses(splits: Sequence[Split]) -> np.ndarray:
    """int64[stores, 4]: where tokens, token starts, spans and span starts lie. Keep the splits alive while in use."""
    columns = [(s.tokens, s.token_starts, s.spans, s.span_starts) for s in splits]
    for arrays in columns:
        if [a.dtype for a in arrays] != [np.int32, np.int64] * 2 or not all(a.flags.c_contiguous for a in arrays):
            raise ValueError('store columns must be contiguous int32 values and int64 starts')
    return np.array([[a.ctypes.data for a in arrays] for arrays in columns], np.int64)


@numba.njit(cache=True, nogil=True)
def decoder_rows(table, plan, rows, rows_per_group, out, marks):
    """Fills decoder-only rows.

    Args:
      table: `addresses`.
      plan: (row_starts, task, example) of the plan.
      rows: int64[R], plan rows; -1 leaves a row empty.
      rows_per_group: rows that share a list of supervised positions.
      out: (tokens, segments, positions), int32[R, T] zeros.
      marks: (supervised int32, labels int32, weights float32), [R / rows_per_group, M] zeros.

    Returns:
      tokens written.
    """
    starts, tasks, examples = plan
    tokens_out, segments, positions = out
    supervised, labels, weights = marks
    width = tokens_out.shape[1]
    written = 0
    used = np.zeros(supervised.shape[0], np.int64)
    for r in range(len(rows)):
        if rows[r] < 0:
            continue
        group = r // rows_per_group
        base = (r - group * rows_per_group) * width
        at = 0
        for i in range(starts[rows[r]], starts[rows[r] + 1]):
            k, e = tasks[i], examples[i]
            begins = numba.carray(_pointer(table[k, 1]), e + 2, np.int64)
            n = begins[e + 1] - begins[e]
            tokens = numba.carray(_pointer(table[k, 0] + 4 * begins[e]), n, np.int32)
            span_begins = numba.carray(_pointer(table[k, 3]), e + 2, np.int64)
            n_spans = span_begins[e + 1] - span_begins[e]
            spans = numba.carray(_pointer(table[k, 2] + 4 * span_begins[e]), n_spans, np.int32)
            segment = i - starts[rows[r]] + 1
            for j in range(n):
                tokens_out[r, at + j] = tokens[j]
                segments[r, at + j] = segment
                positions[r, at + j] = j
            j = 0
            for s in range(n_spans):
                if s % 2 == 1:
                    for t in range(max(j, 1), j + spans[s]):
                        m = used[group]
                        supervised[group, m] = base + at + t - 1
                        labels[group, m] = tokens[t]
                        weights[group, m] = 1.0
                        used[group] += 1
                j += spans[s]
            at += n
            written += n
    return written


@numba.njit(cache=True, nogil=True)
def encoder_decoder_rows(table, plan, rows, rows_per_group, outs, marks):
    """Fills encoder-decoder rows: contexts on one side, targets shifted right by one (0 starts) on the other.

    Args:
      outs: (encoder, decoder), each (tokens, segments, positions), int32[R, T] zeros.
      others: see `decoder_rows`.

    Returns:
      tokens written on both sides.
    """
    starts, tasks, examples = plan
    (enc_tokens, enc_segments, enc_positions), (dec_tokens, dec_segments, dec_positions) = outs
    supervised, labels, weights = marks
    width = dec_tokens.shape[1]
    written = 0
    used = np.zeros(supervised.shape[0], np.int64)
    for r in range(len(rows)):
        if rows[r] < 0:
            continue
        group = r // rows_per_group
        base = (r - group * rows_per_group) * width
        at, dec_at = 0, 0
        for i in range(starts[rows[r]], starts[rows[r] + 1]):
            k, e = tasks[i], examples[i]
            begins = numba.carray(_pointer(table[k, 1]), e + 2, np.int64)
            n = begins[e + 1] - begins[e]
            tokens = numba.carray(_pointer(table[k, 0] + 4 * begins[e]), n, np.int32)
            span_begins = numba.carray(_pointer(table[k, 3]), e + 2, np.int64)
            target = numba.carray(_pointer(table[k, 2] + 4 * (span_begins[e + 1] - 1)), 1, np.int32)[0]
            context = n - target
            segment = i - starts[rows[r]] + 1
            for j in range(context):
                enc_tokens[r, at + j] = tokens[j]
                enc_segments[r, at + j] = segment
                enc_positions[r, at + j] = j
            for j in range(target):
                dec_tokens[r, dec_at + j] = tokens[context + j - 1] if j else 0
                dec_segments[r, dec_at + j] = segment
                dec_positions[r, dec_at + j] = j
                m = used[group]
                supervised[group, m] = base + dec_at + j
                labels[group, m] = tokens[context + j]
                weights[group, m] = 1.0
                used[group] += 1
            at += context
            dec_at += target
            written += n
    return written
