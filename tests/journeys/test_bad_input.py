"""Bad input as users meet it: a message with file and cure, or a reject that is told."""

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tamis.data import Dataset, Rejects, read_dataset
from tamis.onboarding import Finding, examine, guess_config, write_guess
from tamis.schema import ConfigError, DataError, load_config
from tamis.splitting import windows

START, DAY = 1_600_000_000, 86_400


def rows(users: int = 20, items: int = 20, each: int = 10) -> list[str]:
    """User u rates items u, u + 1, … one day apart, each user at an hour of their own."""
    return [
        f"u{u},i{(u + k) % items},{1 + (u * k) % 5},{START + k * DAY + 4_000 * u}"
        for k in range(each)
        for u in range(users)
    ]


def shop(folder: Path, events: str, items: int = 20, users: int = 20) -> Path:
    kinds = ("Drama", "Comedy", "Action|Drama", "Horror", "Action")
    lines = [f"i{i},Film {i},{kinds[i % 5]},{1990 + i % 7}" for i in range(items)]
    (folder / "items.csv").write_text("item_id,title,genres,year\n" + "\n".join(lines) + "\n")
    people = "".join(f"u{u},{'fm'[u % 2]}\n" for u in range(users))
    (folder / "users.csv").write_text("user_id,gender\n" + people)
    (folder / "events.csv").write_text(events)
    return folder


HEAD = "user_id,item_id,rating,timestamp\n"
WHOLE = HEAD + "\n".join(rows()) + "\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shop(tmp_path, WHOLE)
    write_guess(guess_config(tmp_path, "shop"), tmp_path / "tamis.toml")
    return tmp_path


def read(folder: Path) -> tuple[Dataset, Rejects]:
    return read_dataset(load_config(folder), folder)


def findings(folder: Path, severity: str = "error") -> list[Finding]:
    return [f for f in examine(load_config(folder), folder) if f.severity == severity]


def test_a_correct_project_has_no_findings(project: Path) -> None:
    data, rejects = read(project)
    assert (len(data.events), len(rejects)) == (200, 0)
    assert findings(project) == []


def test_csv_cut_in_the_middle_of_a_row(project: Path) -> None:
    (project / "events.csv").write_text(WHOLE[: WHOLE.rindex(",") - 1])
    data, rejects = read(project)
    assert len(data.events) == 199
    assert rejects.counts == {"no time (empty, or the row is cut short)": 1}
    notes = [f.what for f in findings(project, "note")]
    assert "the file does not end with a line break" in notes


@pytest.mark.parametrize("ending", ["csv.gz", "csv.zst", "parquet"])
def test_a_truncated_file_is_named_with_how_to_fix_it(project: Path, ending: str) -> None:
    whole, path = project / "events.csv", project / f"log.{ending}"
    if ending == "csv.gz":
        path.write_bytes(gzip.compress(whole.read_bytes()))
    elif ending == "csv.zst":
        pl.read_csv(whole).write_csv(path, compression="zstd")
    else:
        pl.read_csv(whole).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-25])
    change(project, '"events.csv"', f'"{path.name}"')
    with pytest.raises(DataError, match=rf"log\.{ending}: .*copy or export it again"):
        read(project)
    assert "copy or export it again" in findings(project)[0].what


def change(project: Path, old: str, new: str) -> None:
    path = project / "tamis.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda t: t.replace(",", ";"), None),
        (lambda t: t.replace(",", "::"), None),
        (lambda t: t.replace("item_id", "itemid"), "`item_id`|Did you mean `itemid`"),
        (lambda t: t.removeprefix(HEAD), "add a header line|is not a column"),
        (lambda _: HEAD, "the table is empty"),
        (lambda _: "", "the file is empty"),
    ],
    ids=["semicolons", "double colons", "missing column", "no header", "no rows", "no bytes"],
)
def test_a_wrong_table(project: Path, edit: Callable[[str], str], match: str | None) -> None:
    (project / "events.csv").write_text(edit(WHOLE))
    if match is None:  # another separator is simply found
        assert len(read(project)[0].events) == 200
    else:
        with pytest.raises(DataError, match=match) as error:
            read(project)
        assert "events.csv" in str(error.value)
        assert findings(project)


def test_a_wrong_declared_separator(project: Path) -> None:
    change(project, 'path = "events.csv"', 'path = "events.csv"\nseparator = ";"')
    with pytest.raises(DataError, match=r"split at ';' into one column; .* looks like ','"):
        read(project)


def test_latin1_text(project: Path) -> None:
    (project / "items.csv").write_bytes((project / "items.csv").read_bytes() + b"i99,Caf\xe9,x,1\n")
    with pytest.raises(DataError, match=r"items\.csv: .*not UTF-8.*iconv"):
        read(project)


def test_text_in_a_number(project: Path) -> None:
    (project / "events.csv").write_text(WHOLE + f"u1,i1,five,{START}\n")
    data, rejects = read(project)
    assert len(data.events) == 200
    assert rejects.summary()[0] == (
        "events.csv", "value is not a number: row left out", 1, "row 202 (five)",
    )  # fmt: skip


def test_one_user_only(project: Path) -> None:
    (project / "events.csv").write_text(HEAD + "\n".join(r for r in rows() if r.startswith("u1,")))
    assert any(f.what == "all events are of one user" for f in findings(project))
    assert windows(load_config(project).split, read(project)[0].events)


