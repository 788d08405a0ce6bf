"""`tamis experiment read`: the result of an A/B test, from a table of its users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tamis.data import read_frame
from tamis.experiments import ArmMoments, Measure, Metric, ReadOut, Role, read_out
from tamis.schema import ConfigError, DataError, suggest

BEFORE = "_before"
"""`clicks_before` is `clicks` before the experiment."""


@dataclass(frozen=True)
class ExperimentResult:
    """The result of `tamis experiment read`."""

    file: str
    control: str
    several: int
    """Users that were seen in several arms; they are in none."""
    result: ReadOut

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "result": asdict(self.result)}


def read_experiment(
    file: Path | str,
    *,
    control: str,
    goal: str,
    arm: str = "arm",
    unit: str | None = None,
    secondary: Sequence[str] = (),
    guardrail: Sequence[str] = (),
    lower: Sequence[str] = (),
    shares: Sequence[float] | None = None,
    planned: int | None = None,
    watched: bool = False,
    confidence: float = 0.95,
) -> ExperimentResult:
    """Reads a table of users into a result: health, effects and what to do.

    Args:
        file: a table (CSV, Parquet, JSONL) with one row per user, or several whose numbers add up.
        control: the arm that others are compared with.
        goal: the metric that decides: a column (mean per user), or `A / B`, a ratio of sums. A
            column whose name ends in `_before` holds the same before the experiment; it is used by
            CUPED, and to check that the arms did not differ then.
        arm: column of the arms.
        unit: column of the users, where they have several rows. If omitted, a row is a user.
        secondary, guardrail: further metrics; guardrails must not get worse.
        lower: the metrics of which less is better.
        shares: declared share of each arm, in the order of their names; if omitted, all equal.
        planned, watched, confidence: as for `tamis.experiments.read_out`.

    Raises DataError for a table without the columns, and for missing or infinite numbers;
    ConfigError for a design that is not possible.
    """
    frame = read_frame(Path(file), texts=[name for name in (arm, unit) if name])
    roles: dict[Role, Sequence[str]] = {
        "goal": [goal],
        "secondary": secondary,
        "guardrail": guardrail,
    }
    measures = [
        Measure(name, _metric(name, frame), role, name not in lower)
        for role, names in roles.items()
        for name in names
    ]
    unknown = [name for name in lower if name not in [m.name for m in measures]]
    if unknown:
        raise ConfigError(f"lower = {unknown[0]!r} is not one of the metrics")
    columns = list(dict.fromkeys(c for m in measures for c in m.metric.columns))
    users, several = _users(frame, str(file), arm, unit, columns)
    names = sorted(users[arm].unique().to_list())
    arms = {
        name: ArmMoments.of(columns, users.filter(pl.col(arm) == name).select(columns).to_numpy())
        for name in names
    }
    if shares is not None and len(shares) != len(names):
        raise ConfigError(
            f"{len(shares)} shares, {len(names)} arms ({', '.join(names)}): give one per arm, in "
            "this order"
        )
    if shares is not None and abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"shares add up to {sum(shares):g}: give fractions of 1, such as 0.9,0.1")
    result = read_out(
        arms,
        control,
        measures,
        shares=None if shares is None else dict(zip(names, shares, strict=True)),
        several=several,
        planned=planned,
        watched=watched,
        confidence=confidence,
    )
    return ExperimentResult(str(file), control, several, result)


def _metric(text: str, frame: pl.DataFrame) -> Metric:
    """`A`, or `A / B`, with the columns before the experiment where the table has all of them."""
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(parts):
        raise ConfigError(f"metric {text!r}: give a column, or a ratio A / B of two columns")
    top, bottom = parts[0], parts[1] if len(parts) == 2 else None
    before = [f"{part}{BEFORE}" for part in parts]
    if all(name in frame.columns for name in before):
        return Metric(top, bottom, before[0], before[1] if bottom else None)
    return Metric(top, bottom)


def _users(
    frame: pl.DataFrame, file: str, arm: str, unit: str | None, columns: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """One row per user with the arm and the columns; and the users in several arms, left out."""
    for name in (arm, *([] if unit is None else [unit]), *columns):
        if name not in frame.columns:
            raise DataError(
                f"{file} has no column {name!r}.{suggest(name, frame.columns)} Its columns are "
                f"{', '.join(frame.columns)}"
            )
    for name in columns:
        values = frame[name]
        if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
            raise DataError(f"{file}: column {name!r} is {values.dtype}, not a number")
        missing = values.is_null() | ~values.cast(pl.Float64).is_finite().fill_null(False)
        if missing.any():
            row = missing.arg_true()[0] + 1
            raise DataError(
                f"{file}: column {name!r}, row {row} has no number: write 0 for a user who did "
                "nothing; a user left out is a bias"
            )
    if frame[arm].is_null().any():
        raise DataError(f"{file}: row {frame[arm].is_null().arg_true()[0] + 1} has no {arm!r}")
    kept = frame.with_columns(
        pl.col(arm).cast(pl.String), *(pl.col(c).cast(pl.Float64) for c in columns)
    )
    if unit is None:
        return kept.select(arm, *columns), 0
    summed = kept.group_by(unit, maintain_order=True).agg(
        pl.col(arm).first(),
        pl.col(arm).n_unique().alias("_arms"),
        *(pl.col(c).sum() for c in columns),
    )
    alone = summed.filter(pl.col("_arms") == 1)
    return alone.select(arm, *columns), len(summed) - len(alone)
