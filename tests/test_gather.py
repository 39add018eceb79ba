"""Data as they come: gathered as NumPy converts them, and searched for what cannot be trained on.

NumPy's indexing, astype and isfinite say what is right, for every type, all strides and both reals.
"""

import signal
import time

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdcore as gd
from gdcore import _core

WHOLE = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", np.longlong, np.ulonglong]
TYPES = [np.dtype(kind) for kind in ["f4", "f8", *WHOLE]]
types = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: f"{kind.name}-{kind.char}")


def data(kind, shape, rng):
    """Any values of the type: its extremes, and what a conversion could get wrong."""
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        x = rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
        odd = np.array([limits.min, limits.max, 0, 1, limits.max - 1], kind)
    else:
        x = rng.normal(size=shape).astype(kind)
        odd = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e-40, 1e39, 1 + 2**-24])
        odd = converted(odd, kind)
    flat = x.reshape(-1)
    where = rng.integers(0, max(flat.size, 1), min(flat.size // 3, 40))
    flat[where] = np.resize(odd, where.size)
    return x


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every third column": lambda x: np.repeat(x, 3, axis=1)[:, 1::3],
    "part of wider rows": lambda x: np.concatenate([x, x], axis=1)[:, : x.shape[1]],
    "rows backwards": lambda x: x[::-1],
    "columns backwards": lambda x: x[:, ::-1],
    "Fortran backwards": lambda x: np.asfortranarray(x)[::-1, ::-1],
    "one row many times": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column many times": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "one number": lambda x: np.broadcast_to(x[0, 0], x.shape),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x.ravel(), x.shape[1])[: len(x)],
    "read-only": read_only,
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def converted(x, dtype):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(x.astype(dtype))


def gathered(x, rows, dtype):
    """What the core gathers; checked for its shape and type."""
    found = _core.gather(x, rows, dtype.itemsize)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    return found


# ---- Gathering -----------------------------------------------------------------------------------


@types
@layouts
def test_rows_are_gathered_as_numpy_converts_them(dtype, kind, layout, rng):
    for columns in (1, 2, 3, 8, 16, 19, 40):
        x = LAYOUTS[layout](data(kind, (37, columns), rng))
        assert x.shape == (37, columns)
        expected, rows = converted(x, dtype), rng.integers(0, 37, 50)
        assert gathered(x, rows, dtype).tobytes() == expected[rows].tobytes()
        for first in (None, 0, 5, 36, 37):
            assert gathered(x, first, dtype).tobytes() == expected[first:].tobytes()


@pytest.mark.parametrize("columns", [*range(1, 36), 63, 64, 65, 784])
def test_rows_of_any_width_are_copied(dtype, columns, rng):
    wider = data(dtype, (20, columns + 1), rng)
    rows = rng.permutation(20)
    for x in (wider[:, 1:], wider[:, 1:].copy()):
        assert gathered(x, rows, dtype).tobytes() == x[rows].tobytes()
        assert gathered(x, 3, dtype).tobytes() == x[3:].tobytes()


@types
def test_one_dimension_is_a_column(dtype, kind, rng):
    x = data(kind, (60,), rng)
    for given_ in (x, x[::-1], x[::3], np.broadcast_to(x[0], 40)):
        rows = rng.integers(0, len(given_), 30)
        expected = converted(given_, dtype)[:, None]
        assert gathered(given_, rows, dtype).tobytes() == expected[rows].tobytes()
        assert gathered(given_, None, dtype).tobytes() == expected.tobytes()
        assert gathered(given_, None, dtype).shape == expected.shape


@types
def test_memory_maps_are_read(dtype, kind, rng, tmp_path):
    x = data(kind, (40, 5), rng)
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", kind, "r", shape=x.shape)
    assert gathered(mapped, [3, 39], dtype).tobytes() == converted(x, dtype)[[3, 39]].tobytes()
    assert _core.find_bad_label(mapped[:0, 0], 3) is None


@given(
    hnp.arrays(st.sampled_from(TYPES), hnp.array_shapes(min_dims=2, max_dims=2, min_side=0)),
    st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 2),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.data(),
)
def test_gathering_any_view(base, steps, transposed, real, draw):
    x = (base.T if transposed else base)[:: steps[0], :: steps[1]]
    number = st.integers(0, max(len(x) - 1, 0))
    rows = np.array(draw.draw(st.lists(number, max_size=20 if len(x) else 0)), np.int64)
    found = gathered(x, rows, np.dtype(real))
    expected = converted(x[rows], real)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected, equal_nan=True)


