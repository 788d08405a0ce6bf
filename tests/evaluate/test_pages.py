"""All three reports as pages: well-formed, self-contained, escaped, in the colours of the theme."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from tamis.evaluate import write_channel_report, write_rank_report, write_report

RESULTS = Path(__file__).parent / "results"
VOID = {"meta", "br", "img", "input", "hr", "link"}
LOADS = {"src", "href", "srcset", "data", "action", "poster", "background"}
HOSTILE = """</h1><script>alert("1")</script> & 'quoted' <img src=x> 中文 $x^2_$ """


class Report(NamedTuple):
    name: str
    write: Callable[[dict[str, Any], Path], Path]
    texts: tuple[str, ...]
    """Texts of the JSON that come from a project: names of things, notes, settings."""


REPORTS = (
    Report(
        "cascade",
        write_report,
        ("shop & <friends>", "e-1", "itemcf", "like", "rank", "recall@50", "epochs",
         "A remark <of> the maker.", "full catalogue, 9 items"),
    ),
    Report(
        "ranker",
        write_rank_report,
        ("a <shop>", "v1", "click", "known users", "city", "Y", "impressions", "isotonic, 9 knots",
         "by what was known", "a note & more"),
    ),
    Report(
        "channels",
        write_channel_report,
        ("films & <co>", "itemcf", "leave-one-out", "the last event of each user",
         "full catalogue, 300 items"),
    ),
)  # fmt: skip


class Page(HTMLParser):
    """Checks that tags close in order; keeps text, tags, ids and attributes that load a file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} = {value} runs a script"
            if name == "id":
                self.ids.append(value)
            if name.split(":")[-1] in LOADS:
                self.links.append(value)
            if value and value.startswith("url("):
                self.links.append(value.removeprefix("url(").removesuffix(")"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


@pytest.fixture(params=REPORTS, ids=lambda report: report.name)
def report(request: pytest.FixtureRequest) -> Report:
    return request.param


def written(report: Report, folder: Path, replace: bool = False) -> str:
    """The page of the report's example; `replace`: with HOSTILE before every text of it."""
    result = (RESULTS / f"{report.name}.json").read_text("utf-8")
    for text in report.texts if replace else ():
        before = json.dumps(text, ensure_ascii=False)
        assert before in result
        result = result.replace(before, json.dumps(HOSTILE + text, ensure_ascii=False))
    parsed = json.loads(result)
    if replace and report.name == "ranker":  # the models' names are not a project's
        assert set(parsed["models"]) == {"rank", "prerank"}
    return report.write(parsed, folder / "page.html").read_text("utf-8")


def test_every_report_is_well_formed_as_html_and_as_xml(report: Report, tmp_path) -> None:
    html = written(report, tmp_path)
    Page(html)
    root = ElementTree.fromstring(html)
    assert root.tag == "html"
    assert [child.tag for child in root] == ["head", "body"]


def test_every_report_needs_no_other_file(report: Report, tmp_path) -> None:
    html = written(report, tmp_path)
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert page.links, "the plots refer to their own parts"
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert all(link.startswith("#") for link in page.links)
    assert "//" not in html.replace("</", "")
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")
    assert not page.tags & {"script", "link", "iframe", "img", "object", "base", "form"}
    assert len(html) < 200_000


def test_hostile_text_is_escaped_wherever_it_is_shown(report: Report, tmp_path) -> None:
    tame, html = written(report, tmp_path), written(report, tmp_path, replace=True)
    page = Page(html)
    ElementTree.fromstring(html)
    assert page.tags == Page(tame).tags
    assert "<script" not in html
    text = " ".join(page.text.split())
    for one in report.texts:
        assert " ".join((HOSTILE + one).split()) in text, one
    assert f"<title>{escaped(HOSTILE + report.texts[0])} – Tamis" in html


def escaped(text: str) -> str:
    pairs = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;"))
    for character, entity in pairs:
        text = text.replace(character, entity)
    return text


def test_every_colour_of_a_plot_is_one_of_the_theme(report: Report, tmp_path) -> None:
    root = ElementTree.fromstring(written(report, tmp_path))
    css = root.findtext("head/style") or ""
    declared = {
        declaration.partition(":")[0].strip()
        for rule in css.replace("{", ";").replace("}", ";").split(";")
        for declaration in [rule]
        if declaration.strip().startswith("--")
    }
    styles = [
        part.partition(":")
        for svg in root.findall("body/main//svg")
        for element in svg.iter()
        for part in element.get("style", "").split(";")
    ]
    colours = {value.strip() for key, _, value in styles if key.strip() in ("fill", "stroke")}
    assert "var(--accent)" in colours
    assert {c for c in colours if c != "none"} <= {f"var({name})" for name in declared}


def test_the_same_result_gives_the_same_page(report: Report, tmp_path) -> None:
    assert written(report, tmp_path) == written(report, tmp_path)
