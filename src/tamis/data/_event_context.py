"""Reads the columns of the log that describe the request: context, city and place."""

from __future__ import annotations

import numpy as np

from tamis.data.context import CITY, EventContext, Texts
from tamis.data.files import RawTable
from tamis.data.ids import id_text
from tamis.data.numbers import read_numbers
from tamis.data.rejects import Sieve
from tamis.data.text_form import TextForm
from tamis.runtime import Float32
from tamis.schema import EventsConfig


def event_context(
    config: EventsConfig, raw: RawTable, sieve: Sieve, form: TextForm
) -> EventContext | None:
    """What the rows say about their requests; None where no such column is declared.

    Degrees that are none are left empty and reported.
    """
    frame = raw.frame
    named = {name: name for name in config.context} | ({CITY: config.city} if config.city else {})
    columns = {
        name: Texts.of(id_text(frame[column], raw.file, form.missing))
        for name, column in named.items()
    }
    if config.latitude is None or config.longitude is None:
        return EventContext(columns) if columns else None
    latitude = _degrees(config.latitude, "latitude", 90, raw, sieve, form)
    longitude = _degrees(config.longitude, "longitude", 180, raw, sieve, form)
    both = np.isfinite(latitude) & np.isfinite(longitude)
    return EventContext(
        columns, *(np.where(both, d, np.float32(np.nan)) for d in (latitude, longitude))
    )


def _degrees(
    name: str, what: str, most: int, raw: RawTable, sieve: Sieve, form: TextForm
) -> Float32:
    """(n,) degrees within [-most, most]; NaN for missing and unusable ones."""
    column = raw.frame[name]
    read = read_numbers(column, form)
    degrees = read.values.fill_null(np.nan).to_numpy().astype(np.float32)
    with np.errstate(invalid="ignore"):
        outside = np.abs(degrees) > most
    sieve.blank(read.bad, f"{what} is not a number", name, column)
    sieve.blank(outside, f"{what} is not within -{most} to {most}", name, column)
    return np.where(outside, np.float32(np.nan), degrees)
