"""The channels' page and terminal output: every metric, in order of the channels' contribution."""

import copy
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from tamis.evaluate import render_channels, write_channel_report
from tamis.evaluate.channel_report import summarise

RESULT = json.loads((Path(__file__).parent / "results" / "channels.json").read_text("utf-8"))


def page_text(tmp_path) -> str:
    html = write_channel_report(RESULT, tmp_path / "deep" / "channels.html").read_text("utf-8")
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append
    parser.feed(html)
    parser.close()
    return " ".join(" ".join(parts).split())


def terminal(width: int) -> str:
    out = io.StringIO()
    render_channels(RESULT, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_the_page_and_the_terminal_print_the_same_metrics(tmp_path) -> None:
    on_page, printed = page_text(tmp_path), " ".join(terminal(400).split())
    for shared in (
        "The merged list recalls 71.0% of the targets with 412 candidates per user.",
        "itemcf contributes most: without it, recall is 5.2 points lower.",
        "Removing hot alone causes no significant loss of recall.",
        "Each channel alone, and all channels merged",
        "merged 0.370 0.500 0.210 60.0% 0.80",
        "itemcf 0.350 0.440 0.175 41.2% 0.87",
        "itemcf +0.052 [+0.040, +0.065] +0.026",
        "hot -0.001 [-0.004, +0.002] -0.001",
        "Overlap of the first 50 items (mean Jaccard similarity)",
        "itemcf 200 1.25 12 15,000",
        "the last event of each user",
    ):
        assert shared in on_page, shared
        assert shared in printed, shared


def test_a_terminal_of_80_characters_cuts_no_text() -> None:
    printed = terminal(80)
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed


def test_channels_are_ordered_by_their_contribution() -> None:
    summary = summarise(RESULT)
    assert [row.label for row in summary.contribution.rows] == ["itemcf", "two_tower", "hot"]
    assert summary.comparison.rows[0].label == "merged"


def test_the_intervals_share_one_scale() -> None:
    marks = [row.cells[0].interval for row in summarise(RESULT).contribution.rows]
    assert len({mark.zero for mark in marks if mark}) == 1
    for mark in marks:
        assert mark is not None
        assert 0 < mark.low < mark.mean < mark.high < 1
        assert mark.positive == (mark.low > mark.zero)


@pytest.mark.parametrize("idle", [["hot", "itemcf"], []])
def test_the_lead_names_every_channel_without_a_significant_contribution(idle) -> None:
    result = copy.deepcopy(RESULT)
    for name, values in result["channels"].items():
        values["marginal"]["low"] = -0.01 if name in idle else 0.001
    lead = summarise(result).lead
    assert ("Removing any one of itemcf, hot causes no significant loss" in lead) == bool(idle)
    assert ("no significant loss" in lead) == bool(idle)
    assert ("contributes most" in lead) == (not idle)
