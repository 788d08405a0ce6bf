"""Docstrings, comments, messages and pages use the standard terms (docs/glossary.md)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANNED = {
    r"strangers?": "unknown user, cold-start user",
    r"newborns?": "new item",
    r"beside that": "other metrics",
    r"what suits everybody": "non-personalised items",
    r"must be said": "required",
    r"(stands?|comes?) last": "rank last",
    r"no number stands": "NaN scores rank last",
    r"the words' grammar": "protocols",
    r"(in|of|from) (its|their|his) own words": "from the docstrings",
    r"by itself apart|reported apart|told apart": "reported separately",
    r"(is|are|was|were|be) told": "is reported",
    r"(is|are|was|were) asked (about|for|after|of|to)?": "is requested, is evaluated",
    r"(a|the|its|their|and|no) cures?": "how to fix it",
    r"the house": "the project",
    r"rooms?": "package",
    r"the front door|whose door": "interface",
    r"breaks? (a|the) laws?|naming the law": "rule, property",
    r"likenesse?s?": "similarity",
    r"to mend|mend (it|them|the)": "to fix",
    r"gave way|gives? way": "is broken",
    r"has its say|have their say": "",
    r"as one likes": "",
    r"(?<![|] )None = (?!\")": "If omitted: …",
}
"""Pattern -> the standard term to use instead."""
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "src").rglob("*.toml"),
        *(ROOT / "src").rglob("*.html"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "docs").glob("*.py"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "examples").rglob("*.toml"),
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CONTRIBUTING.md",
    )
)
TOML_PAGES = ("tamis-toml", "channels", "prerankers", "rankers", "filters", "rerankers")


def found(text: str) -> list[str]:
    """`line: phrase (use: term)` of every banned phrase."""
    return [
        f"{text[: match.start()].count(chr(10)) + 1}: {match[0]!r} (use: {term})"
        for phrase, term in BANNED.items()
        for match in re.finditer(rf"(?<![\w-])(?:{phrase})(?![\w-])", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("source", SOURCES)
def test_no_banned_phrase(source: str) -> None:
    phrases = found((ROOT / source).read_text("utf-8"))
    assert not phrases, f"{source}: {phrases}"


def test_the_check_finds_a_banned_phrase() -> None:
    assert found("a line\nWhat is no number stands last.") == [
        "2: 'stands last' (use: rank last)",
        "2: 'no number stands' (use: NaN scores rank last)",
    ]
    assert found("The mushrooms were tasked; restroom.") == []


@pytest.mark.parametrize("page", TOML_PAGES)
def test_pages_about_toml_speak_toml(page: str) -> None:
    """TOML has neither None nor tuples."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    assert not re.findall(r"\bNone\b|`\(\)`|(?<=[= ])\(\)(?=[ ;.,])", text)
