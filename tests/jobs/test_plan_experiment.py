"""`tamis experiment plan`: figures of a log by hand, and through the command line."""

import numpy as np
import polars as pl
import pytest

from tamis.experiments import power, sample_size
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
        ("click", {"alpha": 0.0}, r"alpha = 0\.0"),
        ("click", {"variance": 1.0}, "variance = 1.0 without `value`"),
        ("click", {"value": 0.0, "effect": 0.1}, r"value = 0\.0"),
        ("returned(7)", {"value": 0.2}, "give `effect`, `users_per_day`"),
        ("click", {"effect": 1e-200}, r"effect = 1e-200"),
        ("click", {"alpha": 1e-320}, r"alpha = 1e-320|alpha = 9\.99"),
        ("click", {"share": 1e-300}, r"share = 1e-300"),
        ("click", {"value": 1e-320, "variance": 1.0}, "value = "),
        ("click", {"value": 1.0, "variance": 1e300}, r"variance = 1e\+300"),
        (
            "click",
            {"value": 1.0, "variance": 1e30, "effect": 0.1},
            r"more than 1e\+15 users would be needed",
        ),
        ("click", {"value": 2.0, "effect": 0.1}, "give `variance`"),
        ("click / show", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("click", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("sum(click)", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("answers", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("click / observed(7)", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("returned(7) / returned(3)", {"value": 0.2, "effect": 0.1}, "give `variance`"),
        ("returned(7) / observed(7)", {"value": 1.0, "effect": 0.1}, "give `variance`"),
        (
            "click",
            {"value": 0.2, "variance": 0.5, "users_per_day": 0.01},
            "too few for a test of 56 days",
        ),
        (
            "returned(60) / observed(60)",
            {"value": 0.2, "users_per_day": 3000},
            "56 days, in which users are observed for 60",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(project, metric, options, match):
    with pytest.raises(ConfigError, match=match):
        plan_experiment(project, metric, **options)


def test_users_that_an_experiment_needs(project):
    """`planned` is the size at which the smallest difference of the duration is the wanted one."""
    found = plan_experiment(project, "click", effect=1.0)
    one = found.plans[0]
    assert found.planned == 4  # nothing is left of the variance: two users per arm
    plain = plan_experiment(project, "returned(0.9) / observed(0.9)", effect=0.9)
    (one,) = [p for p in plain.plans if p.days == plain.days]
    assert plain.planned == pytest.approx(one.users * (one.detectable / 0.9) ** 2, abs=1)


def test_users_are_named_where_no_duration_finds_the_effect(project, tamis_cli):
    """Four times as many users find half of the difference."""
    metric = "returned(0.9) / observed(0.9)"
    plans = plan_experiment(project, metric).plans
    effect = min(one.smallest for one in plans) / 2
    found = plan_experiment(project, metric, effect=effect)
    assert found.days is None
    last = plans[-1]
    assert found.planned == pytest.approx(last.users * (last.smallest / effect) ** 2, abs=1)
    said = tamis_cli("experiment", "plan", project, "--metric", metric, "--effect", effect)
    assert f"{found.planned:,} users of both arms find" in said.out
    assert "None of these durations finds" in said.out


def test_a_known_metric_by_hand(project):
    """A rate of 20 %, of which 5 % is to be found: the textbook's 2 · 16σ²/d² users, nearly."""
    metric = "returned(7) / observed(7)"
    found = plan_experiment(project, metric, effect=0.05, value=0.2, users_per_day=3000)
    needed = sample_size(0.01, 0.4)
    assert found.planned == needed
    assert found.planned == pytest.approx(2 * 16 * 0.16 / 0.01**2, rel=0.02)
    assert found.days == 28  # 17 days of users, and 7 days more until the last of them is observed
    users = [(one.days, one.users) for one in found.plans[:3]]
    assert users == [(14, 21_000), (21, 42_000), (28, 63_000)]  # up to 7 days nobody is observed
    assert found.plans[0].detectable == pytest.approx(0.05 * np.sqrt(needed / 21_000), rel=1e-4)
    powers = [power(0.01, 0.4, one.users // 2, one.users // 2) for one in found.plans[:3]]
    assert powers == pytest.approx([0.44, 0.73, 0.88], abs=0.01)
    without = plan_experiment(project, metric, effect=0.05, value=0.2)
    assert (without.plans, without.days, without.planned) == ([], None, found.planned)


def test_known_figures_of_the_log_plan_the_same(project):
    """With the value and the variance that the log has, the plan is that of the log."""
    clicks = np.arange(40) % 4
    log = plan_experiment(project, "click").plans[0]
    known = plan_experiment(
        project, "click", value=clicks.mean(), variance=clicks.var(ddof=1), users_per_day=40
    ).plans[0]
    assert (known.users, known.value) == (log.users, pytest.approx(log.value))
    assert known.detectable == pytest.approx(log.detectable)


@pytest.mark.parametrize("effect", [1e-6, 9.9])
@pytest.mark.parametrize("share", [1e-6, 1 - 1e-6])
@pytest.mark.parametrize(("alpha", "power"), [(1e-12, 1 - 1e-15), (0.05, np.nextafter(0.05, 1))])
@pytest.mark.parametrize("value", [1e-9, 1e12])
@pytest.mark.parametrize("variance", [1e-320, 1e30])
def test_numbers_at_their_bounds_give_a_plan_or_say_why(
    project, effect, share, alpha, power, value, variance
):
    given = {"share": share, "alpha": alpha, "power": power, "value": value, "variance": variance}
    refused = []
    for users in (None, 1e-300, 1e10):
        try:
            found = plan_experiment(project, "click", effect=effect, users_per_day=users, **given)
        except ConfigError as error:
            refused.append(str(error))
        else:
            assert 2 <= found.planned <= 10**15
            assert all(np.isfinite(one.detectable) for one in found.plans)
    assert all("users" in text for text in refused)


def test_answers_are_planned_by_known_figures(project):
    """Milliseconds of answers are not in the log; their figures may be known."""
    found = plan_experiment(project, "took_ms / answers", effect=0.1, value=20.0, variance=100.0)
    assert found.planned == sample_size(2.0, 10.0)


def test_the_command_prints_a_table_and_json(project, tamis_cli):
    said = tamis_cli("experiment", "plan", project, "--metric", "click", "--effect", "1.5")
    assert said.code == 0, said
    assert "1 day finds 150.0%" in said.out
    result = tamis_cli("experiment", "plan", project, "--metric", "click", "--json").json
    assert result["plans"][0]["users"] == 40
    known = ("--metric", "reach", "--value", 0.2, "--variance", 0.16, "--effect", 0.05)
    said = tamis_cli("experiment", "plan", project, *known)
    assert "50,233 users of both arms find 5.0%" in said.out
