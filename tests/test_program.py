"""Programs of the core against their NumPy twin: random ones, and what building does to them."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tapes import OPS, Tape, random_tape

import gdcore as gd
from gdcore import _core
from gdcore.reference import program as twin

MAPS_WITH_NUMPYS_BITS = {
    "negative",
    "absolute",
    "square",
    "sqrt",
    "floor",
    "sign",
    "add",
    "subtract",
}
MAPS_WITH_NUMPYS_BITS |= {"multiply", "maximum", "minimum", "less"}
MOVES = {"input", "constant", "transpose", "reshape", "slice", "embed", "expand", "concatenate"}
MOVES |= {"gather", "indices", "max", "min", "cast"}


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def has_numpys_bits(tape, outputs):
    """Whether only instructions that are bit-equal with NumPy are used; `scatter` sums in order."""
    return all(name in MAPS_WITH_NUMPYS_BITS | MOVES for name, _, _ in tape.info)


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_a_random_program_gives_what_the_twin_gives(r, length):
    tape, outputs = random_tape(r, length)
    program = _core.Program(tape.instructions, outputs)
    found = program.run(tape.arrays)
    expected = twin.run(tape.instructions, tape.arrays, outputs)
    narrow = any(real == 4 for _, real, _ in tape.info)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if has_numpys_bits(tape, outputs):
            np.testing.assert_array_equal(a, b)
            continue
        finite = np.abs(b[np.isfinite(b)])
        tolerance = 5e-4 if narrow else 1e-10
        scale = max(1.0, finite.max(initial=0))
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_what_is_built_with_an_output_does_not_change_it(r, length):
    """Fusion, dropped and shared instructions, the arena: one output alone has the same bits."""
    tape, outputs = random_tape(r, length)
    together = _core.Program(tape.instructions, outputs).run(tape.arrays)
    for number, array in zip(outputs, together, strict=True):
        (alone,) = _core.Program(tape.instructions, [number]).run(tape.arrays)
        np.testing.assert_array_equal(alone, array)


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_runs_and_threads_change_no_bit(r, length):
    tape, outputs = random_tape(r, length)
    before, results = gd.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            gd.set_num_threads(threads)
            program = _core.Program(tape.instructions, outputs)
            results += [program.run(tape.arrays), program.run(tape.arrays)]
    finally:
        gd.set_num_threads(before)
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


# ---- Accuracy and the rule of sums ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 511, 513, 4096, 4097, 100_003])
def test_a_sum_is_that_of_the_core_however_it_is_reached(dtype, n):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    real = x.itemsize
    tape = Tape()
    i = tape.input(x)
    of_input = tape.emit("sum", real, (), (i,), (0,))
    doubled = tape.emit("negative", real, (n,), (tape.emit("negative", real, (n,), (i,)),))
    in_chain = tape.emit("sum", real, (), (doubled,), (0,))
    column = tape.emit("expand", real, (n, 5), (tape.emit("reshape", real, (n, 1), (i,)),))
    copied = tape.emit("negative", real, (n, 5), (tape.emit("negative", real, (n, 5), (column,)),))
    by_columns = tape.emit("sum", real, (5,), (copied,), (0,))
    found = _core.Program(tape.instructions, [of_input, in_chain, by_columns]).run([x])
    expected = np.asarray(_core.sum(x), dtype)
    assert found[0] == expected
    assert found[1] == expected
    assert (found[2] == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "k", "m"), [(3, 5, 2), (1, 7, 1), (40, 4097, 3), (9, 9000, 20)])
def test_products_are_within_the_bound_of_the_design(dtype, n, k, m):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, k)).astype(dtype), rng.normal(size=(k, m)).astype(dtype)
    tape = Tape()
    product = tape.emit("matmul", a.itemsize, (n, m), (tape.input(a), tape.input(b)))
    (found,) = _core.Program(tape.instructions, [product]).run([a, b])
    wide = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = 2 * k * np.finfo(dtype).eps * (np.abs(a).astype(float) @ np.abs(b).astype(float))
    assert (np.abs(found - wide) <= bound).all()


# ---- What building does --------------------------------------------------------------------------


def names(program):
    return [row[1] for row in program.listing()]


def test_what_no_output_needs_is_dropped_and_equals_are_shared():
    tape = Tape()
    x = tape.input(np.ones(3))
    twice = [tape.emit("exp", 8, (3,), (x,)) for _ in range(2)]
    tape.emit("sin", 8, (3,), (x,))
    total = tape.emit("add", 8, (3,), twice)
    program = _core.Program(tape.instructions, [total])
    assert names(program) == ["input", "exp", "add"]


def test_numbers_are_folded_and_factors_of_one_go():
    tape = Tape()
    x = tape.input(np.arange(3.0))
    one = tape.emit("expand", 8, (3,), (tape.constant(1.0, 8),))
    half = tape.emit("divide", 8, (), (tape.constant(1.0, 8), tape.constant(2.0, 8)))
    y = tape.emit("multiply", 8, (3,), (tape.emit("expand", 8, (3,), (half,)), x))
    z = tape.emit("multiply", 8, (3,), (one, y))
    program = _core.Program(tape.instructions, [z])
    assert names(program).count("multiply") == 1
    assert "divide" not in names(program)
    np.testing.assert_array_equal(program.run([np.arange(3.0)])[0], np.arange(3.0) / 2)


def test_a_chain_takes_no_memory_for_what_stays_in_it():
    n = 100_000
    tape = Tape()
    value = tape.input(np.zeros(n))
    for _ in range(20):
        value = tape.emit("sin", 8, (n,), (value,))
    total = tape.emit("sum", 8, (), (value,), (0,))
    size, steps = _core.Program(tape.instructions, [total]).room()
    assert steps == 1
    assert size < n


def test_memory_is_reused_where_a_value_is_no_longer_needed():
    n = 300
    tape = Tape()
    value = tape.input(np.eye(n))
    for _ in range(20):
        value = tape.emit("matmul", 8, (n, n), (value, value))
    total = tape.emit("sum", 8, (), (value,), (0, 1))
    size, _ = _core.Program(tape.instructions, [total]).room()
    assert size < 5 * n * n * 8


def test_views_take_no_copy():
    tape = Tape()
    x = tape.input(np.arange(12.0).reshape(3, 4))
    turned = tape.emit("transpose", 8, (4, 3), (x,), (1, 0))
    part = tape.emit("slice", 8, (2, 3), (turned,), (1, 0, 2, 1))
    y = tape.emit("negative", 8, (2, 3), (part,))
    program = _core.Program(tape.instructions, [y])
    assert names(program) == ["input", "transpose", "slice", "negative"]
    np.testing.assert_array_equal(
        program.run([np.arange(12.0).reshape(3, 4)])[0], -np.arange(12.0).reshape(3, 4).T[1::2]
    )


def test_rows_within_a_window_are_read_in_place_and_never_written():
    """The slot of a padded view points into its input for a while; the next chain writes there."""
    n = 2000
    x = np.arange(1.0, n + 1)
    tape = Tape()
    i = tape.input(x)
    padded = tape.emit("embed", 8, (n + 1,), (i,), (1, 1))
    value = tape.emit("negative", 8, (n + 1,), (padded,))
    joined = tape.emit("concatenate", 8, (2 * n + 2,), (value, value), (0,))
    turned = tape.emit("negative", 8, (2 * n + 2,), (joined,))
    spread = tape.emit("sqrt", 8, (2 * n + 2,), (turned,))
    program = _core.Program(tape.instructions, [value, spread])
    first = program.run([x])
    second = program.run([x])
    np.testing.assert_array_equal(x, np.arange(1.0, n + 1))
    np.testing.assert_array_equal(first[0], -np.pad(x, (1, 0)))
    expected = twin.run(tape.instructions, [x], [value, spread])
    for a, b, c in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-13)


# ---- Arguments -----------------------------------------------------------------------------------


def add_of_two(shape_b=(3,), real_b=8):
    tape = Tape()
    a, b = (
        tape.input(np.ones(3)),
        tape.emit("input", real_b, shape_b, (), (1, *([1] * len(shape_b)))),
    )
    tape.emit("add", 8, (3,), (a, b))
    return tape.instructions


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (add_of_two((4,)), "other shapes"),
        (add_of_two(real_b=4), "other shapes or types"),
        ([(999, 8, (), (), ())], "no such instruction"),
        ([(OPS["negative"], 8, (), (0,), ())], "behind the instruction"),
        ([(OPS["constant"], 8, (), (), ())], "one number"),
        ([(OPS["constant"], 2, (), (), (1.0,))], "4 or 8 bytes"),
        ([(OPS["input"], 8, (2**40, 2**40), (), (0, 1, 1))], "too many elements"),
        ([(OPS["input"], 8, (1,) * 9, (), (0, *(1,) * 9))], "at most 8 axes"),
        ([(OPS["input"], 8, (2,), (), (0, 1)), (OPS["slice"], 8, (2,), (0,), (1, 1))], "leaves"),
        ([(OPS["input"], 8, (2,), (), (0, 1)), (OPS["reshape"], 8, (3,), (0,), ())], "leaves"),
        ([(OPS["input"], 8, (2,), (), (0, 1)), (OPS["sum"], 8, (), (0,), (1,))], "axes|axis"),
        ([(OPS["input"], 8, (2,), (), (0, 1)), (OPS["gather"], 8, (2,), (0, 0), (0,))], "indices"),
        (
            [(OPS["input"], 8, (2,), (), (0, 1)), (OPS["integer_power"], 8, (2,), (0,), (65,))],
            "power",
        ),
        ([(OPS["input"], 8, (0,), (), (0, 1)), (OPS["max"], 8, (), (0,), (0,))], "nothing"),
    ],
)
def test_an_unsound_instruction_is_refused(instructions, message):
    with pytest.raises(ValueError, match=message):
        _core.Program(instructions, [len(instructions) - 1])


@pytest.mark.parametrize("junk", [None, 1, [1], [(1, 2)], [(0, 8, [3], (), ())], [("add",) * 5]])
def test_what_is_no_list_of_instructions_is_refused(junk):
    with pytest.raises((TypeError, ValueError)):
        _core.Program(junk, [0])


def test_other_arrays_than_declared_are_refused():
    tape = Tape()
    y = tape.emit("negative", 8, (3,), (tape.input(np.ones(3)),))
    program = _core.Program(tape.instructions, [y])
    with pytest.raises(ValueError, match=r"float64 of shape \(4,\)"):
        program.run([np.ones(4)])
    with pytest.raises(ValueError, match="reads 1 arrays, not 0"):
        program.run([])
    with pytest.raises(TypeError, match="array is wanted"):
        program.run([3.0])
    with pytest.raises(ValueError, match="strides"):
        program.run([np.ones(6)[::2]])
    np.testing.assert_array_equal(program.run([np.arange(3)])[0], -np.arange(3.0))
    swapped = np.arange(3.0).astype(">f8")
    np.testing.assert_array_equal(program.run([swapped])[0], -np.arange(3.0))


@pytest.mark.parametrize("place", [-1, 3, 2**40])
def test_indices_outside_are_an_index_error(place):
    tape = Tape()
    x = tape.input(np.arange(3.0))
    y = tape.emit("gather", 8, (1,), (x, tape.indices([0])), (0,))
    z = tape.emit("scatter", 8, (3,), (y, tape.indices([0])), (0,))
    for output, places in ((y, (place, 0)), (z, (0, place))):
        program = _core.Program(tape.instructions, [output])
        with pytest.raises(IndexError, match="outside"):
            program.run([np.arange(3.0), *(np.array([p]) for p in places)])


# ---- Memory and threads --------------------------------------------------------------------------


def test_ten_thousand_builds_leave_nothing():
    tape, outputs = random_tape(__import__("random").Random(3), 20)

    def build():
        for _ in range(500):
            _core.Program(tape.instructions, outputs).run(tape.arrays[: len(tape.arrays)])

    build()
    gc.collect()
    tracemalloc.start()
    build()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(18):
        build()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 100_000  # of 9,000 builds; other threads take some


def test_two_threads_may_run_one_program():
    n = 50_000
    tape = Tape()
    value = tape.input(np.zeros(n))
    for _ in range(10):
        value = tape.emit("sin", 8, (n,), (value,))
    program = _core.Program(tape.instructions, [tape.emit("sum", 8, (), (value,), (0,))])
    points = [np.random.default_rng(i).normal(size=n) for i in range(4)]
    expected = [program.run([x])[0] for x in points]
    wrong = []

    def work(i):
        for _ in range(30):
            if program.run([points[i]])[0] != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
