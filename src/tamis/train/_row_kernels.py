"""Compiled CPU kernels of the row optimisers: sum a batch's gradients per row, update those rows.

Arguments that all kernels share (R rows of the table, dim its width, S ≥ n scratch rows):

    weight:  float32 (R, dim), updated in place
    slot:    int32 (R,) the scratch row of each table row; -1 where it has none, FROZEN where the
             row is not trained. Every update resets it to -1, so that no array of the table's
             length has to be cleared or sorted.
    touched: int32 (S,) the table row of each scratch row
    sums:    float32 (S, dim) summed gradients; overwritten by the updates
    n:       number of scratch rows in use, the rows that the batch touched
    l2:      float32 weight decay, added to the gradient as l2 · w
    eps:     float32 added to the denominator
"""

from __future__ import annotations

import numpy as np

from tamis.runtime.compiled import njit

FROZEN = -2
"""The slot of a row that is not trained."""


@njit(cache=True, nogil=True)
def sum_row_gradients(ids, grad, tail, field, scale, slot, touched, sums, n):
    """Adds the gradients of a `RowGradient` to the sums of their rows; returns the new n.

    ids: int32 (B, W) table rows. grad: float32 (B, F, d). tail: float32 (B, F, dim − d), the last
    columns. field: int64 (W,) field of each column of ids. scale: float32 (B, F).
    """
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
    """Row-wise Adagrad on the n touched rows.

    squares: float32 (R,) sums of mean squared gradients. rate: float32 learning rate.
    """
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
    """Row-wise Adagrad on all trained rows; the gradient of untouched ones is l2 · w alone.

    Arguments as for `update_adagrad`.
    """
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
    """Adam on the n touched rows.

    first, second: float32 (R, dim) moments. rate: float32 learning rate / (1 − β1^t).
    beta1, beta2: float32 decay rates. correction: float32 1 / √(1 − β2^t).
    """
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
    """Adam on all trained rows that have been touched so far, or on all if `idle_l2` > 0.

    The gradient of rows that this batch does not touch is idle_l2 · w; their moments decay and are
    applied. idle_l2: float32. Other arguments as for `update_adam`.
    """
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
