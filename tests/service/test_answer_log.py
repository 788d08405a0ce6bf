"""What the journal keeps of an answer: what the ranker read then, and new items by their ids."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tamis.cascade import RankerInputs
from tamis.journal import Recommendation
from tamis.schema import RequestError
from tamis.service import LiveRecommender, Request
from tamis.service.answer_log import REJECTED_BYTES, _short
from tamis.service.explanations import Explanations


@pytest.fixture
def live(corner: Path, tmp_path: Path) -> Iterator[LiveRecommender]:
    shutil.copytree(corner, tmp_path / "corner")
    opened = LiveRecommender.open(tmp_path / "corner")
    opened.put_items([{"item_id": "new", "name": "New", "kind": "a"}])
    opened.take([{"user_id": "u2", "item_id": "new", "behaviour": "like"}])
    yield opened
    opened.close()


def written(live: LiveRecommender, recommendation_id: str) -> Recommendation:
    found = live.answered(recommendation_id)
    assert found is not None
    return found


def test_what_the_ranker_read_does_not_change_while_the_answer_waits(
    live: LiveRecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is busy with an earlier answer while events change the counters in place."""
    answers, busy, go = live.journal.answers, threading.Event(), threading.Event()
    real = answers.append

    def slow(entries: Sequence[Recommendation]) -> None:
        busy.set()
        assert go.wait(60)
        real(entries)

    monkeypatch.setattr(answers, "append", slow)
    live.recommend("u0")
    assert busy.wait(60)
    request = Request.of(user_id="u1", n=8)
    outcome = live._recommender.answer(request).outcome
    assert outcome.rows is not None
    expected = RankerInputs.read(outcome.rows, outcome.preranked.item)
    answer = live.recommend(request)
    shown = {place.item_id for place in answer.items}
    rows = [{"user_id": f"u{k % 60}", "item_id": i, "behaviour": "like"}
            for k in range(20) for i in shown]  # fmt: skip
    live.take(rows)
    live.recommend("u3", dry_run=True)  # takes the events into account
    go.set()
    inputs = written(live, answer.recommendation_id).inputs
    assert inputs is not None
    found = RankerInputs.of(inputs)
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.dense, expected.dense)
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_new_and_shown_items_are_explained_by_the_record(live: LiveRecommender) -> None:
    """Another version took over: the table of the former one does not hold the new item, and its
    folder may be gone."""
    live.hide("new")
    shown = live.recommend("u0", n=5, recommendation_id="r").items[0].item_id
    assert written(live, "r").rejected == {}  # no channel learns from them
    folder = live.project / "versions"
    shutil.copytree(folder / live.version, folder / "former")
    former = msgspec.structs.replace(written(live, "r"), version="former")
    explanations = Explanations(live._recommender)
    live.put_items([{"item_id": "newer"}])
    assert live.get_item("newer") is not None
    why = explanations.why_not(written(live, "r"), "newer")
    assert (why.stage, why.notes) == ("not_recalled", ())
    assert why.detail.endswith("not in the data of the version that answered"), "it came later"
    why = explanations.why_not(former, "new")
    assert (why.stage, why.detail) == ("filtered", "hidden or deleted")
    assert f"version former gave this answer, and {live.version} answers now" in why.notes[0]
    shutil.rmtree(folder / "former")
    assert explanations.why_not(former, shown).detail == "shown at place 1"
    assert explanations.why_not(former, "new").stage == "filtered"
    with pytest.raises(RequestError, match="only the items that it showed"):
        explanations.why_not(former, "i29" if shown != "i29" else "i28")


def test_the_ids_of_rejected_items_take_a_bounded_number_of_bytes() -> None:
    half = "ä" * (REJECTED_BYTES // 4)
    assert _short(iter(["a", half, half, "b"])) == ["a", half]
    assert _short(iter([half, half, "b"])) == [half, half]
    assert _short(iter([])) == []
