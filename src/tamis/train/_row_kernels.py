"""Compiled CPU kernels of the row optimisers: sum a batch's gradients per row, update those rows.

`slot[row]` is the place of a table row in the scratch sums of this step, -1 where it has none;
every update puts it back to -1, so nothing as long as the table is ever cleared or sorted.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FROZEN = -2
"""The slot of a row that does not learn."""


@njit(cache=True, nogil=True)
def sum_row_gradients(ids, grad, tail, field, scale, slot, touched, sums, n):
    """Adds the gradients of a `RowGradient` to the sums of their rows; the new row count."""
    rows, width = ids.shape
    dim, more = grad.shape[2], tail.shape[2]
    for b in range(rows):
        for w in range(width):
            row = ids[b, w]
            s = slot[row]
            if s == FROZEN:
                continue
            f = field[w]
            c = scale[b, f]
            if s < 0:
                s = n
                n += 1
                slot[row] = s
                touched[s] = row
                for d in range(dim):
                    sums[s, d] = c * grad[b, f, d]
                for d in range(more):
                    sums[s, dim + d] = c * tail[b, f, d]
            else:
                for d in range(dim):
                    sums[s, d] += c * grad[b, f, d]
                for d in range(more):
                    sums[s, dim + d] += c * tail[b, f, d]
    return n


@njit(cache=True, nogil=True)
def update_adagrad(weight, squares, slot, touched, sums, n, rate, l2, eps):
    """Row-wise Adagrad on the n touched rows."""
    dim = weight.shape[1]
    for s in range(n):
        row = touched[s]
        slot[row] = -1
        mean = np.float32(0.0)
        for d in range(dim):
            g = sums[s, d] + l2 * weight[row, d]
            sums[s, d] = g
            mean += g * g
        squares[row] += mean / np.float32(dim)
        step = rate / (np.sqrt(squares[row]) + eps)
        for d in range(dim):
            weight[row, d] -= step * sums[s, d]


@njit(cache=True, nogil=True)
def update_adagrad_all(weight, squares, slot, touched, sums, n, rate, l2, eps):
    """Row-wise Adagrad on every learning row: of those not among the n touched ones, L2 alone is
    the gradient."""
    dim = weight.shape[1]
    idle = np.empty(dim, dtype=np.float32)
    for row in range(len(weight)):
        s = slot[row]
        if s == FROZEN:
            continue
        slot[row] = -1
        mean = np.float32(0.0)
        for d in range(dim):
            g = l2 * weight[row, d]
            if s >= 0:
                g += sums[s, d]
            idle[d] = g
            mean += g * g
        squares[row] += mean / np.float32(dim)
        step = rate / (np.sqrt(squares[row]) + eps)
        for d in range(dim):
            weight[row, d] -= step * idle[d]


@njit(cache=True, nogil=True)
def update_adam(
    weight, first, second, slot, touched, sums, n, rate, l2, beta1, beta2, eps, correction
):
    """Adam on the n touched rows; `rate` holds 1/(1-β1^t), `correction` is 1/√(1-β2^t)."""
    dim = weight.shape[1]
    one = np.float32(1.0)
    for s in range(n):
        row = touched[s]
        slot[row] = -1
        for d in range(dim):
            g = sums[s, d] + l2 * weight[row, d]
            m = beta1 * first[row, d] + (one - beta1) * g
            v = beta2 * second[row, d] + (one - beta2) * g * g
            first[row, d] = m
            second[row, d] = v
            weight[row, d] -= rate * m / (np.sqrt(v) * correction + eps)


@njit(cache=True, nogil=True)
def update_adam_all(
    weight, first, second, slot, touched, sums, n, rate, l2, beta1, beta2, eps, correction, idle_l2
):
    """Adam on every learning row that was ever touched; the gradient of rows not among the n
    touched ones is `idle_l2 · w`, but their moments go on moving them."""
    dim = weight.shape[1]
    one, zero = np.float32(1.0), np.float32(0.0)
    for row in range(len(weight)):
        s = slot[row]
        if s == FROZEN or (s < 0 and second[row, 0] == zero and idle_l2 == zero):
            continue
        slot[row] = -1
        for d in range(dim):
            g = sums[s, d] + l2 * weight[row, d] if s >= 0 else idle_l2 * weight[row, d]
            m = beta1 * first[row, d] + (one - beta1) * g
            v = beta2 * second[row, d] + (one - beta2) * g * g
            first[row, d] = m
            second[row, d] = v
            weight[row, d] -= rate * m / (np.sqrt(v) * correction + eps)
