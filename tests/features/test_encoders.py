"""Encoders of numbers and lists: transforms by hand, missing values, errors."""

import numpy as np
import polars as pl
import pytest

from tamis.features import DenseEncoder, FrameSpace, VarLenEncoder, Vocabulary
from tamis.schema import ConfigError, DataError, DenseFeat, SparseFeat, VarLenSparseFeat


def fitted(values, **options):
    return DenseEncoder.fit(DenseFeat("x", **options), pl.Series("x", values))


def test_standard():
    encoder = fitted([1.0, 3.0])  # mean 2, deviation 1
    assert encoder.encode(pl.Series([2.0, 5.0])).tolist() == [[0, 0], [3, 0]]


def test_minmax_does_not_clip():
    encoder = fitted([10, 20, 20, 30], transform="minmax")
    assert encoder.encode(pl.Series([10, 40, None]))[:, 0].tolist() == [0, 1.5, 0.5]


def test_log1p_is_then_standardised_and_keeps_the_sign():
    encoder = fitted([0.0, np.e**2 - 1], transform="log1p")  # logs 0 and 2: mean 1, deviation 1
    out = encoder.encode(pl.Series([np.e**2 - 1, 1 - np.e]))[:, 0]
    np.testing.assert_allclose(out, [1.0, -2.0], atol=1e-6)


def test_none_leaves_numbers_and_fills_the_mean():
    encoder = fitted([1.0, 5.0], transform="none")
    assert encoder.encode(pl.Series([7.0, None])).tolist() == [[7, 0], [3, 1]]


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), float("-inf")])
def test_missing_is_neutral_and_indicated(missing):
    encoder = fitted([1.0, 3.0, missing])
    assert encoder.encode(pl.Series([missing, 3.0], dtype=pl.Float64)).tolist() == [[0, 1], [1, 0]]
    assert encoder.present == pytest.approx(2 / 3)
    assert encoder.infinite == (1 if missing in (float("inf"), float("-inf")) else 0)


def test_a_column_without_missing_values_still_reserves_the_indicator():
    assert fitted([1.0, 2.0]).encode(pl.Series([1.0])).shape == (1, 2)


def test_constant_and_wholly_missing_columns_are_finite():
    assert fitted([0.1] * 3).encode(pl.Series([0.1, 0.1]))[:, 0] == pytest.approx([0, 0])
    out = fitted([None, None]).encode(pl.Series([None, 4.0], dtype=pl.Float64))
    assert np.isfinite(out).all()


def test_buckets_by_hand():
    encoder = fitted([1.0], transform="bucket", boundaries=(18, 25))
    assert encoder.encode_ids(pl.Series([17.0, 18, 24.9, 25, 99, None])).ravel().tolist() == [
        2, 3, 3, 4, 4, 0,
    ]  # fmt: skip
    assert encoder.size == 5


def test_quantiles_hold_equal_shares():
    values = np.random.default_rng(0).exponential(size=10_000)
    encoder = fitted(values, transform="quantile", buckets=4)
    counts = np.bincount(encoder.encode_ids(pl.Series(values)).ravel())[2:]
    assert counts.tolist() == [2500] * 4


def test_vectors_have_one_indicator():
    encoder = DenseEncoder.fit(DenseFeat("v", width=2), pl.Series([[1.0, 0.0], [3.0, 4.0]]))
    out = encoder.encode(pl.Series([[3.0, 4.0], [None, 0.0], None]))
    assert out.tolist() == [[1, 1, 0], [0, -1, 1], [0, 0, 1]]


def test_wrong_values_and_declarations_are_refused():
    with pytest.raises(DataError, match="'abc' in row 1"):
        fitted(["1.5", "abc"])
    with pytest.raises(DataError, match="width=2"):
        DenseEncoder.fit(DenseFeat("v", width=2), pl.Series([[1.0, 2.0], [1.0]]))
    with pytest.raises(ConfigError, match="ascending boundaries"):
        fitted([1.0], transform="bucket", boundaries=(3, 1))
    with pytest.raises(ConfigError, match="one number per row"):
        DenseEncoder.fit(DenseFeat("v", width=2, transform="quantile"), pl.Series([[1.0, 2.0]]))


def test_text_numbers_and_blanks_are_read():
    assert fitted(["1", "3", " "]).encode(pl.Series(["2", ""])).tolist() == [[0, 0], [0, 1]]


def lists(values, **options):
    return VarLenEncoder.fit(VarLenSparseFeat("g", **options), pl.Series("g", values))


def test_text_is_split_padded_and_truncated():
    encoder = lists(["a|b", "a", None, ""], separator="|", max_len=2)
    values = pl.Series(["b|a|a", "a", "x| b", None, "", "|a|"])
    assert encoder.encode(values).tolist() == [[3, 2], [2, 0], [1, 3], [0, 0], [0, 0], [2, 0]]


def test_lists_of_any_type():
    encoder = lists([[1, 2], [1], None, []], max_len=3)
    assert encoder.encode(pl.Series([[2, None, 1], [9], None, []])).tolist() == [
        [3, 2, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0],
    ]  # fmt: skip


def test_hashed_lists_have_the_codes_of_their_hashed_ids():
    encoder = lists(["a|b"], separator="|", max_len=3, vocabulary="hash", buckets=50)
    assert encoder.vocabulary.size == 52
    codes = Vocabulary.hashed(50).encode(pl.Series(["b", "new", "é"])).tolist()
    values = pl.Series(["b| new|é|b", "", None, "new"])
    nothing = [0, 0, 0]
    assert encoder.encode(values).tolist() == [codes, nothing, nothing, [codes[1], 0, 0]]


def test_a_list_that_shares_a_hashed_table_has_its_codes():
    features = [
        VarLenSparseFeat("tags", separator="|", max_len=2, vocabulary="hash", buckets=9),
        SparseFeat("tag", shares="tags"),
    ]
    frame = pl.DataFrame({"tags": ["a|b", "c"], "tag": ["b", "new"]})
    space = FrameSpace.fit(frame, features)
    (table,) = space.layout.tables
    assert (table.name, table.size) == ("tags", 11)
    ids = space.rows(frame).blocks[0].ids
    assert ids[0, 2] == ids[0, 1]
    assert 2 <= ids[1, 2] < 11  # no id is unseen


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({"buckets": 9}, 'vocabulary = "hash"'),
        ({"vocabulary": "hash", "min_count": 2}, 'vocabulary = "dictionary"'),
        ({"vocabulary": "hash", "shares": "x"}, "no shares"),
    ],
)
def test_options_of_a_vocabulary_that_have_no_effect_are_refused(options, needs):
    for kind in (SparseFeat, VarLenSparseFeat):
        with pytest.raises(ValueError, match=f"needs {needs}"):
            kind("x", **options)


def test_text_without_a_separator_is_refused():
    with pytest.raises(DataError, match="separator"):
        lists(["a|b"])


def test_no_rows():
    encoder = lists(["a|b"], separator="|", max_len=2)
    assert encoder.encode(pl.Series([], dtype=pl.String)).shape == (0, 2)
    assert fitted([1.0]).encode(pl.Series([], dtype=pl.Float64)).shape == (0, 2)
