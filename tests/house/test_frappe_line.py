"""The line `frappe` on a little table: what it tells, leaves behind, and which model it keeps."""

import importlib
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.jobs import score

ROOT = Path(__file__).parents[2]


@pytest.fixture
def line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.rank.frappe")
    lean = {"epochs": 2, "hidden_units": (8,), "batch_size": 256}
    monkeypatch.setattr(module, "OUT", tmp_path / "best")
    monkeypatch.setattr(module, "SETTINGS", {"lr": ({},), "deepfm": ({}, lean), "dcnv2": (lean,)})
    monkeypatch.setattr(module, "SHARED", {"epochs": 1, "batch_size": 256})
    yield module
    sys.modules.pop("benchmarks.rank.frappe")


@pytest.fixture
def rows(tmp_path):
    random = np.random.default_rng(0)
    for stem, n in (("train", 1500), ("valid", 400)):
        user, item = random.integers(0, 30, n), random.integers(50, 70, n)
        label = (random.random(n) < np.where(user % 2 == item % 2, 0.9, 0.1)).astype(int)
        frame = pl.DataFrame({"label": label, "user": user, "item": item})
        frame.write_csv(tmp_path / f"{stem}.csv")
    return tmp_path


def test_the_best_on_valid_is_left_for_scoring(line, rows):
    said: list[str] = []
    figures = line.run(0, rows, said.append)
    names = ("auc:lr", "auc:deepfm", "auc:dcnv2")
    assert figures["auc"] == max(figures[name] for name in names)
    assert len(said) == 5
    assert said[-1].startswith("best: ")
    done = score(line.OUT, rows / "valid.csv", rows / "scores.csv")
    assert done.columns == ("user", "item", "score")
    scored = pl.read_csv(rows / "scores.csv")
    valid = pl.read_csv(rows / "valid.csv")
    from tamis.train import auc

    got = auc(valid["label"].to_numpy().astype(float), scored["score"].to_numpy())
    assert got == pytest.approx(figures["auc"], abs=1e-6)


def test_a_later_seed_replaces_only_by_a_better_one(line, rows):
    line.run(0, rows, lambda text: None)
    before = (line.OUT / "rows.json").read_text()
    line._leave(rows, type("One", (), {"quality": 0.0})(), seed=1)
    assert (line.OUT / "rows.json").read_text() == before
    other = rows / "other"
    other.mkdir()
    (other / "rows.json").write_text("{}")
    line._leave(other, type("One", (), {"quality": 2.0})(), seed=1)
    assert (line.OUT / "rows.json").read_text() == "{}"


def test_which_tables_are_used(line, rows, monkeypatch):
    train, valid = rows / "train.csv", rows / "valid.csv"
    assert line._tables(rows) == (train, valid)
    assert line._tables(train) == (train, valid)
    assert line._tables(valid) == (valid, None)
    with pytest.raises(Exception, match="holds no train"):
        line._tables(ROOT / "docs")
    monkeypatch.setenv("TAMIS_DATA", str(rows / "nowhere"))
    with pytest.raises(Exception, match="set TAMIS_DATA"):
        line._tables(None)
