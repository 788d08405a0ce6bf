"""The ranker commands: rows are scored, rankers compared, and a ranker is refitted alone."""

import shutil

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.bundle import Kind, Versions
from tamis.service import ORDER, Parts


def shutil_copy(project, tmp_path):
    """A copy of a trained project, to be changed."""
    return shutil.copytree(project, tmp_path / "copy")


@pytest.fixture(scope="module")
def rows_file(simulated, tmp_path_factory):
    """A table of rows: known and unknown users and items, at several times."""
    folder = tmp_path_factory.mktemp("rows")
    events = pl.read_parquet(simulated / "events.parquet")
    rows = events.select(pl.col("user_id", "item_id").cast(pl.String), "time").sample(40, seed=1)
    strange = rows.head(2).with_columns(user_id=pl.Series(["nobody", rows["user_id"][1]]))
    strange = strange.with_columns(item_id=pl.Series([rows["item_id"][0], "nothing"]))
    pl.concat([rows, strange]).write_csv(folder / "rows.csv")
    return folder / "rows.csv"


def test_rows_are_scored_by_every_task_in_order(simulated, rows_file, tamis_cli, tmp_path):
    out = tmp_path / "scores.csv"
    result = tamis_cli("score", simulated, rows_file, "--out", out, "--json")
    assert result.code == 0, result.err
    scores, rows = pl.read_csv(out), pl.read_csv(rows_file)
    project = tamis.open(simulated)
    parts = Parts.open(Versions(simulated).current(Kind.SERVING))
    assert scores.select(rows.columns).equals(rows)
    predicted = [name for name in scores.columns if name not in rows.columns]
    assert predicted[-1] == "value"
    assert set(project.config.tasks) <= set(predicted)
    assert result.json["unknown"] == {"users": 1, "items": 1}
    assert result.json["model"] == Versions(simulated).current(Kind.SERVING).name
    known = {name: scores[name].to_numpy() for name in predicted[:-1]}
    indptr = np.arange(len(scores) + 1)
    fused = parts.cascade().fusion.fusion(known, indptr)
    np.testing.assert_allclose(scores["value"], fused, rtol=1e-4)
    for name, task in project.config.tasks.items():
        assert (scores[name] > 0).all()
        assert task.kind != "binary" or (scores[name] < 1).all()


def test_scores_do_not_depend_on_the_order_of_the_rows(simulated, rows_file, tmp_path):
    rows = pl.read_csv(rows_file)
    project = tamis.open(simulated)
    project.score(rows, tmp_path / "a.parquet")
    project.score(rows[::-1], tmp_path / "b.parquet", version="serving")
    a, b = pl.read_parquet(tmp_path / "a.parquet"), pl.read_parquet(tmp_path / "b.parquet")[::-1]
    assert a.columns == b.columns
    for name in a.columns[3:]:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4)


