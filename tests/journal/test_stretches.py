"""Stretches of a journal in files: nothing changes, whatever is killed, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tamis.jobs import export
from tamis.journal import (
    ENTRY_SCHEMA,
    EXPORTED,
    Event,
    ItemPut,
    Numbered,
    Stretch,
    UserDelete,
    WholeJournal,
    answer_blocks,
    entry_blocks,
    export_turn,
    open_journal,
    stretches,
    write_stretch,
)
from tamis.schema import EventsConfig, StoreError
from tamis.testing import an_event
from tamis.testing.journals import an_answer

TOML = """
name = "shop"
[events]
[behaviours.click]
positive = true
[cascade.channels.hot]
[cascade.rank]
use = "deepfm"
"""

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
events = st.builds(
    Event,
    event_id=texts,
    user_id=texts,
    item_id=texts,
    behaviour=texts,
    time=st.integers(946_684_800_000, 4_102_444_800_000),
    arrival=st.integers(946_684_800_000, 4_102_444_800_000),
    value=st.none() | st.floats(allow_nan=False, width=32),
    context=st.dictionaries(texts, values, max_size=2),
    recommendation_id=st.none() | texts,
    position=st.none() | st.integers(1, 10_000),
)
changes = st.builds(UserDelete, user_id=texts) | st.builds(
    ItemPut, item_id=texts, columns=st.dictionaries(texts, values | st.lists(texts), max_size=2)
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events | changes, min_size=1, max_size=6))
def test_a_stretch_gives_back_its_entries(tmp_path_factory: Any, entries: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("project")
    config = EventsConfig(user="event_id", value="context", context=("position", "device"))
    numbered = [Numbered(7 + 2 * k, entry) for k, entry in enumerate(entries)]
    write_stretch(folder, numbered, 1, 100, config)
    (found,) = stretches(folder)
    assert (found.first, found.last) == (1, 100)
    assert found.entries() == numbered
    assert found.entries(after=8) == [one for one in numbered if one.sequence > 8]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tamis.toml").write_text(TOML, "utf-8")
    return tmp_path


def whole(project: Path) -> list[int]:
    """The numbers of all entries, read as a service does."""
    journal = WholeJournal(open_journal(project, "shop"), project)
    found: list[int] = []
    try:
        while page := journal.read(found[-1] if found else 0, 3):
            found += [one.sequence for one in page]
            assert [one.entry for one in page] == [an_event(one.sequence) for one in page]
    finally:
        journal.close()
    return found


def test_a_stretch_is_decoded_once_while_others_read_the_end(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that takes over reads the stretches page by page; the one that answers, the end."""
    journal = WholeJournal(open_journal(project, "shop"), project)
    journal.append([an_event(k) for k in range(1, 10)])
    export(project, trim=True)
    journal.append([an_event(10)])
    decoded: list[int] = []
    real = Stretch.entries

    def counting(stretch: Stretch, after: int = 0) -> list[Numbered]:
        # Another thread reads the end between the two steps of a reader of the stretch.
        found = real(stretch, after)
        assert [one.sequence for one in journal.read(9, 5)] == [10]
        decoded.append(stretch.first)
        return found

    monkeypatch.setattr(Stretch, "entries", counting)
    found: list[int] = []
    while page := journal.read(found[-1] if found else 0, 2):
        found += [one.sequence for one in page]
        journal.read(9, 5)
    assert (found, decoded) == (list(range(1, 11)), [1])
    assert not journal._held, "a stretch that was read whole is freed"
    journal.close()


class _KilledError(BaseException):
    """Stands for `kill -9`: nothing after it runs but what frees memory."""


