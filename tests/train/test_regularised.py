"""Options against overfitting reach the fit; the chosen epochs and decays reach the next fit."""

import json

import numpy as np
import pytest

from tamis.cascade import FitContext
from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import DNN
from tamis.schema import ConfigError, Side
from tamis.train import Chosen, TaskObjective

LAYOUT = Layout((TableRange("user", 0, 12),), (IdColumn("user", Side.USER, "user", 0),), ())
FAST = {"hidden_units": (8,), "batch_size": 64, "threads": 1, "embedding_dim": 4, "init_std": 0.5}


def noise(n, seed):
    draw = np.random.default_rng(seed)
    ids = draw.integers(1, 12, (n, 1)).astype(np.int32)
    labels = (draw.random((n, 1)) < 0.5).astype(np.float32)
    return Rows(LAYOUT, [Block(ids, np.zeros((n, 0), np.float32))], n, labels)


def test_the_next_fit_runs_and_decays_as_the_validation_chose(monkeypatch, tmp_path):
    """The validation metrics are given: which epochs of a fit on noise are good is chance."""
    metrics = iter([0.5, 0.6, 0.55, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6])
    monkeypatch.setattr(TaskObjective, "evaluate", lambda *_: {"auc": next(metrics)})
    options = {**FAST, "patience": 4, "decay_on_plateau": 0.5, "epochs": 12, "calibrate": "none"}
    model = DNN(**options).fit(noise(300, 0), noise(100, 5))
    assert model.best_epoch == 4
    assert model.result.decays == (3, 5, 6, 7)  # epoch 8 ends the fit
    assert model.chosen == Chosen(epochs=4, decay_after=(3,))
    assert model.config.epochs == 12
    again = DNN(**options).fit(noise(300, 0), context=FitContext(chosen=model.chosen))
    assert again.result.decays == (3,)
    assert len(again.history) == 4
    assert again.chosen == model.chosen
    np.testing.assert_allclose(again.logits(noise(50, 2)), model.logits(noise(50, 2)), atol=1e-6)
    again.save(tmp_path)
    opened = DNN.load(tmp_path)
    assert opened.chosen == model.chosen
    assert opened.config == again.config


def test_a_fit_with_validation_rows_chooses_anew_and_a_constant_rate_has_no_decays():
    context = FitContext(chosen=Chosen(epochs=1, decay_after=(1,)))
    model = DNN(epochs=3, **FAST).fit(noise(300, 0), noise(100, 1), context=context)
    assert len(model.history) > 1
    assert model.chosen.epochs == model.best_epoch
    assert model.chosen.decay_after == ()


def test_a_model_saved_with_options_that_are_gone_is_opened_with_a_warning(tmp_path, caplog):
    model = DNN(epochs=1, **FAST).fit(noise(100, 0))
    model.save(tmp_path)
    file = tmp_path / "estimator.json"
    about = json.loads(file.read_text())
    about["config"] |= {"calibration": [], "seconds": {}, "decay_after": []}
    del about["chosen"]
    file.write_text(json.dumps(about))
    opened = DNN.load(tmp_path)
    assert "DNNConfig no longer has: calibration, decay_after, seconds" in caplog.text
    np.testing.assert_array_equal(opened.logits(noise(9, 1)), model.logits(noise(9, 1)))


def test_l2_on_all_rows_shrinks_those_that_no_batch_holds():
    rows = noise(100, 0)
    rows.blocks[0].ids[rows.blocks[0].ids == 7] = 6
    options = {**FAST, "epochs": 5, "embedding_learning_rate": 0.01}
    lengths = {}
    for name, more in {
        "none": {},
        "batch": {"l2": 0.1},
        "all": {"l2": 0.1, "l2_rows": "all"},
    }.items():
        model = DNN(**options, **more).fit(rows)
        weight = model.model.inputs.table.weight.detach()
        assert not weight[0].any()
        lengths[name] = float(weight[7].norm())
    assert lengths["none"] == lengths["batch"]
    assert lengths["all"] < 0.98 * lengths["none"]


def test_dense_l1_shrinks_the_weights():
    sizes = []
    for dense_l1 in (0.0, 1.0):
        model = DNN(**{**FAST, "learning_rate": 0.01}, epochs=20, dense_l1=dense_l1).fit(
            noise(300, 0)
        )
        sizes.append(sum(float(p.detach().abs().sum()) for p in model.model.core.parameters()))
    assert sizes[1] < 0.3 * sizes[0]


@pytest.mark.parametrize(
    "option", [{"decay_on_plateau": 0.0}, {"l2_rows": "some"}, {"dense_l1": -1}]
)
def test_options_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        DNN(**option)
