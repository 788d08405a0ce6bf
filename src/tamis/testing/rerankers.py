"""The contract of a re-rank rule, as a check for any rule."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries, Reranker
from tamis.data import Dataset
from tamis.schema import NotFittedError
from tamis.testing._components import check_component
from tamis.testing._following import check_following
from tamis.testing.channels import CONTEXT, one_query, queries_of, two_clans


class _Arranged(NamedTuple):
    """The answer of a rule."""

    order: NDArray[np.intp]
    note: NDArray[np.generic]


def check_reranker(
    make: Callable[[], Reranker],
    data: Dataset | None = None,
    queries: Queries | None = None,
    context: FitContext = CONTEXT,
    *,
    prefix: bool = True,
) -> None:
    """Raises AssertionError naming the rule of the contract that a re-rank rule breaks.

    Args:
        make: returns a new, unfitted re-rank rule; it is called several times.
        data: what it is fitted on, by default `two_clans`; give another data set where the rule
            needs other columns.
        queries: the queries whose lists it arranges, by default those of `two_clans`.
        context: the column roles that a project of that data declares.
        prefix: whether a slate of n is the head of a longer slate, so that a second page continues
            the first; False for rules whose limits depend on n.
    """
    check_component(make)
    data = two_clans() if data is None else data
    queries = queries_of(data) if queries is None else queries
    candidates, n = ranked_lists(len(queries), len(data.items)), max(1, len(data.items) // 2)
    unfitted = _unfitted(make, queries, candidates, n)
    rule = make()
    assert isinstance(rule, Reranker), (
        f"{type(rule).__name__} lacks a method of the Reranker protocol"
    )
    assert rule.fit(data, context) is rule, "fit must return self"
    whole = _arranged(rule, queries, candidates, n)
    for size in (0, 1, len(data.items) + 3):
        _arranged(rule, queries, candidates, size)
    if unfitted is not None:
        _same(unfitted, whole, "arrange before fit must raise NotFittedError, unless fit is unused")
    _same(_arranged(rule, queries, candidates, n), whole, "two calls give different orders")
    _check_empty(rule, queries, candidates, n)
    _check_batch_is_single(rule, queries, candidates, n, whole)
    if prefix:
        _check_prefix(rule, queries, candidates)
    with tempfile.TemporaryDirectory() as folder:
        rule.save(Path(folder) / "rule")
        loaded = type(rule).load(Path(folder) / "rule", getattr(rule, "config", None))
        _same(_arranged(loaded, queries, candidates, n), whole, "save and load changed the order")
        names = [getattr(x, "name", None) for x in (loaded, rule)]
        assert names[0] == names[1], f"load changed the name to {names[0]!r}"
    check_following(
        lambda known: make().fit(known, context),
        data,
        lambda rule, items: _arranged(
            rule, queries, ranked_lists(len(queries), items), n
        )._asdict(),
    )
    again = make().fit(_others(data), context).fit(data, context)
    _same(
        _arranged(again, queries, candidates, n),
        whole,
        "a second fit is not the fit of a new rule",
    )


def ranked_lists(queries: int, items: int) -> Candidates:
    """A ranked list for each query: all items in some order, or fewer of them, one, or none.

    Best first by `value`; some values are equal, and the last one of a long list is -inf, as the
    runner writes it where a scorer gave no finite value. The task `click` has a prediction.
    """
    draw = np.random.default_rng(5)
    sizes = [(items, items, items // 2, 1, 0)[q % 5] for q in range(queries)]
    lists = [draw.permutation(items)[:size].astype(np.int32) for size in sizes]
    values = [np.sort(draw.integers(0, 2 * items, size) / (2 * items))[::-1] for size in sizes]
    value = np.concatenate([*values, np.zeros(0)]).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    value[indptr[1:][np.array(sizes) > 2] - 1] = -np.inf
    place = np.concatenate([np.arange(1, size + 1) for size in sizes] or [np.zeros(0)])
    columns = {"recall": place.astype(np.int32), "value": value}
    item = np.concatenate([*lists, np.zeros(0, np.int32)])
    click = ((item * 7 + place.astype(np.int64)) % 10 / 10).astype(np.float32)
    return Candidates(indptr, item, columns, {"click": click})


def _arranged(rule: Reranker, queries: Queries, candidates: Candidates, n: int) -> _Arranged:
    """The rule's answer, after checks of shapes and that it only reorders within each query."""
    before = [candidates.item.copy(), *(c.copy() for c in candidates.columns.values())]
    order, note = rule.arrange(queries, candidates, n)
    now = [candidates.item, *candidates.columns.values()]
    for old, new in zip(before, now, strict=True):
        assert np.array_equal(old, new), "arrange must not change the candidates that it is given"
    size = len(candidates)
    assert np.issubdtype(order.dtype, np.integer), f"the order must be integers, not {order.dtype}"
    assert order.shape == (size,), (
        f"the order must name each of the {size} candidates once, not {order.shape}: candidates "
        "behind the first n places follow them"
    )
    assert ((order >= 0) & (order < size)).all(), f"the order names places outside [0, {size})"
    twice = np.flatnonzero(np.bincount(order, minlength=size) > 1)
    assert not len(twice), f"candidates come twice and others are lost: {twice[:5]}"
    moved = np.flatnonzero(candidates.query[order] != candidates.query)
    assert not len(moved), f"candidates moved from one query to another, at {moved[:5]}"
    assert note.shape == (size,), f"{note.shape} notes for {size} candidates; give one for each"
    assert np.issubdtype(note.dtype, np.number), f"notes must be numbers, not {note.dtype}"
    return _Arranged(order, note)


