"""DSSM on labelled rows: γ · cosine + b, the embeddings of both towers, tasks, saving."""

import numpy as np
import polars as pl
import pytest

import tamis
from tamis import DSSM, DenseFeat, SparseFeat, TamisError, VarLenSparseFeat
from tamis.nn import BatchNorm
from tamis.schema import ConfigError, DataError, LabelError, NotFittedError, TaskConfig
from tamis.testing import check_scorer

N, USERS, ITEMS = 3_000, 40, 24
USER = [
    SparseFeat("user_id"),
    SparseFeat("hour", side="context"),
    DenseFeat("age"),
    VarLenSparseFeat("liked", separator="|", shares="item_id"),
]
ITEM = [SparseFeat("item_id"), VarLenSparseFeat("genres", separator="|"), DenseFeat("price")]
QUICK = {"epochs": 6, "batch_size": 128, "learning_rate": 0.01, "threads": 1}


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Users of a taste like items of that taste; `stars` rise with the match and with the item."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, USERS, N), random.integers(0, ITEMS, N)
    match = user % 3 == item % 3
    stars = 1 + 2 * match + (item % 2) + random.integers(0, 2, N)
    return pl.DataFrame(
        {
            "user_id": user,
            "hour": random.integers(0, 24, N),
            "age": 20.0 + user,
            "liked": [f"{u % 3}|{u % 3 + 3}" for u in user],
            "item_id": item,
            "genres": [f"g{i % 3}|h{i % 4}" for i in item],
            "price": random.lognormal(2, 1, N),
            "click": (random.random(N) < np.where(match, 0.8, 0.1)).astype(int),
            "stars": stars,
            "pair": (item % 2).astype(float),
        }
    )


def dssm(**options) -> DSSM:
    return DSSM(user_features=USER, item_features=ITEM, **(QUICK | options))


@pytest.fixture(scope="module")
def model(frame) -> DSSM:
    return dssm(calibrate="none").fit(frame, label="click")


def log_odds(p: np.ndarray) -> np.ndarray:
    p = p.astype(np.float64)
    return np.log(p / (1 - p))


def test_it_learns_who_likes_what(frame):
    train, valid, test = frame[:2_000], frame[2_000:2_500], frame[2_500:]
    aucs = [dssm(seed=s).fit(train, valid, label="click").evaluate(test)["auc"] for s in range(3)]
    assert np.median(aucs) > 0.8  # the data's own chances give 0.86


def test_a_logit_is_gamma_times_the_cosine_plus_b(model, frame):
    users, items = model.user_embeddings(frame), model.item_embeddings(frame)
    assert users.shape == items.shape == (N, 64)
    assert users.dtype == items.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-5)
    rest = log_odds(model.predict(frame)) - model.gamma["click"] * (users * items).sum(1)
    np.testing.assert_allclose(rest, rest[0], atol=2e-4)


def test_the_inner_product_has_vectors_of_any_length(frame):
    model = dssm(similarity="inner", learn_gamma=False, calibrate="none").fit(frame, label="click")
    users, items = model.user_embeddings(frame), model.item_embeddings(frame)
    assert np.linalg.norm(users, axis=1).std() > 0.01
    logits = model.log_odds(model.logits(model.labelled(frame)))[:, 0]
    rest = logits - (users * items).sum(1)  # gamma = 1
    np.testing.assert_allclose(rest, rest[0], atol=1e-3)


def test_each_tower_reads_its_own_columns_only(model, frame):
    users = model.user_embeddings(frame.select("age", "hour", "liked", "user_id"))
    np.testing.assert_array_equal(users, model.user_embeddings(frame))
    items = model.item_embeddings(frame.select("price", "genres", "item_id").to_pandas())
    np.testing.assert_array_equal(items, model.item_embeddings(frame))
    assert model.user_embeddings(frame[:0]).shape == (0, 64)
    with pytest.raises(DataError, match="no column 'hour'"):
        model.user_embeddings(frame.drop("hour"))
    with pytest.raises(DataError, match="no column 'genres'"):
        model.item_embeddings(frame.drop("genres"))


