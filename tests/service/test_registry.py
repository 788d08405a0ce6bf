"""Stages are found by name, and wrong names are answered with the right one."""

import sys

import pytest

from tamis.recall import Hot, ItemCF
from tamis.schema import ChannelConfig, ConfigError, MissingExtraError, StageConfig
from tamis.service import registry


def test_by_short_name_and_by_path():
    assert registry.find("recall", "itemcf") is ItemCF
    assert registry.find("recall", "tamis.recall.hot:Hot") is Hot
    assert registry.available("recall")["hot"] is Hot
    assert "base" not in registry.available("recall")


def test_build_names_the_channel_and_types_its_options():
    config = ChannelConfig.model_validate({"use": "itemcf", "quota": 7, "neighbours": 20})
    channel = registry.build("recall", "itemcf_short", config)
    assert channel.name == "itemcf_short"
    assert channel.config.neighbours == 20
    assert registry.build("recall", "hot").config == Hot.Config()
    stage, settings = registry.resolve("recall", "itemcf_short", config)
    assert (stage, settings) == (ItemCF, ItemCF.Config(neighbours=20))


def test_a_wrong_name_suggests_the_nearest_one():
    with pytest.raises(ConfigError, match=r"\[cascade.channels.x\] use = 'itemfc'.*mean `itemcf`"):
        registry.build("recall", "x", StageConfig(use="itemfc"))
    with pytest.raises(ConfigError, match=r"In tamis.recall: .*hot, itemcf"):
        registry.find("recall", "zzz")
    with pytest.raises(ConfigError, match="no such stage"):
        registry.find("recall", "base")
    with pytest.raises(ConfigError, match="no stages of kind 'kitchen'"):
        registry.find("kitchen", "hot")


def test_an_error_of_an_option_names_key_value_and_how_to_fix_it():
    typo = StageConfig.model_validate({"use": "itemcf", "neighbors": 20})
    with pytest.raises(ConfigError) as error:
        registry.build("recall", "cf", typo)
    assert str(error.value) == (
        "tamis.toml: [cascade.channels.cf] neighbors = 20: unknown option. Did you mean "
        f"`neighbours`? Options: {', '.join(sorted([*ItemCF.Config.model_fields, 'use']))}"
    )
    wrong = StageConfig.model_validate({"use": "itemcf", "neighbours": 0})
    with pytest.raises(ConfigError, match=r"neighbours = 0: Input should be greater than"):
        registry.build("recall", "cf", wrong)


def test_an_error_of_a_path_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_stages.py").write_text(
        "from tamis.recall import BaseChannel\n"
        "from tamis.schema import ComponentConfig\n"
        "class Mine(BaseChannel):\n"
        "    name = 'mine'\n"
        "    Config = ComponentConfig\n"
        "    def _fit(self, data, context): return {}\n"
        "    def _recall(self, queries, k): raise NotImplementedError\n"
        "number = 3\n"
    )
    (tmp_path / "my_broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(ConfigError, match="no module 'my_stage'; put its file beside"):
        registry.find("recall", "my_stage:Mine")
    with pytest.raises(ConfigError, match=r"has no class 'Mein'\. Did you mean `Mine`"):
        registry.find("recall", "my_stages:Mein")
    with pytest.raises(ConfigError, match=r"not a stage: derive it from tamis\.Component"):
        registry.build("recall", "x", StageConfig(use="my_stages:number"))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        registry.find("recall", "my_broken:Mine")
    assert registry.build("recall", "x", StageConfig(use="my_stages:Mine")).name == "x"


def test_a_stage_without_its_optional_package(tmp_path, monkeypatch):
    (tmp_path / "heavy.py").write_text("import a_heavy_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = {**registry.modules("rank"), "heavy": "heavy"}
    monkeypatch.setattr(registry, "modules", lambda kind: known)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert "heavy" not in registry.available("rank")
    assert "deepfm" in registry.available("rank")
    with pytest.raises(MissingExtraError, match=r"'heavy' needs the package 'a_heavy_package'"):
        registry.find("rank", "heavy")
