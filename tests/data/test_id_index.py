"""Both indexes of ids agree with a dictionary, also where hashes are equal."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data.id_index import SMALL, UNKNOWN, DictIndex, HashIndex, id_index

texts = st.lists(st.text(max_size=8), max_size=40)


@given(st.lists(st.text(max_size=8), max_size=40, unique=True), texts)
def test_they_equal_a_dictionary(ids: list[str], asked: list[str]) -> None:
    rows = {text: row for row, text in enumerate(ids)}
    asked = [*asked, *ids]
    for kind in (DictIndex, HashIndex):
        index = kind(pl.Series("id", ids, pl.String))
        assert [index.get(text) for text in asked] == [rows.get(text) for text in asked]
        assert index.get("not one of them", 7) == 7
        found = index.get_all(asked)
        assert found.dtype == np.int32
        assert found.tolist() == [rows.get(text, UNKNOWN) for text in asked]


@given(st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True), st.integers(1, 3))
def test_ids_of_one_hash_are_told_apart(ids: list[str], hashes: int) -> None:
    index = HashIndex(pl.Series("id", ids, pl.String))
    asked = list("abcdefghxyz")
    with pytest.MonkeyPatch.context() as patched:  # as if there were few hashes
        real = pl.Series.hash
        patched.setattr(pl.Series, "hash", lambda series: real(series) % hashes)
        index = HashIndex(pl.Series("id", ids, pl.String))
        expected = [ids.index(text) if text in ids else UNKNOWN for text in asked]
        assert index.get_all(asked).tolist() == expected
        assert [index.get(text, UNKNOWN) for text in asked] == expected


def test_large_tables_are_indexed_by_hashes() -> None:
    ids = pl.Series("id", np.arange(SMALL + 1)).cast(pl.String)
    index = id_index(ids)
    assert isinstance(index, HashIndex)
    assert isinstance(id_index(ids[:SMALL]), DictIndex)
    assert index.get_all([str(SMALL), "7", "-1"]).tolist() == [SMALL, 7, UNKNOWN]
