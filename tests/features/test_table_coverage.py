"""Coverage of features in the tables, counted by hand."""

import json

import polars as pl
import pytest

from tamis.data import read_dataset
from tamis.features import table_coverage
from tamis.onboarding import examine
from tamis.schema import DenseFeat, SparseFeat, VarLenSparseFeat, parse_config

DAY = 86_400_000
# user, item, behaviour, day, device; the cut is at day 4
LOG = [
    ("u0", "a", "show", 1, "ios"),
    ("u0", "a", "click", 1, None),
    ("u1", "b", "click", 2, "web"),
    ("u0", "b", "show", 3, "ios"),
    ("u1", "a", "show", 4, "tv"),
    ("u2", "c", "show", 5, "ios"),
    ("u2", "c", "show", 6, None),
    ("u0", "c", "show", 7, "tv"),
]
CUT = (19_000 + 4) * DAY
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("device"),
    VarLenSparseFeat("genres", separator="|"),
    DenseFeat("price"),
    VarLenSparseFeat("clicked", history=("click",), shares="item_id"),
    SparseFeat("item_id"),
    SparseFeat("weekday"),
]


@pytest.fixture
def folder(tmp_path):
    names = ["user_id", "item_id", "behaviour", "day", "device"]
    frame = pl.DataFrame(LOG, schema=names, orient="row")
    frame.with_columns(time=(pl.col("day") + 19_000) * DAY).write_csv(tmp_path / "events.csv")
    items = {"item_id": ["a", "b", "c", "d"], "genres": ["x|y", "x", "z|x", None]}
    pl.DataFrame(items | {"price": [1.0, None, 3.0, 3.0]}).write_csv(tmp_path / "items.csv")
    return tmp_path


def config(features=()):
    return parse_config(
        {
            "name": "test",
            "events": {"path": "events.csv", "behaviour": "behaviour", "context": ["device"]},
            "items": {"path": "items.csv"},
            "behaviours": {"show": {"impression": True}, "click": {"positive": True}},
            "features": list(features),
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
        },
        "tamis.toml",
    )


def test_shares_by_hand(folder):
    data, _ = read_dataset(config(), folder)
    found = {c.feature: c for c in table_coverage(data, FEATURES, config(), CUT)}
    shown = {n: (c.side, c.rows, c.events, c.distinct, c.unseen) for n, c in found.items()}
    assert shown == {
        # u2 has its first two events after the cut
        "user_id": ("user", 1.0, 1.0, 3, 2 / 4),
        "device": ("context", None, 6 / 8, 3, 2 / 4),  # tv
        # c has a new genre and a known one
        "genres": ("item", 3 / 4, 1.0, 3, 0.0),
        "price": ("item", 3 / 4, 6 / 8, 2, None),
        # u0 clicked on day 1, u1 on day 2; equal times are not before
        "clicked": ("user", None, 3 / 8, 2, None),
        "item_id": ("item", 1.0, 1.0, 4, 3 / 4),
        # 1 to 3 against 4 to 7: other days of the week
        "weekday": ("context", None, 1.0, 7, 1.0),
    }


def test_no_event_after_the_cut(folder):
    data, _ = read_dataset(config(), folder)
    (device,) = table_coverage(data, [SparseFeat("device")], config(), data.end)
    assert (device.events, device.unseen) == (6 / 8, None)


def test_the_doctor_lists_declared_and_default_features(folder):
    declared = config([{"kind": "sparse", "name": "device"}, {"kind": "sparse", "name": "item_id"}])
    assert [f.feature for f in examine(declared, folder).features] == ["device", "item_id"]
    default = [f.feature for f in examine(config(), folder).features]
    assert {"user_id", "item_id", "genres", "price", "device"} <= set(default)


def test_a_feature_that_cannot_be_made_is_an_error(folder):
    found = examine(config([{"kind": "sparse", "name": "devise"}]), folder)
    assert [f.what for f in found if f.severity == "error" and "devise" in f.what]
    assert list(found.features) == []


def test_the_command_prints_them(folder, tamis_cli):
    from tamis.schema import write_config

    write_config(config(), folder / "tamis.toml")
    said = tamis_cli("doctor", folder, "--json")
    features = {f["feature"]: f for f in json.loads(said.out)["features"]}
    assert features["device"]["events"] == 6 / 8
    assert features["device"]["rows"] is None
    printed = tamis_cli("doctor", folder).out
    assert "Coverage of the features" in printed
    assert any("device" in line and "75.0%" in line for line in printed.splitlines())
