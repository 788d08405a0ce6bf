"""Vocabularies: 0 missing, 1 unseen, 2… known; equal codes in every process."""

import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.features import VarLenEncoder, Vocabulary
from tamis.features.vocabulary import FEW
from tamis.schema import ConfigError, DataError


def test_codes_go_by_frequency_then_text():
    vocabulary = Vocabulary.fit(pl.Series(["b", "c", "b", "a", None, ""]))
    assert vocabulary.ids.to_list() == ["b", "a", "c"]
    codes = vocabulary.encode(pl.Series(["a", "b", "c", "d", None, ""]))
    assert codes.tolist() == [3, 2, 4, 1, 0, 0]
    assert vocabulary.size == 5


def test_rare_ids_are_unseen():
    vocabulary = Vocabulary.fit(pl.Series(["a", "a", "b"]), min_count=2)
    assert vocabulary.encode(pl.Series(["a", "b"])).tolist() == [2, 1]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([3, 1, None, 9]),
        pl.Series([3.0, 1.0, float("nan"), 9.0]),
        pl.Series(["3", "1", None, "9"]),
        pl.Series(["3", "1", None, "9"], dtype=pl.Categorical),
    ],
)
def test_one_id_whatever_its_type(values):
    vocabulary = Vocabulary.fit(pl.Series([1, 1, 3]))
    assert vocabulary.encode(values).tolist() == [3, 2, 0, 1]


def test_fractions_unicode_and_booleans_are_ids_too():
    vocabulary = Vocabulary.fit(pl.Series(["1.5", "é", "true"]))
    assert vocabulary.encode(pl.Series([1.5])).tolist() == [2]
    assert vocabulary.encode(pl.Series(["é"])).tolist() == [4]
    assert vocabulary.encode(pl.Series([True])).tolist() == [3]


