"""Entries to networks and their training, and every way in which these are refused; see entries.py.

A refusal is (name, call, exception, what its message says), for test_network_refusals.py too.
"""

import numpy as np
from entries import entry, refusal
from network_cases import CROSSENTROPY, Fit, Net, data, given, mlp, objective
from tapes import OPS

import gdcore as gd
from gdcore import _core

NAN, HUGE = float("nan"), 2**40
DENSE = ("dense", 4, 3, (0, 1), (), ())
SIZES = (12, 3)


# ---- Networks ------------------------------------------------------------------------------------


def network(*stages, params=SIZES, buffers=(), inputs=4, real=8):
    return lambda: _core.Network(stages, params, buffers, inputs, real)


def plain(kind, *params, width=3, numbers=(), outputs=None, spec=()):
    """A network of a dense stage and another one."""
    outputs = width if outputs is None else outputs
    sizes = (*SIZES, 3, 3, 5)
    return network(DENSE, (kind, width, outputs, params, spec, numbers), params=sizes)


def normed(*buffers, place=0.0):
    stage = ("batch_norm", 3, 3, (2, 3), (), (1e-3, 0.9, place))
    return network(DENSE, stage, params=(*SIZES, 3, 3), buffers=buffers)


FORK, JOIN = ("fork", 4, 4, (), (), ()), ("join", 4, 4, (), (), (0.0,))

NETWORKS = [
    ("keywords", lambda: _core.Network((DENSE,), SIZES, (), 4, real_size=8), TypeError, "keywords"),
    ("a list", lambda: _core.Network([DENSE], SIZES, (), 4, 8), TypeError, "tuple"),
    ("too few", lambda: _core.Network((DENSE,), SIZES), TypeError, "argument"),
    ("no stages", network(), ValueError, "reals of 4 or 8 bytes"),
    ("no inputs", network(DENSE, inputs=0), ValueError, "reals of 4 or 8 bytes"),
    ("reals of 2 bytes", network(DENSE, real=2), ValueError, "4 or 8 bytes"),
    ("a size that is none", network(DENSE, params=("a", 3)), TypeError, "int"),
    ("a size below 0", network(DENSE, params=(-1, 3)), OverflowError, "negative"),
    ("a buffer too large", network(DENSE, buffers=(2**62,)), ValueError, "too large"),
    ("a stage that is a list", network(list(DENSE)), TypeError, "a stage is a tuple"),
    ("a stage too short", network(DENSE[:3]), TypeError, "argument"),
    ("a stage of lists", network((*DENSE[:5], [])), TypeError, "tuple"),
    ("an unknown kind", plain("conv"), ValueError, "no kind of stage is called 'conv'"),
    ("a number that is none", plain("dropout", numbers=("a",)), TypeError, "real number"),
    ("an unknown activation", plain("activation", spec=(99,)), ValueError, "99|row|number"),
    ("no activation", plain("activation"), TypeError, "a row of the table"),
    ("an array named by text", network((*DENSE[:3], ("a",), (), ())), TypeError, "int"),
    ("an array below 0", network((*DENSE[:3], (-1,), (), ())), OverflowError, "negative"),
    ("another input", network(DENSE, inputs=5), ValueError, "stage 0: .* the one before"),
    ("another width", network(DENSE, FORK), ValueError, "stage 1: .* the one before"),
    ("no outputs", network(("dense", 4, 0, (0,), (), ())), ValueError, "no width"),
    ("outputs below 0", network(("dense", 4, -1, (0,), (), ())), ValueError, "too large a one"),
    ("too wide", network(("dense", 4, HUGE, (0,), (), ())), ValueError, "too large a one"),
    ("a width that changes", plain("fork", outputs=4), ValueError, "only a dense stage"),
    ("a rate of 1", plain("dropout", numbers=(1.0,)), ValueError, "rate of dropout"),
    ("a rate below 0", plain("dropout", numbers=(-0.1,)), ValueError, "rate of dropout"),
    ("a rate of nan", plain("dropout", numbers=(NAN,)), ValueError, "rate of dropout"),
    ("no rate", plain("dropout"), ValueError, "rate of dropout"),
    ("no statistics", normed(), ValueError, "moving statistics that are not there"),
    ("one statistic", normed(3), ValueError, "moving statistics that are not there"),
    ("others", normed(3, 3, place=1.0), ValueError, "moving statistics that are not there"),
    ("below 0", normed(3, 3, place=-1.0), ValueError, "moving statistics that are not there"),
    ("nan", normed(3, 3, place=NAN), ValueError, "moving statistics that are not there"),
    ("a short mean", normed(2, 3), ValueError, "another size"),
    ("a short variance", normed(3, 1), ValueError, "another size"),
    ("a join alone", network(JOIN), ValueError, "no fork of its width"),
    ("a join of a dense", plain("join", numbers=(0.0,)), ValueError, "no fork of its width"),
    ("a join far off", network(FORK, (*JOIN[:5], (7.0,))), ValueError, "no fork of its width"),
    ("a join of nan", network(FORK, (*JOIN[:5], (NAN,))), ValueError, "no fork of its width"),
    ("a join wider", network(FORK, DENSE, ("join", 3, 3, (), (), (0.0,))), ValueError, "its width"),
    ("two joins", network(FORK, JOIN, JOIN), ValueError, "a fork has two joins"),
    ("a fork alone", network(FORK, DENSE), ValueError, "stage 0: a fork has no join"),
    ("a dense of nothing", network(("dense", 4, 3, (), (), ())), ValueError, "number of arrays"),
    ("three arrays", network((*DENSE[:3], (0, 1, 1), (), ())), ValueError, "number of arrays"),
    ("a fork with one", plain("fork", 0), ValueError, "number of arrays"),
    ("a norm with one", plain("layer_norm", 2), ValueError, "number of arrays"),
    ("an array too many", network((*DENSE[:3], (0, 2), (), ())), ValueError, "not there"),
    ("a short weight", network(DENSE, params=(11, 3)), ValueError, "another size"),
    ("a long bias", network(DENSE, params=(12, 4)), ValueError, "another size"),
    ("a long scale", plain("layer_norm", 4, 3), ValueError, "another size"),
    ("an array twice", plain("layer_norm", 2, 2), ValueError, "belongs to two stages"),
    ("another's array", plain("layer_norm", 1, 2), ValueError, "belongs to two stages"),
]


