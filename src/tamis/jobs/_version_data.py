"""Data of a project as a version sees them: its row numbers, its features, its labels."""

from __future__ import annotations

from dataclasses import replace

from tamis.bundle import Manifest
from tamis.cascade import Hydrate, raw_numbers
from tamis.data import UNKNOWN, Dataset
from tamis.features import OfflineStatistics
from tamis.service import Parts


def in_rows_of(parts: Parts, data: Dataset) -> Dataset:
    """The data in a version's row numbers, without events of users and items unknown to it."""
    user, item = parts.users.rows(data.users.ids), parts.items.rows(data.items.ids)
    events = data.events
    events = replace(events, user=user[events.user], item=item[events.item])
    held = (events.user != UNKNOWN) & (events.item != UNKNOWN)
    return Dataset(parts.users, parts.items, events.take(held), data.behaviours)


def until(manifest: Manifest, data: Dataset) -> int:
    """The end of the period whose events label replayed queries at the cut, ms: one horizon of the
    training later, or the end of the data."""
    if not manifest.horizon:
        return data.end
    return min(manifest.data_until + manifest.horizon, data.end)


def labels_of(cut: int, end: int, *, impressions: bool) -> str:
    """What labels the rows that a ranker is evaluated on; the same as in training."""
    if impressions:
        return "events that followed on this impression (same user, item and request)"
    days = (end - cut) / 86_400_000
    length = f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
    return f"events of the user with the item within {length} of the query, the horizon"


def hydrate_of(parts: Parts, data: Dataset) -> Hydrate:
    """Makes a version's rows of a log, each with the statistics as of its own time."""
    statistics = OfflineStatistics(data, parts.space.recipes)
    return Hydrate(parts.space, statistics, raw_numbers(parts.config, parts.items))