def test_nothing_is_gathered_of_nothing(dtype):
    for shape in ((0, 3), (3, 0), (0, 0), (2**50, 0)):
        x = np.zeros(shape, dtype)
        assert gathered(x, None, dtype).shape == shape
    assert gathered(np.ones((4, 3)), np.zeros(0, int), dtype).shape == (0, 3)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([0, 4], IndexError),
        ([-1], IndexError),
        ([0, 1, -(2**62)], IndexError),
        (5, IndexError),
        (-1, OverflowError),
        (np.array([0.5]), TypeError),
        ([[0]], ValueError),
        ("0", ValueError),
    ],
)
def test_rows_that_do_not_exist_are_refused(rows, error):
    for call in (
        lambda: _core.gather(np.ones((4, 3)), rows, 8),
        lambda: _core.gather_labels(np.ones(4), rows),
    ):
        with pytest.raises(error):
            call()


# ---- What needs no gathering ---------------------------------------------------------------------

X = np.zeros((6, 4))
PLAIN = {
    "C": X,
    "one column": X[:, 0],
    "one column of two dimensions": X[:, 1:2],
    "some rows": X[::2],
    "wider rows": X[:, 1:3],
    "one row": X[::-1][:1],
    "one row of a transpose": np.zeros((1, 4)).T[::-1].T[:, ::-1][:, :1],
    "no rows": X[:0],
    "column of a transpose": X.T[:, :1],
}
NOT_PLAIN = {
    "Fortran": X.T,
    "rows backwards": X[::-1],
    "column backwards": X[::-1, 0],
    "columns backwards": X[:, ::-1],
    "every other column": X[:, ::2],
    "broadcast": np.broadcast_to(X[:1], (6, 4)),
    "broadcast number": np.broadcast_to(X[0, 0], 6),
    "windows": np.lib.stride_tricks.sliding_window_view(X.ravel(), 4),
    "whole numbers": X.astype(int),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain(name):
    assert _core.is_plain(PLAIN[name], 8)
    assert _core.is_plain(PLAIN[name].astype(np.float32), 4)
    assert not _core.is_plain(PLAIN[name], 4)


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain(name):
    assert not _core.is_plain(NOT_PLAIN[name], 8)


# ---- Labels --------------------------------------------------------------------------------------


@types
def test_labels_are_gathered(kind, rng):
    labels = rng.integers(0, 2 if kind.kind == "b" else 100, 50).astype(kind)
    rows = rng.integers(0, 16, 40)
    for y in (labels, labels[::-1], labels[::3], labels[:, None], np.broadcast_to(labels[3], 20)):
        found = _core.gather_labels(y, rows)
        assert found.dtype == np.int64
        assert np.array_equal(found, y.astype(np.int64).ravel()[rows])
        assert np.array_equal(_core.gather_labels(y, 4), y.astype(np.int64).ravel()[4:])


def test_what_is_no_label_is_read_without_harm():
    """It was found before; but the caller may have written since."""
    for y in ([np.nan, np.inf, -np.inf, 1e300, -1e300, 2.0**63, -(2.0**63)],):
        for kind in (np.float32, np.float64):
            with np.errstate(all="ignore"):
                found = _core.gather_labels(np.array(y).astype(kind), None)
            assert (found == -1).all()
    assert _core.gather_labels(np.array([2.9, -0.5, -7.0]), None).tolist() == [2, 0, -7]
    large = np.array([2**63, 2**64 - 1, 2**63 - 1], np.uint64)
    assert _core.gather_labels(large, None).tolist() == [-1, -1, 2**63 - 1]


@types
@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_the_first_bad_label_is_found(kind, place):
    classes = 2 if kind.kind == "b" else 100
    y = (np.arange(1000) % classes).astype(kind)
    assert _core.find_bad_label(y, classes) is None
    bad = {
        "b": [],
        "u": [100, 127],
        "i": [100, -1, -128],
        "f": [100, -1, 0.5, 99.5, np.nan, -np.inf],
    }
    for value in bad[kind.kind]:
        z = y.copy()
        z[place] = z[-1] = value
        assert _core.find_bad_label(z, classes) == place
        assert _core.find_bad_label(z[:, None], classes) == place
        assert _core.find_bad_label(np.repeat(z, 3)[1::3], classes) == place
        assert _core.find_bad_label(z[::-1], classes) == 0
        assert _core.find_bad_label(z[:place], classes) is None
    assert _core.find_bad_label(y, 1) == 1
    assert _core.find_bad_label(y, 0) == 0
    assert _core.find_bad_label(y[:0], 0) is None


@pytest.mark.parametrize(
    "y",
    [
        np.array([2**63], np.uint64),
        np.array([2**64 - 1], np.uint64),
        np.array([-(2**63)]),
        np.array([1e300]),
        np.array([2.0**63]),
        np.array([np.inf]),
        np.array([np.inf], np.float32),
        np.array([5e-324]),
    ],
)
def test_extreme_labels_are_bad(y):
    for classes in (1, 3, 2**31, 2**62, 2**63 - 1):
        assert _core.find_bad_label(y, classes) == 0


def test_zero_is_a_label_whatever_its_sign():
    assert _core.find_bad_label(np.array([0.0, -0.0]), 1) is None


def test_labels_are_one_column():
    with pytest.raises(ValueError, match="y has 3 columns"):
        _core.find_bad_label(np.ones((4, 3)), 3)
    with pytest.raises(ValueError, match="y has 0 columns"):
        _core.gather_labels(np.ones((4, 0)), None)
    with pytest.raises(ValueError, match="classes is -1"):
        _core.find_bad_label(np.ones(4), -1)


# ---- NaN and infinity ----------------------------------------------------------------------------


def first_nonfinite(x):
    found = np.argwhere(~np.isfinite(x if x.ndim == 2 else x[:, None]))
    return tuple(found[0].tolist()) if len(found) else None


@layouts
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -np.nan])
def test_the_first_nonfinite_is_found(dtype, layout, bad, rng):
    limits = np.finfo(dtype)
    for columns in (1, 2, 7, 40):
        x = rng.normal(size=(23, columns)).astype(dtype)
        x.flat[:3] = limits.max, -limits.max, limits.smallest_subnormal
        assert _core.find_nonfinite(LAYOUTS[layout](x)) is None
        for _ in range(10):
            z = x.copy()
            z.flat[rng.integers(0, x.size, 2)] = bad
            view = LAYOUTS[layout](z)
            assert _core.find_nonfinite(view) == first_nonfinite(view)
        z = x.copy()
        z[-1, -1] = bad
        view = LAYOUTS[layout](z)
        assert _core.find_nonfinite(view) == first_nonfinite(view)