# ---- What a call is given ------------------------------------------------------------------------


def case(loss="mse", outputs=3):
    """A network with moving statistics, X, y and its objective."""
    net = Net(4).dense(5).batch_norm().dense(outputs)
    X, y = data(net, 10, loss)
    return net, X, y, objective(net.width, loss)


def wrong(**other):
    """An evaluation that is given something else by name; `goal` may change the objective."""
    net, X, y, goal = case(other.pop("loss", "mse"), other.pop("outputs", 3))
    names = ("params", "buffers", "X", "y", "weights", "index", "objective", "parts", "whole")
    whole = dict(zip(names, given(net, X, y, goal=goal), strict=True))
    for name, value in other.items():
        whole[name] = value(whole[name]) if callable(value) else value
    arguments = tuple(whole.values())
    core = net.core()
    return lambda: core.evaluate(arguments, 0, 10, None, False)


def at(i, value):
    """What changes item i of a list or tuple."""
    return lambda items: type(items)([*items[:i], value, *items[i + 1 :]])


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


F16 = np.ones((10, 4), np.float16)
GIVEN = [
    ("one too few", lambda: case()[0].core().evaluate((1, 2), 0, 1, None, False), TypeError, "9"),
    ("no tuple", lambda: case()[0].core().evaluate([], 0, 1, None, False), TypeError, "a tuple"),
    ("params as a tuple", wrong(params=tuple), ValueError, "params: a list of 6 arrays"),
    ("a parameter less", wrong(params=lambda p: p[1:]), ValueError, "params: a list of 6"),
    ("a parameter of floats", wrong(params=at(1, np.ones(5, "f4"))), ValueError, "params is no"),
    ("a parameter by columns", wrong(params=at(0, np.ones((5, 4)).T)), ValueError, "params is no"),
    ("a frozen parameter", wrong(params=at(1, frozen(np.ones(5)))), ValueError, "params is no"),
    ("a number", wrong(params=at(1, 1.0)), ValueError, "params is no"),
    ("a short parameter", wrong(params=at(1, np.ones(4))), ValueError, "of 5 elements"),
    ("a long parameter", wrong(params=at(1, np.ones(6))), ValueError, "params: an array has"),
    ("no buffers", wrong(buffers=[]), ValueError, "buffers: a list of 2"),
    ("a long buffer", wrong(buffers=at(0, np.ones(6))), ValueError, "buffers: an array has"),
    ("X as a list", wrong(X=[[1.0] * 4] * 10), TypeError, "X is list"),
    ("X of halves", wrong(X=F16), TypeError, "X has dtype float16"),
    ("X of objects", wrong(X=F16.astype(object)), TypeError, "X has dtype object"),
    ("complex X", wrong(X=F16.astype(complex)), TypeError, "X has dtype complex"),
    ("masked X", wrong(X=np.ma.ones((10, 4))), TypeError, "masked"),
    ("swapped X", wrong(X=F16.astype(">f8")), ValueError, "byte order"),
    ("X of three axes", wrong(X=np.ones((10, 2, 2))), ValueError, "X has shape"),
    ("X of no axis", wrong(X=np.ones(())), ValueError, "X has shape"),
    ("wide X", wrong(X=np.ones((10, 5))), ValueError, "X has 5 columns but the network takes 4"),
    ("X as a column", wrong(X=np.ones(10)), ValueError, "X has 1 columns"),
    ("no y", wrong(y=None), TypeError, "y is NoneType"),
    ("a short y", wrong(y=np.ones((9, 3))), ValueError, r"y is \(9, 3\); \(10, 3\) is wanted"),
    ("a narrow y", wrong(y=np.ones((10, 2))), ValueError, r"y is \(10, 2\)"),
    ("weights of floats", wrong(weights=np.ones(10, "f4")), ValueError, "weights is no"),
    ("too few weights", wrong(weights=np.ones(9)), ValueError, "weights is no .* of 10"),
    ("weights as a list", wrong(weights=[1.0] * 10), ValueError, "weights is no"),
    ("an index of floats", wrong(index=np.zeros(3)), ValueError, "index is no"),
    ("an index beyond", wrong(index=np.array([0, 10])), IndexError, "index: a row lies outside"),
    ("an index below 0", wrong(index=np.array([-1])), IndexError, "index: a row lies outside"),
    ("an objective as a list", wrong(objective=list), TypeError, "the objective is a tuple"),
    ("a short objective", wrong(objective=lambda g: g[:4]), TypeError, "argument"),
    ("an unknown loss", wrong(objective=at(2, (999,))), ValueError, "has no row 999"),
    ("a loss of text", wrong(objective=at(2, "mse")), TypeError, "a row of the table"),
    ("an unknown probability", wrong(objective=at(7, (999,))), ValueError, "has no row 999"),
    ("targets of no width", wrong(objective=at(5, 0)), ValueError, "no width"),
    ("losses of no width", wrong(objective=at(6, 0)), ValueError, "no width"),
    ("targets narrower", wrong(objective=at(5, 2)), ValueError, "reads other targets"),
    (
        "two classes a row",
        wrong(objective=lambda g: (True, False, (0,), False, True, 2, *g[6:])),
        ValueError,
        "reads other targets",
    ),
    ("one loss a row", wrong(objective=at(6, 1)), ValueError, "reads other targets"),
    ("labels for mse", wrong(objective=at(4, True)), ValueError, "reads other targets"),
    (
        "reals for classes",
        wrong(loss=CROSSENTROPY, objective=at(4, False)),
        ValueError,
        "reads other targets",
    ),
    (
        "pairs of three",
        wrong(loss="gaussian_nll", outputs=3, y=np.ones(10)),
        ValueError,
        "reads other targets",
    ),
    ("penalties as a list", wrong(objective=at(8, [0.0] * 12)), ValueError, "penalties is no"),
    ("few penalties", wrong(objective=at(8, np.ones(11))), ValueError, "penalties is no"),
    (
        "classes beyond",
        wrong(loss=CROSSENTROPY, y=np.full(10, 3)),
        IndexError,
        "class number outside",
    ),
    ("classes below 0", wrong(loss=CROSSENTROPY, y=np.full(10, -1)), IndexError, "class number"),
]


