"""Properties of the written tables."""

import re

import numpy as np
import polars as pl
import pytest

from tamis.simulator import COLUMNS, SCHEMA_VERSION, SimulationConfig

KEY = ["request_id", "item_id", "user_id"]
HOUR_MS = 3_600_000


def within_binomial(successes: float, probability: np.ndarray, sigmas: float = 4.5) -> bool:
    """Whether a count of independent draws is within `sigmas` of its expectation."""
    spread = np.sqrt((probability * (1 - probability)).sum())
    return abs(successes - probability.sum()) <= sigmas * spread + 1


def answered(log, behaviour, condition):
    """Truth rows where the condition happened, with whether the behaviour did."""
    rows = log.truth if condition is None else log.truth.join(log.of(condition), on=KEY, how="semi")
    done = log.of(behaviour).select(*KEY, done=True)
    return rows.join(done, on=KEY, how="left").with_columns(pl.col("done").fill_null(False))


BEHAVIOUR_TRUTH = [
    ("click", None, "p_click"),
    ("like", "click", "p_like_given_click"),
    ("collect", "click", "p_collect_given_click"),
    ("share", "click", "p_share_given_click"),
    ("cart", "click", "p_cart_given_click"),
    ("purchase", "cart", "p_purchase_given_cart"),
    ("cart", None, "p_cart"),
    ("purchase", None, "p_purchase"),
]


def test_the_tables_have_the_declared_columns_and_the_reported_rows(log):
    for name in COLUMNS:
        assert getattr(log, name).columns == list(COLUMNS[name])
    assert len(log.items) == log.config.items
    assert len(log.users) == log.config.users
    assert dict(log.events.group_by("behaviour").len().iter_rows()) == log.report.events
    assert len(log.truth) == log.report.events["impression"]
    nullable = log.events.drop("value").null_count().sum_horizontal().item()
    assert nullable == 0 == sum(log.truth.null_count().row(0))
    assert np.load(log.out / "truth_items.npy").shape == (5_000, 16)
    assert np.load(log.out / "truth_users.npy").shape == (3_000, 16)
    assert log.items["content"].to_numpy().shape == (5_000, 16)
    assert not list(log.out.glob(".simulation-*"))


def test_the_description_holds_the_settings(log):
    assert SimulationConfig.from_dict(log.description["config"]) == log.config
    assert log.description["schema_version"] == SCHEMA_VERSION
    assert log.description["counts"]["events"] == len(log.events)
    assert log.description["formulas"].keys() >= {"p_click", "watch_given_click"}


@pytest.mark.parametrize(("behaviour", "condition", "column"), BEHAVIOUR_TRUTH)
def test_behaviours_follow_their_true_probabilities(log, behaviour, condition, column):
    rows = answered(log, behaviour, condition).sort(column)
    probability = rows[column].to_numpy().astype(np.float64)
    done = rows["done"].to_numpy()
    assert within_binomial(done.sum(), probability)
    for part in np.array_split(np.arange(len(rows)), 5):
        assert within_binomial(done[part].sum(), probability[part])


def test_the_click_rate_rises_with_every_decile_of_its_probability(log):
    rows = answered(log, "click", None).sort("p_click")
    rates = [part.mean() for part in np.array_split(rows["done"].to_numpy(), 10)]
    assert rates == sorted(rates)
    assert rates[-1] > 5 * rates[0]


def test_mean_watch_seconds_are_the_expected_ones(log):
    rows = log.truth.join(log.of("watch").select(*KEY, "value"), on=KEY)
    ratio = rows["value"] / rows["watch_given_click"]
    # Log-normal with log-spread 0.6: standard deviation of the ratio is sqrt(exp(0.36) - 1).
    error = np.sqrt(np.expm1(0.36) / len(rows))
    assert abs(ratio.mean() - 1) < 4.5 * error
    assert np.log(ratio.to_numpy()).std() == pytest.approx(0.6, rel=0.03)


def test_marginal_rates_are_typical_of_a_feed(log):
    bands = {
        "click": (0.08, 0.15),
        "like": (0.07, 0.13),
        "collect": (0.05, 0.11),
        "share": (0.02, 0.08),
        "cart": (0.05, 0.11),
        "purchase": (0.22, 0.40),
    }
    for behaviour, (low, high) in bands.items():
        assert low < log.report.rates[behaviour] < high, behaviour


def test_every_behaviour_follows_its_cause(log):
    causes = {
        "click": "impression",
        "like": "click",
        "collect": "click",
        "share": "click",
        "watch": "click",
        "cart": "click",
        "purchase": "cart",
    }
    for behaviour, cause in causes.items():
        rows = log.of(behaviour)
        joined = rows.join(log.of(cause).select(*KEY, "position", cause_time="time"), on=KEY)
        assert len(joined) == len(rows) > 0, behaviour
        assert (joined["time"] >= joined["cause_time"]).all(), behaviour
        assert (joined["position"] == joined["position_right"]).all(), behaviour
    assert log.events.select(*KEY, "behaviour").is_duplicated().sum() == 0
    assert len(log.of("watch")) == len(log.of("click"))


