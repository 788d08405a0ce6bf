"""Commands that train nothing import no model library; `--help` prints what the page holds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tamis.cli.app import app

HEAVY = {"torch", "numba", "faiss", "lightgbm", "sklearn", "scipy", "onnxruntime", "matplotlib"}
CODE = """
import sys
from tamis.cli import main
sys.argv = ["tamis", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
else:
    code = 0
print("\\nMODULES", *sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory, ratings_tables, tamis_cli) -> Path:
    """An untrained project."""
    folder = ratings_tables(tmp_path_factory.mktemp("light") / "shop", users=40, items=30)
    assert tamis_cli("init", folder).code == 0
    return folder


def run(*words: object) -> tuple[int, str, set[str]]:
    """(exit code, output, top-level modules that were imported) of a command in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, words)], capture_output=True, text=True, check=False
    )
    out, _, modules = done.stdout.partition("\nMODULES ")
    return done.returncode, out + done.stderr, set(modules.split())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("evaluate", "--help"), 0),
        (("init", "SHOP", "--force"), 0),
        (("doctor", "SHOP"), 0),
        (("versions", "SHOP"), 0),
        (("doctor", "nowhere"), 1),
        (("evaluate", "nowhere"), 1),
        (("recommend", "nowhere"), 1),
        (("serve", "nowhere"), 1),
    ],
)
def test_light_commands_import_no_model_library(shop: Path, words, code: int) -> None:
    found, text, modules = run(*(shop if word == "SHOP" else word for word in words))
    assert found == code, text
    assert "tamis" in modules
    assert not modules & HEAVY  # doctor tries the declared filters and rules, too


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('use = "deepfm"', 'use = "deepmf"', "Did you mean `deepfm`"),
        ('use = "deepfm"', 'use = "deepfm"\nembeding_dim = 8', "Did you mean `embedding_dim`"),
        ('use = "deepfm"', 'use = "deepfm"\npatience = 0', "patience = 0: Input should be greater"),
        ("[behaviours.like]", "[behaviors.like]", "Did you mean `behaviours`"),
    ],
)
@pytest.mark.parametrize("command", ["doctor", "train", "compare", "evaluate channels"])
def test_errors_of_the_configuration_import_no_model_library(
    shop: Path, tmp_path: Path, command: str, old: str, new: str, message: str
) -> None:
    declared = (shop / "tamis.toml").read_text("utf-8")
    assert old in declared
    (tmp_path / "tamis.toml").write_text(declared.replace(old, new), "utf-8")
    code, text, modules = run(*command.split(), tmp_path)
    assert code == 1
    assert message in " ".join(text.split())
    assert not modules & HEAVY


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
