"""`tamis update --full` of logs without impressions: windows, horizons, and channels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from feeds import write_likes

from tamis.bundle import Kind, Versions
from tamis.jobs import train, update
from tamis.journal import Event, open_journal
from tamis.schema import VersionError
from tamis.service import Parts, Recommender
from tamis.testing.projects import MINUTE

TRAINED = 20


@pytest.fixture(scope="module")
def trained(made_once) -> Path:
    """A project without impressions whose serving version has learnt the first days."""

    def make(folder: Path) -> None:
        write_likes(folder, TRAINED)
        train(folder, only="serving")

    return made_once("likes-to-update", make)


@pytest.fixture
def likes(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "likes"
    shutil.copytree(trained, folder)
    return folder


def serving(folder: Path):
    return Versions(folder).current(Kind.SERVING)


def reasons(report) -> list[str]:
    return [str(check) for check in report.checks if not check.passed]


def test_scorers_wait_for_a_horizon_and_then_learn_each_window_once(likes):
    write_likes(likes, TRAINED + 2)
    first = update(likes)
    assert first.version, reasons(first)
    assert {first.learnt[stage]["how"] for stage in ("rank", "prerank")} == {"carried"}
    assert any("keeps its weights for now" in note for note in first.notes)
    former = serving(likes)
    assert former.manifest.update["learnt_until"] < former.manifest.data_until
    assert first.quality["tasks"] == {}
    assert Recommender(former).recommend("u1", 5).items
    at_training = former.manifest.metrics["validation"]["rank"]["auc"]
    assert former.manifest.update["judged_auc"] == {"like": at_training}  # nothing was judged
    write_likes(likes, TRAINED + 9)
    second = update(likes)
    assert second.version, reasons(second)
    assert second.learnt["rank"]["how"] == "warm"
    assert "AUC of like since" in {check.name for check in second.checks}
    assert second.learnt["rank"]["rows"] > 100
    moved = serving(likes).manifest.update["learnt_until"]
    windows = (moved - former.manifest.update["learnt_until"]) / (4 * 86_400_000)
    assert windows == 2.0  # 9 days since the training: two horizons of 4 days, one day is left
    assert "rank" in serving(likes).manifest.settings
    assert second.quality["protocol"]["held out"] == "the last new window"
    assert second.quality["ndcg"]["users"] > 30


def test_enough_users_of_a_single_window_are_held_out(likes):
    """A fifth of sixty users would show nothing: half of them are held out, and a note says what
    chance hides."""
    write_likes(likes, TRAINED + 5)
    report = update(likes)
    assert report.quality["protocol"]["held out"] == "users of the new window"
    assert report.quality["ndcg"]["users"] > 20
    assert any("chance hides a fall of NDCG" in note for note in report.notes), report.notes


def test_a_published_ranker_carries_the_line_of_its_log_odds(likes):
    write_likes(likes, TRAINED + 9)
    report = update(likes)
    assert report.version, reasons(report)
    rank = Parts.open(serving(likes)).rank
    assert len(rank.scales) == 1
    assert serving(likes).manifest.formats["rank"] == 2
    assert serving(likes).manifest.settings["rank"]["scales"] == pytest.approx(rank.scales)


def test_channels_start_from_their_weights_by_the_ids_of_items(likes):
    """The items' table is in another order: rows are found by their ids."""
    former = Parts.open(serving(likes))
    write_likes(likes, TRAINED + 5, order=-1)
    report = update(likes)
    assert report.version, reasons(report)
    learnt = {name: entry["how"] for name, entry in report.learnt.items()}
    assert {learnt[f"recall:{name}"] for name in ("mf", "fm", "sasrec")} == {"warm"}
    assert learnt["recall:hot"] == learnt["recall:itemcf"] == "refitted"
    parts = Parts.open(serving(likes))
    ids = former.items.ids
    for name in ("mf", "fm", "sasrec"):
        old = former.channels[name].item_vectors()
        new = parts.channels[name].item_vectors()[parts.items.rows(ids)]
        known = old.any(axis=1) & new.any(axis=1)
        old, new = (x[known] / np.linalg.norm(x[known], axis=1, keepdims=True) for x in (old, new))
        others = np.random.default_rng(0).permutation(len(new))
        same, other = (old * new).sum(axis=1), (old * new[others]).sum(axis=1)
        assert np.median(same) > np.median(other) + 0.2, name


def test_events_of_the_journal_are_learnt_up_to_a_position(corner, tmp_path):
    folder = tmp_path / "corner"
    shutil.copytree(corner, folder)
    former = serving(folder)
    journal = open_journal(folder, "corner")
    draw = np.random.default_rng(1)
    begin = former.manifest.data_until
    came = [
        Event(
            event_id=f"later{number}",
            user_id=f"u{number % 60}",
            item_id=f"i{int(draw.integers(15)) * 2 + number % 2}",
            behaviour="like",
            time=begin + number * 37 * MINUTE,
            arrival=begin + number * 37 * MINUTE,
        )
        for number in range(700)
    ]
    journal.append(came)
    head = journal.head
    journal.close()
    report = update(folder)
    assert report.version, reasons(report)
    assert report.new_events == 700
    assert serving(folder).manifest.journal_position == head > former.manifest.journal_position
    shutil.rmtree(folder / "journal")
    with pytest.raises(VersionError, match="the journal was replaced or lost its end"):
        update(folder)


def test_trees_are_fitted_again_and_the_report_says_so(tmp_path):
    folder = tmp_path / "likes"
    options = "trees = 20\nmin_leaf = 10"
    write_likes(folder, TRAINED, "gbdt", options)
    train(folder, only="serving")
    write_likes(folder, TRAINED + 5, "gbdt", options)
    report = update(folder)
    assert report.version, reasons(report)
    assert report.learnt["rank"]["how"] == "refitted"
    assert report.learnt["prerank"]["how"] == "warm"
