"""The users of an event log: anonymous ones, and visitors that stand for missing ones."""

from __future__ import annotations

import polars as pl

from tamis.data.ids import id_text, one_id
from tamis.data.text_form import TextForm
from tamis.schema import EventsConfig


def user_column(frame: pl.DataFrame, events: EventsConfig, file: str, form: TextForm) -> pl.Series:
    """(n,) the column of the user; where `anonymous` or `visitor` are declared, as ids in text.

    Anonymous users are null. With `visitor`, rows without a user have the visitor's id, written
    as "COLUMN:VALUE", so that it is never the id of a user.

    Args:
        frame: (n) rows of the log.
        file: its name in messages.
        form: texts that mean a missing value.

    Raises:
        DataError: a column cannot hold ids.
    """
    column = frame[events.user]
    if not events.anonymous and events.visitor is None:
        return column
    ids = id_text(column, file, form.missing)
    if events.anonymous:
        nobody = [one_id(text) for text in events.anonymous]
        ids = pl.select(pl.when(~ids.is_in(nobody)).then(ids).alias(ids.name)).to_series()
    if events.visitor is None:
        return ids
    visitors = id_text(frame[events.visitor], file, form.missing)
    named = pl.lit(f"{events.visitor}:") + visitors
    return pl.select(pl.coalesce(ids, named).alias(ids.name)).to_series()
