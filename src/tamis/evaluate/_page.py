"""Renders a report's summary with its Jinja2 template into one self-contained HTML page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def write_page(path: Path, template: str, **context: Any) -> Path:
    """Renders a template of `tamis/evaluate/templates` and writes it as UTF-8.

    Args:
        path: the HTML file; missing folders are created.
        template: the template's file name.
        context: the template's variables. Text is escaped; names that a template expects and does
            not get raise `jinja2.UndefinedError`.

    Returns `path`.
    """
    html = _environment().get_template(template).render(context)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")
    return path


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tamis.evaluate", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
