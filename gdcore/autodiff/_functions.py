"""Which function of ours does what a function of NumPy does, for traced values.

`TABLE` is what `Traced.__array_function__` looks in. Its functions take NumPy's arguments, of which
one at least is a traced value, and stand in `_reductions`, `_shapes`, `_indexing`, `_products`,
`_einsum`, `_matrices`, `_choices`, `_questions`, `_foreign` and `_linalg`. `activation` and `loss`
are gdcore's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gdcore.autodiff import _choices as choices
from gdcore.autodiff import _linalg as linalg
from gdcore.autodiff import _matrices as matrices
from gdcore.autodiff import _products as products
from gdcore.autodiff import _questions as questions
from gdcore.autodiff import _reductions as reductions
from gdcore.autodiff import _shapes as shapes
from gdcore.autodiff._einsum import einsum
from gdcore.autodiff._foreign import cumsum
from gdcore.autodiff._indexing import take_along_axis, take_function
from gdcore.autodiff._own import activation, loss
from gdcore.autodiff._questions import astype

__all__ = ["TABLE", "activation", "astype", "loss"]

_SHAPES = (
    "reshape ravel transpose matrix_transpose swapaxes moveaxis rollaxis squeeze expand_dims "
    "atleast_1d atleast_2d atleast_3d broadcast_to broadcast_arrays meshgrid flip fliplr flipud "
    "rot90 roll concatenate append stack hstack vstack dstack column_stack array_split split "
    "hsplit vsplit unstack repeat tile"
).split()

TABLE: dict[Any, Callable[..., Any]] = {
    **questions.TABLE,
    **{getattr(np, name): getattr(shapes, name) for name in _SHAPES if hasattr(np, name)},
    np.permute_dims: shapes.transpose,
    np.concat: shapes.concatenate,
    np.sum: reductions.sum_,
    np.prod: reductions.prod,
    np.max: reductions.max_,
    np.amax: reductions.max_,
    np.min: reductions.min_,
    np.amin: reductions.min_,
    np.ptp: reductions.ptp,
    np.mean: reductions.mean,
    np.average: reductions.average,
    np.var: reductions.var,
    np.std: reductions.std,
    np.cumsum: cumsum,
    np.take: take_function,
    np.take_along_axis: take_along_axis,
    np.where: choices.where,
    np.select: choices.select,
    np.clip: choices.clip,
    np.nan_to_num: choices.nan_to_num,
    np.round: choices.round_,
    np.around: choices.round_,
    np.fix: choices.fix,
    np.sort: choices.sort,
    np.median: choices.median,
    np.diff: choices.diff,
    np.trapezoid: choices.trapezoid,
    np.polyval: choices.polyval,
    np.sinc: choices.sinc,
    np.pad: choices.pad,
    np.dot: products.dot,
    np.inner: products.inner,
    np.outer: products.outer,
    np.vdot: products.vdot,
    np.tensordot: products.tensordot,
    np.einsum: einsum,
    np.diag: matrices.diag,
    np.diagflat: matrices.diagflat,
    np.diagonal: matrices.diagonal,
    np.trace: matrices.trace,
    np.tril: matrices.tril,
    np.triu: matrices.triu,
    **linalg.TABLE,
}
for _name in ("vecdot",):  # a ufunc since NumPy 2.0
    if hasattr(np, _name):
        TABLE[getattr(np, _name)] = products.vecdot
