"""The planner against exhaustive search: all rules hold together whenever some slate holds them."""

from itertools import permutations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates
from tamis.data import Ragged
from tamis.rerank import FixedPlaces, LeastShare, Limit, PinnedItems, Statement
from tamis.rerank._planner import plan
from tamis.schema import StageError


def ranked(*sizes: int) -> Candidates:
    """Lists of the item rows 0, 1, …, best first."""
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    item = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    value = np.concatenate([np.linspace(1, 0.1, size) for size in sizes]).astype(np.float32)
    return Candidates(indptr, item, {"value": value})


class Case(NamedTuple):
    """Rules over a few candidates, in ascending order of importance, and how each is read."""

    rules: list
    holds: list


def limit(codes, in_window, window, in_slate):
    of = Ragged.of([np.array(sorted(c), np.int32) for c in codes])

    def holds(slate):
        spans = [slate[i : i + window] for i in range(len(slate))]
        values = {c for i in slate for c in codes[i]}
        return all(
            sum(c in codes[i] for i in slate) <= in_slate
            and all(sum(c in codes[i] for i in span) <= in_window for span in spans)
            for c in values
        )

    return Limit(of, in_window, window, in_slate), holds


def quota(members, share, spread):
    flags = np.array(members, np.bool_)

    def holds(slate):
        heads = range(1, len(slate) + 1) if spread else [len(slate)]
        return all(sum(members[i] for i in slate[:h]) >= int(share * h + 1e-9) for h in heads)

    return LeastShare(flags, np.array([share]), spread), holds


def fixed(members, places, elsewhere):
    flags = np.array(members, np.bool_)
    value = np.where(flags, np.arange(len(members), dtype=float), -np.inf)

    def holds(slate):
        wanted = [p for p in places if p <= len(slate)]
        due = all(members[slate[p - 1]] for p in wanted)
        others = [i for at, i in enumerate(slate, 1) if at not in wanted]
        return due and (elsewhere or not any(members[i] for i in others))

    return FixedPlaces(flags, tuple(places), value, elsewhere), holds


def pins(items, places):
    def holds(slate):
        return all(slate[p - 1] == i for i, p in zip(items, places, strict=True) if p <= len(slate))

    rows = np.array(items, np.int32)
    return PinnedItems(rows, np.array(places, np.int64), tuple(map(str, items))), holds


@st.composite
def cases(draw):
    size = draw(st.integers(1, 6))
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    codes = st.lists(st.sets(st.integers(0, 2), max_size=2), min_size=size, max_size=size)
    made = []
    for kind in draw(st.lists(st.sampled_from("llqfp"), min_size=1, max_size=4)):
        if kind == "l":
            made.append(
                limit(
                    draw(codes),
                    draw(st.integers(1, 2)),
                    draw(st.integers(2, 4)),
                    draw(st.integers(1, 3)),
                )
            )
        elif kind == "q":
            made.append(quota(draw(flags), draw(st.sampled_from([0.25, 0.5])), draw(st.booleans())))
        elif kind == "f":
            places = draw(st.lists(st.integers(1, 5), min_size=1, max_size=2, unique=True))
            made.append(fixed(draw(flags), places, draw(st.booleans())))
        elif not any(isinstance(rule, PinnedItems) for rule, _ in made):
            item, place = draw(st.integers(0, size - 1)), draw(st.integers(1, size))
            made.append(pins([item], [place]))
    n = draw(st.integers(1, size))
    return size, n, Case([rule for rule, _ in made], [holds for _, holds in made])


def planned(size, n, case):
    statements = {f"rule{k}": Statement(hard=(rule,)) for k, rule in enumerate(case.rules)}
    return plan(statements, ranked(size), n)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_all_rules_hold_whenever_some_slate_holds_them(made) -> None:
    size, n, case = made
    found = planned(size, n, case)
    slate = found.order[:n].tolist()
    assert sorted(found.order.tolist()) == list(range(size))
    together = [all(h(list(p)) for h in case.holds) for p in permutations(range(size), n)]
    assert all(holds(slate) for holds in case.holds) == any(together)
    # What does not hold is named, and nothing else.
    lacking = int(np.bitwise_or.reduce(found.lacking[0]))
    named = {found.constraints[b].rule for b in range(len(found.constraints)) if lacking >> b & 1}
    broken = {f"rule{k}" for k, holds in enumerate(case.holds) if not holds(slate)}
    assert broken == named


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_most_important_rules_hold_as_far_as_any_slate_lets_them(made) -> None:
    """Rules that must hold with all that are more important and can do so, by exhaustive search."""
    size, n, case = made
    slate = planned(size, n, case).order[:n].tolist()
    left = [list(p) for p in permutations(range(size), n)]
    for holds in reversed(case.holds):
        more = [p for p in left if holds(p)]
        if not more:  # from here on, a rule may hold in part
            return
        assert holds(slate)
        left = more


