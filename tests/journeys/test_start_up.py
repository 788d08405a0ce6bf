"""Commands that train nothing import no model library; `--help` prints what the page holds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tamis.cli.app import app

HEAVY = {"torch", "numba", "faiss", "lightgbm", "sklearn", "scipy", "onnxruntime", "matplotlib"}
CODE = """
import contextlib, io, json, sys
from tamis.cli import main

found = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["tamis", *words]
    shown, code = io.StringIO(), 0
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    modules = sorted({name.partition(".")[0] for name in sys.modules})
    found.append((code, shown.getvalue(), modules))
print(json.dumps(found))
"""
LIGHT = [
    (("--help",), 0),
    (("evaluate", "--help"), 0),
    (("init", "SHOP", "--force"), 0),
    (("doctor", "SHOP"), 0),
    (("versions", "SHOP"), 0),
    (("doctor", "nowhere"), 1),
    (("evaluate", "nowhere"), 1),
    (("recommend", "nowhere"), 1),
    (("serve", "nowhere"), 1),
]
"""Words, exit code."""
MISTAKES = [
    ('use = "deepfm"', 'use = "deepmf"', "Did you mean `deepfm`"),
    ('use = "deepfm"', 'use = "deepfm"\nembeding_dim = 8', "Did you mean `embedding_dim`"),
    ('use = "deepfm"', 'use = "deepfm"\npatience = 0', "patience = 0: Input should be greater"),
    ("[behaviours.like]", "[behaviors.like]", "Did you mean `behaviours`"),
]
"""What is replaced in a declaration, by what, and what the error says."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory, ratings_tables, tamis_cli) -> Path:
    """An untrained project."""
    folder = ratings_tables(tmp_path_factory.mktemp("light") / "shop", users=40, items=30)
    assert tamis_cli("init", folder).code == 0
    return folder


def run(commands: list[list[str]]) -> list[tuple[int, str, set[str]]]:
    """(exit code, output, top-level modules imported until then) of commands in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "240"},
    )
    assert done.returncode == 0, done.stderr
    return [(code, text, set(modules)) for code, text, modules in json.loads(done.stdout)]


def test_light_commands_import_no_model_library(shop: Path) -> None:
    words = [[str(shop) if word == "SHOP" else word for word in each] for each, _ in LIGHT]
    for (each, code), (found, text, modules) in zip(LIGHT, run(words), strict=True):
        assert found == code, text
        assert "tamis" in modules
        assert not modules & HEAVY, each  # doctor tries the declared filters and rules, too


def test_errors_of_the_configuration_import_no_model_library(shop: Path, tmp_path: Path) -> None:
    declared = (shop / "tamis.toml").read_text("utf-8")
    cases = []
    for k, (old, new, message) in enumerate(MISTAKES):
        assert old in declared
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "tamis.toml").write_text(declared.replace(old, new), "utf-8")
        for command in ("doctor", "train", "compare", "evaluate channels"):
            cases.append(([*command.split(), str(tmp_path / str(k))], message))
    for (words, message), found in zip(cases, run([words for words, _ in cases]), strict=True):
        code, text, modules = found
        assert code == 1, words
        assert message in " ".join(text.split())
        assert not modules & HEAVY, words


def test_importing_tamis_imports_no_model_library() -> None:
    code = "import sys, tamis; dir(tamis); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(w) for w, _ in COMMANDS])
def test_help_prints_what_the_page_holds(tamis_cli, words, command) -> None:
    result = tamis_cli(*words, "--help")
    assert result.code == 0
    shown = re.sub(r"\s+", "", result.out)  # lines are also broken at hyphens
    assert re.sub(r"\s+", "", command.help) in shown
    for parameter in command.params:
        assert re.sub(r"\s+", "", parameter.help or "") in shown


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "tamis", "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "recommend" in done.stdout
