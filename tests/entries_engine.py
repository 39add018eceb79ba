"""Entries to the core's engine: programs, calls, descents and sweeps; see entries.py."""

import math

import numpy as np
from entries import entry, refusal
from tapes import Tape

import gdcore as gd
from gdcore import _core
from gdcore.autodiff import compile


def long_tape():
    """Steps of every kind, a product long enough for the chunk rule, an embed that is padded."""
    tape = Tape()
    a = tape.input(np.ones((3, 5000)))
    product = tape.emit(
        "matmul", 8, (3, 3), (a, tape.emit("transpose", 8, (5000, 3), (a,), (1, 0)))
    )
    rows = tape.emit("sum", 8, (3,), (product,), (1,))
    padded = tape.emit("embed", 8, (5,), (rows,), (1, 1))
    twice = tape.emit("add", 8, (5,), (padded, padded))
    picked = tape.emit("gather", 8, (2,), (twice, tape.indices([0, 4])), (0,))
    joined = tape.emit("concatenate", 8, (7,), (twice, picked), (0,))
    return tape, [product, joined, tape.emit("max", 8, (), (joined,), (0,))]


@entry("Program")
def built_program():
    tape, outputs = long_tape()
    return lambda: _core.Program(tape.instructions, outputs), tape.arrays, None


@entry("Program")
def program_runs():
    tape, outputs = long_tape()
    program = _core.Program(tape.instructions, outputs)

    def call():
        program.run(tape.arrays)
        program.listing(), program.outputs(), program.room()

    return call, tape.arrays, None


@entry("Program")
def refused_programs():
    tape, outputs = long_tape()
    program = _core.Program(tape.instructions, outputs)
    calls = [
        refusal(_core.Program, tape.instructions, [99]),
        refusal(_core.Program, [*tape.instructions, (0, 8, (), (99,), ())], [0]),
        refusal(_core.Program, [(0, 8, (3,), (), (0, 1.5))], [0]),
        refusal(program.run, []),
        refusal(program.run, [np.ones(3), np.zeros(2, int)]),
        refusal(program.run, [tape.arrays[0], np.array([0, 5])]),
    ]
    return lambda: [each() for each in calls], tape.arrays, None


@entry("elementwise")
def elementwise():
    x, bad = np.ones(9), np.ones(3, np.float16)
    calls = [
        refusal(_core.elementwise, "no", (x,)),
        refusal(_core.elementwise, "exp", (bad,)),
        refusal(_core.elementwise, "add", (x, x, x, x)),
    ]

    def call():
        _core.elementwise("add", (x, x))
        _core.elementwise("integer_power", (x,), (3.0,), x)
        for each in calls:
            each()

    return call, (x, bad), None


def made(f, *args):
    """A compiled value and gradient after its first call, with its entry."""
    both = compile(f)._derivative(0, False)
    both(*args)
    return both, both._entry_for(args)


@entry("Call")
def called():
    x = np.linspace(0, 1, 5)
    data = np.ones(5)
    _, found = made(lambda p, c: np.sum(p["x"] * data) * c + p["n"], {"x": x, "n": 2.0}, 0.5)
    args = (({"x": x, "n": 2.0}, 0.5), {})
    other = (({"x": x[:4], "n": 2.0}, 0.5), {})

    def call():
        assert found.call.call(args) is not NotImplemented
        assert found.call.call(other) is NotImplemented

    return call, (x, data), None


@entry("Call")
def refused_calls():
    x = np.ones(3)
    _, found = made(lambda x: np.sum(x), x)
    program = found.program
    calls = [
        refusal(_core.Call, program, (), (), (), ()),
        refusal(_core.Call, program, (0, 99, x.dtype, (3,), (8,)), (), (), (0, 0, x.dtype)),
        refusal(_core.Call, program, (2, 0, None), ((0,),), (), (2, 0, None)),
        refusal(_core.Call, None, (2, 0, None), (), (), (2, 0, None)),
        refusal(found.call.call, [x]),
    ]
    return lambda: [each() for each in calls], (x,), None


