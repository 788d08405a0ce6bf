"""Every option of a feature has an effect: another value changes the inputs of models."""

import numpy as np
import polars as pl
import pytest

from tamis.features import FrameSpace
from tamis.schema import DenseFeat, Side, SparseFeat, VarLenSparseFeat

FRAME = pl.DataFrame(
    {
        "x": ["a", "b", "a", "c"],
        "other": ["b", "b", "d", "a"],
        "n": [1.0, 5.0, 2.0, 40.0],
        "m": [3.0, 1.0, None, 2.0],
        "pairs": [[1.0, 2.0], [0.0, 1.0], [3.0, 5.0], [2.0, 2.0]],
        "tags": ["a|b|c", "a;b", "", "b|a"],
    }
)
OWNER = SparseFeat("x")
KINDS = {
    SparseFeat: {"name": "f", "column": "x"},
    DenseFeat: {"name": "f", "column": "n"},
    VarLenSparseFeat: {"name": "f", "column": "tags", "separator": "|"},
}
VALUES = {
    ("*", "side"): Side.ITEM,
    ("*", "min_count"): 2,
    ("*", "vocabulary"): "hash",
    ("*", "shares"): "x",
    ("SparseFeat", "column"): "other",
    ("SparseFeat", "buckets"): 3,
    ("DenseFeat", "column"): "m",
    ("DenseFeat", "transform"): "log1p",
    ("DenseFeat", "buckets"): 2,
    ("DenseFeat", "boundaries"): (4.0,),
    ("DenseFeat", "width"): 2,
    ("VarLenSparseFeat", "column"): "x",
    ("VarLenSparseFeat", "buckets"): 3,
    ("VarLenSparseFeat", "max_len"): 2,
    ("VarLenSparseFeat", "pooling"): "max",
    ("VarLenSparseFeat", "separator"): ";",
    ("VarLenSparseFeat", "history"): ("click",),
    ("VarLenSparseFeat", "ngrams"): (2, 2),
}
WITH = {
    ("SparseFeat", "buckets"): {"vocabulary": "hash"},
    ("DenseFeat", "buckets"): {"transform": "quantile"},
    ("DenseFeat", "boundaries"): {"transform": "bucket", "boundaries": (2.0,)},
    ("DenseFeat", "width"): {"column": "pairs", "width": 1},
    ("VarLenSparseFeat", "buckets"): {"vocabulary": "hash"},
    ("VarLenSparseFeat", "history"): {"max_len": 2},
    ("VarLenSparseFeat", "ngrams"): {"separator": None, "ngrams": (1, 1)},
}
NO_EFFECT_HERE = {
    ("SparseFeat", "precision"): "of the context feature geohash (tests/features/test_space)",
    **{
        ("SparseFeat", option): "of incremental updates (tests/jobs/test_follow)"
        for option in ("online", "spare", "admit_after", "admit_within", "expire_days")
    },
    ("DenseFeat", "width"): "another width than the column's is refused (tests/features)",
}
CASES = [
    pytest.param(kind, option, id=f"{kind.__name__}.{option}")
    for kind in KINDS
    for option in kind.model_fields
    if option not in ("name", "kind") and (kind.__name__, option) not in NO_EFFECT_HERE
]


def inputs(feature):
    space = FrameSpace.fit(FRAME, [OWNER, feature])
    (block,) = space.rows(FRAME).blocks
    return space.layout, block.ids, block.dense


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_another_value_of_an_option_changes_the_inputs(kind, option):
    key = (kind.__name__, option)
    value = VALUES.get(key, VALUES.get(("*", option)))
    base = KINDS[kind] | WITH.get(key, {})
    plain, changed = inputs(kind(**base)), inputs(kind(**base | {option: value}))
    same = all(np.array_equal(a, b) for a, b in zip(plain[1:], changed[1:], strict=True))
    assert not same or plain[0] != changed[0], f"{option} = {value!r} has no effect"


def test_every_exception_is_an_option():
    fields = {kind.__name__: kind.model_fields for kind in KINDS}
    for name, option in [*WITH, *NO_EFFECT_HERE, *(k for k in VALUES if k[0] != "*")]:
        assert option in fields[name], (name, option)
