"""Counter-based random numbers and the order of an epoch, in plain Python and NumPy.

The twin of `csrc/random.c`. A number is a function of its place alone; whole numbers of Python are
cut to 64 bits where C's wrap by themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORDER_TABLE", "bijection_place", "epoch_order", "philox", "random_bits"]

FOR_ORDER, FOR_DROPOUT = 1, 2  # purposes
ORDER_TABLE = 65_536  # rows up to which an order is a stored shuffle
ORDER_ROUNDS = 6  # of the network beyond that

Key = tuple[int, int]
Counter = tuple[int, int, int, int]

_MULTIPLIER = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_WORD = 2**64 - 1


def philox(key: Key, counter: Counter) -> Counter:
    """Return a block of Philox4x64-10: the counter after ten rounds.

    A round multiplies words 0 and 2 by constants; the high halves, with words 1 and 3 and the key,
    become words 2 and 0, the low halves words 3 and 1. The key grows by constants.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).

    Examples
    --------
    >>> from gdcore.reference import random as reference
    >>> numpys = np.random.Philox(key=[3, 4], counter=[0, 0, 0, 0])  # counts up before a block
    >>> list(reference.philox((3, 4), (1, 0, 0, 0))) == numpys.random_raw(4).tolist()
    True
    """
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        first, second = _MULTIPLIER[0] * a, _MULTIPLIER[1] * c
        a, b = second >> 64 ^ b ^ k0, second & _WORD
        c, d = first >> 64 ^ d ^ k1, first & _WORD
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return a, b, c, d


def random_bits(
    key: Key, purpose: int, step: int, layer: int, row: int, n: int
) -> NDArray[np.uint32]:
    """Return 32 bits for each of n units of a row.

    Blocks ``{unit / 8, row, step, purpose + 256 layer}``, their words cut into low and high halves.

    Examples
    --------
    >>> from gdcore.reference import random as reference
    >>> bits = reference.random_bits((3, 4), reference.FOR_DROPOUT, step=7, layer=1, row=0, n=10)
    >>> bits.dtype, bits.shape
    (dtype('uint32'), (10,))
    """
    blocks = [philox(key, (i, row, step, purpose | layer << 8)) for i in range(-(-n // 8))]
    halves = [half for block in blocks for word in block for half in (word & 2**32 - 1, word >> 32)]
    return np.array(halves[:n], np.uint32)


def _shuffled(n: int, key: Key, epoch: int) -> list[int]:
    """Fisher-Yates from the front; bounded numbers by Lemire's method, which refuses some bits."""
    bits = iter(random_bits(key, FOR_ORDER, epoch, 0, 0, n + 64).tolist())
    order = list(range(n))
    for i in range(1, n):
        product = next(bits) * (i + 1)
        while product % 2**32 < 2**32 % (i + 1):
            product = next(bits) * (i + 1)
        place = product >> 32
        order[i], order[place] = order[place], order[i]
    return order


def bijection_place(place: int, n: int, key: Key, epoch: int) -> int:
    """Return the row at a place of an order that is not stored: six rounds of a Feistel network.

    The halves of a place are ``left < ceil(n / 2^b)`` and `b` bits of `right`. Rounds add to left,
    and combine with right, what a hash makes of the other half and the round's key; a place outside
    is walked on from.

    References
    ----------
    Black and Rogaway, "Ciphers with arbitrary finite domains" (2002).

    Examples
    --------
    >>> from gdcore.reference import random as reference
    >>> sorted(reference.bijection_place(i, 5, (3, 4), epoch=0) for i in range(5))
    [0, 1, 2, 3, 4]
    """
    bits = max(4, (n - 1).bit_length() // 2)
    lefts = max(16, -(-n // 2**bits))
    keys = [w for i in range(2) for w in philox(key, (i, 0, epoch, FOR_ORDER))][:ORDER_ROUNDS]

    def mix(half: int, round_key: int) -> int:
        x = (half ^ round_key) * _MULTIPLIER[0] & _WORD
        return (x ^ x >> 32) * _MULTIPLIER[1] & _WORD

    while True:
        left, right = place >> bits, place % 2**bits
        for first, second in zip(keys[::2], keys[1::2], strict=True):
            left = (left + ((mix(right, first) >> 32) * lefts >> 32)) % lefts
            right ^= mix(left, second) >> (64 - bits)
        place = left << bits | right
        if place < n:
            return place


def epoch_order(n: int, key: Key, epoch: int, stored: bool = True) -> NDArray[np.int64]:
    """Return the order of an epoch, a permutation of n rows.

    A stored shuffle for up to `ORDER_TABLE` rows; beyond that, or where `stored` is False, the rows
    that `bijection_place` gives.

    Examples
    --------
    >>> from gdcore.reference import random as reference
    >>> np.sort(reference.epoch_order(5, (3, 4), epoch=0)).tolist()
    [0, 1, 2, 3, 4]
    """
    if stored and n <= ORDER_TABLE:
        return np.array(_shuffled(n, key, epoch), np.int64)
    return np.array([bijection_place(i, n, key, epoch) for i in range(n)], np.int64)
