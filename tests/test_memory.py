"""Memory: no call leaks, a step allocates nothing, nothing has changed where memory was short."""

import gc
import importlib
import json
import operator
import sys
import tracemalloc

import numpy as np
import pytest
from entries import ENTRIES, core_names, covers, run

import gdcore as gd

BATCH = 200
STEPS = [name for name in ENTRIES if name.startswith("later_step")]


@pytest.fixture
def traced():
    """tracemalloc under way: it counts NumPy's data and gd_alloc's memory too."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_every_entry_of_the_core_is_here():
    assert core_names() <= covers


# ---- Leaks ---------------------------------------------------------------------------------------


def tidy():
    """Drop what the interpreter may keep: cycles, and the names in its cache of attributes."""
    gc.collect()
    getattr(sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", gc.collect))()


def growth(call, watched, times):
    """How references, blocks and bytes grow over calls (the measurement's own included)."""
    rounds = range(times)
    tidy()
    references = [sys.getrefcount(thing) for thing in watched]
    traced = tracemalloc.get_traced_memory()[0]
    blocks = sys.getallocatedblocks()
    for _ in rounds:
        call()
    tidy()
    blocks = sys.getallocatedblocks() - blocks
    traced = tracemalloc.get_traced_memory()[0] - traced
    now = [sys.getrefcount(thing) for thing in watched]
    return list(map(operator.sub, now, references)), blocks, traced


@pytest.mark.parametrize("name", ENTRIES)
def test_calls_leave_nothing_behind(traced, name):
    call, watched, _ = ENTRIES[name]()
    growth(call, watched, 3 * BATCH)
    results = []
    # Caches and free lists of the interpreter may grow once: one clean run of three is enough. What
    # a call leaves is there 200 times, a block of 16 bytes at least; the threads of pytest-xdist
    # come and go with some ten blocks and up to 2.3 KB in a run.
    for _ in range(3):
        expected, found = growth(call, watched, 0), growth(call, watched, BATCH)
        blocks, size = map(operator.sub, found[1:], expected[1:])
        if found[0] == expected[0] and blocks < BATCH // 4 and size < 8 * BATCH:
            return
        results.append((found, expected))
    pytest.fail(f"references, blocks, bytes over {BATCH} calls and over none: {results}")


def test_the_measurement_sees_a_leak(traced):
    kept, thing = [], object()
    for _ in range(3):
        kept.append((thing, np.ones(3)))
    found = growth(lambda: kept.append((thing, np.ones(3))), [thing], BATCH)
    assert found[0] == [BATCH]
    assert found[2] > BATCH * 24


# ---- A step allocates nothing --------------------------------------------------------------------


def peak(function, params, grads):
    """The most memory, above that before, that 200 calls have held at a time."""
    rounds = range(BATCH)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in rounds:
        function(params, grads)
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize("name", STEPS)
def test_a_step_allocates_nothing(traced, name):
    _, (params, grads), opt = ENTRIES[name]()
    step = opt.step
    for _ in range(300):  # so that its count is beyond the small integers
        step(params, grads)
    least = min(peak(operator.is_, params, grads) for _ in range(3))
    assert min(peak(step, params, grads) for _ in range(3)) == least
    assert peak(lambda params, grads: np.ones(3), params, grads) > least


# ---- Where memory is short -----------------------------------------------------------------------

SHORT = """
    import json, sys
    import _testcapi
    sys.path.insert(0, sys.argv.pop(1))
    from entries import ENTRIES
    from unchanged import picture

    def fails_at(make, index):
        '''Whether the call raises MemoryError where that allocation is refused.'''
        call, watched, opt = make()
        before = picture(opt, *watched) if opt else None
        failed = False
        _testcapi.set_nomemory(index, index + 1)
        try:
            call()
        except MemoryError:
            failed = True
        finally:
            _testcapi.remove_mem_hooks()
        if failed and opt:
            assert picture(opt, *watched) == before, (make.__name__, index)
        call()  # all is in order again
        return failed

    found = {}
    for name, make in ENTRIES.items():
        if name in sys.argv[1:]:
            continue
        make()[0]()
        failures, in_a_row, index = 0, 0, 0
        while in_a_row < 30:  # the refused allocation may have been one that can be done without
            failed = fails_at(make, index)
            failures, index, in_a_row = failures + failed, index + 1, 0 if failed else in_a_row + 1
        found[name] = failures
    print(json.dumps(found))
"""


# pickle makes errors of its own of a MemoryError; the machinery of ufuncs (of np.sqrt too) returns
# without one.
NOT_OURS = {"copied", "ufuncs", "refused_ufuncs"}


def has_testcapi():
    try:
        importlib.import_module("_testcapi")
    except ImportError:
        return False
    return True


@pytest.mark.skipif(not has_testcapi(), reason="this interpreter comes without _testcapi")
def test_a_failed_allocation_is_a_memory_error_that_changes_nothing(root):
    found = json.loads(run(SHORT, str(root / "tests"), *NOT_OURS))
    assert found.keys() == ENTRIES.keys() - NOT_OURS
    without = {name for name, failures in found.items() if failures == 0}
    assert without == {name for name in ENTRIES if name.startswith(("later_", "scheduled_"))}
    assert found["first_step"] > 5


def test_a_copy_that_no_memory_holds_is_a_memory_error():
    """Broadcasting makes arrays of any size; what must copy one says so and changes nothing."""
    huge = np.broadcast_to(np.float64(1), (2**50, 2))
    labels = np.broadcast_to(np.int32(0), 2**50)
    loss = gd.losses.sparse_categorical_crossentropy
    for call in (
        lambda: gd.softmax(huge),
        lambda: gd.losses.mse(huge, huge),
        lambda: loss(labels, np.ones((4, 2))),
        lambda: gd.dense(huge, np.ones((2, 3))),
        lambda: gd.dense_grad(huge, huge, np.ones((2, 2))),
    ):
        with pytest.raises(MemoryError):
            call()


def test_rows_of_nothing_take_no_time():
    empty, none = np.zeros((2**50, 0)), np.zeros((0, 0))
    assert gd.softmax(empty).shape == empty.shape
    assert gd.activations.softmax.grad(empty, y=empty).shape == empty.shape
    for name in ("mse", "categorical_crossentropy"):
        value, dy = gd.losses.get(name, reduction="sum").value_and_grad(empty, empty)
        assert value == 0
        assert dy.shape == empty.shape
    assert gd.dense(empty, none).shape == empty.shape
    dX, dW, db = gd.dense_grad(empty, empty, none, empty, "softmax")
    assert (dX.shape, dW.shape, db.shape) == (empty.shape, (0, 0), (0,))
    value, (dW, db) = gd.linear_value_and_grad(empty, empty, none, [])
    assert (value, dW.shape, db.shape) == (0, (0, 0), (0,))
    gd.Adam(global_clip_norm=1.0).step(empty, empty)