def evaluation(first, rows, out=None):
    net, X, _, _ = case()
    return lambda: net.core().evaluate(given(net, X), first, rows, out, False)


GIVEN += [
    ("rows before the first", evaluation(-1, 3), IndexError, "rows lie outside"),
    ("rows below 0", evaluation(0, -1), IndexError, "rows lie outside"),
    ("rows beyond", evaluation(11, 0), IndexError, "rows lie outside"),
    ("rows that end beyond", evaluation(5, 6), IndexError, "rows lie outside"),
    ("an out of floats", evaluation(0, 2, np.ones((2, 3), "f4")), ValueError, "out is no"),
    ("an out too small", evaluation(0, 3, np.ones((2, 3))), ValueError, "out is no .* of 9"),
    ("a frozen out", evaluation(0, 2, frozen(np.ones((2, 3)))), ValueError, "out is no"),
    ("an out of text", evaluation(0, 2, "a"), ValueError, "out is no"),
    ("too few arguments", lambda: case()[0].core().evaluate(()), TypeError, "argument"),
]


# ---- Functions of the user's ---------------------------------------------------------------------


def program(*shapes, outputs=1, real=8, shape=None):
    """A program that adds up its inputs, given in these shapes, as often as outputs are wanted."""
    tape = []
    for slot, size in enumerate(shapes):
        strides = [int(np.prod(size[k + 1 :])) for k in range(len(size))]
        tape.append((OPS["input"], real, size, (), (slot, *strides)))
    ends = []
    for _ in range(outputs):
        total = 0
        for i in range(1, len(shapes)):
            tape.append((OPS["add"], real, shapes[0], (total, i), ()))
            total = len(tape) - 1
        tape.append((OPS["negative"], real, shapes[0], (total,), ()))
        ends.append(len(tape) - 1)
    return _core.Program(tape, ends)