@given(
    hnp.arrays(
        st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
        hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9),
    )
)
def test_any_bits_are_finite_or_not(x):
    assert _core.find_nonfinite(x) == first_nonfinite(x)
    assert _core.find_nonfinite(x.T) == first_nonfinite(x.T)


@pytest.fixture(params=[1, 2, 8])
def threads(request):
    before = gd.get_num_threads()
    gd.set_num_threads(request.param)
    yield request.param
    gd.set_num_threads(before)


SHAPES = [(700_000, 1), (300_001, 3), (1000, 999), (3, 400_000), (1, 900_000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_first_of_many_is_found_by_any_number_of_threads(threads, dtype, shape, rng):
    x = np.zeros(shape, dtype)
    for view in (x, np.asfortranarray(x), x[::-1], np.repeat(x, 2, axis=1)[:, ::2]):
        assert _core.find_nonfinite(view) is None
        for places in ([x.size - 1], [0], *rng.integers(0, x.size, (8, 3)).tolist()):
            where = [divmod(place, shape[1]) for place in places]
            for row, column in where:
                view[row, column] = np.nan
            assert _core.find_nonfinite(view) == min(where)
            for row, column in where:
                view[row, column] = 0


def test_the_first_bad_label_of_many_is_found_by_any_number_of_threads(threads, rng):
    y = np.zeros(2_000_000, np.int32)
    for places in ([y.size - 1], [0], *rng.integers(0, y.size, (20, 3)).tolist()):
        y[places] = 5
        assert _core.find_bad_label(y, 5) == min(places)
        y[places] = 0


def test_no_search_runs_where_there_is_one_row_or_none():
    huge = (2**50, 3)
    assert _core.find_nonfinite(np.broadcast_to(1.0, huge)) is None
    assert _core.find_nonfinite(np.broadcast_to([1.0, np.nan, 1.0], huge)) == (0, 1)
    assert _core.find_nonfinite(np.broadcast_to([[1.0], [np.inf]], (2, 2**50))) == (1, 0)
    assert _core.find_nonfinite(np.zeros((2**50, 0))) is None
    assert _core.find_nonfinite(np.broadcast_to(1, huge)) is None
    assert _core.find_bad_label(np.broadcast_to(3.0, 2**50), 4) is None
    assert _core.find_bad_label(np.broadcast_to(3.0, 2**50), 3) == 0


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_are_finite(kind):
    assert _core.find_nonfinite(np.full((9, 2), -1).astype(kind)) is None


def test_more_than_a_piece_is_searched():
    """Signals are looked at between pieces of 16 MB."""
    x = np.zeros((5_000_000, 1))
    for row in (0, 2**21 - 1, 2**21, 2**21 + 1, 4_999_999):
        x[row] = np.nan
        assert _core.find_nonfinite(x) == (row, 0)
        assert _core.find_bad_label(x, 1) == row
        x[row] = 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer on this system")
def test_a_search_can_be_interrupted():
    """Rows of 2^20 that begin at each of 2^20 numbers: to read them all would take minutes."""
    x = np.lib.stride_tricks.as_strided(np.zeros(2**21), (2**20, 2**20), (8, 8))

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            _core.find_nonfinite(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 5


# ---- What is refused -----------------------------------------------------------------------------


def misaligned(x):
    memory = np.zeros(x.nbytes + 1, np.uint8)
    return memory[1:].view(x.dtype).reshape(x.shape)


REFUSED = {
    "float16": (np.zeros((4, 1), np.float16), TypeError, r"float16.*\.astype\("),
    "longdouble": (np.zeros(4, np.longdouble), TypeError, r"(longdouble|float128|float96).*astype"),
    "complex": (np.zeros(4, complex), TypeError, r"complex128.*\.astype\("),
    "object": (np.zeros(4, object), TypeError, r"object.*\.astype\("),
    "text": (np.full(4, "1"), TypeError, r"<U1.*\.astype\("),
    "bytes": (np.full(4, b"1"), TypeError, r"S1.*\.astype\("),
    "dates": (np.zeros(4, "M8[s]"), TypeError, r"datetime64.*\.astype\("),
    "differences of dates": (np.zeros(4, "m8[s]"), TypeError, r"timedelta64.*\.astype\("),
    "structured": (np.zeros(4, "f4,f4"), TypeError, r"f4.*\.astype\("),
    "swapped": (np.zeros((4, 1), ">f8"), ValueError, r"byte order \(>f8\).*newbyteorder\('='\)"),
    "swapped whole": (np.zeros(4, ">i4"), ValueError, r"byte order \(>i4\).*newbyteorder\('='\)"),
    "misaligned": (misaligned(np.zeros(4)), ValueError, r"not aligned.*\.copy\(\)"),
    "odd strides": (np.zeros(4, "f8,i1")["f0"], ValueError, r"not aligned.*\.copy\(\)"),
    "masked": (np.ma.zeros(4), TypeError, r"masked array.*\.filled\(0\)"),
    "a number": (np.zeros(()), ValueError, r"shape \(\).*reshape"),
    "three dimensions": (np.zeros((4, 1, 2)), ValueError, r"shape \(4, 1, 2\).*reshape"),
    "a list": ([1.0, 2.0], TypeError, r"is list; a NumPy array.*np\.asarray"),
    "nothing": (None, TypeError, "is NoneType; a NumPy array"),
    "a Python number": (1.0, TypeError, "is float; a NumPy array"),
    "a NumPy number": (np.float64(1), TypeError, r"is numpy\.float64; a NumPy array"),
}
READERS = [
    ("x", _core.find_nonfinite),
    ("y", lambda y: _core.find_bad_label(y, 3)),
    ("x", lambda x: _core.gather(x, None, 8)),
    ("y", lambda y: _core.gather_labels(y, [0])),
    ("x", lambda x: _core.is_plain(x, 8)),
]


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize(("name", "read"), READERS)
def test_what_is_no_data_is_refused_by_name(kind, name, read):
    value, error, message = REFUSED[kind]
    with pytest.raises(error, match=f"^{name} (has|is) .*{message}|^{name} {message}") as raised:
        read(value)
    assert raised.type is error


def test_subclasses_are_data():
    x = np.arange(6.0).reshape(3, 2)
    assert _core.find_nonfinite(x.view(np.matrix)) is None
    assert np.array_equal(_core.gather(x.view(np.recarray), [1], 4), x[[1]])


@pytest.mark.parametrize("size", [0, 2, 16, -4])
def test_reals_have_four_or_eight_bytes(size):
    for call in (_core.is_plain, lambda x, size: _core.gather(x, None, size)):
        with pytest.raises(ValueError, match=f"real_size is {size}; 4 and 8"):
            call(np.ones(3), size)
