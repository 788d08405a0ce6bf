"""Every registered stage of every kind, and DSSM, follow the one construction rule."""

import inspect

import pytest

from tamis.recall import DSSM
from tamis.schema import Component, ComponentConfig, ConfigError
from tamis.service import registry

REQUIRED = {
    "ads": {"slate": 2},
    "attribute": {"column": "price", "op": "<=", "value": 3},
    "blocked": {"behaviours": ("block",), "by": "author"},
    "bought": {"behaviours": ("buy",)},
    "condition": {"where": "price <= 3"},
    "hidden": {"behaviours": ("hide",)},
    "objective": {"freshness": 0.1},
    "pins": {"items": ("a",), "places": (1,)},
    "quota": {"where": "price <= 3"},
    "rules": {"rule": ({"name": "cheap", "sort": "price asc"},)},
}
"""Options without which a stage cannot be built."""
STAGES = [(kind, name) for kind in registry.KINDS for name in registry.modules(kind)]
COMPONENTS = [*STAGES, ("recall", DSSM.name)]
"""The stages, and a model of labelled rows, which no `tamis.toml` names."""


def class_of(kind: str, name: str) -> type[Component]:
    return DSSM if name == DSSM.name else registry.find(kind, name)


def stage_and_options(kind: str, name: str):
    """The class, its required options, and one option with a value that is not its default."""
    stage = class_of(kind, name)
    required = REQUIRED.get(name, {})
    default = stage(**required).config
    return stage, required, other_value(default)


def other_value(config) -> dict[str, object]:
    """{option: a legal value that differs from the config's}."""
    for option, field in type(config).model_fields.items():
        value = getattr(config, option)
        if field.is_required():
            continue
        candidates = {
            bool: [not value] if isinstance(value, bool) else [],
            int: [value + 1, value - 1] if type(value) is int else [],
            float: [value / 2, value + 0.5] if isinstance(value, float) else [],
            str: [value + "x"] if isinstance(value, str) else [],
            tuple: [tuple(f"{one}x" for one in value)]
            if isinstance(value, tuple) and value
            else [],
        }
        for other in candidates.get(type(value), []):
            try:
                return {
                    option: getattr(type(config)(**{**config.model_dump(), option: other}), option)
                }
            except ValueError:
                continue
    raise AssertionError(f"{type(config).__name__} has no option that the test can change")


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_options_and_config_build_the_same_component(kind: str, name: str) -> None:
    stage, required, changed = stage_and_options(kind, name)
    assert issubclass(stage, Component)
    assert stage.Config.model_config["extra"] == "forbid"
    assert stage.Config.model_config["frozen"]
    (option, value), *_ = changed.items()
    by_name = stage(**{**required, **changed})
    by_config = stage(stage.Config(**{**required, **changed}))
    merged = stage(stage.Config(**required), **changed)
    assert by_name.config == by_config.config == merged.config
    assert getattr(by_name.config, option) == value
    assert getattr(stage(**required).config, option) != value


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_signature_lists_the_options(kind: str, name: str) -> None:
    """`help(ItemCF)` and notebooks showed `(config: Any = None, **options: Any)`."""
    stage = class_of(kind, name)
    parameters = inspect.signature(stage).parameters
    options = stage.Config.model_fields
    own = ("config", "features", "user_features", "item_features")
    assert [p for p in parameters if p not in own] == list(options)
    for option, field in options.items():
        shown = parameters[option]
        assert shown.kind is inspect.Parameter.KEYWORD_ONLY
        assert (shown.default is inspect.Parameter.empty) == field.is_required()
        assert "Annotated" not in inspect.formatannotation(shown.annotation)
    required = REQUIRED.get(name, {})
    defaults = {n: parameters[n].default for n in options if n not in required}
    assert stage(**required, **defaults).config == stage(**required).config


@pytest.mark.parametrize(("kind", "name"), STAGES)
def test_the_declared_name_is_the_name_in_tamis_toml(kind: str, name: str) -> None:
    stage = registry.find(kind, name)
    assert stage.name == name
    assert registry.modules(kind)[name].endswith(f".{name}")


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_repr_shows_the_options_that_differ(kind: str, name: str) -> None:
    stage, required, changed = stage_and_options(kind, name)
    (option, value), *_ = changed.items()
    text = repr(stage(**{**required, **changed}))
    assert text.startswith(f"{kind}.{stage.__name__}(")
    assert f"{option}={value!r}" in text
    assert f"{option}={value!r}" not in repr(stage(**required))


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_an_unknown_option_is_refused_with_the_nearest_name(kind: str, name: str) -> None:
    stage, required, changed = stage_and_options(kind, name)
    (option, value), *_ = changed.items()
    misspelt = option + "s"
    with pytest.raises(
        ConfigError, match=rf"{misspelt} = .*unknown option.*Did you mean `{option}`"
    ):
        stage(**required, **{misspelt: value})


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_a_config_of_another_class_is_refused(kind: str, name: str) -> None:
    class OtherConfig(ComponentConfig):
        """Not the options of any stage."""

    stage = class_of(kind, name)
    with pytest.raises(ConfigError, match=f"{stage.__name__} takes a .*got a OtherConfig"):
        stage(OtherConfig())
