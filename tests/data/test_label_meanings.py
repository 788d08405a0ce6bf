"""The usual meaning of labels: behaviours, emoji, ratings in words."""

import pytest

from tamis.data import usual_meaning


@pytest.mark.parametrize(
    ("label", "positive"),
    [
        ("AddToCart", True), ("no response", False), ("已取消", False), ("已完成", True),
        ("👍", True), ("👎🏽", False), ("❤️", True), ("★★★★☆", True), ("★★☆☆☆", False),
        ("4 stars", True), ("3,5 Sterne", False), ("1 étoile", False), ("18/20", True),
        ("3 out of 5", False),
    ],
)  # fmt: skip
def test_labels_with_a_usual_meaning(label: str, positive: bool) -> None:
    usual = usual_meaning(label)
    assert usual is not None
    assert usual.positive is positive


@pytest.mark.parametrize("label", ["type_3", "0", "7/5", "12/31", "", "  ", "Madrid", "★★★★★★"])
def test_other_labels_have_none(label: str) -> None:
    assert usual_meaning(label) is None