def own(part, rows=6):
    """An evaluation of a network with a function of the user's in its middle."""
    net = Net(3).dense(4).add("function").dense(2)
    X, _ = data(net, rows)
    core, arguments = net.core(), given(net, X, parts=part if isinstance(part, list) else (part,))
    arguments = (*arguments[:7], tuple(arguments[7]), arguments[8])
    return lambda: core.evaluate(arguments, 0, rows, np.empty((rows, 2)), False)


Z = (6, 4)
ONE, TWO = program(Z), program(Z, Z)
GOOD = (1, 6, ONE, TWO, ())
THREE = program(Z, Z, Z)
LOSSLIKE = (-1, 6, THREE, None, ())
CAPTURED = program(Z, Z), program(Z, Z, Z)
UNFIT = "a program does not fit its place"


def many_inputs():
    """A program that reads one array in 65 ways, whose strides differ where they do not count."""
    tape, total = [], None
    for k in range(65):
        tape.append((OPS["input"], 8, (*Z, 1), (), (0, 4, 1, k)))
        tape.append((OPS["reshape"], 8, Z, (len(tape) - 1,), ()))
        if total is not None:
            tape.append((OPS["add"], 8, Z, (total, len(tape) - 1), ()))
        total = len(tape) - 1
    return _core.Program(tape, [total])


