"""The extension module itself: made more than once, and called with anything at all."""

import sys

import pytest
from entries import run

import gdcore as gd


def test_the_module_can_be_made_again_and_again():
    """More often than an interpreter has room for exit functions (32)."""
    run("""
        import gc, sys
        import numpy as np
        import gdcore
        first = gdcore._core
        w = np.ones(3)
        old = gdcore.Adam()
        for _ in range(40):
            for name in [name for name in sys.modules if name.startswith("gdcore")]:
                del sys.modules[name]
            import gdcore
        assert gdcore._core is not first
        assert gdcore._core.Optimizer is not first.Optimizer
        assert gdcore.NonFiniteError is not first.NonFiniteError
        new = gdcore.Adam(on_nonfinite="raise")
        old.step(w, np.ones(3))
        new.step(w, np.ones(3))
        for module, opt in ((first, type(old)(on_nonfinite="raise")), (gdcore, new)):
            try:
                opt.step(w, np.full(3, np.nan))
            except module.NonFiniteError:
                pass
            else:
                raise AssertionError
        del first, old, module, opt
        gc.collect()
        new.step(w, np.ones(3))
    """)


def test_an_import_that_fails_can_be_tried_again():
    run("""
        import os
        os.environ["GDCORE_ISA"] = "none"
        try:
            import gdcore
        except ImportError as error:
            assert "GDCORE_ISA" in str(error)
        else:
            raise AssertionError
        del os.environ["GDCORE_ISA"]
        import gdcore
        assert gdcore.get_num_threads() >= 1
    """)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="an extension can refuse since Python 3.12")
def test_another_interpreter_of_the_process_is_refused():
    run("""
        import sys
        import gdcore
        if sys.version_info >= (3, 13):
            import _interpreters
        else:
            import _xxsubinterpreters as _interpreters
        code = "try:\n import gdcore._core\nexcept ImportError:\n pass\nelse:\n raise SystemError"
        number = _interpreters.create()
        assert _interpreters.run_string(number, code) is None
    """)


def test_a_subclass_lives_and_dies_in_a_cycle():
    run("""
        import gc, weakref
        import numpy as np
        import gdcore as gd

        class Mine(gd.SGD):
            pass

        def schedule(t):
            return 0.5

        opt = Mine(lr=schedule)
        schedule.opt = opt
        w = np.ones(3)
        opt.step([w], [np.ones(3)])
        dead, gone = weakref.ref(opt), weakref.ref(Mine)
        references = [weakref.ref(a) for a in opt._state()[0]]
        del opt, Mine, schedule
        gc.collect()
        assert dead() is None and gone() is None
        assert all(reference() is None for reference in references)
    """)


FUZZ = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    import gdcore as gd
    from entries import core_names
    from gdcore import _core

    class Odd:
        def __float__(self):
            raise KeyError
        __bool__ = __index__ = __array__ = __len__ = __eq__ = __float__
        __hash__ = object.__hash__

    def ring():
        x = []
        x.append(x)
        return x

    def bound():
        opt, w = gd.Adam(), np.ones(3)
        opt.step(w, np.ones(3))
        return opt

    THINGS = [
        lambda: None, lambda: True, lambda: 0, lambda: 1, lambda: 2, lambda: -1, lambda: 2**62,
        lambda: -(2**63), lambda: 2**64, lambda: 0.5, lambda: float("nan"), lambda: -1e308,
        lambda: 1j, lambda: "", lambda: "exp", lambda: "\\0", lambda: b"x", lambda: (), lambda: [],
        lambda: {}, lambda: (0,), lambda: (1,), lambda: (2, 0.5), lambda: (4,), lambda: (7,),
        lambda: (-1,), lambda: (2**70,), lambda: (0, "x"), lambda: (0,) * 6, lambda: ring(),
        lambda: Odd(), lambda: object(), lambda: _core, lambda: iter([1]),
        lambda: np.float32(1), lambda: np.float16(1), lambda: np.ones(()), lambda: np.ones(3),
        lambda: np.ones(3, np.float32), lambda: np.ones((3, 3)), lambda: np.ones((3, 3)).T,
        lambda: np.ones((2, 3, 4))[:, ::-1], lambda: np.zeros((0, 3)), lambda: np.zeros((2**50, 0)),
        lambda: np.broadcast_to(1.0, (2**50, 3)), lambda: np.arange(3), lambda: np.ones(3, bool),
        lambda: np.ones(3, ">f8"), lambda: np.ones(3, "f4,f8"), lambda: np.array(["x"]),
        lambda: np.array([None, 1.0]), lambda: np.ma.ones(3), lambda: np.full(3, np.nan),
        lambda: [np.ones(3), np.ones(3, np.float32)], lambda: {"a": np.ones(3)},
        lambda: ((1e-3, 0.9, 0.999, 1e-8, 0.0, 0.0), np.inf, np.inf, False),
        lambda: (((1e-3, 0.9, 0.999, 1e-8, 0.0, 0.0), np.inf, np.inf, False),),
        lambda: [(np.zeros(3), np.zeros(3))], lambda: [(np.zeros(3),)], lambda: [()],
        lambda: gd.losses.mse, lambda: gd.activations.softmax, lambda: (None,),
        lambda: (lambda *a: 0.1), lambda: (lambda *a: (1.0, np.ones(3))),
    ]
    OWNERS = [bound, gd.SGD, lambda: gd.Adam.__new__(gd.Adam), _core.Optimizer]
    KEYWORDS = ["params", "grads", "loss", "closure", "trace", "out", "z", "activation", "x"]
    names = sorted(core_names())
    things = st.sampled_from(THINGS)
    calls = st.tuples(
        st.sampled_from(names), st.sampled_from(OWNERS), st.lists(things, max_size=7),
        st.dictionaries(st.sampled_from(KEYWORDS), things, max_size=2),
    )
    raised, returned = set(), set()

    @settings(max_examples=int(sys.argv[2]), deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.lists(calls, min_size=1, max_size=4))
    def any_calls(sequence):
        owners = {}
        for name, owner, arguments, keywords in sequence:
            target = _core
            if "." in name:
                target = owners.setdefault(owner, owner())
            try:
                function = getattr(target, name.split(".")[-1])
                if callable(function):
                    function(*[thing() for thing in arguments],
                             **{key: thing() for key, thing in keywords.items()})
                returned.add(name)
            except SystemError:
                raise
            except Exception:
                raised.add(name)

    any_calls()
    gd.set_num_threads(1)
    w = np.ones(3)
    gd.SGD(lr=1.0).step(w, np.ones(3))
    assert not w.any()
    print(len(raised), len(returned), len(names))
"""


def test_no_call_of_the_core_crashes(root):
    raised, returned, names = map(int, run(FUZZ, str(root / "tests"), "2500").split())
    assert raised > 0.7 * names
    assert returned > 0.25 * names


def test_a_name_that_does_not_exist_suggests_the_nearest():
    for module, wrong, right in [
        (gd, "Adamm", "Adam"),
        (gd.activations, "sigmod", "sigmoid"),
        (gd.losses, "hubr", "huber"),
        (gd.schedules, "cosin", "cosine"),
        (gd.initializers, "he_norml", "he_normal"),
        (gd.constraints, "maxnorm", "max_norm"),
        (gd.datasets, "rosenbrok", "rosenbrock"),
    ]:
        message = f"module {module.__name__!r} has no attribute {wrong!r}; did you mean {right!r}?"
        with pytest.raises(AttributeError) as raised:
            getattr(module, wrong)
        assert str(raised.value) == message
        assert not hasattr(module, "__wrapped__")
