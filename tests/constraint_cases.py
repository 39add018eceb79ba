"""What the tests of constraints share: each of the module's, with settings; and digests of the bits
of a level, printed by this file as a script.
"""

import hashlib
import json

import numpy as np

import gdcore as gd
from gdcore import _core, constraints

KINDS = [getattr(constraints, name) for name in constraints.__all__ if name != "Constraint"]
MADE = {constraints.box: [(-0.5, 0.25)], constraints.max_norm: [(0.7,), ()]}
ALL = [kind(*args) for kind in KINDS for args in MADE.get(kind, [()])]
CLASSES = [getattr(gd, row["class"]) for row in _core.OPTIMIZERS]


def draws(rng, shape, dtype):
    return np.array(rng.normal(size=shape), dtype)


def both_orders(x):
    return np.array(x, order="C"), np.array(x, order="F")


def run(opt, params, steps=3, seed=5):
    """Params after steps with gradients drawn in C order."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        grads = []
        for p in params:
            g = np.empty_like(p)
            g[...] = rng.normal(size=p.shape)
            grads.append(g)
        opt.step(params, grads, loss=1.0)
    return params


def digests():
    """A digest of the bits of every projection and of adaptive clipping, by name."""
    rng, found = np.random.default_rng(3), {}
    for dtype in (np.float32, np.float64):
        for shape in ((70_000,), (900, 100), (5, 1000)):
            x = draws(rng, shape, dtype)
            digest = hashlib.sha256()
            for order in both_orders(x):
                for constraint in ALL:
                    digest.update(constraint(order).tobytes("C"))
                opt = gd.SGD(0.1, clip_adaptive=0.01, l1=0.01, constraint=gd.constraints.simplex())
                digest.update(run(opt, [order])[0].tobytes("C"))
            found[f"{np.dtype(dtype)}{shape}"] = digest.hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps({"level": _core.level(), "bits": digests()}))
