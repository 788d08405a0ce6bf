"""Runs: seeds, sizes, settings and errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tamis.simulator
from tamis.simulator import (
    SimulationConfig,
    SimulationConfigError,
    SimulationOutputError,
    build_population,
    simulate,
)

SMALL = SimulationConfig(items=200, users=100, days=5)
TABLES = ("items", "users", "events", "truth")


def run(config: SimulationConfig, out: Path) -> dict[str, pl.DataFrame]:
    simulate(config, out)
    return {name: pl.read_parquet(out / f"{name}.parquet") for name in TABLES}


def test_equal_seeds_give_equal_tables_and_other_seeds_others(tmp_path):
    first, again = run(SMALL, tmp_path / "a"), run(SMALL, tmp_path / "b")
    other = run(replace(SMALL, seed=8), tmp_path / "c")
    for name in TABLES:
        assert first[name].equals(again[name])
        assert not first[name].equals(other[name])
    for file in ("truth_items.npy", "truth_users.npy", "simulation.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_late_share_changes_only_arrivals(tmp_path):
    prompt = run(replace(SMALL, late_share=0.0), tmp_path / "a")
    late = run(replace(SMALL, late_share=1.0), tmp_path / "b")
    assert prompt["events"].drop("arrival").equals(late["events"].drop("arrival"))
    assert (late["events"]["arrival"] - late["events"]["time"]).min() >= 3_600_000
    assert prompt["truth"].equals(late["truth"])


@pytest.mark.parametrize(
    ("settings", "slate"),
    [
        ({"items": 1, "users": 1}, 1),
        ({"items": 1}, 1),
        ({"users": 1}, 10),
        ({"items": 4, "new_item_share": 0.0}, 4),
        ({"candidates": 1, "slate_size": 1}, 1),
        ({"n_categories": 1, "n_cities": 1, "topics_per_category": 1}, 10),
        ({"n_categories": 50, "latent_dim": 8, "content_dim": 3}, 10),
        ({"new_item_share": 1.0, "new_user_share": 1.0}, 10),
        ({"hot_share": 1.0, "random_share": 0.0}, 10),
        ({"hot_share": 0.0, "random_share": 1.0}, 10),
    ],
)
def test_extreme_settings_run(tmp_path, settings, slate):
    config = replace(SMALL, requests_per_user_day=2.0, **settings)
    tables = run(config, tmp_path)
    truth = tables["truth"]
    assert 0 < truth["position"].max() <= slate
    assert (truth["p_click"] > 0).all()
    assert (truth["p_click"] < 1).all()
    places = truth.group_by("request_id").agg(pl.col("position").max(), pl.len())
    assert (places["position"] == places["len"]).all()
    assert np.isfinite(tables["items"]["content"].to_numpy()).all()


def test_a_run_without_requests_writes_empty_tables(tmp_path):
    report = simulate(replace(SMALL, requests_per_user_day=1e-6), tmp_path)
    assert report.requests == 0
    assert set(report.rates.values()) == {0.0}
    events = pl.read_parquet(tmp_path / "events.parquet")
    assert len(events) == 0
    assert events.schema == run(SMALL, tmp_path)["events"].schema


def test_many_batches_and_parts_keep_ids_and_order(tmp_path, monkeypatch):
    monkeypatch.setattr("tamis.simulator.run._BATCH_REQUESTS", 7)
    monkeypatch.setattr("tamis.simulator.writer._PART_ROWS", 100)
    config = replace(SMALL, requests_per_user_day=2.0)
    report = simulate(config, tmp_path)
    events = pl.read_parquet(tmp_path / "events.parquet")
    truth = pl.read_parquet(tmp_path / "truth.parquet")
    assert events["time"].is_sorted()
    assert len(events) == sum(report.events.values())
    assert truth["request_id"].unique().to_list() == list(range(report.requests))
    assert truth["request_id"].is_sorted()
    assert truth["time"].is_sorted()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_first_user_and_item_precede_the_start(seed):
    config = replace(SMALL, items=1, users=1, new_item_share=1.0, new_user_share=1.0, seed=seed)
    population = build_population(config)
    assert population.items.traits.published[0] <= config.start_time
    assert population.users.signup[0] <= config.start_time


def test_progress_counts_the_days(tmp_path):
    seen: list[tuple[int, int]] = []
    simulate(SMALL, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(day, 5) for day in range(1, 6)]


def test_a_failed_run_leaves_the_earlier_tables(tmp_path):
    before = run(SMALL, tmp_path)

    def fail(done: int, total: int) -> None:
        raise RuntimeError(f"stopped after {done} of {total}")

    with pytest.raises(RuntimeError, match="stopped after 1 of 5"):
        simulate(replace(SMALL, seed=9), tmp_path, fail)
    assert pl.read_parquet(tmp_path / "events.parquet").equals(before["events"])
    assert not list(tmp_path.glob(".simulation-*"))


def test_an_out_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "log"
    file.write_text("kept")
    with pytest.raises(SimulationOutputError, match=r"log is a file: give a folder"):
        simulate(SMALL, file)
    assert file.read_text() == "kept"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"items": 0}, r"items = 0 is out of range: set it to 1 … 100000000"),
        ({"users": -3}, r"users = -3 is out of range: set it to 1 … "),
        ({"days": 1.5}, r"days = 1\.5 is not an integer: set it to one from 1 to 3650"),
        ({"seed": True}, r"seed = True is not an integer"),
        ({"late_share": 1.2}, r"late_share = 1\.2 is out of range: set it to 0\.0 … 1\.0"),
        ({"taste_noise": float("nan")}, r"taste_noise = nan is not a finite number"),
        ({"requests_per_user_day": 0}, r"requests_per_user_day = 0 is out of range"),
        ({"n_cities": 99}, r"n_cities = 99 is out of range: set it to 1 … 24"),
        (
            {"candidates": 5},
            r"candidates = 5 is less than slate_size = 10: .* set candidates to 10",
        ),
        ({"hot_share": 0.8, "random_share": 0.3}, r"0\.8 \+ 0\.3 is more than 1: lower one"),
    ],
)
def test_errors_of_settings_give_the_value_and_how_to_fix_it(settings, message):
    with pytest.raises(SimulationConfigError, match=message):
        SimulationConfig(**settings)


def test_unknown_settings_are_named():
    with pytest.raises(SimulationConfigError, match=r"unknown settings itms: .* known are items"):
        SimulationConfig.from_dict({"itms": 3})


def test_exported_names_exist():
    for name in tamis.simulator.__all__:
        assert hasattr(tamis.simulator, name)