def test_one_item_only(project: Path) -> None:
    same = [f"u{u},i1,5,{START + u * DAY}" for u in range(20)]
    (project / "events.csv").write_text(HEAD + "\n".join(same) + "\n")
    assert any(f.what == "all events are of one item" for f in findings(project))


def test_one_user_with_half_the_events(project: Path) -> None:
    loud = [f"u1,i{k % 20},5,{START + k}" for k in range(300)]
    (project / "events.csv").write_text(WHOLE + "\n".join(loud) + "\n")
    told = [f for f in findings(project) if '"u1" has' in f.what]
    assert len(told) == 1
    assert "robot" in told[0].fix


def test_unicode_and_huge_ids(project: Path) -> None:
    extra = [f"{'x' * 1_000_000},i1,5,{START}", f"ü🎬,i1,5,{START}"]
    (project / "events.csv").write_text(WHOLE + "\n".join(extra) + "\n")
    with (project / "users.csv").open("a") as stream:
        stream.write("ü🎬,f\n")
    data, rejects = read(project)
    assert data.users.row("ü🎬") == 20
    assert rejects.counts == {"user id longer than 1,024 characters": 1}
    assert len(rejects.frame["value"][0]) == 80


def test_seconds_and_milliseconds_mixed(project: Path) -> None:
    mixed = [r + "000" if k % 10 == 0 else r for k, r in enumerate(rows())]
    (project / "events.csv").write_text(HEAD + "\n".join(mixed) + "\n")
    data, rejects = read(project)
    assert len(data.events) == 180
    assert rejects.counts == {"time in another unit than most rows (seconds)": 20}
    assert any("20 timestamps are in another unit" in f.what for f in findings(project))


def test_times_in_the_future(project: Path) -> None:
    change(project, 'time = "timestamp"', 'time = "timestamp"\ntime_unit = "s"')
    far = [r + "000" for r in rows()]
    (project / "events.csv").write_text(HEAD + "\n".join(far) + "\n")
    with pytest.raises(DataError, match=r"none of 200 events is usable.*time in the future"):
        read(project)


def test_all_times_equal(project: Path) -> None:
    same = [f"u{u},i{i},5,{START}" for u in range(10) for i in range(10)]
    (project / "events.csv").write_text(HEAD + "\n".join(same) + "\n")
    assert any(f.what == "all events have the same time" for f in findings(project))


def test_ids_written_in_two_ways(project: Path) -> None:
    padded = WHOLE.replace("u", "0").replace("0ser_id", "user_id")
    (project / "events.csv").write_text(padded)
    people = "".join(f"{u},f\n" for u in range(20))
    (project / "users.csv").write_text("user_id,gender\n" + people)
    told = [f.what for f in findings(project) if "leading zeros" in f.what]
    assert told
    assert '(here "0' in told[0]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("min_value = 4.0", "min_value = 50.0", "no event is positive"),
        ("min_value = 4.0", "min_value = 4.0\nmax_value = 4.1", None),
    ],
)
def test_no_positive_behaviour(project: Path, old: str, new: str, what: str | None) -> None:
    change(project, old, new)
    found = [f.what for f in findings(project)]
    assert (what in found) if what else (found == [])


def test_constant_and_empty_features(project: Path) -> None:
    (project / "users.csv").write_text(
        "user_id,gender\n" + "".join(f"u{u},{'f' if u == 0 else ''}\n" for u in range(20))
    )
    items = (project / "items.csv").read_text().splitlines()
    constant = [items[0], *(line.rsplit(",", 1)[0] + ",2000" for line in items[1:])]
    (project / "items.csv").write_text("\n".join(constant) + "\n")
    told = {f.where: f.what for f in findings(project, "warning")}
    assert told["users.csv, `gender`"] == "the feature is missing in 95.0% of the rows"
    assert told["items.csv, `year`"] == "the feature has the same value in all rows"


def test_a_typo_in_the_declaration(project: Path) -> None:
    change(project, "[behaviours.like]", "[behaviors.like]")
    with pytest.raises(
        ConfigError, match=r"`behaviors` is not a key\. Did you mean `behaviours`\?"
    ):
        load_config(project)


def test_a_missing_table_lists_the_folder(project: Path) -> None:
    (project / "events.csv").rename(project / "log.csv")
    with pytest.raises(DataError, match=r"events\.csv: there is no such file; .*log\.csv"):
        read(project)


def test_a_missing_column_suggests_a_close_one(project: Path) -> None:
    change(project, 'title = "title"', 'title = "tittle"')
    with pytest.raises(DataError, match=r'`items\.title` = "tittle" .*Did you mean `title`\?'):
        read(project)


def test_a_broken_line_of_jsonl(project: Path) -> None:
    lines = pl.read_csv(project / "events.csv").write_ndjson().splitlines()
    lines[7] = lines[7][:20]
    (project / "log.jsonl").write_text("\n".join(lines) + "\n")
    change(project, '"events.csv"', '"log.jsonl"')
    data, rejects = read(project)
    assert len(data.events) == 199
    assert rejects.frame.select("row", "reason").rows() == [(8, "not a JSON object")]


def test_a_json_document_without_the_columns_names_those_it_has(project: Path) -> None:
    (project / "log.json").write_text('{\n "rows": [\n 1\n ]\n}\n')
    change(project, '"events.csv"', '"log.json"')
    with pytest.raises(DataError, match=r"log\.json: `events\.user` = .* Its columns are rows"):
        read(project)
