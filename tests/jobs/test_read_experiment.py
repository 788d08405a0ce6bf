"""`tamis experiment read`: tables of users, good and bad, through Python and the command line."""

import numpy as np
import polars as pl
import pytest

from tamis.jobs import read_experiment
from tamis.schema import ConfigError, DataError


def table(lift=0.02, n=3_000, seed=0):
    random = np.random.default_rng(seed)
    arm = np.where(random.random(n) < 0.5, "old", "new")
    activity = random.gamma(1.0, 10.0, n)
    shown, earlier = random.poisson(activity + 2), random.poisson(activity + 2)
    rate = 0.1 + lift * (arm == "new")
    return pl.DataFrame(
        {
            "user_id": [f"u{k}" for k in range(n)],
            "arm": arm,
            "shown": shown,
            "clicks": random.binomial(shown, rate),
            "shown_before": earlier,
            "clicks_before": random.binomial(earlier, 0.1),
            "errors": random.poisson(0.2, n),
        }
    )


def written(frame, folder, name="users.csv"):
    path = folder / name
    frame.write_csv(path)
    return path


def test_a_table_of_users_becomes_a_result(tmp_path, tamis_cli):
    path = written(table(), tmp_path)
    words = ("experiment", "read", path, "--control", "old", "--goal", "clicks / shown")
    said = tamis_cli(*words, "--guardrail", "errors", "--lower", "errors")
    assert said.code == 0, said
    assert said.out.startswith("ship")
    assert "clicks / shown (goal)" in said.out
    assert "before exposure" in said.out
    result = tamis_cli(*words, "--json").json["result"]
    assert (result["state"], result["winner"]) == ("ship", "new")
    assert result["findings"][0]["effect"]["variance_kept"] <= 1.0


def test_rows_of_a_user_add_up_and_users_in_several_arms_are_left_out(tmp_path):
    frame = table()
    half = frame.with_columns(pl.col("clicks") * 0, pl.col("shown") * 0)
    one = read_experiment(written(frame, tmp_path), control="old", goal="clicks")
    path = written(pl.concat([frame, half]), tmp_path, "days.csv")
    days = read_experiment(path, control="old", goal="clicks", unit="user_id")
    assert days.several == 0
    assert days.result.users == one.result.users
    assert days.result.findings[0].effect.difference == one.result.findings[0].effect.difference
    moved = half.with_columns(
        arm=pl.when(pl.int_range(pl.len()) < 40).then(pl.lit("other")).otherwise("arm")
    )
    moved = moved.with_columns(pl.col("arm").replace("other", "new"))
    path = written(pl.concat([frame, moved]), tmp_path, "moved.csv")
    found = read_experiment(path, control="old", goal="clicks", unit="user_id")
    assert 0 < found.several <= 40
    assert found.result.state == "not healthy"


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        ({}, {"goal": "clickz"}, DataError, r"no column 'clickz'.*Did you mean `clicks`"),
        ({}, {"goal": "a / b / c"}, ConfigError, "a ratio A / B"),
        ({}, {"control": "older"}, ConfigError, "control = 'older'"),
        ({}, {"lower": ["errors"]}, ConfigError, "not one of the metrics"),
        ({}, {"shares": [1.0]}, ConfigError, "1 shares, 2 arms"),
        ({"clicks": pl.lit("x")}, {}, DataError, "not a number"),
        (
            {"clicks": pl.when(pl.int_range(pl.len()) == 4).then(None).otherwise(pl.col("clicks"))},
            {},
            DataError,
            "row 5 has no number",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_refused(tmp_path, change, options, error, match):
    path = written(table(n=100).with_columns(**change), tmp_path)
    with pytest.raises(error, match=match):
        read_experiment(path, **{"control": "old", "goal": "clicks", **options})
