"""The filter `exposed` knows impressions that came after the version."""

from __future__ import annotations

from pathlib import Path

from tamis.journal import Event, Numbered
from tamis.service import Recommender, Request

DAY = 86_400_000


def test_an_item_that_was_shown_since_is_not_in_the_next_answer(shown_once: Path) -> None:
    recommender = Recommender.open(shown_once)
    end = recommender.manifest.data_until

    def answer(days: float, **asked: str) -> tuple[set[str], str]:
        request = Request.of(user_id="u0", n=12, time=int(end + days * DAY), **asked)
        found = recommender.recommend(request)
        why = "" if found.why_not is None else found.why_not.detail
        return {place.item_id for place in found.items}, why

    everything = {f"m{i}" for i in range(12)}
    assert answer(0)[0] == everything - {"m0", "m1"}
    at = end + DAY
    shown = Event(event_id="e1", user_id="u0", item_id="m5", behaviour="show", time=at, arrival=at)
    others = Event(event_id="e2", user_id="u1", item_id="m6", behaviour="show", time=at, arrival=at)
    recommender.views.apply([Numbered(1, shown), Numbered(2, others)])
    items, why = answer(2, why_not="m5")
    assert items == everything - {"m0", "m1", "m5"}
    assert "filter exposed: exposed" in why
    assert answer(100)[0] == everything  # three months later
