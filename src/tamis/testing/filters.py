"""The contract of a filter, as a check for any filter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tamis.cascade import Candidates, Filter, FitContext, Queries
from tamis.data import Dataset
from tamis.runtime import Bool
from tamis.schema import NotFittedError
from tamis.testing._components import check_component
from tamis.testing._following import check_following
from tamis.testing.channels import CONTEXT, one_query, queries_of, two_clans


def check_filter(
    make: Callable[[], Filter],
    data: Dataset | None = None,
    queries: Queries | None = None,
    context: FitContext = CONTEXT,
) -> None:
    """Raises AssertionError naming the rule that a filter breaks.

    Args:
        make: returns a new, unfitted filter; it is called several times.
        data: what it is fitted on, by default `two_clans`; give another data set where the filter
            needs other columns or behaviours.
        queries: the queries it filters, by default those of `two_clans`.
        context: the column roles that a project of that data declares.
    """
    check_component(make)
    data = two_clans() if data is None else data
    queries = queries_of(data) if queries is None else queries
    rule = make().fit(data, context)
    assert isinstance(rule, Filter), f"{type(rule).__name__} lacks a method of the Filter protocol"
    assert rule.reason, "a filter's `reason` is what the trace says: one or two words"
    everything = _everything(len(queries), len(data.items))
    keep = _kept(rule, queries, everything)
    unfitted = _unfitted(make, queries, everything)
    assert unfitted is None or np.array_equal(unfitted, keep), (
        "keep before fit must raise NotFittedError, unless fit is unused"
    )
    _check_excluded(rule, queries, everything, keep)
    for q in range(len(queries)):
        alone = _kept(rule, one_query(queries, q), _everything(1, len(data.items)))
        here = keep[everything.indptr[q] : everything.indptr[q + 1]]
        assert (alone == here).all(), f"query {q} is judged differently alone and in a batch"
    few = np.arange(len(everything)) % 3 == 0
    part = _kept(rule, queries, everything.take(np.flatnonzero(few)))
    assert (part == keep[few]).all(), "a candidate's verdict depends on the other candidates"
    nobody = _kept(rule, queries, everything.take(np.zeros(0, np.intp)))
    assert not len(nobody), "an empty list of candidates has no verdicts"
    with tempfile.TemporaryDirectory() as folder:
        rule.save(Path(folder) / "filter")
        loaded = type(rule).load(Path(folder) / "filter", getattr(rule, "config", None))
        assert (_kept(loaded, queries, everything) == keep).all(), "save and load changed verdicts"
        assert loaded.reason == rule.reason, f"load changed the reason to {loaded.reason!r}"
    check_following(
        lambda known: make().fit(known, context), data, lambda rule, n: _verdicts(rule, queries, n)
    )
    half = replace(data, events=data.events.take(slice(0, len(data.events) // 2)))
    again = make().fit(half, context).fit(data, context)
    assert (_kept(again, queries, everything) == keep).all(), (
        "a second fit is not the fit of a new filter"
    )


def _verdicts(rule: Filter, queries: Queries, items: int) -> dict[str, Bool]:
    """On all items, for the users of the queries, and for two users that may be new."""
    known = int(queries.user.max(initial=0)) + 1
    new = replace(queries, user=np.arange(len(queries), dtype=np.int32) % 2 + np.int32(known))
    everything = _everything(len(queries), items)
    return {
        "verdicts": _kept(rule, queries, everything),
        "verdicts of new users": _kept(rule, new, everything),
    }


def _unfitted(make: Callable[[], Filter], queries: Queries, candidates: Candidates) -> Bool | None:
    """The verdicts before a fit; None where they are refused, as a filter that reads data must."""
    try:
        return make().keep(queries, candidates)
    except NotFittedError:
        return None


def _everything(queries: int, items: int) -> Candidates:
    """All items as candidates of every query."""
    return Candidates(
        np.arange(queries + 1, dtype=np.int64) * items,
        np.tile(np.arange(items, dtype=np.int32), queries),
    )


def _kept(rule: Filter, queries: Queries, candidates: Candidates) -> Bool:
    keep = rule.keep(queries, candidates)
    assert keep.dtype == np.bool_, f"keep returns booleans, not {keep.dtype}"
    assert keep.shape == (len(candidates),), f"{keep.shape} verdicts for {len(candidates)}"
    return keep


def _check_excluded(rule: Filter, queries: Queries, everything: Candidates, keep: Bool) -> None:
    """`excluded` lists are sorted and hold only items that `keep` removes."""
    lists = rule.excluded(queries)
    if lists is None:
        return
    assert len(lists) == len(queries), f"{len(lists)} lists for {len(queries)} queries"
    for q in range(len(queries)):
        assert (np.diff(lists[q]) > 0).all(), f"query {q}: excluded items must ascend, each once"
    named = lists.contains(everything.query, everything.item)
    assert (named == ~keep).all(), "what is excluded beforehand is not what `keep` removes"
