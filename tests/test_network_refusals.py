"""Every way in which networks and their training are refused says what is wrong.

And anything at all in any place of what they take: no crash. `make asan` sees the rest.
"""

import numpy as np
import pytest
from entries_network import GOOD, REFUSALS
from network_cases import CROSSENTROPY, Fit, Net, data, given, objective

import gdcore as gd
from gdcore import _core


class Odd:
    """What raises, whatever is asked of it."""

    def __float__(self):
        raise KeyError

    __bool__ = __index__ = __array__ = __len__ = __eq__ = __float__
    __hash__ = object.__hash__


JUNK = [
    *(None, True, 0, 1, 2, 3, -1, 2**31, 2**62, -(2**63), 2**64, 0.5, -1e308, 1j),
    *(float("nan"), float("inf"), "", "dense", "\0", b"x", (), [], {}, (0,), (1,), (5,), (-1,)),
    *((0, 1), (2**70,), ("a",), (0.5,) * 9, (float("nan"),) * 3, [0], Odd(), object(), iter([1])),
    *(np.float32(1), np.ones(()), np.ones(3), np.ones(10), np.ones(10, np.float32)),
    *(np.ones((10, 4)), np.ones((10, 3)), np.arange(10), np.arange(10) - 5, np.ones((4, 10)).T),
    np.zeros((0, 4)),
    np.zeros((2**50, 0)),
    *(np.broadcast_to(1.0, (2**50, 4)), np.broadcast_to(np.int8(1), 2**62)),
    *(np.full((10, 4), np.nan), np.ones((10, 4), bool), np.ones(10, "f4,f8"), np.array(["x"])),
    *(np.array([None, 1.0]), np.ma.ones((10, 4)), [np.ones(3)], [np.ones(3, np.float32)], gd.SGD()),
    *(_core.Optimizer(), GOOD, (GOOD,), (GOOD,) * 3, ("dense", 4, 3, (0, 1), (), ())),
]  # fmt: skip


def survives(call, *arguments):
    """Whether it returns; it may raise anything but what says that the core is broken."""
    try:
        call(*arguments)
    except SystemError:
        raise
    except Exception:
        return False
    return True


def replaced(items, i, value):
    return (*items[:i], value, *items[i + 1 :])


def everywhere(call, items):
    """Call it with each thing in each place; how often it returned."""
    places = [(i, value) for i in range(len(items)) for value in JUNK]
    return sum(survives(call, *replaced(items, i, value)) for i, value in places)


def net_of(loss="mse"):
    net = Net(4).dense(5).batch_norm().act("tanh").dropout(0.5).dense(3)
    return net, *data(net, 10, loss)


@pytest.mark.parametrize("number", range(6))
def test_junk_in_a_network(number):
    net, _, _ = net_of()
    fork = net.fork()
    net.layer_norm().join(fork)
    sizes = [tuple(a.size for a in some) for some in (net.params, net.buffers)]
    arguments = (tuple(net.stages), *sizes, 4, 8)
    assert survives(_core.Network, *arguments)
    everywhere(_core.Network, arguments)

    def with_stage(*stage):
        return _core.Network(replaced(arguments[0], number, stage), *arguments[1:])

    everywhere(with_stage, net.stages[number])


@pytest.mark.parametrize("loss", ["mse", CROSSENTROPY])
def test_junk_in_what_is_given(loss):
    net, X, y = net_of(loss)
    core, goal = net.core(), objective(3, loss)
    whole = given(net, X, y, np.ones(10), np.arange(10), goal)

    def evaluated(*arguments):
        core.evaluate(arguments, 0, 10, np.empty((10, 3)), True)

    def trained(*arguments):
        grads = [np.empty_like(p) for p in net.params]
        settings = (4, 3, True, False, True, False, 3, 4, 0)
        trainer = _core.Trainer(core, arguments, gd.SGD(), net.params, grads, settings)
        results = (*np.empty((3, 3)), np.empty(1), np.empty(99), np.empty(9, int), np.zeros(5, int))
        trainer.run(3, None, 1e300, None, None, *results)

    for call in (evaluated, trained):
        assert everywhere(call, whole) > 0
        everywhere(lambda *g, call=call: call(*replaced(whole, 6, g)), goal)
    assert everywhere(core.evaluate, (whole, 0, 10, np.empty((10, 3)), True)) > 0
    everywhere(lambda *part: core.evaluate(given(net, X, parts=(part,)), 0, 6, None, False), GOOD)


def test_junk_in_a_training():
    net, X, y = net_of()
    grads = [np.empty_like(p) for p in net.params]
    settings = (4, 3, True, False, True, False, 3, 4, 0)
    arguments = (net.core(), given(net, X, y, goal=objective(3)), None, net.params, grads, settings)
    assert everywhere(_core.Trainer, arguments) > 0
    assert everywhere(lambda *s: _core.Trainer(*arguments[:5], s), settings) > 0
    opt = gd.SGD()
    fit = Fit(net, X, y, opt, batch=4, statistics=True)
    seen, rates = np.empty((10, 3)), np.full((2, 1, 2), 0.01)

    def run(*items):
        fit.core.move((0, 0, 0, 0.0, 0.0, 0.0, 0))
        fit.core.run(*items)

    def side_by_side(*items):
        fit.core.move((0, 0, 0, 0.0, 0.0, 0.0, 0))
        _core.run_trainers(((fit.core, items),))

    average = ([p.copy() for p in net.params], 0.5, np.zeros(1, np.bool_))
    items = (*fit.arguments(2, order=np.arange(10), seen=seen, rates=rates), average)
    for call in (run, side_by_side):
        assert survives(call, *items)
        assert everywhere(call, items) > 0
    assert everywhere(lambda *some: run(*items[:-1], some), average) > 0
    everywhere(fit.core.move, [(0, 0, 0, 0.0, 0.0, 0.0, 0)])
    everywhere(lambda *place: fit.core.move(place), (0, 0, 0, 0.0, 0.0, 0.0, 0))
    everywhere(_core.run_trainers, [((fit.core, items),)])
    everywhere(lambda *pair: _core.run_trainers((pair,)), (fit.core, items))
    assert survives(run, *items)


@pytest.mark.parametrize(
    ("name", "call", "error", "message"), REFUSALS, ids=[r[0] for r in REFUSALS]
)
def test_it_is_refused(name, call, error, message):
    for _ in range(2):  # and nothing has changed
        with pytest.raises(error, match=message):
            call()
