"""Checks of `tamis doctor` that concern the declared features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tamis.onboarding._findings import Case, Finding
from tamis.splitting import cuts

if TYPE_CHECKING:
    from tamis.features import TableCoverage


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


def feature_coverage(case: Case) -> list[TableCoverage]:
    """The coverage of the features, those that are chosen by default if none are declared.

    Raises ConfigError, DataError or MissingExtraError for features or `groups` that cannot be made.
    """
    from tamis.features import check_groups, default_features, table_coverage  # takes .3 s

    check_groups(case.data, case.config.groups)
    features = case.config.features or default_features(case.data, case.config)
    (cut,) = cuts(case.data.events, [case.config.split.test_from])
    return table_coverage(case.data, features, case.config, cut)