PARTS = [
    ("a part as a list", own([list(GOOD)]), TypeError, "a part is a tuple"),
    ("a part too short", own(GOOD[:4]), TypeError, "argument"),
    ("no program", own((1, 6, None, TWO, ())), TypeError, "Program"),
    ("captured as a list", own((*GOOD[:4], [])), TypeError, "tuple"),
    ("another stage", own((0, *GOOD[1:])), ValueError, UNFIT),
    ("a stage beyond", own((3, *GOOD[1:])), ValueError, UNFIT),
    ("a stage below", own((-2, *GOOD[1:])), ValueError, UNFIT),
    ("no rows", own((1, 0, *GOOD[2:])), ValueError, UNFIT),
    ("rows below 0", own((1, -6, *GOOD[2:])), ValueError, UNFIT),
    ("too many rows", own((1, 2**31, *GOOD[2:])), ValueError, UNFIT),
    ("other rows", own((1, 5, *GOOD[2:])), ValueError, UNFIT),
    ("no backward", own((1, 6, ONE, None, ())), ValueError, UNFIT),
    ("forward for backward", own((1, 6, ONE, program((6, 3)), ())), ValueError, UNFIT),
    ("two outputs", own((1, 6, program(Z, outputs=2), TWO, ())), ValueError, UNFIT),
    ("another output", own((1, 6, program((6, 3)), TWO, ())), ValueError, UNFIT),
    ("floats", own((1, 6, program(Z, real=4), TWO, ())), ValueError, UNFIT),
    ("backward of floats", own((1, 6, ONE, program(Z, Z, real=4), ())), ValueError, UNFIT),
    ("nothing captured", own((1, 6, CAPTURED[0], CAPTURED[1], ())), ValueError, UNFIT),
    ("a number captured", own((1, 6, *CAPTURED, (1.0,))), ValueError, UNFIT),
    ("floats captured", own((1, 6, *CAPTURED, (np.ones(Z, "f4"),))), ValueError, UNFIT),
    ("another shape", own((1, 6, *CAPTURED, (np.ones((4, 6)),))), ValueError, UNFIT),
    ("other axes", own((1, 6, *CAPTURED, (np.ones(24),))), ValueError, UNFIT),
    ("other strides", own((1, 6, *CAPTURED, (np.ones((4, 6)).T,))), ValueError, UNFIT),
    ("too much captured", own((1, 6, ONE, TWO, (np.ones(2),) * 48)), ValueError, UNFIT),
    ("a loss without one", own(LOSSLIKE), ValueError, UNFIT),
    ("a loss with backward", own((-1, 6, THREE, TWO, ())), ValueError, UNFIT),
    ("too many inputs", own((1, 6, many_inputs(), TWO, ())), ValueError, UNFIT),
]


# ---- Training ------------------------------------------------------------------------------------


def trainer(**other):
    """A trainer made of something else by name."""
    net, X, y, goal = case()
    arguments = {
        "network": net.core(),
        "given": given(net, X, y, goal=goal),
        "optimizer": gd.SGD(0.1),
        "params": net.params,
        "grads": [np.empty_like(p) for p in net.params],
        "settings": (4, 3, True, False, True, False, 3, 4, 0),
    }
    for name, value in other.items():
        arguments[name] = value(arguments[name]) if callable(value) else value
    return lambda: _core.Trainer(*arguments.values())


