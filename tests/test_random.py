"""Random numbers and orders: NumPy's Philox, the published answers, the twin, and their laws.

What is drawn is a function of key and place, so a test of a law comes out the same every time; its
false alarm rate is what it would be for keys drawn anew: one in a million for each.
"""

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdcore import _core
from gdcore.reference import random as reference

FALSE_ALARM = 1e-6
words = st.integers(0, 2**64 - 1)
keys = st.tuples(words, words)
counters = st.tuples(words, words, words, words)


def chances(counts, law=None):
    """How likely counts are to lie this far from the law (uniform), by chi-square."""
    counts = np.asarray(counts, float)
    expected = np.full(counts.size, counts.sum() / counts.size) if law is None else law
    distance = np.sum((counts - expected) ** 2 / expected)
    return float(mpmath.gammainc((counts.size - 1) / 2, distance / 2, regularized=True))


# ---- Philox --------------------------------------------------------------------------------------


@given(keys, counters)
@example((2**64 - 1, 2**64 - 1), (0, 0, 0, 0))
@example((1, 2), (0, 0, 7, 0))
def test_philox_is_numpy_s(key, counter):
    """NumPy takes the counter as one number of 256 bits and counts up before the first block."""
    number = sum(word << 64 * i for i, word in enumerate(counter)) - 1
    before = [number % 2**256 >> 64 * i & 2**64 - 1 for i in range(4)]
    numpys = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(before, np.uint64))
    expected = tuple(numpys.random_raw(4).tolist())
    assert _core.philox(*key, *counter) == expected == reference.philox(key, counter)


PUBLISHED = [  # of the authors' Random123: counter, key, block
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (2**64 - 1,) * 4,
        (2**64 - 1,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), PUBLISHED)
def test_philox_gives_the_published_answers(counter, key, block):
    assert _core.philox(*key, *counter) == block


# ---- Bits ----------------------------------------------------------------------------------------

places = st.tuples(st.sampled_from([1, 2]), words, st.integers(0, 2**56 - 1), words)


@given(keys, places, st.integers(0, 40))
def test_bits_are_the_twin_s(key, place, n):
    bits = _core.random_bits(*key, *place, n)
    assert bits.dtype == np.uint32
    assert np.array_equal(bits, reference.random_bits(key, *place, n))


def test_fewer_bits_are_the_first_of_more():
    many = _core.random_bits(1, 2, 2, 3, 4, 5, 100)
    for n in range(100):
        assert np.array_equal(_core.random_bits(1, 2, 2, 3, 4, 5, n), many[:n])


def test_each_part_of_a_place_gives_other_bits():
    """Also where a value would be another's, were they packed without care."""
    values = [0, 1, 2, 255, 256, 257, 2**32, 2**55]
    found = {
        _core.random_bits(7, 7, purpose, step, layer, row, 8).tobytes()
        for purpose, step, layer, row in itertools.product((1, 2), values, values, values)
    }
    assert len(found) == 2 * len(values) ** 3


@pytest.mark.parametrize("varied", ["unit", "row", "step", "layer"])
def test_bits_are_uniform_and_do_not_follow_their_neighbours(varied):
    """Bytes of the numbers of 4,000 neighbouring places, and of their differences."""
    span = range(4000)
    if varied == "unit":
        bits = _core.random_bits(3, 4, 2, 5, 6, 7, 4000)
    else:
        at = {"step": 5, "layer": 6, "row": 7}
        made = [_core.random_bits(3, 4, 2, *(at | {varied: i}).values(), 1) for i in span]
        bits = np.concatenate(made)
    for numbers in (bits, bits[1:] - bits[:-1]):
        for place in range(4):
            counts = np.bincount(numbers >> 8 * place & 255, minlength=256)
            assert chances(counts) > FALSE_ALARM


# ---- Orders --------------------------------------------------------------------------------------


def order(n, epoch, stored=True, key=(11, 12)):
    return _core.epoch_order(n, *key, epoch, stored=stored)


@given(st.integers(0, 3000), keys, words)
@example(0, (0, 0), 0)
@example(1, (0, 0), 0)
@example(3000, (2**64 - 1, 2**64 - 1), 2**64 - 1)
def test_stored_orders_are_the_twin_s(n, key, epoch):
    found = order(n, epoch, key=key)
    assert found.dtype == np.int64
    assert np.array_equal(found, reference.epoch_order(n, key, epoch))


@given(st.integers(0, 600), keys, words)
def test_orders_by_the_network_are_the_twin_s(n, key, epoch):
    found = order(n, epoch, False, key)
    assert found.dtype == np.int64
    assert np.array_equal(found, reference.epoch_order(n, key, epoch, stored=False))


@pytest.mark.parametrize("n", [65_535, 65_536])
def test_the_longest_stored_orders(n):
    found = order(n, 3)
    assert np.array_equal(np.sort(found), np.arange(n))
    assert not np.array_equal(found, order(n, 3, False))
    assert np.array_equal(found, reference.epoch_order(n, (11, 12), 3))


@pytest.mark.parametrize("n", [65_537, 100_003, 131_072, 131_073, 262_144, 262_145, 1_000_000])
def test_orders_beyond_the_table(n, rng):
    found = order(n, 3)
    assert np.array_equal(np.sort(found), np.arange(n))
    for place in [*range(50), *rng.integers(0, n, 200), n - 1]:
        assert found[place] == reference.bijection_place(int(place), n, (11, 12), 3)


