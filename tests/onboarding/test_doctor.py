"""Findings of `tamis doctor`; bad input is in tests/journeys/test_bad_input.py."""

from pathlib import Path
from typing import Any

import pytest

from tamis.onboarding import examine
from tamis.schema import parse_config

START = 1_600_000_000


def diagnose(folder: Path, events: list[str], **changes: Any) -> dict[str, str]:
    """The severity of each finding in a log of user, item, behaviour, time and arrival."""
    (folder / "events.csv").write_text("user_id,item_id,kind,time,seen\n" + "".join(events))
    (folder / "items.csv").write_text("item_id\n" + "".join(f"i{k}\n" for k in range(10)))
    data: dict[str, Any] = {
        "name": "t",
        "events": {"path": "events.csv", "behaviour": "kind", "arrival": "seen"},
        "items": {"path": "items.csv", "id": "item_id"},
        "behaviours": {"click": {"positive": True}, "impression": {"impression": True}},
        "tasks": {"click": {"behaviour": ["click"]}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
    }
    found = examine(parse_config(data | changes), folder)
    order = ["error", "warning", "note"]
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=order.index)
    assert all(f.fix and f.where for f in found)
    return {f.what: f.severity for f in found}


def event(
    k: int, kind: str = "click", user: int | None = None, delay: int = 0, hour: int = 1
) -> str:
    who = k % 13 if user is None else user
    time = START + k * 3600 * hour
    return f"u{who},i{k % 10},{kind},{time},{time + delay}\n"


def mixed(n: int = 2000, **options: Any) -> list[str]:
    return [event(k, "click" if k % 5 == 0 else "impression", **options) for k in range(n)]


def test_a_log_without_problems(tmp_path: Path) -> None:
    found = diagnose(tmp_path, mixed())
    assert set(found) == {"times are read as s: 2020-09-13 to 2020-12-05",
                          "the test window holds 40 positive events of 200",
                          "the validation window holds 40 positive events of 200"}  # fmt: skip


def test_groups_of_columns_that_there_are_not_are_an_error(tmp_path: Path) -> None:
    found = diagnose(tmp_path, mixed(), groups=["own:autor"])
    assert "error" in found.values()
    assert any("groups: the tables have no column for 'own:autor'" in what for what in found)


@pytest.mark.parametrize(
    ("log", "what", "severity"),
    [
        (mixed(delay=-60), "100.0% of the events arrive before their own time", "warning"),
        (mixed() * 2, "50% of the events are exact duplicates", "warning"),
        ([event(k, "impression") for k in range(200)], "no event is positive", "error"),
        (
            mixed(1800) + [event(k, "impression") for k in range(1800, 2000)],
            "the test window holds 0 positive events of 200",
            "error",
        ),
        (mixed(200), "the test window holds 4 positive events of 20", "warning"),
        (
            [event(0), *(event(k, "impression") for k in range(1, 20_000))],
            "0.005% as many successes as impressions: too little to learn from",
            "warning",
        ),
        ([event(k, user=k) for k in range(200)], "100% of the users have one event only", "note"),
        ([event(k * 10) for k in range(200)], "90% of the items have no event", "warning"),
        (mixed(hour=0), "all events have the same time", "error"),
    ],
)
def test_a_problem_is_found(tmp_path: Path, log: list[str], what: str, severity: str) -> None:
    assert diagnose(tmp_path, log).get(what) == severity


def test_a_user_with_very_many_events_on_one_day_is_found(tmp_path: Path) -> None:
    calm = [event(k, user=k % 3000) for k in range(6000)]
    wild = [
        f"u7,i{k % 10},click,{START + 10_000_000 + k},{START + 10_000_000 + k}\n"
        for k in range(6000)
    ]
    found = diagnose(tmp_path, calm + wild)
    assert any(what.startswith('1 users look like robots: "u7" has 6,000') for what in found)


def test_times_that_are_no_dates_are_found(tmp_path: Path) -> None:
    log = [f"u{k % 7},i{k % 10},click,{k},{k}\n" for k in range(2000)]
    found = diagnose(tmp_path, log)
    assert any(what.startswith("the numbers are too small for dates") for what in found)


def test_behaviours_without_events_and_a_missing_fallback_are_found(tmp_path: Path) -> None:
    behaviours = {"click": {"positive": True}, "impression": {"impression": True}, "buy": {}}
    cascade = {"channels": {"itemcf": {}}, "rank": {"use": "deepfm"}}
    found = diagnose(tmp_path, mixed(), behaviours=behaviours, cascade=cascade)
    assert found["no event is of this behaviour"] == "warning"
    assert found["no channel answers for unknown users"] == "warning"


def outcomes(folder: Path, behaviours: dict[str, Any], **events: str) -> dict[str, str]:
    """The severity of each finding in a log with a column `clicked` of 0 and 1."""
    log = [f"u{k % 13},i{k % 10},{int(k % 4 == 0)},{START + k * 3600}\n" for k in range(2000)]
    (folder / "log.csv").write_text("user_id,item_id,clicked,time\n" + "".join(log))
    data: dict[str, Any] = {
        "name": "t",
        "events": {"path": "log.csv", **events},
        "behaviours": behaviours,
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
    }
    return {f.what: f.severity for f in examine(parse_config(data), folder)}


def test_an_unused_outcome_beside_positives_only_is_a_warning(tmp_path: Path) -> None:
    found = outcomes(tmp_path, {"interaction": {"positive": True}})
    what = "every event is positive, but a column looks like an outcome and is not used"
    assert found[what] == "warning"


def test_a_used_outcome_is_no_finding(tmp_path: Path) -> None:
    shown = {"impression": {"impression": True}, "click": {"column": "clicked", "positive": True}}
    assert not any("outcome" in what for what in outcomes(tmp_path, shown))
    rated = {"click": {"min_value": 1, "positive": True}, "shown": {"impression": True}}
    assert not any("outcome" in what for what in outcomes(tmp_path, rated, value="clicked"))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"items": {"path": "items.csv", "id": "item_id", "category": "kind"}}, "items.csv"),
        ({"events": {"path": "events.csv", "behaviour": "sort"}}, "events.csv"),
        ({"users": {"path": "people.csv", "id": "user"}}, "people.csv"),
    ],
)
def test_an_error_stands_at_the_file_at_fault(
    changes: dict[str, Any], where: str, tmp_path: Path
) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,time,kind\n" + "u,i1,1600000000,click\n")
    (tmp_path / "items.csv").write_text("item_id,genre\ni1,war\n")
    data: dict[str, Any] = {
        "name": "t",
        "events": {"path": "events.csv"},
        "items": {"path": "items.csv", "id": "item_id"},
        "behaviours": {"click": {"positive": True}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
    }
    found = [f for f in examine(parse_config(data | changes), tmp_path) if f.severity == "error"]
    assert [f.where for f in found] == [where]


def test_tables_that_are_not_declared_are_noted(tmp_path: Path) -> None:
    for name in ("kunden.csv", "prices.parquet", "rejects.csv", "scores.csv", "notes.txt"):
        (tmp_path / name).write_text("id,age\nu1,30\n")
    (tmp_path / "report.html").write_text("<p>")
    found = diagnose(tmp_path, mixed())
    assert found["not used: kunden.csv, prices.parquet"] == "note"
    for name in ("kunden.csv", "prices.parquet"):
        (tmp_path / name).unlink()
    assert not [what for what in diagnose(tmp_path, mixed()) if what.startswith("not used")]
