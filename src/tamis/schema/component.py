"""Base class of all stages: channels, filters, scorers and re-rankers."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from tamis.schema.errors import ConfigError
from tamis.schema.suggestions import suggest

log = logging.getLogger("tamis.schema")
NO_EFFECT = "no_effect"
"""Type of pydantic's error about options without effect; its context lists the `options`."""


@dataclass(frozen=True)
class Needs:
    """A condition on other options, without which an option has no effect."""

    options: tuple[str, ...] | str
    """The other option; of several, one that fulfils the condition is enough."""
    one_of: tuple[Any, ...] = ()
    """Values with which the condition holds. Empty: all but `none_of`."""
    none_of: tuple[Any, ...] = ()
    """Values with which it does not hold."""

    @property
    def names(self) -> tuple[str, ...]:
        """The other options."""
        return (self.options,) if isinstance(self.options, str) else self.options

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the condition holds for these values of all options."""
        return any(
            values[name] in self.one_of if self.one_of else values[name] not in self.none_of
            for name in self.names
        )

    def __str__(self) -> str:
        """As in `tamis.toml`: `loss = "sampled" or "gbce"`, `held_out other than 0`."""
        listed = " or ".join(map(json.dumps, self.one_of or self.none_of))
        name = " or ".join(self.names)
        if self.one_of in ((None,), ((),)):
            return f"no {name}"
        return f"{name} = {listed}" if self.one_of else f"{name} other than {listed}"


Conditions = Mapping[str, tuple[Needs, ...]]
"""Option -> its conditions, all of which must hold."""


class ComponentConfig(BaseModel):
    """Base of all options: immutable; an unknown option, or one without effect, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    only_with: ClassVar[Conditions] = {}
    """Options that have an effect only with certain values of other options. A class adds to those
    of its base classes."""

    @classmethod
    def conditions(cls) -> dict[str, tuple[Needs, ...]]:
        """`only_with` of this class and its base classes."""
        found: dict[str, tuple[Needs, ...]] = {}
        for base in reversed(cls.__mro__):
            found |= vars(base).get("only_with", {})
        return {option: needs for option, needs in found.items() if option in cls.model_fields}

    def without_effect(self) -> Iterator[tuple[str, Needs]]:
        """The options that differ from their defaults in vain, and the condition that fails."""
        values = {name: getattr(self, name, None) for name in type(self).model_fields}
        for option, needs in self.conditions().items():
            default = type(self).model_fields[option].get_default(call_default_factory=True)
            if values[option] != default:
                yield from ((option, need) for need in needs if not need.holds(values))

    @model_validator(mode="after")
    def _all_have_an_effect(self) -> Self:
        found = list(self.without_effect())
        if found:
            text = "; ".join(
                f"{option} = {getattr(self, option)!r} has no effect: it needs {need}. Set that, "
                f"or remove {option}"
                for option, need in found
            )
            options = sorted({option for option, _ in found})
            raise PydanticCustomError(NO_EFFECT, "{text}", {"text": text, "options": options})
        return self


class _OptionsSignature:
    """The signature of a component's class: its constructor, with `**options` written out.

    `help(ItemCF)` and the completion of notebooks then list the options and their defaults.
    """

    def __get__(self, component: object, kind: type[Component]) -> inspect.Signature:
        written = inspect.signature(kind.__init__)
        options = getattr(kind, "Config", None)
        first, *rest = written.parameters.values()  # without `self`
        del first
        if options is None or not any(p.kind is p.VAR_KEYWORD for p in rest):
            return written.replace(parameters=rest)
        shown = [p for p in rest if p.kind is not p.VAR_KEYWORD]
        shown = [p.replace(annotation=options | None) if p.name == "config" else p for p in shown]
        return inspect.Signature([*shown, *_option_parameters(options)], return_annotation=None)


def _option_parameters(kind: type[BaseModel]) -> Iterator[inspect.Parameter]:
    """A keyword argument for each option, with its default and type."""
    for name, option in kind.model_fields.items():
        default = inspect.Parameter.empty
        if not option.is_required():
            default = option.get_default(call_default_factory=True)
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=_without_bounds(option.annotation),
        )


