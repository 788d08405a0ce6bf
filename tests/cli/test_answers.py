"""Answers as the terminal prints them."""

import pytest

from tamis.cli._console import console
from tamis.cli.serving_commands import print_answer
from tamis.service import Answer, Place, Reason


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
    fields = {"user": "u1", "known": False, "time": 0, "clock": "data", "took_ms": 1.0}
    return Answer(request_id="r", version="v", items=(place,), **{**fields, **given})


def test_a_new_user_ordered_by_recall_has_no_place_of_the_ranker(monkeypatch) -> None:
    text = printed(answer("recall (new user)"), monkeypatch)
    assert "recall hot #1 → order: recall (new user)" in text
    assert "rank #" not in text
    text = printed(answer("the ranker", value=0.088), monkeypatch)
    assert "pre-rank #4 → rank #1 (view 0.088)" in text
