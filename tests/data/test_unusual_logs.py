"""Reading of logs without a header line, without times, and with times counted from a start."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.data import Dataset, Rejects, read_dataset
from tamis.schema import ConfigError, DataError, ProjectConfig, parse_config

DAY_MS = 86_400_000
NAMES = ["user", "item", "kind", "at"]


def config(seed: int = 0, items: dict[str, Any] | None = None, **events: Any) -> ProjectConfig:
    return parse_config(
        {
            "name": "t",
            "seed": seed,
            "events": {"path": "log.csv", "user": "user", "item": "item", **events},
            **({"items": items} if items else {}),
            "behaviours": {"view": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
        }
    )


def read(folder: Path, text: str, **options: Any) -> tuple[Dataset, Rejects]:
    (folder / "log.csv").write_text(text, "utf-8")
    return read_dataset(config(**options), folder)


def test_the_first_line_is_a_row_where_the_columns_are_named(tmp_path: Path) -> None:
    text = "a,x,view,1600000003\nb,x,view,1600000001\na,a,odd,1600000002\n"
    (tmp_path / "items.csv").write_text("x,Title x\na,Title a\n", "utf-8")
    items = {"path": "items.csv", "id": "key", "columns": ["key", "title"], "title": "title"}
    data, rejects = read(tmp_path, text, columns=NAMES, behaviour="kind", time="at", items=items)
    assert data.users.ids.to_list() == ["a", "b"]
    assert data.items.ids.to_list() == ["x", "a"]
    assert data.items.frame["title"].to_list() == ["Title x", "Title a"]
    assert data.events.time.tolist() == [1600000001000, 1600000003000]
    assert rejects.frame["row"].to_list() == [3], "the number of the line in the file"


def test_a_wrong_number_of_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names 2 columns \(u, i\), but .* 4 fields: a, x, view"):
        read(tmp_path, "a,x,view,1600000003\n", columns=["u", "i"])


@pytest.mark.parametrize("order", ["rows", "random"])
def test_a_log_without_times_has_the_order_of_its_rows_or_a_random_one(
    tmp_path: Path, order: str
) -> None:
    text = "user,item\n" + "".join(f"u{k % 7},i{k}\n" for k in range(50))
    data, rejects = read(tmp_path, text, untimed=order)
    assert (len(data.events), len(rejects)) == (50, 0)
    assert sorted(data.events.time.tolist()) == list(range(50))
    in_order = data.items.ids.gather(data.events.item).to_list() == [f"i{k}" for k in range(50)]
    assert in_order == (order == "rows")


def test_a_random_order_depends_on_the_seed_alone(tmp_path: Path) -> None:
    text = "user,item\n" + "".join(f"u{k % 7},i{k}\n" for k in range(50))
    first, again, other = (
        read(tmp_path, text, untimed="random", seed=seed)[0].events.item for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_untimed_log_has_no_arrivals() -> None:
    with pytest.raises(ConfigError, match="is given, but the log is `untimed`"):
        config(untimed="rows", arrival="seen")


@pytest.mark.parametrize(("unit", "ms"), [("days", DAY_MS), ("hours", 3_600_000), ("s", 1000)])
def test_times_may_be_counted_from_a_start(tmp_path: Path, unit: str, ms: int) -> None:
    text = "user,item,at\nu,i,3\nu,j,1\nv,i,2.5\n"
    data, _ = read(tmp_path, text, time="at", time_unit=unit)
    assert data.events.time.tolist() == [ms, int(2.5 * ms), 3 * ms]
