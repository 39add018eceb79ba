"""Functions, starts and optimizers that the tests of descents share."""

import numpy as np

import gdcore as gd

SPECTRUM = np.array([0.5, 1.0, 4.0])
ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
MATRIX = ROTATION @ np.diag(SPECTRUM) @ ROTATION.T
START = np.array([1.0, -2.0, 0.5])


def sextic(x):
    return x**6 - 5 * x**4 + 4 * x**2


def sextic_slope(x):
    return 6 * x**5 - 20 * x**3 + 8 * x


def quadric(x):
    return 0.5 * (x @ MATRIX @ x)


def quadric_grad(x):
    return MATRIX @ x


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def rosenbrock_grad(p):
    v = p[1] - p[0] ** 2
    return np.array([-2 * (1 - p[0]) - 400 * p[0] * v, 200 * v])


OPTIMIZERS = {
    **{row["class"]: lambda row=row: getattr(gd, row["class"])() for row in gd._core.OPTIMIZERS},
    "LBFGS": lambda: gd.LBFGS(max_iter=2),
    "Armijo": gd.Armijo,
    "cosine": lambda: gd.SGD(gd.schedules.cosine(0.1, 0.01, 30)),
    "one_cycle": lambda: gd.Adam(gd.schedules.one_cycle(0.1, 30)),
    "by_gradient": lambda: gd.SGD(gd.schedules.by_gradient(scale=0.1, max=0.3)),
    "plateau": lambda: gd.SGD(gd.schedules.plateau(0.6, patience=0, threshold=0.1)),
    "a function": lambda: gd.SGD(lambda t: 0.1 / (1 + t), momentum=0.5),
    "clipping": lambda: gd.SGD(0.1, global_clip_norm=0.5),
    "a box": lambda: gd.SGD(0.1, constraint=gd.constraints.box(-1.5, 0.7)),
}
