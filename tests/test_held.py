"""Ctrl-C that waits while a fit keeps its books."""

import signal
import threading

import numpy as np
import pytest
from saving_cases import classifier, data

import gdcore as gd
from gdcore._held import Held


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def handler():
    """The handler of Python's, which must be there again after each test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def held_while(*steps):
    """Take steps, which get what holds Ctrl-C; a KeyboardInterrupt is wanted."""

    def take():
        with (held := Held()):
            for step in steps:
                step(held)

    with pytest.raises(KeyboardInterrupt):
        take()


def test_a_signal_waits_for_the_next_call_which_is_not_made():
    done = []
    held_while(
        lambda held: press(),
        lambda held: done.append("books"),
        lambda held: held.call(done.append, "core"),
    )
    assert done == ["books"]


def test_a_signal_within_a_call_comes_at_once():
    done = []
    held_while(lambda held: held.call(press), done.append)
    assert not done


def test_a_second_signal_does_not_wait():
    done = []
    held_while(
        lambda held: press(),
        lambda held: done.append("first"),
        lambda held: press(),
        lambda held: done.append("second"),
    )
    assert done == ["first"]


def test_a_signal_that_waited_comes_at_the_end():
    held_while(lambda held: press())
    held_while(lambda held: press(), lambda held: 1 // 0)
    with pytest.raises(ValueError, match="alone"), Held():
        raise ValueError("alone")


def test_results_and_errors_of_calls_go_through():
    with (held := Held()):
        assert held.call(divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            held.call(divmod, 7, 0)
    assert held.call(divmod, 7, 3) == (2, 1)


def test_a_handler_of_the_users_is_called(handler):
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with (held := Held()):
        press()
        assert not seen
        held.call(press)
        assert seen == [signal.SIGINT] * 2
    signal.signal(signal.SIGINT, handler)


def test_a_signal_that_is_ignored_stays_so(handler):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Held():
        press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, handler)


def test_one_within_another():
    done = []

    def inside(outer):
        with (inner := Held()):
            press()
            inner.call(done.append, 1)
            done.append("inner")

    held_while(inside, lambda held: done.append("outer"))
    assert done == [1, "inner", "outer"]


def test_other_threads_are_left_alone():
    model, found = classifier(), []

    def fit():
        found.append(model.fit(*data(), verbose=0, seed=0))
        found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert found[1] is signal.default_int_handler


def test_a_callback_ends_before_the_fit_does():
    done = []

    def pressed(epoch, logs):
        press()
        done.append(epoch)

    model, first = classifier(), gd.LambdaCallback(on_epoch_end=pressed)
    last = gd.LambdaCallback(on_epoch_end=lambda epoch, logs: done.append(-epoch))
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(*data(), epochs=9, verbose=0, seed=0, callbacks=[first, last])
    assert done == [0, 0]
    assert caught.value.history.epoch == [0]
    assert np.isfinite(model.history.history["loss"]).all()


def test_a_callback_that_does_not_end_is_ended_by_the_second():
    def forever(epoch, logs):
        while True:
            press()

    model, callback = classifier(), gd.LambdaCallback(on_epoch_end=forever)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), verbose=0, seed=0, callbacks=[callback])
