"""Answers as the terminal prints them."""

import pytest

from tamis.cli._answers import print_answer
from tamis.cli._console import console
from tamis.service import Answer, Place, Reason, WhyNot


def reason(order: str, value: float) -> Reason:
    return Reason(
        text="found by hot",
        channels=({"channel": "hot", "rank": 1, "score": 9.0, "because": None, "reason": None},),
        prerank={"score": 0.5, "place": 4},
        predictions={"view": 0.088},
        value=value,
        value_place=1,
        rerank={},
        fused=0.088,
        order=order,
    )


def printed(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "width", 200)
    with console.capture() as capture:
        print_answer(answer)
    return capture.get()


def answer(order: str, *, value: float = 0.5, **given) -> Answer:
    place = Place("A-1", "Lamp", 1, value, reason(order, value))
    fields = {"user_id": "u1", "known": False, "time": 0, "clock": "data", "took_ms": 1.0}
    return Answer(recommendation_id="r", version="v", items=(place,), **{**fields, **given})


def test_a_new_user_ordered_by_recall_has_no_place_of_the_ranker(monkeypatch) -> None:
    text = printed(answer("recall (new user)"), monkeypatch)
    assert "recall hot #1 → order: recall (new user)" in text
    assert "rank #" not in text
    text = printed(answer("the ranker", value=0.088), monkeypatch)
    assert "pre-rank #4 → rank #1 (view 0.088)" in text


@pytest.mark.parametrize(
    ("lost", "line"),
    [
        (
            WhyNot("A-14", "A-14", "filtered", "filter seen: seen"),
            "A-14: removed by filter seen: seen",
        ),
        (
            WhyNot("A-14", "Chair", "rank_cut", "ranked 12 by value; the slate has 3 places"),
            "Chair (A-14): ranked below the slate: ranked 12 by value; the slate has 3 places",
        ),
        (
            WhyNot("A-14", "A-14", "not_recalled", "not recalled (hot: not found)"),
            "A-14: not recalled (hot: not found)",
        ),
        (WhyNot("A-1", "Lamp", None, "shown at place 1"), "Lamp (A-1): shown at place 1"),
    ],
)
def test_the_question_why_not_is_answered_first_and_in_words(lost, line, monkeypatch) -> None:
    lines = printed(answer("the ranker", why_not=lost), monkeypatch).splitlines()
    assert lines[1] == line  # below the line of user and version, above the slate
    assert "_" not in lines[1]


@pytest.mark.parametrize(
    ("order", "value", "legend"),
    [
        ("the ranker", 0.088, "score: the fused value, by which the list is ordered before"),
        ("recall (new user)", 0.5, "score: 1 ÷ the place in recall's list, by which"),
        ("the channel hot", 0.5, "score: made of the place by the channel hot, by which"),
    ],
)
def test_a_line_says_what_the_scores_are(order, value, legend, monkeypatch) -> None:
    text = printed(answer(order, value=value), monkeypatch)
    assert text.count("score:") == 1
    assert legend in text