def test_scored_rows_are_those_of_a_request(ratings, tmp_path):
    """At the version's end, the rows of a request's ranked items score as the request result."""
    answer = tamis.open(ratings).recommend("u3", n=8, explain=True)
    wanted = {place.item_id: place.reasons.predictions["positive"] for place in answer.items}
    rows = pl.DataFrame({"user_id": ["u3"] * len(wanted), "item_id": list(wanted)})
    tamis.open(ratings).score(rows, tmp_path / "s.csv")
    got = pl.read_csv(tmp_path / "s.csv")
    assert got.columns == ["user_id", "item_id", "score"]
    # `score in query` compares candidates of one request with one another: near, not equal.
    assert np.corrcoef(got["score"], list(wanted.values()))[0, 1] > 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,film\nu1,m1\n", "no column 'item_id'"),
        ("user_id,item_id,timestamp\nu1,m1,soon\n", "timestamp = 'soon' is no time"),
    ],
)
def test_tables_that_cannot_be_scored(ratings, tamis_cli, tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    result = tamis_cli("score", ratings, tmp_path / "t.csv", "--out", tmp_path / "s.csv")
    assert result.code == 1
    assert message in " ".join(result.err.split())


def test_rankers_are_compared_on_the_projects_rows(simulated, tamis_cli, tmp_path):
    words = ["--models", "lr,deepfm", "--set", "epochs=1", "--plot", tmp_path / "p.png"]
    result = tamis_cli("compare", simulated, *words, "--json")
    assert result.code == 0, result.err
    comparison = result.json
    assert {one["name"] for one in comparison["models"]} == {"lr", "deepfm"}
    tasks = set(tamis.open(simulated).config.tasks)
    for one in comparison["models"]:
        assert set(one["tasks"]) == tasks
        assert 0.3 < one["tasks"]["click"]["auc"] < 1
        assert 0 <= one["tasks"]["click"]["ndcg@10"] <= 1
    assert comparison["out"] is None
    assert (tmp_path / "p.png").stat().st_size > 1000
    shown = tamis_cli("compare", simulated, *words)
    assert "click" in shown.out
    assert "validation window" in shown.out


def test_table_options_are_refused_for_projects(simulated, tamis_cli):
    result = tamis_cli("compare", simulated, "--label", "click", "--group", "user")
    assert result.code == 1
    assert "--label, --group: only with --table" in result.err


def test_the_ranker_alone_is_refitted(simulated, tamis_cli, tmp_path):
    project = shutil_copy(simulated, tmp_path)
    before = {kind: Versions(project).current(kind) for kind in Kind}
    declared = (project / "tamis.toml").read_text("utf-8")
    start = declared.index("[cascade.rank]")
    end = declared.index("\n[", start + 1) if "\n[" in declared[start + 1 :] else len(declared)
    lean = '[cascade.rank]\nuse = "lr"\nepochs = 1\n'
    changed = declared[:start] + lean + declared[end:]
    (line,) = [row for row in changed.splitlines() if row.startswith("fusion = ")]
    changed = changed.replace(line, 'fusion = "click * sqrt(default(price, 1))"')
    changed = changed.replace('order = "auto"', 'order = "rank"')  # no order to be chosen by recall
    (project / "tamis.toml").write_text(changed, "utf-8")
    result = tamis_cli("train", project, "--ranker-only", "--json")
    assert result.code == 0, result.err
    assert set(result.json["settings"]) == {"rank"}
    assert not any(name.startswith("recall") for name in result.json["training"])
    for kind, former in before.items():
        version = Versions(project).current(kind)
        assert version.name == result.json["versions"][kind.value] != former.name
        version.verify()
        parts = Parts.open(version)
        assert type(parts.rank).__name__ == "LR"
        assert parts.config == tamis.open(project).config
        assert version.manifest.settings["rank"] == parts.rank.chosen.to_dict()
        assert parts.rank.chosen.epochs == 1
        stored = Parts.open(former)
        assert stored.config == tamis.open(simulated).config  # nothing chosen is stored in it
        assert former.manifest.settings["rank"] == stored.rank.chosen.to_dict()
        old, new = (v.path for v in (former, version))
        for file in (f for f in old.rglob("*") if f.is_file()):
            place = file.relative_to(old)
            if place.parts[0] not in ("rank", ORDER, "config.json", "version.json"):
                assert (new / place).read_bytes() == file.read_bytes(), place
    for place in tamis.open(project).recommend(None, n=3, explain=True).items:
        price = parts.items.frame["price"].fill_null(1)[parts.items.row(place.item_id)]
        assert place.reasons.fused == pytest.approx(
            place.reasons.predictions["click"] * price**0.5, rel=1e-4
        )


def test_other_changes_are_refused(simulated, tamis_cli, tmp_path):
    project = shutil_copy(simulated, tmp_path)
    declared = (project / "tamis.toml").read_text("utf-8")
    (project / "tamis.toml").write_text(declared.replace("seed = 0", "seed = 1"), "utf-8")
    result = tamis_cli("train", project, "--ranker-only")
    assert result.code == 1
    assert "[seed] changed since version" in " ".join(result.err.split())
    assert "run `tamis train` without --ranker-only" in " ".join(result.err.split())


def test_a_mistake_in_fusion_is_reported_by_every_command(simulated, tamis_cli, tmp_path):
    project = shutil_copy(simulated, tmp_path)
    declared = (project / "tamis.toml").read_text("utf-8")
    (line,) = [row for row in declared.splitlines() if row.startswith("fusion = ")]
    for text, message in (
        ("click * pirce", "unknown name 'pirce'; did you mean 'price'"),
        ("click * title", "unknown name 'title'"),
        ("click +", "it ends where"),
    ):
        (project / "tamis.toml").write_text(declared.replace(line, f'fusion = "{text}"'), "utf-8")
        for command in ("doctor", "train"):
            result = tamis_cli(command, project)
            assert result.code == 1
            assert message in " ".join(result.err.split())
