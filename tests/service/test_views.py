"""Views: what an open version knows after entries of a journal; they depend on these alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.journal import (
    EmbeddedJournal,
    Entry,
    Event,
    ItemHide,
    ItemPut,
    ItemShow,
    Numbered,
    UserDelete,
    UserPut,
)
from tamis.schema import RequestError, StoreError, VersionError
from tamis.service import LiveRecommender, Recommender, Request

HOUR = 3_600_000


@pytest.fixture(scope="module")
def opened(numbered: Path) -> Callable[[], Recommender]:
    return lambda: Recommender.open(numbered)


@pytest.fixture
def recommender(opened: Callable[[], Recommender]) -> Recommender:
    return opened()


def a_like(recommender: Recommender, number: int, user: str, item: str, **changed: int) -> Event:
    at = recommender.manifest.data_until + HOUR + 1_000 * number
    return Event(
        event_id=f"e{number}",
        user_id=user,
        item_id=item,
        behaviour="like",
        time=changed.get("time", at),
        arrival=changed.get("arrival", at),
        value=5.0,
    )


def numbered_from(first: int, entries: Sequence[Entry]) -> list[Numbered]:
    return [Numbered(first + k, entry) for k, entry in enumerate(entries)]


def test_a_liked_item_is_seen_in_the_next_answer(recommender: Recommender) -> None:
    before = recommender.recommend(Request.of(user_id="7", n=5))
    liked = before.items[0].item_id
    recommender.views.apply([Numbered(1, a_like(recommender, 0, "7", liked))])
    after = recommender.recommend(Request.of(user_id="7", n=5, why_not=liked))
    assert liked not in [place.item_id for place in after.items]
    assert after.why_not is not None
    assert (after.why_not.stage, after.why_not.detail) == ("filtered", "filter seen: seen")
    assert after.time > before.time


def test_the_likes_of_a_new_user_turn_the_answer(recommender: Recommender) -> None:
    """The log has three groups of taste, by the number of the item modulo 3."""
    stranger = recommender.recommend(Request.of(user_id="a stranger", n=20))
    assert not stranger.known
    likes = [a_like(recommender, k, "a stranger", f"1{3 * k + 2:03}") for k in range(6)]
    recommender.views.apply(numbered_from(1, likes))
    after = recommender.recommend(Request.of(user_id="a stranger", n=20))
    assert after.known
    own = [
        sum(int(p.item_id) % 1000 % 3 == 2 for p in answer.items) for answer in (stranger, after)
    ]
    assert own[1] >= own[0] + 3
    assert recommender.views.user_row("another") == -1


def test_a_hidden_item_is_in_no_answer_until_it_is_shown(recommender: Recommender) -> None:
    first = recommender.recommend(Request.of(user_id="3", n=5)).items[0].item_id
    recommender.views.apply([Numbered(1, ItemHide(item_id=first))])
    for user in ("3", "5", None):
        request = Request.of(user_id=user, n=50, why_not=first)
        answer = recommender.recommend(request)
        assert first not in [place.item_id for place in answer.items]
        assert answer.why_not is not None
        assert "hidden" in answer.why_not.detail
    recommender.views.apply([Numbered(2, ItemShow(item_id=first))])
    assert recommender.recommend(Request.of(user_id="3", n=5)).items[0].item_id == first


def test_a_request_of_a_moment_ago_is_answered_and_an_older_one_refused(
    recommender: Recommender,
) -> None:
    end = recommender.manifest.data_until
    recommender.recommend(Request.of(user_id="3", time=end))
    recommender.views.apply([Numbered(1, a_like(recommender, 0, "3", "1001"))])
    earliest = recommender.views.earliest
    answer = recommender.recommend(Request.of(user_id="3", time=earliest - 30_000))
    assert (answer.time, answer.clock) == (earliest, "request")
    with pytest.raises(RequestError, match="the statistics hold events that"):
        recommender.recommend(Request.of(user_id="3", time=end))


def test_an_event_of_the_trained_log_that_arrived_late_does_not_count_twice(
    recommender: Recommender,
) -> None:
    """The log of this project has no column of arrival: it takes the time for it."""
    end = recommender.manifest.data_until
    late = a_like(recommender, 0, "3", "1001", time=end - 1, arrival=end + HOUR)
    recommender.views.apply([Numbered(1, late)])
    assert recommender.views.skipped.total() == 1


def test_a_journal_that_lost_its_end_is_reported(
    opened: Callable[[], Recommender], tmp_path: Path
) -> None:
    recommender = opened()
    recommender.views.apply([Numbered(7, a_like(recommender, 0, "3", "1001"))])
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    with pytest.raises(StoreError, match="ends at entry 0, and this service has applied entry 7"):
        recommender.views.catch_up(journal, 1.0)
    journal.close()


def test_a_behaviour_that_the_version_does_not_know_is_counted(recommender: Recommender) -> None:
    unknown = msgspec.structs.replace(a_like(recommender, 0, "3", "1001"), behaviour="hum")
    recommender.views.apply([Numbered(4, unknown)])
    assert recommender.views.skipped == {"the version does not know the behaviour": 1}
    assert recommender.views.position == 4


def test_an_unknown_item_gets_a_row_by_its_first_event(recommender: Recommender) -> None:
    items = len(recommender.parts.items)
    recommender.views.apply([Numbered(1, a_like(recommender, 0, "3", "no such item"))])
    assert recommender.parts.items.row("no such item") == items
    request = Request.of(user_id="3", n=5, why_not="no such item")
    answer = recommender.recommend(request)
    assert answer.why_not is not None
    assert answer.why_not.detail == "filter seen: seen"
    assert answer.degraded == ()


def test_a_profile_makes_a_user_known_and_a_deletion_unknown(recommender: Recommender) -> None:
    put = UserPut(user_id="profile", columns={"gender": "F", "age": 30})
    recommender.views.apply([Numbered(1, put), Numbered(2, UserDelete(user_id="5"))])
    assert recommender.recommend(Request.of(user_id="profile", n=5)).known
    gone = recommender.recommend(Request.of(user_id="5", n=5))
    stranger = recommender.recommend(Request.of(user_id=None, n=5))
    assert not gone.known
    assert [p.item_id for p in gone.items] == [p.item_id for p in stranger.items]


def test_a_snapshot_holds_all_that_answers_need(
    opened: Callable[[], Recommender], tmp_path: Path
) -> None:
    one, other = opened(), opened()
    entries = [
        *(a_like(one, k, "new", f"1{3 * k:03}") for k in range(4)),
        UserPut(user_id="profile", columns={"age": 50}),
        ItemPut(item_id="fresh", columns={"title": "Fresh", "genres": "Drama"}),
        a_like(one, 9, "3", "fresh"),
        UserDelete(user_id="5"),
        ItemHide(item_id="1001"),
    ]
    one.views.apply(numbered_from(1, entries))
    one.views.snapshot(tmp_path / "snapshot")
    other.views.restore(tmp_path / "snapshot")
    assert other.views.position == len(entries)
    for user in ("new", "profile", "3", "5", None):
        answers = [r.recommend(Request.of(user_id=user, n=20)) for r in (one, other)]
        left, right = ([(p.item_id, p.score, p.title) for p in a.items] for a in answers)
        assert left == right
        assert answers[0].known == answers[1].known
    (tmp_path / "snapshot" / "counters" / "counters.npz").write_bytes(b"PK damaged")
    with pytest.raises(VersionError, match="snapshot"):
        opened().views.restore(tmp_path / "snapshot")


def test_events_that_the_version_was_trained_on_do_not_count_twice(
    recommender: Recommender,
) -> None:
    end = recommender.manifest.data_until
    before = a_like(recommender, 0, "3", "1001", time=end - HOUR, arrival=end - 1)
    recommender.views.apply([Numbered(1, before)])
    assert recommender.views.skipped == {"it arrived before the end of the version's data": 1}
    assert recommender.views.earliest == end


STREAMS = st.lists(
    st.tuples(
        st.sampled_from(["3", "5", "new", "newer"]),
        st.integers(0, 30).map(lambda k: f"1{k:03}"),
        st.integers(-3, 3),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15)
@given(stream=STREAMS, cuts=st.sets(st.integers(1, 11), max_size=3))
def test_views_do_not_depend_on_how_entries_arrive(
    opened: Callable[[], Recommender], stream: list[tuple[str, str, int]], cuts: set[int]
) -> None:
    """At once, in pieces, and with repeats: the same histories, statistics and answers, although
    clocks disagree (arrivals go back by up to 3 seconds)."""
    whole, pieces = opened(), opened()
    entries = [
        a_like(whole, k, user, item, arrival=whole.manifest.data_until + HOUR + 1_000 * (k + shift))
        for k, (user, item, shift) in enumerate(stream)
    ]
    numbered = numbered_from(1, entries)
    whole.views.apply(numbered)
    bounds = [0, *sorted(c for c in cuts if c < len(stream)), len(stream)]
    for first, last in itertools.pairwise(bounds):
        pieces.views.apply(numbered[max(first - 1, 0) : last])
    assert whole.views.earliest == pieces.views.earliest
    now = whole.views.earliest
    for user in ("3", "5", "new", "newer"):
        row = whole.views.user_row(user)
        assert row == pieces.views.user_row(user)
        one, other = (r.views.queries(row, now, None) for r in (whole, pieces))
        for column in ("item", "behaviour", "time"):
            assert np.array_equal(getattr(one.history, column), getattr(other.history, column))
    rows = np.arange(40, dtype=np.int32)
    times = np.full(40, now, np.int64)
    for side in ("users", "items"):
        one, other = (getattr(r.parts.statistics, side)(rows, times) for r in (whole, pieces))
        assert np.array_equal(one, other)


def test_the_journal_is_read_at_the_start_and_before_every_answer(
    opened: Callable[[], Recommender], tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    other = EmbeddedJournal(path)  # another process
    first = opened()
    events = [a_like(first, k, "new", f"1{3 * k:03}") for k in range(3)]
    other.append(events[:2])
    live = LiveRecommender(first, EmbeddedJournal(path))
    assert live.position == 2
    assert live.recommend(Request.of(user_id="new", n=3)).known
    other.append(events[2:])
    answer = live.recommend(Request.of(user_id="new", n=3, recommendation_id="r1"))
    assert (live.position >= 3, answer.lag) == (True, 0)
    logged = live.answered("r1")
    assert logged is not None
    assert [one.item_id for one in logged.slate] == [place.item_id for place in answer.items]
    assert logged.version == live.version
    assert live.answered("r2") is None
    live.close()
    other.close()
