"""Readers of labelled rows (Frappe), of impressions with labels (KuaiRand), and of logs of views,
carts and purchases with any names of columns and behaviours."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tamis.data import column_names as words
from tamis.data import (
    event_columns,
    event_table,
    named_column,
    parse_times,
    read_frame,
    readable_tables,
)
from tamis.schema import DataError

Tables = dict[str, pl.DataFrame]

FRAPPE = [
    *("label", "user", "item", "daytime", "weekday", "isweekend"),
    *("homework", "cost", "weather", "country", "city"),
]
KUAIRAND = {
    "click": "is_click",
    "long_view": "long_view",
    "comment": "is_comment",
    "follow": "is_follow",
    "forward": "is_forward",
    "profile_enter": "is_profile_enter",
}
"""Behaviour → its column of 0 and 1."""
FUNNEL = {
    "view": "view views viewed pageview page_view product_view pv click clicks detail visit open",
    "cart": "cart addtocart add_to_cart add_cart basket add_to_basket",
    "purchase": "purchase purchases buy bought order ordered transaction checkout sale pay",
}
"""Step → usual names of it."""


def frappe(folder: Path) -> Tables:
    """Reads Frappe: rows of a label and ten ids, by the stem of their file.

    Raises:
        DataError: `train.csv` or `valid.csv` has other columns or labels.
    """
    out: Tables = {}
    for path in sorted(folder.glob("*.csv")):
        frame = read_frame(path)
        fits = frame.columns == FRAPPE and bool(frame["label"].is_in([0, 1]).all())
        if not fits:
            if path.stem in ("train", "valid"):
                raise DataError(
                    f"{path.name}: not a table of Frappe: the columns must be {', '.join(FRAPPE)}, "
                    f"labels 0 or 1; it has {', '.join(frame.columns)[:200]}"
                )
            continue
        out[path.stem] = frame
    return out


def kuairand(folder: Path) -> Tables:
    """Reads KuaiRand: impressions and the behaviours that followed, and the same as labelled rows.

    The events of a row share its `request_id`. The duration of a video is the longest of its rows;
    0 means missing. The value of `watch` is the seconds watched.

    Raises:
        DataError: interactions.csv lacks a column.
    """
    frame = read_frame(folder / "interactions.csv")
    wanted = ["user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", "label"]
    missing = [c for c in (*wanted, *KUAIRAND.values()) if c not in frame.columns]
    if missing:
        raise DataError(
            f"interactions.csv: not a table of KuaiRand: column {missing[0]!r} is missing; it has "
            f"{', '.join(frame.columns)[:300]}"
        )
    seconds = (pl.col("play_time_ms") / 1000).round(3)
    frame = frame.sort("time_ms", maintain_order=True).with_row_index("request_id", 1)
    rows = frame.select(
        "request_id",
        "user_id",
        item_id="video_id",
        time="time_ms",
        **{name: pl.col(column) for name, column in KUAIRAND.items()},
        like="label",
        watch=seconds,
        duration=(pl.col("duration_ms") / 1000).round(3),
    )
    items = rows.group_by("item_id", maintain_order=True).agg(pl.col("duration").max())
    items = items.with_columns(pl.when(pl.col("duration") > 0).then("duration").alias("duration"))
    return {"events": _long(rows), "items": items, "rows": rows}


def _long(rows: pl.DataFrame) -> pl.DataFrame:
    """One event per impression and per behaviour that followed it, sorted by time."""
    base = ["user_id", "item_id", "time", "request_id"]
    empty = pl.lit(None, pl.Float64)
    parts = [rows.select(*base, behaviour=pl.lit("impression"), value=empty)]
    for name in (*KUAIRAND, "like"):
        done = rows.filter(pl.col(name) == 1)
        parts.append(done.select(*base, behaviour=pl.lit(name), value=empty))
    disliked = rows.filter(pl.col("like") == 0)
    parts.append(disliked.select(*base, behaviour=pl.lit("hate"), value=empty))
    watched = rows.filter(pl.col("watch") > 0)
    parts.append(watched.select(*base, behaviour=pl.lit("watch"), value=pl.col("watch")))
    return pl.concat(parts).sort("time", "request_id", maintain_order=True)


def funnel(folder: Path) -> Tables:
    """Reads a log with columns of user, item, time and step (view, cart, purchase or synonyms).

    Columns are detected by their usual names, as in `tamis init`. Title, category, brand and price
    of an item are its last values in the log. Other steps are left out.

    Raises:
        DataError: no table is a log, or it has no column with at least two of the steps.
    """
    frames = readable_tables(folder).frames
    file = event_table(frames, folder)
    frame = frames[file]
    columns = event_columns(frame)
    step = columns.get("behaviour")
    if step is None:
        raise DataError(
            f"{file}: no column of behaviours (looked for {', '.join(words.BEHAVIOUR[:6])} "
            "…): rename the one with values such as view, cart, purchase"
        )
    to = {word: name for name, known in FUNNEL.items() for word in known.split()}
    values = frame[step].unique().drop_nulls().to_list()
    known = {word: to[words.plain(str(word))] for word in values if words.plain(str(word)) in to}
    if len(set(known.values())) < 2:
        raise DataError(
            f"{file}: column `{step}` has the values {', '.join(map(str, values[:8]))}, but at "
            "least two of view, cart and purchase (or usual synonyms) are needed; rename its values"
        )
    price = named_column(frame, ["price", "unit_price", "amount", "revenue"])
    times = parse_times(frame[columns["time"]])
    usable = ~(times.bad | times.missing | times.other_unit)
    kept = frame.with_columns(pl.Series("ms", times.ms)).filter(
        pl.Series(usable) & pl.col(step).cast(pl.String).is_in(list(known))
    )
    events = kept.select(
        user_id=pl.col(columns["user"]),
        item_id=pl.col(columns["item"]),
        time=pl.col("ms"),
        behaviour=pl.col(step).cast(pl.String).replace_strict(known),
        value=pl.col(price).cast(pl.Float64, strict=False) if price else pl.lit(None, pl.Float64),
    ).sort("time", maintain_order=True)
    return {"events": events, "items": _items_of(kept.sort("ms"), columns["item"], price)}


def _items_of(frame: pl.DataFrame, item: str, price: str | None) -> pl.DataFrame:
    """The items of the log with the last value of each attribute; unknown columns are empty."""
    sources = {
        "title": named_column(frame, words.TITLE),
        "category": named_column(frame, ["category_code", *words.CATEGORY]),
        "brand": named_column(frame, ["brand", "brand_name", "manufacturer"]),
        "price": price,
    }
    last = {
        name: pl.col(column).drop_nulls().last()
        for name, column in sources.items()
        if column is not None
    }
    return (
        frame.group_by(pl.col(item).alias("item_id"), maintain_order=True)
        .agg(**last)
        .with_columns(**{name: pl.lit(None, pl.String) for name, c in sources.items() if c is None})
        .select("item_id", *sources)
    )
