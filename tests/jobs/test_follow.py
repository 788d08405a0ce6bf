"""Incremental updates: what learns, what stays, and what a delta holds."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.bundle import (
    MANIFEST,
    Delta,
    DeltaChain,
    DeltaFolder,
    Kind,
    Manifest,
    Version,
    Versions,
    files_of,
)
from tamis.jobs import follow, parity
from tamis.journal import Event, UserDelete, open_journal
from tamis.schema import ConfigError, Side, TamisWarning, VersionError
from tamis.service import LiveRecommender, Recommender, Serving

MINUTE = 60_000
TOML = """
name = "feed"
clock = "data"
[events]
path = "events.csv"
behaviour = "what"
request = "request"
position = "place"
[items]
path = "items.csv"
id = "item_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[[features]]
kind = "sparse"
name = "user_id"
side = "user"
online = true
[[features]]
kind = "sparse"
name = "item_id"
side = "item"
online = true
[[features]]
kind = "sparse"
name = "kind"
[[features]]
kind = "varlen"
name = "clicked"
history = ["click"]
shares = "item_id"
[split]
windows = 2
[online]
wait = "5m"
lateness = "1m"
learning_rate = 0.2
steadiness = 0.01
[cascade.channels.hot]
quota = 30
[cascade.rank]
use = "deepfm"
epochs = 2
hidden_units = [8]
embedding_dim = 4
batch_norm = true
dropout = 0.2
"""
USERS, ITEMS = 30, 24


def events(first: int, requests: int, seed: int, shift: int = 0) -> Iterator[list[object]]:
    """Rows of [user, item, behaviour, time in s, request, place]; users click on items of the group
    `user + shift`, modulo 3."""
    draw = np.random.default_rng(seed)
    for k in range(requests):
        number, time = first + k, 1_700_000_000 + 120 * (first + k)
        user = int(draw.integers(USERS))
        for place, item in enumerate(draw.choice(ITEMS, 6, replace=False).tolist(), start=1):
            yield [f"u{user}", f"i{item}", "show", time, f"r{number}", place]
            if draw.random() < (0.9 if item % 3 == (user + shift) % 3 else 0.05):
                yield [f"u{user}", f"i{item}", "click", time + 20, f"r{number}", place]


@pytest.fixture(scope="session")
def feed(made_once: Callable[..., Path], tamis_cli: Callable[..., object]) -> Path:
    """A trained project of impressions, with the ids of users and items declared online."""

    def make(folder: Path) -> None:
        folder.mkdir()
        lines = [",".join(map(str, row)) for row in events(0, 600, 0)]
        head = "user_id,item_id,what,time,request,place"
        (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n", "utf-8")
        items = [f"i{k},{'ab'[k % 2]}" for k in range(ITEMS)]
        (folder / "items.csv").write_text("\n".join(["item_id,kind", *items]) + "\n", "utf-8")
        (folder / "tamis.toml").write_text(TOML, "utf-8")
        said = tamis_cli("train", folder, "--only", "serving", "--json")
        assert said.code == 0, said  # type: ignore[attr-defined]

    return made_once("feed", make)


@pytest.fixture
def project(feed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(feed, tmp_path / "feed"))


def send(project: Path, first: int, requests: int, seed: int = 1, shift: int = 1) -> int:
    """Appends events to the project's journal; the number of its last entry."""
    return append(
        project,
        [
            Event(
                event_id=f"{request}-{item}-{what}",
                user_id=str(user),
                item_id=str(item),
                behaviour=str(what),
                time=int(str(time)) * 1000,
                arrival=int(str(time)) * 1000,
                recommendation_id=str(request),
                position=int(str(place)),
            )
            for user, item, what, time, request, place in events(first, requests, seed, shift)
        ],
    )


def append(project: Path, entries: list[object]) -> int:
    journal = open_journal(project, "feed")
    try:
        journal.append(entries)  # type: ignore[arg-type]
        return journal.head
    finally:
        journal.close()


def serving(project: Path) -> Version:
    return Versions(project).current(Kind.SERVING)


def weights(recommender: Recommender) -> dict[str, np.ndarray]:
    model = recommender.parts.rank.model  # type: ignore[attr-defined]
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def deltas_of(project: Path) -> list[Delta]:
    """All deltas of the serving version."""
    chain, found = DeltaChain(serving(project)), list[Delta]()
    for delta in DeltaFolder(serving(project)).after(chain):
        chain.advance(delta)
        found.append(delta)
    return found


