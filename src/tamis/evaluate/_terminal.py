"""Prints the parts of a report's summary in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from tamis.evaluate._summary import Cell, Facts, ReportTable


def print_text(console: Console, *lines: str) -> None:
    """Prints each line as it is, without markup; empty lines are left out."""
    for line in lines:
        if line:
            console.print(escape(line), highlight=False)


def print_table(console: Console, table: ReportTable | None) -> None:
    """Prints a table after an empty line; nothing for None."""
    if table is None:
        return
    out = titled(table.title)
    words = any(column.prose for column in table.columns)  # which wrap before the labels do
    out.add_column(escape(table.label), no_wrap=words)
    kept = [k for k, column in enumerate(table.columns) if not column.page_only]
    for k in kept:
        prose = table.columns[k].prose
        justify = "left" if prose else "right"
        out.add_column(escape(table.columns[k].heading), justify=justify, no_wrap=not prose)
    for row in table.rows:
        style = "bold" if row.highlight else ""
        out.add_row(escape(row.label), *(_cell(row.cells[k]) for k in kept), style=style)
    console.print()
    console.print(out)


def print_facts(console: Console, title: str, facts: Facts) -> None:
    """Prints names and values in two columns under a title; nothing where there are none."""
    if not facts:
        return
    out = titled(title)
    out.show_header = False
    out.add_column(no_wrap=True)
    out.add_column()
    for name, value in facts:
        out.add_row(escape(name), escape(value))
    console.print()
    console.print(out)


def titled(title: str) -> RichTable:
    """An empty table without borders."""
    return RichTable(
        title=escape(title), title_justify="left", title_style="bold", box=None, pad_edge=False
    )


def _cell(cell: Cell) -> str:
    if cell.interval is None:
        return escape(cell.text)
    return f"[{'green' if cell.interval.positive else 'yellow'}]{escape(cell.text)}[/]"
