"""The estimated cost of a training: counts by hand, and the stage that takes hours."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.jobs import _cost, _trainer, doctor
from tamis.jobs._cost import LogCounts, calibrate, estimate, span
from tamis.schema import Behaviour, TamisError, parse_config

BEHAVIOURS = (Behaviour(name="view"), Behaviour(name="buy", positive=True))


def log(user, item, behaviour, users: int, items: int) -> Dataset:
    """Events a minute apart."""
    n = len(user)
    time = 1_600_000_000_000 + np.arange(n, dtype=np.int64) * 60_000
    events = Events(
        np.asarray(user, np.int32),
        np.asarray(item, np.int32),
        np.asarray(behaviour, np.uint8),
        time,
        time,
        np.full(n, np.nan, np.float32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int16),
    )
    tables = (
        Table(name, pl.Series([str(k) for k in range(size)]), pl.DataFrame())
        for name, size in (("users", users), ("items", items))
    )
    return Dataset(*tables, events, BEHAVIOURS)


def config(**channels):
    return parse_config(
        {
            "name": "t",
            "events": {"path": "events.csv", "behaviour": "kind"},
            "behaviours": {"view": {}, "buy": {"positive": True}},
            "cascade": {"channels": channels, "rank": {"use": "lr"}},
        }
    )


def many(items: int, n: int = 60_000) -> Dataset:
    random = np.random.default_rng(0)
    every = np.arange(n) % items
    return log(random.integers(0, 2_000, n), every, np.ones(n), 2_000, items)


def test_counts_by_hand():
    #              user 0 likes items 0, 1, 2 (one twice); user 1 likes 0; a view does not count
    data = log([0, 0, 0, 0, 1, 1], [0, 1, 2, 2, 0, 3], [1, 1, 1, 1, 1, 0], 3, 5)
    assert LogCounts.of(data) == LogCounts(2, 5, 6, likes=4, liked=3, pairs=3**2 + 1)


def test_ease_grows_with_the_cube_of_the_items_and_dominates_where_there_are_many():
    given = config(ease={"l2": 100.0, "closeness": 1.0, "decay": 1.0}, hot={})
    seconds = {}
    for items in (10_000, 30_000):
        found = {s.stage: s for s in estimate(given, many(items), gflops=50.0).stages}
        assert found["recall:ease"].mb == pytest.approx(2 * 4 * items**2 / 1e6)
        seconds[items] = found["recall:ease"].seconds
        assert found["recall:ease"].fits == 6  # four windows, the test cut, the end
    assert seconds[30_000] / seconds[10_000] == pytest.approx(27, rel=0.1)
    total = estimate(given, many(30_000), gflops=50.0)
    longest = max(total.stages, key=lambda stage: stage.seconds)
    assert longest.stage == "recall:ease"
    assert "of that recall:ease about" in total.text
    assert "30,000 liked items, cubed" in total.text


def test_an_automatic_search_is_counted():
    fixed = config(ease={"l2": 100.0, "closeness": 1.0, "decay": 1.0})
    data = many(5_000)
    by_hand, searched = (
        next(s.seconds for s in estimate(c, data, 50.0).stages if s.stage == "recall:ease")
        for c in (fixed, config(ease={}))
    )
    # six fits on the 3,000 most liked items, beside one on all 5,000
    assert searched / by_hand == pytest.approx(1 + 6 * 3**3 / 5**3, rel=0.1)


def test_a_faster_machine_takes_less_time():
    data = many(5_000)
    slow, fast = (estimate(config(ease={}), data, rate).seconds for rate in (5.0, 500.0))
    assert slow > 2 * fast
    assert calibrate() > 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (12_600, "3.5 h")]
)
def test_durations_for_people(seconds, text):
    assert span(seconds) == text


def test_doctor_reports_the_cost(ratings, tamis_cli):
    cost = doctor(ratings).cost
    assert cost is not None
    assert {"read", "recall:ease", "recall:two_tower", "prerank", "rank"} <= {
        stage.stage for stage in cost.stages
    }
    said = tamis_cli("doctor", ratings)
    assert "What a training costs, about" in said.out
    assert "recall:ease" in said.out
    found = json.loads(tamis_cli("doctor", ratings, "--json").out)["cost"]
    assert found["seconds"] == pytest.approx(sum(s["seconds"] for s in found["stages"]))
    assert "factor of 3" in found["protocol"]


def test_train_prints_a_long_estimate_before_it_begins(ratings, tamis_cli, tmp_path, monkeypatch):
    project = shutil.copytree(ratings, tmp_path / "project")
    monkeypatch.setattr(_trainer, "LONG_MINUTES", 0.0)

    def stop(self):
        raise TamisError("stopped before the first fit")

    monkeypatch.setattr(_trainer.Trainer, "_choose", stop)
    said = tamis_cli("train", project)
    assert "training takes about" in said.err
    assert "stopped before the first fit" in said.err
    assert _cost.LONG_MINUTES == 10


def test_the_peak_is_the_libraries_the_data_and_what_a_process_keeps():
    found = estimate(config(ease={}, itemcf={}, hot={}), many(5_000), gflops=50.0)
    mb = {stage.stage: stage.mb for stage in found.stages}
    assert mb["recall:ease"] > mb["recall:itemcf"] > mb["recall:hot"]
    kept = mb["read"] + mb["recall:ease"] + mb["rows"] + mb["rank"]
    assert found.peak_mb == pytest.approx(_cost._BASE_MB + kept)
