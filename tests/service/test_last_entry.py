"""A journal that lost its end is noticed, although it grew again meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamis.journal import EmbeddedJournal, Entry, UserDelete
from tamis.schema import StoreError
from tamis.service import Recommender
from tamis.service.views import last_entry
from tamis.testing import an_event


def test_a_journal_that_lost_its_end_and_grew_again_is_noticed(
    corner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_entry, "INTERVAL", 0.0)
    events = [an_event(k) for k in range(10)]
    entries: list[Entry] = [*events[:4], UserDelete(user_id="ann"), *events[5:]]
    whole, short = (EmbeddedJournal(tmp_path / name / "j.sqlite") for name in ("whole", "short"))
    whole.append(entries[:5])
    short.append([*entries[:3], *entries[6:8]])  # entries 4 and 5 are others
    views = Recommender.open(corner, store="another").views
    assert views.catch_up(whole, 60) == 0
    for _ in range(2):  # as long as it is, and longer
        with pytest.raises(StoreError, match="does not hold entry 5 as this service"):
            views.catch_up(short, 60)
        short.append(entries[8:])
    assert views.position == 5, "nothing of the other journal was applied"
    whole.append(entries[5:6])
    assert views.catch_up(whole, 60) == 0, "the journal was restored"
    assert views.position == 6
    whole.trim(6)
    assert views.catch_up(whole, 60) == 0, "a trimmed entry is not compared"
    whole.close()
    short.close()