@entry("descend")
def descents():
    x0, data = np.ones(3), np.arange(3.0)
    x = x0.copy()
    _, found = made(lambda x: np.sum((x - data) ** 2), x)
    opt = gd.Adam(0.1)
    outputs, path = [np.zeros(()), np.zeros(3)], [np.empty((3, 3))]
    losses, norms, lrs, progress = np.empty(6), np.empty(6), np.empty(5), np.zeros(4, np.int64)
    limits = (5, 2, 0, math.nan, math.nan, math.nan, math.nan)
    results = (losses, norms, lrs, path, progress)

    def call():
        np.copyto(x, x0)
        opt.reset()
        args = ((x,), {})
        assert _core.descend(opt, found.call, args, x, outputs, [x0], limits, None, *results)

    return call, (x0, data, x), None


@entry("descend")
def refused_descents():
    x = np.ones(3)
    _, found = made(lambda x: np.sum(x**2), x)
    good = [np.zeros(()), np.zeros(3)]
    limits = (5, 1, 0, *[math.nan] * 4)
    room = (np.empty(6), np.empty(6), np.empty(5), [np.empty((6, 3))], np.zeros(4, np.int64))
    opt, args = gd.SGD(0.1), ((x,), {})
    calls = [
        refusal(_core.descend, opt, found.call, args, x, good[:1], [x], limits, None, *room),
        refusal(_core.descend, opt, found.call, args, x, good, [], limits, None, *room),
        refusal(_core.descend, opt, found.call, args, x, good, [x], (-1, *limits[1:]), None, *room),
        refusal(_core.descend, opt, found.call, args, np.ones(4), good, None, limits, None, *room),
        refusal(_core.descend, opt, found.call, args, x, good, [x], limits, np.ones(3), *room),
        refusal(_core.descend, opt, found.call, args, x, good, [x], limits, None, x, *room[1:]),
        refusal(_core.descend, opt, found.call, args, x, good, [x], limits, None, *room[:4], x),
    ]
    return lambda: [each() for each in calls], (x,), None


@entry("sweep", "may_sweep")
def sweeps():
    """Four lanes of five runs: x^2 from five starts."""
    starts, ends = np.linspace(-1, 1, 5), np.zeros(5)
    tape = Tape()
    x = tape.input(np.zeros(4))
    f = tape.emit("square", 8, (4,), (x,))
    program = _core.Program(tape.instructions, [f, tape.emit("add", 8, (4,), (x, x))])
    numbers, counts, own = np.arange(5), np.full(5, 3), np.full(5, math.nan)
    opt, facts = gd.SGD(0.1), np.zeros((5, 17))
    swept = ((0, starts, ends),)
    runs = (numbers, counts, own, own, None, 0.0, facts)
    rated = (numbers, counts, own, own, np.zeros((2, 2)), 0.0, facts)
    short = (numbers, counts[:2], own, own, None, 0.0, facts)
    calls = [
        refusal(_core.sweep, gd.LAMB(), program, (np.zeros(4),), swept, 4, 5, *runs),
        refusal(_core.sweep, opt, program, (np.zeros(4),), (), 4, 5, *runs),
        refusal(_core.sweep, opt, program, (np.zeros(4),), ((0, starts, ends[:2]),), 4, 5, *runs),
        refusal(_core.sweep, opt, program, (np.zeros(4),), swept, 4, 5, *short),
        refusal(_core.sweep, opt, program, (np.zeros(4),), swept, 3, 5, *runs),
        refusal(_core.sweep, opt, program, (np.zeros(4),), swept, 4, 4, *runs),
        refusal(_core.sweep, opt, program, (np.zeros(4),), swept, 4, 5, *rated),
        refusal(_core.may_sweep, None),
    ]

    def call():
        assert _core.may_sweep(opt)
        _core.sweep(opt, program, (np.zeros(4),), swept, 4, 5, *runs)
        for each in calls:
            each()

    return call, (starts, ends), None
