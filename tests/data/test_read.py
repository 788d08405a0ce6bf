"""Reading: the arrays of known tables, and a report of each bad row."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Rejects, item_categories, read_dataset
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError, ProjectConfig, parse_config

NOW = 1_700_000_000_000
ITEMS = "item_id,title,genres,price\na,Alpha,Action|Comedy,1.5\nb,Beta,,2\nc,Gamma,Drama,\n"
USERS = "user_id,age\nu1,20\nu2,30\nu3,40\n"
EVENTS = "user_id,item_id,rating,time\nu2,a,5,1600000300\nu1,a,4,1600000100\nu1,b,2,1600000200\n"


def config(**changes: Any) -> ProjectConfig:
    data: dict[str, Any] = {
        "name": "t",
        "events": {"path": "events.csv", "value": "rating"},
        "items": {"path": "items.csv", "id": "item_id", "title": "title"},
        "users": {"path": "users.csv", "id": "user_id"},
        "behaviours": {"like": {"positive": True, "min_value": 4}, "rate": {}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
    }
    for section, entry in changes.items():
        mixed = isinstance(entry, dict) and section in ("events", "items", "users")
        data[section] = {**data[section], **entry} if mixed else entry
    return parse_config({k: v for k, v in data.items() if v is not None})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, EVENTS)
    return tmp_path


def write(folder: Path, events: str, items: str = ITEMS, users: str = USERS) -> None:
    for name, text in (("events", events), ("items", items), ("users", users)):
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")


def read(folder: Path, **changes: Any) -> tuple[Dataset, Rejects]:
    return read_dataset(config(**changes), folder, now=NOW)


DROP = {"items": {"unknown": "drop"}, "users": {"unknown": "drop"}}


def reasons(rejects: Rejects) -> list[tuple[str, int, str]]:
    return [(r["file"], r["row"], r["reason"]) for r in rejects.frame.iter_rows(named=True)]


def test_events_are_sorted_and_typed(folder: Path) -> None:
    data, rejects = read(folder)
    e = data.events
    assert e.time.tolist() == [1600000100000, 1600000200000, 1600000300000]
    assert e.user.tolist() == [0, 0, 1]
    assert e.item.tolist() == [0, 1, 0]
    assert e.behaviour.tolist() == [0, 1, 0]
    assert e.value.tolist() == [4, 2, 5]
    assert e.arrival.tolist() == e.time.tolist()
    assert (e.request.tolist(), e.position.tolist()) == ([-1] * 3, [0] * 3)
    assert [c.dtype.name for c in vars(e).values() if isinstance(c, np.ndarray)] == [
        "int32", "int32", "uint8", "int64", "int64", "float32", "int64", "int16",
    ]  # fmt: skip
    assert len(rejects) == 0
    assert data.items.frame.schema["price"] == pl.Float64
    assert data.users.frame["age"].to_list() == [20, 30, 40]


def test_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = "".join(f"u1,{i},5,1600000000\nu2,{i},5,1600000000\n" for i in "cab")
    write(tmp_path, "user_id,item_id,rating,time\n" + rows)
    data, _ = read(tmp_path)
    assert data.events.item.tolist() == [2, 2, 0, 0, 1, 1]


@pytest.mark.parametrize(
    "ending", ["csv", "csv.gz", "csv.zst", "tsv", "parquet", "jsonl", "jsonl.gz"]
)
def test_every_format_gives_the_same_events(folder: Path, ending: str) -> None:
    expected, _ = read(folder)
    frame, path = pl.read_csv(folder / "events.csv"), folder / f"log.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif "jsonl" in ending:
        text = "".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True))
        path.write_bytes(gzip.compress(text.encode()) if "gz" in ending else text.encode())
    elif ending == "csv.gz":
        path.write_bytes(gzip.compress(EVENTS.encode()))
    elif ending == "csv.zst":
        frame.write_csv(path, compression="zstd")
    else:
        frame.write_csv(path, separator="\t")
    data, rejects = read(folder, events={"path": path.name})
    assert len(rejects) == 0
    for name, column in vars(expected.events).items():
        assert np.array_equal(getattr(data.events, name), column, equal_nan=name == "value")


BAD_ROWS = [
    ("u1,a,x,1600000000", "value is not a number"),
    ("u1,a,,1600000000", None),
    ("u1,a,nan,1600000000", None),
    ("u1,a,inf,1600000000", "value is infinite"),
    (",a,5,1600000000", "empty user id"),
    ("u1,  ,5,1600000000", "empty item id"),
    ("u9,a,5,1600000000", "unknown user: its id is not in the table of users"),
    ("u1,z,5,1600000000", "unknown item: its id is not in the table of items"),
    ("u1,a,5,soon", "time is not a time"),
    ("u1,a,5,", "no time (empty, or the row is cut short)"),
    ("u1,a", "no time (empty, or the row is cut short)"),
    ("u1,a,5,1600000000000", "time in another unit than most rows (seconds)"),
    ("u1,a,5,12", "time in another unit than most rows (seconds)"),
    ("u1,a,5,1900000000", "time in the future"),
    ("u2,a,5,1600000300", "duplicate of an earlier row"),
    ("u1,a,5,1600000000,7", "more than the header's 4 fields"),
    ('u1,"a,5,1600000000', "a quotation mark is misplaced or never closed"),
    ("i" * 1_000_000 + ",a,5,1600000000", "user id longer than 1,024 characters"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=[str(r)[:30] for _, r in BAD_ROWS])
def test_a_bad_row_is_left_out_and_reported(tmp_path: Path, row: str, reason: str | None) -> None:
    write(tmp_path, EVENTS + row + "\n" + "u3,c,1,1600000400\n")
    data, rejects = read(tmp_path, **DROP)
    assert reasons(rejects) == ([("events.csv", 5, reason)] if reason else [])
    assert len(data.events) == (4 if reason else 5)
    assert data.events.user[-1] == 2


def test_bounds_need_a_value(tmp_path: Path) -> None:
    write(tmp_path, EVENTS + "u1,c,,1600000000\nu1,c,1,1600000000\n")
    only = {"like": {"positive": True, "min_value": 4}}
    data, rejects = read(tmp_path, behaviours=only)
    assert len(data.events) == 2
    assert rejects.counts == {
        "value is outside the bounds of every declared behaviour": 2,
        "no value, but the behaviour depends on the value": 1,
    }


def test_behaviours_by_label_and_bounds(tmp_path: Path) -> None:
    write(
        tmp_path,
        "user_id,item_id,kind,seconds,time\n"
        "u1,a,play,90,1600000000\nu1,b,play,5,1600000001\nu1,c,CLICK,,1600000002\n"
        "u1,c,wave,,1600000003\nu2,c,,,1600000004\n",
    )
    data, rejects = read(
        tmp_path,
        events={"behaviour": "kind", "value": "seconds"},
        behaviours={
            "watch": {"label": "play", "min_value": 60, "positive": True},
            "peek": {"label": "play"},
            "click": {"label": "CLICK"},
        },
    )
    assert data.events.behaviour.tolist() == [0, 1, 2]
    assert reasons(rejects) == [
        ("events.csv", 5, "behaviour is not declared in tamis.toml"),
        ("events.csv", 6, "no behaviour is named"),
    ]
    assert rejects.frame["value"].to_list() == ["wave", None]


def test_arrival_request_and_position(tmp_path: Path) -> None:
    write(
        tmp_path,
        "user_id,item_id,time,seen,req,pos,shown\n"
        "u1,a,1600000000,1600009999,r1,1,0\nu1,b,1600000001,,r1,2,0\n"
        "u1,c,1600000002,1600000002,,99999,0\n",
    )
    names = {"value": None, "arrival": "seen", "request": "req", "position": "pos"}
    kinds = {"click": {"positive": True}, "show": {"impression": True, "column": "shown"}}
    data, rejects = read(tmp_path, events=names, behaviours=kinds)
    e = data.events
    assert (e.arrival - e.time).tolist() == [9999000, 0, 0]
    assert e.request[0] == e.request[1] != -1
    assert e.request[2] == -1
    assert e.position.tolist() == [1, 2, 0]
    assert np.isnan(e.value).all()
    assert (len(rejects), rejects.counts) == (
        0,
        {"position is not a whole number of at least 1": 1},
    )


def test_without_a_users_table_users_come_from_the_events(folder: Path) -> None:
    data, _ = read(folder, users=None)
    assert data.users.ids.to_list() == ["u2", "u1"]
    assert data.events.user.tolist() == [1, 1, 0]


def test_unknown_ids_are_kept_and_counted(tmp_path: Path) -> None:
    write(tmp_path, EVENTS + "u9,z,5,1600000400\nu9,z,5,1600000500\n")
    data, rejects = read(tmp_path)
    assert data.users.ids.to_list() == ["u1", "u2", "u3", "u9"]
    assert data.items.ids.to_list()[-1] == "z"
    assert data.items.frame["title"].to_list()[-1] is None
    assert len(rejects) == 0
    assert [(n.file, n.column, n.what) for n in rejects.notes] == [
        ("events.csv", "item_id", "1 items of 2 events are not in items.csv (such as \"z\"): they "
         "are kept, with missing attributes"),
        ("events.csv", "user_id", "1 users of 2 events are not in users.csv (such as \"u9\"): they "
         "are kept, with missing attributes"),
    ]  # fmt: skip


def test_duplicate_ids_keep_the_first(tmp_path: Path) -> None:
    write(tmp_path, EVENTS, items=ITEMS + "a,Again,,9\n")
    data, rejects = read(tmp_path)
    assert data.items.frame["title"].to_list() == ["Alpha", "Beta", "Gamma"]
    assert reasons(rejects) == [("items.csv", 5, "duplicate id (the first one is kept)")]


def test_text_in_a_declared_number_leaves_the_value_empty(tmp_path: Path) -> None:
    write(tmp_path, EVENTS, items=ITEMS.replace("1.5", "cheap"))
    data, rejects = read(tmp_path, features=[{"kind": "dense", "name": "price"}])
    assert data.items.frame["price"].to_list() == [None, 2.0, None]
    assert reasons(rejects) == [("items.csv", 2, "not a number")]
    assert len(rejects) == 0  # no row is lost


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (['"Al\npha"', '"Say ""hi"""', "C"], ["Al\npha", 'Say "hi"', "C"]),
        (['17" screen', '"B, eta"', "C"], ['17" screen', "B, eta", "C"]),
        (['17" screen', "B", '5" x'], ['17" screen', "B", '5" x']),
        (['"Alpha', '"B, ""x"" ta"', "C"], ['B, "x" ta', "C"]),
        (['"Alpha', 'Be"ta', "C"], ['Be"ta', "C"]),
    ],
)
def test_quotation_marks(tmp_path: Path, titles: list[str], expected: list[str]) -> None:
    text = '"item_id","ti,tle"\n' + "".join(
        f"{i},{t}\n" for i, t in zip("abc", titles, strict=True)
    )
    write(tmp_path, EVENTS + "u1,c,5,1600000000\n", items=text)
    data, rejects = read(tmp_path, items={"title": "ti,tle", "unknown": "drop"})
    assert data.items.frame["ti,tle"].to_list() == expected
    lost = 3 - len(expected)
    assert rejects.counts.get("a quotation mark is misplaced or never closed", 0) == lost


