"""What an optimizer belongs to: bound arrays and state, containers, callbacks that misbehave."""

import collections
import threading

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unchanged import leaves, ones, picture

import gdcore as gd
from gdcore import _core

OPTIMIZERS = [
    gd.SGD(lr=0.1, momentum=0.9),
    gd.Adagrad(lr=0.1),
    gd.RMSprop(lr=0.1, centered=True, momentum=0.5),
    gd.Adam(lr=0.1, amsgrad=True, global_clip_norm=1.0),
    gd.AdamW(lr=0.1, on_nonfinite="skip"),
]


def new(prototype):
    return type(prototype)(**prototype.get_params())


def turned(a):
    """The same array in the other order of memory, read-only."""
    a = a.copy("F" if a.flags.c_contiguous else "C")
    a.flags.writeable = False
    return a


# ---- Bound arrays --------------------------------------------------------------------------------


@pytest.mark.parametrize("prototype", OPTIMIZERS, ids=lambda opt: type(opt).__name__)
def test_later_steps_take_the_same_arrays(prototype):
    base = np.ones((4, 4))
    w, b, opt = base[:2], np.ones(3), new(prototype)
    opt.step([w, b], [ones(w), ones(b)])
    before = picture(opt, base, b)
    for params, where in (
        ([w.copy(), b], "params[0]"),
        ([base[:1], b], "params[0]"),
        ([w.reshape(-1), b], "params[0]"),
        ([w.view(np.float32), b], "params[0]"),
        ([base[1:3], b], "params[0]"),
        ([b, w], "params[0]"),
        ([w, b, np.ones(1)], "params[2]"),
        ([w], "params"),
        ([], "params"),
        ((), "params"),
    ):
        with pytest.raises(ValueError, match="first step") as raised:
            opt.step(params, [ones(p) for p in params])
        assert str(raised.value).startswith(where + " ")
    assert picture(opt, base, b) == before
    opt.step((base[:2], b.view()), [ones(w), ones(b)])
    assert opt.t == 2


def test_an_array_resized_in_place_is_another_one():
    w, opt = np.ones(1000), gd.Adam()
    opt.step(w, np.ones(1000))
    w.resize(10, refcheck=False)
    with pytest.raises(ValueError, match="first step"):
        opt.step(w, np.ones(10))
    w.resize(1000, refcheck=False)
    assert opt.t == 1


@given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
    ),
    st.sampled_from(OPTIMIZERS),
)
def test_loaded_state_is_copied_into_the_order_of_the_parameter(array, prototype):
    w, opt, g = array.copy(), new(prototype), ones(array)
    opt.step(w, g)
    middle, state = w.copy(), opt.state_dict()
    opt.step(w, g)
    state["state"] = [{key: turned(a) for key, a in row.items()} for row in state["state"]]
    resumed = new(prototype)
    for order in "CF":
        again = middle.copy(order)
        resumed.load_state_dict(state)
        resumed.step(again, g.copy(order))
        assert again.tobytes("C") == w.tobytes("C")
    # As unpickling from shared memory may give it: read-only, and the other byte order.
    rows = [
        tuple(turned(a).astype(a.dtype.newbyteorder()) for a in row.values())
        for row in state["state"]
    ]
    resumed._restore(1, rows)
    again = middle.copy()
    resumed.step(again, g)
    assert again.tobytes() == w.tobytes()


def test_loaded_state_of_other_arrays_is_refused():
    w, opt = np.ones(3), gd.Adam()
    opt.step(w, ones(w))
    state = opt.state_dict()
    for params in (np.ones(4), np.ones(3, np.float32), [np.ones(3), np.ones(3)], []):
        fresh = gd.Adam()
        fresh.load_state_dict(state)
        before = picture(fresh, params)
        with pytest.raises(ValueError, match=r"^params .*state"):
            fresh.step(params, ones(params) if isinstance(params, np.ndarray) else params)
        assert picture(fresh, params) == before
    short = gd.Adam()
    short._restore(1, [(np.zeros(3),)])
    with pytest.raises(ValueError, match="2 state arrays"):
        short.step(w, ones(w))


@pytest.mark.parametrize("t", [-1, 2**53 + 1, 2**63 - 1, 2**80])
def test_an_impossible_step_count_is_refused(t):
    opt = gd.Adam()
    with pytest.raises((ValueError, OverflowError)):
        opt._restore(t, None)
    assert opt.t == 0


def test_the_list_of_state_arrays_is_a_copy():
    w, opt = np.ones(3), gd.Adam()
    opt.step(w, ones(w))
    opt._state().clear()
    mine = [(np.zeros(3), np.zeros(3))]
    opt.step(w, ones(w))
    opt._restore(1, mine)
    mine.clear()
    opt.step(w, ones(w))
    assert opt.t == 2


# ---- Containers ----------------------------------------------------------------------------------

Pair = collections.namedtuple("Pair", "W b")


class Keyed(dict):
    """A dict whose own methods lie."""

    def __getitem__(self, key):
        raise AssertionError("the dict itself is asked")

    def __iter__(self):
        raise AssertionError("the dict itself is asked")


