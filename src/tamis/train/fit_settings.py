"""What every fit of a scorer is given: the settings of its surroundings, and its own options."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field

from tamis.schema import ComponentConfig
from tamis.train.calibration import Method
from tamis.train.chosen import Chosen


class FitSettings(Protocol):
    """The part of `tamis.cascade.FitContext` that a fit of a scorer reads."""

    @property
    def seed(self) -> int:
        """Random seed; replaces the option `seed`."""
        ...

    @property
    def device(self) -> str:
        """Device of training, as torch names it: "cpu", "cuda:0"."""
        ...

    @property
    def progress(self) -> bool:
        """Whether to show a progress bar."""
        ...

    @property
    def negatives(self) -> float:
        """Share of the binary tasks' negative labels that the rows hold, in (0, 1]."""
        ...

    @property
    def former(self) -> Any:
        """The same model fitted before, whose weights the fit starts from; None: from scratch."""
        ...

    @property
    def chosen(self) -> Chosen | None:
        """What an earlier fit chose on its validation rows; used by a fit that has none."""
        ...


class ScorerConfig(ComponentConfig):
    """Options of every scorer of rows: sampling of negatives, and calibration."""

    negatives: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each task's negative rows to learn from; predictions are corrected for it exactly.
    A task's own `negatives` takes precedence."""
    calibrate: Method = "auto"
    """How log-odds become probabilities: "none" leaves them as they are, "platt" fits Platt's line,
    "isotonic" fits isotonic regression, and "auto" takes the simplest of these that is as good as
    the best on held-out rows. Fitted on the validation window; the final fit reuses the result."""
