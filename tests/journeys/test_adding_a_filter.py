"""docs/adding-a-filter.md: its file is written, checked, named in a config and used."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tamis.cascade import Candidates, FitContext
from tamis.cascade.query_batches import at_end
from tamis.schema import ConfigError, StageConfig
from tamis.service import registry
from tamis.testing import two_clans

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-filter.md"


def blocks(language):
    """(title, code) of the page's fenced blocks."""
    text = PAGE.read_text("utf-8")
    found = re.findall(rf'^```{language}(?: title="(.*?)")?\n(.*?)^```', text, re.DOTALL | re.M)
    assert found, f"{PAGE.name} has no {language} block"
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's files in it."""
    for title, code in blocks("python"):
        (tmp_path / title).write_text(code, "utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("too_expensive", "test_too_expensive"):
        sys.modules.pop(name, None)


@pytest.fixture
def project(folder):
    """The folder, importable as `tamis` makes a project's folder."""
    registry.look_in(folder)
    return folder


def declared():
    ((_, text),) = blocks("toml")
    return {k: StageConfig(**v) for k, v in tomllib.loads(text)["cascade"]["filters"].items()}


def test_the_pages_own_test_passes(project):
    importlib.import_module("test_too_expensive").test_too_expensive()


def test_the_config_builds_it_and_it_filters(project):
    """Item i costs i: items above 1.5 times the highest price of the history are removed."""
    ((name, config),) = declared().items()
    data = two_clans()
    rule = registry.build("filters", name, config).fit(data, FitContext())
    queries = at_end(data, np.array([0, 5], np.int32))
    first = int(queries.history.indptr[1])
    queries.history.item[:first], queries.history.item[first:] = 2, 4
    item = np.array([2, 3, 4, 9, 3, 6, 7, 9], np.int32)
    asked = Candidates(np.array([0, 4, 8], np.int64), item)
    stays = [True, True, False, False, True, True, False, False]
    assert rule.keep(queries, asked).tolist() == stays
    assert rule.reason == "too expensive"


def test_wrong_options_are_reported(project):
    ((name, config),) = declared().items()
    with pytest.raises(ConfigError, match=r"unknown option\. Did you mean `times`"):
        registry.build("filters", name, StageConfig(use=config.use, time=3))
    lost = registry.build("filters", name, StageConfig(use=config.use, column="cost"))
    with pytest.raises(ConfigError, match="items have no column 'cost'"):
        lost.fit(two_clans(), FitContext())


def test_a_project_trains_it_and_why_not_names_it(folder, ratings_tables, tamis_cli):
    """Film i costs i, the last one far more: it is removed, and why-not names the filter."""
    ratings_tables(folder, users=60, items=60, each=12)
    lines = (folder / "items.csv").read_text("utf-8").splitlines()
    priced = [lines[0] + ",price", *(f"{line},{i}" for i, line in enumerate(lines[1:], start=1))]
    priced[-1] = priced[-1].rsplit(",", 1)[0] + ",100000"
    (folder / "items.csv").write_text("\n".join(priced) + "\n", "utf-8")
    rated = [line.split(",") for line in (folder / "events.csv").read_text().splitlines()[1:]]
    user = next(f"u{u}" for u in range(60) if [f"u{u}", "m59"] not in [row[:2] for row in rated])
    ((_, text),) = blocks("toml")
    head = [
        'name = "films"\n[events]\npath = "events.csv"\ntime = "timestamp"\nvalue = "rating"',
        '[items]\npath = "items.csv"\nid = "item_id"\n[behaviours.like]\nmin_value = 4',
        "positive = true\n[behaviours.rate]\nweight = 0.0\n[split]\nwindows = 2",
        '[cascade.channels.hot]\n[cascade.rank]\nuse = "gbdt"\n[cascade.filters.seen]',
    ]
    (folder / "tamis.toml").write_text("\n".join([*head, text]), "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said
    said = tamis_cli("recommend", folder, "--user-id", user, "--n", 5, "--why-not", "m59", "--json")
    assert said.code == 0, said
    assert said.json["why_not"]["stage"] == "filtered"
    assert "too expensive" in said.json["why_not"]["detail"]
