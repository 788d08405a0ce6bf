"""A project from its tables to its slates, through the command line, Python and HTTP."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

import tamis
from tamis.bundle import Kind, Versions
from tamis.schema import RequestError
from tamis.service import Recommender

FIGURES = {"ndcg@10", "hit@10", "recall@50"}
LOSSES = {"not_recalled", "filtered", "prerank_cut", "rank_cut", "rerank_displaced", "shown"}
PROJECTS = ("ratings", "simulated")
TAMIS = "from tamis.cli import main; main()"


@pytest.fixture(params=PROJECTS)
def project(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=PROJECTS)
def evaluated(request, tamis_cli, tmp_path_factory):
    """A project and the JSON of `tamis evaluate` on it."""
    folder = request.getfixturevalue(request.param)
    report = tmp_path_factory.mktemp("report") / "report.html"
    said = tamis_cli("evaluate", folder, "--report", report, "--json")
    assert (said.code, said.problems) == (0, "")
    return folder, said.json, report


def copy(project: Path, folder: Path) -> Path:
    """The project's tables and declaration without its versions."""
    return Path(shutil.copytree(project, folder, ignore=shutil.ignore_patterns("versions")))


def slates(recommender: Recommender, users) -> list[list[tuple[str, float]]]:
    return [[(p.item_id, p.score) for p in recommender.recommend(user).items] for user in users]


def some_users(project: Path) -> list[str]:
    return tamis.open(project).data.users.ids.to_list()[::9]


def test_evaluate_returns_every_documented_key(evaluated):
    folder, result, report = evaluated
    assert set(result["cascade"]) == FIGURES
    assert set(result["channels"]) == set(tamis.open(folder).config.cascade.channels)
    assert {"itemcf", "two_tower", "hot"} <= set(result["channels"])
    lists = [result["cascade"], *result["channels"].values()]
    assert all(set(each) == FIGURES for each in lists)
    assert all(0 <= value <= 1 for each in lists for value in each.values())
    assert set(result["stage_loss"]) == LOSSES
    assert sum(result["stage_loss"].values()) == pytest.approx(1)
    assert {"auc", "logloss"} <= set(result["ranker"])
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    assert sum(result["latency_ms"]["shares"].values()) == pytest.approx(1, abs=0.01)
    assert {"recall:itemcf", "features", "prerank", "rank"} <= set(result["latency_ms"]["stages"])
    survive = [result["prerank"][f"survive@{k}"] for k in (20, 50)]
    assert 0 < survive[1] <= survive[0] <= 1 or survive == [1, 1]
    for name in (
        "read",
        "features",
        "rows",
        "recall:itemcf",
        "recall:two_tower",
        "prerank",
        "rank",
    ):
        stage = result["training"][name]
        assert set(stage) == {"seconds", "peak_mb", "samples_per_second"}
        assert stage["seconds"] > 0
        assert stage["peak_mb"] > 50
    protocol = result["protocol"]
    assert protocol["cut"] == str(np.datetime64(cut_of(folder), "ms"))
    assert protocol["seen_masked"] is True
    assert result["users"]["evaluated"] > 20
    assert "<svg" in report.read_text("utf-8")
    assert "http://" not in report.read_text("utf-8").replace("http://www.w3.org", "")


def cut_of(project: Path) -> int:
    return Versions(project).current(Kind.EVALUATION).manifest.data_until


def test_python_and_the_command_line_give_the_same_evaluation(evaluated, tmp_path):
    folder, said, _ = evaluated
    if folder.name != "films":
        pytest.skip("one project is enough: both call the same function")
    called = tamis.open(folder).evaluate(report=tmp_path / "again.html").to_dict()
    timed = ("latency_ms",)  # all else is a function of the version and the data
    plain = json.loads(json.dumps(called), parse_constant=lambda nan: None)
    assert {k: v for k, v in plain.items() if k not in timed} == {
        k: v for k, v in said.items() if k not in timed
    }


