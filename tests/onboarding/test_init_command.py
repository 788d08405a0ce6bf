"""`tamis init` on the command line: options that settle roles, questions, and errors."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tamis.cli import data_commands
from tamis.cli.app import app
from tamis.data import RoleChoice

START = 1_600_000_000


def swapped(folder: Path) -> Path:
    """A log in which nothing tells the user from the item."""
    rows = [f"n{k * 7 % 20},m{k * 3 % 20},{START + k * 3600},{k % 5 + 1}\n" for k in range(200)]
    (folder / "log.csv").write_text("left,right,when,stars\n" + "".join(rows), "utf-8")
    return folder


def events(folder: Path) -> dict[str, str]:
    import tomllib

    return tomllib.loads((folder / "tamis.toml").read_text("utf-8"))["events"]


def test_a_near_reading_is_noted_with_how_to_change_it(tmp_path: Path, tamis_cli) -> None:
    said = tamis_cli("init", swapped(tmp_path), "--json")
    choice = said.json["choices"][0]
    assert (choice["key"], choice["chosen"], choice["others"]) == ("user", "left", ["right"])
    assert any("tamis init DIR --force --user right" in note for note in said.json["notes"])
    assert events(tmp_path)["user"] == "left"


def test_options_settle_the_columns(tmp_path: Path, tamis_cli) -> None:
    said = tamis_cli("init", swapped(tmp_path), "--user", "right", "--item", "left", "--json")
    assert said.json["choices"] == []
    found = events(tmp_path)
    assert (found["user"], found["item"], found["value"]) == ("right", "left", "stars")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--user", "rigth"], ["--user rigth: no such column in log.csv", "`right`"]),
        (["--time", "whenn"], ["--time whenn: no such column", "`when`"]),
        (["--events", "logs.csv"], ["--events logs.csv: no such table", "`log.csv`"]),
        (["--items", "log.csv"], ["--items log.csv: no unique column of it holds values of"]),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(
    tmp_path: Path, tamis_cli, words: list[str], parts: list[str]
) -> None:
    said = tamis_cli("init", swapped(tmp_path), *words)
    assert said.code == 1
    for part in parts:
        assert part in said.err.replace("\n", " ")
    assert not (tmp_path / "tamis.toml").exists()


@pytest.mark.parametrize(("answer", "user"), [("2\n", "right"), ("\n", "left")])
def test_a_terminal_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, user: str
) -> None:
    monkeypatch.setattr(data_commands, "_is_terminal", lambda: True)
    said = CliRunner().invoke(app, ["init", str(swapped(tmp_path))], input=answer * 2)
    assert said.exit_code == 0, said.output
    assert "Which column is the user?" in said.output
    assert events(tmp_path)["user"] == user


def test_yes_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_commands, "_is_terminal", lambda: True)
    said = CliRunner().invoke(app, ["init", str(swapped(tmp_path)), "--yes"], input="")
    assert said.exit_code == 0, said.output
    assert "Which" not in said.output


def test_no_time_may_be_asked_for(tmp_path: Path, tamis_cli) -> None:
    said = tamis_cli("init", swapped(tmp_path), "--time", "none", "--json")
    assert said.code == 0, said
    assert events(tmp_path)["untimed"] == "rows"
    assert "time" not in events(tmp_path)


def test_choices_are_plain_values(tmp_path: Path) -> None:
    choice = RoleChoice("user", "a", ("b",), "its name")
    assert json.loads(json.dumps(vars(choice)))["others"] == ["b"]
