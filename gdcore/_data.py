"""What X, y and weights may be: looked at before anything changes, and never copied as a whole.

What comes back is a view of what was given, of any strides and of any type that the core converts
chunk by chunk: float32, float64, booleans, integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gdcore import _core

Array = NDArray[Any]
Rows = slice | NDArray[np.intp]

BLOCK = 1 << 16  # elements that are looked at together: their temporaries stay in the cache
_TYPES = frozenset("?bBhHiIlLqQfd")
_ENCODE = "classes, {name} = np.unique({name}, return_inverse=True) makes class numbers of labels"


# ---- Arrays of whatever is given -----------------------------------------------------------------


def as_data(value: Any, name: str, labels: bool = False) -> Array:
    """Return the array behind a value, of a type that the core reads; its memory is not copied.

    `labels` says that it may be meant as classes, for which the error of another type has a hint.

    Raises
    ------
    TypeError
        For float16, long double, complex, text, objects, masked and sparse arrays, and another
        byte order.
    ValueError
        For lists that are ragged, and memory that is not aligned.
    """
    array = value if type(value) is np.ndarray else _converted(value, name)
    if array.dtype.char not in _TYPES:
        _refuse_type(array, name, labels)
    if not array.dtype.isnative:
        raise TypeError(
            f"{name} is {array.dtype} in the other byte order; the machine's own is accepted:"
            f" {name}.astype({name}.dtype.newbyteorder('='))"
        )
    if not array.flags.aligned:
        raise ValueError(
            f"{name} is not aligned to its type (a view into packed bytes?); {name}.copy() is"
        )
    return array


def _converted(value: Any, name: str) -> Array:
    """Return the array of a list, a subclass of arrays, a frame or a tensor."""
    if value is None:
        raise TypeError(f"{name} is None; an array is accepted")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask would not be seen; accepted is {name}.data, or"
            f" {name}.filled(value)"
        )
    if hasattr(value, "toarray"):
        raise TypeError(
            f"{name} is {type(value).__name__}, a sparse array; accepted is {name}.toarray()"
        )
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    if _is_sequence(value):  # NumPy asks such a one for entries until it raises, if it ever does
        value = [value[i] for i in range(len(value))]
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        if isinstance(value, list | tuple):
            raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from None
        raise
    if array.dtype == object and not array.ndim:
        raise TypeError(f"{name} is {type(value).__name__}; {_way_to_rows(value, name)}")
    return array


def _is_sequence(value: Any) -> bool:
    """Whether a value has entries and a length, and nothing else by which they are read."""
    others = ("__iter__", "__array__", "__array_interface__", "__buffer__")
    own = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    return own and not isinstance(value, memoryview) and not any(hasattr(value, o) for o in others)


def _way_to_rows(value: Any, name: str) -> str:
    """Return what is accepted instead of one object that is no array."""
    if isinstance(value, Mapping):
        return f"an array is accepted: np.column_stack([*{name}.values()]) of columns"
    if not (hasattr(value, "__iter__") or callable(value)):
        return "an array, or what NumPy reads as one, is accepted"
    if name == "X":
        return (
            "an array with all rows is accepted (batches (X, y) that come one by one are for"
            " model.fit alone, without y: model.fit(batches))"
        )
    return f"an array with all rows is accepted: np.array([*{name}])"


def _refuse_type(array: Array, name: str, labels: bool) -> NoReturn:
    """Raise for an array whose type the core does not read."""
    if array.dtype.kind not in "OUST":
        way_out = f"{name}.astype(np.float64)"
        if array.dtype.kind == "c":
            way_out = f"{name}.real, np.abs({name}), or both parts side by side"
        raise TypeError(
            f"{name} has dtype {array.dtype}; float32, float64, integers and booleans are accepted:"
            f" {way_out}"
        )
    found = f" (its first entry is {array.flat[0]!r:.40})" if array.size else ""
    hint = f", and {_ENCODE.format(name=name)}" if labels else ""
    raise TypeError(
        f"{name} has dtype {array.dtype}{found}; numbers are accepted: np.array({name}, np.float64)"
        f" reads those that are stored as text or objects{hint}"
    )


def find_outside(matrix: Array, low: float, high: float) -> tuple[int, int] | None:
    """Return row and column of the first value that is not in [low, high], or None."""
    step = max(BLOCK // max(matrix.shape[1], 1), 1)
    for start in range(0, len(matrix), step):
        block = matrix[start : start + step]
        inside = (block >= low) & (block <= high)
        if not inside.all():
            row, column = np.unravel_index(int(np.argmin(inside)), inside.shape)
            return start + int(row), int(column)
    return None


def _check_finite(matrix: Array, name: str, other: str, axes: int = 2) -> None:
    """Refuse a NaN or an infinity; the error names the first, `other` has as many rows."""
    place = _core.find_nonfinite(matrix)
    if place is not None:
        row, column = place
        raise ValueError(
            f"{name} holds {float(matrix[place])} in row {row}, column {column}; finite numbers are"
            f" accepted: {_left_out(name, other, axes)}, or fill them"
        )


def _left_out(name: str, other: str, axes: int) -> str:
    """Return how rows that are not finite are left out of an array, and of the other if any."""
    each = "" if axes == 1 else f".all(axis={1 if axes == 2 else tuple(range(1, axes))})"
    both = f"{name}[keep], {other}[keep]" if other else f"{name}[keep]"
    return f"leave such rows out (keep = np.isfinite({name}){each}; {both})"


# ---- X -------------------------------------------------------------------------------------------


def check_X(X: Any, width: int | None, name: str = "X", other: str = "y") -> Array:
    """Return X as a matrix, a view of what was given.

    Parameters
    ----------
    X : array-like, (n, width)
        An array of any strides, a memory map, a list, a frame, a tensor on the CPU.
    width : int or None
        Columns that the model takes; None while it does not know.
    name, other : str
        What errors call it and the targets, "" where there are none.

    Raises
    ------
    TypeError, ValueError
        Naming what was found, and the way out.
    """
    array = as_data(X, name)
    if array.ndim != 2 and array.size:
        _refuse_axes(array, width, name)
    n, columns = array.shape if array.ndim == 2 else (0, 0)
    if not n or not columns:
        raise ValueError(
            f"{name} is empty: it has shape {array.shape}; one row and column or more are accepted"
        )
    if width is not None and columns != width:
        raise ValueError(
            f"{name} has {columns} columns but the model takes rows of {width}; its shape is"
            f" {array.shape}"
        )
    _check_finite(array, name, other)
    return array


def _refuse_axes(array: Array, width: int | None, name: str) -> NoReturn:
    """Raise for an X that is no matrix."""
    if array.ndim == 0:
        raise ValueError(f"{name} is the number {array}; rows are accepted: [[{array}]]")
    if array.ndim == 1:
        one_row = f"{name}[None, :]" + (" (which fits the model)" if len(array) == width else "")
        raise ValueError(
            f"{name} has shape {array.shape}; rows and columns are accepted: {name}[:, None] for"
            f" {len(array)} rows of one column, {one_row} for one row"
        )
    raise ValueError(
        f"{name} has shape {array.shape}; rows and columns are accepted:"
        f" {name}.reshape(len({name}), -1)"
    )


# ---- y -------------------------------------------------------------------------------------------


def check_y(y: Any, kind: str, outputs: int, n: int, name: str = "y", other: str = "X") -> Array:
    """Return the targets as the core takes them, a view of what was given.

    Parameters
    ----------
    y : array-like
    kind : str
        What the loss compares with, `gdcore._last_layer.Head.kind`.
    outputs : int
        Columns of the predictions.
    n : int
        Rows of X.
    name, other : str
        What errors call it and X.

    Returns
    -------
    ndarray
        (n,) class numbers for "sparse"; (n, 1) for "paired"; (n, outputs) for the rest; for
        "function" that, or what was given where more than axes of length 1 differ.

    Raises
    ------
    TypeError, ValueError
        Naming what was found, the first row of it, and the way out.
    """
    array = as_data(y, name, labels=True)
    if array.ndim == 0:
        raise ValueError(f"{name} is the number {array}; one target for each row is accepted")
    check_length(array, n, name, other)
    if kind == "sparse":
        return _class_numbers(array, outputs, name, other)
    columns = 1 if kind == "paired" else outputs
    matrix = _matrix(array, columns)
    if matrix is None:
        if kind == "function":
            flat = array.reshape(n, -1) if array.ndim != 1 else array[:, None]
            _check_finite(flat, name, other, array.ndim)
            return array
        _refuse_targets(array, kind, columns, name)
    _check_finite(matrix, name, other, array.ndim)
    if kind in ("binary", "onehot"):
        _check_shares(matrix, kind, name)
    return matrix


def check_length(array: Array, n: int, name: str, other: str = "X") -> None:
    """Refuse data of another length than n rows."""
    if len(array) != n:
        raise ValueError(
            f"{name} has {len(array)} rows but {other} has {n}; data of the same length are"
            " accepted"
        )


def _matrix(array: Array, columns: int) -> Array | None:
    """Return an array as (n, columns), a view, where only axes of length 1 differ, else None."""
    if array.ndim == 2 and array.shape[1] == columns:
        return array
    long = tuple(i for i, length in enumerate(array.shape) if i > 0 and length != 1)
    kept = [array.shape[i] for i in long]
    if kept != ([] if columns == 1 else [columns]):
        return None
    index = tuple(slice(None) if i == 0 or i in long else 0 for i in range(array.ndim))
    view = array[index]
    return view[:, None] if columns == 1 else view


def _class_numbers(array: Array, classes: int, name: str, other: str) -> Array:
    """Return class numbers (n,) after a look at each."""
    labels = _matrix(array, 1)
    if labels is None:
        hint = ""
        if array.ndim == 2 and array.shape[1] == classes:
            hint = "; rows of one-hot classes go to categorical_crossentropy"
        raise ValueError(
            f"{name} has shape {array.shape}; class numbers, one for each row, are accepted{hint}"
        )
    row = _core.find_bad_label(labels[:, 0], classes)
    if row is not None:
        found = labels[row, 0]
        if found == classes:
            hint = f" (classes that begin with 1? {name} - 1)"
        elif not np.isfinite(found):
            hint = f": {_left_out(name, other, array.ndim)}"
        else:
            hint = f" ({_ENCODE.format(name=name)})"
        raise ValueError(
            f"{name} holds the class {found.item()!r} in row {row}; whole numbers 0 to"
            f" {classes - 1} are accepted, one class for each of the {classes} outputs{hint}"
        )
    return labels[:, 0]


def _refuse_targets(array: Array, kind: str, columns: int, name: str) -> NoReturn:
    """Raise for targets that are not shaped like the predictions."""
    n = len(array)
    wanted = f"({n}, {columns})" + (f" or ({n},)" if columns == 1 else "")
    hint = ""
    if kind in ("onehot", "binary") and _matrix(array, 1) is not None:
        hint = "; class numbers go to sparse_categorical_crossentropy"
    elif kind == "paired":
        hint = ": one target for the two outputs"
    elif array.ndim > 1 and columns == 1:
        hint = f"; a model for these targets ends with gd.Dense({array[0].size})"
    raise ValueError(f"{name} has shape {array.shape}; {wanted} is accepted{hint}")


def _check_shares(matrix: Array, kind: str, name: str) -> None:
    """Refuse targets of a cross-entropy that are no probabilities."""
    place = find_outside(matrix, 0, 1)
    if place is None:
        return
    found, (row, column) = matrix[place].item(), place
    where = f"row {row}" + (f", column {column}" if matrix.shape[1] > 1 else "")
    if kind == "binary" and found == -1:
        hint = f": ({name} + 1) / 2 for labels -1 and 1, or loss='hinge'"
    elif kind == "binary" and matrix.shape[1] == 1:
        hint = (
            f"; two other labels: {_ENCODE.format(name=name)}; more classes: one output for each"
            " and sparse_categorical_crossentropy"
        )
    else:
        hint = ": probabilities, or 0 and 1"
    raise ValueError(f"{name} holds {found!r} in {where}; 0 to 1 is accepted{hint}")


# ---- Weights -------------------------------------------------------------------------------------


def check_weights(
    sample_weight: Any,
    class_weight: Mapping[int, float] | str | None,
    y: Array,
    n: int,
    kind: str,
    outputs: int,
    dtype: np.dtype[Any],
    name: str = "sample_weight",
) -> Array | None:
    """Return one weight for each row, or None where all are 1.

    Parameters
    ----------
    sample_weight : array-like (n,) or (n, 1), or None
        Finite and >= 0, not all 0.
    class_weight : dict {class: weight}, "balanced" or None
        Classes that are left out weigh 1 [Keras]; "balanced" is ``n / (classes * count)`` over the
        classes that occur [scikit-learn]. With both given, weights are multiplied.
    y : ndarray
        Of `check_y`.
    kind, outputs : str, int
        As for `check_y`.
    dtype : dtype
        Of the weights where they are made here; sample_weight alone keeps its own.

    Raises
    ------
    TypeError, ValueError
        Naming what was found, the first row of it, and what is accepted.
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = None if sample_weight is None else _sample_weights(sample_weight, n, name)
    if class_weight is None:
        return weights
    labels, classes = _labels(y, kind, outputs, "class_weight")
    own = _class_weights(class_weight, labels, classes, dtype)
    if weights is not None:
        own *= weights
    if not own.any():
        raise ValueError("class_weight: all rows weigh 0; one or more above 0 are accepted")
    return own


