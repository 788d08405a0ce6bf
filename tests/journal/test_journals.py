"""The contract of journals, on a file and on a real Redis server, and what is special to each."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from tamis.journal import EmbeddedJournal, Journal, JournalAwayError, open_journal, redis_connection
from tamis.journal import redis as redis_journal
from tamis.journal.entries import answer_of, encoded
from tamis.journal.group_commit import GroupCommit, Line, PartlyWrittenError
from tamis.journal.protocol import Appended
from tamis.schema import ConfigError, StoreError
from tamis.testing import an_event, check_journal, redis_server
from tamis.testing.journals import an_answer


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as address:
        yield address


def test_a_file_keeps_the_contract(tmp_path: Path) -> None:
    check_journal(lambda: open_journal(tmp_path, "shop"))


def test_more_lines_than_one_text_may_hold(tmp_path: Path) -> None:
    """SQLite joins lines into one text, whose length is limited: then there are fewer lines."""
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    events = [an_event(k) for k in range(40)]
    journal.append(events)
    whole = journal.lines(0, 100)
    assert len(whole.content.split(b"\n")) == 40
    journal._file._reader.limit(apsw.SQLITE_LIMIT_LENGTH, len(whole.content) // 3)
    after, parts = 0, []
    while (found := journal.lines(after, 40)).content:
        parts.append(found.content)
        after = found.last
    assert len(parts) > 2
    assert b"\n".join(parts) == whole.content
    journal._file._reader.limit(apsw.SQLITE_LIMIT_LENGTH, 20)
    with pytest.raises(StoreError, match="too big"):
        journal.lines(0, 40)
    journal.close()


def test_a_redis_server_keeps_the_contract(server: str, tmp_path: Path) -> None:
    check_journal(lambda: open_journal(tmp_path, "shop", server))


def test_projects_of_one_server_have_journals_of_their_own(server: str, tmp_path: Path) -> None:
    first, second = (open_journal(tmp_path, name, server) for name in ("one", "two"))
    first.append([an_event(1)])
    assert second.head == 0
    first.close()
    second.close()


class _Forgetful(EmbeddedJournal):
    """Breaks a rule: a second event of an id is written again."""

    def append(self, entries):
        results = super().append(entries)
        return [Appended(r.sequence, False) for r in results]


class _Backwards(EmbeddedJournal):
    """Breaks a rule: entries come back newest first."""

    def read(self, after, limit):
        return super().read(after, limit)[::-1]


class _Oblivious(EmbeddedJournal):
    """Breaks a rule: trimming forgets the keys at once."""

    def trim(self, upto):
        deleted = super().trim(upto)
        self.forget_keys(2**60)
        return deleted


class _Mixing(EmbeddedJournal):
    """Breaks a rule: answers of one user are never forgotten."""

    @property
    def answers(self):
        answers = super().answers
        answers.forget_user = lambda *_: 0
        return answers


class _Leaky(EmbeddedJournal):
    """Breaks a rule: trimming leaves the last entry."""

    def trim(self, upto):
        return super().trim(max(upto - 1, 0))


@pytest.mark.parametrize("broken", [_Forgetful, _Backwards, _Leaky, _Oblivious, _Mixing])
def test_the_contract_finds_a_broken_journal(broken: type[EmbeddedJournal], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        check_journal(lambda: broken(tmp_path / "journal.sqlite"))


def test_calls_that_wait_share_one_commit() -> None:
    """The first commit is held up until nine more calls wait; the second writes all nine."""
    first, go = threading.Event(), threading.Event()
    sizes: list[int] = []

    def write(lines: list[Line]) -> list[Appended]:
        sizes.append(len(lines))
        first.set()
        assert go.wait(10)
        return [Appended(int((line.key or "").removeprefix("event:e")), False) for line in lines]

    commits = GroupCommit(write, "test")
    results: dict[int, list[Appended]] = {}
    threads = [
        threading.Thread(target=lambda k=k: results.update({k: commits.append([an_event(k)])}))
        for k in range(10)
    ]
    threads[0].start()
    assert first.wait(10)
    for thread in threads[1:]:
        thread.start()
    while commits._waiting.qsize() < 9:
        time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join()
    commits.close()
    assert sizes == [1, 9]
    assert results == {k: [Appended(k, False)] for k in range(10)}


def test_a_failed_commit_reaches_every_caller_and_the_next_one_works(tmp_path: Path) -> None:
    journal = EmbeddedJournal(tmp_path / "journal.sqlite")
    journal.append([an_event(1)])
    journal._file.writer.execute("PRAGMA max_page_count = 1").fetchall()  # as on a full disk
    with pytest.raises(StoreError, match="free some space"):
        journal.append([an_event(k) for k in range(2, 2_000)])
    assert journal.head == 1
    assert [n.sequence for n in journal.read(0, 10)] == [1]
    journal._file.writer.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert journal.append([an_event(2)])[0].sequence == 2
    journal.close()


APPENDS = """
import sys
from pathlib import Path
from tamis.journal import EmbeddedJournal, Event

