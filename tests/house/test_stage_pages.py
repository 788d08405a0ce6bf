"""The pages of all stages are generated from the docstrings; every option is explained."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from tamis.service import registry

DOCS = Path(__file__).parents[2] / "docs"
STAGES = [(kind, name) for kind in registry.KINDS for name in registry.modules(kind)]


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_stages", DOCS / "write_stages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_page_is_up_to_date(writer, kind):
    written = (DOCS / writer.PAGES[kind]).read_text("utf-8")
    assert written == writer.page(kind), "run: .venv/bin/python docs/write_stages.py"


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_every_option_has_an_explanation(writer, kind, name):
    config = registry.available(kind)[name].Config
    plain = {"batch_size", "learning_rate", "l2", "embedding_dim", "batch_norm", "seed"}
    plain |= {"activation", "dropout"}
    assert not set(config.model_fields) - set(writer.meanings(config)) - plain


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_every_stage_documents_its_use_cost_and_source(writer, kind, name):
    for word in ("When to use", "Cost", "Source"):
        stage = registry.available(kind)[name]
        assert writer.line_of(stage, word), f"{name}: its docstring has no line `{word}: …`"


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_defaults_are_written_as_in_toml(writer, kind, name):
    config = registry.available(kind)[name].Config
    for option, field in config.model_fields.items():
        shown = writer.default(field)
        if field.is_required():
            assert shown == "required"
        elif (value := field.get_default(call_default_factory=True)) is None:
            assert shown == "–"
        else:
            read = tomllib.loads(f"x = {shown.strip('`')}")["x"]
            assert read == (list(value) if isinstance(value, tuple) else value), option
            assert type(read) is type(value) or isinstance(value, tuple), option
