"""Moments of arms read from a journal, against the same by plain loops over all entries."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.data import Labels, Table
from tamis.experiments import ArmComparison, Exposures, ItemValues, exposures, read_arms, reading
from tamis.journal import (
    EmbeddedJournal,
    Event,
    Recommendation,
    Recommended,
    UserDelete,
    answer_blocks,
    entry_blocks,
)
from tamis.schema import Behaviour, metric_terms

DAY = 86_400_000
T0 = 1_700_000_000_000
BEHAVIOURS = [Behaviour(name="click"), Behaviour(name="show"), Behaviour(name="watch")]
NAMES = [b.name for b in BEHAVIOURS]
TEXTS = (
    "click", "show", "sum(watch)", "answers", "shown", "degraded", "took_ms", "active_days",
    "returned(2)", "observed(2)", "distinct(genre)",
)  # fmt: skip
TERMS = [metric_terms(text, BEHAVIOURS)[0] for text in TEXTS]
COMPARISON = ArmComparison("new", "user", ("a", "b"), T0, T0 + 6 * DAY, 2 * DAY)
GENRES = [["x"], ["y"], ["x", "z"], [], ["w"]]
ITEMS = Table(
    "items", pl.Series("id", [f"i{k}" for k in range(5)]), pl.DataFrame({"genre": GENRES})
)
VALUES = {"genre": ItemValues(ITEMS, Labels.of_items(ITEMS, "genre", None))}


def an_answer(number, user, time, arm, items, **fields):
    return Recommendation(
        recommendation_id=f"r{number}",
        time=int(time),
        user_id=user,
        version="v1",
        slate=[Recommended(f"i{item}", k + 1) for k, item in enumerate(items)],
        arms={} if arm is None else {"new": arm, "other": "z"},
        trace=b"x" * 50,
        **fields,
    )


def an_event(number, user, behaviour, time, late=0, **fields):
    return Event(
        event_id=f"e{number}",
        user_id=user,
        item_id=f"i{number % 5}",
        behaviour=behaviour,
        time=int(time),
        arrival=int(time) + late,
        **fields,
    )


def the_log(seed):
    """Answers and entries of forty users over eight days, two of them before the experiment."""
    random = np.random.default_rng(seed)
    arms = {f"u{k}": "ab"[k % 2] if k < 30 else None for k in range(40)}
    answers, events = [], []
    for number in range(300):
        user = f"u{random.integers(40)}"
        time = T0 + random.uniform(-2.5, 5.9) * DAY
        arm = arms[user] if time >= T0 else None
        fields = {"took_ms": float(random.integers(50)) / 4}
        if random.random() < 0.2:
            fields["degraded"] = ["recall:hot: late"]
        if number % 50 == 7:
            arm, fields["request"] = "b", {"arms": {"new": "b"}, "n": 3}
        if user == "u4" and arm is not None:
            arm = "ab"[number % 2]  # a fault of the assignment
        items = random.integers(0, 6, random.integers(0, 4)).tolist()  # i5 is not in the table
        answers.append(an_answer(number, user, time, arm, items, **fields))
    answers.append(an_answer(900, None, T0 + DAY, None, [1]))
    answers.append(an_answer(901, "u4", T0 + 1, "a", [1]))
    answers.append(an_answer(902, "u4", T0 + 2, "b", [1]))
    for number in range(1_500):
        behaviour = ["click", "show", "watch", "gone"][random.integers(4)]
        value = float(random.uniform(0, 9)) if random.random() < 0.7 else None
        time = T0 + random.uniform(-4, 7) * DAY
        late = int(random.exponential(DAY / 4))
        user = f"u{random.integers(45)}"
        events.append(an_event(number, user, behaviour, time, late, value=value))
    events.sort(key=lambda e: e.arrival)
    answers.sort(key=lambda a: a.time)
    entries = [*events[:700], UserDelete(user_id="u6"), UserDelete(user_id="u44"), *events[700:]]
    entries.insert(300, UserDelete(user_id="u8"))
    return answers, entries


def by_hand(answers, entries, comparison=COMPARISON):
    """Unit → (arm, the terms after and before its first answer), and the units in several arms."""
    exposed = [a for a in answers if "new" in a.arms and "arms" not in a.request]
    units = {}
    for user in {a.user_id for a in exposed}:
        own = [a for a in exposed if a.user_id == user]
        if len({a.arms["new"] for a in own}) == 1:
            units[user] = (own[0].arms["new"], min(a.time for a in own))
    several = len({a.user_id for a in exposed}) - len(units)
    deleted = {e.user_id: k for k, e in enumerate(entries) if isinstance(e, UserDelete)}
    found = {}
    for user, (arm, first) in units.items():
        arrivals = [e.arrival for e in entries[: deleted.get(user, 0)] if isinstance(e, Event)]
        if max(arrivals, default=0) >= first:
            continue  # a deleted user is in no arm
        events = [
            e
            for k, e in enumerate(entries)
            if isinstance(e, Event) and e.user_id == user and k > deleted.get(user, -1)
        ]
        own = [a for a in answers if a.user_id == user and "arms" not in a.request]
        inside = [a for a in own if "new" in a.arms]
        periods = (
            (events, inside, own, first, comparison.until, first),
            (events, own, own, first - comparison.before, first, first - 1),
        )
        terms = []
        for all_events, counted, seen, start, stop, zero in periods:
            happened = [e for e in all_events if start <= e.time < stop]
            told = [a for a in counted if start <= a.time < stop]
            active = [e.time for e in happened] + [a.time for a in seen if start <= a.time < stop]
            genres = {
                genre
                for a in told
                for place in a.slate
                if place.item_id != "i5"
                for genre in GENRES[int(place.item_id[1:])]
            }
            terms.append(
                [
                    sum(e.behaviour == "click" for e in happened),
                    sum(e.behaviour == "show" for e in happened),
                    sum(e.value or 0.0 for e in happened if e.behaviour == "watch"),
                    len(told),
                    sum(len(a.slate) for a in told),
                    sum(bool(a.degraded) for a in told),
                    sum(a.took_ms for a in told),
                    len({abs(t - zero) // DAY for t in active}),
                    float(max(active, default=first) - first >= 2 * DAY),
                    float(comparison.until - first >= 2 * DAY),
                    len(genres),
                ]
            )
        found[user] = (arm, first, terms[0], [x for k, x in enumerate(terms[1]) if k not in (8, 9)])
    return found, several


def read(journal, comparison=COMPARISON, terms=TERMS, root=Path("nowhere"), slate="items"):
    blocks = answer_blocks(journal.answers, comparison.schema(slate), size=7)
    values = VALUES if slate == "items" else {}
    with Exposures(comparison, blocks, values=values) as seen:
        entries = entry_blocks(root, journal, size=11)
        return seen.units, read_arms(comparison, seen, terms, entries, NAMES)


@pytest.mark.parametrize("seed", range(3))
def test_moments_equal_plain_loops(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(exposures, "COMPACTED", 10)
    monkeypatch.setattr(exposures, "READ", 13)
    answers, entries = the_log(seed)
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.answers.append(answers)
    journal.append(entries)
    units, found = read(journal)
    journal.close()
    wanted, several = by_hand(answers, entries)
    assert units.several == several >= 1
    assert units.overridden == sum("arms" in a.request for a in answers) > 0
    assert units.oldest == answers[0].time
    assert set(units.ids) - set(wanted) <= {"u6"}
    names = {t.text for t in TERMS}
    assert names <= set(found.arms["a"].names)
    for arm, moments in found.arms.items():
        rows = np.array(
            [[*after, *earlier] for its, _, after, earlier in wanted.values() if its == arm], float
        )
        assert moments.n == len(rows) > 5
        np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-6)
        deviation = rows - rows.mean(axis=0)
        np.testing.assert_allclose(moments.comoment, deviation.T @ deviation, rtol=1e-5, atol=1e-6)
        assert rows[:, : len(TERMS)].sum(axis=0).min() > 0, "every term is tried"
        assert rows[:, len(TERMS) :].sum(axis=0).min() > 0, "and so is every covariate"


@pytest.mark.parametrize(("slate", "text"), [("count", "shown"), ("none", "took_ms")])
def test_slates_are_read_as_far_as_metrics_need_them(slate, text, tmp_path):
    answers, entries = the_log(1)
    terms = metric_terms(text, BEHAVIOURS)
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.answers.append(answers)
    journal.append(entries)
    _, whole = read(journal, terms=terms)
    _, found = read(journal, terms=terms, slate=slate)
    journal.close()
    for arm, moments in found.arms.items():
        assert moments.mean.tolist() == whole.arms[arm].mean.tolist()
        assert moments.mean[0] > 0


def test_a_snapshot_is_what_was_known_at_that_moment(tmp_path):
    """What came up to the end of a day, of units seen up to then."""
    answers, entries = the_log(5)
    terms = [metric_terms(text, BEHAVIOURS)[0] for text in ("click", "answers")]
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.answers.append(answers)
    journal.append([e for e in entries if not isinstance(e, UserDelete)])
    _, found = read(journal, terms=terms)
    journal.close()
    times = [snapshot.time for snapshot in found.snapshots]
    assert times == [*(T0 + k * DAY for k in range(1, 6)), COMPARISON.until]
    moment = times[2]
    events = [e for e in entries if isinstance(e, Event) and e.arrival < moment]
    wanted, _ = by_hand([a for a in answers if a.time < moment or a.user_id == "u4"], events)
    for arm, moments in found.snapshots[2].arms.items():
        own = [x for _, (its, start, *x) in wanted.items() if its == arm and start < moment]
        assert moments.n == len(own)
        assert moments.mean[0] * moments.n == pytest.approx(sum(after[0] for after, _ in own))
        assert moments.mean[1] * moments.n == pytest.approx(sum(after[3] for after, _ in own))


def test_sessions_are_found_by_their_answers(tmp_path):
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.answers.append(
        [an_answer(k, "u1", T0 + k, "ab"[k % 2], [1], session_id=f"s{k % 4}") for k in range(8)]
        + [an_answer(50, "u1", T0 + 50, "a", [1])]  # without a session: in no experiment
    )
    events = [
        an_event(k, "u1", "click", T0 + 1_000 + k, recommendation_id=f"r{k % 9}") for k in range(18)
    ]
    journal.append([*events, an_event(99, "u1", "click", T0 + 2_000)])
    comparison = ArmComparison("new", "session", ("a", "b"), T0, T0 + DAY)
    units, found = read(journal, comparison, [metric_terms("click", BEHAVIOURS)[0]])
    journal.close()
    assert sorted(units.ids) == ["s0", "s1", "s2", "s3"]
    assert units.users.to_list() == ["u1"] * 4
    assert {arm: (m.n, m.mean[0] * m.n) for arm, m in found.arms.items()} == {
        "a": (2, 8.0),
        "b": (2, 8.0),
    }


def test_nothing_in_the_journal(tmp_path):
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    units, found = read(journal)
    journal.close()
    assert (len(units), units.oldest) == (0, None)
    assert [m.n for m in found.arms.values()] == [0, 0]
    assert len(found.snapshots) == 1


def test_long_experiments_have_few_snapshots():
    units = type("Few", (), {"first": np.array([T0])})
    comparison = ArmComparison("new", "user", ("a", "b"), T0, T0 + 400 * DAY + 5)
    moments = reading._moments(comparison, units)
    assert len(moments) <= reading.MOST_SNAPSHOTS + 1
    assert moments[-1] == comparison.until
    assert np.diff(moments[:-1]).tolist() == [14 * DAY] * (len(moments) - 2)