def test_tables_may_grow_after_training(evaluated, tamis_cli, tmp_path):
    """New items and users, before the old ones: the version is judged in its own rows."""
    folder, said, _ = evaluated
    grown = Path(shutil.copytree(folder, tmp_path / folder.name))
    for table in (*grown.glob("items.*"), *grown.glob("users.*")):
        if table.suffix == ".csv":
            head, *rows = table.read_text("utf-8").splitlines()
            new = "new" + rows[0][rows[0].index(",") :]
            table.write_text("\n".join([head, new, *rows]) + "\n", "utf-8")
        else:
            old = pl.read_parquet(table)
            new = old.head(1).with_columns(pl.lit("new").alias(old.columns[0]))
            pl.concat([new, old]).write_parquet(table)
    again = tamis_cli("evaluate", grown, "--json").json
    for part in ("users", "cascade", "channels", "stage_loss", "ranker", "diversity"):
        assert again[part] == said[part]


def test_personalised_channels_beat_popularity(evaluated):
    """Three clans: everything personal beats the popular, for the popular is of all clans."""
    folder, result, _ = evaluated
    if folder.name == "films":
        assert result["cascade"]["ndcg@10"] > 2 * result["channels"]["hot"]["ndcg@10"]
        assert result["ranker"]["auc"] > 0.65


def test_recommend_explains(project, tamis_cli):
    user = some_users(project)[3]
    said = tamis_cli("recommend", project, "--user-id", user, "--n", 7, "--explain", "--json")
    answer = said.json
    assert (said.code, said.err, answer["user_id"], answer["known"]) == (0, "", user, True)
    assert [p["place"] for p in answer["items"]] == [1, 2, 3, 4, 5, 6, 7]
    assert len({p["item_id"] for p in answer["items"]}) == 7
    for place in answer["items"]:
        reasons = place["reasons"]
        assert reasons["channels"]
        assert all(1 <= c["rank"] <= 1000 for c in reasons["channels"])
        assert reasons["prerank"]["place"] >= 1
        assert reasons["value"] == pytest.approx(place["score"])
        for task, p in reasons["predictions"].items():
            assert 0 < p < (np.inf if task.startswith("watch") else 1), task
    shown = tamis_cli("recommend", project, "--user-id", user, "--n", 7, "--explain")
    assert shown.code == 0
    assert answer["items"][0]["title"] in shown.out


def test_seen_items_are_not_recommended(ratings):
    data = tamis.open(ratings).data
    seen = pl.DataFrame({"user": data.events.user, "item": data.events.item})
    project = tamis.open(ratings)
    for user in some_users(ratings)[:10]:
        rows = seen.filter(pl.col("user") == data.users.row(user))["item"]
        shown = data.items.rows([p.item_id for p in project.recommend(user).items])
        assert not set(rows) & set(shown.tolist())


def test_why_not_names_the_stage(ratings, tamis_cli):
    data = tamis.open(ratings).data
    seen = str(data.items.ids[int(data.events.item[data.events.user == 0][0])])
    first = str(data.users.ids[0])
    ask = ("recommend", ratings, "--user-id", first, "--n", 3, "--json", "--why-not")
    assert tamis_cli(*ask, seen).json["why_not"]["stage"] == "filtered"
    answer = tamis_cli(*ask, seen, "--exclude-item-ids", "m1", "--exclude-item-ids", "m2").json
    assert not {"m1", "m2"} & {p["item_id"] for p in answer["items"]}
    shown = answer["items"][1]["item_id"]
    assert tamis_cli(*ask, shown).json["why_not"]["detail"] == "shown at place 2"
    opened = tamis.open(ratings)
    stages = {opened.recommend(first, 3, why_not=i).why_not.stage for i in data.items.ids[:60]}
    assert {"filtered", "rank_cut"} <= stages <= LOSSES | {None}
    told = tamis_cli("recommend", ratings, "--user-id", first, "--why-not", seen)
    assert "filter seen: seen" in told.out


def test_an_unknown_user_gets_a_slate(project, tamis_cli):
    answer = tamis_cli("recommend", project, "--user-id", "nobody", "--explain", "--json").json
    assert (answer["known"], len(answer["items"])) == (False, 20)
    found = {c["channel"] for p in answer["items"] for c in p["reasons"]["channels"]}
    assert found == {"hot"}
    assert len(tamis_cli("recommend", project, "--n", 5, "--json").json["items"]) == 5


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--user-id", "u1", "--why-not", "m9999"), "item 'm9999' is not in the items' table"),
        (("--n", 0), "n = 0: expected `int` >= 1"),
    ],
)
def test_wrong_options_of_recommend_are_errors(ratings, tamis_cli, words, match):
    said = tamis_cli("recommend", ratings, *words)
    assert (said.code, said.out) == (1, "")
    assert match in said.err