def test_leading_zeros_stay_text(tmp_path: Path) -> None:
    write(tmp_path, EVENTS, users="user_id,zip,n\nu1,01234,1\nu2,99999,2\nu3,5,\n")
    data, _ = read(tmp_path)
    assert data.users.frame["zip"].to_list() == ["01234", "99999", "5"]
    assert data.users.frame["n"].to_list() == [1, 2, None]


def test_published_becomes_milliseconds(tmp_path: Path) -> None:
    write(tmp_path, EVENTS, items="item_id,title,born\na,A,2020-01-01\nb,B,\nc,C,never\n")
    data, rejects = read(tmp_path, items={"published": "born"})
    assert data.items.frame["born"].to_list() == [1577836800000, None, None]
    assert rejects.counts == {"not a time": 1}


def test_float_ids_of_parquet_are_whole_numbers(tmp_path: Path) -> None:
    write(tmp_path, EVENTS)
    pl.DataFrame({"item_id": [1, 2], "title": ["x", "y"]}).write_parquet(tmp_path / "i.parquet")
    log = {
        "user_id": ["u1", "u2"],
        "item_id": [1.0, None],
        "rating": [5, 5],
        "time": [1.6e9, 1.6e9],
    }
    pl.DataFrame(log).write_parquet(tmp_path / "e.parquet")
    data, rejects = read(tmp_path, events={"path": "e.parquet"}, items={"path": "i.parquet"})
    assert data.events.item.tolist() == [0]
    assert reasons(rejects) == [("e.parquet", 2, "empty item id")]


