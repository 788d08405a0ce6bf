"""The files of the pages on rankers, re-rank rules and own models are written, checked and used."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tamis.cascade import Candidates
from tamis.schema import ConfigError, NotFittedError, StageConfig
from tamis.service import registry
from tamis.testing import queries_of, two_clans

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("adding-a-ranker.md", "adding-a-rerank-rule.md", "own-model.md")
MODULES = ("fwfm", "test_fwfm", "new_items", "test_new_items", "autoint", "test_autoint")


def blocks(page, language):
    """(title, code) of a page's fenced blocks."""
    text = (DOCS / page).read_text("utf-8")
    found = re.findall(rf'^```{language}(?: title="(.*?)")?\n(.*?)^```', text, re.DOTALL | re.M)
    assert found, f"{page} has no {language} block"
    return found


def declared(page):
    """The page's [cascade] table."""
    ((_, text),) = blocks(page, "toml")
    return tomllib.loads(text)["cascade"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the pages, importable as `tamis` makes a project's folder."""
    for page in PAGES:
        for title, code in blocks(page, "python"):
            if title:
                (tmp_path / title).write_text(code, "utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registry.look_in(tmp_path)
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["test_fwfm", "test_new_items", "test_autoint"])
def test_the_pages_own_tests_pass(folder, name):
    getattr(importlib.import_module(name), name)()


def test_every_fourth_place_goes_to_a_new_item(folder):
    """Item i was published i + 1 days before the log, which lasts for 17.25 days."""
    config = StageConfig(**declared(PAGES[1])["rerank"]["new_items"])
    data = two_clans()
    with pytest.raises(NotFittedError, match=r"'new_items' is used before fit\(data\)"):
        registry.build("rerank", "new_items", config).arrange(queries_of(data), None, 5)
    rule = registry.build("rerank", "new_items", config).fit(data)
    assert rule.new.tolist() == [True] * 12 + [False] * 4
    item = np.array([3, 12, 13, 14, 15, 1, 0], np.int32)
    given = Candidates(np.array([0, 7]), item, {"value": np.linspace(1, 0, 7, dtype=np.float32)})
    order, note = rule.arrange(queries_of(data), given, 5)
    assert item[order].tolist() == [3, 12, 13, 1, 14, 15, 0]
    assert note.tolist() == [1, 0, 0, 0, 0, 1, 1]


def test_wrong_options_are_reported(folder):
    rank = declared(PAGES[0])["rank"]
    with pytest.raises(ConfigError, match=r"unknown option\. Did you mean `embedding_dim`"):
        registry.build("rank", "rank", StageConfig(use=rank["use"], embeding_dim=3))
    lost = registry.build("rerank", "x", StageConfig(use="new_items:NewItems", column="date"))
    with pytest.raises(ConfigError, match="items have no column 'date'"):
        lost.fit(two_clans())


def test_a_project_trains_both_and_the_reasons_name_the_rule(folder, ratings_tables, tamis_cli):
    """The last 30 films are new: the fourth and the eighth place of a slate are theirs."""
    ratings_tables(folder, users=60, items=60, each=12)
    lines = (folder / "items.csv").read_text("utf-8").splitlines()
    end = 1_600_000_000_000 + 100 * 86_400_000
    published = [end - (0 if i >= 30 else 400) * 86_400_000 for i in range(60)]
    rows = [f"{line},{ms}" for line, ms in zip(lines[1:], published, strict=True)]
    (folder / "items.csv").write_text("\n".join([f"{lines[0]},published", *rows]) + "\n", "utf-8")
    stages = [text for page in PAGES[:2] for _, text in blocks(page, "toml")]
    head = [
        'name = "films"\n[events]\npath = "events.csv"\ntime = "timestamp"\nvalue = "rating"',
        '[items]\npath = "items.csv"\nid = "item_id"\n[behaviours.like]\nmin_value = 4',
        "positive = true\n[behaviours.rate]\nweight = 0.0\n[split]\nwindows = 2",
        "[cascade.channels.hot]",
    ]
    (folder / "tamis.toml").write_text("\n".join([*head, *stages]), "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    said = tamis_cli("recommend", folder, "--user-id", "u1", "--n", 8, "--explain", "--json")
    assert said.code == 0, said
    notes = [place["reasons"]["rerank"]["new_items"] for place in said.json["items"]]
    assert [notes[3], notes[7]] == [1, 1]
    assert not said.json["degraded"]