def _without_bounds(annotation: Any) -> Any:
    """`int | None` of `Annotated[int, Field(ge=1)] | None`: a type that reads well."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _without_bounds(parts[0])
    if origin is None or origin is Literal:
        return annotation
    plain = tuple(map(_without_bounds, parts))
    if origin in (Union, UnionType):
        return reduce(lambda one, other: one | other, plain)
    return origin[plain]


class Component:
    """A stage of the cascade, constructed by `Thing(config=None, **options)`.

    A subclass declares `name` (its short name in `tamis.toml`), `Config` (the class of its
    options) and `config: ThatClass` for the type checker. What a fit learns is stored in other
    attributes, never in `config`.

        ItemCF()                                 # the defaults
        ItemCF(neighbours=50)                    # options by name
        ItemCF(ItemCFConfig(neighbours=50))      # a typed config
        ItemCF(shared_config, neighbours=50)     # a typed config with one option replaced

    Raises:
        ConfigError: an option is unknown (the message suggests the nearest one) or its value is
            invalid, or the config has another class.
    """

    name: str
    Config: ClassVar[type[BaseModel]]
    config: Any
    __signature__: ClassVar[Any] = _OptionsSignature()

    def __init__(self, config: Any = None, **options: Any) -> None:
        self.config = configured(type(self).__name__, self.Config, config, options)

    def __repr__(self) -> str:
        """The package and the class, with the options that differ from the defaults.

        The package tells stages of one name apart (`rank.FM(…)`, `recall.FM(…)`); classes outside
        Tamis are shown without one.
        """
        changed = self.config.model_dump(exclude_defaults=True)
        path = type(self).__module__.split(".")
        package = f"{path[1]}." if path[0] == "tamis" and len(path) > 2 else ""
        options = ", ".join(f"{k}={v!r}" for k, v in changed.items())
        return f"{package}{type(self).__name__}({options})"


def configured(
    owner: str, kind: type[BaseModel], config: BaseModel | None, options: Mapping[str, Any]
) -> Any:
    """A validated config of class `kind`: `config` with `options` replaced.

    Args:
        owner: the component's class name, for messages.
        kind: the class of its options.
        config: a config of that class; None means the defaults.
        options: options by name; they replace those of `config`.

    Raises:
        ConfigError: as described in `Component`.
    """
    if config is not None and not isinstance(config, kind):
        raise ConfigError(
            f"{owner} takes a {kind.__name__} as its config, got a {type(config).__name__}: "
            f"{config!r}. Pass options by name instead: {owner}(option=value)"
        )
    if config is not None and not options:
        return config
    given = {} if config is None else config.model_dump(exclude_unset=True)
    try:
        return kind(**{**given, **options})
    except ValidationError as error:
        problems = option_problems(error, kind.model_fields)
        raise ConfigError("; ".join(f"{owner}: {problem}" for problem in problems)) from error


def known_options(kind: type[BaseModel], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The saved options that the config class `kind` has and uses; a warning names the others.

    For opening files that an earlier Tamis wrote, whose config classes had other options. Options
    that a user declares are checked by `configured`, which refuses unknown ones.
    """
    unknown = sorted(set(saved) - set(kind.model_fields))
    if unknown:
        log.warning(
            "ignoring saved options that %s no longer has: %s", kind.__name__, ", ".join(unknown)
        )
    known = {name: value for name, value in saved.items() if name in kind.model_fields}
    if issubclass(kind, ComponentConfig):
        idle = {option for option, _ in kind.model_construct(**known).without_effect()}
        known = {name: value for name, value in known.items() if name not in idle}
    return known


def option_problems(error: ValidationError, known: Iterable[str]) -> list[str]:
    """One sentence for each invalid option: its name, its value, and what is allowed.

    known: the names of all options, for the suggestion.
    """
    names = sorted(known)
    found: list[str] = []
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"]))
        start = f"{key} = {fault['input']!r}: " if key else ""
        if fault["type"] == "extra_forbidden":
            listed = ", ".join(names) or "none"
            found.append(f"{start}unknown option.{suggest(key, names)} Options: {listed}")
        else:
            found.append(start + fault["msg"].removeprefix("Value error, "))
    return found
