"""Splitting text tables into records: as Python's csv module does, and what it does not forgive."""

import csv
import io
import random
from pathlib import Path

import pytest

from tamis.data import read_raw

ALPHABET = "ab 1\",;|\t\n'é"


def written(seed: int) -> tuple[str, str, list[list[str]], list[int]]:
    """A table by Python's csv module: its text, its separator, its rows and their line numbers."""
    rng = random.Random(seed)
    separator, end = rng.choice(",;|\t"), rng.choice(["\n", "\r\n"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    width, height = rng.randint(2, 5), rng.randint(1, 8)

    def text() -> str:
        return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, 9)))

    rows = [[f"id{r}", *(text() for _ in range(width - 1))] for r in range(height)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow([f"c{k}" for k in range(width)])
    writer.writerows(rows)
    lines, line = [], 2
    for row in rows:
        lines.append(line)
        line += 1 + sum(cell.count("\n") for cell in row)
    return buffer.getvalue(), separator, rows, lines


@pytest.mark.parametrize("block", range(10))
def test_well_written_tables_are_read_as_by_the_csv_module(block: int, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for seed in range(20 * block, 20 * block + 20):
        text, separator, rows, lines = written(seed)
        path.write_bytes(text.encode())
        table = read_raw(path, "t.csv", separator)
        got = [[(cell or "").strip(" ") for cell in row] for row in table.frame.rows()]
        assert got == [[cell.strip(" ") for cell in row] for row in rows], text
        assert table.row_numbers.tolist() == lines, text
        assert table.broken == []


@pytest.mark.parametrize("place", range(40))
def test_a_stray_mark_costs_one_row_at_most(place: int, tmp_path: Path) -> None:
    """A mark put anywhere into a table of 20 rows: at most its row is lost or differs."""
    rows = [f"{k},name {k},{k * 7}" for k in range(20)]
    text = "\n".join(rows) + "\n"
    at = place * len(text) // 40
    path = tmp_path / "t.csv"
    path.write_text("id,name,n\n" + text[:at] + '"' + text[at:])
    table = read_raw(path, "t.csv")
    expected = dict(enumerate((tuple(row.split(",")) for row in rows), 2))
    got = dict(zip(table.row_numbers.tolist(), table.frame.rows(), strict=True))
    broken = [int(line) for lines, _, _ in table.broken for line in lines]
    different = [line for line, row in got.items() if row != expected[line]]
    assert len({*different, *broken}) == 1
    assert sorted([*got, *broken]) == list(expected)
