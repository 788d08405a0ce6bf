"""docs/tamis-toml.md is generated from the config classes, and its examples load."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tamis.schema import parse_config

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_toml", DOCS / "write_toml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(writer: ModuleType) -> None:
    written = (DOCS / "tamis-toml.md").read_text("utf-8")
    assert written == writer.page(), "run: .venv/bin/python docs/write_toml.py"


def test_every_key_is_explained(writer: ModuleType) -> None:
    for title, model in writer.SECTIONS:
        explained = writer.documented(model)
        missing = [name for name in model.model_fields if name not in explained and name != "kind"]
        assert not missing, f"{title}: a docstring under {missing}"


@pytest.mark.parametrize("page", ["tamis-toml.md", "data.md"])
def test_the_examples_load(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    whole = [b for b in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if b.startswith("name")]
    assert whole
    for block in whole:
        parse_config(tomllib.loads(block))
