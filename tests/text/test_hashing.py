"""Hashed n-grams against a naive implementation, and the n-grams of scikit-learn."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from tamis.text import ngram_lists
from tamis.text._hashing import hashed_ngrams, normalised

BUCKETS = 1_000_003
MASK = (1 << 64) - 1


def hashed(text: str) -> int:
    """FNV-1a of code points with MurmurHash3's finaliser, in whole numbers of Python."""
    h = 14695981039346656037
    for character in text:
        h = (h ^ ord(character)) * 1099511628211 & MASK
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return (h ^ h >> 33) % BUCKETS


def of_characters(text: str, low: int, high: int) -> list[str]:
    found: list[str] = []
    for word in text.split():
        padded = f" {word} "
        for n in range(low, high + 1):
            if n > low and n > len(padded):
                break
            found += [padded[i : i + n] for i in range(max(len(padded) - n, 0) + 1)]
    return found


def of_words(text: str, low: int, high: int) -> list[str]:
    words, found = text.split(), []
    for n in range(low, high + 1):
        if not words or (n > low and n > len(words)):
            break
        found += [" ".join(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1)]
    return found


texts = st.lists(st.none() | st.text(alphabet="aäB 7苹果-\u0301ß", max_size=12), max_size=6)


@given(texts, st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_ngrams_are_those_of_the_naive_implementation(rows, low, more, words):
    column = pl.Series("t", rows, dtype=pl.String)
    indptr, codes = hashed_ngrams(column, words=words, lengths=(low, low + more), buckets=BUCKETS)
    naive = of_words if words else of_characters
    for row, text in enumerate(normalised(column).to_list()):
        expected = [hashed(g) for g in naive(text, low, low + more)]
        assert sorted(codes[indptr[row] : indptr[row + 1]].tolist()) == sorted(expected)


@given(texts, st.integers(1, 4), st.integers(0, 2))
def test_lists_hold_the_ngrams_themselves(rows, low, more):
    column = pl.Series("t", rows, dtype=pl.String)
    found = ngram_lists(column, (low, low + more))
    assert (found.name, found.dtype) == ("t", pl.List(pl.String))
    for text, ngrams in zip(normalised(column).to_list(), found.to_list(), strict=True):
        expected = [g.replace(" ", "#") for g in of_characters(text, low, low + more)]
        assert ngrams == expected


def test_letter_trigrams_are_those_of_the_paper():
    assert ngram_lists(pl.Series(["Good"]), (3, 3))[0].to_list() == ["#go", "goo", "ood", "od#"]


@pytest.mark.parametrize("words", [False, True])
def test_ngrams_are_those_of_scikit_learn(words):
    rows = ["Toy Story 2", "the red fox", "机器 学习入门", "a b"]
    kind = {"token_pattern": r"\w+"} if words else {"analyzer": "char_wb"}
    vectorizer = CountVectorizer(ngram_range=(1, 3), **kind)
    counts = vectorizer.fit_transform(rows)
    names = vectorizer.get_feature_names_out()
    indptr, codes = hashed_ngrams(pl.Series(rows), words=words, lengths=(1, 3), buckets=BUCKETS)
    for row in range(len(rows)):
        line = counts[row].tocoo()
        expected = [
            hashed(names[c]) for c, n in zip(line.col, line.data, strict=True) for _ in range(n)
        ]
        assert sorted(codes[indptr[row] : indptr[row + 1]].tolist()) == sorted(expected)


def test_texts_are_normalised():
    column = pl.Series(
        ["ＡＢＣ　Ｄ", "Toy Story (1995)!", "Déjà-vu", None, " \n", "机器学习，入门"]
    )
    found = normalised(column).to_list()
    assert found == ["abc d", "toy story 1995", "déjà vu", "", "", "机器学习 入门"]


def test_hashes_are_equal_in_another_process_and_a_fixed_value():
    code = (
        "import polars as pl; from tamis.text._hashing import hashed_ngrams as h;"
        "print(h(pl.Series(['red 鞋']), words=False, lengths=(2, 3), buckets=997)[1].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7", "PATH": ""},
    )  # fmt: skip
    _, codes = hashed_ngrams(pl.Series(["red 鞋"]), words=False, lengths=(2, 3), buckets=997)
    assert done.stdout.strip() == str(codes.tolist())
    assert codes.dtype == np.int32