def test_versions_are_two_kinds_and_verified(project, tamis_cli):
    said = tamis_cli("versions", project, "--verify", "--json")
    by_kind = {v["kind"]: v for v in said.json["versions"]}
    assert set(by_kind) == {"evaluation", "serving"}
    assert all(v["current"] for v in by_kind.values())
    data = tamis.open(project).data
    before = data.events.time < by_kind["evaluation"]["data_until"]
    assert 0.88 < before.mean() <= 0.9
    assert by_kind["serving"]["data_until"] == data.end
    assert "★" in tamis_cli("versions", project).out


def test_damage_to_a_version_is_found(ratings, tamis_cli, tmp_path):
    folder = shutil.copytree(ratings, tmp_path / "damaged")
    weights = max((folder / "versions").glob("*-serving/rank/*"), key=lambda f: f.stat().st_size)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    said = tamis_cli("versions", folder, "--verify")
    assert said.code == 1
    assert f"{weights.name} is missing or differs" in said.err.replace("\n", "")


def test_requests_and_evaluation_change_no_file(evaluated):
    folder, _, _ = evaluated
    tamis.open(folder).recommend(some_users(folder)[0], explain=True)
    for version in Versions(folder):
        version.verify()
        on_disk = {str(f.relative_to(version.path)) for f in version.path.rglob("*") if f.is_file()}
        assert on_disk == {*version.manifest.files, "version.json"}


def train_again(project: Path, folder: Path, tamis_cli, only: str, events=None) -> Path:
    again = copy(project, folder)
    if events is not None:
        events(again)
    said = tamis_cli("train", again, "--only", only, "--json")
    assert said.code == 0, said
    return again


def test_the_same_seed_gives_the_same_version(simulated, tamis_cli, tmp_path):
    again = train_again(simulated, tmp_path / "again", tamis_cli, "serving")
    files = [Versions(p).current(Kind.SERVING).manifest.files for p in (simulated, again)]
    assert files[0] == files[1]
    users = some_users(simulated)
    assert slates(Recommender.open(simulated), users) == slates(Recommender.open(again), users)


def scrambled_after(cut: int, column: str, rewrite):
    """Replaces what the events from `cut` on (in the table's unit) say; their times stay."""

    def change(folder: Path) -> None:
        path = next(folder.glob("events.*"))
        read, write = (
            (pl.read_csv, pl.DataFrame.write_csv)
            if path.suffix == ".csv"
            else (pl.read_parquet, pl.DataFrame.write_parquet)
        )
        events = read(path)
        late = pl.col(column) >= cut
        changed = events.with_columns(
            [pl.when(late).then(e).otherwise(pl.col(c)).alias(c) for c, e in rewrite.items()]
        )
        assert not changed.equals(events)
        write(changed, path)

    return change


def same_evaluation_version(one: Path, other: Path) -> None:
    versions = [Versions(p).current(Kind.EVALUATION) for p in (one, other)]
    assert versions[0].manifest.data_until == versions[1].manifest.data_until
    assert versions[0].manifest.files == versions[1].manifest.files
    users = some_users(one)
    opened = [Recommender(version) for version in versions]
    assert slates(opened[0], users) == slates(opened[1], users)


