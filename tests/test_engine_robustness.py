"""Junk in the private entries of the engine is refused, and code of the user's that runs meanwhile
does no harm. Most of these end the process where they fail; `make asan` sees the rest."""

import gc
import math
import threading

import numpy as np
import pytest
from entries_engine import made
from tapes import OPS, Tape

import gdcore as gd
from gdcore import _core

F64 = np.dtype(np.float64)
JUNK = (TypeError, ValueError, RecursionError)


def squares(n, outputs=1):
    """Return a program of the squares of n reals, given that often."""
    tape = Tape()
    x = tape.input(np.ones(n))
    found = [tape.emit(op, 8, (n,), (x,)) for op in ("square", "exp")[:outputs]]
    return _core.Program(tape.instructions, found)


def array(n, slot=0):
    return (0, slot, F64, (n,), (8,))


def args_of(*pieces, kind=tuple):
    return (3, 0, kind, pieces)


# ---- Calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", [2**20, 2**40, 2**63, 2**64 - 2, -1, None])
def test_captured_slots_are_few(slot):
    with pytest.raises((*JUNK, OverflowError)):
        _core.Call(squares(3), args_of(array(3)), ((slot, np.ones(3)),), (), (0, 0, F64))


def test_slots_of_programs_are_few():
    with pytest.raises(ValueError, match="a slot"):
        _core.Program([(OPS["input"], 8, (), (), (2**20,))], [0])


def test_results_are_the_outputs_each_once():
    program, args = squares(3000, 2), args_of(array(3000))
    both = (3, 0, tuple, ((0, 0, F64), (0, 1, F64)))
    assert len(_core.Call(program, args, (), (), both).call((np.ones(3000),))) == 2
    twice = (3, 0, tuple, ((0, 0, F64), (0, 0, F64)))
    number = (3, 0, tuple, ((1, 0, F64), (0, 1, F64)))
    for results in ((0, 0, F64), twice, number, (2, 0, None)):
        with pytest.raises(ValueError, match="the outputs of its program"):
            _core.Call(program, args, (), (), results)


@pytest.mark.parametrize("dtype", ["O", "c16", "S9", "V64", "M8[s]", "g", "e", "U9"])
def test_numbers_are_of_a_real_dtype(dtype):
    tape = Tape()
    total = tape.emit("sum", 8, (), (tape.input(np.ones(3)),), (0,))
    program = _core.Program(tape.instructions, [total])
    with pytest.raises(TypeError, match="a piece"):
        _core.Call(program, args_of(array(3)), (), (), (1, 0, np.dtype(dtype)))


def test_a_number_is_no_array():
    call = _core.Call(squares(3000), args_of((1, 0, float)), (), (), (0, 0, F64))
    with pytest.raises(TypeError, match="an array is wanted"):
        call.call((1.0,))


def test_deep_and_wide_descriptions_are_refused():
    deep, wide = (2, 0, None), (2, 0, None)
    for _ in range(20_000):
        deep = args_of(deep)
    for _ in range(60):
        wide = args_of(wide, wide)
    for pieces in (deep, wide):
        with pytest.raises(ValueError, match="too many"):
            _core.Call(squares(3), pieces, (), (), (0, 0, F64))
        with pytest.raises(ValueError, match="too many"):
            _core.Call(squares(3), args_of(array(3)), (), (), pieces)
    while deep:  # or the interpreter's own way of freeing them overflows the stack
        deep = deep[3][0] if len(deep) == 4 else None


class Equal:
    """Equal to everything, after an act."""

    def __init__(self, act=None):
        self.act = act

    def __eq__(self, other):
        act = self.act or other.act
        if act is not None:
            act()
            gc.collect()
        return True

    __hash__ = None


def test_a_comparison_may_shrink_the_list():
    more = [(2, 0, None)] * 100
    pieces = args_of(args_of((2, 0, Equal()), array(3), *more, kind=list))
    call = _core.Call(squares(3), pieces, (), (), (0, 0, F64))
    args = [Equal(), np.ones(3), *[None] * 100]
    args[0].act = lambda: args.__delitem__(slice(1, None))
    assert call.call((args,)) is NotImplemented


def test_a_comparison_may_drop_arrays():
    pieces = args_of(args_of(array(3000), (2, 0, Equal()), kind=list))
    call = _core.Call(squares(3000), pieces, (), (), (0, 0, F64))
    for run in (call.call, call.fits):
        args = [np.full(3000, 2.0), Equal()]
        args[1].act = args.clear
        found = run((args,))
        assert found is True or (found == 4.0).all()


