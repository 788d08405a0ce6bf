"""The one construction rule of stages, for the suites of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tamis.schema import Component, ConfigError, NotFittedError

_MISSPELT = "no_such_option"


def check_component(make: Callable[[], Any]) -> None:
    """Raises AssertionError where a stage breaks `Thing(config=None, **options)`.

    make: returns a new, unfitted stage.
    """
    made = make()
    kind = type(made)
    assert isinstance(made, Component), (
        f"{kind.__name__} must derive from tamis.Component, or tamis.toml cannot name it"
    )
    assert isinstance(getattr(kind, "name", None), str), (
        f"{kind.__name__} must declare `name`, its short name, on the class"
    )
    assert kind(made.config).config == made.config, (
        f"{kind.__name__}(config) must keep the config that it is given"
    )
    message = _refusal(lambda: kind(made.config, **{_MISSPELT: 1}))
    assert message is not None, f"{kind.__name__} must refuse an unknown option with ConfigError"
    assert _MISSPELT in message, f"the error must name the unknown option: {message}"


def refuses_unfitted(ask: Callable[[], object], what: str) -> None:
    """Raises AssertionError unless `ask()` raises NotFittedError; `what` names the call."""
    try:
        ask()
    except NotFittedError:
        return
    except Exception as error:
        raise AssertionError(
            f"{what} before fit must raise NotFittedError, not {type(error).__name__}: {error}"
        ) from error
    raise AssertionError(f"{what} before fit must raise NotFittedError")


def _refusal(ask: Callable[[], object]) -> str | None:
    """The message of the ConfigError that `ask()` raises; None if it raises none."""
    try:
        ask()
    except ConfigError as error:
        return str(error)
    return None
