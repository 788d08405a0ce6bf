"""Turns drawn outcomes into rows of events, with their times and times of arrival."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.runtime import Bool, Floats, Ints
from tamis.simulator.behaviour import Outcomes, Responses
from tamis.simulator.clock import DAY_MS, HOUR_MS, SECOND_MS
from tamis.simulator.policy import Impressions, Source
from tamis.simulator.traffic import Requests

BEHAVIOURS: tuple[str, ...] = (
    "impression",
    "click",
    "like",
    "collect",
    "share",
    "watch",
    "cart",
    "purchase",
)
"""All behaviours, in the order in which events of equal time are written."""

_ARRIVAL_SECONDS_MEAN = 1.5
_LATE_MEDIAN_HOURS, _LATE_SIGMA, _LATE_MOST_DAYS = 4.0, 1.2, 7


@dataclass(frozen=True)
class Shown:
    """A batch of n impressions with the columns that their events repeat."""

    user: Ints  # (n,), user row
    item: Ints  # (n,), item row
    time: Ints  # (n,), ms
    request_id: Ints  # (n,)
    position: Ints  # (n,), from 1
    source: Ints  # (n,), Source
    wanted: Bool  # (n,), whether the user has come back for the item

    @classmethod
    def of(cls, requests: Requests, first_id: int, impressions: Impressions) -> "Shown":
        """The impressions of a batch of requests whose ids start at ``first_id``."""
        at = impressions.request
        return cls(
            user=requests.user[at],
            item=impressions.item,
            time=requests.time[at],
            request_id=first_id + at,
            position=impressions.position,
            source=impressions.source,
            wanted=requests.wanted[at] == impressions.item,
        )


def event_rows(
    shown: Shown, outcomes: Outcomes, price: Floats, rng: np.random.Generator
) -> pl.DataFrame:
    """All events of a batch, without arrival; ids are row numbers, behaviours indices.

    ``price`` (n,) is that of each impression's item. Times are ms, and no event precedes its cause:
    impression <= click <= everything after the click, cart <= purchase.
    """
    n = len(shown.item)
    click_time = shown.time + _delays(rng, n, median_seconds=6.0, sigma=0.8)
    cart_time = click_time + _delays(rng, n, median_seconds=40.0, sigma=0.8)
    watch_end = click_time + np.round(outcomes.watch * SECOND_MS).astype(np.int64)
    everything = np.ones(n, dtype=np.bool_)
    parts: list[tuple[np.ndarray, Ints, Floats | None]] = [
        (everything, shown.time, None),
        (outcomes.click, click_time, None),
        (outcomes.like, click_time + _delays(rng, n, 20.0, 0.8), None),
        (outcomes.collect, click_time + _delays(rng, n, 30.0, 0.8), None),
        (outcomes.share, click_time + _delays(rng, n, 45.0, 0.8), None),
        (outcomes.click, watch_end, np.round(outcomes.watch, 3)),
        (outcomes.cart, cart_time, None),
        (outcomes.purchase, cart_time + _delays(rng, n, 600.0, 1.5), price),
    ]
    return _stack(shown, parts)


def arrivals(time: Ints, late_share: float, rng: np.random.Generator) -> Ints:
    """(n,) times of arrival, ms: seconds later, or hours to days for a share ``late_share``."""
    n = len(time)
    prompt = rng.exponential(_ARRIVAL_SECONDS_MEAN * SECOND_MS, n)
    hours = _LATE_MEDIAN_HOURS * np.exp(rng.normal(0.0, _LATE_SIGMA, n))
    late = np.clip(hours * HOUR_MS, HOUR_MS, _LATE_MOST_DAYS * DAY_MS)
    return time + np.where(rng.random(n) < late_share, late, prompt).astype(np.int64)


def truth_rows(shown: Shown, responses: Responses) -> pl.DataFrame:
    """The true probabilities of a batch, one row per impression, ids as row numbers."""
    return pl.DataFrame(
        {
            "request_id": shown.request_id,
            "item": shown.item,
            "user": shown.user,
            "position": shown.position,
            "time": shown.time,
            "source": shown.source,
            "p_click": responses.click,
            "p_like_given_click": responses.like_given_click,
            "p_collect_given_click": responses.collect_given_click,
            "p_share_given_click": responses.share_given_click,
            "p_cart_given_click": responses.cart_given_click,
            "p_purchase_given_cart": responses.purchase_given_cart,
            "watch_given_click": responses.watch_given_click,
            "p_cart": responses.cart,
            "p_purchase": responses.purchase,
        }
    )


def source_names() -> list[str]:
    """The name of each ``Source`` as it is written, by number."""
    return [source.name.lower() for source in Source]


def _delays(rng: np.random.Generator, count: int, median_seconds: float, sigma: float) -> Ints:
    """(count,) log-normal delays, ms, at most three days."""
    wait = median_seconds * np.exp(sigma * rng.standard_normal(count))
    return (np.minimum(wait * SECOND_MS, 3 * DAY_MS)).astype(np.int64)


def _stack(shown: Shown, parts: Sequence[tuple[np.ndarray, Ints, Floats | None]]) -> pl.DataFrame:
    """One row per event; a part holds the occurrence (n,), time and value of one behaviour."""
    rows = [np.flatnonzero(done) for done, _, _ in parts]
    at = np.concatenate(rows)
    value = [
        np.full(len(r), np.nan) if given is None else given[r].astype(np.float64)
        for r, (_, _, given) in zip(rows, parts, strict=True)
    ]
    return pl.DataFrame(
        {
            "user": shown.user[at],
            "item": shown.item[at],
            "behaviour": np.repeat(np.arange(len(parts), dtype=np.int8), [len(r) for r in rows]),
            "time": np.concatenate([t[r] for r, (_, t, _) in zip(rows, parts, strict=True)]),
            "value": np.concatenate(value),
            "request_id": shown.request_id[at],
            "position": shown.position[at],
        }
    ).with_columns(pl.col("value").fill_nan(None))