def test_columns_of_lists_and_of_vectors_are_read_by_their_side_only(frame):
    lists = frame[:600].with_columns(
        pl.col("liked").str.split("|"),
        pl.col("genres").str.split("|"),
        look=pl.concat_list("price", "price"),
        mood=pl.concat_list("age", "age"),
    )
    model = DSSM(
        user_features=[VarLenSparseFeat("liked", shares="item_id"), DenseFeat("mood", width=2)],
        item_features=[
            SparseFeat("item_id"), VarLenSparseFeat("genres"), DenseFeat("look", width=2)
        ],
        **(QUICK | {"epochs": 1}),
    ).fit(lists, label="click")  # fmt: skip
    users = model.user_embeddings(lists.select("liked", "mood"))
    np.testing.assert_array_equal(users, model.user_embeddings(lists))
    items = model.item_embeddings(lists.select("item_id", "genres", "look"))
    np.testing.assert_array_equal(items, model.item_embeddings(lists))
    assert len(np.unique(users.round(4), axis=0)) == USERS


def test_both_towers_share_the_vectors_of_items(model, frame):
    tables = {column.name: column.table for column in model.layout.ids}
    assert tables["liked"] == tables["item_id"] == "item_id"
    sides = {column.name: column.side for column in model.layout.ids}
    assert sides == {"user_id": "user", "hour": "context", "liked": "user"} | dict.fromkeys(
        ("item_id", "genres"), "item"
    )
    assert [f.name for f in model.user_features] == ["user_id", "hour", "age", "liked"]
    assert [f.name for f in model.item_features] == ["item_id", "genres", "price"]


def test_gamma_is_learnt_or_fixed(frame):
    fixed = dssm(gamma=3.0, learn_gamma=False).fit(frame, label="click")
    assert fixed.gamma["click"] == pytest.approx(3)
    learnt = dssm(gamma=3.0).fit(frame, label="click")
    assert abs(learnt.gamma["click"] - 3) > 0.05


def test_batch_norm_normalises_hidden_values_and_a_row_scores_alone_as_in_a_batch(frame):
    model = dssm(batch_norm=True, hidden_units=(32, 16)).fit(frame, label="click")
    norms = [m for m in model.model.modules() if isinstance(m, BatchNorm)]
    assert len(norms) == 2  # one hidden layer in each tower; the last layer is linear
    assert all(m.running_mean.abs().max() > 0 for m in norms)
    whole = model.predict(frame[:200])
    np.testing.assert_allclose(model.predict(frame[7:8]), whole[7:8], rtol=1e-5)
    assert model.evaluate(frame)["auc"] > 0.75


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_ratings_are_numbers_or_ordered_classes(frame, task, tmp_path):
    train, test = frame[:2_400], frame[2_400:]
    model = dssm(task=task).fit(train, label="stars")
    found = model.evaluate(test)
    mean_error = float((test["stars"] - train["stars"].mean()).abs().mean())
    assert found["mae"] < 0.75 * mean_error  # predicting the mean is 1.0
    assert found["xauc"] > 0.75
    predicted = model.predict(test)
    if task == "multiclass":
        assert model.heads.tasks[0].classes == (1, 2, 3, 4, 5)
        assert predicted.min() >= 1
        assert predicted.max() <= 5
    model.save(tmp_path)
    np.testing.assert_array_equal(DSSM.load(tmp_path).predict(test), predicted)
    user, items = model.user_embeddings(test[:1]), model.item_embeddings(test)
    same_user = test.with_columns(pl.lit(test[name][0]).alias(name) for name in
                                  ("user_id", "hour", "age", "liked"))  # fmt: skip
    assert is_increasing(items @ user[0], model.predict(same_user))


