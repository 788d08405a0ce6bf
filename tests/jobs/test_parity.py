"""A service reads for its answers what the log says, whatever came while it served."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.jobs import parity
from tamis.schema import DataError
from tamis.service import LiveRecommender


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def served(project: Path) -> None:
    """Answers between events of known and new users and items, of which some come late."""
    live = LiveRecommender.open(project)
    now = live.recommend("u1").time
    try:
        live.put_items([{"item_id": "new", "name": "New", "kind": "a"}])
        for turn in range(6):
            live.take(
                [
                    {"user_id": f"u{turn}", "item_id": f"i{3 * turn}", "behaviour": "like"},
                    {"user_id": "visitor", "item_id": "new", "behaviour": "like"},
                    {
                        "user_id": "u1", "item_id": f"i{turn}", "behaviour": "like",
                        "time": now - 86_400_000 * turn,
                    },
                ]
            )  # fmt: skip
            for user in ("u1", f"u{turn}", "visitor", "nobody"):
                live.recommend(user, n=8)
    finally:
        live.close()


def test_what_was_read_is_what_the_log_says(project: Path, tamis_cli: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="holds no answer"):
        parity(project)
    served(project)
    report = parity(project, n=20)
    assert (report.answers, report.missing) == (20, 0)
    assert report.values > 1_000
    assert (report.different, report.features) == (0, {})
    assert report.same_slates == 20
    said = tamis_cli("parity", project, "-n", 5, "--json")
    assert (said.json["answers"], said.json["share"]) == (5, 1.0)
    assert "100.0000% agree" in tamis_cli("parity", project, "-n", 5).out


def test_a_service_that_reads_otherwise_is_found(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that forget every second event."""
    from tamis.features import OnlineStatistics

    real = OnlineStatistics.add
    with monkeypatch.context() as patch:
        patch.setattr(OnlineStatistics, "add", lambda self, e: real(self, e.take(slice(0, 1))))
        served(project)
    report = parity(project)
    assert report.different > 0
    assert sum(report.features.values()) == report.different