NO_BATCHES = "batches of a row or more, within the data"
TRAINERS = [
    ("keywords", lambda: _core.Trainer(network=1), TypeError, "keywords"),
    ("too few", lambda: _core.Trainer(), TypeError, "argument"),
    ("another network", trainer(network=None), TypeError, "Network"),
    ("given as a list", trainer(given=list), TypeError, "tuple"),
    ("less given", trainer(given=lambda g: g[:8]), TypeError, "9"),
    ("another optimizer", trainer(optimizer="sgd"), TypeError, "an optimizer is wanted"),
    ("params as a tuple", trainer(params=tuple), TypeError, "list"),
    ("grads as a tuple", trainer(grads=tuple), TypeError, "list"),
    ("a gradient less", trainer(grads=lambda g: g[1:]), ValueError, "grads: a list of 6"),
    ("a gradient of floats", trainer(grads=at(0, np.ones(20, "f4"))), ValueError, "grads is no"),
    ("a long gradient", trainer(grads=at(1, np.ones(6))), ValueError, "grads: an array has"),
    ("settings as a list", trainer(settings=list), TypeError, "tuple"),
    ("few settings", trainer(settings=lambda s: s[:8]), TypeError, "9"),
    ("a batch of none", trainer(settings=at(0, 0)), ValueError, NO_BATCHES),
    ("a batch below 0", trainer(settings=at(0, -4)), ValueError, NO_BATCHES),
    ("a batch too large", trainer(settings=at(0, 11)), ValueError, NO_BATCHES),
    ("no batches", trainer(settings=at(1, 0)), ValueError, NO_BATCHES),
    ("batches below 0", trainer(settings=at(1, -1)), ValueError, NO_BATCHES),
    ("too many batches", trainer(settings=at(1, 4)), ValueError, NO_BATCHES),
    ("no objective", trainer(given=at(6, None)), ValueError, NO_BATCHES),
    ("no rows", trainer(given=at(5, np.zeros(0, np.int64))), ValueError, NO_BATCHES),
]


def run(place=None, optimizer=None, **other):
    """A run of three batches with something else by name."""
    net, X, y, _ = case()
    fit = Fit(net, X, y, optimizer or gd.SGD(0.1), batch=4, statistics=True)
    count = other.pop("count", 3)
    arguments = [*fit.arguments(count if 0 < count < 99 else 3), None]
    arguments[0] = count
    names = ("count", "order", "deadline", "seen", "rates", "losses", "norms", "lrs")
    names += ("epoch_loss", "record", "record_at", "progress", "average")
    for name, value in other.items():
        arguments[names.index(name)] = value
    if place is not None:
        fit.core.move(place)
    return lambda: fit.core.run(*arguments)


def bare():
    return _core.Optimizer()


def bound_elsewhere():
    opt = gd.SGD(0.1)
    opt.step([np.ones(3)], [np.ones(3)])
    return opt


def untrained(optimizer):
    """A run of a trainer without an optimizer, or whose optimizer has other arrays."""
    net, X, y, goal = case()
    grads = [np.empty_like(p) for p in net.params]
    others = [p.copy() for p in net.params]
    settings = (4, 3, False, False, False, False, 3, 4, 0)
    core = _core.Trainer(
        net.core(), given(net, X, y, goal=goal), optimizer, others, grads, settings
    )
    results = (*np.empty((3, 4)), np.empty(2), np.empty(0), np.empty(0, np.int64))
    count = 4 if optimizer is None else 3
    progress = np.zeros(5, np.int64)
    return lambda: core.run(count, None, np.inf, None, None, *results, progress)


def moved(place):
    net, X, y, _ = case()
    fit = Fit(net, X, y, gd.SGD(0.1), batch=4)
    return lambda: fit.core.move(place)


def pairs(make):
    net, X, y, _ = case()
    fit = Fit(net, X, y, gd.SGD(0.1), batch=4)
    value = make(fit)
    return lambda: _core.run_trainers(value)


def kept(change):
    """An average beside the parameters of `case`, something in it changed."""
    net, _, _, _ = case()
    average = ([p.copy() for p in net.params], 0.5, np.zeros(1, np.bool_))
    return run(average=change(average))