def _sample_weights(value: Any, n: int, name: str) -> Array:
    array = as_data(value, name)
    if array.ndim == 0:
        raise ValueError(f"{name} is the number {array}; one weight for each row is accepted")
    check_length(array, n, name)
    matrix = _matrix(array, 1)
    if matrix is None:
        raise ValueError(f"{name} has shape {array.shape}; one weight for each row is accepted")
    place = find_outside(matrix, 0.0, np.finfo(np.float64).max)
    if place is not None:
        raise ValueError(
            f"{name} holds {matrix[place].item()!r} in row {place[0]}; finite numbers >= 0 are"
            " accepted"
        )
    if not matrix.any():
        raise ValueError(f"{name}: all rows weigh 0; one or more above 0 are accepted")
    return matrix[:, 0]


def _labels(y: Array, kind: str, outputs: int, what: str) -> tuple[Array, Sequence[int]]:
    """Return the class of each row, and the classes that there may be."""
    if kind in ("sparse", "onehot"):
        return y if kind == "sparse" else y.argmax(axis=1), range(outputs)
    if kind not in ("binary", "signs") or y.shape[1] != 1:
        columns = f", but y has {y.shape[1]} columns of them" if kind in ("binary", "signs") else ""
        raise ValueError(
            f"{what} needs targets that are classes: class numbers, one-hot rows, or one column of"
            f" 0 and 1{columns}; {way_out_of(what)}"
        )
    labels, known = y[:, 0], ((0, 1) if kind == "binary" else (-1, 0, 1))
    strange = ~np.isin(labels, known)
    if strange.any():
        row = int(np.argmax(strange))
        raise ValueError(
            f"{what} needs targets that are classes, but y holds {labels[row].item()!r} in row"
            f" {row}; {' and '.join(map(str, known))} are accepted"
        )
    return labels, known


