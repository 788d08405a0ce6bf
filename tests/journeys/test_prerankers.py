"""Pre-rankers that need more than rows: a ranker to learn from, a channel's vectors."""

import re
import shutil

import numpy as np
import pytest

import tamis
from tamis.schema import ConfigError


def with_prerank(project, folder, lines):
    """The project's tables with another pre-ranker declared."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("versions"))
    declared = (folder / "tamis.toml").read_text("utf-8")
    section = f"[cascade.prerank]\n{lines}\n\n"
    changed = re.sub(r"\[cascade\.prerank\][^\[]*", section, declared)
    (folder / "tamis.toml").write_text(changed.replace("prerank_keep = 60", "prerank_keep = 40"))
    return tamis.open(folder)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ('use = "three_tower"\nepochs = 1\nbatch_size = 4096', ["item_vectors.npy"]),
        ('use = "stored"\nepochs = 1', []),
    ],
    ids=["three_tower", "stored"],
)
def test_a_version_with_it_answers(ratings, tmp_path, lines, kept):
    project = with_prerank(ratings, tmp_path / "films", lines)
    report = project.train(only="serving")
    if "three_tower" in lines:  # the ranker teaches it
        assert "agreement" in report.validation["prerank"]
    folder = next((tmp_path / "films" / "versions").glob("*-serving")) / "prerank"
    assert all((folder / name).is_file() for name in kept)
    answer = project.recommend("u1", 10)
    assert not answer.degraded
    assert len(answer.items) == 10
    stranger = project.recommend(None, 10)
    assert len(stranger.items) == 10
    cascade, parts = project.recommender.cascade, project.recommender.parts
    user = parts.users.rows(["u1", "u2", "u3"])
    now = [project.recommender.manifest.data_until] * 3
    outcome = cascade.run(parts.queries(user, np.array(now, np.int64)), 10)
    assert (np.diff(outcome.preranked.indptr) <= 40).all()
    assert (np.diff(outcome.kept.indptr) > 40).all()
    assert np.isfinite(outcome.kept.columns["prerank"]).all()


def test_a_channel_without_vectors_is_reported_before_training(ratings, tmp_path):
    lines = 'use = "stored"\nchannel = "hot"'
    project = with_prerank(ratings, tmp_path / "films", lines)
    with pytest.raises(ConfigError, match=r"'hot' has no vectors.*two_tower"):
        project.train()
