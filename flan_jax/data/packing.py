"""Packing, compiled: a window's examples into rows by best fit, longest first; then the rows in shuffled order."""

import numba
import numpy as np


@numba.njit(cache=True)
def _mix(x):
    """splitmix64 (Steele et al. 2014): a number to a number that looks drawn."""
    x = np.uint64(x) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True)
def _shuffle(items, n, seed):
    """Fisher-Yates on the first `n` items."""
    state = np.uint64(seed)
    for i in range(n - 1, 0, -1):
        state = _mix(state)
        j = np.int64(state % np.uint64(i + 1))
        items[i], items[j] = items[j], items[i]


@numba.njit(cache=True)
def _longest_first(sizes, members, n, capacity, count, out):
    """Counting sort of `members` by falling size."""
    count[: capacity + 2] = 0
    for i in range(n):
        count[capacity - sizes[members[i]] + 1] += 1
    for s in range(1, capacity + 2):
        count[s] += count[s - 1]
    for i in range(n):
        place = capacity - sizes[members[i]]
        out[count[place]] = members[i]
        count[place] += 1


@numba.njit(cache=True)
def _first_set(words, start, n):
    """The first bit at or after `start` that is set, or -1."""
    w = start >> 6
    if w >= n:
        return -1
    word = words[w] & (~np.uint64(0) << np.uint64(start & 63))
    while True:
        if word != np.uint64(0):
            low, bit = word & (~word + np.uint64(1)), 0  # lowest set bit, found by halving
            if low & np.uint64(0xFFFFFFFF) == np.uint64(0):
                bit += 32
                low >>= np.uint64(32)
            if low & np.uint64(0xFFFF) == np.uint64(0):
                bit += 16
                low >>= np.uint64(16)
            if low & np.uint64(0xFF) == np.uint64(0):
                bit += 8
                low >>= np.uint64(8)
            while low > np.uint64(1):
                bit += 1
                low >>= np.uint64(1)
            return (w << 6) + bit
        w += 1
        if w == n:
            return -1
        word = words[w]


@numba.njit(cache=True)
def _best_fit(sizes, capacities, order, n, space, row_of):
    """Row of each example of a window; rows are kept in lists by what is left of the first side.

    With a second side, at most PROBES rows with the least room on the first are asked whether the second fits too.

    Returns:
      the number of rows.
    """
    probes = 64
    first, second = sizes
    heads, words, nexts, room = space
    heads[:] = -1
    words[:] = 0
    n_words = len(words)
    rows = 0
    two = len(second) > 0
    for i in range(n):
        e = order[i]
        need = first[e]
        row, asked, slot = -1, 0, _first_set(words, need, n_words)
        while slot >= 0 and row < 0:
            before, r = -1, heads[slot]
            while r >= 0:
                if not two or room[r] >= second[e]:
                    row = r
                    break
                before, r = r, nexts[r]
                asked += 1
                if asked >= probes:
                    break
            if row >= 0:  # take it out of its list
                if before < 0:
                    heads[slot] = nexts[row]
                    if heads[slot] < 0:
                        words[slot >> 6] &= ~(np.uint64(1) << np.uint64(slot & 63))
                else:
                    nexts[before] = nexts[row]
            elif asked >= probes:
                break
            else:
                slot = _first_set(words, slot + 1, n_words)
        if row < 0:
            row, slot = rows, capacities[0]
            room[row] = capacities[1]
            rows += 1
        left = slot - need
        if two:
            room[row] -= second[e]
        nexts[row] = heads[left]
        heads[left] = row
        words[left >> 6] |= np.uint64(1) << np.uint64(left & 63)
        row_of[i] = row
    return rows


@numba.njit(cache=True)
def _members(counts, taken, members, member_task):
    """A window's examples, the next ones of each task."""
    n = 0
    for k in range(len(counts)):
        for _ in range(counts[k]):
            members[n] = taken[k]
            member_task[taken[k]] = k
            taken[k] += 1
            n += 1
    return n


@numba.njit(cache=True)
def _scatter(rows, seed, order, places):
    """Rows in shuffled order: places[r] is where row r goes."""
    for r in range(rows):
        order[r] = r
    _shuffle(order, rows, seed)
    for r in range(rows):
        places[order[r]] = r


@numba.njit(cache=True)
def pack_windows(sizes, capacities, counts, starts, seed, pack):
    """Packs windows one after the other.

    Args:
      sizes: (int32[examples], int32[examples or 0]), tokens on the first (or only) and on the second side; examples
        lie task by task.
      capacities: int64[2], tokens of a row on each side.
      counts: int64[windows, tasks], examples of each window.
      starts: int64[tasks], where each task's examples begin.
      seed: of the shuffles.
      pack: if false, one example a row.

    Returns:
      order: int64[examples], examples in row order.
      task: int32[examples], their tasks.
      row_starts: int64[rows + 1].
    """
    windows = len(counts)
    total, largest = counts.sum(), 0
    for w in range(windows):
        largest = max(largest, counts[w].sum())
    order, task = np.empty(total, np.int64), np.empty(total, np.int32)
    row_starts = np.zeros(total + 1, np.int64)
    members, member_task = np.empty(largest, np.int64), np.empty(total, np.int32)
    sorted_members, row_of = np.empty(largest, np.int64), np.empty(largest, np.int64)
    heads, words = np.empty(capacities[0] + 1, np.int64), np.empty((capacities[0] >> 6) + 1, np.uint64)
    nexts, room = np.empty(largest, np.int64), np.empty(largest, np.int64)
    space = (heads, words, nexts, room)
    count = np.empty(capacities[0] + 2, np.int64)
    begins, places = np.empty(largest + 1, np.int64), np.empty(largest, np.int64)
    taken = starts.copy()
    done, rows_done = 0, 0
    for w in range(windows):
        n = _members(counts[w], taken, members, member_task)
        if pack:
            _longest_first(sizes[0], members, n, capacities[0], count, sorted_members)
            rows = _best_fit(sizes, capacities, sorted_members, n, space, row_of)
        else:
            rows = n
            for i in range(n):
                sorted_members[i], row_of[i] = members[i], i
        _scatter(rows, _mix(seed ^ _mix(np.uint64(w))), nexts, places)
        begins[: rows + 1] = 0
        for i in range(n):
            begins[places[row_of[i]] + 1] += 1
        for r in range(rows):
            begins[r + 1] += begins[r]
            row_starts[rows_done + r + 1] = done + begins[r + 1]
        for i in range(n):
            place = places[row_of[i]]
            at = done + begins[place]
            begins[place] += 1
            order[at], task[at] = sorted_members[i], member_task[sorted_members[i]]
        done += n
        rows_done += rows
    return order, task, row_starts[: rows_done + 1].copy()
