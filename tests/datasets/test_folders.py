"""Sets that are made from a folder of the user's: their tables, generated times and terms."""

import polars as pl
import pytest

from tamis.datasets import FOLDERS, find_source, materialise
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError


def make(tmp_path, name, **files):
    folder = tmp_path / "given"
    folder.mkdir()
    for stem, text in files.items():
        (folder / f"{stem}.{'json' if text.startswith('{') else 'txt'}").write_text(text, "utf-8")
    with Progress("fetch") as progress:
        out = materialise(name, tmp_path / "out", progress=progress, folder=folder)
    return {p.stem: pl.read_csv(p, infer_schema=False).rows() for p in out.glob("*.csv")}


def test_every_user_of_beauty_has_a_last_event_on_the_last_day(tmp_path, capsys):
    tables = make(
        tmp_path,
        "amazon-beauty",
        Beauty="1 10 20 30\n2 30\n",
        Beauty_item2attributes='{"10": [4, 5], "30": [6], "99": [7]}',
    )
    assert sorted(tables["events"]) == [
        ("1", "10", "2014-06-29T00:00:00"),
        ("1", "20", "2014-06-30T00:00:00"),
        ("1", "30", "2014-07-01T00:00:00"),
        ("2", "30", "2014-07-01T00:00:00"),
    ]
    assert tables["items"] == [("10", "4|5"), ("20", None), ("30", "6")]
    out = capsys.readouterr().err
    assert FOLDERS["amazon-beauty"].citation in out.splitlines()[0]
    assert "fetch: write events.csv: 4 rows" in out


def test_beauty_needs_no_attributes_but_refuses_broken_ones(tmp_path):
    tables = make(tmp_path, "amazon-beauty", Beauty="1 10 20\n")
    assert tables["items"] == [("10",), ("20",)]
    (tmp_path / "given" / "Beauty_item2attributes.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="not an object of lists"):
        materialise("amazon-beauty", tmp_path, folder=tmp_path / "given")


def test_gowalla_keeps_its_split_in_time(tmp_path):
    tables = make(tmp_path, "gowalla", train="0 1 2\n1 3\n", test="0 4\n1 1 2\n")
    assert set(tables) == {"events", "items", "train", "test"}
    assert sorted(row[:2] for row in tables["train"]) == [("0", "1"), ("0", "2"), ("1", "3")]
    assert [row[:2] for row in tables["test"]] == [("0", "4"), ("1", "1"), ("1", "2")]
    assert tables["events"] == tables["train"] + tables["test"]
    (moment,) = {row[2] for row in tables["test"]}
    assert all(row[2] < moment for row in tables["train"])
    assert [row[0] for row in tables["items"]] == ["1", "2", "3", "4"]


def test_foursquare_has_places(tmp_path):
    tables = make(
        tmp_path,
        "foursquare",
        Foursquare_checkins="0\t7\t1333447208.0\n1\t5\t1333447209.0\n",
        Foursquare_poi_coos="5\t40.5\t-73.25\n7\t25\t-100\n8\t1\t2\n",
    )
    assert tables["events"] == [
        ("0", "7", "2012-04-03T10:00:08"),
        ("1", "5", "2012-04-03T10:00:09"),
    ]
    assert tables["items"] == [
        ("7", "25.0", "-100.0"),
        ("5", "40.5", "-73.25"),
        ("8", "1.0", "2.0"),
    ]
    (tmp_path / "given" / "Foursquare_poi_coos.txt").write_text("5\tnorth\t3\n")
    with pytest.raises(DataError, match="1 lines are not item, latitude, longitude"):
        materialise("foursquare", tmp_path, folder=tmp_path / "given")


@pytest.mark.parametrize("name", [name for name, source in FOLDERS.items() if source.files])
def test_a_set_says_where_it_is_from(name, tmp_path):
    source = find_source(name)
    assert source.terms
    assert source.citation
    with pytest.raises(ConfigError, match=f"tamis fetch {name} --from FOLDER --out DIR"):
        materialise(name, tmp_path)
    with pytest.raises(DataError, match=rf"{source.files[0]}.* is missing \(it holds nothing\)"):
        materialise(name, tmp_path, folder=tmp_path / "none")


def test_a_downloaded_set_takes_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="movielens-1m is downloaded: remove --from"):
        materialise("movielens-1m", tmp_path, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"Did you mean .gowalla."):
        find_source("gowala")
