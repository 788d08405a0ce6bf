"""Reads MovieLens as three tables, from any of the archives that contain it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tamis.schema import DataError


@dataclass(frozen=True)
class PlainTables:
    """The tables of a data set, in the form in which they are written."""

    events: pl.DataFrame
    """user_id, item_id, rating, timestamp (seconds)."""
    items: pl.DataFrame
    """item_id, title ("Matrix, The (1999)"), release_year, genres ("Action|Thriller")."""
    users: pl.DataFrame
    """user_id, gender, age, occupation, zip_code."""


def read_movielens(archive: Path, name: str) -> PlainTables:
    """Reads `movielens-100k` or `movielens-1m` from the archive of GroupLens or from a wheel.

    Items of MovieLens-1M are numbered by their position in its list of films (from 0), so that all
    archives give the same tables; MovieLens-100K keeps its numbers.

    Raises:
        DataError: the archive does not contain the data set.
    """
    with zipfile.ZipFile(archive) as opened:
        members = {Path(member).name: member for member in opened.namelist()}

        def read(member: str) -> bytes:
            return opened.read(members[member])

        try:
            if name == "movielens-1m":
                if "ratings.dat" in members:
                    return _official_1m(read("ratings.dat"), read("movies.dat"), read("users.dat"))
                return _wheel_1m(read("ml-1m.inter"), read("ml-1m.item"), read("ml-1m.user"))
            if "u.data" in members:
                genres = read("u.genre")
                return _official_100k(read("u.data"), read("u.item"), read("u.user"), genres)
            return _wheel_100k(read("ml-100k.inter"), read("ml-100k.item"), read("ml-100k.user"))
        except KeyError as error:
            raise DataError(
                f"{archive}: holds no {name} (no {error}). Delete the file and fetch again."
            ) from error


def _table(data: bytes, columns: list[str], separator: str, header: bool = False) -> pl.DataFrame:
    """A table with all columns as text; quotation marks are part of titles."""
    frame = pl.read_csv(
        data.replace(b"\r\n", b"\n"),
        separator=separator,
        has_header=header,
        infer_schema=False,
        quote_char=None,
    )
    return frame.select(frame.columns[: len(columns)]).rename(
        dict(zip(frame.columns, columns, strict=False))
    )


def _unicode(data: bytes) -> bytes:
    return data.decode("latin-1").encode()


def _wheel_1m(inter: bytes, item: bytes, user: bytes) -> PlainTables:
    ratings = _table(inter, ["user_id", "title", "rating", "timestamp"], "\t", header=True)
    items = _table(item, ["title", "_", "_year", "genres"], "\t", header=True)
    users = _table(user, ["user_id", "age", "gender", "occupation", "zip_code"], "\t", header=True)
    items = items.with_row_index("item_id")
    numbered = ratings.join(items.select("title", "item_id"), on="title", maintain_order="left")
    short = pl.col("user_id").str.strip_prefix("1m_")
    genres = pl.col("genres").str.replace_all(" ", "|", literal=True)
    return _plain(
        numbered.with_columns(short), items.with_columns(genres), users.with_columns(short)
    )


def _official_1m(ratings: bytes, movies: bytes, users: bytes) -> PlainTables:
    def split(data: bytes, columns: list[str]) -> pl.DataFrame:
        return _table(_unicode(data).replace(b"::", b"\t"), columns, "\t")

    items = split(movies, ["film", "title", "genres"]).with_row_index("item_id")
    events = split(ratings, ["user_id", "film", "rating", "timestamp"])
    events = events.join(items.select("film", "item_id"), on="film", maintain_order="left")
    return _plain(
        events, items, split(users, ["user_id", "gender", "age", "occupation", "zip_code"])
    )


def _wheel_100k(inter: bytes, item: bytes, user: bytes) -> PlainTables:
    ratings = _table(inter, ["user_id", "item_id", "rating", "timestamp"], "\t", header=True)
    items = _table(item, ["item_id", "title", "_year", "genres"], "\t", header=True)
    users = _table(user, ["user_id", "age", "gender", "occupation", "zip_code"], "\t", header=True)
    items = items.with_columns(
        pl.when(pl.col("_year").str.contains(r"^\d{4}$"))
        .then(pl.format("{} ({})", "title", "_year"))
        .otherwise("title")
        .alias("title"),
        pl.col("genres").str.replace_all(" ", "|", literal=True),
    )
    return _plain(ratings, items, users)


def _official_100k(data: bytes, item: bytes, user: bytes, genre: bytes) -> PlainTables:
    names = [line.split("|")[0] for line in genre.decode().splitlines() if "|" in line]
    flags = [f"flag{number}" for number in range(len(names))]
    columns = ["item_id", "title", "_released", "_video", "_url", *flags]
    items = _table(_unicode(item), columns, "|").with_columns(
        pl.concat_str(
            [
                pl.when(pl.col(flag) == "1").then(pl.lit(name))
                for flag, name in zip(flags, names, strict=True)
            ],
            separator="|",
            ignore_nulls=True,
        ).alias("genres")
    )
    ratings = _table(data, ["user_id", "item_id", "rating", "timestamp"], "\t")
    users = _table(user, ["user_id", "age", "gender", "occupation", "zip_code"], "|")
    return _plain(ratings, items, users)


def _plain(events: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame) -> PlainTables:
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int64).alias("release_year")
    numbers = pl.col("user_id", "item_id", "rating", "timestamp").cast(pl.Int64)
    return PlainTables(
        events.select("user_id", "item_id", "rating", "timestamp").with_columns(numbers),
        items.with_columns(year, pl.col("item_id").cast(pl.Int64)).select(
            "item_id", pl.col("title").str.strip_chars(), "release_year", "genres"
        ),
        users.with_columns(pl.col("user_id").cast(pl.Int64)).select(
            "user_id", "gender", pl.col("age").cast(pl.Int64), "occupation", "zip_code"
        ),
    )
