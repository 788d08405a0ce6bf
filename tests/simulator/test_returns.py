"""Repeat consumption in the simulation."""

import hashlib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.simulator import (
    SimulationConfig,
    SimulationConfigError,
    build_population,
    response_probabilities,
    simulate,
)
from tamis.simulator.clock import DAY_MS
from tamis.simulator.policy import Impressions, Source
from tamis.simulator.returns import Returns, Visits, usual_gaps, with_returns, with_wanted
from tamis.simulator.traffic import Requests

SMALL = SimulationConfig(
    items=300, users=120, days=4, seed=3, eagerness=1.0, requests_per_user_day=1.0
)
BEFORE = {
    "events": "a5d3b8be01fb42e3",
    "items": "117d3ade9d037d3b",
    "users": "76f9ef90c4fd4c34",
    "truth": "a32cfb551632f521",
}
"""Digests of the tables of SMALL as written before the simulation had repeats, without the items'
vectors: the last digits of their products depend on the processor."""


def digest(frame: pl.DataFrame) -> str:
    found = hashlib.sha256()
    for name in frame.columns:
        found.update(name.encode())
        found.update(repr(frame[name].to_list()).encode())
    return found.hexdigest()[:16]


def test_without_repeats_the_tables_are_those_of_before(tmp_path):
    report = simulate(SMALL, tmp_path)
    assert report.returns == 0
    tables = {n: pl.read_parquet(tmp_path / f"{n}.parquet") for n in BEFORE}
    tables["items"] = tables["items"].drop("content")
    assert {n: digest(table) for n, table in tables.items()} == BEFORE


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """(settings, events, truth, report) of a shop whose users come back about every four days."""
    out = tmp_path_factory.mktemp("shop")
    config = replace(SMALL, users=120, days=30, eagerness=2.0, repeat_rate=0.9, repeat_gap_days=4.0)
    report = simulate(config, out)
    return (
        config,
        pl.read_parquet(out / "events.parquet"),
        pl.read_parquet(out / "truth.parquet"),
        report,
    )