def test_a_comparison_may_drop_itself():
    pieces = args_of((4, 0, ("a", "b"), ((2, 0, Equal()), array(3))))
    call = _core.Call(squares(3), pieces, (), (), (0, 0, F64))
    args = {"a": Equal(), "b": np.ones(3)}
    args["a"].act = args.clear
    assert call.call((args,)) is NotImplemented


# ---- Programs ------------------------------------------------------------------------------------


def test_an_index_may_clear_the_tape():
    class Index:
        def __index__(self):
            tape.clear()
            gc.collect()
            return 0

    tape = [(Index(), 8, (3,), (), (0, 1)) for _ in range(2)]
    with pytest.raises(ValueError, match="the list changed"):
        _core.Program(tape, [0])


def test_steps_over_one_element_may_be_huge():
    x = np.arange(50.0)
    tape = Tape()
    at = tape.input(x)
    row = tape.emit("slice", 8, (1,), (at,), (7, 1))
    for _ in range(4):
        row = tape.emit("slice", 8, (1,), (row,), (0, 2.0**51))
    wide = tape.emit("reshape", 8, (1, 50), (at,))
    placed = tape.emit("embed", 8, (4, 50), (wide,), (1, 0, 2.0**52, 1))
    square = tape.emit("square", 8, (1,), (row,))
    (found, rows) = _core.Program(tape.instructions, [square, placed]).run([x])
    assert found == 49
    np.testing.assert_array_equal(rows, np.eye(4)[:, 1:2] * x)


@pytest.mark.parametrize("shape", [(2**12, 2**12), (2**40, 2, 2)])
def test_strides_that_overflow_are_refused(shape):
    leaf = (OPS["input"], 8, shape, (), (0, *[2.0**52] * len(shape)))
    with pytest.raises(ValueError, match="a stride"):
        _core.Program([leaf], [0])


def test_shapes_of_nothing_that_overflow_are_refused():
    with pytest.raises(ValueError, match="too many elements"):
        _core.Program([(OPS["input"], 8, (0, 2**40, 2**40), (), (0, 0, 0, 1))], [0])


def test_strides_of_one_element_and_of_nothing_do_not_count():
    one, none = np.ones(9)[:: 2**58], np.zeros((0, 3))[:, ::-1]
    tape = Tape()
    found = [tape.emit("square", 8, x.shape, (tape.input(x),)) for x in (one, none)]
    ones, nothing = _core.Program(tape.instructions, found).run([one, none])
    assert ones == 1
    assert nothing.shape == (0, 3)


def test_gathering_nothing_takes_no_time():
    x = np.lib.stride_tricks.as_strided(np.zeros(1), (2**40, 3, 0), (0, 0, 8))
    tape = Tape()
    places = tape.indices([0])
    picked = tape.emit("gather", 8, (2**40, 1, 0), (tape.input(x), places), (1,))
    (found,) = _core.Program(tape.instructions, [picked]).run(tape.arrays)
    assert found.shape == (2**40, 1, 0)


def test_indices_may_change_meanwhile():
    """They are looked at in a copy: a thread that writes to the array cannot lead them astray."""
    n = 20_000
    index = np.zeros(n, np.int64)
    row = next(i for i, x in enumerate(_core.LOSSES) if x["name"].startswith("sparse_"))
    tape = Tape()
    x, places = tape.input(np.ones(3)), tape.indices(index)
    picked = tape.emit("gather", 8, (n,), (x, places), (0,))
    rows = tape.emit("expand", 8, (n, 3), (x,))
    params = (row, *[0.0 for _ in _core.LOSSES[row]["params"]])
    slopes = tape.emit("loss_grad", 8, (n, 3), (places, rows), params)
    spread = tape.emit("scatter", 8, (3,), (picked, places), (0,))
    program = _core.Program(tape.instructions, [spread, slopes])
    ended = threading.Event()

    def write():
        while not ended.is_set():
            index[-1] = 2**40
            index[-1] = 0

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(300):
            try:
                spread, _ = program.run(tape.arrays)
                assert spread.tolist() == [n, 0, 0]
            except IndexError:
                pass
    finally:
        ended.set()
        thread.join()


