"""The rules of the core's matrix products in NumPy, operation by operation, and every layout."""

import numpy as np

CHUNK, LANES, SLICES, NARROW = 256, 16, 8, 4


def layouts(X):
    """The same matrix in every order that C can walk."""
    n, k = X.shape
    rows = np.zeros((2 * n, k + 3), X.dtype)
    rows[::2, 1 : k + 1] = X
    scattered = np.zeros((3 * n, 2 * k), X.dtype)
    scattered[::3, ::2] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    return {
        "C": X,
        "F": np.asfortranarray(X),
        "rows": rows[::2, 1 : k + 1],
        "columns": np.asfortranarray(rows)[::2, 1 : k + 1],
        "scattered": scattered[::3, ::2],
        "negative rows": X[::-1].copy()[::-1],
        "negative columns": X[:, ::-1].copy()[:, ::-1],
        "negative F": np.asfortranarray(X[::-1, ::-1])[::-1, ::-1],
        "read-only": read_only,
    }


def product_oracle(multiply_add, A, B):
    """Every element one accumulator over the inner axis in order."""
    acc = np.zeros((A.shape[0], B.shape[1]), A.dtype)
    for p in range(A.shape[1]):
        acc = multiply_add(A[:, p, None], B[None, p], acc)
    return acc


def lane_sum(values):
    """Sum over axis 0 in double: row r to lane r mod 16, then the tree."""
    lanes = np.zeros((LANES, *values.shape[1:]))
    for r, row in enumerate(values):
        lanes[r % LANES] += row
    for half in (8, 4, 2, 1):
        lanes[:half] += lanes[half : 2 * half]
    return lanes[0]


def slice_sum(chunks, params):
    """Chunk i into slice i mod S in double, then the tree over slices."""
    count = min(SLICES, len(chunks))
    if 8 * count * params > 8 << 20:
        count = 1
    slices = [np.zeros(chunks[0].shape) for _ in range(count)]
    for i, chunk in enumerate(chunks):
        slices[i % count] = slices[i % count] + chunk
    for half in (4, 2, 1):
        for s in range(half):
            if s + half < count:
                slices[s] = slices[s] + slices[s + half]
    return slices[0]


def gradient_oracle(multiply_add, X, d):
    """(X^T d, sum of d) in double by the chunk rule."""
    pieces = [(X[i : i + CHUNK], d[i : i + CHUNK]) for i in range(0, len(X), CHUNK)]
    params = (X.shape[1] + 1) * d.shape[1]
    if d.shape[1] > NARROW:
        chunks = [product_oracle(multiply_add, x.T, e).astype(float) for x, e in pieces]
    else:
        chunks = [
            lane_sum(x.astype(float)[:, :, None] * e.astype(float)[:, None]) for x, e in pieces
        ]
    sums = [lane_sum(e.astype(float)) for _, e in pieces]
    return slice_sum(chunks, params), slice_sum(sums, params)