MANY = "so many batches cannot be run by one call"
ORDER = np.arange(10)
RUNS = [
    ("too few", lambda: pairs(lambda f: ((f.core, ()),))(), TypeError, "argument"),
    ("a count of text", run(deadline="a"), TypeError, "real number"),
    ("no batches", run(count=0), ValueError, MANY),
    ("batches below 0", run(count=-1), ValueError, MANY),
    ("too many batches", run(count=2**31), ValueError, MANY),
    ("more than an order's", run(count=4, order=ORDER), ValueError, MANY),
    ("more than are seen", run(count=4, seen=np.empty((10, 3))), ValueError, MANY),
    ("more than an epoch's rest", run((0, 1, 1, 0, 0, 0, 0), order=ORDER), ValueError, MANY),
    ("more without an optimizer", untrained(None), ValueError, MANY),
    ("an order of floats", run(order=np.zeros(10)), ValueError, "order is no"),
    ("a short order", run(order=ORDER[:9]), ValueError, "order is no .* of 10"),
    ("an order beyond", run(order=ORDER + 1), IndexError, "a row that is not there"),
    ("an order below 0", run(order=ORDER - 1), IndexError, "a row that is not there"),
    ("seen of floats", run(seen=np.empty((10, 3), "f4")), ValueError, "seen is no"),
    ("seen too small", run(seen=np.empty((9, 3))), ValueError, "seen is no .* of 30"),
    ("few rates", run(rates=np.zeros((2, 1, 2))), ValueError, "rates is no .* of 6"),
    ("few losses", run(losses=np.empty(2)), ValueError, "losses is no .* of 3"),
    ("losses as a list", run(losses=[0.0] * 3), ValueError, "losses is no"),
    ("few norms", run(norms=np.empty(2)), ValueError, "norms is no"),
    ("few lrs", run(lrs=np.empty(2)), ValueError, "lrs is no"),
    ("few ends", run(epoch_loss=np.empty(0)), ValueError, "epoch_loss is no"),
    ("few records", run(record=np.empty(2)), ValueError, "record is no"),
    ("few numbers of records", run(record_at=np.empty(0, int)), ValueError, "record_at is no"),
    ("records of reals", run(record_at=np.empty(9)), ValueError, "record_at is no"),
    ("little progress", run(progress=np.zeros(4, int)), ValueError, "progress is no"),
    ("no progress", run(progress=None), ValueError, "progress is no"),
    ("an average as a list", kept(list), TypeError, "average: a tuple is wanted"),
    ("an average without a share", kept(lambda a: a[::2]), TypeError, "argument"),
    ("an average as an array", kept(at(0, np.ones(3))), TypeError, "list"),
    ("an average of few arrays", kept(lambda a: (a[0][1:], *a[1:])), ValueError, "average: a list"),
    ("an average of numbers", kept(at(0, [1.0] * 6)), ValueError, "average is no"),
    ("no flag", kept(at(2, None)), ValueError, "begun is no"),
    ("a flag of numbers", kept(at(2, np.zeros(1))), ValueError, "begun is no"),
    ("a bare optimizer", run(optimizer=bare()), ValueError, "was not initialised"),
    ("an optimizer elsewhere", run(optimizer=bound_elsewhere()), ValueError, "params"),
    ("others' arrays", untrained(gd.SGD(0.1)), ValueError, "belongs to other arrays"),
    ("a place as a list", moved([0] * 7), TypeError, "a tuple is wanted"),
    ("a short place", moved((0, 0)), TypeError, "argument"),
    ("a place beyond", moved((0, 3, 3, 0.0, 0.0, 0.0, 0)), ValueError, "no such place"),
    ("trainers as a list", pairs(lambda f: []), TypeError, "a tuple of pairs"),
    ("one that is no pair", pairs(lambda f: (f.core,)), TypeError, "a pair is wanted"),
    ("a pair of one", pairs(lambda f: ((f.core,),)), TypeError, "argument"),
    ("another trainer", pairs(lambda f: ((None, f.arguments(3)),)), TypeError, "Trainer"),
    (
        "one trainer twice",
        pairs(lambda f: ((f.core, f.arguments(3)), (f.core, f.arguments(3)))),
        RuntimeError,
        "in the middle of a run",
    ),
    (
        "a second that is wrong",
        pairs(lambda f: ((f.core, f.arguments(3)), (f.core, ()))),
        TypeError,
        "argument",
    ),
]