def test_junk_for_elementwise():
    x, narrow, frozen = np.ones(50), np.ones(50, np.float32), np.ones(50)
    frozen.flags.writeable = False
    junk = [("add", (x,)), ("where", (x, x)), ("add", (narrow, x)), ("add", (x, x), (), 3)]
    junk += [("add", (x, x), (), np.ones(2)), ("add", (x, x), (), frozen)]
    junk += [("integer_power", (x,), (power,)) for power in (1e300, math.nan, "a")]
    for each in junk:
        with pytest.raises(JUNK):
            _core.elementwise(*each)


# ---- Descents ------------------------------------------------------------------------------------


def descent(n=3, steps=5, **other):
    """The arguments of a descent on a sum of squares, by name in order."""
    x = other.pop("x", None)
    x = np.ones(n) if x is None else x
    _, found = made(lambda x: np.sum(x**2), x)
    given = {
        "optimizer": gd.SGD(1e-3),
        "call": found.call,
        "args": ((x,), {}),
        "params": x,
        "outputs": [np.zeros(()), np.zeros(n)],
        "start": [x.copy()],
        "limits": (steps, 1, 0, *[math.nan] * 4),
        "rates": None,
        "losses": np.empty(steps + 1),
        "norms": np.empty(steps + 1),
        "lrs": np.empty(steps),
        "path": [np.empty((steps + 1, n))],
        "progress": np.zeros(4, np.int64),
    }
    return {**given, **other}


@pytest.mark.parametrize("name", ["losses", "norms", "lrs", "path", "outputs", "start", "progress"])
@pytest.mark.parametrize("junk", [3, [], np.float64(1), (np.ones(3),)])
def test_descents_refuse_junk(name, junk):
    with pytest.raises(JUNK):
        _core.descend(*descent(**{name: junk}).values())
    if name != "start":
        with pytest.raises(JUNK):
            _core.descend(*descent(**{name: None}).values())


def test_descents_refuse_optimizers_without_settings():
    class Bare(_core.Optimizer):
        pass

    for params in (np.ones(3), []):
        with pytest.raises(ValueError, match="was not initialised"):
            _core.descend(*descent(optimizer=Bare(), params=params).values())


def test_descents_refuse_other_arrays():
    optimizer = gd.SGD(0.1)
    optimizer.step([np.ones(3)], [np.ones(3)])
    with pytest.raises(ValueError, match="is another array"):
        _core.descend(*descent(optimizer=optimizer).values())


def test_descents_refuse_arrays_that_were_resized():
    optimizer, x = gd.SGD(0.1), np.ones(3000)
    optimizer.step(x, np.ones(3000))
    x.resize(1, refcheck=False)
    with pytest.raises(ValueError, match="is another array"):
        _core.descend(*descent(3000, optimizer=optimizer, params=x).values())


def test_descents_refuse_shared_memory():
    x, room = np.ones(3), np.zeros(30)
    value = np.zeros(())
    shared = [
        {"outputs": [value, x]},
        {"outputs": [room[:1].reshape(()), room[:3]]},
        {"outputs": [value, room[:3]], "losses": room[2:8]},
        {"losses": room[:6], "norms": room[5:11]},
        {"path": [room[:18].reshape(6, 3)], "x": room[4:7]},
        {"progress": value.reshape(1).repeat(9).view(np.int64), "lrs": room[:5], "norms": room},
    ]
    for each in shared:
        with pytest.raises(ValueError, match="memory of their own"):
            _core.descend(*descent(**{"x": x, **each}).values())


def test_lists_may_be_emptied_meanwhile():
    n = 100_000
    given = descent(n, 200, limits=(200, 0, 0, *[math.nan] * 4), path=[])
    timer = threading.Timer(0.005, given["outputs"].clear)
    timer.start()
    assert _core.descend(*given.values())
    timer.join()
    assert given["progress"][1] == 200


def test_a_descent_that_lacks_memory_counts_the_steps_that_it_took():
    testcapi = pytest.importorskip("_testcapi")
    rows = np.ones((2, 5000))
    x0 = np.full((5000, 1), 0.01)
    x = x0.copy()
    _, found = made(lambda x: np.sum((rows @ x) ** 2), x)
    failed = set()
    for failing in range(40):
        np.copyto(x, x0)
        other = {"x": x, "call": found.call, "params": x, "args": ((x,), {}), "start": None}
        outputs, limits = [np.zeros(()), np.zeros_like(x)], (3, 0, 0, *[math.nan] * 4)
        given = descent(steps=3, outputs=outputs, limits=limits, path=[], **other)
        args, optimizer = list(given.values()), given["optimizer"]
        testcapi.set_nomemory(failing, failing + 1)
        try:
            _core.descend(*args)
        except MemoryError:
            failed.add(optimizer.t)
        finally:
            testcapi.remove_mem_hooks()
        steps = int(given["progress"][1])
        assert optimizer.t == steps
        assert (optimizer._state() is not None) == (steps > 0)
        assert (x != x0).any() == (steps > 0)
    assert {0, 1, 2} <= failed