@settings(max_examples=100, deadline=None)
@given(cases())
def test_without_values_the_slate_is_the_first_that_holds_all_rules(made) -> None:
    size, n, case = made
    if any(isinstance(rule, FixedPlaces) for rule in case.rules):
        return  # at fixed places another value counts
    holding = (p for p in permutations(range(size), n) if all(h(list(p)) for h in case.holds))
    first = min(holding, default=None)
    if first is not None:
        assert planned(size, n, case).order[:n].tolist() == list(first)


def test_two_limits_that_undo_one_another_in_turn_hold_together() -> None:
    """Two `at_most` rules over 200 lists: what one after another breaks, one plan holds."""
    draw = np.random.default_rng(4)
    codes = [[{c} for c in draw.integers(0, 6, 60).tolist()] for _ in range(2)]
    made = [limit(own, 1, 4, 60) for own in codes]
    lists = Candidates(
        np.arange(0, 12_001, 60),
        np.concatenate([draw.permutation(60) for _ in range(200)]).astype(np.int32),
        {"value": np.zeros(12_000, np.float32)},
    )
    statements = {f"rule{k}": Statement(hard=(rule,)) for k, (rule, _) in enumerate(made)}
    found = plan(statements, lists, 20)
    assert not found.lacking.any()
    slates = lists.take(found.order).matrix(20)
    for slate in slates.tolist():
        assert all(holds(slate) for _, holds in made)


def test_what_is_broken_is_named_with_its_places() -> None:
    """Five items of one category: the window of the limit and the quota of others cannot hold."""
    few, _ = limit([{0}] * 5, 1, 2, 9)
    most, _ = quota([False] * 4 + [True], 0.5, False)
    found = plan({"few": Statement(hard=(few,)), "half": Statement(hard=(most,))}, ranked(5), 4)
    assert found.order[:4].tolist() == [0, 1, 2, 4]  # the only member of the quota is shown
    names = [one.rule for one in found.constraints]
    assert names == ["few", "few", "half"]  # the slate's limit, the window's, the quota
    assert [mask >> 1 & 1 for mask in found.lacking[0]] == [0, 1, 1, 1]
    assert [mask >> 2 & 1 for mask in found.lacking[0]] == [0, 0, 0, 1]
    assert [mask & 1 for mask in found.lacking[0]] == [0, 0, 0, 0]


def test_fixed_places_take_the_best_by_their_own_value() -> None:
    ads, _ = fixed([False, True, False, True, True, False], [2, 5], False)  # value = row number
    found = plan({"ads": Statement(hard=(ads,))}, ranked(6), 5)
    assert found.order[:5].tolist() == [0, 4, 2, 5, 3]


def test_a_pinned_item_that_is_not_there_is_named() -> None:
    pin, _ = pins([9, 1], [1, 3])
    found = plan({"pins": Statement(hard=(pin,))}, ranked(4), 3)
    assert found.order[:3].tolist() == [0, 2, 1]
    assert found.lacking[0].tolist() == [2, 0, 0]  # the bit of the more important pin
    assert found.constraints[1].text == "9 at place 1"


def test_more_constraints_than_a_plan_may_have_are_refused() -> None:
    many = tuple(quota([True], 0.5, True)[0] for _ in range(41))
    with pytest.raises(StageError, match="41 quotas; a slate is planned with at most 40"):
        plan({"many": Statement(hard=many)}, ranked(1), 1)


def test_the_same_rules_at_another_length_of_slate_and_for_other_items() -> None:
    """What a plan keeps of its rules depends on neither the candidates nor the request before."""
    ads, _ = fixed([False] * 4 + [True, True], [1, 3], False)
    pin, _ = pins([5], [3])
    rules = {"ads": Statement(hard=(ads,)), "pins": Statement(hard=(pin,))}
    assert plan(rules, ranked(6), 3).order[:3].tolist() == [4, 0, 5]
    assert plan(rules, ranked(6), 2).order[:2].tolist() == [5, 0]
    assert plan(rules, ranked(6), 3).order[:3].tolist() == [4, 0, 5]
    other, _ = pins([4], [3])
    rules["pins"] = Statement(hard=(other,))
    assert plan(rules, ranked(6), 3).order[:3].tolist() == [5, 0, 4]