REFUSALS = [
    (f"{group} {name}", call, error, message)
    for group, rows in (
        ("network", NETWORKS),
        ("given", GIVEN),
        ("part", PARTS),
        ("trainer", TRAINERS),
        ("run", RUNS),
    )
    for name, call, error, message in rows
]


# ---- Entries -------------------------------------------------------------------------------------


def refused(rows):
    calls = [refusal(call) for _, call, _, _ in rows]
    return lambda: [call() for call in calls], (F16,), None


@entry("Network")
def built_network():
    net = Net(4).dense(5).batch_norm().act("relu").dropout(0.5)
    net.join(net.fork()).layer_norm()
    return net.core, tuple(net.params), None


@entry("Network")
def refused_networks():
    return refused(NETWORKS)


@entry("Network")
def refused_evaluations():
    return refused(GIVEN)


@entry("Network")
def refused_parts():
    return refused(PARTS)


@entry("Network")
def evaluations():
    """Predictions and losses, by index, weighted, with a function of the user's in one chunk."""
    net, X, y, goal = case()
    weights, index, out = np.ones(10), np.arange(5), np.empty((10, 3))
    core, arguments = net.core(), given(net, X, y, weights, index, goal)
    parts = Net(3).dense(4).add("function").dense(2)
    mine, theirs = parts.core(), given(parts, X[:6, :3], parts=(GOOD,))

    def call():
        core.evaluate(arguments, 0, 5, out, True)
        core.evaluate(given(net, X), 0, 10, out, False)
        mine.evaluate(theirs, 0, 6, np.empty((6, 2)), False)

    return call, (X, y, weights, index, out, net.params[0], *GOOD[2:4]), None


@entry("Trainer")
def trained():
    """A trainer from its making to its end, with all that a run may have."""
    net, X, y, _ = case()
    start = [p.copy() for p in net.params]
    weights, order, seen = np.ones(10), np.arange(10), np.empty((10, 3))
    opt = gd.Adam(0.01)
    average = ([np.empty_like(p) for p in net.params], 0.5, np.zeros(1, np.bool_))

    def call():
        for p, before in zip(net.params, start, strict=True):
            np.copyto(p, before)
        opt.reset()
        fit = Fit(net, X, y, opt, batch=4, weights=weights, statistics=True)
        fit.core.run(*fit.arguments(3, order=order, seen=seen), average)
        fit.core.restore()
        fit.core.move(fit.core.place())
        fit.core.sizes(), fit.core.shadowed(), fit.core.penalty()
        fit.run(7, rates=np.full((7, 1, 2), 0.1))

    return call, (X, y, weights, order, seen, net.params[0], *average[0], average[2]), None


@entry("Trainer")
def gradients_alone():
    net = mlp(4, 5, 3)
    X, y = data(net, 600, CROSSENTROPY)

    def call():
        Fit(net, X, y, None, loss=CROSSENTROPY, shuffle=True).run(1)

    return call, (X, y, net.params[0]), None


@entry("Trainer")
def refused_trainers():
    return refused(TRAINERS)


@entry("Trainer", "run_trainers")
def refused_runs():
    return refused(RUNS)


@entry("run_trainers")
def trainers_side_by_side():
    nets = [mlp(3, 4, 2, seed=i) for i in range(3)]
    fits = [Fit(net, *data(net, 60), gd.Adam(), batch=8) for net in nets]

    def call():
        _core.run_trainers(tuple((fit.core, fit.arguments(20)) for fit in fits))

    return call, tuple(net.params[0] for net in nets), None
