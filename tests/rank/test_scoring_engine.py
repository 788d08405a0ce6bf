"""The scoring engine: saved and loaded with the ranker, dropped by a fit, reported if broken."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from tamis.features import Block, DenseColumn, IdColumn, Layout, Rows, TableRange
from tamis.rank import DeepFM, DeepFMConfig, export, unsupported
from tamis.schema import DenseFeat, MissingExtraError, Side, SparseFeat, TrainingError, VersionError

LAYOUT = Layout(
    tables=(TableRange("user", 0, 6), TableRange("item", 6, 30)),
    ids=(IdColumn("user", Side.USER, "user", 0), IdColumn("item", Side.ITEM, "item", 1)),
    dense=(DenseColumn("price", Side.ITEM, 0),),
)
GRAPH = Path("engine") / "scoring.onnx"


def rows_of(users: int, n: int, seed: int = 0) -> Rows:
    draw = np.random.default_rng(seed)
    user = draw.integers(1, 6, (users, 1)).astype(np.int32)
    item = draw.integers(7, 36, (30, 1)).astype(np.int32)
    blocks = [
        Block(
            user, np.empty((users, 0), np.float32), np.sort(draw.integers(0, users, n, np.int32))
        ),
        Block(
            item, draw.normal(size=(30, 1)).astype(np.float32), draw.integers(0, 30, n, np.int32)
        ),
    ]
    labels = (draw.random((n, 2)) < 0.5).astype(np.float32)
    return Rows(LAYOUT, blocks, n, labels)


def fitted(**options) -> DeepFM:
    model = DeepFM(embedding_dim=4, hidden_units=(8,), epochs=1, init_std=0.5, **options)
    return model.fit(rows_of(4, 200), tasks=["click", "like"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("ranker")
    fitted().save(directory)
    return directory


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "ranker"))


def runs_the_engine(model: DeepFM, rows: Rows) -> bool:
    """Whether the logits stay equal when the weights of PyTorch's module change."""
    before = model.logits(rows)
    heads = model.model.core.heads.bias
    with torch.no_grad():
        kept = heads.clone()
        heads.add_(100.0)
    after = model.logits(rows)
    with torch.no_grad():
        heads.copy_(kept)
    return bool(np.array_equal(before, after))


def test_a_saved_ranker_scores_requests_by_the_engine(folder):
    engine, torch_ = DeepFM.load(folder), DeepFM.load(folder, DeepFMConfig(engine="torch"))
    rows = rows_of(1, 40, seed=1)
    np.testing.assert_allclose(engine.logits(rows), torch_.logits(rows), atol=1e-5)
    likes = engine.score_rows(rows)["like"]
    np.testing.assert_allclose(likes, torch_.score_rows(rows)["like"], rtol=1e-5)
    assert runs_the_engine(engine, rows)
    assert not runs_the_engine(torch_, rows)
    assert engine.degraded == ()


def test_rows_of_many_users_are_scored_by_pytorch(folder):
    model = DeepFM.load(folder)
    assert model.logits(rows_of(1, 0)).shape == (0, 2)
    many = rows_of(30, 60)
    assert not runs_the_engine(model, many)
    assert runs_the_engine(model, rows_of(2, 60))


def test_a_new_fit_drops_the_engine(folder):
    model = DeepFM.load(folder)
    model.fit(rows_of(4, 200, seed=2), tasks=["click", "like"])
    assert not runs_the_engine(model, rows_of(1, 40))


def test_saving_removes_an_engine_of_earlier_weights(copied):
    assert (copied / GRAPH).is_file()
    fitted(engine="torch").save(copied)
    assert not (copied / GRAPH).exists()
    assert DeepFM.load(copied).degraded == ()


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_broken_engine_is_reported_and_pytorch_scores(copied, harm, caplog):
    file = copied / GRAPH
    if harm == "damaged":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING):
        model = DeepFM.load(copied)
    rows = rows_of(1, 40)
    reference = DeepFM.load(copied, DeepFMConfig(engine="torch"))
    assert np.array_equal(model.logits(rows), reference.logits(rows))
    assert len(model.degraded) == 1
    assert harm in model.degraded[0]
    assert str(copied) not in model.degraded[0]
    assert "train again" in caplog.text
    with pytest.raises(VersionError, match=harm):
        DeepFM.load(copied, DeepFMConfig(engine="onnx"))


def test_the_engine_of_another_ranker_is_refused(copied):
    """The file is intact, but it was exported for other features."""
    layout = Layout(LAYOUT.tables, LAYOUT.ids, (DenseColumn("price", Side.ITEM, 0, 3),))
    export(layout, DeepFM().build(layout, 2, torch.Generator()).eval(), copied)
    with pytest.raises(VersionError, match="does not fit this ranker"):
        DeepFM.load(copied, DeepFMConfig(engine="onnx"))
    assert "does not fit" in DeepFM.load(copied).degraded[0]


def test_without_the_package_pytorch_scores(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in DeepFM.load(folder).degraded[0]
    with pytest.raises(MissingExtraError, match="pip install onnxruntime"):
        DeepFM.load(folder, DeepFMConfig(engine="onnx"))


def test_a_fit_on_a_frame_writes_no_engine(tmp_path):
    frame = pl.DataFrame({"user_id": [1, 2] * 20, "x": [0.5, 1.5] * 20, "label": [0, 1] * 20})
    features = [SparseFeat("user_id"), DenseFeat("x")]
    model = DeepFM(features=features, epochs=1, hidden_units=(4,)).fit(frame)
    model.save(tmp_path)
    assert not (tmp_path / GRAPH).exists()
    assert DeepFM.load(tmp_path).predict(frame) == pytest.approx(model.predict(frame))


class DataDependentCore(nn.Module):
    """A core that cannot be exported: its operators depend on the data."""

    def forward(self, fields):
        total = fields.vectors.sum((1, 2)).unsqueeze(1)
        return total if float(total.detach().sum()) > 0 else -total


class DataDependentRanker(DeepFM):
    def core(self, shape, n_tasks, generator):
        return DataDependentCore()


def test_a_ranker_that_cannot_be_exported_is_reported(tmp_path, caplog):
    rows = rows_of(2, 40)
    rows = Rows(LAYOUT, rows.blocks, 40, rows.labels[:, :1])
    model = DataDependentRanker(embedding_dim=4, epochs=1).fit(rows, tasks=["click"])
    with caplog.at_level(logging.WARNING):
        model.save(tmp_path)
    assert "requests will be scored by PyTorch" in caplog.text
    assert not (tmp_path / "engine").exists()
    assert DataDependentRanker.load(tmp_path).logits(rows).shape == (40, 1)
    strict = DataDependentRanker(embedding_dim=4, epochs=1, engine="onnx").fit(
        rows, tasks=["click"]
    )
    with pytest.raises(TrainingError, match="could not be exported"):
        strict.save(tmp_path)


def test_a_ranker_without_inputs_of_the_candidate_has_no_engine():
    layout = Layout(LAYOUT.tables[:1], LAYOUT.ids[:1], ())
    network = DeepFM().build(layout, 1, torch.Generator())
    assert "belongs to the candidate" in str(unsupported(layout, network))
    assert "not a Network" in str(unsupported(LAYOUT, nn.Linear(1, 1)))
