"""The contract of a journal, as checks for any implementation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import structs

from tamis.journal import (
    Entry,
    Event,
    ExperimentStep,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Journal,
    Recommendation,
    Recommended,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.schema import StoreError

T0 = 1_700_000_000_000


def an_event(number: int, user: str = "ann", **changed: object) -> Event:
    """Event `number` of a user: a click on item `i{number}`, a second after the one before."""
    fields: dict[str, Any] = {
        "event_id": f"e{number}",
        "user_id": user,
        "item_id": f"i{number}",
        "behaviour": "click",
        "time": T0 + 1_000 * number,
        "arrival": T0 + 1_000 * number + 7,
    }
    return Event(**{**fields, **changed})


def check_journal(make: Callable[[], Journal]) -> None:
    """Raises AssertionError naming the rule that a journal breaks.

    make: opens the same journal, empty at first; each call stands for another process.
    """
    writer, reader = make(), make()
    try:
        _check_empty(reader)
        _check_order(writer, reader)
        _check_keys(writer, reader)
        _check_pages(reader)
        _check_threads(writer, reader)
        _check_trim(writer, reader)
        _check_keys_after_trim(writer, reader)
        _check_answers(writer, reader)
        _check_experiments(writer, reader)
        assert writer.durability.text, "a journal says what an acknowledged entry survives"
    finally:
        writer.close()
        reader.close()
    _check_closed(writer)
    again = make()
    try:
        assert again.head > 0, "a journal that is opened again goes on where it was"
    finally:
        again.close()


def _check_empty(journal: Journal) -> None:
    assert (journal.head, journal.start) == (0, 0), "a new journal starts at 0"
    assert journal.read(0, 10) == [], "an empty journal has no entries"
    assert journal.find("event:e1") is None, "an empty journal finds nothing"
    assert journal.append([]) == [], "no entries, no numbers"
    assert journal.head == 0, "no entries, no numbers"


def _check_order(writer: Journal, reader: Journal) -> None:
    entries = [
        an_event(1, value=3.5, context={"device": "ios", "hour": 7, "paid": True, "city": None}),
        UserPut(user_id="ann", columns={"age": 31, "city": "Köln", "vip": True}),
        UserPatch(user_id="ann", columns={"age": None}),
        UserDelete(user_id="ann"),
        ItemPut(item_id="i9", columns={"price": 9.5, "genres": ["a", "b"], "vector": [0.5, -1.0]}),
        ItemPatch(item_id="i9", columns={"price": 8}),
        ItemDelete(item_id="i9"),
        ItemHide(item_id="bob's ä/ö: 奶酪"),
        ItemShow(item_id="i9"),
        ItemHide(item_id="i9"),
    ]
    results = writer.append(entries)
    assert [r.duplicate for r in results] == [False] * len(entries), "new entries are no duplicates"
    numbers = [r.sequence for r in results]
    assert numbers == sorted(set(numbers)), "numbers increase in the order of the entries"
    assert numbers[0] > 0, "numbers are above 0"
    assert reader.head == numbers[-1], "another process sees the head once append has returned"
    found = reader.read(0, 100)
    assert [n.sequence for n in found] == numbers, "read gives the numbers that append gave"
    assert [n.entry for n in found] == entries, "entries come back as given, in order"
    lines = reader.lines(0, 100)
    assert _decoded(lines.content, Entry) == entries, "lines give the same entries as JSON"
    assert lines.last == numbers[-1], "lines say the number of the last entry"
    assert reader.lines(numbers[-1], 100) == (b"", numbers[-1]), "nothing is above the head"
    assert reader.find("event:e1") == found[0], "find must find the event of an id"
    assert reader.find("event:none") is None, "an id that never came is not found"


def _check_keys(writer: Journal, reader: Journal) -> None:
    first = reader.find("event:e1")
    assert first is not None
    head = reader.head
    again = writer.append([an_event(1, value=99.0)])
    assert again[0].duplicate, "an event that is sent twice is one event"
    assert again[0].sequence == first.sequence, "a duplicate has the number of the first"
    assert reader.head == head, "a duplicate takes no number"
    mixed = writer.append([an_event(2), an_event(1), an_event(3), an_event(2, value=1.0)])
    assert [r.duplicate for r in mixed] == [False, True, False, True], (
        "duplicates within one call, and of earlier calls, are not taken for new entries"
    )
    assert mixed[3].sequence == mixed[0].sequence, "a duplicate has the number of the first"
    kept = reader.find("event:e2")
    assert kept is not None
    assert kept.entry == an_event(2), "the first entry of a key stays"
    hidden = writer.append([ItemHide(item_id="i9"), ItemHide(item_id="i9")])
    assert not any(r.duplicate for r in hidden), "entries without a key are all written"


def _check_pages(reader: Journal) -> None:
    whole = reader.read(0, 1_000)
    paged: list[object] = []
    after = 0
    while page := reader.read(after, 2):
        assert len(page) <= 2, "at most `limit` entries"
        paged += page
        after = page[-1].sequence
    assert paged == whole, "page by page is the same as at once"
    content, after = reader.lines(0, 3)
    assert after == whole[2].sequence, "at most `limit` lines"
    content += b"\n" + reader.lines(after, 1_000).content
    assert _decoded(content, Entry) == [one.entry for one in whole], "so are lines"
    assert reader.lines(0, 0) == (b"", 0), "a limit of 0 gives no lines"
    assert reader.read(0, 0) == [], "a limit of 0 gives nothing"
    assert reader.read(reader.head, 10) == [], "nothing is above the head"


def _check_threads(writer: Journal, reader: Journal) -> None:
    """Eight threads on two open journals: no entry is lost, doubled, or out of order."""
    before, each = reader.head, 25
    given: dict[int, list[int]] = {}

    def run(thread: int) -> None:
        journal: Journal = writer if thread % 2 else reader
        given[thread] = [
            journal.append([an_event(1_000 * thread + k, user_id=f"u{thread}")])[0].sequence
            for k in range(100, 100 + each)
        ]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = reader.read(before, 1_000)
    assert len(found) == 8 * each, "all entries of all threads are there, once"
    place = {n.sequence: n.entry for n in found}
    for thread, numbers in given.items():
        assert numbers == sorted(numbers), "a caller's entries keep their order"
        users = {getattr(place[n], "user_id", None) for n in numbers}
        assert users == {f"u{thread}"}, "a number belongs to the entry that got it"


def _check_trim(writer: Journal, reader: Journal) -> None:
    whole = reader.read(0, 1_000)
    cut = whole[5].sequence
    assert writer.trim(cut) == 6, "trim says how many entries it deleted"
    assert writer.trim(cut) == 0, "trimming twice deletes nothing more"
    assert reader.start == cut, "`start` is the last number that was trimmed"
    assert reader.head == whole[-1].sequence, "trimming does not move the head"
    assert reader.read(0, 1_000) == whole[6:], "what was not trimmed stays"
    assert reader.find("event:e1") is None, "a trimmed entry is not found"
    _refuses(lambda: writer.trim(reader.head + 1), "cannot trim")
    writer.trim(reader.head)
    assert reader.read(0, 10) == [], "everything can be trimmed"
    assert writer.append([an_event(7_777)])[0].sequence > whole[-1].sequence, (
        "numbers go on after all entries were trimmed"
    )


def _check_keys_after_trim(writer: Journal, reader: Journal) -> None:
    """Everything up to event 7777, which is not trimmed, has been trimmed."""
    again = writer.append([an_event(1)])[0]
    assert again.duplicate, "the key of a trimmed entry stays known"
    assert again.sequence == 1, "a duplicate of a trimmed entry has the number of the first"
    assert reader.append([an_event(1)])[0].duplicate, "in every process"
    assert writer.forget_keys(T0) == 0, "younger keys are not forgotten"
    soon = time.time_ns() // 1_000_000 + 60_000
    assert writer.forget_keys(soon) > 0, "old keys of trimmed entries are forgotten"
    assert writer.forget_keys(soon) == 0, "forgetting twice forgets nothing more"
    assert reader.append([an_event(7_777)])[0].duplicate, "keys of entries that are there stay"
    assert not reader.append([an_event(1)])[0].duplicate, "a forgotten key may be used again"
    assert writer.append([an_event(1)])[0].duplicate, "and is known from then on"


def _check_experiments(writer: Journal, reader: Journal) -> None:
    steps, others = writer.experiments, reader.experiments
    assert (steps.head, steps.read()) == (0, []), "a new journal has no steps of experiments"
    first = ExperimentStep(
        experiment="e",
        step="start",
        time=T0,
        by="ann",
        traffic=0.1,
        note="ö",
        design={"arms": {"a": {}, "b": {"weight": 2.5}}, "goal": "click / show"},
    )
    assert steps.append(first, after=0), "a step that follows the last one is written"
    assert not others.append(first, after=0), "of two that follow the same step, one is written"
    second = ExperimentStep(experiment="e", step="close", time=T0 + 1, by="bob")
    assert others.append(second, after=1), "another process may take the next step"
    assert not others.append(second, after=5), "a step that follows none is not written"
    assert steps.read() == others.read() == [first, second], "steps come back as given, in order"
    assert steps.head == 2, "the head is the number of steps"


def an_answer(number: int, user: str | None = "ann") -> Recommendation:
    """Answer `r{number}`, of two items."""
    return Recommendation(
        recommendation_id=f"r{number}",
        time=T0 + number,
        user_id=user,
        version="v1",
        position=number,
        slate=[Recommended("i1", 1, 0.25), Recommended("i2", 2, None)],
        degraded=["recall:hot: late"],
        rejected={"prerank": ["i7", "bob's ä/ö: 奶酪"], "rank": ["i3"]} if number % 2 else {},
        trace=b"what each stage did" if number % 2 else None,
        arms={"new ranker": "a.b"} if number % 2 else {},
        took_ms=1.5 * number,
    )


def _check_answers(writer: Journal, reader: Journal) -> None:
    head = writer.head
    assert reader.answers.head == 0, "a new journal has no answers"
    assert reader.answers.find("r1") is None, "and finds none"
    given = [an_answer(1), an_answer(2, "bob"), an_answer(3, None), an_answer(4, "bob")]
    writer.answers.append(given[:2])
    writer.answers.append(given[2:])
    writer.answers.append([])
    assert writer.head == head, "answers take no numbers of the entries"
    assert reader.answers.find("r2") == given[1], "an answer is found by its id, as it was given"
    found = reader.answers.read(0, 100)
    assert [one.answer for one in found] == given, "answers come back as given, in order"
    numbers = [one.number for one in found]
    assert numbers == sorted(set(numbers)), "numbers of answers increase"
    assert reader.answers.head == numbers[-1], "the head is the number of the last answer"
    assert reader.answers.read(numbers[0], 2) == found[1:3], "answers are read page by page"
    assert reader.answers.read(0, 0) == [], "a limit of 0 gives nothing"
    lines = reader.answers.lines(0, 100)
    small = [structs.replace(one, trace=None, inputs=None, rejected={}) for one in given]
    told = [
        structs.replace(one, trace=None, inputs=None, rejected={})
        for one in _decoded(lines.content, Recommendation)
    ]
    assert told == small, "lines give the same answers as JSON, perhaps without what is large"
    assert lines.last == numbers[-1], "lines say the number of the last answer"
    few = _decoded(reader.answers.lines(0, 100, slates=False).content, dict[str, Any])
    assert [one["recommendation_id"] for one in few] == ["r1", "r2", "r3", "r4"], (
        "lines without slates are lines of the same answers"
    )
    assert _decoded(reader.answers.lines(numbers[0], 2).content, Recommendation)[0].user_id == "bob"
    assert reader.answers.lines(numbers[-1], 2) == (b"", numbers[-1]), "nothing is above the head"
    writer.answers.append([structs.replace(given[0], version="v2")])
    assert reader.answers.find("r1") == given[0], "of two answers of one id, the first is kept"
    assert writer.answers.forget_user("bob", 4) == 1, "answers from before a deletion are deleted"
    assert reader.answers.find("r4") == given[3], "an answer to a user who came back stays"
    assert writer.answers.forget_user("bob", 4) == 0, "what is deleted is not counted again"
    assert writer.answers.forget_user("bob", 5) == 1, "a user's answers are deleted, and counted"
    assert [one.answer for one in reader.answers.read(0, 100)] == [given[0], given[2]]
    assert reader.answers.find("r2") is None, "a deleted answer is not found"
    assert writer.answers.trim(T0) == 0, "answers that were written later stay"
    assert writer.answers.trim(time.time_ns() // 1_000_000 + 60_000) == 2, "old ones leave"
    assert reader.answers.read(0, 100) == [], "trimmed answers are gone"
    writer.answers.append([an_answer(5)])
    assert reader.answers.read(0, 100)[0].number > numbers[-1], "numbers are never used twice"


def _decoded(content: bytes, kind: Any) -> list[Any]:
    return [msgspec.json.decode(line, type=kind) for line in content.split(b"\n") if line]


def _check_closed(journal: Journal) -> None:
    _refuses(lambda: journal.append([an_event(8_888)]), "closed")


def _refuses(call: Callable[[], object], words: str) -> None:
    said = "nothing was raised"
    try:
        call()
    except StoreError as error:
        said = str(error)
    assert words in said, f"a StoreError that says {words!r} must be raised: {said}"