def trees(children):
    keys = st.one_of(st.text(max_size=3), st.integers(), st.tuples(st.booleans()))
    return st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(keys, children, max_size=3),
        st.dictionaries(keys, children, max_size=3).map(collections.OrderedDict),
        st.dictionaries(keys, children, max_size=3).map(Keyed),
        st.tuples(children, children).map(lambda pair: Pair(*pair)),
    )


def like(tree, leaf, data):
    """The same structure, with lists for tuples and dicts in another order."""
    if isinstance(tree, dict):
        keys = data.draw(st.permutations(list(dict.keys(tree))))
        return {key: like(dict.__getitem__(tree, key), leaf, data) for key in keys}
    if isinstance(tree, list | tuple):
        kind = data.draw(st.sampled_from([list, tuple]))
        return kind(like(item, leaf, data) for item in tree)
    return leaf(tree)


@given(st.recursive(st.builds(np.ones, st.integers(0, 3)), trees, max_leaves=8), st.data())
def test_any_container_steps(tree, data):
    arrays = [a for a in leaves(like(tree, lambda a: a, data)) if isinstance(a, np.ndarray)]
    grads = like(tree, lambda a: np.full_like(a, 2.0), data)
    opt = gd.SGD(lr=0.5)
    opt.step(tree, grads)
    opt.step(tree, grads)
    assert all((a == -1).all() for a in arrays)


@pytest.mark.parametrize(
    ("grads", "where"),
    [
        ({"W": np.ones(2)}, "grads"),
        ({"W": np.ones(2), "c": [np.ones(2)]}, "grads['b']"),
        ({"W": np.ones(2), "b": []}, "grads['b']"),
        ({"W": np.ones(2), "b": np.ones(2)}, "grads['b']"),
        ({"W": np.ones(2), "b": {"0": np.ones(2)}}, "grads['b']"),
        ({"W": np.ones(2), "b": [np.ones(2), np.ones(2)]}, "grads['b']"),
        ({"W": [np.ones(2)], "b": [np.ones(2)]}, "grads['W']"),
        ([np.ones(2), [np.ones(2)]], "grads"),
        (collections.defaultdict(list, W=np.ones(2), c=[]), "grads['b']"),
        (np.ones(2), "grads"),
    ],
)
def test_structures_that_differ_are_refused(grads, where):
    params, opt = {"W": np.ones(2), "b": [np.ones(2)]}, gd.Adam()
    before = picture(opt, params, grads)
    with pytest.raises((TypeError, ValueError)) as raised:
        opt.step(params, grads)
    assert str(raised.value).startswith(where + " ")
    assert picture(opt, params, grads) == before


def test_nothing_at_all_steps():
    for nothing in ([], (), {}, [[], {}, ()]):
        opt = gd.Adam(global_clip_norm=1.0)
        opt.step(nothing, nothing)
        opt.step(nothing, nothing)
        assert opt.t == 2
        assert gd.clip_by_global_norm(nothing, 1.0) == 0


def test_a_container_in_itself_ends_in_a_recursion_error():
    line, loop = [], {}
    line.append(line)
    loop["a"] = [loop]
    deep = np.ones(1)
    for _ in range(100_000):
        deep = [deep]
    for bad in (line, loop, deep):
        for call in (
            lambda: gd.Adam().step(bad, bad),  # noqa: B023
            lambda: gd.clip_by_global_norm(bad, 1.0),  # noqa: B023
        ):
            with pytest.raises(RecursionError):
                call()
    while isinstance(deep, list):
        deep = deep.pop()


class Rude:
    """A key that cannot be shown."""

    def __repr__(self):
        raise LookupError("no name")


def test_a_key_that_cannot_be_shown():
    key = Rude()
    w, opt = np.ones(2), gd.Adam()
    with pytest.raises(LookupError):
        opt.step({key: w}, {key: np.ones(3)})
    opt.step({key: w}, {key: np.ones(2)})
    assert opt.t == 1


# ---- Callbacks that misbehave --------------------------------------------------------------------


class Emptying:
    """A number, or a key, that empties containers when it is asked for its value."""

    def __init__(self, *containers):
        self.containers = containers

    def empty(self):
        for container in self.containers:
            container.clear()

    def __float__(self):
        self.empty()
        return 1.0

    def __hash__(self):
        return 7

    def __eq__(self, other):
        self.empty()
        return True


def test_a_gradient_that_empties_the_containers():
    for size in (10, 100_000):
        params, grads = [], []
        params += [np.ones(size), np.ones(()), np.ones(size)]
        grads += [np.ones(size), Emptying(params, grads), np.ones(size)]
        first = params[0]
        opt = gd.Adam()
        with pytest.raises(ValueError, match="was taken out"):
            opt.step(params, grads)
        assert (first == 1).all()
        assert opt.t == 0
        assert opt._state() is None


def test_a_key_that_empties_the_containers():
    params, grads = {}, {}
    params.update({Emptying(params): np.ones(2), "b": np.ones(2)})
    grads.update({Emptying(grads, params): np.ones(2), "b": np.ones(2)})
    with pytest.raises((ValueError, RuntimeError)):
        gd.SGD().step(params, grads)


