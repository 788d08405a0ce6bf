"""From nothing but an event log with unusual column names to slates, without editing anything."""

import datetime
from pathlib import Path

import numpy as np

START = datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC)


def write_log(folder: Path) -> Path:
    """A log without names of users and items: three groups of taste, and others' items."""
    random = np.random.default_rng(7)
    folder.mkdir()
    rows: list[tuple[datetime.datetime, str]] = []
    for household in range(120):
        for visit in range(4):
            when = START + datetime.timedelta(days=int(random.integers(0, 20)) + 20 * visit)
            for _ in range(4):
                own = random.random() < 0.8
                thing = int(random.integers(20)) * 3 + (household % 3 if own else 0)
                when += datetime.timedelta(seconds=int(random.integers(5, 90)))
                rows.append((when, f"H-{household:03}|T{thing:02}x"))
    lines = [f"{when:%d/%m/%Y %H:%M:%S}|{rest}" for when, rest in sorted(rows)]
    (folder / "Auszug 2024.csv").write_text(
        "Buchungszeitpunkt|Haushaltsnr|Ware\n" + "\n".join(lines) + "\n", "utf-8"
    )
    return folder


def test_a_log_of_unusual_names_becomes_slates(tmp_path: Path, tamis_cli) -> None:
    folder = write_log(tmp_path / "shop")
    told = tamis_cli("init", folder, "--json")
    assert told.code == 0, told
    assert told.json["choices"] == []
    text = (folder / "tamis.toml").read_text("utf-8")
    for line in (
        'user = "Haushaltsnr"', 'item = "Ware"', 'time = "Buchungszeitpunkt"',
        "[cascade.channels.again]",
    ):  # fmt: skip
        assert line in text
    assert tamis_cli("doctor", folder).code == 0
    trained = tamis_cli("train", folder, "--json")
    assert trained.code == 0, trained
    slate = tamis_cli("recommend", folder, "--user-id", "H-003", "--n", 5, "--json")
    assert slate.code == 0, slate
    items = [entry["item_id"] for entry in slate.json["items"]]
    assert len(set(items)) == 5
    assert all(item.startswith("T") for item in items)
    evaluated = tamis_cli("evaluate", "cascade", folder, "--json")
    assert evaluated.code == 0, evaluated
    assert evaluated.json["cascade"]["hit@10"] > 0.2
    # 10 of 60 items at random are hit by 10 / 60 for one later item