def test_former_rows_keep_their_numbers(folder: Path) -> None:
    first, _ = read(folder)
    write(
        folder,
        "user_id,item_id,rating,time\nu0,b,5,1600000400\nu1,n,5,1600000500\n",
        items="item_id,title,genres,price\nn,New,Drama,3\nb,Better,,2\n",
        users="user_id,age\nu0,10\nu1,21\n",
    )
    second, _ = read_dataset(config(), folder, former=first, now=NOW)
    assert second.items.ids.to_list() == ["a", "b", "c", "n"]
    assert second.items.frame["title"].to_list() == ["Alpha", "Better", "Gamma", "New"]
    assert second.users.ids.to_list() == ["u1", "u2", "u3", "u0"]
    assert second.users.frame["age"].to_list() == [21, 30, 40, 10]
    assert second.events.item.tolist() == [1, 3]


def test_categories(folder: Path) -> None:
    items = read_dataset(config(), folder, now=NOW)[0].items
    assert item_categories(items, "genres", "|").to_list() == [["Action", "Comedy"], [], ["Drama"]]
    assert item_categories(items, "genres").to_list() == [["Action|Comedy"], [], ["Drama"]]
    with pytest.raises(
        ConfigError, match=r"'genre' is not in the table of items \(its columns:.*genres"
    ):
        item_categories(items, "genre")


