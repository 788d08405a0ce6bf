"""Tables of reports in a narrow terminal: names and numbers stay whole."""

import io

import pytest
from rich.console import Console

from tamis.evaluate._summary import Cell, ReportColumn, ReportTable, Row
from tamis.evaluate._terminal import print_table

HEADINGS = ("role", "arm", "control", "arm's", "change [interval]", "p", "at every look")
GOAL = ("goal", "diverse", "0.123456", "0.234567", "+1.2% [-0.3%, +2.7%]", "0.00012", "-1 to +2")
GUARD = ("guardrail", "diverse", "20.1", "21.2", "-4.1% [-7.7%, -0.5%]", "0.0271", "-2.1 to +3.2")


def printed(width: int) -> str:
    rows = tuple(
        Row(name, tuple(map(Cell, cells)))
        for name, cells in (("click / impression", GOAL), ("took_ms / answers", GUARD))
    )
    table = ReportTable("Effects", tuple(map(ReportColumn, HEADINGS)), rows, "metric")
    out = io.StringIO()
    print_table(Console(file=out, width=width, color_system=None), table)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_and_numbers_are_whole(width: int) -> None:
    text = printed(width)
    assert "…" not in text
    for words in ("click / impression", "took_ms / answers", *GOAL, *GUARD):
        assert words in text
    assert max(map(len, text.splitlines())) <= width


def test_a_wide_terminal_has_a_table() -> None:
    assert "metric click" not in printed(120)
    assert len(printed(120).strip().splitlines()) == 4
