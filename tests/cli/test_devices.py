"""Commands check the device before they read tables, download or train."""

from pathlib import Path

import pytest

DECLARED = """name = "t"
[events]
path = "events.csv"
[behaviours.view]
positive = true
[cascade.channels.hot]
[cascade.rank]
use = "gbdt"
"""


@pytest.mark.parametrize(
    "command", ["train", "train --ranker-only", "compare", "evaluate channels"]
)
def test_a_wrong_device_stops_a_command_at_its_start(command: str, tmp_path: Path, tamis_cli):
    """The project's table does not exist: reading it first would be another error."""
    (tmp_path / "tamis.toml").write_text(DECLARED, "utf-8")
    said = tamis_cli(*command.split(), tmp_path, "--device", "gpu")
    assert said.code == 1
    assert "device 'gpu' is unknown: give cpu, cuda, cuda:NUMBER or mps" in said.err


def test_the_demo_checks_the_device_before_it_downloads(tmp_path: Path, tamis_cli):
    said = tamis_cli("demo", tmp_path / "demo", "--device", "gpu")
    assert (said.code, (tmp_path / "demo").exists()) == (1, False)
    assert "device 'gpu' is unknown" in said.err


def test_a_comparison_of_tables_checks_the_device(tmp_path: Path, tamis_cli):
    said = tamis_cli("compare", "--table", tmp_path / "no.csv", "--device", "gpu")
    assert "device 'gpu' is unknown" in said.err