@pytest.mark.parametrize("stored", [True, False], ids=["shuffle", "network"])
def test_orders_are_permutations(stored):
    for n in range(600):
        assert np.array_equal(np.sort(order(n, n, stored)), np.arange(n)), n


@pytest.mark.parametrize("n", [1000, 100_000])
def test_epochs_and_keys_have_orders_of_their_own(n):
    """Two orders agree at one place on average, and at twelve with a chance below 1e-9."""
    kinds = [order(n, epoch) for epoch in range(20)]
    kinds += [order(n, 0, key=(11 + 2**i, 12)) for i in range(0, 64, 7)]
    kinds += [order(n, 0, key=(11, 12 + 2**i)) for i in range(0, 64, 7)]
    for one, other in itertools.combinations(kinds, 2):
        assert np.count_nonzero(one == other) < 12
    assert np.array_equal(order(n, 5), kinds[5])


def numbers_of(orders):
    """The number of each permutation among those of its length, in lexicographic order."""
    n = orders.shape[1]
    smaller = [np.sum(orders[:, i + 1 :] < orders[:, i : i + 1], axis=1) for i in range(n)]
    return sum(count * math.factorial(n - 1 - i) for i, count in enumerate(smaller))


EPOCHS = 60_000


@pytest.mark.parametrize("stored", [True, False], ids=["shuffle", "network"])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_permutations_are_equally_likely(n, stored):
    orders = np.array([order(n, epoch, stored) for epoch in range(EPOCHS)])
    counts = np.bincount(numbers_of(orders), minlength=math.factorial(n))
    assert chances(counts) > FALSE_ALARM


def test_the_test_of_the_law_finds_a_biased_shuffle(rng):
    """One that changes each place with any place, and a fair one that does nothing 5 % of times."""
    orders = np.tile(np.arange(4), (EPOCHS, 1))
    everyone = np.arange(EPOCHS)
    for i in range(4):
        place = rng.integers(0, 4, EPOCHS)
        chosen = orders[everyone, place].copy()
        orders[everyone, place], orders[:, i] = orders[:, i].copy(), chosen
    assert chances(np.bincount(numbers_of(orders), minlength=24)) < FALSE_ALARM
    fair = rng.permuted(np.tile(np.arange(4), (EPOCHS, 1)), axis=1)
    assert chances(np.bincount(numbers_of(fair), minlength=24)) > FALSE_ALARM
    fair[: EPOCHS // 20] = np.sort(fair[: EPOCHS // 20], axis=1)
    assert chances(np.bincount(numbers_of(fair), minlength=24)) < FALSE_ALARM


@pytest.mark.parametrize("n", [1000, 70_000, 100_000])
def test_long_orders_look_random(n):
    """Where rows come, how far they moved, how far the next one is: 100 bins of each are even."""
    size = n // 100
    counts = np.zeros((3, 100), int)
    for epoch in range(100):
        rows = order(n, epoch)[:600]
        moved, next_ = (rows - np.arange(600)) % n, (rows[1:] - rows[:-1]) % n
        for kind, values in enumerate((rows, moved, next_)):
            counts[kind] += np.bincount(values // size, minlength=100)
    for kind in counts:
        assert chances(kind) > FALSE_ALARM


@pytest.mark.parametrize("stored", [True, False], ids=["shuffle", "network"])
def test_pairs_of_places_are_even(stored):
    """Every ordered pair of rows comes equally often at two places side by side and far apart."""
    n = 12
    orders = np.array([order(n, epoch, stored) for epoch in range(30_000)])
    for one, other in ((0, 1), (3, 9), (10, 11)):
        pairs = np.bincount(orders[:, one] * n + orders[:, other], minlength=n * n)
        pairs = pairs.reshape(n, n)[~np.eye(n, dtype=bool)]
        assert chances(pairs) > FALSE_ALARM


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 2**64])
def test_what_no_word_holds_is_refused(bad):
    for call in (
        lambda: _core.philox(1, 2, 3, 4, 5, bad),
        lambda: _core.random_bits(bad, 2, 2, 3, 4, 5, 6),
        lambda: _core.epoch_order(3, 1, 2, bad),
    ):
        with pytest.raises(OverflowError):
            call()


def test_numpy_s_whole_numbers_are_words():
    top = np.uint64(2**64 - 1)
    assert _core.philox(top, top, top, top, top, top) == PUBLISHED[1][2]


def test_other_arguments_are_refused():
    for bad in (0, 3, -1):
        with pytest.raises(ValueError, match="purpose"):
            _core.random_bits(1, 2, bad, 3, 4, 5, 6)
    with pytest.raises(ValueError, match="layer"):
        _core.random_bits(1, 2, 2, 3, 2**56, 5, 6)
    with pytest.raises(ValueError, match="n "):
        _core.random_bits(1, 2, 2, 3, 4, 5, -1)
    with pytest.raises(ValueError, match="n is -1"):
        _core.epoch_order(-1, 1, 2, 3)
    with pytest.raises(TypeError):
        _core.philox(1.5, 2, 3, 4, 5, 6)
