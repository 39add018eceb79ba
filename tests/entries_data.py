"""Entries to the core's data and random numbers; see entries.py."""

import numpy as np
from entries import entry, refusal

from gdcore import _core


@entry("find_nonfinite", "find_bad_label")
def searches():
    x, odd, whole = np.ones((9, 4)), np.full((9, 8), np.nan, np.float32)[:, ::2], np.arange(9)
    wide = np.zeros((3, 70_000))

    def call():
        _core.find_nonfinite(x), _core.find_nonfinite(odd), _core.find_nonfinite(wide)
        _core.find_bad_label(whole, 9), _core.find_bad_label(odd[:, :1], 3)

    return call, (x, odd, whole, wide), None


@entry("gather", "gather_labels", "is_plain")
def gathered():
    x, labels, rows = np.ones((9, 4)), np.arange(9, dtype=np.uint8), np.array([8, 0, 8])

    def call():
        _core.gather(x, None, 4), _core.gather(x.T, rows[1:2], 8), _core.gather(x, [1, 2], 8)
        _core.gather_labels(labels, rows), _core.gather_labels(labels, 3), _core.is_plain(x, 8)

    return call, (x, labels, rows), None


@entry()
def refused_data():
    x, bad, rows = np.ones((9, 4)), np.ones(3, np.float16), np.array([9])
    calls = [
        refusal(function, thing)
        for function in (_core.find_nonfinite, lambda y: _core.find_bad_label(y, 3))
        for thing in (bad, None, np.ma.ones(3), np.ones((2, 2, 2)), np.ones(3, ">f8"))
    ]
    calls += [
        refusal(_core.find_bad_label, x, 3),
        refusal(_core.find_bad_label, rows, -1),
        refusal(_core.gather, x, rows, 8),
        refusal(_core.gather, x, 10, 8),
        refusal(_core.gather, x, -1, 8),
        refusal(_core.gather, x, x, 8),
        refusal(_core.gather, x, None, 2),
        refusal(_core.gather, bad, rows, 4),
        refusal(_core.gather_labels, x, rows),
        refusal(_core.is_plain, x, 1),
    ]
    return lambda: [call() for call in calls], (x, bad, rows), None


@entry("philox", "random_bits", "epoch_order")
def random_numbers():
    def call():
        _core.philox(1, 2, 3, 4, 5, 6), _core.random_bits(1, 2, 2, 3, 4, 5, 100)
        _core.epoch_order(100, 1, 2, 3), _core.epoch_order(100, 1, 2, 3, stored=False)

    return call, (), None


@entry()
def refused_random_numbers():
    calls = [
        refusal(_core.philox, 1, 2, 3, 4, 5),
        refusal(_core.philox, 1, 2, 3, 4, 5, -1),
        refusal(_core.philox, 1.0, 2, 3, 4, 5, 6),
        refusal(_core.random_bits, 1, 2, 3, 4, 5, 6, 7),
        refusal(_core.random_bits, 1, 2, 2, 3, 2**56, 5, 7),
        refusal(_core.random_bits, 1, 2, 2, 3, 4, 5, -1),
        refusal(_core.epoch_order, -1, 1, 2, 3),
        refusal(_core.epoch_order, 3, 1, 2, 2**64),
    ]
    return lambda: [call() for call in calls], (), None
