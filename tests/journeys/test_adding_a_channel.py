"""docs/adding-a-channel.md, followed: its file is written, checked, named in a config and asked."""

import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.cli.app import app
from tamis.schema import ChannelConfig, ConfigError
from tamis.service import registry
from tamis.testing import two_clans

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-channel.md"


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
        if title:
            (tmp_path / title).write_text(code, "utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("same_category", "test_same_category"):
        sys.modules.pop(name, None)


@pytest.fixture
def project(folder):
    """The folder, importable as `tamis` makes a project's folder."""
    registry.look_in(folder)
    return folder


def run(*words):
    """What a command prints with --json."""
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def write_tables(folder, users=120, items=60):
    """Two clans: users like the items of their parity, whose category is their clan's."""
    rng = np.random.default_rng(5)
    lines = [f"i{i},Item {i},{('sweet', 'sour')[i % 2]}" for i in range(items)]
    (folder / "items.csv").write_text("item_id,title,category\n" + "\n".join(lines), "utf-8")
    log = sorted(
        (int(rng.integers(1_700_000_000, 1_702_000_000)), f"u{u}", f"i{item}")
        for u in range(users)
        for item in rng.choice(np.arange(u % 2, items, 2), 12, replace=False)
    )
    lines = [f"{user},{item},{time}" for time, user, item in log]
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines), "utf-8")


def declared():
    ((_, text),) = blocks("toml")
    return {k: ChannelConfig(**v) for k, v in tomllib.loads(text)["cascade"]["channels"].items()}


def test_the_pages_own_test_passes(project):
    module = importlib.import_module("test_same_category").test_same_category
    module()


def test_the_config_builds_it_and_it_answers(project):
    ((name, config),) = declared().items()
    channel = registry.build("recall", name, config)
    data = two_clans()
    channel.fit(data, FitContext())
    found = channel.recall(at_end(data, np.array([0, 1], np.int32), exclude_seen=False), 3)
    likes = np.bincount(data.events.item[data.positive])
    for user in (0, 1):
        clan = np.arange(user, len(likes), 2)
        best = clan[np.argsort(-likes[clan], kind="stable")][:3]
        assert found.item[user].tolist() == best.tolist()
        assert found.score[user].tolist() == likes[best].tolist()


def test_wrong_options_are_reported(project):
    ((name, config),) = declared().items()
    wrong = ChannelConfig(use=config.use, colum="category")
    with pytest.raises(ConfigError, match=r"unknown option\. Did you mean `column`"):
        registry.build("recall", name, wrong)
    lost = registry.build("recall", name, ChannelConfig(use=config.use, column="genre"))
    with pytest.raises(ConfigError, match="items have no column 'genre'"):
        lost.fit(two_clans(), FitContext())


def test_the_ten_lines_without_a_project_run(capsys):
    ((code),) = [code for title, code in blocks("python") if not title]
    exec(compile(code, str(PAGE), "exec"), {})
    assert "rank" in capsys.readouterr().out


def test_a_project_trains_it_and_its_reasons_name_it(folder):
    write_tables(folder)
    run("init", folder)
    ((_, text),) = blocks("toml")
    with (folder / "tamis.toml").open("a", encoding="utf-8") as declaration:
        declaration.write("\n" + text)
    run("train", folder, "--only", "serving")
    answer = run("recommend", folder, "--user-id", "u1", "--n", 10, "--explain")
    found = [c for place in answer["items"] for c in place["reasons"]["channels"]]
    assert "same_category" in {channel["channel"] for channel in found}
    assert all(channel["rank"] >= 1 for channel in found)