def with_deltas(project: Path) -> Recommender:
    opened = Recommender(serving(project))
    opened.deltas.catch_up()
    return opened


def test_only_the_rows_of_online_ids_change(project: Path) -> None:
    base = weights(Recommender(serving(project)))
    send(project, 600, 40)
    for k in range(3):
        report = follow(project, once=True)
        assert report.deltas == 1
        send(project, 640 + 40 * k, 40, seed=k + 2)
    opened = with_deltas(project)
    assert opened.deltas.state is not None
    assert opened.deltas.state.number == 3
    now = weights(opened)
    table = "inputs.table.weight"
    for name, value in base.items():
        if name != table:
            np.testing.assert_array_equal(now[name], value, err_msg=name)
    space = opened.parts.space
    changed = (now[table] != base[table]).any(axis=1)
    assert not (changed & ~space.online_rows()).any()
    layout = space.layout.table
    for name in ("user_id", "item_id"):
        own = slice(layout[name].start, layout[name].start + layout[name].size)
        assert changed[own].sum() > 15
        assert not changed[own][:2].any(), "missing and unseen ids keep their vectors"


def test_the_base_and_its_deltas_are_the_state_of_the_trainer(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tamis.jobs.follow import _Session

    kept: list[_Session] = []
    enter = _Session.__enter__

    def noted(session: _Session) -> _Session:
        kept.append(session)
        return enter(session)

    monkeypatch.setattr(_Session, "__enter__", noted)
    for k in range(3):
        send(project, 600 + 40 * k, 40, seed=k)
        follow(project, once=True)
    trainer = weights(kept[-1]._recommender)
    for name, value in weights(with_deltas(project)).items():
        np.testing.assert_array_equal(trainer[name], value, err_msg=name)
    squares = kept[-1]._learners[0].rows.squares.copy()
    follow(project, once=True)  # begins again from the files
    np.testing.assert_array_equal(kept[-1]._learners[0].rows.squares, squares)
    for name, value in weights(kept[-1]._recommender).items():
        np.testing.assert_array_equal(trainer[name], value, err_msg=name)


def test_it_learns_what_users_want_now(project: Path) -> None:
    def margin(opened: Recommender) -> float:
        """Mean log-odds of items that are liked now, less those of the others."""
        found = []
        for user in range(USERS):
            answer = opened.recommend(f"u{user}", n=ITEMS)
            wanted = [(int(p.item_id[1:]) - user - 1) % 3 == 0 for p in answer.items]
            score = np.log([p.score / (1 - p.score) for p in answer.items])
            found.append(score[wanted].mean() - score[np.logical_not(wanted)].mean())
        return float(np.mean(found))

    before = margin(Recommender(serving(project)))
    for k in range(6):
        send(project, 600 + 100 * k, 100, seed=k + 1)
        follow(project, once=True)
    assert margin(with_deltas(project)) > before + 0.05


def test_a_second_run_goes_on_where_the_first_ended(project: Path) -> None:
    head = send(project, 600, 40)
    first = follow(project, once=True)
    assert 0 < first.position < head, "the last impressions wait for their clicks"
    assert first.waiting == head - first.position
    assert follow(project, once=True).deltas == 0
    send(project, 640, 40, seed=2)
    second = follow(project, once=True)
    deltas = deltas_of(project)
    assert [d.number for d in deltas] == [1, 2]
    assert deltas[1].since == deltas[0].position == first.position
    assert second.position == deltas[1].position
    shown = 6 * 80 - 6 * 3  # those of the last 6 minutes wait
    assert first.rows + second.rows == shown
    assert first.seconds_p50 is not None
    assert first.event_seconds_p99 is not None


def test_late_events_within_the_allowance_count_and_later_ones_do_not(project: Path) -> None:
    send(project, 600, 40)
    newest = 1_700_000_000_000 + 120_000 * 639

    def event(name: str, late: int, user: str) -> Event:
        return Event(
            event_id=name, user_id=user, item_id="i1", behaviour="show", time=newest - late,
            arrival=newest, recommendation_id=name,
        )  # fmt: skip

    append(project, [event("a", 30_000, "u1"), event("b", 3_600_000, "u2")])
    send(project, 660, 20, seed=3)
    report = follow(project, once=True)
    assert report.late == 1
    assert report.rows == 6 * (40 + 17) + 1


def test_a_deleted_user_is_forgotten(project: Path) -> None:
    send(project, 600, 60)
    follow(project, once=True)
    opened = with_deltas(project)
    users = opened.parts.users
    (row,), (unseen,) = opened.parts.space.own_rows(Side.USER, users, ["u5"])
    table = "inputs.table.weight"
    assert (weights(opened)[table][row] != weights(opened)[table][unseen]).any()
    append(project, [UserDelete(user_id="u5")])
    send(project, 700, 20, seed=2)
    follow(project, once=True)
    now = weights(with_deltas(project))[table]
    np.testing.assert_array_equal(now[row], now[unseen])
    last = deltas_of(project)[-1]
    assert row in last.tombstones["rank"]


def test_a_running_service_takes_deltas_and_a_new_one_has_them(project: Path) -> None:
    service = Serving(LiveRecommender.open(project), project, interval=None)
    try:
        before = [p.score for p in service.live.recommend("u1", n=ITEMS).items]
        assert service.live.delta is None
        send(project, 600, 60)
        follow(project, once=True)
        service.look()
        assert service.live.delta is not None
        assert service.live.delta.number == 1
        assert service.problem is None
        while service.live.recommend("u1").lag:  # a request reads for some milliseconds
            pass
        after = service.live.recommend("u1", n=ITEMS, explain=True)
        assert [p.score for p in after.items] != before
        again = LiveRecommender.open(project)
        assert again.delta == service.live.delta
        same = again.recommend("u1", n=ITEMS, explain=True)
        assert [(p.item_id, p.score) for p in same.items] == [
            (p.item_id, p.score) for p in after.items
        ]
        again.close()
    finally:
        service.close()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gap", "repeat", "order", "foreign", "fork"])
def test_what_is_no_next_delta_is_refused(
    project: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = Serving(LiveRecommender.open(project), project, interval=None)
    try:
        for k in range(2):
            send(project, 600 + 40 * k, 40, seed=k)
            follow(project, once=True)
        deltas = DeltaFolder(serving(project))
        service.look()
        state = service.live.delta
        kept = weights(service.live._recommender)
        send(project, 680, 40, seed=5)
        follow(project, once=True)
        third, fourth = deltas.file(3), deltas.file(4)
        if damage == "flipped":
            content = bytearray(third.read_bytes())
            content[len(content) // 2] ^= 1
            third.write_bytes(content)
            words = "000003.delta is damaged: its content differs from its checksum"
        elif damage == "cut":
            third.write_bytes(third.read_bytes()[:-40])
            words = "000003.delta is damaged: its content differs from its checksum"
        elif damage == "gap":
            third.rename(fourth)
            words = "000004.delta holds delta 3"
        elif damage == "repeat":
            shutil.copy(deltas.file(2), third)
            words = "000003.delta holds delta 2"
        elif damage == "order":
            send(project, 720, 40, seed=6)
            follow(project, once=True)
            third.unlink()
            words = "000004.delta is delta 4, and delta 3 is missing"
        elif damage == "foreign":
            third.write_bytes(changed(third, base="2020-serving"))
            words = "changes version 2020-serving"
        else:
            third.write_bytes(changed(third, before="00"))
            words = "follows another delta 2 than the one that was applied"
        service.look()
        assert service.problem is not None
        assert words in service.problem
        assert "answers go on with delta 2" in service.problem
        assert service.live.delta == state
        for name, value in weights(service.live._recommender).items():
            np.testing.assert_array_equal(value, kept[name], err_msg=name)
        assert not service.live.recommend("u1").degraded
        with pytest.raises(VersionError, match=r"delta"):
            follow(project, once=True)
    finally:
        service.close()


def changed(path: Path, **values: object) -> bytes:
    """The content of a delta with other values, and the checksum of these."""
    from dataclasses import replace

    from tamis.bundle import read_delta
    from tamis.bundle.delta import encoded_delta

    return encoded_delta(replace(read_delta(path), **values))  # type: ignore[arg-type]


def test_one_process_follows_at_a_time(project: Path) -> None:
    with (
        DeltaFolder(serving(project)).lock(),
        pytest.raises(VersionError, match="another process writes the deltas"),
    ):
        follow(project, once=True)


def test_what_cannot_learn_is_refused_with_the_reason(corner: Path) -> None:
    with pytest.raises(ConfigError, match="rank: the project has no behaviour with impression"):
        follow(corner, once=True)
    with pytest.raises(ConfigError, match="every = -1"):
        follow(corner, every=-1)


@pytest.fixture(scope="session")
def growing(made_once: Callable[..., Path], feed: Path, tamis_cli: Callable[..., object]) -> Path:
    """The same project with 4 spare rows for users and items, after 3 events, for 2 days."""

    def make(folder: Path) -> None:
        shutil.copytree(feed, folder, ignore=shutil.ignore_patterns("versions"))
        more = "online = true\nspare = 4\nadmit_after = 3\nexpire_days = 2\n"
        declared = (folder / "tamis.toml").read_text("utf-8")
        (folder / "tamis.toml").write_text(declared.replace("online = true\n", more), "utf-8")
        said = tamis_cli("train", folder, "--only", "serving", "--json")
        assert said.code == 0, said  # type: ignore[attr-defined]

    return made_once("growing", make)


def actions(first: int, user: str, item: str, n: int, minutes: int = 0) -> list[object]:
    """n impressions with clicks, after `first` requests of the log."""
    time = 1_700_000_000_000 + 120_000 * first + minutes * MINUTE
    return [
        Event(
            event_id=f"{user}-{item}-{time}-{k}-{what}", user_id=user, item_id=item,
            behaviour=what, time=time + k, arrival=time + k, recommendation_id=f"{user}{time}{k}",
        )
        for k in range(n)
        for what in ("show", "click")
    ]  # fmt: skip


def test_ids_are_admitted_after_events_and_answer_with_vectors_of_their_own(
    growing: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(growing, tmp_path / "feed"))
    service = Serving(LiveRecommender.open(project), project, interval=None)
    append(project, actions(600, "new", "i1", 3) + actions(600, "rare", "i2", 1, 1))
    send(project, 605, 20)
    report = follow(project, once=True)
    assert (report.admitted, report.expired) == (1, 0)
    append(project, actions(630, "new", "i1", 5))
    send(project, 640, 20, seed=7)
    follow(project, once=True)
    service.look()
    assert service.problem is None
    for opened in (with_deltas(project), service.live._recommender):
        space = opened.parts.space
        codes = space.vocabularies["user_id"].encode(pl.Series(["new", "rare", "u1"]))
        assert codes[0] >= 2 + USERS
        assert codes[1] == 1, "one event is too few"
        row = space.layout.table["user_id"].start + codes[0]
        table = weights(opened)["inputs.table.weight"]
        assert (table[row] != table[space.layout.table["user_id"].start + 1]).any()
    assert service.live.recommend("new", n=ITEMS).items
    again = follow(project, once=True)  # begins again from the files
    assert again.admitted == 0
    service.close()


def test_ids_expire_and_their_rows_go_to_others(growing: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(growing, tmp_path / "feed"))
    append(project, actions(600, "u1", "i1", 3))
    append(project, actions(600, "u2", "i1", 3, minutes=3 * 1440))
    append(project, actions(600, "u2", "i1", 3, minutes=3 * 1440 + 30))
    first = follow(project, once=True)
    assert first.expired > 20, "all but the user and the item of late events"
    opened = with_deltas(project)
    users = opened.parts.space.vocabularies["user_id"]
    assert users.encode(pl.Series(["u1", "u2"])).tolist()[0] == 1
    assert users.encode(pl.Series(["u1", "u2"])).tolist()[1] > 1
    size = users.size
    for wave in range(3):
        later = (3 * wave + 4) * 1440
        for k in range(5):  # one more than there are spare rows
            append(project, actions(600, f"n{wave}{k}", "i1", 4, minutes=later + k))
        append(project, actions(600, "u2", "i1", 3, minutes=later + 60))
        report = follow(project, once=True)
        assert (report.admitted, report.crowded) == (4, 1), wave
        append(project, actions(600, "u2", "i1", 3, minutes=later + 3 * 1440 - 60))
        append(project, actions(600, "u2", "i1", 3, minutes=later + 3 * 1440 - 30))
        follow(project, once=True)
    append(project, actions(600, "n20", "i1", 4, minutes=later + 3 * 1440))
    append(project, actions(600, "u2", "i1", 4, minutes=later + 3 * 1440 + 30))
    follow(project, once=True)
    users = with_deltas(project).parts.space.vocabularies["user_id"]
    names = [f"n{wave}{k}" for wave in range(3) for k in range(5)]
    codes = dict(zip(names, users.encode(pl.Series(names)).tolist(), strict=True))
    assert {name for name, code in codes.items() if code > 1} == {"n20"}
    assert users.size == size, "the table does not grow"


def another(project: Path, name: str) -> Version:
    """A copy of the serving version under another name, published."""
    versions = Versions(project)
    source = versions.current(Kind.SERVING)
    shutil.copytree(source.path, versions.root / name)
    manifest = Manifest(**{**vars(source.manifest), "name": name, "created": f"{name}T"})
    manifest.write(versions.root / name / MANIFEST)
    versions.publish(versions.open(name))
    return versions.open(name)


def test_it_goes_on_with_the_version_that_is_published_next(project: Path) -> None:
    former = serving(project)
    service = Serving(LiveRecommender.open(project), project, interval=None)
    send(project, 600, 40)
    published, ended = list[Delta](), threading.Event()
    running = threading.Thread(
        target=follow,
        args=(project,),
        kwargs={"every": 0.05, "ended": ended, "on_delta": published.append},
    )
    running.start()
    try:
        wait_for(lambda: len(published) == 1)
        newer = another(project, "2999-serving")
        wait_for(lambda: len(published) == 2)
        service.look()
        assert service.live.version == newer.name
        assert service.live.delta is not None
        assert service.live.delta.number == 1
    finally:
        ended.set()
        running.join()
        service.close()
    assert [(d.base, d.number) for d in published] == [(former.name, 1), (newer.name, 1)]
    assert DeltaFolder(former).numbers() == [1]
    moved = DeltaFolder(newer).file(2)
    shutil.copy(DeltaFolder(former).file(1), moved)
    chain = DeltaChain(newer, 1, published[1].checksum)
    with pytest.raises(VersionError, match="holds delta 1"):
        list(DeltaFolder(newer).after(chain))
    moved.write_bytes(changed(moved, number=2))
    with pytest.raises(VersionError, match=f"changes version {former.name}, and {newer.name} is"):
        list(DeltaFolder(newer).after(chain))


def test_what_becomes_due_while_it_learns_waits_for_the_next_turn(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events keep coming: an update would follow the other if each looked at the clock again."""
    send(project, 600, 40)
    end = 1000 * (1_700_000_000 + 120 * 640)
    clock = count(end, 300_000)  # minutes pass between two looks
    session = import_module("tamis.jobs.follow")._Session
    monkeypatch.setattr(session, "_clock", lambda self: next(clock))
    published, ended = list[Delta](), threading.Event()
    options = {"every": 600.0, "ended": ended, "on_delta": published.append}
    running = threading.Thread(target=follow, args=(project,), kwargs=options)
    running.start()
    try:
        wait_for(lambda: bool(published))
        time.sleep(1.5)
    finally:
        ended.set()
        running.join()
    assert len(published) == 1


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_deltas_go_with_their_version(project: Path) -> None:
    former = serving(project)
    send(project, 600, 40)
    follow(project, once=True)
    assert DeltaFolder(former).numbers() == [1]
    another(project, "2999-serving")
    assert Versions(project).remove_old(Kind.SERVING, keep=0) == [former.name]
    assert not DeltaFolder(former).path.exists()


def test_the_project_recommends_with_deltas(project: Path) -> None:
    send(project, 600, 60)
    before = tamis.open(project).recommend("u1", n=ITEMS)
    follow(project, once=True)
    after = tamis.open(project).recommend("u1", n=ITEMS)
    assert [p.score for p in before.items] != [p.score for p in after.items]
    file = DeltaFolder(serving(project)).file(1)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(TamisWarning, match="answers go on with delta 0"):
        refused = tamis.open(project).recommend("u1", n=ITEMS)
    assert [p.score for p in refused.items] == [p.score for p in before.items]


def test_parity_holds_with_admitted_ids(growing: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(growing, tmp_path / "feed"))
    config = next((project / "versions").glob("*/config.json"))  # keep what the ranker reads
    manifest = Manifest.read(config.parent / MANIFEST)
    config.write_text(config.read_text("utf-8").replace('"inputs": 0.01', '"inputs": 1.0'))
    files = manifest.files | {k: v for k, v in files_of(config.parent).items() if "config" in k}
    Manifest(**{**vars(manifest), "files": files}).write(config.parent / MANIFEST)
    service = LiveRecommender.open(project)
    append(project, actions(600, "new", "i1", 3))
    send(project, 605, 20)
    while service.recommend("new").lag:
        pass
    follow(project, once=True)
    assert service.apply_deltas() == 1
    last = service.recommend("new")
    assert last.delta == 1
    service.close()
    report = parity(project)
    assert report.answers >= 2
    # Counts may differ: an answer may know some of the events of one millisecond only.
    assert not {"user_id", "item_id", "clicked", "kind"} & set(report.features)