def is_increasing(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether y rises with x, but for rounding."""
    return bool((np.diff(y[np.argsort(x)]) > -1e-4).all())


def test_each_of_several_labels_has_a_user_embedding_of_its_own(frame):
    tasks = ["click", TaskConfig(name="stars", kind="regression")]
    model = dssm(calibrate="none").fit(frame, tasks=tasks)
    assert model.predict(frame[:5]).shape == (5, 2)
    users, items = model.user_embeddings(frame), model.item_embeddings(frame)
    assert users.shape == (N, 2, 64)
    assert items.shape == (N, 64)
    np.testing.assert_allclose(np.linalg.norm(users, axis=2), 1, rtol=1e-5)
    logits = model.logits(model.labelled(frame))
    for t, task in enumerate(model.tasks):
        rest = logits[:, t] - model.gamma[task] * (users[:, t] * items).sum(1)
        np.testing.assert_allclose(rest, rest[0], atol=1e-4)
    assert set(model.gamma) == {"click", "stars"}
    assert {"auc:click", "mae:stars"} <= set(model.evaluate(frame))
    two = dssm(task="regression").fit(frame, label=["stars", "pair"])
    assert [task.kind for task in two.heads.tasks] == ["regression"] * 2


def test_what_save_writes_is_loaded(model, frame, tmp_path):
    model.save(tmp_path)
    loaded = DSSM.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    np.testing.assert_array_equal(loaded.user_embeddings(frame), model.user_embeddings(frame))
    np.testing.assert_array_equal(loaded.item_embeddings(frame), model.item_embeddings(frame))
    assert loaded.config == model.config
    assert loaded.gamma == model.gamma
    assert [f.name for f in loaded.item_features] == ["item_id", "genres", "price"]


def test_it_keeps_the_contract_of_scorers():
    check_scorer(lambda: DSSM(**(QUICK | {"epochs": 8})))


def test_it_is_evaluated_beside_other_models(frame):
    models = {"dssm": dssm(), "dnn": tamis.DNN(features=[*USER, *ITEM], **QUICK)}
    table = tamis.evaluate(models, train=frame[:2_000], test=frame[2_000:], label="click")
    assert table["dssm"]["auc"] > 0.7


OTHER = {
    "task": "regression", "embedding_dim": 4, "hidden_units": (16, 8),
    "item_hidden_units": (32, 64), "activation": "tanh", "batch_norm": True, "dropout": 0.5,
    "similarity": "inner", "gamma": 2.0, "learn_gamma": False, "init_std": 0.3,
}  # fmt: skip
"""{option of DSSM: a value that is not the default}."""


@pytest.mark.parametrize("option", sorted(set(DSSM.Config.model_fields) - set(
    tamis.DNN.Config.__mro__[2].model_fields)))  # fmt: skip
def test_every_option_changes_the_model(option, frame):
    few = frame[:600]
    plain, other = (dssm(epochs=2, **given).fit(few, label="click").predict(few)
                    for given in ({}, {option: OTHER[option]}))  # fmt: skip
    assert not np.allclose(plain, other, atol=1e-4)


def test_the_same_seed_gives_the_same_model(frame):
    few = frame[:600]
    one, two, other = (dssm(epochs=1, seed=s).fit(few, label="click").predict(few)
                       for s in (1, 1, 2))  # fmt: skip
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dssm(hiden_units=(8,)), "hiden_units.*unknown option.*`hidden_units`"),
        (lambda: dssm(hidden_units=()), "hidden_units"),
        (lambda: dssm(hidden_units=(8,), item_hidden_units=(4,)), "end in 8.*in 4.*one width"),
        (lambda: dssm(gamma=0), "gamma = 0"),
        (lambda: dssm(task="ranking"), "task = 'ranking'"),
        (lambda: DSSM(features=USER), "user_features=.*item_features="),
        (lambda: DSSM(user_features="user_id"), "give declared features"),
        (
            lambda: DSSM(user_features=[SparseFeat("x", side="item")]),
            "user_features: feature 'x' declares side = 'item'.*user or context",
        ),
        (
            lambda: DSSM(item_features=[DenseFeat("x", side="cross")]),
            "item_features: feature 'x' declares side = 'cross'.*takes item",
        ),
    ],
)
def test_wrong_declarations_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_tower_without_features_and_a_missing_fit_are_reported(frame):
    with pytest.raises(ConfigError, match="DSSM has no item_features"):
        DSSM(user_features=USER[:3]).fit(frame, label="click")
    with pytest.raises(ConfigError, match="DSSM has no user_features"):
        DSSM(item_features=ITEM).fit(frame, label="click")
    with pytest.raises(ConfigError, match="DSSM has no features"):
        DSSM().fit(frame, label="click")
    for ask in ("user_embeddings", "item_embeddings", "predict"):
        with pytest.raises(NotFittedError, match="call fit"):
            getattr(dssm(), ask)(frame)


@pytest.mark.parametrize(
    ("options", "fit", "error", "message"),
    [
        ({}, {"label": "stars"}, LabelError, r"outside \[0, 1\]"),
        ({}, {"label": "genres"}, DataError, "holds 'g"),
        ({}, {"label": "clik"}, DataError, "no label column 'clik'.*`click`"),
        ({"task": "multiclass"}, {"label": "price"}, LabelError, "3,000 distinct.*regression"),
        ({"task": "regression"}, {"tasks": ["click"]}, ConfigError, "task = 'regression'"),
    ],
)
def test_labels_are_checked(frame, options, fit, error, message):
    with pytest.raises(error, match=message) as caught:
        dssm(**options).fit(frame, **fit)
    assert isinstance(caught.value, TamisError)