def test_hash_is_fnv_with_murmur_finaliser():
    def by_definition(text, buckets):
        h, mask = 14695981039346656037, 2**64 - 1
        for byte in text.encode():
            h = ((h ^ byte) * 1099511628211) & mask
        h = ((h ^ (h >> 33)) * 0xFF51AFD7ED558CCD) & mask
        h = ((h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53) & mask
        return (h ^ (h >> 33)) % buckets + 2

    ids = ["", "a", "user 7", "Ünïcode 漢字", "x" * 1000]
    codes = Vocabulary.hashed(1000).encode(pl.Series(ids))
    assert codes.tolist() == [0] + [by_definition(i, 1000) for i in ids[1:]]
    assert Vocabulary.hashed(1000).size == 1002


def test_hash_is_stable_across_processes():
    code = (
        "import polars as pl; from tamis.features import Vocabulary; "
        "print(Vocabulary.hashed(10**6).encode(pl.Series(['u1', 'é'])).tolist())"
    )
    here = str(Vocabulary.hashed(10**6).encode(pl.Series(["u1", "é"])).tolist())
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    assert ran.stdout.strip() == here


def _environment():
    return {**os.environ, "PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "77"}


def test_hash_spreads():
    codes = Vocabulary.hashed(100).encode(pl.Series([f"item {i}" for i in range(20_000)]))
    counts = np.bincount(codes - 2, minlength=100)
    assert counts.min() > 130
    assert counts.max() < 270


def test_saved_and_loaded_encode_alike(tmp_path):
    values = pl.Series(["a", "b", "a", "é"])
    for name, vocabulary in (("d", Vocabulary.fit(values)), ("h", Vocabulary.hashed(7))):
        again = Vocabulary.load(tmp_path, vocabulary.save(tmp_path, name))
        column = pl.Series(["é", "zz", None, "a"])
        assert again.encode(column).tolist() == vocabulary.encode(column).tolist()
        assert again.size == vocabulary.size


def test_empty_columns_and_empty_vocabularies():
    empty = pl.Series([], dtype=pl.String)
    assert Vocabulary.fit(empty).encode(pl.Series(["a"])).tolist() == [1]
    assert len(Vocabulary.fit(pl.Series(["a"])).encode(empty)) == 0
    assert len(Vocabulary.hashed(5).encode(empty)) == 0
    assert Vocabulary.hashed(5).encode(pl.Series([None, None], dtype=pl.String)).tolist() == [0, 0]


def test_lists_and_too_few_buckets_are_refused():
    with pytest.raises(DataError, match="VarLenSparseFeat"):
        Vocabulary.fit(pl.Series(["a"])).encode(pl.Series([["a"]]))
    with pytest.raises(ConfigError, match="buckets = 1"):
        Vocabulary.hashed(1)


WORDS = st.lists(
    st.one_of(st.none(), st.sampled_from(["a", " a ", "1", "1.0", "007", "", "  ", "é", "a|b"])),
    max_size=5,
)


@given(values=WORDS, hashed=st.booleans())
def test_a_few_values_have_the_codes_that_they_have_among_many(values, hashed):
    known = Vocabulary.fit(pl.Series(["a", "a", "1", "007", "é"]))
    vocabulary = Vocabulary.hashed(7) if hashed else known
    few = pl.Series("v", values, pl.String)
    many = pl.concat([few, pl.Series("v", ["z"] * (FEW + 1))])
    assert vocabulary.encode(few).tolist() == vocabulary.encode(many)[: len(few)].tolist()
    numbers = pl.Series("n", [None, 1, 7, -3])
    many = pl.concat([numbers, pl.Series("n", [9] * (FEW + 1))])
    assert vocabulary.encode(numbers).tolist() == vocabulary.encode(many)[:4].tolist()


@given(rows=st.lists(WORDS, max_size=4), joined=st.booleans())
def test_a_few_lists_have_the_codes_that_they_have_among_many(rows, joined):
    vocabulary = Vocabulary.fit(pl.Series(["a", "a", "1", "007", "é"]))
    encoder = VarLenEncoder(3, "|", vocabulary)
    if joined:
        texts = [None if len(row) == 1 else "|".join(w or "" for w in row) for row in rows]
        few, other = pl.Series("v", texts, pl.String), pl.Series("v", ["z"] * (FEW + 1))
    else:
        kind = pl.List(pl.String)
        few, other = pl.Series("v", rows, kind), pl.Series("v", [["z"]] * (FEW + 1), kind)
    expected = encoder.encode(pl.concat([few, other]))[: len(few)]
    np.testing.assert_array_equal(encoder.encode(few), expected)


@pytest.mark.parametrize("repeats", [1, FEW])  # encoded one by one, and by a join
def test_ids_come_and_go_while_a_version_serves(tmp_path, repeats):
    fitted = Vocabulary.fit(pl.Series(["a", "a", "b"]), spare=2)
    vocabulary = Vocabulary.load(tmp_path, fitted.save(tmp_path, "ids"))
    assert vocabulary.size == 6
    assert vocabulary.free_codes() == [4, 5]

    def codes(*ids):
        found = vocabulary.encode(pl.Series([*ids, None] * repeats))
        assert found.tolist() == found[: len(ids) + 1].tolist() * repeats
        assert found[len(ids)] == 0
        return found[: len(ids)].tolist()

    assert codes("a", "b", "x") == [2, 3, 1]
    vocabulary.change([2], {"x": 4})
    assert codes("a", "b", "x", "y") == [1, 3, 4, 1]
    assert (vocabulary.text_of(2), vocabulary.text_of(3), vocabulary.text_of(4)) == (None, "b", "x")
    assert [vocabulary.holds(code) for code in range(6)] == [False, False, False, True, True, False]
    assert vocabulary.free_codes() == [5]
    vocabulary.change([4], {"y": 4, "a": 5})
    assert codes("a", "b", "x", "y") == [5, 3, 1, 4]
    assert vocabulary.size == 6
    assert vocabulary.grown(Vocabulary.fit(pl.Series(["z"]))).size == 7
