"""Reading of logs whose rows have several outcomes, each in a column of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.data import Dataset, Rejects, read_dataset
from tamis.schema import ConfigError, ProjectConfig, parse_config

NOW = 1_700_000_000_000
SHOWN = {
    "impression": {"impression": True, "weight": 0.0},
    "click": {"column": "is_click", "positive": True},
    "like": {"column": "is_like", "positive": True},
}


def config(behaviours: dict[str, Any], **events: Any) -> ProjectConfig:
    return parse_config(
        {
            "name": "t",
            "events": {"path": "log.csv", "user": "u", "item": "i", "time": "t", **events},
            "behaviours": behaviours,
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
        }
    )


def read(
    folder: Path, text: str, behaviours: dict[str, Any], **events: Any
) -> tuple[Dataset, Rejects]:
    (folder / "log.csv").write_text(text, "utf-8")
    return read_dataset(config(behaviours, **events), folder, now=NOW)


def listed(data: Dataset) -> list[tuple[str, str, str, int]]:
    e = data.events
    return [
        (data.users.ids[int(u)], data.items.ids[int(i)], data.behaviours[b].name, int(t) // 1000)
        for u, i, b, t in zip(e.user, e.item, e.behaviour, e.time, strict=True)
    ]


def test_a_row_is_each_event_whose_column_is_true(tmp_path: Path) -> None:
    text = (
        "u,i,t,is_click,is_like\n"
        "a,x,1600000002,1,1\n"
        "a,y,1600000001,0,0\n"
        "b,x,1600000003,true,\n"
        "b,y,1600000004,No,Yes\n"
    )
    data, rejects = read(tmp_path, text, SHOWN)
    assert listed(data) == [
        ("a", "y", "impression", 1600000001),
        ("a", "x", "impression", 1600000002),
        ("a", "x", "click", 1600000002),
        ("a", "x", "like", 1600000002),
        ("b", "x", "impression", 1600000003),
        ("b", "x", "click", 1600000003),
        ("b", "y", "impression", 1600000004),
        ("b", "y", "like", 1600000004),
    ]
    assert len(rejects.frame) == 0


def test_bounds_hold_for_the_behaviours_own_column_and_give_the_value(tmp_path: Path) -> None:
    text = "u,i,t,ms,is_like\na,x,1600000001,7000,0\na,y,1600000002,300,1\na,z,1600000003,,0\n"
    behaviours = {
        "impression": {"impression": True},
        "watch": {"column": "ms", "min_value": 1000, "positive": True},
        "like": {"column": "is_like"},
    }
    data, _ = read(tmp_path, text, behaviours)
    assert [name for *_, name, _ in listed(data)] == [
        "impression", "watch", "impression", "like", "impression",
    ]  # fmt: skip
    np.testing.assert_array_equal(data.events.value, [np.nan, 7000, np.nan, np.nan, np.nan])


def test_columns_stand_beside_labels_and_values(tmp_path: Path) -> None:
    text = (
        "u,i,t,kind,stars,saved\n"
        "a,x,1600000001,view,,1\n"
        "a,y,1600000002,rate,5,0\n"
        "a,z,1600000003,odd,,1\n"
        "a,w,1600000004,odd,,0\n"
    )
    behaviours = {
        "view": {"positive": True},
        "like": {"label": "rate", "min_value": 4, "positive": True},
        "save": {"column": "saved", "positive": True},
    }
    data, rejects = read(tmp_path, text, behaviours, behaviour="kind", value="stars")
    assert [name for *_, name, _ in listed(data)] == ["view", "save", "like", "save"]
    assert rejects.counts == {"behaviour is not declared in tamis.toml": 1}
    assert rejects.frame["row"].to_list() == [5]


def test_rows_without_an_outcome_are_reported_where_nothing_else_is_declared(
    tmp_path: Path,
) -> None:
    text = "u,i,t,ok\na,x,1600000001,1\na,y,1600000002,0\na,z,1600000003,maybe\n"
    data, rejects = read(tmp_path, text, {"good": {"column": "ok", "positive": True}})
    assert len(data.events) == 1
    assert rejects.counts == {
        "no outcome: the columns of all behaviours are false or empty": 2,
        "neither true or false nor a number": 1,
    }


def test_a_second_row_with_a_new_outcome_is_kept_and_a_full_duplicate_is_not(
    tmp_path: Path,
) -> None:
    text = (
        "u,i,t,is_click,is_like\n"
        "a,x,1600000001,0,0\n"
        "a,x,1600000001,1,0\n"
        "a,x,1600000001,1,0\n"
    )  # fmt: skip
    data, rejects = read(tmp_path, text, SHOWN)
    assert [name for *_, name, _ in listed(data)] == ["impression", "click"]
    assert rejects.count() == 1
    assert rejects.frame["reason"].to_list() == [
        "an earlier row has one of its events already",
        "duplicate of an earlier row",
    ]
    assert rejects.frame["row"].to_list() == [3, 4]


def test_a_missing_column_and_a_label_beside_a_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"`behaviours\.click\.column` = \"is_click\" is not a col"):
        read(tmp_path, "u,i,t,is_clik\na,x,1600000001,1\n", SHOWN)
    with pytest.raises(ConfigError, match="a column of its own and a label"):
        config({"click": {"column": "is_click", "label": "c", "positive": True}})