def test_a_schedule_that_drops_the_gradients():
    n = 50_000
    grads, params = [], [np.zeros(n), np.zeros(n)]

    def schedule(t):
        grads.clear()
        np.full(n, np.nan), np.full(n, np.nan)  # would land where the gradients were
        return 1.0

    opt = gd.SGD(lr=schedule)
    for step in (1, 2):
        grads += [np.ones(n), np.ones(n)]
        opt.step(params, grads)
        assert all((p == -step).all() for p in params)


def test_a_schedule_or_closure_may_not_use_its_optimizer():
    w = np.ones(2)
    calls = {
        "step": lambda opt: opt.step(w, ones(w)),
        "reset": lambda opt: opt.reset(),
        "set_params": lambda opt: opt.set_params(weight_decay=0.5),
        "restore": lambda opt: opt._restore(3, None),
    }
    for call in calls.values():
        opt = gd.SGD(lr=lambda t: call(opt))  # noqa: B023
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step(w, ones(w))
        opt = gd.SGD(lr=0.5)
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            opt.step(w, closure=lambda: call(opt))  # noqa: B023
        assert w.tolist() == [1.0, 1.0]
        assert opt.t == 0
        opt.step(w.copy(), closure=lambda: (0.0, ones(w)))


@pytest.mark.parametrize("returned", [None, 1.0, (1.0,), [1.0, np.ones(2)], (1.0, np.ones(2), 3)])
def test_a_closure_returns_a_pair(returned):
    with pytest.raises(TypeError, match="closure"):
        gd.SGD().step(np.ones(2), closure=lambda: returned)


@pytest.mark.parametrize("rate", [-1.0, np.nan, np.inf, "0.1", None, 1j])
def test_a_schedule_that_gives_no_rate(rate):
    w, opt = np.ones(2), gd.Adam(lr=lambda t: rate)
    with pytest.raises((TypeError, ValueError)):
        opt.step(w, ones(w))
    assert w.tolist() == [1.0, 1.0]
    assert opt.t == 0
    assert opt._state() is None


def test_the_exception_of_a_callback_comes_through():
    def fail(*args):
        raise ZeroDivisionError

    for call in (
        lambda: gd.SGD(lr=fail).step(np.ones(2), np.ones(2)),
        lambda: gd.SGD().step(np.ones(2), closure=fail),
        lambda: gd.SGD().step(np.ones(1), type("Bad", (), {"__float__": fail})()),
        lambda: gd.losses.mse(type("Bad", (), {"__array__": fail})(), np.ones(2)),
    ):
        with pytest.raises(ZeroDivisionError):
            call()


def test_threads_do_not_share_a_step():
    """A second thread is refused or comes later; steps that were taken are whole."""
    n = 200_000
    w, g, opt = np.zeros(n), np.ones(n), gd.SGD(lr=1.0)
    taken, refusals = [], []

    def work():
        for _ in range(30):
            try:
                opt.step(w, g)
                taken.append(1)
            except RuntimeError:
                refusals.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) + len(refusals) == 90
    assert opt.t == len(taken) > 0
    assert (w == -len(taken)).all()


@pytest.mark.parametrize("kind", [gd.Adam, gd.SGD, _core.Optimizer])
def test_an_optimizer_that_was_never_initialised(kind):
    opt = kind.__new__(kind)
    with pytest.raises(RuntimeError, match="initialised"):
        opt.step(np.ones(2), np.ones(2))
    assert opt._state() is None
    with pytest.raises(IndexError):
        opt._state_names(0)


@pytest.mark.parametrize("n", [0, -1, 257, 2**31, 2**64, -(2**200)])
def test_set_num_threads_refuses(n):
    before = gd.get_num_threads()
    with pytest.raises(ValueError, match="1 to 256"):
        gd.set_num_threads(n)
    for wrong in (True, 1.0, "2", None, np.ones(2)):
        with pytest.raises(TypeError):
            gd.set_num_threads(wrong)
    gd.set_num_threads(np.int64(before))
    assert gd.get_num_threads() == before


class Meddling:
    """An array-like that does something when it is read."""

    def __init__(self, array, action):
        self.array, self.action = array, action

    def __array__(self, dtype=None, copy=None):
        self.action()
        return self.array


def test_labels_are_checked_after_all_user_code():
    labels, scores = np.zeros(4, np.int64), np.ones((4, 3))
    weights = Meddling(np.ones(4), lambda: labels.fill(10**9))
    with pytest.raises(ValueError, match="class number"):
        gd.losses.sparse_categorical_crossentropy.value_and_grad(labels, scores, weights)


def test_a_prediction_that_is_given_another_shape_meanwhile():
    pred = np.ones((6, 2))
    weights = Meddling(np.ones(6), lambda: pred.resize((2, 6), refcheck=False))
    for target in (np.zeros((6, 2)), Meddling(np.zeros((6, 2)), lambda: pred.resize((3, 4)))):
        pred.resize((6, 2), refcheck=False)
        value, dy = gd.losses.mse.value_and_grad(target, pred, weights)
        assert value == 1
        assert dy.shape == (6, 2)
