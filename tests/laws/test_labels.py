"""Every ranker and pre-ranker checks labels and weights before it trains, on frames and on rows."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import tamis
from tamis.features import Block, DenseColumn, Layout, Rows
from tamis.schema import (
    DenseFeat,
    Side,
    SparseFeat,
    TamisWarning,
    TaskConfig,
    TrainingError,
    VarLenSparseFeat,
)
from tamis.service import registry
from tamis.train import BinaryTasks, Estimator, LinearNet, fit

SCORERS = {
    f"{kind}:{name}": cls
    for kind in ("rank", "prerank")
    for name, cls in registry.available(kind).items()
}
FEATURES = [
    SparseFeat(name="user_id"),
    SparseFeat(name="item_id"),
    VarLenSparseFeat(name="user_clicked", shares="item_id", max_len=2, history=("click",)),
    DenseFeat(name="x"),
]
LAYOUT = Layout((), (), (DenseColumn("x", Side.CONTEXT, 0, 3),))
NAN, INF = float("nan"), float("inf")
RATING = TaskConfig(name="label", kind="regression")
WATCH = TaskConfig(name="label", kind="watch_time")
SHARE = TaskConfig(name="label", kind="completion")
STARS = TaskConfig(name="label", kind="multiclass", classes=(1, 3, 5))


@pytest.fixture(params=SCORERS)
def scorer(request):
    """An unfitted scorer of frames that fails if its training starts."""
    model = SCORERS[request.param](features=FEATURES)

    def started(*_):
        raise AssertionError("training started before the labels were checked")

    model.fit_rows = started
    return model


def frame_of(labels):
    n = len(labels)
    return pl.DataFrame(
        {
            "user_id": [f"u{k % 5}" for k in range(n)],
            "item_id": [f"i{k % 7}" for k in range(n)],
            "user_clicked": [["i1", "i2"]] * n,
            "x": np.linspace(0, 1, n),
            "label": labels,
        },
        strict=False,
    )


def rows_of(labels, **more):
    n = len(labels)
    dense = np.zeros((n, 3), np.float32)
    labels = np.asarray(labels, np.float32).reshape(n, -1)
    return Rows(LAYOUT, [Block(np.zeros((n, 0), np.int32), dense)], n, labels, **more)


GOOD = [0, 1, 0, 1, 1, 0]


@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame, Rows])
def test_ratings_as_binary_labels_are_refused_by_every_model(scorer, kind):
    labels = [0, 5, 3, 5, 0.5, None]
    data = frame_of(labels)
    if kind is pd.DataFrame:
        data = pd.DataFrame(data.to_dict(as_series=False))
    if kind is Rows:
        data = rows_of([NAN if label is None else label for label in labels])
    with pytest.raises(TrainingError) as error:
        scorer.fit(data)
    text = str(error.value)
    assert "'label': 3 of the 5 labels of the training rows are outside [0, 1]" in text
    assert "5 (row 1), 3 (row 2)." in text
    assert "label = rating >= 4" in text


def test_minus_one_and_one_are_refused_by_every_model(scorer):
    with pytest.raises(TrainingError, match="label = 0 where it is -1, 1 where 1"):
        scorer.fit(frame_of([-1, 1, 1, -1]))


def test_wrong_validation_labels_are_found_before_training_too(scorer):
    with pytest.raises(TrainingError, match=r"labels of the validation rows .* 2 \(row 3\)"):
        scorer.fit(frame_of(GOOD), frame_of([0, 1, 0, 2]))


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (RATING, [1.5, INF, 2], r"not finite: inf \(row 1\)"),
        (WATCH, [3, -1, None], r"negative or infinite: -1 \(row 1\)"),
        (WATCH, [3, INF], r"negative or infinite: inf \(row 1\)"),
        (SHARE, [0.5, -0.5], r"negative or infinite: -0.5 \(row 1\)"),
        (STARS, [1, 3, 4, 5, 2], r"2 of 5 labels are none of its classes 1, 3, 5: 4 \(row 2\), 2"),
        (RATING, [None, None], "has no label in 2 training rows"),
        (TaskConfig(name="label"), [0, 0, None], "has no positive label in 3 training rows"),
        (WATCH, [0, 0], "has no positive label in 2 training rows"),
    ],
)
def test_labels_of_other_kinds_are_checked_by_every_model(scorer, task, labels, message):
    with pytest.raises(TrainingError, match=message):
        scorer.fit(frame_of(labels), tasks=[task])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1, 1], r"-1 \(row 1\)"),
        ([1, 1, NAN], r"nan \(row 2\)"),
        ([INF, 1, 1], r"inf \(row 0\)"),
        ([0, 0, 0], "all sample weights are 0"),
    ],
)
def test_sample_weights_are_checked_by_every_model(scorer, weights, message):
    frame = frame_of([0, 1, 1]).with_columns(w=pl.Series(weights, dtype=pl.Float64))
    with pytest.raises(TrainingError, match=message):
        scorer.fit(frame, weight="w")
    rows = rows_of([0, 1, 1], weights=np.asarray(weights, np.float32))
    with pytest.raises(TrainingError, match=message):
        scorer.fit(rows)


def test_one_class_of_labels_is_reported_by_every_model(scorer):
    scorer.fit_rows = lambda rows, valid, tasks, context: scorer
    scorer._intercepts = lambda rows: ()
    scorer._calibrate = lambda valid: None
    with pytest.warns(TamisWarning) as warned:
        scorer.fit(frame_of([1, 1, 1]), frame_of([0, 0, None]))
    training, validation = (str(w.message) for w in warned)
    assert training.startswith("task 'label': all 3 labels are 1 in the training rows")
    assert validation.startswith("task 'label': all 2 labels are 0 in the validation rows")
    assert scorer.notes == (training, validation)


def test_labels_of_texts_name_the_value_and_its_row(scorer):
    with pytest.raises(tamis.TamisError, match=r"'label' holds 'yes' in row 1; labels are numbers"):
        scorer.fit(frame_of(["no", "yes"]).with_columns(label=pl.Series(["0", "yes"])))


def test_a_missing_label_column_names_the_nearest(scorer):
    with pytest.raises(tamis.TamisError, match=r"no label column 'lable'. Did you mean `label`"):
        scorer.fit(frame_of(GOOD), label="lable")


# ---------------------------------------------------------------- evaluation


@pytest.fixture(scope="module")
def fitted():
    """A ranker of trees and one of a network, fitted on the same frame."""
    frame = frame_of(GOOD * 20)
    return [
        SCORERS[name](features=FEATURES, **options).fit(frame)
        for name, options in {
            "rank:gbdt": {"trees": 2, "min_leaf": 5},
            "rank:lr": {"epochs": 1},
        }.items()
    ]


def test_undefined_metrics_say_why(fitted):
    for model in fitted:
        with pytest.warns(TamisWarning, match="auc is undefined: all 3 labels are 1"):
            found = model.evaluate(frame_of([1, 1, 1]))
        assert np.isnan(found["auc"])
        assert found["logloss"] > 0
        assert found.undefined == {"auc": "all 3 labels are 1"}
        assert repr(found).endswith("; auc is undefined: all 3 labels are 1")
        with pytest.warns(
            TamisWarning, match="auc and logloss are undefined: none of 2 rows has a label"
        ):
            found = model.evaluate(frame_of([None, None]))
        assert set(found.undefined) == {"auc", "logloss"}


def test_test_labels_are_checked(fitted):
    for model in fitted:
        with pytest.raises(TrainingError, match=r"labels of the test rows .* 4 \(row 2\)"):
            model.evaluate(frame_of([0, 1, 4]))
        with pytest.raises(TrainingError, match=r"labels of the test rows .* 4 \(row 2\)"):
            tamis.evaluate({"m": model}, test=frame_of([0, 1, 4]))
        with pytest.raises(tamis.TamisError, match="no row"):
            model.evaluate(frame_of(GOOD)[:0])


def test_the_evaluation_table_says_why_a_metric_is_undefined(fitted):
    table = tamis.evaluate({"m": fitted[0]}, test=frame_of([0, 0, 0]), user="user_id")
    assert np.isnan(table["m"]["auc"])
    assert table.undefined == {"m": {"auc": "all 3 labels are 0", "gauc": "all 3 labels are 0"}}
    assert "m: auc and gauc are undefined: all 3 labels are 0" in repr(table)
    mixed = frame_of([0, 1]).with_columns(user_id=pl.Series(["u1", "u2"]))
    table = tamis.evaluate({"m": fitted[0]}, test=mixed, user="user_id")
    assert "m: gauc is undefined: none of the 2 groups (users or requests)" in repr(table)
    assert table["m"]["auc"] in (0, 0.5, 1)


# ---------------------------------------------------------------- readings that were wrong


def test_values_of_classes_are_not_taken_for_their_numbers():
    """A rating of 1 was read as class number 1, which is the rating 3."""
    labels = [1, 3, 5, 5] * 30
    frame = frame_of(labels).with_columns(x=pl.Series(labels, dtype=pl.Float64))
    model = SCORERS["rank:dnn"](
        features=[DenseFeat(name="x")], epochs=30, batch_size=16, learning_rate=0.03
    ).fit(frame, tasks=[STARS])
    expected = model.predict(frame[:4])
    np.testing.assert_allclose(expected, [1, 3, 5, 5], atol=0.3)


def test_a_pandas_frame_needs_no_pyarrow_for_conditional_labels(monkeypatch):
    monkeypatch.setattr(pl, "from_pandas", None)
    frame = pd.DataFrame({"x": [0.1, 0.2, 0.3, 0.4], "click": [0, 1, 1, 1], "like": [0, 0, 1, 0]})
    model = SCORERS["rank:lr"](features=[DenseFeat(name="x")], epochs=1)
    model.fit(frame, tasks=["click", "like|click"])
    np.testing.assert_array_equal(model.labelled(frame).labels, [[0, NAN], [1, 0], [1, 1], [1, 0]])


def test_trees_stop_by_auc_where_rows_have_no_requests():
    frame = frame_of(GOOD * 20).with_columns(x=pl.Series(GOOD * 20, dtype=pl.Float64))
    model = SCORERS["rank:gbdt"](features=FEATURES, trees=30, min_leaf=5).fit(frame, frame)
    assert model.best["auc"] == 1.0


def test_a_module_of_ones_own_has_its_labels_checked():
    rows = rows_of([[0], [2]])
    with pytest.raises(TrainingError, match=r"outside \[0, 1\]: 2 \(row 1\)"):
        fit(LinearNet(LAYOUT, 1), rows, BinaryTasks(["label"]))
    with pytest.raises(TrainingError, match=r"labels of the validation rows .*: 2 \(row 1\)"):
        fit(LinearNet(LAYOUT, 1), rows_of([[0], [1]]), BinaryTasks(["label"]), valid=rows)


def test_every_neural_scorer_is_an_estimator_or_trees():
    """The checks are in `FrameModel.fit`; a scorer with a `fit` of its own would not have them."""
    for name, cls in SCORERS.items():
        owner = next(base for base in cls.__mro__ if "fit" in vars(base))
        assert owner.__name__ == "FrameModel", name
    assert any(issubclass(cls, Estimator) for cls in SCORERS.values())


KINDS = [
    TaskConfig(name="click"),
    TaskConfig(name="stars", kind="multiclass", classes=(1, 3, 5)),
    TaskConfig(name="price", kind="regression"),
    TaskConfig(name="seconds", kind="watch_time"),
    TaskConfig(name="share", kind="completion"),
]


@pytest.mark.parametrize(
    "name", sorted(SCORERS.keys() - {"prerank:stored"})
)  # needs stored vectors
def test_models_of_tasks_of_every_kind_are_opened_as_they_were_saved(name, tmp_path):
    """A saved model with a multiclass task, whose logits are more than the tasks, did not open."""
    n = 60
    frame = frame_of([0] * n).with_columns(
        click=pl.Series([k % 2 for k in range(n)]),
        stars=pl.Series([(1, 3, 5)[k % 3] for k in range(n)]),
        price=pl.Series(np.linspace(10, 20, n)),
        seconds=pl.Series([k % 7 * 1.0 for k in range(n)]),
        share=pl.Series(np.linspace(0, 1, n)),
    )
    kind = SCORERS[name]
    short = {"epochs": 1} if "epochs" in kind.Config.model_fields else {}
    model = kind(features=FEATURES, **short).fit(frame, tasks=KINDS)
    model.save(tmp_path)
    np.testing.assert_array_equal(kind.load(tmp_path).predict(frame), model.predict(frame))
