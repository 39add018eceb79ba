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

TABLE: dict[Any, Callable[..., Any]] = {
    **questions.TABLE,
    np.reshape: shapes.reshape,
    np.ravel: shapes.ravel,
    np.transpose: shapes.transpose,
    np.matrix_transpose: shapes.matrix_transpose,
    np.swapaxes: shapes.swapaxes,
    np.moveaxis: shapes.moveaxis,
    np.rollaxis: shapes.rollaxis,
    np.squeeze: shapes.squeeze,
    np.expand_dims: shapes.expand_dims,
    np.atleast_1d: shapes.atleast_1d,
    np.atleast_2d: shapes.atleast_2d,
    np.atleast_3d: shapes.atleast_3d,
    np.broadcast_to: shapes.broadcast_to,
    np.broadcast_arrays: shapes.broadcast_arrays,
    np.meshgrid: shapes.meshgrid,
    np.flip: shapes.flip,
    np.fliplr: shapes.fliplr,
    np.flipud: shapes.flipud,
    np.rot90: shapes.rot90,
    np.roll: shapes.roll,
    np.concatenate: shapes.concatenate,
    np.append: shapes.append,
    np.stack: shapes.stack,
    np.hstack: shapes.hstack,
    np.vstack: shapes.vstack,
    np.dstack: shapes.dstack,
    np.column_stack: shapes.column_stack,
    np.array_split: shapes.array_split,
    np.split: shapes.split,
    np.hsplit: shapes.hsplit,
    np.vsplit: shapes.vsplit,
    np.repeat: shapes.repeat,
    np.tile: shapes.tile,
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
    np.vecdot: products.vecdot,
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
# What NumPy 2.0 does not have.
for _name, _function in (("astype", astype), ("unstack", shapes.unstack)):
    if hasattr(np, _name):
        TABLE[getattr(np, _name)] = _function
