"""The pages of channels, pre-rankers and rankers say what these say, every option explained."""

import importlib.util
from pathlib import Path

import pytest

from tamis.service import registry

DOCS = Path(__file__).parents[2] / "docs"
ROOMS = ("recall", "prerank", "rank")
STAGES = [(room, name) for room in ROOMS for name in registry.available(room)]


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_stages", DOCS / "write_stages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_is_what_the_stages_say(writer, room):
    written = (DOCS / writer.PAGES[room]).read_text("utf-8")
    assert written == writer.page(room), "run: .venv/bin/python docs/write_stages.py"


@pytest.mark.parametrize(("room", "name"), STAGES)
def test_every_option_is_explained_or_plain(writer, room, name):
    config = registry.available(room)[name].Config
    plain = {"batch_size", "learning_rate", "l2", "embedding_dim", "batch_norm", "seed"}
    plain |= {"activation", "dropout"}
    assert not set(config.model_fields) - set(writer.meanings(config)) - plain


@pytest.mark.parametrize(("room", "name"), STAGES)
def test_every_stage_says_when_what_it_costs_and_whose_it_is(writer, room, name):
    for word in ("When to use", "Cost", "Source"):
        stage = registry.available(room)[name]
        assert writer.told(stage, word), f"{name}: its docstring has no line `{word}: …`"
