"""The examples of rankers: their READMEs' commands on little files of the same format."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
USERS, ITEMS = 60, 40


def write_frappe(folder, random):
    names = "user item daytime weekday isweekend homework cost weather country city".split()  # noqa: SIM905
    sizes = (30, 20, 7, 7, 2, 3, 2, 9, 5, 6)
    for stem, n in (("train", 900), ("valid", 300)):
        ids = {
            c: random.integers(0, k, n) + 100 * j
            for j, (c, k) in enumerate(zip(names, sizes, strict=True))
        }
        label = ((ids["user"] + ids["item"]) % 2 == 0).astype(int)
        pl.DataFrame({"label": label, **ids}).write_csv(folder / f"{stem}.csv")


def write_kuairand(folder, random):
    n = 3000
    user, video = random.integers(0, USERS, n), random.integers(0, ITEMS, n)
    liked = random.random(n) < np.where(user % 2 == video % 2, 0.9, 0.3)
    click = liked | (random.random(n) < 0.3)
    flags = {name: (click & (random.random(n) < p)).astype(int) for name, p in (
        ("is_follow", 0.1), ("is_comment", 0.3), ("is_forward", 0.1), ("long_view", 0.5),
        ("is_profile_enter", 0.2),
    )}  # fmt: skip
    time = 1_649_000_000_000 + np.sort(random.integers(0, 8 * 86_400_000, n))
    pl.DataFrame(
        {
            "user_id": user, "video_id": video, "time_ms": time, "is_click": click.astype(int),
            **flags, "play_time_ms": np.where(click, random.integers(1, 60_000, n), 0),
            "duration_ms": 1000 * (10 + video), "label": liked.astype(int),
        }
    ).write_csv(folder / "interactions.csv", separator="\t")  # fmt: skip


def write_funnel(folder, random):
    n = 4000
    user, item = random.integers(0, USERS, n), random.integers(0, ITEMS // 2, n) * 2
    item += user % 2  # people look at one half of the shop
    step = random.choice(["view", "addtocart", "transaction"], n, p=[0.7, 0.2, 0.1])
    time = 1_433_000_000_000 + np.sort(random.integers(0, 60 * 86_400_000, n))
    frame = {"timestamp": time, "visitorid": user, "event": step, "itemid": item}
    pl.DataFrame(frame).write_csv(folder / "events.csv")


WRITERS = {"frappe": write_frappe, "kuairand": write_kuairand, "funnel": write_funnel}


@pytest.mark.parametrize("name", WRITERS)
def test_an_example_runs_from_first_to_last(name, tmp_path, tamis_cli):
    given, project = tmp_path / "given", tmp_path / name
    given.mkdir()
    project.mkdir()
    WRITERS[name](given, np.random.default_rng(5))
    declared = EXAMPLES / name / "tamis.toml"
    if declared.exists():
        text = declared.read_text("utf-8")
        (project / "tamis.toml").write_text(text.replace("quota = 300", "quota = 20"), "utf-8")
    block, *_ = re.findall(
        r"```sh\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.DOTALL
    )
    for line in block.splitlines():
        words = line.replace("FOLDER", str(given)).replace(f"examples/{name}", str(project)).split()
        said = tamis_cli(*words[1:])
        assert said.code == 0, (line, said.err, said.out)
    if name == "frappe":
        scores = pl.read_csv(project / "scores.csv")
        assert scores.columns == ["user", "item", "score"]
        assert len(scores) == 300


def test_the_funnels_prices_are_names(tmp_path, tamis_cli):
    """The README's fusion of prices, on a log that has some."""
    given, project = tmp_path / "given", tmp_path / "shop"
    given.mkdir()
    project.mkdir()
    write_funnel(given, np.random.default_rng(5))
    log = pl.read_csv(given / "events.csv")
    prices = pl.when(pl.col("itemid") % 5 > 0).then(1.0 + pl.col("itemid"))
    log.with_columns(price=prices).write_csv(given / "events.csv")
    text = (EXAMPLES / "funnel" / "tamis.toml").read_text("utf-8")
    readme = (EXAMPLES / "funnel" / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^fusion = .*$", readme, re.MULTILINE)
    text = re.sub(r"^fusion = .*$", line, text, flags=re.MULTILINE).replace("= 300", "= 20")
    (project / "tamis.toml").write_text(text, "utf-8")
    assert tamis_cli("fetch", "funnel", "--from", given, "--out", project).code == 0
    assert tamis_cli("doctor", project).code == 0
    text = text.replace("default(price, 1)", "price")
    (project / "tamis.toml").write_text(text, "utf-8")
    said = tamis_cli("doctor", project)
    assert said.code == 1
    assert "items have no price; give them a value: default(price, 1)" in said.err