# ---- Sweeps --------------------------------------------------------------------------------------


def sweep_arguments(x=None, real=8, **other):
    """Return the arguments of five runs in four lanes, x^2."""
    tape = Tape()
    x = np.zeros(4) if x is None else x
    at = tape.input(x)
    wide = at if x.dtype == F64 else tape.emit("cast", 8, (4,), (at,))
    f, slope = (tape.emit(op, 8, (4,), (wide,)) for op in ("square", "negative"))
    slope = slope if real == 8 else tape.emit("cast", 4, (4,), (slope,))
    starts = np.linspace(-1, 1, 5)
    if real == 4:
        starts = starts.astype(np.float32)
    given = {
        "optimizer": gd.SGD(0.1),
        "program": _core.Program(tape.instructions, [f, slope]),
        "arrays": (x,),
        "swept": ((0, starts, np.zeros_like(starts)),),
        "lanes": 4,
        "starts": 5,
        "start": np.arange(5),
        "steps": np.full(5, 3),
        "lr": np.full(5, math.nan),
        "momentum": np.full(5, math.nan),
        "rates": None,
        "gtol": 0.0,
        "facts": np.zeros((5, 17)),
    }
    return list({**given, **other}.values())


def sweep(*args, **other):
    return _core.sweep(*sweep_arguments(*args, **other))


@pytest.mark.parametrize("name", ["start", "steps", "lr", "momentum", "facts"])
@pytest.mark.parametrize("junk", [None, 3, [1.0] * 5, np.ones(5, np.float16)])
def test_sweeps_refuse_junk(name, junk):
    with pytest.raises(JUNK):
        sweep(**{name: junk})


def test_sweeps_refuse_other_layouts():
    sweep()
    with pytest.raises(ValueError, match="lanes as last axis"):
        sweep(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="lanes as last axis"):
        sweep(np.zeros(8)[::2])
    with pytest.raises(ValueError, match="lanes as last axis"):
        sweep(real=4)
    for junk in ((3,), ((0, np.zeros(0), np.zeros(5)),)):
        with pytest.raises(JUNK):
            sweep(swept=junk, starts=2**61)


def test_a_sweep_checks_the_starts_that_it_runs():
    """Facts that are written over the starts' numbers do not move them."""
    n = 4000
    facts = np.zeros((n, 17))
    own = np.full(n, math.nan)
    runs = {"steps": np.full(n, 3), "lr": own, "momentum": own, "facts": facts}
    start, ends = facts.ravel().view(np.int64)[-n:], np.zeros(n)
    sweep(start=start, swept=((0, np.linspace(-1, 1, 5), ends),), **runs)
    assert (ends == ends[0]).all()


def test_a_sweep_that_lacks_memory_for_a_product_says_so():
    """Short of memory in the middle of the runs is an error, not a result."""
    testcapi = pytest.importorskip("_testcapi")
    row = np.ones((1, 5000))
    tape = Tape()
    x, a = tape.input(np.zeros(4)), tape.input(row)
    columns = tape.emit("expand", 8, (5000, 4), (x,))
    product = tape.emit("matmul", 8, (1, 4), (a, columns))
    f = tape.emit("reshape", 8, (4,), (product,))
    slope = tape.emit("add", 8, (4,), (f, x))
    program = _core.Program(tape.instructions, [f, slope])
    found = set()
    for failing in range(40):
        ends = np.zeros(5)
        swept = ((0, np.linspace(1, 2, 5), ends),)
        args = sweep_arguments(program=program, arrays=(np.zeros(4), row), swept=swept)
        testcapi.set_nomemory(failing, failing + 1)
        try:
            _core.sweep(*args)
        except MemoryError:
            continue
        finally:
            testcapi.remove_mem_hooks()
        found.add(tuple(ends))
    assert len(found) == 1
