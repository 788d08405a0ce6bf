"""Projects whose users come back to items: without `seen`, and with `seen` meaning bought."""

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.data import repeat_share
from tamis.service import ProjectFolder

USERS, ITEMS, DAYS = 90, 60, 60
START = 1_600_000_000
HEAD = """
name = "groceries"
clock = "data"
[events]
path = "events.csv"
behaviour = "behaviour"
[items]
path = "items.csv"
id = "item_id"
category = "category"
[behaviours.view]
weight = 1
[behaviours.buy]
positive = true
weight = 3
[split]
windows = 2
[cascade]
slate = 10
[cascade.channels.again]
quota = 40
[cascade.channels.hot]
quota = 40
fallback = true
[cascade.rank]
use = "gbdt"
trees = 40
"""
FILTERS = {
    "free": "",
    "bought": '[cascade.filters.seen]\nbehaviours = ["buy"]\n',
    "seen": "[cascade.filters.seen]\n",
}


def write_tables(folder: Path) -> None:
    """Every user buys five items every third to eighth day, each after a view of an hour ago, and
    in the second half of the log one item after another that he has viewed for days."""
    random = np.random.default_rng(4)
    log: list[tuple[int, str, str, str]] = []
    for u in range(USERS):
        own = random.permutation(ITEMS)
        for item in own[:5]:
            gap, day = random.uniform(3, 8), random.uniform(0, 8)
            while day < DAYS:
                at = START + int(day * 86_400)
                log += [(at - 3600, f"u{u}", f"i{item}", "view"), (at, f"u{u}", f"i{item}", "buy")]
                day += gap * random.lognormal(0, 0.2)
        for item, day in zip(own[5:11], np.linspace(DAYS / 2, DAYS - 0.5, 6), strict=True):
            for back in (9, 6, 4):
                log.append((START + int((day - back) * 86_400), f"u{u}", f"i{item}", "view"))
            log.append((START + int(day * 86_400), f"u{u}", f"i{item}", "buy"))
        if u % 3 == 0:  # something new
            log.append((START + int((DAYS - 0.6) * 86_400), f"u{u}", f"i{own[11]}", "buy"))
    columns = ["time", "user_id", "item_id", "behaviour"]
    pl.DataFrame(sorted(log), schema=columns, orient="row").write_csv(folder / "events.csv")
    pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(ITEMS)],
            "category": [f"c{i % 6}" for i in range(ITEMS)],
        }
    ).write_csv(folder / "items.csv")


def declare(folder: Path, filters: str) -> Path:
    (folder / "tamis.toml").write_text(HEAD + FILTERS[filters], "utf-8")
    return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groceries")
    write_tables(folder)
    return folder


@pytest.fixture(autouse=True)
def few_timed_requests(monkeypatch):
    """The latency, which is not looked at, is measured on a few requests."""
    monkeypatch.setattr("tamis.jobs._latency.REQUESTS", 5)


def evaluated(tamis_cli, folder):
    said = tamis_cli("train", folder, "--only", "evaluation", "--json")
    assert said.code == 0, said
    said = tamis_cli("evaluate", folder, "--json")
    assert said.code == 0, said
    return said.json


def test_without_a_filter_known_items_are_targets_and_are_found(tables, tamis_cli):
    folder = declare(tables, "free")
    assert repeat_share(ProjectFolder(folder).data) > 0.8
    result = evaluated(tamis_cli, folder)
    protocol = result["protocol"]
    assert protocol["seen_masked"] is False
    assert protocol["masked"] == "nothing"
    assert protocol["masked_targets"] == 0
    assert protocol["known_targets"] > 0.6
    again, hot = (result["channels"][name]["ndcg@10"] for name in ("again", "hot"))
    assert again > hot + 0.3
    assert result["cascade"]["ndcg@10"] > hot + 0.3, "the ranker has learnt of repeats"
    assert result["notes"] == []
    channels = tamis_cli("evaluate", "channels", folder, "--json").json
    assert channels["protocol"]["seen_masked"] is False
    assert channels["protocol"]["known_targets"] > 0.6
    assert channels["channels"]["again"]["ndcg@10"] > channels["channels"]["hot"]["ndcg@10"] + 0.3


def test_seen_may_mean_bought(tables, tamis_cli):
    folder = declare(tables, "bought")
    result = evaluated(tamis_cli, folder)
    protocol = result["protocol"]
    assert protocol["seen_masked"] is False
    assert protocol["masked"] == "what the filter seen removes"
    assert protocol["masked_targets"] > 0.6
    # what was viewed and not bought yet stays a target, and is found
    assert 0.5 < protocol["known_targets"] < 0.95
    assert result["channels"]["again"]["hit@10"] > 0.6
    assert "removed by filters of known items" in result["notes"][0]
    channels = tamis_cli("evaluate", "channels", folder, "--json").json
    assert channels["protocol"]["masked"] == "what the filter seen removes"
    assert channels["channels"]["again"]["hit@10"] > 0.6
    everything = tamis_cli("evaluate", "channels", folder, "--mask-seen", "--json").json
    assert everything["protocol"]["seen_masked"] is True
    assert everything["channels"]["again"]["recall@50"] == 0


def test_doctor_questions_a_filter_of_what_users_come_back_to(tables, tamis_cli):
    said = tamis_cli("doctor", declare(tables, "seen"), "--json")
    texts = [f["what"] for f in said.json["findings"]]
    assert any("on items that the user knew before: the filter `seen`" in t for t in texts), texts
    said = tamis_cli("doctor", declare(tables, "bought"), "--json")
    assert not any("knew before" in f["what"] for f in said.json["findings"])


def test_undeclared_behaviours_of_seen_are_refused(tables, tamis_cli):
    folder = declare(tables, "bought")
    config = (folder / "tamis.toml").read_text("utf-8")
    assert tomllib.loads(config)["cascade"]["filters"]["seen"] == {"behaviours": ["buy"]}
    (folder / "tamis.toml").write_text(config.replace('["buy"]', '["bye"]'), "utf-8")
    said = tamis_cli("train", folder, "--only", "evaluation")
    assert said.code != 0
    assert "'bye' is not declared (declared: view, buy)" in " ".join(said.err.split())
