"""A project whose items have texts: vectors from training to `tamis similar`."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tamis
from tamis.bundle import Kind, Versions
from tamis.journal import ItemPut, Numbered
from tamis.schema import ConfigError, RequestError, VersionError
from tamis.service import Parts, Views
from tamis.text import NGramEncoder

DECLARED = """
name = "films"
clock = "data"
[events]
path = "events.csv"
time = "timestamp"
value = "rating"
[items]
path = "items.csv"
title = "title"
[items.text]
columns = ["title", "genres"]
width = 32
[behaviours.like]
min_value = 4.0
positive = true
[behaviours.rated]
[cascade.channels.content]
quota = 60
[cascade.channels.mf]
embedding_dim = 8
quota = 60
[cascade.channels.hot]
quota = 60
fallback = true
[cascade.rank]
use = "lr"
"""


def write(folder: Path, declared: str) -> Path:
    (folder / "tamis.toml").write_text(declared, "utf-8")
    return folder


@pytest.fixture(scope="module")
def films(made_once, ratings_tables, tamis_cli) -> Path:
    def make(folder: Path) -> None:
        ratings_tables(folder, users=120, items=90)
        write(folder, DECLARED)
        said = tamis_cli("train", folder, "--only", "serving", "--json")
        assert said.code == 0, said

    return made_once("texts", make)


def parts_of(folder: Path) -> Parts:
    return Parts.open(Versions(folder).current(Kind.SERVING))


def test_a_new_item_is_found_by_its_text_at_once(films):
    parts = parts_of(films)
    text = "Film 900, the grim one (2026)\nHorror|Thriller"
    title, genres = text.split("\n")
    put = ItemPut(item_id="new", columns={"title": title, "genres": genres})
    Views(parts, 0).apply([Numbered(1, put)])
    vector = parts.text.encoder.encode(pl.Series([text]))
    row = parts.items.row("new")
    assert parts.items.frame[parts.config.items.text.name].to_list()[row] == pytest.approx(
        vector[0].tolist()
    )
    found, score = parts.text.index.search(vector, 1)
    assert (found[0, 0], score[0, 0]) == (row, pytest.approx(1.0, abs=1e-5))


def test_a_text_finds_the_items_that_it_describes(films, tamis_cli):
    said = tamis_cli("similar", films, "--text", "a grim HORROR film", "--n", 5, "--json")
    assert said.code == 0, said
    found = said.json
    assert found["by"] == "text"
    assert [i["place"] for i in found["items"]] == [1, 2, 3, 4, 5]
    assert all("grim" in i["title"] for i in found["items"])
    scores = [i["score"] for i in found["items"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.3
    table = tamis_cli("similar", films, "--text", "a grim HORROR film", "--n", 5)
    assert all(i["title"] in table.out and i["item_id"] in table.out for i in found["items"])


def test_a_text_is_encoded_as_the_texts_of_the_items(films):
    project = tamis.open(films)
    parts = parts_of(films)
    row = parts.items.row("m7")
    text = f"{parts.items.frame['title'][row]}\n{parts.items.frame['genres'][row]}"
    first = project.similar(text=text, n=1).items[0]
    assert (first.item_id, round(first.score, 4)) == ("m7", 1.0)
    stored = np.array(parts.items.frame["text_vector"][row].to_list())
    alone = parts.text.encoder.encode(pl.Series([text]))[0]
    np.testing.assert_allclose(alone, stored, atol=1e-6)


def test_an_item_finds_items_by_texts_and_by_a_channel(films):
    project = tamis.open(films)
    by_text = project.similar("m3", n=89)
    assert by_text.by == "text"
    assert by_text.title == "Film 3, the sad one (1993)"
    assert len(by_text.items) == 89
    assert "m3" not in [i.item_id for i in by_text.items]
    vectors = parts_of(films).text.index.vectors
    cosine = vectors @ vectors[parts_of(films).items.row("m3")]
    assert by_text.items[0].score == pytest.approx(np.sort(cosine)[-2], abs=1e-5)
    by_likes = project.similar("m3", n=10, by="mf")
    channel = parts_of(films).channels["mf"].item_vectors()
    unit = channel / np.linalg.norm(channel, axis=1, keepdims=True).clip(1e-12)
    cosine = unit @ unit[3]
    assert by_likes.items[0].score == pytest.approx(np.sort(cosine)[-2], abs=1e-5)


def test_channels_and_features_read_the_vectors(films):
    parts = parts_of(films)
    assert parts.channels["content"]._facts["columns"] == ["text_vector"]
    np.testing.assert_allclose(
        parts.channels["content"].item_vectors(), parts.text.index.vectors, atol=1e-6
    )
    feature = {f.name: f for f in parts.space.features}["text_vector"]
    assert (feature.kind, feature.width) == ("dense", 32)


def test_errors_of_similar(films, tamis_cli):
    project = tamis.open(films)
    with pytest.raises(RequestError, match="item_id, text: neither is given; give one of them"):
        project.similar()
    with pytest.raises(RequestError, match="both are given"):
        project.similar("m3", text="x")
    with pytest.raises(RequestError, match="item 'nosuch' is not in the items' table of version"):
        project.similar("nosuch")
    with pytest.raises(RequestError, match=r"by = 'mff': neither 'text' nor a channel.*`mf`"):
        project.similar("m3", by="mff")
    with pytest.raises(RequestError, match="by = 'hot': this channel has no vectors of items"):
        project.similar("m3", by="hot")
    with pytest.raises(RequestError, match="by = 'mf': a text is compared with the texts"):
        project.similar(text="x", by="mf")
    with pytest.raises(RequestError, match="n = 0: give at least 1"):
        project.similar("m3", n=0)
    with pytest.raises(VersionError, match="nosuch is not a version"):
        project.similar("m3", version="nosuch")
    assert project.similar(text="鞋").items == ()
    said = tamis_cli("similar", films, "--text", "鞋")
    assert said.code == 0
    assert "No item is similar" in said.out
    assert tamis_cli("similar", films, "--item-id", "nosuch").code == 1


def test_a_version_without_texts_says_how_to_add_them(ratings):
    project = tamis.open(ratings)
    with pytest.raises(RequestError, match=r'no vectors of texts.*\[items.text\] columns = \["ti'):
        project.similar(text="x")
    assert project.similar("m3", n=3).by in project.config.cascade.channels


def test_damage_to_the_texts_of_a_version_is_found(films, tmp_path):
    folder = shutil.copytree(films, tmp_path / "films")
    version = Versions(folder).current(Kind.SERVING)
    (version.path / "text" / "encoder" / "place.npy").write_bytes(b"")
    with pytest.raises(VersionError, match=r"place\.npy is missing or differs"):
        Parts.open(version)
    with pytest.raises(VersionError, match=r"place\.npy is missing or differs"):
        tamis.open(folder).similar(text="x")


def test_training_twice_gives_the_same_vectors(films):
    data = tamis.open(films).data
    stored = parts_of(films).items.frame["text_vector"]
    np.testing.assert_array_equal(data.items.frame["text_vector"].to_numpy(), stored.to_numpy())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('columns = ["titel"]', r'`items.text.columns\[0\]` = "titel" is not a column.*title'),
        ('columns = ["title"]\nname = "genres"', r"already have a column of this name"),
        ("columns = []", r"`items.text.columns` = \[\]"),
        ('columns = ["title"]\nwidht = 3', r"`items.text.widht` is not a key.*width"),
        ('columns = ["title"]\nlengths = [3, 2]', r"lengths` = \[3, 2\]: give the shortest"),
    ],
)
def test_faults_of_the_declaration(ratings_tables, tamis_cli, tmp_path, text, found):
    ratings_tables(tmp_path / "films", users=20, items=20)
    head, rest = DECLARED.split("columns = [", 1)
    declared = f"{head}{text}\n[behaviours" + rest.split("[behaviours", 1)[1]
    folder = write(tmp_path / "films", declared)
    said = tamis_cli("doctor", folder, "--json")
    assert re.search(found, (said.out + said.err).replace('\\"', '"')), said
    assert said.code == 1


def test_doctor_counts_items_without_text(ratings_tables, tamis_cli, tmp_path):
    folder = ratings_tables(tmp_path / "films", users=20, items=20)
    lines = (folder / "items.csv").read_text("utf-8").splitlines()
    lines = [lines[0], *(f"{line.split(',')[0]},," for line in lines[1:15]), *lines[15:]]
    (folder / "items.csv").write_text("\n".join(lines) + "\n", "utf-8")
    said = tamis_cli("doctor", write(folder, DECLARED), "--json")
    assert "70% of the items have no text in title, genres" in json.dumps(said.json)
    (line,) = (f for f in said.json["features"] if f["feature"] == "text_vector")
    assert line["rows"] == pytest.approx(0.3)


def test_users_have_no_texts(ratings_tables, tmp_path):
    folder = ratings_tables(tmp_path / "films", users=20, items=20)
    users = '[users]\npath = "users.csv"\n[users.text]\ncolumns = ["gender"]\n'
    write(folder, DECLARED + users)
    with pytest.raises(ConfigError, match=r"`users.text` has no effect: only items have it"):
        _ = tamis.open(folder).config


def test_an_encoder_of_ones_own_texts_needs_no_project():
    titles = pl.Series(["red shoe", "blue shoe", "coffee"])
    encoder = NGramEncoder(width=8).fit(titles)
    found = encoder.encode(pl.Series(["shoes"])) @ encoder.encode(titles).T
    assert found.argmin() == 2