def _unfitted(
    make: Callable[[], Reranker], queries: Queries, candidates: Candidates, n: int
) -> _Arranged | None:
    """The answer before a fit; None where it is refused, as a rule that reads data must."""
    try:
        order, note = make().arrange(queries, candidates, n)
    except NotFittedError:
        return None
    except Exception as error:
        raise AssertionError(
            f"arrange before fit must raise NotFittedError, not {type(error).__name__}: {error}"
        ) from error
    return _Arranged(order, note)


def _check_empty(rule: Reranker, queries: Queries, candidates: Candidates, n: int) -> None:
    """Queries without candidates have an empty order."""
    none = candidates.take(np.zeros(0, np.intp))
    _arranged(rule, queries, none, n)
    _arranged(
        rule,
        one_query(queries, 0),
        Candidates(np.zeros(2, np.int64), none.item, none.columns, none.predictions),
        n,
    )


def _check_batch_is_single(
    rule: Reranker, queries: Queries, candidates: Candidates, n: int, whole: _Arranged
) -> None:
    for q in range(len(queries)):
        start, stop = candidates.indptr[q : q + 2].tolist()
        own = slice(start, stop)
        alone = Candidates(
            np.array([0, stop - start], np.int64),
            candidates.item[own],
            {name: column[own] for name, column in candidates.columns.items()},
            {name: column[own] for name, column in candidates.predictions.items()},
        )
        _same(
            _arranged(rule, one_query(queries, q), alone, n),
            _Arranged(whole.order[own] - start, whole.note[own]),
            f"query {q} is arranged differently alone and in a batch",
        )


def _check_prefix(rule: Reranker, queries: Queries, candidates: Candidates) -> None:
    """A shorter slate is the head of a longer one."""
    longest = int(np.diff(candidates.indptr).max(initial=0))
    long = candidates.take(_arranged(rule, queries, candidates, longest).order)
    for n in (1, longest // 2):
        short = candidates.take(_arranged(rule, queries, candidates, n).order)
        assert np.array_equal(short.matrix(n), long.matrix(n)), (
            f"a slate of {n} is not the head of a slate of {longest}"
        )


def _others(data: Dataset) -> Dataset:
    """Other data: half of the events, and the items' attributes in reverse order."""
    items = data.items.with_frame(data.items.frame.reverse())
    return replace(data, items=items, events=data.events.take(slice(0, len(data.events) // 2)))


def _same(found: _Arranged, expected: _Arranged, rule: str) -> None:
    """The same order; notes may differ by rounding."""
    assert np.array_equal(found.order, expected.order), f"{rule}: {found.order}, {expected.order}"
    notes = (found.note.astype(np.float64), expected.note.astype(np.float64))
    assert np.allclose(*notes, rtol=1e-5, atol=1e-6, equal_nan=True), f"{rule}: notes {notes}"
