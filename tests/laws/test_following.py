"""What a stage takes up while it serves equals what a fit on the later tables reads."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Labels, Ragged, Table
from tamis.filters import AttributeFilter
from tamis.rerank._categories import ItemCategories
from tamis.testing import check_filter

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "E", "e"]), max_size=3)


@st.composite
def changed_lists(draw):
    """Lists of words before and after some of them changed and others were added at the end."""
    before = draw(st.lists(WORDS, max_size=6))
    after = before + draw(st.lists(WORDS, max_size=4))
    for row in draw(st.sets(st.integers(0, max(len(before) - 1, 0)), max_size=3)):
        if row < len(before):
            after[row] = draw(WORDS)
    changed = [k for k, words in enumerate(after) if k >= len(before) or words != before[k]]
    return before, after, np.array(changed, np.int32)


def column(lists) -> pl.Series:
    return pl.Series("words", lists, pl.List(pl.String))


@given(changed_lists())
def test_labels_after_changes_are_those_of_all_rows(lists):
    before, after, rows = lists
    changed = Labels.of(column([after[row] for row in rows]))
    found, new = Labels.of(column(before)).replaced(rows, changed, len(after))
    expected = Labels.of(column(after))
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.names[found.code].tolist() == expected.names[expected.code].tolist()
    assert sorted(found.names) == list(found.names)
    assert set(expected.names) <= set(found.names)
    former = Labels.of(column(before)).names
    assert found.names[new].tolist() == former.tolist()


@given(changed_lists())
def test_ragged_lists_after_changes(lists):
    before, after, rows = lists
    as_rows = [np.array([len(w) + ord(w[0]) for w in words], np.int32) for words in after]
    old = Ragged.of([np.array([len(w) + ord(w[0]) for w in x], np.int32) for x in before])
    found = old.replaced(rows, Ragged.of([as_rows[row] for row in rows]), len(after))
    expected = Ragged.of(as_rows)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.values.tolist() == expected.values.tolist()


@given(changed_lists())
def test_equal_sets_of_categories_have_equal_groups(lists):
    before, after, rows = lists

    def read(words) -> ItemCategories:
        ids = pl.Series([str(k) for k in range(len(words))], dtype=pl.String)
        return ItemCategories.read(Table("items", ids, pl.DataFrame([column(words)])), "words")

    found = read(before).replaced(rows, read([after[row] for row in rows]), len(after))
    sets = [frozenset(words) for words in after]
    groups = found.groups()
    assert groups[rows].tolist() == found.groups_of(rows).tolist()
    for i, one in enumerate(sets):
        assert set(found.names[found.of[i]]) == one
        for j, other in enumerate(sets):
            assert (groups[i] == groups[j]) == (one == other)


def test_the_suite_detects_a_filter_that_does_not_take_up_changes():
    class Stale(AttributeFilter):
        def update_items(self, items, rows):
            mask = self.arrays["mask"]
            self._arrays = {"mask": np.append(mask, [True] * (len(items) - len(mask)))}

    with pytest.raises(AssertionError, match="after update_items, Stale gives other verdicts"):
        check_filter(lambda: Stale(column="category", op="==", value="even"))


def test_a_changed_table_keeps_the_rows_of_its_ids():
    table = Table("items", pl.Series(["x", "y"]), pl.DataFrame({"price": [1.0, 2.0]}))
    part = table.part(np.array([1], np.int32))
    assert part.ids.to_list() == ["y"]
    assert part.frame["price"].to_list() == [2.0]