@pytest.mark.parametrize("call", range(13))
def test_an_export_that_is_killed_loses_and_doubles_nothing(
    call: int, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each call that changes files: 9 calls of fsync, two of replace."""
    journal = open_journal(project, "shop")
    journal.append([an_event(k) for k in range(1, 8)])
    calls = 0

    def killing(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise _KilledError
            return real(*words)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killing(os.fsync))
        patch.setattr(os, "replace", killing(os.replace))
        try:
            export(project, trim=True)
        except _KilledError:
            assert call < 12
    journal.append([an_event(8)])
    journal.close()
    assert whole(project) == list(range(1, 9))
    export(project, trim=True)
    assert whole(project) == list(range(1, 9))
    assert sum(s.last - s.first + 1 for s in stretches(project)) == 8
    assert not list((project / EXPORTED).glob(".*")), "drafts of killed exports are removed"


def test_one_process_at_a_time_exports(project: Path) -> None:
    open_journal(project, "shop").close()
    with export_turn(project), pytest.raises(StoreError, match="another process exports"):
        export(project)
    assert export(project).exported == 0


def test_a_project_without_a_journal_is_told_so(project: Path) -> None:
    with pytest.raises(StoreError, match="has no journal yet"):
        export(project)


def test_retention(project: Path) -> None:
    """Entries stay for `keep_days` after their export, ids of events for `keys_days`."""
    text = TOML + "[journal]\nkeep_days = 2\nkeys_days = 5\nanswers_days = 1\n"
    (project / "tamis.toml").write_text(text, "utf-8")
    journal = open_journal(project, "shop")
    journal.append([an_event(k) for k in range(1, 4)])
    export(project)
    (stretch,) = stretches(project)
    day = 86_400_000

    def after(days: float) -> tuple[int, int]:
        report = export(project, clock=lambda: stretch.written + round(days * day))
        return report.trimmed, report.forgotten_keys

    assert after(1.9) == (0, 0)
    assert after(2.1) == (3, 0)
    assert journal.append([an_event(1)])[0].duplicate
    assert after(5.1) == (0, 3)
    assert not journal.append([an_event(1)])[0].duplicate
    journal.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "events.parquet").write_bytes(b"PAR1 no"), "not a readable stretch"),
        (lambda path: (path / "stretch.json").unlink(), "not a readable stretch"),
        (
            lambda path: (path / "stretch.json").write_text('{"format": 9}'),
            "reads up to 1: upgrade tamis",
        ),
        (lambda path: path.rename(path.with_name(f"{1:020d}-{9:020d}")), "holds entries that"),
    ],
)
def test_damaged_files_are_named(damage: Callable[[Path], Any], words: str, project: Path) -> None:
    journal = open_journal(project, "shop")
    journal.append([an_event(k) for k in range(1, 4)])
    export(project)
    journal.append([an_event(k) for k in range(4, 6)])
    export(project, trim=True)
    damage(stretches(project)[0].path)
    with pytest.raises(StoreError, match=words):
        WholeJournal(journal, project).read(0, 10)
    journal.close()


def test_entries_that_no_file_holds_are_not_passed_over(project: Path) -> None:
    journal = open_journal(project, "shop")
    journal.append([an_event(k) for k in range(1, 6)])
    journal.trim(3)
    with pytest.raises(StoreError, match="entries 1 to 3 have left the journal"):
        WholeJournal(journal, project).read(0, 10)
    with pytest.raises(StoreError, match="without an export"):
        export(project)
    journal.close()


def test_blocks_hold_the_entries_of_files_and_of_the_journal(project: Path) -> None:
    journal = open_journal(project, "shop")
    entries = [an_event(k, value=k / 2) for k in range(40, 50)]
    puts = [
        ItemPut(item_id="i1", columns={"name": "Köln\n\u2028", "sizes": [1, 2.5], "new": None}),
        ItemPut(item_id="i2", columns={"ok": True}),
    ]
    journal.append([puts[0], *entries, UserDelete(user_id="ann"), an_event(90, "bob"), puts[1]])
    half = journal.head // 2
    stretch = write_stretch(project, journal.read(0, half), 1, half, EventsConfig())
    whole = [one.entry for one in journal.read(0, 1_000)]
    journal.trim(half)
    frame = pl.concat(entry_blocks(project, journal, size=3))
    assert frame.schema == ENTRY_SCHEMA
    for name in ("user_id", "item_id", "behaviour", "time", "arrival", "value"):
        assert frame[name].to_list() == [getattr(entry, name, None) for entry in whole], name
    cells = [msgspec.json.decode(cells) for cells in frame["columns"].drop_nulls()]
    assert cells == [put.columns for put in puts]
    rest = pl.concat(entry_blocks(project, journal, since=stretch.written + 1))
    assert rest.equals(frame[half:]), "files that were written before are not read"
    journal.close()


def test_damaged_blocks_are_named(project: Path) -> None:
    journal = open_journal(project, "shop")
    journal.answers.append([an_answer(1)])
    schema = pl.Schema({"time": pl.Int64(), "arms": pl.Struct({"no such": pl.String()})})
    found = pl.concat(answer_blocks(journal.answers, schema))
    assert found["time"].to_list() == [an_answer(1).time]
    journal._answers._file.writer.execute('UPDATE answers SET body = \'{"time":"now"}\'')
    with pytest.raises(StoreError, match="answers 1 to 1 of the journal cannot be read"):
        list(answer_blocks(journal.answers, schema))
    journal.close()