path, name, told = sys.argv[1:]
journal = EmbeddedJournal(Path(path))
event = {"user_id": "ann", "item_id": "i1", "behaviour": "click", "time": 1, "arrival": 1}
with open(told, "a", buffering=1) as out:
    for k in range(1_000_000):
        journal.append([Event(event_id=f"{name}{k}", **event)])
        out.write(f"{name}{k}\\n")
"""
"""Appends events one by one and writes down each id that was acknowledged."""


def test_no_acknowledged_event_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    """Two writing processes at once, killed at three moments each."""
    path, told = tmp_path / "journal.sqlite", [tmp_path / "told0", tmp_path / "told1"]
    for kill in range(3):
        names = [f"{kill}-{w}-" for w in range(2)]
        words = [[sys.executable, "-c", APPENDS, str(path)]] * 2
        writers = [
            subprocess.Popen([*w, name, str(t)])
            for w, name, t in zip(words, names, told, strict=True)
        ]
        try:
            deadline = time.monotonic() + 60
            while not all(
                t.exists() and n in t.read_text() for t, n in zip(told, names, strict=True)
            ):
                assert time.monotonic() < deadline, "the writers do not write"
                assert all(writer.poll() is None for writer in writers), "a writer failed"
                time.sleep(0.005)
            time.sleep(0.013 * (kill + 1))
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
    journal = EmbeddedJournal(path)
    found = [n.entry.event_id for n in journal.read(0, 1_000_000)]
    journal.close()
    acknowledged = {line for t in told for line in t.read_text().splitlines()}
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(acknowledged) >= 6


def test_a_new_journal_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    opened: list[EmbeddedJournal] = []
    threads = [
        threading.Thread(target=lambda: opened.append(EmbeddedJournal(tmp_path / "j.sqlite")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 8
    for k, journal in enumerate(opened):
        assert journal.append([an_event(k)])[0].sequence == k + 1
    for journal in opened:
        journal.close()


def test_faults_name_the_file_and_the_cure(tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("these are not the entries that you look for " * 100)
    with pytest.raises(StoreError, match=r"notes\.sqlite.*not a SQLite file"):
        EmbeddedJournal(text)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot open the journal"):
        EmbeddedJournal(blocked / "journal.sqlite")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE state SET value = 9 WHERE name = 'format'", "format 9"),
        ("UPDATE state SET value = 1 WHERE name = 'format'", "format 1"),
        ('UPDATE entries SET body = \'{"kind": "dance"}\'', "entry 1: not an entry"),
        ("UPDATE entries SET body = substr(body, 1, 20)", "entry 1: not an entry"),
    ],
)
def test_what_another_release_or_damage_left_is_refused(
    sql: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = EmbeddedJournal(path)
    journal.append([an_event(1)])
    journal.close()
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()
    with pytest.raises(StoreError, match=words):
        EmbeddedJournal(path).read(0, 10)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StoreError, match=r"3\.51\.2.*pip install"):
        EmbeddedJournal(tmp_path / "journal.sqlite")


@pytest.mark.parametrize(
    ("settings", "killed", "power", "words"),
    [
        ({"appendonly": "no"}, False, False, "appendonly is no"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, True, False, "everysec"),
        ({"appendonly": "yes", "appendfsync": "always"}, True, True, "always"),
    ],
)
def test_what_a_redis_server_promises(
    settings: dict[str, str], killed: bool, power: bool, words: str, server: str, tmp_path: Path
) -> None:
    import redis

    client = redis.Redis.from_url(server)
    for name, value in settings.items():
        client.config_set(name, value)
    journal = open_journal(tmp_path, "promises", server)
    found = journal.durability
    journal.close()
    client.config_set("appendonly", "no")
    client.close()
    assert (found.process_killed, found.power_lost) == (killed, power)
    assert words in found.text


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    with redis_server() as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
        journal = open_journal(tmp_path, "shop", address)
        journal.append([an_event(1)])
    with pytest.raises(StoreError, match="does not answer"):
        journal.append([an_event(2)])
    with redis_server(port):
        assert not journal.append([an_event(2)])[0].duplicate
    journal.close()


def test_a_journal_is_opened_while_its_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_connection, "PAUSE", 0.0)
    with redis_server() as address:
        port = int(address.rpartition(":")[2].partition("/")[0])
    journal = open_journal(tmp_path, "shop", address, may_be_away=True)
    with pytest.raises(JournalAwayError, match="does not answer"):
        _ = journal.head
    assert "not known yet" in journal.durability.text
    with redis_server(port):
        assert journal.append([an_event(1)]) == [Appended(1, False)]
        assert "appendonly is no" in journal.durability.text
        import redis

        redis.Redis.from_url(address).hset("tamis:{shop}:journal:state", "format", 9)
        with pytest.raises(StoreError, match="format 9"):
            open_journal(tmp_path, "shop", address, may_be_away=True)
    journal.close()


def test_what_was_written_before_a_failure_is_acknowledged() -> None:
    """Three calls share a commit that fails after the first three lines."""
    first, go = threading.Event(), threading.Event()

    def write(lines: list[Line]) -> list[Appended]:
        first.set()
        assert go.wait(10)
        if len(lines) == 1:
            return [Appended(1, False)]
        raise PartlyWrittenError([Appended(k, False) for k in (2, 3, 4)], StoreError("it is gone"))

    commits = GroupCommit(write, "test")
    results: dict[int, object] = {}

    def append(call: int, entries: int) -> None:
        try:
            results[call] = commits.append([an_event(10 * call + k) for k in range(entries)])
        except StoreError as error:
            results[call] = str(error)

    threads = [threading.Thread(target=append, args=(call, call)) for call in (1, 2, 3)]
    for waiting, thread in enumerate(threads):  # in this order
        thread.start()
        assert first.wait(10)
        while commits._waiting.qsize() < waiting:
            time.sleep(0.001)
    go.set()
    for thread in threads:
        thread.join()
    commits.close()
    assert results[1] == [Appended(1, False)]
    assert results[2] == [Appended(2, False), Appended(3, False)]
    assert str(results[3]).startswith("it is gone. The call may have been written all the same")


def test_a_server_that_fails_in_the_middle_of_a_commit(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first script is written, the second refused: sent again, each event counts once."""
    import redis

    monkeypatch.setattr(redis_journal, "WRITTEN_AT_ONCE", 2)
    journal = open_journal(tmp_path, "halfway", server)
    client = redis.Redis.from_url(server)
    real = journal._append
    calls = 0

    def failing(**words: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            client.config_set("maxmemory", 1)
        return real(**words)

    monkeypatch.setattr(journal, "_append", failing)
    events = [an_event(k) for k in range(4)]
    try:
        with pytest.raises(StoreError, match="may have been written all the same: send its events"):
            journal.append(events)
    finally:
        client.config_set("maxmemory", 0)
    assert [one.sequence for one in journal.read(0, 9)] == [1, 2]
    assert [one.duplicate for one in journal.append(events)] == [True, True, False, False]
    assert journal.head == 4
    client.close()
    journal.close()


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("mysql://127.0.0.1/shop", ConfigError, "not the address of a journal"),
        ("redis://127.0.0.1:1/0", StoreError, "does not answer"),
    ],
)
def test_wrong_addresses(address: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        open_journal(tmp_path, "shop", address)


def test_the_entries_are_readable_without_tamis(tmp_path: Path) -> None:
    journal: Journal = open_journal(tmp_path, "shop")
    journal.append([an_event(1)])
    journal.close()
    read: Callable[..., object] = apsw.Connection(
        str(tmp_path / "journal" / "journal.sqlite")
    ).execute
    ((kind, user),) = read("SELECT body ->> 'kind', body ->> 'user_id' FROM entries")
    assert (kind, user) == ("event", "ann")


def test_answers_of_earlier_releases_have_no_rejected_items() -> None:
    """They lack the field, and answers without such items are written as before."""
    with_some, without = an_answer(1), an_answer(2)
    assert with_some.rejected
    fields = json.loads(encoded(without))
    assert "rejected" not in fields
    assert answer_of(json.dumps(fields), "here") == without
    assert answer_of(encoded(with_some), "here") == with_some
    later = {**json.loads(encoded(with_some)), "of a later release": 1}
    assert answer_of(json.dumps(later), "here") == with_some
