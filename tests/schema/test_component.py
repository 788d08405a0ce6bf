"""Construction of components: config and options, their checks, and the repr."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from tamis.schema import (
    Component,
    ComponentConfig,
    Conditions,
    ConfigError,
    Needs,
    configured,
    known_options,
    option_problems,
)


class Decay(ComponentConfig):
    """Options of a nested table."""

    half_life: Annotated[float, Field(gt=0)] = 7.0


class Config(ComponentConfig):
    """Options of the component."""

    neighbours: Annotated[int, Field(ge=1, le=100)] = 10
    weight: float = 1.0
    kind: Literal["cosine", "jaccard"] = "cosine"
    decay: Decay = Decay()

    @model_validator(mode="after")
    def _jaccard_has_no_weight(self) -> "Config":
        if self.kind == "jaccard" and self.weight != 1.0:
            raise ValueError("weight is not used by jaccard; leave it out")
        return self


class Other(ComponentConfig):
    """Options of another component."""

    neighbours: int = 10


class Channel(Component):
    """A component with options."""

    name = "channel"
    Config = Config
    config: Config


def problems(**options: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(options)
    return option_problems(caught.value, Config.model_fields)


def test_without_arguments_all_options_are_the_defaults() -> None:
    assert Channel().config == Config()


def test_options_by_name_and_a_config_are_the_same() -> None:
    assert Channel(neighbours=5).config == Channel(Config(neighbours=5)).config


def test_a_config_alone_is_kept_as_it_is() -> None:
    config = Config(neighbours=5)
    assert Channel(config).config is config


def test_options_replace_those_of_the_config_only() -> None:
    config = Config(neighbours=5, decay=Decay(half_life=3))
    merged = Channel(config, neighbours=7, weight=2.0).config
    assert merged == Config(neighbours=7, weight=2.0, decay=Decay(half_life=3))
    assert config == Config(neighbours=5, decay=Decay(half_life=3))


def test_merged_options_are_checked_together() -> None:
    with pytest.raises(ConfigError, match="Channel: weight is not used by jaccard; leave it out"):
        Channel(Config(weight=2.0), kind="jaccard")


def test_the_config_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Channel().config.neighbours = 3


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^Channel: neighbors = 5: unknown option\. Did you mean `neighbours`\? "
        r"Options: decay, kind, neighbours, weight$",
    ):
        Channel(neighbors=5)


def test_an_unknown_option_like_no_other_lists_the_options() -> None:
    with pytest.raises(ConfigError) as caught:
        Channel(zzz=5)
    assert "Did you mean" not in str(caught.value)
    assert "Options: decay, kind, neighbours, weight" in str(caught.value)


def test_a_component_without_options_says_so() -> None:
    with pytest.raises(ConfigError, match=r"Plain: k = 1: unknown option\. Options: none"):
        configured("Plain", ComponentConfig, None, {"k": 1})


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Channel(neighbours=0, wieght=1)
    first, second = str(caught.value).split("; ")
    assert first == "Channel: neighbours = 0: Input should be greater than or equal to 1"
    assert second.startswith("Channel: wieght = 1: unknown option. Did you mean `weight`?")


def test_an_option_added_to_a_config_is_checked_too() -> None:
    with pytest.raises(
        ConfigError, match=r"Channel: neighbours = 101: .* less than or equal to 100"
    ):
        Channel(Config(weight=2.0), neighbours=101)


@pytest.mark.parametrize("wrong", [Other(), {"neighbours": 5}, 5, Decay()])
def test_a_config_of_another_class_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError) as caught:
        Channel(wrong)
    text = str(caught.value)
    assert text.startswith(f"Channel takes a Config as its config, got a {type(wrong).__name__}:")
    assert repr(wrong) in text
    assert text.endswith("Pass options by name instead: Channel(option=value)")


def test_a_subclass_of_the_config_is_accepted() -> None:
    class More(Config):
        extra: int = 0

    config = More(extra=1)
    assert Channel(config).config is config


def test_the_problem_of_a_nested_option_has_its_whole_path() -> None:
    assert problems(decay={"half_life": -1}) == [
        "decay.half_life = -1: Input should be greater than 0"
    ]
    (text,) = problems(decay={"halflife": 3})
    assert text.startswith("decay.halflife = 3: unknown option.")


def test_the_problem_of_a_validator_is_its_own_text() -> None:
    (text,) = problems(kind="jaccard", weight=2.0)
    assert text == "weight is not used by jaccard; leave it out"


def test_the_problem_of_a_choice_names_the_choices() -> None:
    assert problems(kind="cosin") == ["kind = 'cosin': Input should be 'cosine' or 'jaccard'"]


def test_the_repr_shows_the_options_that_differ_from_the_defaults() -> None:
    assert repr(Channel()) == "Channel()"
    assert repr(Channel(neighbours=5, kind="jaccard")) == "Channel(neighbours=5, kind='jaccard')"
    assert repr(Channel(neighbours=10)) == "Channel()"  # given, but the default
    assert repr(Channel(decay=Decay(half_life=3))) == "Channel(decay={'half_life': 3.0})"


def test_any_pydantic_model_may_hold_the_options() -> None:
    class Plain(BaseModel):
        k: int = 1

    assert configured("Plain", Plain, None, {"k": 2}) == Plain(k=2)
    assert configured("Plain", Plain, Plain(k=3), {}) == Plain(k=3)


class Losses(ComponentConfig):
    """Options of which some need others."""

    only_with: ClassVar[Conditions] = {
        "margin": (Needs("loss", ("hinge",)),),
        "units": (Needs("loss", none_of=("full",)), Needs(("user", "item"), ("mlp",))),
    }
    loss: Literal["full", "sampled", "hinge"] = "full"
    margin: float = 1.0
    units: tuple[int, ...] = ()
    user: str = "sum"
    item: str = "sum"


class WithLosses(Losses):
    """A config with options and conditions of its own."""

    only_with: ClassVar[Conditions] = {"decay": (Needs("margin", none_of=(0,)),)}
    decay: float = 0.5


def test_an_option_without_effect_is_an_error_that_names_what_it_needs() -> None:
    faults = {
        'margin = 2.0 has no effect: it needs loss = "hinge". Set that, or remove margin': {
            "margin": 2.0
        },
        'units = (8,) has no effect: it needs loss other than "full". Set that, or remove units': {
            "units": (8,),
            "item": "mlp",
        },
        'units = (8,) has no effect: it needs user or item = "mlp". Set that, or remove units': {
            "units": (8,),
            "loss": "sampled",
        },
    }
    for text, options in faults.items():
        with pytest.raises(ValidationError) as caught:
            WithLosses.model_validate(options)
        assert option_problems(caught.value, WithLosses.model_fields) == [text]
    assert WithLosses(loss="hinge", margin=0.0, units=(4,), user="mlp").units == (4,)
    assert WithLosses(margin=1.0).margin == 1.0  # the default may be repeated


def test_a_class_adds_to_the_conditions_of_its_base() -> None:
    assert set(WithLosses.conditions()) == {"margin", "units", "decay"}
    with pytest.raises(ValidationError, match=r"decay = 0\.1 has no effect"):
        WithLosses(loss="hinge", margin=0.0, decay=0.1)


def test_saved_options_without_effect_are_left_out() -> None:
    saved = {"loss": "full", "margin": 3.0, "user": "mlp", "gone": 1}
    assert known_options(Losses, saved) == {"loss": "full", "user": "mlp"}