def test_truth_and_impressions_are_the_same_rows(log):
    columns = [*KEY, "position", "time"]
    shown = log.of("impression").select(columns).sort("request_id", "position")
    assert shown.equals(log.truth.select(columns))


def test_slates_have_positions_one_to_n_and_different_items_for_one_user(log):
    slates = log.truth.group_by("request_id").agg(
        pl.col("position").sort(),
        items=pl.col("item_id").n_unique(),
        users=pl.col("user_id").n_unique(),
        times=pl.col("time").n_unique(),
    )
    assert (slates["items"] == log.config.slate_size).all()
    assert slates["position"].to_list() == [list(range(1, 11))] * len(slates)
    assert (slates["users"] == 1).all()
    assert (slates["times"] == 1).all()


def test_no_event_precedes_publication_or_signup_and_no_arrival_its_event(log):
    rows = log.events.join(log.items.select("item_id", "published"), on="item_id")
    rows = rows.join(log.users.select("user_id", "signup"), on="user_id")
    assert (rows["time"] >= rows["published"]).all()
    assert (rows["time"] >= rows["signup"]).all()
    assert (rows["arrival"] >= rows["time"]).all()
    assert log.events["time"].is_sorted()
    shown = log.of("impression")["time"]
    assert shown.min() >= log.config.start_time
    assert shown.max() < log.config.end_time


def test_few_events_are_late_and_most_take_seconds(log):
    delay = (log.events["arrival"] - log.events["time"]).to_numpy()
    assert within_binomial((delay >= HOUR_MS).sum(), np.full(len(delay), log.config.late_share))
    assert (delay >= HOUR_MS).sum() == log.report.late_events
    assert np.quantile(delay, 0.9) < 10_000
    assert delay.max() > 24 * HOUR_MS


def test_random_exposure_is_uniform_over_positions_and_published_items(log):
    drawn = log.truth.filter(pl.col("source") == "random")
    assert within_binomial(len(drawn), np.full(len(log.truth), log.config.random_share))
    places = drawn["position"].value_counts()["count"].to_numpy()
    assert np.abs(places - len(drawn) / 10).max() < 5 * np.sqrt(len(drawn) / 10)
    old = log.items.filter(pl.col("published") < log.config.start_time)
    counts = old.join(drawn.group_by("item_id").len(), on="item_id", how="left")["len"]
    counts = counts.fill_null(0).to_numpy()
    # Poisson: variance over mean is 1 when all items are equally likely.
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.15)


def test_hot_exposure_and_activity_have_heavy_tails(log):
    shown = log.truth.group_by("item_id").len()["len"].sort(descending=True)
    assert shown.head(len(shown) // 100).sum() > 0.05 * shown.sum()
    by_user = log.truth.group_by("user_id").len()["len"].sort(descending=True)
    assert by_user.head(len(by_user) // 10).sum() > 0.3 * by_user.sum()


def test_some_users_and_items_are_new_and_some_have_no_events(log):
    last_day = log.config.day_start(log.config.days - 1)
    assert (log.items["published"] >= last_day).sum() > 0
    assert (log.users["signup"] >= last_day).sum() > 0
    assert log.users.join(log.events, on="user_id", how="anti").height > 0
    assert (log.items["published"] < log.config.end_time).all()


def test_content_and_declared_interests_correlate_with_taste(log):
    """Public columns are informative about the hidden vectors and the clicks."""
    hidden = np.load(log.out / "truth_items.npy")
    content = log.items["content"].to_numpy()
    pairs = np.random.default_rng(0).integers(len(hidden), size=(2, 4_000))
    true = (hidden[pairs[0]] * hidden[pairs[1]]).sum(axis=1)
    seen = (content[pairs[0]] * content[pairs[1]]).sum(axis=1)
    assert np.corrcoef(true, seen)[0, 1] > 0.6
    clicks = log.of("click").join(log.items.select("item_id", "category"), on="item_id")
    clicks = clicks.join(log.users.select("user_id", "interests"), on="user_id")
    declared = clicks.select(pl.col("interests").list.contains(pl.col("category"))).to_series()
    assert declared.mean() > 0.5


def test_ids_are_ascii_and_only_some_behaviours_have_values(log):
    for column, pattern in (("user_id", r"u\d{6}"), ("item_id", r"i\d{6}")):
        assert log.events[column].str.contains(f"^{pattern}$").all()
    assert log.items["item_id"].is_unique().all()
    assert log.users["user_id"].is_unique().all()
    text = log.items.select("title", "category", "author_id", "city")
    assert all(re.fullmatch(r"[ -~]+", word) for word in text.to_numpy().ravel())
    valued = log.events.filter(pl.col("value").is_not_null())["behaviour"]
    assert set(valued) == {"watch", "purchase"}
    bought = log.of("purchase").join(log.items.select("item_id", "price"), on="item_id")
    assert (bought["value"] == bought["price"]).all()
    interests = log.users["interests"].list
    assert interests.len().is_between(1, 3).all()
    assert (interests.n_unique() == interests.len()).all()
