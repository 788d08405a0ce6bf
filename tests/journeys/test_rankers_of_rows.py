"""Rankers of a labelled table through the command line: compared, kept, used to score."""

import json

import numpy as np
import polars as pl
import pytest

from tamis import DeepFM, SparseFeat
from tamis.jobs import Entry, RowModel, compare_tables, parsed_options
from tamis.schema import ConfigError


def labelled(n: int = 3000, seed: int = 0) -> pl.DataFrame:
    """Users like items of their own parity; `x` says so too."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, 30, n), random.integers(0, 20, n)
    x = random.normal(size=n).round(3)
    z = 2.5 * np.where(user % 2 == item % 2, 1.0, -1.0) + x
    label = (random.random(n) < 1 / (1 + np.exp(-z))).astype(int)
    like = label * (random.random(n) < 0.4)
    return pl.DataFrame(
        {"label": label, "like": like, "user": user, "item": item, "x": x, "time": np.arange(n)}
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    labelled().write_csv(folder / "tasks.csv")
    labelled().drop("like").write_csv(folder / "train.csv")
    labelled(600, 1).drop("like").write_csv(folder / "valid.csv")
    labelled(50, 2).drop("label", "like").write_csv(folder / "new.csv")
    return folder


@pytest.fixture(scope="module")
def compared(tables, tamis_cli):
    """The comparison's JSON; the best ranker lies in `best`."""
    words = ["compare", "--table", tables / "train.csv", "--valid", tables / "valid.csv"]
    words += ["--models", "lr,deepfm,din", "--set", "epochs=3", "--set", "hidden_units=[16]"]
    said = tamis_cli(*words, "--group", "user", "--out", tables / "best", "--json")
    assert said.code == 0, said.err
    return said.json


def test_every_ranker_has_metrics(compared, tables):
    by_name = {one["name"]: one for one in compared["models"]}
    assert set(by_name) == {"lr", "deepfm", "din"}
    assert compared["best"] == "deepfm"
    assert (compared["rows"], compared["valid_rows"]) == (3000, 600)
    for name in ("lr", "deepfm"):
        one = by_name[name]
        figures = one["tasks"]["label"]
        assert set(figures) == {"auc", "logloss", "ndcg@10"}
        assert one["quality"] == figures["auc"]
        assert one["samples_per_second"] > 0
        assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["p99"]
        assert one["mb"] > 0
        assert one["options"]["epochs"] == 3
    assert "hidden_units" not in by_name["lr"]["options"]
    assert by_name["deepfm"]["quality"] > by_name["lr"]["quality"] + 0.1
    assert "history" in by_name["din"]["error"]
    assert (tables / "best" / "compare-rank.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_a_table_without_labels_is_scored_in_order(compared, tables, tamis_cli, ending):
    out = tables / f"scores.{ending}"
    said = tamis_cli("score", tables / "best", tables / "new.csv", "--out", out)
    assert said.code == 0, said.err
    assert "50 rows, columns user, item, time, score; scored by deepfm" in said.out
    readers = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}
    read = readers.get(ending, lambda p: pl.read_csv(p, separator="\t"))(out)
    new = pl.read_csv(tables / "new.csv")
    assert read.columns == ["user", "item", "time", "score"]
    assert read.drop("score").equals(new.select("user", "item", "time"))
    model = RowModel.open(tables / "best").model
    np.testing.assert_allclose(read["score"], model.predict(new), rtol=1e-5)
    same = (new["user"] % 2 == new["item"] % 2).to_numpy()
    score = read["score"].to_numpy()
    assert score[same].mean() > score[~same].mean() + 0.3


def test_scores_do_not_depend_on_the_order_of_the_rows(compared, tables):
    new = pl.read_csv(tables / "new.csv")
    ranker = RowModel.open(tables / "best")
    straight, back = ranker.score(new), ranker.score(new[::-1])
    assert straight.select("user", "item", "time").equals(back[::-1].select("user", "item", "time"))
    np.testing.assert_allclose(straight["score"], back["score"][::-1], rtol=1e-5)


def test_several_tasks_have_a_column_each(tables, tamis_cli):
    words = ["compare", "--table", tables / "tasks.csv", "--label", "label,like"]
    words += ["--models", "deepfm", "--set", "epochs=1", "--key", "item"]
    said = tamis_cli(*words, "--out", tables / "two")
    assert said.code == 0, said.err
    assert "a random tenth of the table" in " ".join(said.out.split())
    told = json.loads((tables / "two" / "rows.json").read_text())
    assert told["comparison"]["valid_rows"] == 300
    out = tables / "two.csv"
    said = tamis_cli("score", tables / "two", tables / "new.csv", "--out", out, "--json")
    assert said.json["columns"] == ["item", "label", "like"]
    assert pl.read_csv(out).columns == ["item", "label", "like"]


def test_a_ranker_saved_from_python_is_opened(tables, tamis_cli):
    frame = pl.read_csv(tables / "train.csv")
    model = DeepFM(features=[SparseFeat("user"), SparseFeat("item")], epochs=1)
    model.fit(frame).save(tables / "own")
    said = tamis_cli("score", tables / "own", tables / "new.csv", "--out", tables / "own.csv")
    assert said.code == 0, said.err
    read = pl.read_csv(tables / "own.csv")
    assert read.columns == ["user", "item", "score"]
    np.testing.assert_allclose(
        read["score"], model.predict(pl.read_csv(tables / "new.csv")), rtol=1e-5
    )


