# pyright: basic
# numba compiles the kernels for the types they are called with; pyright cannot follow that.
"""N-grams of texts as hashes: equal in every process, on every machine and in every version."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.runtime import Int32, Int64
from tamis.runtime.compiled import njit

SPACE = 32
"""Code point of the blank that surrounds words."""


def normalised(texts: pl.Series) -> pl.Series:
    """Texts (n,) in Unicode's form NFKC and lower case, every run of other characters than letters,
    marks and digits as one blank. Missing texts become ""."""
    plain = texts.cast(pl.String).fill_null("").str.normalize("NFKC").str.to_lowercase()
    return plain.str.replace_all(r"[^\p{L}\p{M}\p{N}]+", " ").str.strip_chars()


def hashed_ngrams(
    texts: pl.Series, *, words: bool, lengths: tuple[int, int], buckets: int
) -> tuple[Int64, Int32]:
    """The n-grams of texts (n,), hashed to 0 … buckets − 1.

    Of characters: those of a word and the blank before and after it, as scikit-learn's `char_wb`;
    a word that is shorter than the shortest length is one n-gram. Of words: runs of consecutive
    words; a text with fewer than the shortest length is one n-gram.

    Args:
        texts: any texts; they are normalised here.
        words: whether n-grams consist of words instead of characters.
        lengths: shortest and longest n-gram.
        buckets: number of hashes.

    Returns:
        (n + 1,) int64 and int32: the n-grams of text i, in the order of the text, are at
        [indptr[i], indptr[i + 1]); repeated ones occur repeatedly.
    """
    found = _found(texts, words, lengths)
    return found.indptr, (found.hashes % np.uint64(buckets)).astype(np.int32)


def ngram_lists(texts: pl.Series, lengths: tuple[int, int]) -> pl.Series:
    """(n,) lists of the n-grams of the characters of texts, as texts with `#` for a word's ends.

    "Good" with lengths (3, 3) is ["#go", "goo", "ood", "od#"], the letter trigrams of Huang et al.
    2013. Repeated n-grams occur repeatedly; a missing or empty text is an empty list.
    """
    found = _found(texts, False, lengths)
    _, first, number = np.unique(found.hashes, return_index=True, return_inverse=True)
    spans = zip(found.starts[first].tolist(), found.ends[first].tolist(), strict=True)
    distinct = pl.Series([found.text[a:b].replace(" ", "#") for a, b in spans], dtype=pl.String)
    rows = np.repeat(np.arange(len(texts)), np.diff(found.indptr))
    flat = pl.DataFrame({"row": rows, "ngram": distinct.gather(number)})
    lists = flat.group_by("row", maintain_order=True).agg("ngram")
    every = pl.DataFrame({"row": np.arange(len(texts))})
    joined = every.join(lists, on="row", how="left", maintain_order="left")["ngram"]
    return joined.fill_null(pl.Series([[]], dtype=pl.List(pl.String))).alias(texts.name)


class _NGrams(NamedTuple):
    """The n-grams of n texts."""

    text: str
    """All texts, framed by blanks, end to end."""
    indptr: Int64
    """(n + 1,) bounds of each text's n-grams in the arrays below."""
    hashes: NDArray[np.uint64]
    starts: Int64
    ends: Int64
    """Places [start, end) in `text`."""


def _found(texts: pl.Series, words: bool, lengths: tuple[int, int]) -> _NGrams:
    plain = normalised(texts)
    framed = pl.select(pl.when(plain != "").then(" " + plain + " ").otherwise(pl.lit("")))
    framed = framed.to_series()
    ends = np.cumsum(framed.str.len_chars().to_numpy().astype(np.int64))
    joined = str(framed.str.join("").item()) if len(framed) else ""
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    indptr = np.zeros(len(framed) + 1, np.int64)
    kernel = _word_ngrams if words else _character_ngrams
    none = np.zeros(0, np.int64)
    kernel(points, ends, *lengths, indptr, none.view(np.uint64), none, none, False)
    np.cumsum(indptr, out=indptr)
    size = int(indptr[-1])
    out = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    kernel(points, ends, *lengths, indptr, *out, True)
    return _NGrams(joined, indptr, *out)


@njit(cache=True, nogil=True, inline="always")
def _hash(points: Any, start: Any, end: Any) -> Any:
    """FNV-1a of the code points [start, end), mixed by MurmurHash3's finaliser."""
    h = np.uint64(14695981039346656037)
    for at in range(start, end):
        h = (h ^ np.uint64(points[at])) * np.uint64(1099511628211)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(cache=True, nogil=True)
def _character_ngrams(points, text_ends, shortest, longest, indptr, hashes, starts, ends, fill):
    """N-grams of characters; counts them (fill = False), or writes their hashes and places.

    In: points uint32 (characters,), the framed texts end to end; text_ends int64 (n,), the end of
    each. In and out: indptr int64 (n + 1,): counts are written at [1:].
    Out: hashes uint64, starts and ends int64 (n-grams,).
    """
    start = 0
    for row in range(len(text_ends)):
        out = indptr[row]
        count = 0
        begin = start  # the blank before a word
        for end in range(start + 1, text_ends[row]):
            if points[end] != SPACE:
                continue
            size = end + 1 - begin  # the word with both blanks
            for n in range(shortest, min(longest, max(size, shortest)) + 1):
                for at in range(begin, max(end + 1 - n, begin) + 1):
                    if fill:
                        last = min(at + n, end + 1)
                        hashes[out + count] = _hash(points, at, last)
                        starts[out + count] = at
                        ends[out + count] = last
                    count += 1
            begin = end
        if not fill:
            indptr[row + 1] = count
        start = text_ends[row]


@njit(cache=True, nogil=True)
def _word_ngrams(points, text_ends, shortest, longest, indptr, hashes, starts, ends, fill):
    """N-grams of words; the arguments are those of `_character_ngrams`."""
    start = 0
    for row in range(len(text_ends)):
        out = indptr[row]
        count = 0
        words = 0
        for at in range(start + 1, text_ends[row]):
            words += points[at] == SPACE
        for n in range(shortest, min(longest, max(words, shortest)) + 1):
            if words == 0:
                break
            first = start + 1  # the first character of the n-gram
            last = start  # the blank after it
            for _ in range(min(n, words)):
                last = _next_blank(points, last)
            for at in range(max(words - n, 0) + 1):
                if fill:
                    hashes[out + count] = _hash(points, first, last)
                    starts[out + count] = first
                    ends[out + count] = last
                count += 1
                if at < words - n:
                    first = _next_blank(points, first) + 1
                    last = _next_blank(points, last)
        if not fill:
            indptr[row + 1] = count
        start = text_ends[row]


@njit(cache=True, nogil=True, inline="always")
def _next_blank(points: Any, at: Any) -> Any:
    """The place of the first blank after `at`."""
    at += 1
    while points[at] != SPACE:
        at += 1
    return at
