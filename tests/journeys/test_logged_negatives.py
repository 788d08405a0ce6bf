"""Rejected candidates of answers: the service writes them, and the next training learns them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tamis.bundle import Kind, Versions
from tamis.cascade import FitContext
from tamis.jobs import _logged_rejections as module
from tamis.jobs._logged_rejections import logged_rejections
from tamis.journal import Recommendation, UserDelete, open_journal
from tamis.recall.two_tower._hard_negatives import hard_negatives
from tamis.service import LiveRecommender, ProjectFolder
from tamis.service.answer_log import REJECTED, REJECTED_BYTES
from tamis.testing import corner_shop

TOWER = """[cascade.channels.two_tower]
hard_negatives = "log"
embedding_dim = 4
epochs = 1
start = "random"
"""
USERS = 30
SHARES = {"untraced": {"traces": 0.0}, "neither": {"rejected": 0.0}}
"""Answer → changed [answers], one after another."""
SHOP = (
    ("[cascade.channels.itemcf]\n", TOWER),
    ('fusion = "like"\n', 'fusion = "like"\nprerank_keep = 9\nslate = 3\n'),
    ("[tasks.like]", '[cascade.prerank]\nuse = "lr"\nepochs = 1\n[tasks.like]'),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tamis_cli: Callable[..., Any]) -> Path:
    """A trained project that has answered every user once, and all but u3 a second time."""
    folder = tmp_path_factory.mktemp("logged") / "shop"
    corner_shop(folder, users=USERS, turns=10)
    declared = folder / "tamis.toml"
    text = declared.read_text("utf-8")
    for old, new in SHOP:
        assert old in text
        text = text.replace(old, new)
    declared.write_text(text, "utf-8")
    said = tamis_cli("train", folder, "--only", "serving", "--json")
    assert said.code == 0, said.err
    assert set(said.json["hard_negatives"]["serving"]["two_tower"]) == {"log", "replays"}
    assert said.json["hard_negatives"]["serving"]["two_tower"]["log"] == 0
    live = LiveRecommender.open(folder)
    try:
        for turn in range(2):
            for user in range(USERS):
                if (turn, user) != (1, 3):
                    live.recommend(f"u{user}", recommendation_id=f"r{turn}-{user}")
        live.recommend("nobody", recommendation_id="unknown")
        live.recommend("u1", recommendation_id="less", effort=0.5)
        for name, shares in SHARES.items():
            live._keep = live._keep.model_copy(update=shares)
            live.recommend("u1", recommendation_id=name)
    finally:
        live.close()
    return folder


def answers(folder: Path) -> dict[str, Recommendation]:
    journal = open_journal(folder, "corner")
    try:
        found = [one.answer for one in journal.answers.read(0, 1_000)]
    finally:
        journal.close()
    return {answer.recommendation_id: answer for answer in found}


def test_an_answer_keeps_what_pre_rank_and_rank_rejected(shop: Path) -> None:
    found = answers(shop)
    one = found["r0-1"]
    assert set(one.rejected) == {"prerank", "rank"}
    assert all(0 < len(set(items)) == len(items) <= REJECTED for items in one.rejected.values())
    every = {item for items in one.rejected.values() for item in items}
    assert not every & {place.item_id for place in one.slate}
    assert len(every) == sum(map(len, one.rejected.values()))
    assert (found["unknown"].rejected, found["less"].rejected) == ({}, {})
    assert (found["untraced"].trace, bool(found["untraced"].rejected)) == (None, True)
    assert (found["neither"].trace, found["neither"].rejected) == (None, {})
    size = len(msgspec.json.encode(one)) - len(
        msgspec.json.encode(msgspec.structs.replace(one, rejected={}))
    )
    assert size < 2 * (REJECTED_BYTES + 4 * REJECTED)


def test_the_next_training_learns_exactly_these(shop: Path, tamis_cli: Callable[..., Any]) -> None:
    project = ProjectFolder(shop)
    data = project.data
    frame = logged_rejections(project, data.end)
    hard = hard_negatives("log", data, FitContext(rejected_live=frame))
    assert hard is not None
    met = set(zip(data.events.user.tolist(), data.events.item.tolist(), strict=True))
    written, slates = set[tuple[int, int]](), set[tuple[int, int]]()
    for answer in answers(shop).values():
        if answer.user_id != "nobody":
            user = data.users.row(answer.user_id)
            items = [i for of_stage in answer.rejected.values() for i in of_stage]
            written |= {(user, data.items.row(item)) for item in items}
            slates |= {(user, data.items.row(place.item_id)) for place in answer.slate}
    users, items = hard.pairs(np.arange(len(data.users)))
    expected = written - met - slates
    assert len(expected) > 5 * USERS
    assert set(zip(users.tolist(), items.tolist(), strict=True)) == expected
    said = tamis_cli("train", shop, "--only", "serving")
    assert said.code == 0, said.err
    version = Versions(shop).current(Kind.SERVING)
    counts = version.manifest.metrics["hard_negatives"]["two_tower"]
    assert counts["log"] == len(expected)
    line = f"two_tower (serving): hard negatives: {counts['log']:,} from log"
    assert f"{line}, {counts['replays']:,} from replays" in said.out


def test_a_fit_reads_what_was_rejected_before_its_end(shop: Path) -> None:
    """All answers are of the time at the end of the log."""
    project = ProjectFolder(shop)
    frame = logged_rejections(project, project.data.end)
    assert frame is not None
    assert frame["time"].unique().to_list() == [project.data.end - 1]
    earlier = project.data.as_of(project.data.end - 1)
    hard = hard_negatives("log", earlier, FitContext(rejected_live=frame))
    assert hard is not None
    assert hard.sources == {"log": 0, "replays": 0}


def test_answers_from_before_a_deletion_and_old_ones_are_left_out(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = logged_rejections(ProjectFolder(shop), 2**60)
    assert read is not None
    journal = open_journal(shop, "corner")
    position = journal.append([UserDelete(user_id="u2")])[0].sequence
    journal.close()
    later = logged_rejections(ProjectFolder(shop), 2**60)
    assert later is not None
    assert set(read["user_id"]) - set(later["user_id"]) == {"u2"}
    before = logged_rejections(ProjectFolder(shop, position - 1), 2**60)
    assert before is not None
    assert before.equals(read)
    monkeypatch.setattr(module, "ANSWERS", 14)  # the last four are to nobody and u1
    monkeypatch.setattr(module, "PAGE", 5)
    few = logged_rejections(ProjectFolder(shop), 2**60)
    assert few is not None
    assert set(few["user_id"]) == {"u1", *(f"u{k}" for k in range(USERS - 10, USERS))}
