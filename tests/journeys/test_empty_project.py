"""A project without any file: events and items come first, then a training, then the service."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.bundle import Kind, Versions
from tamis.service import LiveRecommender


@pytest.fixture
def project(corner: Path, tmp_path: Path) -> Path:
    shutil.copytree(corner, tmp_path / "corner")
    return tmp_path / "corner"


def items(live: LiveRecommender, user: str) -> list[str]:
    return [place.item_id for place in live.recommend(user, n=15).items]


def test_from_an_empty_journal_to_answers(project: Path, tamis_cli: Callable[..., Any]) -> None:
    manifest = Versions(project).current(Kind.SERVING).manifest
    assert manifest.journal_position == 30 + 12 * 60
    live = LiveRecommender.open(project)
    try:
        answer = live.recommend("u3", n=10)
        assert (answer.known, len(answer.items)) == (True, 10)
        assert answer.items[0].title.startswith("Item ")
        assert live.skipped == {}
        liked, hidden = (place.item_id for place in answer.items[:2])
        live.take([{"user_id": "u3", "item_id": liked, "behaviour": "like"}])
        live.hide(hidden)
        assert not {liked, hidden} & set(items(live, "u3"))
    finally:
        live.close()

    exported = tamis_cli("export", project, "--trim", "--json").json
    assert exported["position"] == exported["trimmed"] == manifest.journal_position + 2
    live = LiveRecommender.open(project)  # reads the last two entries from the exported file
    try:
        assert live.position == exported["position"]
        assert not {liked, hidden} & set(items(live, "u3"))
    finally:
        live.close()

    again = tamis_cli("train", project, "--only", "serving")
    assert again.code == 0, again.err
    assert Versions(project).current(Kind.SERVING).manifest.journal_position == live.position
    live = LiveRecommender.open(project)  # the version itself holds the hidden item and the like
    try:
        assert not {liked, hidden} & set(items(live, "u3"))
        assert hidden not in items(live, "u5")
        live.show(hidden)
        assert hidden in items(live, "nobody")
    finally:
        live.close()


def test_other_commands_read_the_journal(corner: Path, tamis_cli: Callable[..., Any]) -> None:
    found = tamis_cli("doctor", corner, "--json")
    assert found.code == 0, found.err
    assert "into the journal, which holds 720" in found.out
    said = tamis_cli("evaluate", "cascade", corner, "--json")
    assert said.code == 0, said.err
