"""Entries and answers as narrow tables, block by block, for jobs that read all of them.

Memory is bounded by the block, and no Python object is made per entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from tamis.journal.protocol import Answers, Journal, Lines
from tamis.journal.stretches import Stretch, stretches
from tamis.schema import StoreError

BLOCK = 25_000
"""Entries of a block."""
ANSWERS = 10_000
"""Answers of a block: each has a slate."""

ENTRY_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "behaviour": pl.String(),
        "time": pl.Int64(),
        "arrival": pl.Int64(),
        "value": pl.Float64(),
        "recommendation_id": pl.String(),
        "columns": pl.String(),
    }
)
"""Fields of entries; `columns` of puts and patches as JSON."""


def entry_blocks(
    project: Path,
    journal: Journal | None,
    *,
    fields: Iterable[str] = ENTRY_SCHEMA,
    since: int = 0,
    size: int = BLOCK,
) -> Iterator[pl.DataFrame]:
    """All entries of a project in their order, exported stretches first, up to the head of now.

    Each block has the columns `fields` of `ENTRY_SCHEMA`: fewer are faster. Stretches that were
    written before the time `since` (ms) are not read: their entries came before. Raises StoreError
    where entries are missing or damaged.
    """
    last, schema = 0, pl.Schema({name: ENTRY_SCHEMA[name] for name in fields})
    for stretch in stretches(project):
        if stretch.first != last + 1:
            raise _gap(last, stretch.first - 1)
        if stretch.written >= since:
            yield _stretch_table(stretch).select(schema.names())
        last = stretch.last
    if journal is None:
        return
    if journal.start > last:
        raise _gap(last, journal.start)
    yield from _blocks(journal.lines, last, journal.head, size, schema, "entries")


def answer_blocks(
    answers: Answers, schema: pl.Schema, *, size: int = ANSWERS
) -> Iterator[pl.DataFrame]:
    """All answers in their order, up to the head of now, with some of their fields.

    schema: the fields; parts of objects as structs, and null where an answer does not have them.
    Raises StoreError where answers are damaged.
    """
    lines = partial(answers.lines, slates="slate" in schema)
    yield from _blocks(lines, 0, answers.head, size, schema, "answers")


def _blocks(
    read: Callable[[int, int], Lines],
    after: int,
    head: int,
    size: int,
    schema: pl.Schema,
    what: str,
) -> Iterator[pl.DataFrame]:
    while after < head:
        # Numbers may be skipped, so the last block may hold entries that came after `head`.
        content, last = read(after, min(size, head - after))
        if not content:
            return
        yield parsed(content, schema, f"{what} {after + 1} to {last} of the journal")
        after = last


def _stretch_table(stretch: Stretch) -> pl.DataFrame:
    """The entries of a stretch, in order."""
    events = stretch.events().with_columns(kind=pl.lit("event"), columns=pl.lit(None, pl.String))
    frame = stretch.change_table()
    changes = parsed("\n".join(frame["body"].to_list()).encode(), ENTRY_SCHEMA, str(stretch.path))
    order = ["sequence", *ENTRY_SCHEMA.names()]
    both = pl.concat([events.select(order), changes.with_columns(frame["sequence"]).select(order)])
    return both.sort("sequence").drop("sequence")


def parsed(content: bytes, schema: pl.Schema, place: str) -> pl.DataFrame:
    """A table of JSON objects, one a line. Raises StoreError naming `place` where it is damaged."""
    if not content:
        return pl.DataFrame(schema=schema)
    try:
        return pl.read_ndjson(content, schema=schema)
    except pl.exceptions.PolarsError as error:
        raise StoreError(
            f"{place} cannot be read ({error}): they may be damaged; restore the journal from a "
            "backup"
        ) from error


def _gap(last: int, upto: int) -> StoreError:
    return StoreError(
        f"entries {last + 1} to {upto} have left the journal, and no export holds them: restore "
        "journal/exported from a backup"
    )
