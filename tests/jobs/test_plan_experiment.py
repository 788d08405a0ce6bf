"""`tamis experiment plan`: figures of a log by hand, and through the command line."""

import numpy as np
import polars as pl
import pytest

from tamis.experiments import sample_size
from tamis.jobs import plan_experiment
from tamis.schema import ConfigError

DAY = 86_400_000
T0 = 1_700_000_000_000
TOML = """
name = "clicks"
clock = "data"
[events]
path = "events.csv"
user = "user_id"
item = "item_id"
time = "time"
behaviour = "kind"
value = "value"
[behaviours.click]
positive = true
[behaviours.show]
impression = true
[metrics.reach]
value = "click / show"
[cascade.channels.hot]
[cascade.rank]
use = "lr"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Forty users over eight days; user k clicks k % 4 times on the last day, and twice that often
    on the day before."""
    folder = tmp_path_factory.mktemp("plan")
    rows = [("u0", "i0", T0, "show", 1.0)]
    for k in range(40):
        rows += [(f"u{k}", "i1", T0 + 7 * DAY + k, "show", 1.0)] * 1
        rows += [(f"u{k}", f"i{j}", T0 + 7 * DAY + j, "click", 2.0) for j in range(k % 4)]
        rows += [(f"u{k}", f"i{j}", T0 + 6 * DAY + j, "click", 2.0) for j in range(2 * (k % 4))]
    rows.append(("u0", "i0", T0 + 8 * DAY - 1, "show", 1.0))
    names = ["user_id", "item_id", "time", "kind", "value"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "events.csv")
    (folder / "tamis.toml").write_text(TOML, "utf-8")
    return folder


def test_one_day_by_hand(project):
    found = plan_experiment(project, "click", effect=1.0)
    one = found.plans[0]
    clicks = np.arange(40) % 4
    assert (one.days, one.users, one.value) == (1, 40, pytest.approx(1.5))
    deviation = clicks.std(ddof=1)
    assert sample_size(one.detectable * 1.5, deviation) == pytest.approx(40, abs=1)
    # the day before tells a user's clicks exactly, so nothing is left of the variance
    assert one.with_before == pytest.approx(0.0, abs=1e-6)
    assert found.days == 1


def test_sums_and_ratios(project):
    value = plan_experiment(project, "sum(click)").plans[0]
    count = plan_experiment(project, "click").plans[0]
    assert value.value == pytest.approx(2 * count.value)
    assert value.detectable == pytest.approx(count.detectable)
    ratio = plan_experiment(project, "click / show").plans[0]
    assert ratio.value == pytest.approx(60 / 41)
    assert plan_experiment(project, "reach").plans[0].value == ratio.value


def test_days_and_retention_by_hand(project):
    """Of the last two days: ten users are seen on the second day alone, thirty on both."""
    two = plan_experiment(project, "active_days").plans[1]
    assert (two.days, two.value) == (2, pytest.approx((10 + 2 * 30) / 40))
    back = plan_experiment(project, "returned(0.9) / observed(0.9)").plans[1]
    assert back.value == pytest.approx(31 / 40)  # u0 comes back at the end of the log
    assert back.with_before is None


@pytest.mark.parametrize(
    ("metric", "options", "match"),
    [
        ("klick", {}, r"no behaviour 'klick'.*Did you mean `click`"),
        ("click / show / click", {}, "has 3 parts"),
        ("took_ms / answers", {}, "took_ms is counted from the answers of a running service"),
        ("click", {"effect": 0.0}, r"effect = 0\.0"),
        ("click", {"share": 1.0}, r"share = 1\.0"),
        ("click", {"power": 0.01}, r"power = 0\.01"),
    ],
)
def test_what_cannot_be_planned_is_refused(project, metric, options, match):
    with pytest.raises(ConfigError, match=match):
        plan_experiment(project, metric, **options)


def test_the_command_prints_a_table_and_json(project, tamis_cli):
    said = tamis_cli("experiment", "plan", project, "--metric", "click", "--effect", "1.5")
    assert said.code == 0, said
    assert "1 day finds 150.0%" in said.out
    result = tamis_cli("experiment", "plan", project, "--metric", "click", "--json").json
    assert result["plans"][0]["users"] == 40
