"""The packaged options of the stages are those of the stages, and check as they do."""

import json
from importlib.resources import files

import pytest
from pydantic import ValidationError

from tamis.schema import ConfigError, StageConfig, option_problems
from tamis.service import _write_stage_options as writer
from tamis.service import registry, stage_options

COLLECTED = writer.collect()
STAGES = [(kind, use) for kind, stages in COLLECTED.items() for use in stages]


def test_the_packaged_file_is_up_to_date() -> None:
    packaged = (files("tamis.service") / stage_options.FILE).read_text("utf-8")
    fix = "run: python -m tamis.service._write_stage_options"
    assert json.loads(packaged) == COLLECTED, fix
    assert packaged == writer.dump(COLLECTED), fix


def problems(config, options) -> list[str]:
    try:
        config(**options)
    except ValidationError as error:
        return option_problems(error, config.model_fields)
    return []


@pytest.mark.parametrize(("kind", "use"), STAGES)
def test_it_accepts_and_refuses_what_the_stage_does(kind: str, use: str) -> None:
    real, light = registry.find(kind, use).Config, stage_options.config_of(kind, use)
    assert light is not None
    for wrong in (-1, 1e9, "nonsense", True, [], [0], None, {"a": 1}, 0.5):
        for name in [*real.model_fields, "no_such_option"]:
            found = problems(light, {name: wrong})
            if found:  # what is refused without the stage, the stage refuses in the same words
                assert set(found) <= set(problems(real, {name: wrong})), (name, wrong)
            elif not stage_options.needs_import(kind, use) and _simple(kind, use, name):
                assert not problems(real, {name: wrong}), (name, wrong)


def _simple(kind: str, use: str, name: str) -> bool:
    """Whether the packaged schema of an option holds no class of its own."""
    return "$ref" not in json.dumps(COLLECTED[kind][use]["options"].get(name, {}))


def test_rules_that_join_options_are_checked_by_the_stage() -> None:
    assert stage_options.needs_import("rerank", "at_most")
    assert not stage_options.needs_import("rank", "deepfm")
    with pytest.raises(ConfigError, match="two_towr"):
        registry.resolve("recall", "lists", StageConfig(use="offline", of="two_towr"))
