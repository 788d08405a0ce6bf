"""The report of an experiment from a journal on a file and on Redis: words, JSON and HTML, and the
cases in which it must not name a winner."""

import json
import re

import numpy as np
import polars as pl
import pytest

from tamis.experiments import ArmMoments, Metric, arm_of, effect
from tamis.jobs import report_experiment
from tamis.journal import (
    Event,
    ExperimentStep,
    Recommendation,
    Recommended,
    UserPut,
    open_journal,
    stretches,
    write_stretch,
)
from tamis.schema import ConfigError, StoreError, load_config
from tamis.testing import redis_server

DAY = 86_400_000
T0 = 1_700_000_000_000
DAYS = 8
USERS = 240
TOML = """
name = "lab"
[events]
path = "events.csv"
behaviour = "kind"
value = "seconds"
[items]
path = "items.csv"
id = "item_id"
category = "genre"
category_separator = "|"
[users]
path = "users.csv"
id = "user_id"
[behaviours.show]
impression = true
[behaviours.click]
positive = true
[metrics.ctr]
value = "click / show"
[metrics.latency]
value = "took_ms / answers"
lower_is_better = true
[metrics.week]
value = "returned(6) / observed(6)"
[cascade.channels.hot]
[cascade.rank]
use = "lr"
[experiments.fusion]
control = "old"
goal = "ctr"
secondary = ["click", "week", "distinct(genre)", "active_days"]
guardrails = ["latency"]
before_days = 3
[experiments.fusion.arms.old]
[experiments.fusion.arms.new]
"""


