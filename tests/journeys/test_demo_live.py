"""`tamis demo --live`: two services on one simulated world, with and without updates."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tamis.jobs import LiveDemo, demo_live
from tamis.schema import ConfigError


def test_both_services_are_visited_and_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("tamis.jobs.demo_live")
    for name, small in (("ITEMS", 200), ("USERS", 150), ("DAYS", 12)):
        monkeypatch.setattr(module, name, small)
    monkeypatch.setattr(module, "ONLINE", '\n[online]\nwait = "1s"\nlateness = "1s"\n')
    states: list[int] = []

    def note(now: LiveDemo) -> None:
        states.append(sum(len(line.periods) for line in now.lines))

    found = demo_live(tmp_path / "live", minutes=0.3, rate=4, every=4, on_change=note)
    services = found.to_dict()["services"]
    assert set(services) == {"with updates", "without updates"}
    for one in services.values():
        assert sum(period["visits"] for period in one["periods"]) > 40
        assert not any(period["failed"] for period in one["periods"])
        assert 0 < one["reward"] < one["best"]
    assert services["with updates"]["delta"] > 0
    assert services["without updates"]["delta"] == 0
    assert states == sorted(states)
    page = found.report.read_text("utf-8")
    assert "<svg" in page
    assert "without updates" in page


def test_times_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="minutes = 0"):
        demo_live(tmp_path, minutes=0)
