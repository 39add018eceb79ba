"""What the tests of the optimizers share: every configuration of every row of the table, and exact
numbers that carry the error bound of the design.

Nothing here names a row. A case is a class, a dialect and settings: each flag on and off, each
setting that is off (0) by default on and off, each setting bounded to [0, 1) at its default and at
0, a length beyond a thousand steps also short. What the constructor itself refuses is no case.
"""

import hashlib
import itertools
import json

import mpmath
import numpy as np

import gdcore as gd
from gdcore import _core
from gdcore._optimizer import DIALECTS

ROWS = {row["name"]: row for row in _core.OPTIMIZERS}
STEPS = (1, 2, 10, 1000, 10**6)
LOSS = 3.0  # told at every step, for rules that read it
# Rules whose constants are of the array alone: neither sums over arrays nor the loss.
ALONE = {name for name, row in ROWS.items() if row["needs"] == "nothing"}
SUMMING = {name for name, row in ROWS.items() if row["needs"].endswith("sums")}


def choices(hyper):
    """Values to try for one hyper-parameter."""
    if hyper["domain"] == "boolean":
        return (False, True)
    if hyper["count"] == 1 and hyper["defaults"][0] == 0:
        return (0.0, 3.5 if hyper["name"].endswith("steps") else 0.75)
    if hyper["count"] == 1 and hyper["defaults"][0] > 1000:
        return (None, 1.0)
    return (None,)


def settings_of(row):
    """Every combination of settings by name; what is left out is at its default."""
    names = [hyper["name"] for hyper in row["hypers"]]
    for values in itertools.product(*map(choices, row["hypers"])):
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}
    for hyper in row["hypers"]:
        if hyper["domain"] == "unit" and hyper["defaults"][0] != 0:
            yield {hyper["name"]: 0.0 if hyper["count"] == 1 else (0.0,) * hyper["count"]}


def accepted(row, settings):
    try:
        getattr(gd, row["class"])(**settings)
    except ValueError:
        return False
    return True


CASES = [
    (name, {"lr": 0.02, **settings, "dialect": dialect})
    for name, row in ROWS.items()
    for dialect in DIALECTS
    for settings in settings_of(row)
    if accepted(row, {"lr": 0.02, **settings, "dialect": dialect})
]

# One case of each row and dialect: what the engine does around a rule asks for no settings of it.
PLAIN = [*{(name, h["dialect"]): (name, h) for name, h in reversed(CASES)}.values()][::-1]


def label(case):
    """Name of a case: the row, the dialect, and what is not torch's default."""
    name, settings = case
    usual = {hyper["name"]: hyper["defaults"][0] for hyper in ROWS[name]["hypers"]}
    shown = [f"{k}={v}" for k, v in settings.items() if k in usual and v != usual[k] and k != "lr"]
    return "-".join([name, settings["dialect"], *shown])


def make(case, **more):
    name, settings = case
    return getattr(gd, ROWS[name]["class"])(**{**settings, **more})


def stepped(opt, p, grads):
    """The parameter after one step for each gradient, and the optimizer's state by name."""
    p = p.copy("K")
    for g in grads:
        opt.step(p, g, loss=LOSS)
    return p, opt.state_dict()["state"][0]


def fingerprints():
    """A digest of the bits that each case gives, by name of the case: to compare levels."""
    rng = np.random.default_rng(20)
    found = {}
    for case, dtype in itertools.product(CASES, (np.float32, np.float64)):
        draws = rng.normal(size=(6, 1003)) * 10.0 ** rng.integers(-6, 6, size=(6, 1003))
        p, *grads = draws.astype(dtype)
        p, state = stepped(make(case, maximize=True), p, grads)
        digest = hashlib.sha256(b"".join(a.tobytes() for a in (p, *state.values())))
        found[f"{label(case)}-{np.dtype(dtype)}"] = digest.hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps({"level": _core.level(), "bits": fingerprints()}))


# ---- Exact numbers with the error that a float result may have -----------------------------------

mpmath.mp.dps = 50
mpf = mpmath.mpf


RANGE = {
    info.dtype: (mpf(float(info.eps)), mpf(float(info.tiny)), mpf(float(info.max)))
    for info in map(np.finfo, (np.float32, np.float64))
}