def a_project(
    folder, *, lift=1.6, slow=0.0, twice=0, lost=0.0, bias=1, store="", close=True, planned=None
):
    """A project whose experiment ran for eight days.

    lift: click rate of the arm new ÷ that of old. slow: milliseconds that new takes longer. twice:
    users who see both arms. lost: share of the users of new whose answers are missing. bias: clicks
    of the users of new in the days before ÷ those of old.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tamis.toml").write_text(TOML, "utf-8")
    random = np.random.default_rng(0)
    pl.DataFrame(
        {"item_id": [f"i{k}" for k in range(9)], "genre": ["a|b", "b", "c"] * 3}
    ).write_csv(folder / "items.csv")
    cities = [f"city {k % 2}" for k in range(USERS)]
    pl.DataFrame({"user_id": [f"u{k}" for k in range(USERS)], "city": cities}).write_csv(
        folder / "users.csv"
    )
    logged, answers, events = [], [], []
    for k in range(USERS):
        user = f"u{k}"
        arm = arm_of(user, "fusion", {"old": 1.0, "new": 1.0})
        treated, rate = arm == "new", random.beta(2, 6)
        for day in range(-3, 0):
            rows = [("show", T0 + day * DAY + k * 1_000 + j) for j in range(4)]
            clicks = random.binomial(4, rate) * (bias if treated else 1)
            rows += [("click", T0 + day * DAY + k * 1_000 + 100 + j) for j in range(clicks)]
            logged += [(user, f"i{j % 9}", time, kind, 1.0) for j, (kind, time) in enumerate(rows)]
        if treated and random.random() < lost:
            continue
        for day in range(DAYS):
            time, number = T0 + day * DAY + k * 1_000, f"{k}-{day}"
            shown = random.integers(0, 9, 4).tolist()
            seen = "old" if treated and k < twice and day % 2 else arm
            answers.append(
                Recommendation(
                    recommendation_id=f"r{number}",
                    time=time,
                    user_id=user,
                    version="v1",
                    slate=[Recommended(f"i{i}", j + 1) for j, i in enumerate(shown)],
                    arms={"fusion": seen},
                    took_ms=10.0 + slow * treated + random.uniform(0, 4),
                )
            )
            p = min(rate * (lift if treated else 1.0), 1.0)
            for j, item in enumerate(shown):
                kinds = ["show", *(["click"] if random.random() < p else [])]
                events += [
                    Event(
                        event_id=f"e{number}-{j}-{kind}",
                        user_id=user,
                        item_id=f"i{item}",
                        behaviour=kind,
                        time=time + 10 * j + (kind == "click"),
                        arrival=time + 500,
                        recommendation_id=f"r{number}",
                    )
                    for kind in kinds
                ]
    names = ["user_id", "item_id", "time", "kind", "seconds"]
    pl.DataFrame(logged, schema=names, orient="row").write_csv(folder / "events.csv")
    config = load_config(folder)
    journal = open_journal(folder, "lab", store)
    journal.answers.append(sorted(answers, key=lambda a: a.time))
    journal.append([UserPut(user_id="u1", columns={"city": "city 0"})])
    journal.append(sorted(events, key=lambda e: (e.arrival, e.event_id)))
    design = config.experiments["fusion"].model_dump(mode="json") | {"planned": planned}
    steps = [a_step("start", T0, traffic=1.0, design=design, note="first try")]
    steps += [a_step("close", T0 + DAYS * DAY)] if close else []
    for number, step in enumerate(steps):
        assert journal.experiments.append(step, number)
    journal.close()
    return folder


def a_step(step, time, **fields):
    return ExperimentStep(experiment="fusion", step=step, time=time, by="ann", **fields)


def by_hand(folder):
    """The arms' clicks and impressions per user since the start, and of the three days before."""
    journal = open_journal(folder, "lab")
    found = {}
    for _, answer in journal.answers.read(0, 100_000):
        found.setdefault(answer.user_id, [answer.arms["fusion"], 0, 0, 0, 0])
    for _, entry in journal.read(0, 1_000_000):
        if isinstance(entry, Event):
            found[entry.user_id][1 if entry.behaviour == "click" else 2] += 1
    journal.close()
    for user, kind in pl.read_csv(folder / "events.csv").select("user_id", "kind").iter_rows():
        if user in found:
            found[user][3 if kind == "click" else 4] += 1
    names = ("click", "show", "click before", "show before")
    return {
        arm: ArmMoments.of(names, np.array([row[1:] for row in found.values() if row[0] == arm]))
        for arm in ("old", "new")
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return a_project(tmp_path_factory.mktemp("lab") / "lab")


def test_a_better_arm_is_shipped_with_the_figures_of_the_log(lab):
    found = report_experiment(lab, "fusion")
    assert (found.result.state, found.result.winner) == ("ship", "new")
    assert (found.phase, found.stage, found.several) == ("test", "closed", 0)
    arms = by_hand(lab)
    cuped = Metric("click", "show", "click before", "show before")
    wanted = effect(arms["old"], arms["new"], cuped)
    goal = found.result.findings[0]
    assert goal.effect.difference == pytest.approx(wanted.difference, rel=1e-9)
    assert goal.effect.p == pytest.approx(wanted.p, rel=1e-6)
    assert goal.effect.variance_kept < 0.95
    plain = effect(arms["old"], arms["new"], Metric("click", "show"))
    assert goal.without_before.difference == pytest.approx(plain.difference, rel=1e-9)
    raw = {(one.measure, one.arm): one for one in found.raw}
    for name, arm in arms.items():
        assert raw["ctr", name].above == pytest.approx(arm.mean[0] * arm.n)
        assert raw["ctr", name].below == pytest.approx(arm.mean[1] * arm.n)
        assert raw["click", name].below == arm.n
        assert raw["week", name].value == pytest.approx(1.0)
        assert raw["active_days", name].value == pytest.approx(DAYS)
        assert 10 < raw["latency", name].value < 15


def test_time_and_segments(lab):
    found = report_experiment(lab, "fusion", segment="city")
    ctr = [one for one in found.over_time if one.measure == "ctr"]
    assert [round(one.day) for one in ctr] == list(range(1, DAYS + 1))
    widths = [one.effect.high - one.effect.low for one in ctr]
    assert widths[0] > 1.5 * widths[-1]
    assert ctr[-1].effect.p == pytest.approx(found.result.findings[0].effect.p)
    own = [one for one in found.segments if one.measure == "ctr"]
    assert sorted(one.segment for one in own) == ["city 0", "city 1"]
    units = {one.segment: one.units for one in own}
    assert sum(units.values()) == sum(found.result.users.values())
    assert units["city 0"] - units["city 1"] == 2, "the journal moved one user"
    assert all(one.adjusted_p >= one.effect.p for one in own)
    with pytest.raises(ConfigError, match=r"segment = 'town'.*city"):
        report_experiment(lab, "fusion", segment="town")


def test_on_redis_the_report_is_the_same(lab, tmp_path):
    with redis_server() as address:
        folder = a_project(tmp_path / "lab", store=address)
        found = json.dumps(report_experiment(folder, "fusion", address).to_dict())
    assert found == json.dumps(report_experiment(lab, "fusion").to_dict())


def test_entries_that_left_the_journal_are_read_from_their_files(lab, tmp_path):
    folder = a_project(tmp_path / "lab")
    journal = open_journal(folder, "lab")
    config, cut = load_config(folder).events, journal.head // 2
    write_stretch(folder, journal.read(0, cut), 1, cut, config)
    journal.trim(cut)
    journal.close()
    assert len(stretches(folder)) == 1
    found = report_experiment(folder, "fusion", segment="city").to_dict()
    wanted = report_experiment(lab, "fusion", segment="city").to_dict()
    assert json.dumps(found) == json.dumps(wanted)
    assert found["segments"], "the user that the journal moved is in the file"


def test_events_that_the_log_and_the_journal_have_count_once(lab, tmp_path):
    folder = a_project(tmp_path / "lab")
    journal = open_journal(folder, "lab")
    rows = [
        (e.user_id, e.item_id, e.time, e.behaviour, 1.0)
        for _, e in journal.read(0, 1_000_000)
        if isinstance(e, Event)
    ]
    journal.close()
    logged = pl.read_csv(folder / "events.csv")
    again = pl.DataFrame(rows[: len(rows) // 2], schema=logged.schema, orient="row")
    pl.concat([logged, again]).write_csv(folder / "events.csv")
    found = {(one.measure, one.arm): one for one in report_experiment(folder, "fusion").raw}
    for one in report_experiment(lab, "fusion").raw:
        assert found[one.measure, one.arm].above == pytest.approx(one.above)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ({"lost": 0.5}, "sample ratio"),
        ({"twice": 30}, "several arms"),
        ({"bias": 3}, "before exposure"),
    ],
)
def test_an_unsound_experiment_has_no_winner(broken, check, tmp_path, tamis_cli):
    folder = a_project(tmp_path / "lab", **broken)
    said = tamis_cli("experiment", "report", folder, "fusion", "--html", folder / "page.html")
    assert said.code == 0, said
    assert said.out.startswith(f"not healthy  No effect can be read: {check}")
    assert "Effects" not in said.out, "a difference between such arms is no effect"
    page = (folder / "page.html").read_text("utf-8")
    assert "<h2>Effects" not in page
    assert "Raw counts" in page
    found = report_experiment(folder, "fusion")
    assert found.result.winner is None
    unsound = [one.name for one in found.result.checks if not one.sound]
    assert check in unsound
    assert (found.several > 0) == (check == "several arms")


def test_a_guardrail_stops_a_better_arm(tmp_path):
    found = report_experiment(a_project(tmp_path / "lab", slow=5.0), "fusion")
    assert (found.result.state, found.result.winner) == ("roll back", None)
    assert "guardrail got worse: latency +" in found.result.text


def test_a_running_experiment_waits(tmp_path):
    folder = a_project(tmp_path / "lab", close=False)
    early = report_experiment(folder, "fusion", now=T0 + 3 * DAY)
    assert (early.result.state, early.result.winner) == ("running", None)
    assert "3.0 of at least 7 days" in early.result.text
    later = report_experiment(folder, "fusion", now=T0 + 9 * DAY)
    assert (later.result.state, later.result.winner) == ("running", None)
    assert "No number of users was planned" in later.result.text
    clicks = [next(o.above for o in r.raw if o.measure == "click") for r in (early, later)]
    assert clicks[0] < clicks[1]


def test_the_rollout_is_compared_with_the_reverse_bucket(tmp_path):
    folder = a_project(tmp_path / "lab", close=False)
    journal = open_journal(folder, "lab")
    journal.experiments.append(a_step("full", T0 + 4 * DAY, arm="new", reverse=0.5), 1)
    journal.experiments.append(a_step("close", T0 + DAYS * DAY), 2)
    journal.close()
    found = report_experiment(folder, "fusion")
    assert (found.phase, found.since) == ("rollout", T0 + 4 * DAY)
    assert found.arms == {"old": 0.5, "new": 0.5}
    test = report_experiment(folder, "fusion", phase="test")
    assert (test.since, test.until) == (T0, T0 + 4 * DAY)
    whole = sum(one.above for one in [*found.raw, *test.raw] if one.measure == "click")
    one = report_experiment(a_project(tmp_path / "whole"), "fusion")
    assert whole == pytest.approx(sum(o.above for o in one.raw if o.measure == "click"))


def test_a_rollout_before_the_planned_size(tmp_path, tamis_cli):
    """The command warns and goes on; the test is read as it was then."""
    folder = a_project(tmp_path / "lab", close=False, planned=40_000)
    said = tamis_cli("experiment", "full", folder, "fusion", "--arm", "new", "--by", "ann")
    assert said.code == 0, said
    assert "of 40,000 planned users: its result is not known yet" in " ".join(said.err.split())
    found = report_experiment(folder, "fusion", phase="test")
    assert found.result.state == "running", found.result.text
    assert "of 40,000 users so far when an arm was given to everybody" in found.result.text
    assert found.result.days_left is None


def test_the_report_in_words_json_and_html(lab, tmp_path, tamis_cli):
    page = tmp_path / "page.html"
    said = tamis_cli("experiment", "report", lab, "fusion", "--segment", "city", "--html", page)
    assert said.code == 0, said
    assert said.out.startswith("ship  Arm 'new': ctr +")
    for words in ("Health", "sample ratio", "Effects", "With and without CUPED", "By city", "Raw"):
        assert words in said.out, words
    found = tamis_cli("experiment", "report", lab, "fusion", "--json").json
    assert found["result"]["state"] == "ship"
    assert [step["step"] for step in found["steps"]] == ["start", "close"]
    json.dumps(found, allow_nan=False)
    html = page.read_text("utf-8")
    places = [html.index(f"<h2>{t}") for t in ("Health", "Effects<", "Effects over", "Segm", "Raw")]
    assert places == sorted(places)
    assert html.index("Ship. Arm") < places[0]
    assert html.count("<svg") == 3
    assert not re.search(r"<script|<link|src=|https?://(?!www\.w3\.org)", html)
    assert "ann" in html
    assert "first try" in html


def test_what_cannot_be_reported_is_refused(lab, tmp_path, tamis_cli):
    said = tamis_cli("experiment", "report", lab, "fusio")
    assert said.code == 1
    assert "was not started" in said.err
    assert "Did you mean `fusion`" in said.err
    with pytest.raises(ConfigError, match="no reverse bucket"):
        report_experiment(lab, "fusion", phase="rollout")
    (tmp_path / "tamis.toml").write_text(TOML, "utf-8")
    with pytest.raises(StoreError, match="no journal yet"):
        report_experiment(tmp_path, "fusion")
    folder = a_project(tmp_path / "other")
    text = TOML.replace("distinct(genre)", "distinct(gender)")
    (folder / "tamis.toml").write_text(text, "utf-8")
    journal = open_journal(folder, "lab")
    design = load_config(folder).experiments["fusion"].model_dump(mode="json")
    step = ExperimentStep(
        experiment="fusion2", step="start", time=T0, by="x", traffic=0.1, design=design
    )
    journal.experiments.append(step, 2)
    journal.close()
    with pytest.raises(ConfigError, match=r"distinct\(gender\).*Did you mean `genre`"):
        report_experiment(folder, "fusion2")


def interleaved(folder, rates, planned=None, store=""):
    """A closed experiment of interleaved slates; rates: of clicks on items of old and new."""
    folder.mkdir()
    text = TOML.replace('goal = "ctr"', 'goal = "ctr"\ninterleaving = true')
    text = text.replace("before_days = 3", f"planned = {planned}" if planned else "")
    (folder / "tamis.toml").write_text(text, "utf-8")
    random = np.random.default_rng(1)
    answers, events, credits = [], [], {"old": 0, "new": 0}
    for k in range(60):
        for day in range(DAYS):
            teams = random.permutation(["old", "new", "old", "new"]).tolist()
            forced = day == 3 and k < 5  # a tester
            answers.append(
                Recommendation(
                    recommendation_id=f"r{k}-{day}",
                    time=T0 + day * DAY + k,
                    user_id=f"u{k}",
                    version="v1",
                    slate=[Recommended(f"i{j}", j + 1) for j in range(4)],
                    arms={"fusion": "new" if forced else "interleaved"},
                    teams=[] if forced else teams,
                )
            )
            for j, team in enumerate(teams):
                if random.random() < rates[team == "new"]:
                    credits[team] += not forced
                    events.append((k, day, j, "click"))
                events.append((k, day, j, "show"))
    journal = open_journal(folder, "lab", store)
    journal.answers.append(answers)
    journal.append(
        [
            Event(
                event_id=f"e{k}-{day}-{j}-{kind}",
                user_id=f"u{k}",
                item_id=f"i{j}",
                behaviour=kind,
                time=T0 + day * DAY + 100,
                arrival=T0 + day * DAY + 200,
                recommendation_id=f"r{k}-{day}",
            )
            for k, day, j, kind in events
        ]
    )
    design = load_config(folder).experiments["fusion"].model_dump(mode="json")
    journal.experiments.append(a_step("start", T0, traffic=1.0, design=design), 0)
    journal.experiments.append(a_step("close", T0 + DAYS * DAY), 1)
    journal.close()
    return folder, credits


def test_interleaved_slates_say_which_arm_is_preferred(tmp_path, tamis_cli):
    folder, credits = interleaved(tmp_path / "lab", (0.2, 0.4))
    found = report_experiment(folder, "fusion")
    assert (found.result.state, found.result.winner) == ("preferred", "new")
    assert {one.arm: one.above for one in found.raw} == credits
    assert found.preference.share == pytest.approx(credits["new"] / sum(credits.values()))
    said = tamis_cli("experiment", "report", folder, "fusion", "--html", folder / "page.html")
    assert said.out.startswith("preferred  Arm 'new'."), said
    assert "Confirm it by an A/B test" in (folder / "page.html").read_text("utf-8")
    same, _ = interleaved(tmp_path / "same", (0.3, 0.3))
    assert report_experiment(same, "fusion").result.state == "no difference found"
    few, _ = interleaved(tmp_path / "few", (0.2, 0.4), planned=500)
    early = report_experiment(few, "fusion").result
    assert (early.state, early.winner) == ("not healthy", None)
    assert "60 of 500 planned users" in early.text
