"""Every channel of the registry in one project: trained, recalled offline, asked, judged.

What a channel answers is tested beside it; here, that each is wired in from `tamis.toml` to the
reasons of an answer.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.service import registry

USERS, ITEMS, NEW = 60, 75, 9
"""The last NEW items are published at the log's end and have been liked by a few users only."""
START, DAYS = 1_600_000_000, 40
CITIES = ("Paris", "Tokyo", "Lima")
PLACES = ((48.8566, 2.3522), (35.6762, 139.6503), (-12.0464, -77.0428))
WORDS = ("drama", "comedy", "horror")
"""One city, one category a clan; users like the items of their clan."""

HEAD = """
name = "everything"
clock = "data"
[events]
path = "events.csv"
behaviour = "behaviour"
[items]
path = "items.csv"
id = "item_id"
category = "category"
author = "author"
published = "published"
latitude = "latitude"
longitude = "longitude"
city = "city"
[users]
path = "users.csv"
id = "user_id"
city = "city"
[behaviours.like]
positive = true
[behaviours.follow]
weight = 2
[behaviours.click]
weight = 0
[split]
windows = 2
[cascade.filters.seen]
behaviours = ["like"]
[cascade.rank]
use = "gbdt"
"""
QUICK = {"epochs": 2, "embedding_dim": 8}
OPTIONS = {
    "author": {"source": "followed"},
    "cached": {"keep": 30},
    "deep_retrieval": {**QUICK, "layers": 2, "nodes": 6, "beam": 20, "training_beam": 10},
    "demographic": {"columns": ["gender"], "min_users": 5},
    "fm": QUICK,
    "fresh": {"max_age": 60},
    "gru4rec": {**QUICK, "held_out": 0},
    "lookalike": {"most": 8, "embedding_dim": 8},
    "mf": QUICK,
    "offline": {"of": "itemcf"},
    "rules": {"rule": [{"name": "new", "max_age": 60, "sort": "published desc"}]},
    "sasrec": {**QUICK, "held_out": 0},
    "two_tower": QUICK,
}
"""Of channels that need options, or that train less with them."""


def write_tables(folder: Path) -> None:
    random = np.random.default_rng(11)
    row = np.arange(ITEMS)
    clan, new = row % 3, row >= ITEMS - NEW
    end = START + DAYS * 86_400
    pl.DataFrame(
        {
            "item_id": [f"m{i}" for i in row],
            "title": [f"Thing {i}" for i in row],
            "category": [WORDS[c] for c in clan],
            "author": [f"a{i % 15}" for i in row],
            "published": np.where(new, end - 86_400 * 3, START - 86_400 * row),
            "latitude": [PLACES[c][0] + i * 1e-4 for i, c in zip(row, clan, strict=True)],
            "longitude": [PLACES[c][1] - i * 1e-4 for i, c in zip(row, clan, strict=True)],
            "city": [CITIES[c] for c in clan],
        }
    ).write_csv(folder / "items.csv")
    user = np.arange(USERS)
    pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "gender": ["FM"[u % 2] for u in user],
            "city": [CITIES[u % 3] for u in user],
        }
    ).write_csv(folder / "users.csv")
    log: list[tuple[int, str, str, str]] = []
    for u in user:
        known = random.choice(row[~new & (clan == u % 3)], 14, replace=False)
        times = random.integers(START, end, len(known))
        kinds = ["like"] * 11 + ["follow"] * 2 + ["click"]
        for item, time, kind in zip(known, times, kinds, strict=True):
            log.append((int(time), f"u{u}", f"m{item}", kind))
        if u < 12:
            fresh = random.choice(row[new & (clan == u % 3)], 2, replace=False)
            late = end - random.integers(3600, 86_400, 2)
            log += [(int(t), f"u{u}", f"m{i}", "like") for i, t in zip(fresh, late, strict=True)]
    columns = ["time", "user_id", "item_id", "behaviour"]
    pl.DataFrame(sorted(log), schema=columns, orient="row").write_csv(folder / "events.csv")


def value(option: object) -> str:
    if isinstance(option, dict):
        return "{" + ", ".join(f"{key} = {value(v)}" for key, v in option.items()) + "}"
    if isinstance(option, list):
        return "[" + ", ".join(value(v) for v in option) + "]"
    return f'"{option}"' if isinstance(option, str) else str(option)


def declared() -> str:
    """A section for every channel that there is: one added tomorrow is here by itself."""
    lines = [HEAD]
    for name in registry.available("recall"):
        lines += [f"[cascade.channels.{name}]", "quota = 40"]
        lines += [f"{key} = {value(option)}" for key, option in OPTIONS.get(name, {}).items()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def everything(tamis_cli, tmp_path_factory):
    """A trained project with every channel; offline's lists are written."""
    folder = tmp_path_factory.mktemp("everything")
    write_tables(folder)
    (folder / "tamis.toml").write_text(declared(), "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    said = tamis_cli("recall", folder, "--json")
    assert said.code == 0, said
    assert list(said.json["channels"]) == ["offline"]
    return folder


def ask(tamis_cli, folder, *words):
    said = tamis_cli("recommend", folder, *words, "--explain", "--json")
    assert said.code == 0, said
    assert said.json["degraded"] == []
    return said.json


def channels_of(answer) -> set[str]:
    return {c["channel"] for place in answer["items"] for c in place["reasons"]["channels"]}


def test_every_channel_recalls_items_and_is_named_in_reasons(everything, tamis_cli):
    """First requests leave what was ranked and not shown behind for `cached`."""
    everyone = set(registry.available("recall"))
    here = ("--latitude", 48.86, "--longitude", 2.35, "--city", "Paris")
    first = ask(tamis_cli, everything, "--user-id", "u15", "--n", 5)
    assert "cached" not in channels_of(first)
    asked = [
        ask(tamis_cli, everything, "--user-id", "u15", "--n", 40),
        ask(tamis_cli, everything, "--user-id", "u3", "--n", 40, *here),
        ask(tamis_cli, everything, "--user-id", "u40", "--n", 40, "--interests", "comedy"),
    ]
    named = set().union(*(channels_of(answer) for answer in asked))
    assert named == everyone, f"nowhere in the reasons: {sorted(everyone - named)}"


def test_new_users_get_items_of_their_declared_interests(everything, tamis_cli):
    answer = ask(tamis_cli, everything, "--user-id", "nobody", "--n", 10, "--interests", "horror")
    assert "declared_interests" in channels_of(answer)
    near = ask(tamis_cli, everything, "--n", 10, "--latitude", -12.05, "--longitude", -77.04)
    assert "geohash" in channels_of(near)
    there = ask(tamis_cli, everything, "--n", 10, "--city", "Tokyo")
    assert "city" in channels_of(there)


def test_every_channel_is_evaluated_alone_and_in_the_merge(everything, tamis_cli):
    said = tamis_cli("evaluate", "channels", everything, "--json")
    assert said.code == 0, said
    judged = said.json["channels"]
    assert set(judged) == set(registry.available("recall"))
    for name, channel in judged.items():
        assert 0 <= channel["recall@50"] <= 1, name
        lost = channel["marginal"]
        assert lost["low"] <= lost["mean"] <= lost["high"], name
    assert said.json["merged"]["recall@50"] > 0.5
    silent = {name for name, channel in judged.items() if channel["recall@50"] == 0}
    # nobody likes an item a second time, has asked, or has declared interests
    assert silent == {"again", "cached", "declared_interests"}
    assert (everything / "channels.html").stat().st_size > 10_000
