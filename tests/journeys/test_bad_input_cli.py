"""Bad input on the command line: exit code 1 and how to fix it, or a working result."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import tamis
from tamis.bundle import Versions

TIMES = 1_600_000_000
TAMIS = "from tamis.cli import main; main()"


@pytest.fixture
def shop(tmp_path, ratings_tables, tamis_cli) -> Path:
    """An untrained project of 40 users and 30 items."""
    folder = ratings_tables(tmp_path / "shop", users=40, items=30)
    assert tamis_cli("init", folder).code == 0
    return folder


def fails_with(result, *parts: str) -> None:
    """The command failed with a readable message that holds `parts`."""
    assert result.code == 1, result
    assert result.out == "" or "error" in result.out  # doctor prints its table, others nothing
    text = " ".join((result.out + result.err).split())
    assert "Traceback" not in text
    for part in parts:
        assert part in text


def rewrite(path: Path, change) -> None:
    path.write_text(change(path.read_text("utf-8")), "utf-8")


def declare(folder: Path, old: str, new: str) -> None:
    text = (folder / "tamis.toml").read_text("utf-8")
    assert old in text
    (folder / "tamis.toml").write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: t.replace("item_id", "itemid"), ("events.csv", '"item_id"', "`itemid`")),
        (lambda t: t.split("\n")[0] + "\n", ("events.csv", "the table is empty")),
        (lambda _: "", ("events.csv", "the file is empty")),
        (lambda t: t.partition("\n")[2], ("events.csv", "column")),
    ],
    ids=["missing column", "no rows", "no bytes", "no header"],
)
@pytest.mark.parametrize("command", ["doctor", "train"])
def test_a_malformed_log(shop, tamis_cli, command, change, parts):
    rewrite(shop / "events.csv", change)
    fails_with(tamis_cli(command, shop), *parts)


@pytest.mark.parametrize("command", ["doctor", "train"])
def test_a_truncated_file(shop, tamis_cli, command):
    pl.read_csv(shop / "events.csv").write_parquet(shop / "log.parquet")
    whole = (shop / "log.parquet").read_bytes()
    (shop / "log.parquet").write_bytes(whole[: len(whole) // 2])
    declare(shop, '"events.csv"', '"log.parquet"')
    fails_with(tamis_cli(command, shop), "log.parquet", "copy or export it again")


def test_rows_that_cannot_be_used_are_listed_and_the_rest_is_trained_on(shop, tamis_cli):
    """Text in a number, an id that is too long, s and ms mixed, a row cut short."""
    rows = [f"u1,m2,five,{TIMES}", f"{'x' * 1_000_000},m2,5,{TIMES}", "u1,m3,4"]
    mixed = [f"u{k},m{k},4,{TIMES + k}000" for k in range(9)]
    rewrite(shop / "events.csv", lambda t: t + "\n".join([*rows, *mixed]) + "\n")
    result = tamis_cli("train", shop, "--only", "serving")
    assert (result.code, result.problems) == (0, "")
    assert "rows left out" in result.out
    rejects = pl.read_csv(shop / "rejects.csv")
    assert len(rejects) == 12
    reasons = "\n".join(rejects["reason"].to_list())
    for reason in ("not a number", "longer than 1,024 characters", "another unit", "cut short"):
        assert reason in reasons
    assert max(len(v or "") for v in rejects["value"].cast(pl.String)) <= 80
    assert "another unit" in tamis_cli("doctor", shop).out
    refused = tamis_cli("recommend", shop, "--user-id", "x" * 1_000_000, "--n", 2)
    assert refused.code == 1
    assert "user_id = 'xxx" in refused.err
    assert len(refused.err) < 500


def test_duplicate_ids(shop, tamis_cli):
    rewrite(shop / "items.csv", lambda t: t + t.splitlines()[1] + "\n")
    assert "m0" in tamis_cli("doctor", shop).out
    result = tamis_cli("train", shop, "--only", "serving")
    assert (result.code, result.problems) == (0, "")
    assert "rows left out" in result.out


def test_unicode_ids_are_trained_on_and_printed(shop, tamis_cli):
    for file in ("events.csv", "users.csv", "items.csv"):
        rewrite(shop / file, lambda t: t.replace("u1,", "用户 🎬,").replace("m2,", "ü[bold]m,"))
    result = tamis_cli("train", shop, "--only", "serving")
    assert (result.code, result.problems) == (0, "")
    result = tamis_cli("recommend", shop, "--user-id", "用户 🎬", "--why-not", "ü[bold]m", "--n", 3)
    assert (result.code, result.problems) == (0, "")
    assert "用户 🎬" in result.out
    assert "ü[bold]m" in result.out
    answer = tamis_cli("recommend", shop, "--user-id", "用户 🎬", "--json").json
    assert answer["known"] is True


@pytest.mark.parametrize(
    ("keep", "what"),
    [(lambda u, m: u == "u4", "all events are of one user"), (lambda u, m: m == "m3", "one item")],
    ids=["one user", "one item"],
)
def test_one_user_or_one_item_only(shop, tamis_cli, keep, what):
    lines = (shop / "events.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if keep(*line.split(",")[:2])]
    (shop / "events.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    assert what in tamis_cli("doctor", shop).out
    result = tamis_cli("train", shop, "--only", "serving")
    if result.code:
        fails_with(result)
        assert len(result.err) > 60
    else:
        assert tamis_cli("recommend", shop, "--user-id", "u4").code == 0


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("[behaviours.like]", "[behaviors.like]", ("Did you mean `behaviours`?",)),
        ("quota = 300", "quotta = 300", ("quotta", "Did you mean `quota`")),
        ('use = "deepfm"', 'use = "deepmf"', ("[cascade.rank]", "Did you mean `deepfm`")),
        (
            'use = "deepfm"',
            'use = "deepfm"\nembeding_dim = 8',
            ("[cascade.rank] embeding_dim = 8", "Did you mean `embedding_dim`"),
        ),
        ("theta = 0.9", "tetha = 0.9", ("[cascade.rerank.mmr] tetha", "Did you mean `theta`")),
        ("theta = 0.9", "theta = 9.0", ("[cascade.rerank.mmr] theta = 9.0", "less than")),
        ("slate = 20", "slate = twenty", ("not valid TOML", "line")),
    ],
)
@pytest.mark.parametrize("command", ["doctor", "train"])
def test_mistakes_in_the_configuration_are_reported_before_any_work(
    shop, tamis_cli, command, old, new, parts
):
    declare(shop, old, new)
    (shop / "events.csv").unlink()  # the data is not read for it
    fails_with(tamis_cli(command, shop), "tamis.toml", *parts)


def test_all_mistakes_are_reported_at_once(shop, tamis_cli):
    declare(shop, "theta = 0.9", "tetha = 0.9")
    declare(shop, "[cascade.filters.seen]", "[cascade.filters.sen]")
    fails_with(tamis_cli("train", shop), "Did you mean `theta`", "Did you mean `seen`")


def test_a_folder_that_is_no_project(tmp_path, tamis_cli):
    for command in ("doctor", "train", "evaluate", "recommend", "versions"):
        fails_with(tamis_cli(command, tmp_path / "nowhere"), "nowhere", "tamis init")
    fails_with(tamis_cli("init", tmp_path), str(tmp_path))


def test_no_version_yet(shop, tamis_cli):
    fails_with(
        tamis_cli("recommend", shop, "--user-id", "u1"), "no serving version yet", "tamis train"
    )
    fails_with(tamis_cli("evaluate", shop), "no evaluation version yet", "tamis train")
    assert "run `tamis train`" in tamis_cli("versions", shop).out


def test_wrong_options_are_usage_errors(shop, tamis_cli):
    assert tamis_cli("train", shop, "--onyl", "serving").code == 2
    fails_with(tamis_cli("train", shop, "--only", "srving"), "give 'evaluation' or 'serving'")


def test_a_full_disk_leaves_the_old_version_answering(shop, tamis_cli):
    folder = shop
    assert tamis_cli("train", folder, "--only", "serving").code == 0
    before = {v.name for v in Versions(folder)}
    expected = tamis.open(folder).recommend("u3").items

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-c", TAMIS, "train", str(folder), "--only", "serving"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=small_disk,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nothing was published" in done.stderr
    assert "free space" in done.stderr
    assert {v.name for v in Versions(folder)} == before
    assert not list((folder / "versions").glob(".2*"))
    assert tamis_cli("versions", folder, "--verify").code == 0
    assert tamis.open(folder).recommend("u3").items == expected
