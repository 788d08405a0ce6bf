"""What a fit with validation rows chose, for the next fit, which has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from tamis.train.calibration import Calibration
from tamis.train.monotone import Monotone


class Chosen(BaseModel):
    """Values that a fit found on its validation rows.

    They are kept separately from a model's options: `model.chosen` returns them, and a refit on all
    rows receives them as `FitContext.chosen`. A fit with validation rows ignores what it receives
    and makes its own choice.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int | None = None
    """Passes over the rows, of models that the training loop fits; replaces the option `epochs`."""
    trees: int | None = None
    """Boosting rounds of tree models; replaces the option `trees`."""
    decay_after: tuple[int, ...] = ()
    """Epochs (from 1) after which the learning rates are multiplied by `decay_on_plateau`."""
    calibrations: tuple[Calibration, ...] = ()
    """One calibration map per task; empty: the logits need none."""
    scales: tuple[float, ...] = ()
    """Factors of the logits that a fit which started from a former one found, and to which the
    calibrations belong: a fit that goes on from it keeps them. Empty: it fits them to its rows."""
    seconds: Mapping[str, Monotone] = {}
    """Watch-time task → map from its logit to seconds."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the fields that hold nothing."""
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if value not in (None, [], {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote. Raises pydantic's ValidationError for anything else."""
        return cls.model_validate(values)