def test_declared_features_are_read(tables, tamis_cli):
    file = tables / "features.toml"
    file.write_text('[[features]]\nkind = "sparse"\nname = "user"\n')
    words = ["compare", "--table", tables / "train.csv", "--models", "lr"]
    said = tamis_cli(*words, "--features", file, "--set", "epochs=1", "--out", tables / "few")
    assert said.code == 0, said.err
    assert [f.name for f in RowModel.open(tables / "few").model.features] == ["user"]


def test_entries_with_options_of_their_own():
    frame = labelled(1500).drop("like")
    models = [
        Entry("deepfm", {"epochs": 1, "hidden_units": [8]}, "small"),
        "lr",
        Entry("deepfm", {"epochs": 2, "hidden_units": [32]}, "large"),
    ]
    told = compare_tables(
        frame, valid=labelled(300, 1).drop("like"), models=models, options={"epochs": 2}
    )
    assert {one.name for one in told.standings} == {"small", "large", "lr"}
    options = {one.name: one.options for one in told.standings}
    assert options["small"]["epochs"] == 1
    assert options["lr"] == {"epochs": 2}


def test_validation_rows_of_one_label_choose_nothing(tmp_path):
    frame = labelled(800).drop("like")
    ones = labelled(200, 1).drop("like").filter(pl.col("label") == 1)
    told = compare_tables(
        frame, valid=ones, models=["lr", "fm"], options={"epochs": 1}, out=tmp_path / "best"
    )
    assert [one.name for one in told.standings] == ["lr", "fm"]
    assert np.isnan(told.best.tasks["label"]["auc"])
    assert told.best.tasks["label"]["logloss"] > 0
    assert RowModel.open(tmp_path / "best").use == "lr"
    assert told.notes == (
        f"task 'label': all {len(ones)} labels are 1 in the validation rows; metrics of order "
        "(AUC, XAUC) are undefined on them, so this task can neither stop the fit nor be "
        "calibrated",
        f"label: auc is undefined: all {len(ones)} labels are 1",
    )


def test_labels_that_no_ranker_can_learn_are_reported_once(tmp_path, tamis_cli):
    labelled(50).drop("like").with_columns(label=pl.col("label") * 5).write_csv(tmp_path / "a.csv")
    said = tamis_cli("compare", "--table", tmp_path / "a.csv", "--models", "lr,gbdt")
    assert said.code == 1
    assert said.problems.count("outside [0, 1]") == 1
    assert "label = 0 where it is 0, 1 where 5" in said.problems


def test_the_same_seed_gives_the_same_comparison():
    frame = labelled(1200).drop("like")
    first, second = (compare_tables(frame, models=["lr"], seed=3) for _ in range(2))
    assert first.best.tasks == second.best.tasks


def test_option_words():
    given = parsed_options(["a=1", "b=[2, 3]", 'c="x"', "d=plain", "e=true"])
    assert given == {"a": 1, "b": [2, 3], "c": "x", "d": "plain", "e": True}
    with pytest.raises(ConfigError, match="write key=value"):
        parsed_options(["epochs"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "give a project's folder, or a table"),
        (("--table", "train.csv", "--models", "deepfn"), "Did you mean `deepfm`"),
        (("--table", "train.csv", "--set", "epoch=3"), "did you mean 'epochs'"),
        (("--table", "train.csv", "--set", "epochs=0"), "epochs = 0"),
        (("--table", "train.csv", "--label", "clicked"), "no column 'clicked'; it has label, user"),
        (("--table", "gone.csv"), "gone.csv: there is no such file"),
        (("--table", "train.csv", "--features", "gone.toml"), "gone.toml: cannot be read"),
        (("--table", "train.csv", "--models", "din"), "none of the rankers could be fitted"),
    ],
)
def test_wrong_options_are_errors(tables, tamis_cli, words, told):
    files = {name: tables / name for name in ("train.csv", "gone.csv", "gone.toml")}
    said = tamis_cli("compare", *(files.get(word, word) for word in words))
    assert said.code == 1
    assert told in " ".join(said.err.split())


def test_wrong_options_of_scoring_are_errors(compared, tables, tamis_cli):
    new, out = tables / "new.csv", tables / "s.csv"
    (tables / "less.csv").write_text("user,x\n1,0.5\n")
    (tables / "words.csv").write_text("user,item,x\n1,2,much\n")
    for words, told in (
        ((tables, new, out), "is no project"),
        ((tables / "best", tables / "less.csv", out), "column 'item' of feature 'item'"),
        ((tables / "best", tables / "words.csv", out), "'x'"),
        (
            (tables / "best", new, tables / "s.xlsx"),
            "the endings .csv, .tsv, .parquet, .jsonl",
        ),
    ):
        folder, table, to = words
        said = tamis_cli("score", folder, table, "--out", to)
        assert said.code == 1, said.out
        assert told in " ".join(said.err.split()), said.err
    assert not out.exists()


def test_other_stages_are_not_compared(tables, tamis_cli):
    said = tamis_cli("compare", "recall", "--table", tables / "train.csv")
    assert "recall has no tamis.toml" in said.err
