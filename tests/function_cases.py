"""Calls of NumPy's functions for the tests of their derivatives."""

import numpy as np

__all__ = ["CASES", "A", "B"]

A, B = (3, 4), (2, 3, 4)


def over_axes(function):
    """A reduction over each choice of axes, with and without keepdims."""
    return [
        ((lambda x, axis=axis, keep=keep: function(x, axis=axis, keepdims=keep)), A)
        for axis in (None, 0, 1, -1, (0, 1), (-1, 0))
        for keep in (False, True)
    ]


def times(*parts):
    """A product of several results, so that all get a cotangent."""
    total = 1.0
    for part in parts:
        total = total * part
    return total


# By name of NumPy's function: calls with the shapes of their arrays.
CASES = {
    "sum": [
        *over_axes(np.sum),
        (lambda x: x.sum(axis=()), A),
        (lambda x: np.sum(x, initial=2.0), A),
    ],
    "prod": [*over_axes(np.prod), (lambda x: np.prod(x, axis=0, initial=3.0), A)],
    "max": [*over_axes(np.max), (lambda x: np.max(x, axis=0, initial=0.1), A)],
    "amax": [(lambda x: np.amax(x, axis=1), A)],
    "min": over_axes(np.min),
    "amin": [(lambda x: np.amin(x), A)],
    "ptp": over_axes(np.ptp),
    "mean": [*over_axes(np.mean), (lambda x: np.mean(x), ())],
    "var": [
        *over_axes(np.var),
        (lambda x: np.var(x, axis=0, ddof=1), A),
        (lambda x: np.var(x, correction=1), A),
    ],
    "std": [*over_axes(np.std), (lambda x: x.std(1, ddof=1), A)],
    "average": [
        (lambda x: np.average(x), A),
        (lambda x: np.average(x, axis=0, weights=[1, 2, 3]), A),
        (lambda x, w: np.average(x, weights=w * w + 1), A, A),
        (lambda x, w: times(*np.average(x, axis=1, weights=w * w, returned=True)), A, (4,)),
        (lambda x: times(*np.average(x, axis=1, returned=True)), A),
    ],
    "median": [
        (lambda x: np.median(x), A),
        (lambda x: np.median(x, axis=0), A),
        (lambda x: np.median(x, axis=(0, -1), keepdims=True), B),
    ],
    "cumsum": [(lambda x: np.cumsum(x), A), (lambda x: x.cumsum(axis=-1), A)],
    "sort": [
        (lambda x: np.sort(x), A),
        (lambda x: np.sort(x, axis=0), A),
        (lambda x: np.sort(x, axis=None), A),
    ],
    "reshape": [
        (lambda x: np.reshape(x, (2, -1)), A),
        (lambda x: x.reshape(4, 3), A),
        (lambda x: np.reshape(x, -1, order="F"), A),
        (lambda x: np.reshape(x, (2, 6), order="F"), A),
    ],
    "ravel": [(lambda x: np.ravel(x), A), (lambda x: np.ravel(x, order="F"), A)],
    "transpose": [
        (lambda x: x.T, A),
        (lambda x: np.transpose(x, (1, -1, 0)), B),
        (lambda x: x.transpose(1, 0), A),
    ],
    "permute_dims": [(lambda x: np.permute_dims(x, (2, 0, 1)), B)],
    "matrix_transpose": [(lambda x: np.matrix_transpose(x), B), (lambda x: x.mT, B)],
    "swapaxes": [(lambda x: np.swapaxes(x, 0, -1), B)],
    "moveaxis": [
        (lambda x: np.moveaxis(x, 0, -1), B),
        (lambda x: np.moveaxis(x, [0, 1], [-1, 0]), B),
    ],
    "rollaxis": [(lambda x: np.rollaxis(x, 2), B), (lambda x: np.rollaxis(x, 0, 2), B)],
    "squeeze": [
        (lambda x: np.squeeze(x), (2, 1, 4, 1)),
        (lambda x: np.squeeze(x, axis=-1), (2, 1, 4, 1)),
        (lambda x: np.squeeze(x, axis=(1, 3)), (2, 1, 4, 1)),
    ],
    "expand_dims": [(lambda x: np.expand_dims(x, (0, -1)), A), (lambda x: np.expand_dims(x, 1), A)],
    "atleast_1d": [(lambda x: np.atleast_1d(x), ()), (lambda x: np.atleast_1d(x), A)],
    "atleast_2d": [(lambda x: np.atleast_2d(x), ()), (lambda x: np.atleast_2d(x), (3,))],
    "atleast_3d": [(lambda x, shape=shape: np.atleast_3d(x), shape) for shape in ((), (3,), A, B)],
    "broadcast_to": [
        (lambda x: np.broadcast_to(x, (2, 3, 4)), A),
        (lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
        (lambda x: np.broadcast_to(x, 5), ()),
    ],
    "broadcast_arrays": [(lambda x, y: times(*np.broadcast_arrays(x, y)), (3, 1), (4,))],
    "meshgrid": [
        (lambda x, y: times(*np.meshgrid(x, y)), (3,), (4,)),
        (lambda x, y: times(*np.meshgrid(x, y, indexing="ij")), (3,), (4,)),
        (lambda x, y, z: times(*np.meshgrid(x, y, z, sparse=True)), (3,), (2,), (4,)),
    ],
    "flip": [
        (lambda x: np.flip(x), A),
        (lambda x: np.flip(x, -1), A),
        (lambda x: np.flip(x, (0, 2)), B),
    ],
    "fliplr": [(lambda x: np.fliplr(x), A)],
    "flipud": [(lambda x: np.flipud(x), A)],
    "rot90": [(lambda x, k=k: np.rot90(x, k, (1, 2)), B) for k in range(4)],
    "roll": [
        (lambda x, by=by, axis=axis: np.roll(x, by, axis), A)
        for by, axis in ((1, None), (-2, 1), ((1, 2), (0, 1)), (5, 1), ((1, 1), (0, 0)), (0, 0))
    ],
    "concatenate": [
        (lambda x, y: np.concatenate([x, y]), A, (2, 4)),
        (lambda x, y: np.concatenate((x, y, x), axis=-1), A, (3, 1)),
        (lambda x, y: np.concatenate((x, y), axis=None), A, (3, 1)),
    ],
    "concat": [(lambda x, y: np.concat([x, y]), A, (2, 4))],
    "append": [(lambda x, y: np.append(x, y), A, (2,)), (lambda x, y: np.append(x, y, 0), A, A)],
    "stack": [
        (lambda x, y: np.stack([x, y], axis=-1), A, A),
        (lambda x, y: np.stack([x, y, x * y]), (), ()),
        (lambda x: np.stack([x[0], x[0] * 2, x[1]]), (2,)),
    ],
    "hstack": [
        (lambda x, y: np.hstack([x, y]), (3,), (2,)),
        (lambda x, y: np.hstack([x, y]), A, A),
    ],
    "vstack": [(lambda x, y: np.vstack([x, y]), (3,), (2, 3))],
    "dstack": [
        (lambda x, y: np.dstack([x, y]), (3,), (3,)),
        (lambda x, y: np.dstack([x, y]), A, A),
    ],
    "column_stack": [(lambda x, y: np.column_stack([x, y]), (3,), (3, 2))],
    "split": [
        (lambda x: times(*np.split(x, 2, axis=1)), A),
        (lambda x: np.split(x, [1, 3], axis=1)[1], A),
    ],
    "array_split": [(lambda x: times(*[y.sum() for y in np.array_split(x, 3, axis=1)]), A)],
    "hsplit": [(lambda x: times(*np.hsplit(x, 2)), A), (lambda x: times(*np.hsplit(x, 2)), (4,))],
    "vsplit": [(lambda x: times(*np.vsplit(x, 3)), A)],
    "unstack": [(lambda x: times(*np.unstack(x, axis=1)), A)],
    "repeat": [
        (lambda x: np.repeat(x, 2), A),
        (lambda x: np.repeat(x, [1, 0, 2], axis=0), A),
        (lambda x: x.repeat(2, axis=-1), A),
    ],
    "tile": [(lambda x, reps=reps: np.tile(x, reps), A) for reps in (2, (2, 1, 3), (3, 1))],
    "take": [
        (lambda x: np.take(x, [0, -1, 2, 2]), A),
        (lambda x: np.take(x, np.array([[0, -1], [2, 0]]), axis=1), A),
        (lambda x: np.take(x, [0, 9], axis=1, mode="clip"), A),
        (lambda x: np.take(x, [0, 9], axis=1, mode="wrap"), A),
        (lambda x: x.take(1, axis=0), A),
    ],
    "take_along_axis": [
        (lambda x: np.take_along_axis(x, np.array([[0], [1], [-1]]), axis=1), A),
        (lambda x: np.take_along_axis(x, np.array([0, 5]), axis=None), A),
    ],
    "where": [
        (lambda x, y: np.where(x > 0, x, y), A, A),
        (lambda x, y: np.where(x > y, x * y, 2.0), A, (4,)),
        (lambda x: np.where(np.arange(4) > 1, x, 0), A),
        (lambda x: np.where(x > 0, 2, 3) * x, A),
    ],
    "select": [(lambda x: np.select([x > 1, x > 0], [x * x, 3 * x], 0.5), A)],
    "clip": [
        (lambda x: np.clip(x, -0.5, 0.5), A),
        (lambda x: x.clip(-0.5), A),
        (lambda x: np.clip(x, None, 0.5), A),
        (lambda x, low: np.clip(x, low, 0.5), A, (4,)),
        (lambda x: np.clip(x, min=-0.2, max=0.7), A),
    ],
    "nan_to_num": [(lambda x: np.nan_to_num(x), A)],
    "round": [(lambda x: np.round(x, 1) + x, A), (lambda x: x.round() * x, A)],
    "around": [(lambda x: np.around(100 * x, -1) * x, A)],
    "fix": [(lambda x: np.fix(3 * x) * x, A)],
    "diff": [
        (lambda x: np.diff(x), A),
        (lambda x: np.diff(x, 2, axis=0), A),
        (lambda x: np.diff(x, prepend=0, append=x[:, :2]), A),
    ],
    "trapezoid": [
        (lambda y: np.trapezoid(y, dx=0.5), A),
        (lambda y, x: np.trapezoid(y, x), A, (4,)),
        (lambda y, x: np.trapezoid(y, x, axis=0), A, A),
    ],
    "sinc": [(lambda x: np.sinc(x), A), (lambda x: np.sinc(0.01 * x), A)],
    "pad": [
        (lambda x: np.pad(x, 1), A),
        (lambda x: np.pad(x, ((1, 2), (0, 3)), constant_values=7.0), A),
        (lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4))), A),
        *[
            (lambda x, mode=mode: np.pad(x, ((1, 2), (0, 3)), mode=mode), A)
            for mode in ("edge", "reflect", "symmetric", "wrap")
        ],
    ],
    "dot": [
        (lambda x, y: np.dot(x, y), *shapes)
        for shapes in (
            ((3,), (3,)),
            (A, (4,)),
            ((3,), A),
            (A, (4, 2)),
            (B, (4, 2)),
            ((2, 2, 3), (3, 3, 2)),
            ((), A),
            (A, ()),
        )
    ],
    "inner": [
        (lambda x, y: np.inner(x, y), *shapes)
        for shapes in (((3,), (3,)), ((2, 3), (4, 3)), ((2, 2, 3), (4, 3)), ((), (3,)))
    ],
    "outer": [(lambda x, y: np.outer(x, y), (3,), (2, 2))],
    "vdot": [(lambda x, y: np.vdot(x, y), (3, 2), (2, 3))],
    "vecdot": [(lambda x, y: np.vecdot(x, y), (2, 3), (3,))],
    "tensordot": [
        (lambda x, y, axes=axes: np.tensordot(x, y, axes), (3, 3), (3, 3))
        for axes in (0, 1, 2, ([1], [0]), ([0, 1], [1, 0]), ((-1,), (0,)), (1, 0))
    ],
    "einsum": [
        (lambda *x, subscripts=subscripts: np.einsum(subscripts, *x), *shapes)
        for subscripts, *shapes in (
            ("ij,jk->ik", (2, 3), (3, 4)),
            ("ij,jk", (2, 3), (3, 4)),
            ("ij,kj->ik", (2, 3), (4, 3)),
            ("i,i->", (3,), (3,)),
            ("i,j->ij", (3,), (2,)),
            ("i,i->i", (3,), (3,)),
            ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
            ("bi,bi->b", (2, 3), (2, 3)),
            ("...ij,jk->...ik", B, (4, 2)),
            ("...i,...i", (2, 3), (3,)),
            ("ij,ij->", A, A),
            ("ij->ji", A),
            ("ii", (3, 3)),
            ("ii->i", (3, 3)),
            ("ij->", A),
            ("ij->i", A),
            ("iij->j", (3, 3, 2)),
            ("iii->i", (3, 3, 3)),
            ("ji", A),
            ("ij,k->i", A, (2,)),
            ("ii,ij->j", (3, 3), (3, 2)),
            ("i,ij->j", (1,), A),
            ("a...,b...->ab...", A, (2, 4)),
            ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
            ("i,ij,j->", (3,), A, (4,)),
            ("ijk,il,jm->klm", B, (2, 2), (3, 2)),
            ("ij,ij,ij->i", A, A, A),
        )
    ],
    "diag": [(lambda x, k=k: np.diag(x, k), shape) for k in (-2, 0, 1, 5) for shape in (A, (3,))],
    "diagflat": [(lambda x: np.diagflat(x), (2, 2))],
    "diagonal": [(lambda x, k=k: np.diagonal(x, k, 1, 0), B) for k in (-1, 0, 2)],
    "trace": [(lambda x: np.trace(x), (3, 3)), (lambda x: np.trace(x, 1, 2, 1), B)],
    "tril": [(lambda x, k=k: np.tril(x, k), B) for k in (-1, 0, 2)],
    "triu": [(lambda x, k=k: np.triu(x, k), A) for k in (-1, 0, 2)]
    + [(lambda x: np.triu(x), (3,))],
    "polyval": [
        (lambda x: np.polyval(np.array([1, 0, -5, 2], x.dtype), x), A),
        (lambda c, x: np.polyval(c, x), (3,), A),
    ],
    "copy": [(lambda x: np.copy(x) * x, A)],
    "real": [(lambda x: np.real(x) * x, A)],
    "astype": [(lambda x: np.astype(x, np.float64) * x.astype(bool), A)],
    "full_like": [(lambda x: np.full_like(x, x[0, 0]) * x, A)],
}