def test_an_evaluation_version_knows_nothing_of_the_test_window(ratings, tamis_cli, tmp_path):
    shuffled = {"item_id": pl.col("item_id").reverse(), "rating": 6 - pl.col("rating")}
    change = scrambled_after(cut_of(ratings) // 1000, "timestamp", shuffled)
    other = train_again(ratings, tmp_path / "other", tamis_cli, "evaluation", change)
    same_evaluation_version(ratings, other)


def test_an_evaluation_version_does_not_know_later_impressions_and_arrivals(
    simulated, tamis_cli, tmp_path
):
    """Events that happened before the cut and arrived after it are not known at it either."""
    cut = cut_of(simulated)
    events = pl.read_parquet(simulated / "events.parquet")
    assert ((events["arrival"] >= cut) & (events["time"] < cut)).any()
    ids = tamis.open(simulated).data.items.ids.to_list()
    another = pl.col("item_id").replace(dict(zip(ids, ids[::-1], strict=True)))
    shuffled = {"item_id": another, "value": pl.lit(7.0, pl.Float32)}
    change = scrambled_after(cut, "arrival", shuffled)
    other = train_again(simulated, tmp_path / "other", tamis_cli, "evaluation", change)
    same_evaluation_version(simulated, other)


def test_python_init_and_train_are_the_commands(tmp_path, ratings_tables, tamis_cli):
    tables = ratings_tables(tmp_path / "one", users=40, items=30)
    shutil.copytree(tables, tmp_path / "two" / "one")
    said = tamis_cli("init", tables, "--json")
    made = tamis.init(tmp_path / "two" / "one")
    assert said.json["notes"] == list(made.notes)
    assert made.config.read_text("utf-8") == (tables / "tamis.toml").read_text("utf-8")
    again = tamis_cli("init", tables)
    assert again.code == 1
    assert "exists already" in again.err


def test_python_recommends_as_the_command_line(ratings, tamis_cli):
    for user, options in itertools.product(("u1", "nobody"), ({}, {"explain": True})):
        words = ["--explain"] if options else []
        said = tamis_cli("recommend", ratings, "--user-id", user, "--json", *words).json
        called = json.loads(
            json.dumps(tamis.open(ratings).recommend(user_id=user, **options).to_dict())
        )
        for differs in ("took_ms", "seconds", "recommendation_id"):
            said.pop(differs), called.pop(differs)
        assert said == called


def test_http_answers_as_recommend(ratings):
    process = subprocess.Popen(
        [sys.executable, "-c", TAMIS, "serve", str(ratings), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()  # "… INFO http://127.0.0.1:PORT opens …"
        url = line.split(" opens ")[0].rsplit(" ", 1)[1]
        assert url.startswith("http://127.0.0.1:"), line
        until = time.monotonic() + 60
        while httpx.get(f"{url}/health/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        asked = {"user_id": "u7", "n": 8, "explain": True, "why_not": "m3"}
        answer = httpx.post(f"{url}/v1/recommend", json=asked, timeout=60).json()
        wrong = httpx.post(
            f"{url}/v1/recommend", json={"user_id": "u7", "why_not": "m9999"}, timeout=60
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    expected = tamis.open(ratings).recommend("u7", 8, explain=True, why_not="m3").to_dict()
    expected = json.loads(json.dumps(expected))
    assert answer["version"] == expected["version"]
    assert answer["items"] == expected["items"]
    assert answer["why_not"] == expected["why_not"]
    assert wrong.status_code == 400
    assert "m9999" in wrong.json()["error"]["message"]


def test_the_default_time_is_the_end_of_static_data_and_the_clock_otherwise(ratings, tmp_path):
    static = Recommender.open(ratings, clock=lambda: 1_900_000_000_000)
    end = static.manifest.data_until
    answer = static.recommend("u7")
    assert (answer.time, answer.clock) == (end, "data")
    folder = shutil.copytree(ratings, tmp_path / "films")
    version = Versions(folder).current(Kind.SERVING)
    living = Recommender(version, clock=lambda: 1_900_000_000_000)
    object.__setattr__(living.parts.config, "clock", "now")
    answer = living.recommend("u7", recommendation_id="mine")
    assert (answer.time, answer.clock) == (1_900_000_000_000, "now")
    assert answer.recommendation_id == "mine"


def test_a_time_before_the_end_of_the_data_is_refused_and_a_later_one_is_answered(ratings):
    recommender = Recommender.open(ratings)
    end = recommender.manifest.data_until
    with pytest.raises(
        RequestError, match=f"time = {end - 1} is before {end}, the end of the data"
    ):
        recommender.recommend("u7", time=end - 1)
    later = recommender.recommend("u7", time=end + 86_400_000)
    assert (later.time, later.clock) == (end + 86_400_000, "request")
    assert len(later.items) == 20


def test_a_task_may_have_the_name_of_a_stage_column(ratings_tables, tamis_cli, tmp_path):
    folder = ratings_tables(tmp_path / "films", users=40, items=30)
    assert tamis_cli("init", folder).code == 0
    with (folder / "tamis.toml").open("a", encoding="utf-8") as declaration:
        declaration.write('\n[tasks.value]\nbehaviour = ["like"]\n')
    project = tamis.open(folder)
    project.train(only="serving")
    reasons = project.recommend("u7", 3, explain=True).items[0].reasons
    assert set(reasons.predictions) == {"value"}
    assert 0 <= reasons.predictions["value"] <= 1
