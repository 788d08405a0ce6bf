"""docs/adding-a-channel.md, followed: its file is written, checked, named in a config and asked."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tamis.cascade import FitContext, registry
from tamis.recall.interactions import at_end
from tamis.schema import ChannelConfig, ConfigError
from tamis.testing import two_clans

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-channel.md"


def blocks(language):
    """(title, code) of the page's fenced blocks."""
    text = PAGE.read_text("utf-8")
    found = re.findall(rf'^```{language}(?: title="(.*?)")?\n(.*?)^```', text, re.DOTALL | re.M)
    assert found, f"{PAGE.name} has no {language} block"
    return found


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the page's files in it, importable as `tamis` makes a project's folder."""
    for title, code in blocks("python"):
        if title:
            (tmp_path / title).write_text(code, "utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registry.look_in(tmp_path)
    yield tmp_path
    for name in ("same_category", "test_same_category"):
        sys.modules.pop(name, None)


def declared():
    ((_, text),) = blocks("toml")
    return {k: ChannelConfig(**v) for k, v in tomllib.loads(text)["cascade"]["channels"].items()}


def test_the_pages_own_test_passes(project):
    module = registry.find("recall", "test_same_category:test_same_category")
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


def test_wrong_options_are_told(project):
    ((name, config),) = declared().items()
    wrong = ChannelConfig(use=config.use, colum="category")
    with pytest.raises(ConfigError, match="unknown key; did you mean 'column'"):
        registry.build("recall", name, wrong)
    lost = registry.build("recall", name, ChannelConfig(use=config.use, column="genre"))
    with pytest.raises(ConfigError, match="items have no column 'genre'"):
        lost.fit(two_clans(), FitContext())


def test_the_ten_lines_without_a_project_run(capsys):
    ((code),) = [code for title, code in blocks("python") if not title]
    exec(compile(code, str(PAGE), "exec"), {})
    assert "rank" in capsys.readouterr().out