def test_the_report_is_written(tmp_path: Path) -> None:
    write(tmp_path, EVENTS + "u9,a,5,1600000000\nu1,a,x,1600000000\n")
    _, rejects = read(tmp_path, **DROP)
    report = pl.read_csv(rejects.write(tmp_path / "out" / "rejects.csv"))
    assert report.columns == ["file", "row", "reason", "column", "value", "action"]
    assert report["row"].to_list() == [5, 6]
    assert report["value"].to_list() == ["u9", "x"]
    assert rejects.summary()[0][2:] in {(1, "row 5 (u9)"), (1, "row 6 (x)")}
    assert rejects.share("events.csv") == pytest.approx(0.4)
    assert pl.read_csv(Rejects().write(tmp_path / "none.csv")).height == 0


def test_each_file_is_a_stage_of_the_progress(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("doctor") as progress:
        read_dataset(config(), folder, progress=progress, now=NOW)
    assert [line.split(" … ")[0] for line in capsys.readouterr().err.splitlines()] == [
        "doctor: read items.csv",
        "doctor: read users.csv",
        "doctor: read events.csv",
        "doctor: check 3 events",
    ]


def test_unicode_ids(tmp_path: Path) -> None:
    write(tmp_path, EVENTS + "ü🎬,a,5,1600000400\n", users=USERS + "ü🎬,50\n")
    data, rejects = read(tmp_path)
    assert len(rejects) == 0
    assert data.users.row("ü🎬") == data.events.user[-1] == 3


def test_no_usable_event_says_why(tmp_path: Path) -> None:
    write(tmp_path, "user_id,item_id,rating,time\nu1,a,x,1600000000\nu1,a,y,1600000000\n")
    with pytest.raises(DataError, match=r"none of 2 events is usable.*not a number.*row 2 \(x\)"):
        read(tmp_path)


@pytest.mark.parametrize("unknown", ["keep", "drop"])
def test_tables_that_share_no_id_are_refused(tmp_path: Path, unknown: str) -> None:
    write(tmp_path, "user_id,item_id,rating,time\nu9,a,5,1600000000\nu8,a,5,1600000000\n")
    with pytest.raises(
        DataError,
        match=r'none of the user ids in `user_id` is in `user_id` of users.csv \(here "u9", there '
        r'"u1"\). Check `events.user` and `users.id`',
    ):
        read(tmp_path, users={"unknown": unknown})
