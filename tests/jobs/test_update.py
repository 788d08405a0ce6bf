"""`tamis update --full`: warm starts, the gate, and what becomes of a version."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from feeds import DAY, ITEMS, START, write_log, write_tables

from tamis.bundle import Kind, Versions
from tamis.jobs import train, update
from tamis.jobs._update_trainer import UpdateTrainer
from tamis.schema import ConfigError, StoreError, VersionError
from tamis.service import Parts, ProjectFolder, Recommender
from tamis.train import Calibration, Estimator, FrameModel

TRAINED, LATER = 20, 26
"""Days of the log that the serving version learnt, and of the log with what came since."""


@pytest.fixture(scope="module")
def trained(made_once) -> Path:
    """A project whose serving version has learnt the first days."""

    def make(folder: Path) -> None:
        write_tables(folder)
        write_log(folder, TRAINED)
        train(folder, only="serving")

    return made_once("feed-to-update", make)


@pytest.fixture
def feed(trained: Path, tmp_path: Path) -> Path:
    """A copy of it whose log has six more days."""
    folder = tmp_path / "feed"
    shutil.copytree(trained, folder)
    write_log(folder, LATER)
    return folder


def serving(folder: Path):
    return Versions(folder).current(Kind.SERVING)


def failed(report) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


@pytest.fixture(scope="module")
def updated(trained: Path, tmp_path_factory) -> tuple[Path, object]:
    """The project after an update, whose tables are in another order, and its report."""
    folder = tmp_path_factory.mktemp("updated") / "feed"
    shutil.copytree(trained, folder)
    write_log(folder, LATER)
    write_tables(folder, order=-1)
    return folder, update(folder)


def test_an_update_publishes_a_version_that_has_learnt_what_is_new(updated, trained):
    folder, report = updated
    former, new = serving(trained), serving(folder)
    assert report.former == former.name
    assert report.version == new.name != former.name
    assert not failed(report), [str(c) for c in report.checks if not c.passed]
    assert new.manifest.data_until > former.manifest.data_until
    new.verify()
    assert report.learnt["rank"]["how"] == "warm"
    assert report.learnt["prerank"]["how"] == "warm"
    assert report.learnt["recall:two_tower"]["how"] == "warm"
    assert report.learnt["recall:itemcf"]["how"] == "refitted"
    rows = report.learnt["rank"]["rows"]
    events = report.new_events
    assert 0.7 * events < rows <= events  # every new impression once
    assert new.manifest.update["from"] == former.name
    assert new.manifest.update["forced"] is False
    assert new.manifest.settings["rank"]["epochs"] == former.manifest.settings["rank"]["epochs"]
    answer = Recommender(new).recommend("u1", 5)
    assert answer.known
    assert len(answer.items) == 5


def test_the_updated_version_knows_users_and_items_that_came(updated, trained):
    parts, former = Parts.open(serving(updated[0])), Parts.open(serving(trained))
    known, before = (p.space.vocabularies["item_id"] for p in (parts, former))
    assert known.ids[: len(before.ids)].equals(before.ids)  # old ids keep their rows
    assert known.size > before.size
    newest = f"m{min(ITEMS, 40 + LATER - 1) - 1}"
    assert newest in known.ids
    assert newest not in before.ids


def test_quality_is_reported_before_and_after_with_its_protocol(updated):
    quality = updated[1].quality
    task = quality["tasks"]["click"]
    assert task["rows"] > 200
    assert task["auc"] > 0.65
    assert task["auc"] > task["serving_auc"] - 0.05
    assert abs(task["calibration"] - 1) < 0.4
    assert quality["ndcg"]["users"] > 20
    assert "impressions" in quality["protocol"]["held out"]
    saved = serving(updated[0]).manifest.update["quality"]
    assert saved["tasks"]["click"]["auc"] == pytest.approx(task["auc"])


def test_a_second_update_goes_on_from_the_first(updated, tmp_path):
    folder = tmp_path / "feed"
    shutil.copytree(updated[0], folder)
    assert update(folder).notes[0].startswith("no event arrived since")
    write_log(folder, LATER + 3)
    report = update(folder)
    assert report.former == serving(updated[0]).name
    assert report.version == serving(folder).name
    manifest = serving(folder).manifest
    assert manifest.update["training_seconds"] > 0
    assert manifest.update["judged_auc"] == {"click": report.quality["tasks"]["click"]["auc"]}
    assert [v.manifest.kind for v in Versions(folder)].count(Kind.SERVING) == 3


def test_shuffled_labels_in_the_log_are_stopped(feed):
    write_log(feed, LATER, shuffled_from=TRAINED)
    before = serving(feed).name
    report = update(feed)
    assert report.refused
    assert report.version is None
    assert "AUC of click since" in failed(report)
    assert serving(feed).name == before


def test_a_version_trained_on_shuffled_labels_is_stopped(feed, monkeypatch):
    """The log is right, and the training is wrong."""
    from tamis.jobs import _update_trainer

    learnt = UpdateTrainer._scorer

    def shuffled(self, fit, space, new, cut):
        """Learns from shuffled labels, without the line that would say they mean nothing."""
        draw = np.random.default_rng(0)
        new = [(w, replace(r, labels=draw.permutation(r.labels))) for w, r in new]
        with monkeypatch.context() as patch:
            patch.setattr(Estimator, "_scaled_objective", lambda self, objective, *_: objective)
            return learnt(self, fit, space, new, cut)

    monkeypatch.setattr(UpdateTrainer, "_scorer", shuffled)
    monkeypatch.setattr(
        _update_trainer, "_one_pass", lambda chosen: chosen.model_copy(update={"epochs": 25})
    )
    before = serving(feed).name
    report = update(feed)
    assert report.refused
    assert failed(report) & {"AUC of click", "NDCG@10 of what was shown"}
    assert serving(feed).name == before


def test_the_judged_calibration_has_the_level_of_all_new_rows(feed, monkeypatch):
    """The version to publish has, whatever level the maps of the held-out rows give it."""
    fit = FrameModel.calibrate_on

    def too_high(self, held_out):
        """Every rate 7 times as high as it should be, about."""
        chosen = fit(self, held_out)
        self.calibrations = (Calibration(kind="platt", y=(2.0,)),)
        return chosen.model_copy(update={"calibrations": self.calibrations})

    monkeypatch.setattr(FrameModel, "calibrate_on", too_high)
    report = update(feed)
    assert report.version, [str(c) for c in report.checks if not c.passed]
    assert abs(report.quality["tasks"]["click"]["calibration"] - 1) < 0.2


@pytest.mark.parametrize("fault", ["constant", "shifted"])
def test_a_broken_feature_is_stopped_before_anything_is_fitted(feed, fault):
    write_tables(feed, price=fault)
    report = update(feed)
    assert report.refused
    assert failed(report) == {"drift of price"}
    assert "rank" not in report.training
    (check,) = [c for c in report.checks if not c.passed]
    assert "[gate] psi = 0.25" in str(check)


def test_another_choice_of_what_is_shown_is_no_drift_of_the_items(feed):
    """A new version of the service shows other items than the policy before it."""
    log = pl.read_csv(feed / "events.csv")
    later = pl.col("time") >= START + TRAINED * DAY
    dear = pl.col("item_id").str.slice(1).cast(pl.Int64) % 17 >= 9
    log.filter(~later | dear).write_csv(feed / "events.csv")
    report = update(feed)
    assert not {"drift of price", "drift of kind"} & failed(report)
    watched = report.data["features"]["price"]
    assert watched["psi"] == 0


def test_half_of_the_items_missing_is_stopped(feed):
    write_tables(feed, items=ITEMS // 2, unknown="keep")
    missing = update(feed)
    assert {"missing kind", "missing price"} <= failed(missing)
    text = (feed / "tamis.toml").read_text("utf-8")
    (feed / "tamis.toml").write_text(text.replace('"keep"', '"drop"'), "utf-8")
    with pytest.raises(ConfigError, match=r"\[items\] changed since"):
        update(feed)


def test_a_smaller_catalogue_is_stopped(tmp_path):
    folder = tmp_path / "feed"
    write_tables(folder, unknown="drop")
    write_log(folder, 12)
    train(folder, only="serving")
    write_tables(folder, items=ITEMS // 2, unknown="drop")
    write_log(folder, 14)
    report = update(folder)
    assert {"items", "events"} <= failed(report)
    (check,) = [c for c in report.checks if c.name == "items"]
    assert "30 items, the serving version has 60" in check.text


def test_force_publishes_and_the_manifest_records_it(feed):
    write_tables(feed, price="constant")
    report = update(feed, force=True)
    assert report.version == serving(feed).name
    assert report.forced
    kept = serving(feed).manifest.update
    assert kept["forced"] is True
    wrong = [c["name"] for c in kept["checks"] if not c["passed"] and c["kind"] == "data"]
    assert wrong == ["drift of price"]


def test_a_changed_declaration_is_refused_with_the_cure(feed):
    text = (feed / "tamis.toml").read_text("utf-8")
    (feed / "tamis.toml").write_text(text.replace("hidden_units = [16]", "hidden_units = [8]"))
    with pytest.raises(ConfigError, match=r"\[cascade\] rank changed .* run `tamis train"):
        update(feed)
    (feed / "tamis.toml").write_text(text + "\n[cascade.filters.seen]\n", "utf-8")
    assert update(feed).version  # filters do not touch what was learnt


def test_without_a_version_the_message_says_what_to_do(tmp_path):
    write_tables(tmp_path / "feed")
    with pytest.raises(VersionError, match="run `tamis train"):
        update(tmp_path / "feed")


def test_two_updates_do_not_run_at_once(feed):
    from tamis.jobs.update import only_update

    with only_update(feed), pytest.raises(StoreError, match="another `tamis update`"):
        update(feed)


def test_the_command_prints_the_checks_and_ends_with_1_when_refused(feed, tamis_cli):
    write_tables(feed, price="constant")
    said = tamis_cli("update", feed, "--full")
    assert said.code == 1
    assert "not published" in said.out
    assert "drift of price" in said.out
    said = tamis_cli("update", feed, "--full", "--json")
    assert said.code == 1
    assert said.json["version"] is None
    assert said.json["passed"] is False
    said = tamis_cli("update", feed)
    assert said.code == 1
    assert "--full" in said.err


def test_embeddings_keep_their_ids(trained):
    """A ranker carried over to grown vocabularies predicts the same."""
    from tamis.cascade import FormerRows

    folder = ProjectFolder(trained)
    former = Parts.open(serving(trained))
    updater = UpdateTrainer(folder, "cpu", False)
    updater.steps = _quiet()
    updater.read()
    known = updater.data
    assert (FormerRows.of(known, former.users, former.items).items >= 0).all()
    from tamis.features import FeatureSpace
    from tamis.service import registry

    space = FeatureSpace.fit(
        known, former.space.features, config=updater.config, former=former.space
    )
    rows = updater.stage_rows("rank", space, (), known.end)
    assert space.recipes.user == former.space.recipes.user  # the priors of rates stay
    ranker = registry.build("rank", "rank", updater.config.cascade.rank).carried(former.rank, rows)
    table, old = (m.model.inputs.table.weight.detach().numpy() for m in (ranker, former.rank))
    for name, vocabulary in former.space.vocabularies.items():
        then, now = former.space.layout.table[name].start, space.layout.table[name].start
        size = vocabulary.size
        assert np.array_equal(old[then : then + size], table[now : now + size]), name
    same = _predictions(updater, space, ranker), _predictions(updater, former.space, former.rank)
    assert np.abs(same[0] - same[1]).max() < 0.02  # shares of categories have moved a little


def _predictions(updater, space, ranker):
    """Of the first impressions of the log; the tables are those of the serving version."""
    from tamis.cascade import Hydrate, impression_window, raw_numbers
    from tamis.features import Histories, OfflineStatistics

    data = updater.data
    window = (0, data.end)
    replay = impression_window(updater.config, data, Histories.of(data), window, 500)
    statistics = OfflineStatistics(data, recipes=space.recipes)
    hydrate = Hydrate(space, statistics, raw_numbers(updater.config, data.items))
    return ranker.score_rows(hydrate(replay.queries, replay.candidates))["click"]


def _quiet():
    from tamis.runtime import Progress

    return Progress("test", wanted=False)


def test_killed_updates_leave_the_serving_version_whole(feed):
    """Killed at random moments; the next update begins again and publishes."""
    before = serving(feed).name
    draw = random.Random(0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tamis", "update", str(feed), "--full", "--json"]
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(2.0, 9.0))
        if process.poll() is None:
            killed += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = serving(feed)
        now.verify()
        if now.name != before:
            break  # it had finished
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    now = serving(feed)
    now.verify()
    assert now.name != before
    assert report["version"] in (now.name, None)
    drafts = [p.name for p in (feed / "versions").glob(".*/")]
    assert drafts == []  # what the killed ones had begun is removed
    assert killed
