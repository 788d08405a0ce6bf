"""What a new user meets on the command line: help, version, next commands."""

import sys

import pytest

from tamis import __version__
from tamis.cli import _console
from tamis.cli.app import ORDER
from tamis.evaluate import Interval


def test_the_help_lists_whole_sentences_in_the_order_of_use(tamis_cli):
    lines = tamis_cli("--help").out.split("Commands:")[1].strip().splitlines()
    assert tuple(line.split()[0] for line in lines) == ORDER
    assert ORDER[:5] == ("init", "fetch", "doctor", "train", "update")
    for line in lines + tamis_cli("evaluate", "--help").out.split("Commands:")[1].splitlines():
        assert not line.endswith("..."), line


def test_version(tamis_cli):
    assert tamis_cli("--version").out == f"tamis {__version__}\n"


def test_next_commands_stand_one_a_line_and_are_not_broken(capsys):
    folder = "a folder/" + "long" * 30
    _console.print_next(["doctor", folder], ["train", "shop"])
    assert capsys.readouterr().out.splitlines() == [
        "next:",
        f"  tamis doctor '{folder}'",
        "  tamis train shop",
    ]


def test_the_program_is_named_as_it_can_be_called(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "tamis"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["bin/tamis", "demo"])
    assert _console.program() == "bin/tamis"
    monkeypatch.setenv("PATH", str(script.parent))
    assert _console.program() == "tamis"
    monkeypatch.setattr(sys, "argv", ["src/tamis/__main__.py", "demo"])
    assert _console.program() == f"{sys.executable} -m tamis"


@pytest.mark.parametrize(("written", "meant"), [("rnk", "rank"), ("chanels", "channels")])
def test_a_misspelt_part_is_suggested(tamis_cli, ratings, written, meant):
    said = tamis_cli("evaluate", written, ratings)
    assert said.code != 0
    assert f"{written} is neither a folder nor a part" in said.err
    assert meant in said.err


def test_similar_has_columns_and_repeats_no_id(tamis_cli, ratings):
    lines = tamis_cli("similar", ratings, "--item-id", "m3", "--n", "2").out.splitlines()
    assert lines[1].split() == ["title", "item", "similarity"]
    assert len(lines) == 4


def test_an_interval_is_printed_with_four_digits():
    assert str(Interval(0.00622876889350571, -0.001, 0.0134)) == "+0.0062 [-0.0010, +0.0134]"
