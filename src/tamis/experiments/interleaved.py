"""Whose items users choose on interleaved slates: credits of two arms by unit, from the journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.experiments.exposures import ArmComparison
from tamis.runtime import Float64
from tamis.schema import INTERLEAVED

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def read_credits(
    comparison: ArmComparison,
    answers: Iterable[pl.DataFrame],
    entries: Iterable[pl.DataFrame],
    behaviours: Sequence[str],
) -> Float64:
    """(U, 2) events of each unit on items that the first and the second arm placed.

    Args:
        comparison: with the two arms.
        answers: all answers, with the fields of `interleaved_schema`.
        entries: all entries of the journal.
        behaviours: which events count.

    Units without such an event have zeros. Memory is some 20 bytes per item of a slate.
    """
    keys, units, teams = _placed(comparison, answers)
    number = np.unique(units, return_inverse=True)[1] if len(units) else units.astype(np.int64)
    credits = np.zeros((int(number.max(initial=-1)) + 1, 2))
    order = np.argsort(keys)
    known = keys[order]
    for block in entries:
        events = block.filter(
            (pl.col("kind") == "event")
            & pl.col("behaviour").is_in(list(behaviours))
            & pl.col("recommendation_id").is_not_null()
            & (pl.min_horizontal("time", "arrival") < comparison.until)
        )
        if not len(events) or not len(known):
            continue
        wanted = _key(events["recommendation_id"], events["item_id"])
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        place = order[at[known[at] == wanted]]
        np.add.at(credits, (number[place], teams[place]), 1.0)
    return credits


def interleaved_schema(comparison: ArmComparison) -> pl.Schema:
    """The fields of answers that are read."""
    return pl.Schema({**comparison.schema(), "teams": pl.List(pl.String())})


def _placed(
    comparison: ArmComparison, answers: Iterable[pl.DataFrame]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int8]]:
    """(n,) a hash of the answer and the item, one of the unit, and the arm, of each placed item."""
    name, unit = comparison.experiment, f"{comparison.unit}_id"
    codes = {arm: code for code, arm in enumerate(comparison.arms)}
    found = [(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int8))]
    for block in answers:
        slate = pl.col("slate").list.eval(pl.element().list.first())
        placed = (
            block.filter(
                (pl.col("arms").struct.field(name) == INTERLEAVED)
                & (pl.col(unit).fill_null("") != "")
                & (pl.col("time") >= comparison.since)
                & (pl.col("time") < comparison.until)
                & (pl.col("teams").list.len() == pl.col("slate").list.len())
            )
            .select("recommendation_id", unit, "teams", item=slate)
            .explode("teams", "item", empty_as_null=False, keep_nulls=False)
        )
        team = placed["teams"].replace_strict(codes, default=-1, return_dtype=pl.Int8).to_numpy()
        kept = team >= 0
        key = _key(placed["recommendation_id"], placed["item"])
        found.append((key[kept], placed[unit].hash().to_numpy()[kept], team[kept]))
    keys, units, teams = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return keys, units, teams


def _key(answer: pl.Series, item: pl.Series) -> NDArray[np.uint64]:
    """(n,) a hash of each pair."""
    return answer.hash().to_numpy() * _FACTOR ^ item.hash().to_numpy()