class Bounded:
    """An exact value, and how far the result in floating point may lie from it by the design.

    An array that is updated (``updated``: state, and what it is multiplied or divided to) may be
    off by 4 eps times the sum of the absolute values of the terms of its last addition. Other
    operations pass on the errors of what they read, and add the smallest normal number where they
    underflow. ``wild`` marks what leaves the range, divides by 0, or is a sign that the error
    leaves open: exact values say nothing about it.
    """

    def __init__(self, value, dtype, error=0, updated=False, wild=False):
        self.value, self.error = mpf(value), mpf(error)
        self.dtype, self.updated = dtype, updated
        self.eps, tiny, largest = RANGE[dtype]
        if 0 < abs(self.value) < tiny:
            self.error += tiny
        self.wild = wild or not abs(self.value) + self.error < largest

    def _with(self, value, error, *others, updated=False, wild=False):
        wild = wild or any(x.wild for x in (self, *others))
        return Bounded(value, self.dtype, error, updated, wild)

    def _other(self, other):
        return other if isinstance(other, Bounded) else Bounded(other, self.dtype)

    def __add__(self, other):
        if isinstance(other, np.ndarray):
            return NotImplemented
        b = self._other(other)
        error = self.error + b.error
        if self.updated or b.updated:
            error += 4 * self.eps * (abs(self.value) + abs(b.value))
        return self._with(self.value + b.value, error, b)

    def __mul__(self, other):
        if isinstance(other, np.ndarray):
            return NotImplemented
        b = self._other(other)
        error = self.error * (abs(b.value) + b.error) + abs(self.value) * b.error
        return self._with(self.value * b.value, error, b, updated=self.updated or b.updated)

    def __truediv__(self, other):
        if isinstance(other, np.ndarray):
            return NotImplemented
        b = self._other(other)
        low = abs(b.value) - b.error
        if low <= 0:
            return self._with(0, 0, b, wild=True)
        error = (self.error + abs(self.value) * b.error / abs(b.value)) / low
        return self._with(self.value / b.value, error, b, updated=self.updated)

    def sqrt(self):
        if self.value < 0:
            return self._with(0, 0, wild=True)
        low = self.value - self.error
        error = (
            mpmath.sqrt(self.value) - mpmath.sqrt(low)
            if low > 0
            else mpmath.sqrt(self.value + self.error)
        )
        return self._with(mpmath.sqrt(self.value), error)

    def __ge__(self, other):
        """Which is larger; where the errors overlap either may win, so both get the larger one."""
        b = self._other(other)
        if abs(self.value - b.value) <= self.error + b.error:
            self.error = b.error = max(self.error, b.error)
        return self.value >= b.value

    def __gt__(self, other):
        return self.value > self._other(other).value

    def __lt__(self, other):
        return self.value < self._other(other).value

    def __le__(self, other):
        b = self._other(other)
        return self >= b if self.value == b.value else self.value < b.value

    def __abs__(self):
        return self._with(abs(self.value), self.error, updated=self.updated)

    def __pow__(self, power):
        assert power == 0.5
        return self.sqrt()

    def sign(self):
        """-1, 0 or 1; wild where the error leaves open which."""
        sign = (self.value > 0) - (self.value < 0)
        return self._with(sign, 0, wild=0 < self.error >= abs(self.value))

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + self._other(other) * -1

    def __rtruediv__(self, other):
        return self._other(other) / self

    __radd__ = __add__
    __rmul__ = __mul__


def bounded(array, updated=False):
    """An array of floats as an array of exact numbers; a number that is kept, as an exact one."""
    if np.ndim(array) == 0:
        return mpf(float(array))
    cells = np.empty(array.shape, dtype=object)
    cells[...] = [Bounded(float(x), array.dtype, updated=updated) for x in array]
    return cells


def exact_settings(opt):
    """Settings with every number as an mpf of the same value."""

    def exact(value):
        if isinstance(value, tuple):
            return tuple(map(exact, value))
        return mpf(value) if isinstance(value, float) else value

    told = {"loss": LOSS, "grad_norm": opt.grad_norm or 0.0}
    return {name: exact(value) for name, value in {**opt.get_params(), **told}.items()}
