"""The lines of a text file."""

from __future__ import annotations

from pathlib import Path

import polars as pl


def file_lines(source: Path | bytes, n_rows: int | None = None) -> pl.Series:
    """(n,) the lines of a text file, compressed or not; an empty line is null."""
    try:
        frame = pl.read_csv(
            source,
            has_header=False,
            separator="\x00",
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
            n_rows=n_rows,
            truncate_ragged_lines=True,
            glob=False,
        )
    except pl.exceptions.NoDataError:
        return pl.Series("line", [], dtype=pl.String)
    return frame["line"].str.strip_chars_end("\r").str.strip_chars_start("\ufeff")
