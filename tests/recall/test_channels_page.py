"""docs/channels.md says what the channels say, every option explained."""

import importlib.util
from pathlib import Path

import pytest

from tamis.cascade import registry

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_channels", DOCS / "write_channels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_channels_say(writer):
    written = (DOCS / "channels.md").read_text("utf-8")
    assert written == writer.page(), "run: .venv/bin/python docs/write_channels.py"


@pytest.mark.parametrize(("name", "channel"), registry.available("recall").items())
def test_every_option_is_explained_or_plain(writer, name, channel):
    words = writer.meanings(channel.Config)
    plain = {"batch_size", "learning_rate", "l2"}
    assert not set(channel.Config.model_fields) - set(words) - plain


@pytest.mark.parametrize(("name", "channel"), registry.available("recall").items())
def test_every_channel_says_when_what_it_costs_and_whose_it_is(writer, name, channel):
    for word in ("When to use", "Cost", "Source"):
        assert writer.told(channel, word), f"{name}: its docstring has no line `{word}: …`"