def way_out_of(what: str) -> str:
    """Return what is to be done where there are no classes for class_weight or stratify."""
    if what == "class_weight":
        return "give sample_weight, one weight for each row"
    return "leave it out: the last rows validate, or give validation_data"


def _class_weights(
    given: Mapping[int, float] | str, labels: Array, classes: Sequence[int], dtype: np.dtype[Any]
) -> Array:
    """Return the weight of each row's class."""
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(
                f"class_weight is {given!r}; accepted is 'balanced', a dict {{class: weight}} or"
                " None"
            )
        present, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        shares = len(labels) / (len(present) * counts)
        return shares.astype(dtype)[inverse.reshape(-1)]
    if not isinstance(given, Mapping):
        raise TypeError(
            f"class_weight is {given!r:.80}; accepted is a dict {{class: weight}}, 'balanced' or"
            " None"
        )
    weights = np.ones(len(labels), dtype)
    for label, weight in given.items():
        weights[labels == _as_class(label, classes)] = _as_weight(label, weight)
    return weights


def _as_class(label: Any, classes: Sequence[int]) -> int:
    """Return a key of class_weight, which is to be one of the classes."""
    if isinstance(label, bool) or not isinstance(label, Real) or label not in classes:
        known = ", ".join(map(str, classes)) if len(classes) < 10 else f"0 to {len(classes) - 1}"
        raise ValueError(f"class_weight has the key {label!r}; accepted are the classes: {known}")
    return int(float(label))


