"""Checks of `tamis doctor` that concern the declared features."""

from __future__ import annotations

from collections.abc import Iterator

from tamis.features import LocalCalendar
from tamis.onboarding._findings import Case, Finding
from tamis.schema import ConfigError, MissingExtraError


def constant_features(case: Case) -> Iterator[Finding]:
    """Declared features that are nearly always missing, or constant."""
    sides = {"items": case.data.items.frame, "users": case.data.users.frame}
    tables = {"items": case.config.items, "users": case.config.users}
    for feature in case.config.features:
        for name, frame in sides.items():
            table = tables[name]
            if table is None or feature.source not in frame.columns:
                continue
            column = frame[feature.source]
            missing = column.null_count() / max(len(column), 1)
            where = f"{table.path}, `{feature.source}`"
            if missing > 0.9:
                text = f"the feature is missing in {missing:.1%} of the rows"
                yield Finding("warning", text, where, "Remove the feature, or correct the column.")
            elif not column.dtype.is_nested() and column.drop_nulls().n_unique() < 2:
                text = "the feature has the same value in all rows"
                yield Finding(
                    "warning", text, where, "Remove the feature: it carries no information."
                )


def calendar_faults(case: Case) -> Iterator[Finding]:
    """A time zone or holidays that cannot be used."""
    try:
        LocalCalendar.of(case.config, case.data)
    except (ConfigError, MissingExtraError) as error:
        fix = "Correct the key in tamis.toml, or install the package, as the message says."
        yield Finding("error", str(error), "tamis.toml", fix)
