"""Guesses from a column's name, type and values which feature it makes, if any.

`guess_feature` is the only place that decides this. `default_features` (a project that declares no
features), `tamis init`, the two towers and `tamis compare rank --table` all call it; `GuessOptions`
holds the few things in which they differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from tamis.data import Dataset, column_names, is_number, plain_types
from tamis.features.encoders import split
from tamis.schema import DenseFeat, Feature, ProjectConfig, Side, SparseFeat, VarLenSparseFeat

SEPARATORS = ("|", ";", ",", " ")
"""Separators of ids in a text column, tried in this order."""
FEW_VALUES = 64
"""Text and integers with at most as many distinct values are always categories."""
REPEATED = 0.5
"""Beyond `FEW_VALUES`, text and ids are categories where distinct values / values is at most this:
a value occurs twice on average."""
RARE_BEYOND = 1000
"""Beyond as many distinct values, those that occur once are not learnt (`min_count = 2`)."""
SEPARATED_SHARE = 0.05
"""Least share of the texts that contain a separator of ids."""
PART_REPEATED = 0.2
"""Separated parts are ids where distinct parts / parts is at most this (or at most 20 distinct)."""
BLANK_WORDS = 1000
"""Most distinct parts of a column separated by blanks; more is free text."""
SAMPLE = 20_000
"""First known texts in which separators are searched."""
SKEWED = 20.0
"""Non-negative numbers whose maximum exceeds this many times max(median, 1) take a log."""
LONGEST_LIST = 32
"""Most ids of a list that are kept where `GuessOptions.max_len` is omitted."""
_TWO_DAYS_MS = 2 * 86_400_000
"""Least time spanned by impressions for which the hour becomes a feature."""
_ID_NAME = re.compile(r"(^|_)id$")


@dataclass(frozen=True, kw_only=True)
class GuessOptions:
    """Properties of the table and of the model that will read its features."""

    log: bool = False
    """The table is a log: ids repeat in it, so text and columns of an integer type are ids
    however many distinct values they have. Otherwise it has one row per user or item."""
    vectors: bool = True
    """The model reads vectors of numbers; otherwise columns of such vectors are left out."""
    dates: bool = True
    """The model reads dates, as numbers; otherwise columns of dates are left out."""
    transform: Literal["scaled", "quantile"] = "scaled"
    """Numbers become z-scores (of their logarithm where skewed), or ids of their quantiles."""
    max_len: int | None = None
    """Ids kept per list. If omitted: the 99 % quantile of the lengths, 1 to `LONGEST_LIST`."""
    max_values: int | None = None
    """Text with more distinct values is left out. If omitted: no limit."""


_DEFAULT = GuessOptions()


def guess_feature(
    column: pl.Series,
    *,
    side: Side | None = None,
    is_id: bool = False,
    separator: str | None = None,
    options: GuessOptions = _DEFAULT,
) -> Feature | None:
    """The feature that a column makes, under the column's name, or None.

    The first rule that applies decides. Nulls, NaN and blank texts are left aside. "Few"
    means at most `FEW_VALUES` distinct values; "repeated" means few, or distinct values / values of
    at most `REPEATED`.

    ===  ==================================================  =====================================
    1    no value at all                                     none
    2    lists of floats                                     dense vector where all lengths agree
    3    lists of ids                                        varlen
    4    fewer than two distinct values                      none
    5    declared an id (`is_id`)                            sparse
    6    text with a declared `separator`                    varlen
    7    booleans                                            sparse
    8    dates                                               dense
    9    numbers named `year`, all within 1800 to 2200       dense
    10   numbers named `id`, `…_id`                          sparse where repeated, else none
    11   an integer type                                     sparse where few
    12   other numbers                                       dense
    13   text with a separator (`list_separator`)            varlen
    14   other text                                          sparse where repeated, else none
    15   anything else (structs, binary)                     none
    ===  ==================================================  =====================================

    In a log (`GuessOptions.log`), integers and text count as repeated (rules 10, 11 and 14).

    Args:
        side: whose attribute the column is; written into the feature.
        is_id: the column is known to hold ids, of authors for example.
        separator: the column is known to hold several ids per row, separated by this text.
    """
    known = plain_types(column).drop_nulls()
    if known.dtype == pl.String:
        known = known.filter(known.str.strip_chars() != "")
    if not len(known):
        return None
    if isinstance(known.dtype, pl.List | pl.Array):
        return _guess_list(known, side, options)
    if known.dtype.is_nested() or known.n_unique() < 2:
        return None
    if is_id:
        return _sparse(known, side, options)
    if separator:
        return _varlen(split(known, separator), side, separator, options)
    if known.dtype == pl.Boolean:
        return SparseFeat(name=known.name, side=side)
    if isinstance(known.dtype, pl.Date | pl.Datetime):
        return DenseFeat(name=known.name, side=side) if options.dates else None
    if is_number(known.dtype):
        return _guess_number(known, side, options)
    return _guess_text(known, side, options) if known.dtype == pl.String else None


def list_separator(column: pl.Series) -> str | None:
    """The separator of a text column that holds several ids per row ("Action|Comedy"), or None.

    It occurs in at least `SEPARATED_SHARE` of the texts, and the parts repeat: at most 20 distinct
    ones, or at most `PART_REPEATED` of all. Commas and blanks also separate the words of sentences
    and names; they count only where there are fewer distinct parts than distinct texts, and blanks
    only where there are at most `BLANK_WORDS` distinct parts.
    """
    if not isinstance(column.dtype, pl.String):
        return None
    texts = column.drop_nulls().head(SAMPLE)
    for separator in SEPARATORS:
        separated = texts.str.contains(separator, literal=True).sum()
        if not separated or separated < SEPARATED_SHARE * len(texts):
            continue
        parts = split(texts, separator).explode().drop_nulls()
        distinct = parts.n_unique()
        if distinct < 2 or distinct > max(20, PART_REPEATED * len(parts)):
            continue
        if separator in ", " and distinct >= texts.n_unique():
            continue
        if separator != " " or distinct <= BLANK_WORDS:
            return separator
    return None


def default_features(data: Dataset, config: ProjectConfig) -> list[Feature]:
    """The features of a project that declares none.

    The ids of users and items, which learn online, as those of authors do; every column of their
    tables by `guess_feature`, except titles and publishing times; the user's last 50 positives,
    which share the embeddings of the item ids; the hour of the request where impressions span at
    least two days (a ranker that is trained on replays at a few cuts would only learn the hours of
    those cuts); whether it is a holiday, where holidays are declared; the declared columns of
    context that have two values or more; and the geohash cell of the request, where places are
    declared.
    """
    taken = {"item_id", "user_id"}
    features: list[Feature] = [
        SparseFeat(name="user_id", side=Side.USER, online=True),
        SparseFeat(name="item_id", side=Side.ITEM, online=True),
    ]
    declared = config.items
    for table, side in ((data.users, Side.USER), (data.items, Side.ITEM)):
        of_item = side is Side.ITEM
        for column in table.frame:
            name = column.name
            if of_item and name in (declared.title, "published"):
                continue
            if name in (declared.published, *taken):
                continue
            separator = declared.category_separator
            separator = separator if of_item and name == declared.category else None
            feature = guess_feature(
                column,
                side=side,
                is_id=of_item and name in (declared.author, declared.category) and not separator,
                separator=separator,
            )
            if of_item and name == declared.author and isinstance(feature, SparseFeat):
                feature = feature.model_copy(update={"online": True})
            if feature is not None:
                features.append(feature)
                taken.add(name)
    positive = tuple(b.name for b in data.behaviours if b.positive)
    if positive:
        name = next(n for n in ("liked", "positives", "history of positives") if n not in taken)
        features.append(VarLenSparseFeat(name=name, history=positive, shares="item_id", max_len=50))
    shown = data.events.time[~data.seen]
    if "hour" not in taken and len(shown) and np.ptp(shown) >= _TWO_DAYS_MS:
        features.append(SparseFeat(name="hour", side=Side.CONTEXT))
        taken.add("hour")
    if "holiday" not in taken and config.holidays is not None:
        features.append(SparseFeat(name="holiday", side=Side.CONTEXT))
    context = data.events.context
    for column, texts in () if context is None else context.columns.items():
        if np.unique(texts.code[texts.code > 0]).size > 1:
            name = column if column not in taken else f"{column} of the request"
            features.append(SparseFeat(name=name, column=column, side=Side.CONTEXT))
    if context is not None and context.latitude is not None and "geohash" not in taken:
        features.append(SparseFeat(name="geohash", side=Side.CONTEXT, min_count=2))
    return features


def _guess_list(known: pl.Series, side: Side | None, options: GuessOptions) -> Feature | None:
    lists = split(known, None)
    inner = lists.dtype.inner if isinstance(lists.dtype, pl.List) else None
    if inner is None or inner.is_nested():
        return None
    if not inner.is_float():
        return _varlen(lists, side, None, options)
    lengths = known.cast(pl.List(inner)).list.len()
    if not options.vectors or lengths.min() != lengths.max() or not lengths.max():
        return None
    return DenseFeat(name=known.name, side=side, width=int(lengths[0]))


def _varlen(
    lists: pl.Series, side: Side | None, separator: str | None, options: GuessOptions
) -> Feature | None:
    """None where every list is empty."""
    lengths = lists.list.len()
    if not lengths.max():
        return None
    usual = int(lengths.quantile(0.99, interpolation="higher") or 1)
    most = options.max_len or min(max(usual, 1), LONGEST_LIST)
    return VarLenSparseFeat(name=lists.name, side=side, separator=separator, max_len=most)


def _guess_number(known: pl.Series, side: Side | None, options: GuessOptions) -> Feature | None:
    values = known.cast(pl.Float64).to_numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    name = column_names.plain(known.name)
    year = "year" in name and bool(values.min() >= 1800 and values.max() <= 2200)
    if not year:
        integer = known.dtype.is_integer()
        repeats = options.log and integer
        if _ID_NAME.search(name):
            return _sparse(known, side, options) if repeats or _repeated(known) else None
        if repeats or (integer and known.n_unique() <= FEW_VALUES):
            return SparseFeat(name=known.name, side=side)
    if options.transform == "quantile":
        return DenseFeat(name=known.name, side=side, transform="quantile")
    skewed = values.min() >= 0 and values.max() > SKEWED * max(np.median(values), 1.0)
    return DenseFeat(name=known.name, side=side, transform="log1p" if skewed else "standard")


def _guess_text(known: pl.Series, side: Side | None, options: GuessOptions) -> Feature | None:
    separator = list_separator(known)
    if separator is not None:
        return _varlen(split(known, separator), side, separator, options)
    if options.max_values is not None and known.n_unique() > options.max_values:
        return None
    return _sparse(known, side, options) if options.log or _repeated(known) else None


def _repeated(known: pl.Series) -> bool:
    return known.n_unique() <= max(FEW_VALUES, REPEATED * len(known))


def _sparse(known: pl.Series, side: Side | None, options: GuessOptions) -> SparseFeat:
    """An id; in a table of users or items, a rare one of many only repeats the row's own id."""
    rare = not options.log and known.n_unique() > RARE_BEYOND
    return SparseFeat(name=known.name, side=side, min_count=2 if rare else 1)