def _as_weight(label: Any, weight: Any) -> float:
    number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not number or not 0 <= float(weight) < math.inf:
        raise ValueError(f"class_weight[{label!r}] is {weight!r}; a finite number >= 0 is accepted")
    return float(weight)


# ---- Validation ----------------------------------------------------------------------------------


def split_validation(
    n: int, fraction: Any, y: Array | None = None, kind: str = "values", stratify: bool = False
) -> tuple[Rows, Rows | None]:
    """Return the rows to train on and those to validate on: the last ones, in their order.

    Parameters
    ----------
    n : int
        Rows of the data.
    fraction : float
        ``n - floor(n * (1 - fraction))`` rows are for validation [Keras]; 0 is none (None).
    y : ndarray
        Of `check_y`; for `stratify`.
    kind : str
        As for `check_y`.
    stratify : bool
        Take the last rows of each class, as near to the fraction of it as whole rows are; one row
        or more stay for training.

    Returns
    -------
    slice, slice or None
        With `stratify` arrays of row numbers, ascending.

    Raises
    ------
    TypeError, ValueError
        Where the fraction is no number in [0, 1), or leaves a part without rows.
    """
    message = f"validation_split is {fraction!r:.40}; a number in [0, 1) is accepted"
    if isinstance(fraction, bool | np.bool_) or not isinstance(fraction, Real):
        raise TypeError(message)
    if not 0 <= float(fraction) < 1:
        raise ValueError(message)
    if not fraction:
        if stratify:
            raise ValueError("stratify=True needs validation_split > 0, of which it is a part")
        return slice(0, n), None
    if stratify:
        train, held = _split_classes(y, kind, float(fraction))
        counts = len(train), len(held)
    else:
        first = math.floor(n * (1 - float(fraction)))
        counts = first, n - first
    if not all(counts):
        raise ValueError(
            f"validation_split is {fraction!r}, which leaves {counts[0]} rows for training and"
            f" {counts[1]} for validation of {n}; one or more are accepted"
        )
    return (train, held) if stratify else (slice(0, first), slice(first, n))


def _split_classes(
    y: Array | None, kind: str, fraction: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row numbers for training and validation, class by class, each ascending."""
    assert y is not None
    labels, _ = _labels(y, kind, y.shape[-1], "stratify=True")
    order = np.argsort(labels, kind="stable")
    _, starts = np.unique(labels[order], return_index=True)
    train, held = [], []
    for rows in np.split(order, starts[1:]):
        count = min(math.floor(len(rows) * fraction + 0.5), len(rows) - 1)
        train.append(rows[: len(rows) - count])
        held.append(rows[len(rows) - count :])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(held))
