"""Opening a version compiles what events and requests reach, and leaves no trace."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from tamis.service import LiveRecommender, RankRequest, Recommender, Request


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def compiled() -> dict[str, int]:
    """Kernel → number of types of arguments for which it is compiled."""
    return {
        f"{module}.{name}": len(kernel.signatures)
        for module, loaded in list(sys.modules.items())
        if module.startswith("tamis.")
        for name, kernel in vars(loaded).items()
        if isinstance(kernel, Dispatcher)
    }


def test_events_and_requests_compile_nothing_after_the_opening(project: Path) -> None:
    live = LiveRecommender.open(project)
    before = compiled()
    event = {"user_id": "u3", "item_id": "i3", "behaviour": "like"}
    live.take([event])
    assert live.recommend("u3", explain=True).degraded == ()
    live.take([{**event, "user_id": "fresh"}, {**event, "item_id": "fresh"}])
    live.put_items([{"item_id": "put", "name": "Put", "kind": "a"}])
    live.recommend("fresh", explain=True)
    live.delete_user("fresh")
    live.delete_user("u3")
    live.take([event])
    live.recommend("u3")
    live.rank(RankRequest.of(user_id="u3", item_ids=["i3", "i4"]))
    live.hide("i5")
    live.recommend("u3")
    live.show("i5")
    live.delete_item("i6")
    live.recommend("u3", explain=True)
    shown = live.recommend("u4", recommendation_id="kept")
    answer = live.answered("kept")
    assert answer is not None
    live.explained(answer)
    live.why_not(answer, "i3")
    assert live.recommend(Request.of(user_id="u3", why_not="i4")).why_not is not None
    assert shown.items
    assert compiled() == before
    live.close()


def test_a_rehearsal_leaves_no_trace(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    recommender = Recommender.open(project)
    parts = recommender.parts
    asked = [recommender.recommend(user, 10, recommendation_id="r").items for user in ("u3", "x")]
    rows, times = np.arange(len(parts.users), dtype=np.int32), np.full(len(parts.users), 2**42)
    before = parts.statistics.users(rows, times).copy(), len(parts.histories.at(rows, times).item)
    with caplog.at_level(logging.WARNING):
        recommender.warm_up()
    assert caplog.records == []
    assert [
        recommender.recommend(user, 10, recommendation_id="r").items for user in ("u3", "x")
    ] == asked
    np.testing.assert_array_equal(parts.statistics.users(rows, times), before[0])
    assert len(parts.histories.at(rows, times).item) == before[1]
    assert (parts.users.row("rehearsal"), parts.items.row("rehearsal")) == (-1, -1)
    assert parts.users.row("u0") >= 0, "only the copy has deleted it"
