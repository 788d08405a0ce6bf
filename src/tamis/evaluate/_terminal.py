"""Prints the parts of a report's summary in the terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable

from tamis.evaluate._summary import Cell, Facts, ReportTable

LEAST_WORDS = 20
"""Characters down to which labels and words of a table fold."""


def print_text(console: Console, *lines: str) -> None:
    """Prints each line as it is, without markup; empty lines are left out."""
    for line in lines:
        if line:
            console.print(escape(line), highlight=False)


def print_table(console: Console, table: ReportTable | None) -> None:
    """Prints a table after an empty line; nothing for None. Where the console is too narrow for its
    columns, each row has its label on one line and its values below: numbers are never cut."""
    if table is None:
        return
    if _least_width(table) > console.width:
        _print_rows(console, table)
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


def _least_width(table: ReportTable) -> int:
    """Characters that the table needs at least: words may fold, numbers may not."""
    label = max(cell_len(text) for text in (table.label, *(row.label for row in table.rows)))
    words = any(column.prose for column in table.columns)
    width = label if words else min(label, LEAST_WORDS)
    for k, column in enumerate(table.columns):
        if not column.page_only:
            texts = (column.heading, *(row.cells[k].text for row in table.rows))
            own = max(map(cell_len, texts))
            width += 2 + (min(own, LEAST_WORDS) if column.prose else own)
    return width


def _print_rows(console: Console, table: ReportTable) -> None:
    """Prints each row of a table as lines: its label, then headings with values."""
    console.print()
    console.print(f"[bold]{escape(table.title)}[/]", highlight=False)
    kept = [k for k, column in enumerate(table.columns) if not column.page_only]
    for row in table.rows:
        label = f"{table.label} {row.label}".strip() if table.label else row.label
        style = "bold" if row.highlight else ""
        console.print(escape(label), style=style, highlight=False)
        values = [
            (f"{table.columns[k].heading} {row.cells[k].text}".strip(), row.cells[k]) for k in kept
        ]
        line, used = list[str](), 0
        for text, cell in values:
            shown = escape(text) if cell.interval is None else _coloured(text, cell)
            if line and used + 3 + cell_len(text) > console.width - 2:
                console.print(Padding(" · ".join(line), (0, 0, 0, 2)), highlight=False)
                line, used = [], 0
            used += cell_len(text) + (3 if line else 0)
            line.append(shown)
        console.print(Padding(" · ".join(line), (0, 0, 0, 2)), highlight=False)


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
    return _coloured(cell.text, cell)


def _coloured(text: str, cell: Cell) -> str:
    positive = cell.interval is not None and cell.interval.positive
    return f"[{'green' if positive else 'yellow'}]{escape(text)}[/]"