def test_users_come_back_after_the_usual_gap_of_the_item(shop):
    config, events, truth, report = shop
    traits = build_population(config).items.traits
    gaps = usual_gaps(config, traits.category)
    back = truth.filter(pl.col("source") == "repeat")
    assert report.returns == len(back) > 300
    assert (back["position"] == 1).all()
    row = back["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    assert np.isfinite(gaps[row]).all(), "only consumables are sought"
    bought = (
        events.filter(pl.col("behaviour") == "purchase")
        .select("user_id", "item_id", "time", bought="time")
        .sort("time")
    )
    waited = back.select("user_id", "item_id", "time").sort("time")
    waited = waited.join_asof(
        bought,
        on="time",
        by=["user_id", "item_id"],
        allow_exact_matches=False,
        check_sortedness=False,
    )
    days = (waited["time"] - waited["bought"]).to_numpy() / DAY_MS
    row = waited["item_id"].str.slice(1).cast(pl.Int64).to_numpy()
    off = np.log(days / gaps[row])[gaps[row] > 2]  # shorter ones are moved to the next day
    assert abs(np.median(off)) < 0.1
    low, high = np.quantile(off, [0.25, 0.75])
    assert 0.25 < high - low < 0.45  # of a normal with a deviation of .25: .34


def test_a_sought_item_is_nearly_always_bought(shop):
    _, _, truth, _ = shop
    back = truth.filter(pl.col("source") == "repeat")
    assert back["p_purchase"].mean() > 0.8
    assert truth.filter(pl.col("source") != "repeat")["p_purchase"].mean() < 0.1


def test_slates_keep_their_length_and_hold_no_item_twice(shop):
    _, _, truth, _ = shop
    slates = truth.group_by("request_id").agg(pl.len(), pl.col("item_id").n_unique().alias("n"))
    assert (slates["len"] == slates["n"]).all()
    assert (slates["len"] == 10).all()


def test_half_of_the_categories_are_consumables():
    config = replace(SMALL, n_categories=10)
    category = np.repeat(np.arange(10), 30)
    gaps = usual_gaps(config, category)
    lasting = np.isnan(gaps).reshape(10, 30)
    assert sorted(lasting.mean(axis=1).tolist()) == [0.0] * 5 + [1.0] * 5
    near = np.nanmedian(np.log(gaps.reshape(10, 30)[~lasting[:, 0]]), axis=1)
    assert 0 < near.std() < 1.5
    assert np.isfinite(usual_gaps(replace(SMALL, n_categories=1), np.zeros(5, np.int64))).all()


def visits(*rows) -> Visits:
    return Visits(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


def test_a_purchase_replaces_the_plan_and_the_end_is_the_end():
    config = replace(SMALL, repeat_rate=1.0, days=30)
    gaps = np.array([5.0, np.nan, 400.0])
    returns = Returns(config, gaps)
    start = config.start_time
    random = np.random.default_rng(0)
    returns.plan(visits((7, 0, start), (7, 1, start), (7, 2, start)), 0, random)
    returns.plan(visits((7, 0, start + 2 * DAY_MS)), 2, random)
    due = [(day, returns.due(day)) for day in range(30)]
    found = [(day, v.user[0], v.item[0]) for day, v in due if len(v.time)]
    assert len(found) == 1
    day, user, item = found[0]
    assert (user, item) == (7, 0)
    assert 4 <= day <= 14  # two days, and a gap of about five


def test_requests_and_slates_by_hand():
    requests = Requests(np.array([1, 2]), np.array([10, 30]), np.array([-1, -1]))
    merged = with_returns(requests, visits((5, 8, 20)))
    assert merged.user.tolist() == [1, 5, 2]
    assert merged.wanted.tolist() == [-1, 8, -1]
    shown = Impressions(
        request=np.array([0, 0, 1, 1, 1, 2]),
        item=np.array([3, 8, 4, 5, 8, 8]),
        position=np.array([1, 2, 1, 2, 3, 1]),
        source=np.array([Source.TASTE] * 4 + [Source.HOT, Source.TASTE]),
    )
    found = with_wanted(shown, merged)
    assert found.item.tolist() == [3, 8, 8, 5, 4, 8]
    assert found.source.tolist() == [
        Source.TASTE, Source.TASTE, Source.REPEAT, Source.TASTE, Source.TASTE, Source.TASTE,
    ]  # fmt: skip
    other = with_wanted(shown, replace(merged, wanted=np.array([9, -1, -1])))
    assert other.item.tolist() == [9, 8, 4, 5, 8, 8]
    assert with_wanted(shown, requests_without()) is shown


def requests_without() -> Requests:
    return Requests(np.array([1, 5, 2]), np.array([10, 20, 30]), np.full(3, -1))


def test_no_item_wanted_gives_equal_probabilities():
    population = build_population(SMALL)
    users, items = population.users.traits.take(np.arange(5)), population.items.traits.take(
        np.arange(5)
    )  # fmt: skip
    args = (users, items, np.ones(5), np.full(5, SMALL.start_time))
    plain = response_probabilities(*args)
    none = response_probabilities(*args, wanted=np.zeros(5, np.bool_))
    some = response_probabilities(*args, wanted=np.arange(5) == 2)
    for name in ("click", "cart_given_click", "purchase_given_cart"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(none, name))
        higher = getattr(some, name) > getattr(plain, name)
        assert higher.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(plain.like_given_click, some.like_given_click)


def test_settings_are_checked():
    with pytest.raises(SimulationConfigError, match=r"repeat_rate = 2.* 0.0 … 1.0"):
        SimulationConfig(repeat_rate=2)
    with pytest.raises(SimulationConfigError, match="repeat_gap_days = 0"):
        SimulationConfig(repeat_gap_days=0)


def test_the_project_of_a_shop_with_repeats_keeps_known_items(tmp_path, tamis_cli):
    words = ("--items", 60, "--users", 80, "--days", 12, "--out", tmp_path / "shop")
    said = tamis_cli("simulate", *words, "--repeat-rate", 0.9, "--repeat-gap", 2)
    assert said.code == 0, said
    config = (tmp_path / "shop" / "tamis.toml").read_text("utf-8")
    assert "[cascade.channels.again]" in config
    assert "[cascade.filters.seen]" not in config
    plain = tamis_cli("simulate", *words[:-1], tmp_path / "plain", "--json")
    assert plain.json["returns"] == 0
    assert "[cascade.filters.seen]" in (tmp_path / "plain" / "tamis.toml").read_text("utf-8")
