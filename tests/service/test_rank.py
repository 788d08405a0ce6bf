"""Given items in the order of the ranker, and items similar to one, of an open version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamis.cascade import Candidates, Queries
from tamis.cascade.given import rank_given
from tamis.data import Ragged
from tamis.index import VectorIndex
from tamis.journal import ItemHide, ItemPatch, ItemPut, Numbered
from tamis.schema import RequestError
from tamis.service import RankRequest, Recommender, Similar
from tamis.service.item_indexes import ItemIndexes


@pytest.fixture(scope="module")
def recommender(numbered: Path) -> Recommender:
    return Recommender.open(numbered)


def test_given_items_are_ordered_by_the_ranker(recommender: Recommender) -> None:
    """The order and the predictions are those of the ranker on the same candidates."""
    ids = [f"1{k:03}" for k in (5, 40, 3, 77, 100, 150)]
    found = recommender.rank(RankRequest.of(user_id=7, item_ids=[*ids, "nobody", "1002.5"]))
    parts = recommender.parts
    assert (found.unknown, found.known) == (("nobody", "1002.5"), True)
    left = [i for i in ids if i not in [r.item_id for r in found.removed]]
    assert sorted(p.item_id for p in found.items) == sorted(left)
    assert [p.place for p in found.items] == list(range(1, len(left) + 1))

    queries = recommender.views.queries(parts.users.row("7"), found.time, None)
    rows = parts.items.rows(left)
    given = Candidates(np.array([0, len(rows)], np.int64), rows)
    scores = parts.rank.score_rows(recommender.cascade.hydrate(queries, given))
    (task,) = scores
    expected = dict(zip(left, scores[task].tolist(), strict=True))
    assert [p.item_id for p in found.items] == sorted(left, key=lambda i: -expected[i])
    for place in found.items:
        assert place.predictions == {task: pytest.approx(expected[place.item_id], rel=1e-5)}


def test_filters_are_named(numbered: Path) -> None:
    recommender = Recommender.open(numbered)
    data = recommender.parts
    history = recommender.views.queries(data.users.row("7"), recommender.now(), None).history
    known = str(data.items.ids[int(history.item[0])])
    fresh, *_, other = [i for i in data.items.ids if data.items.row(i) not in history.item]
    recommender.views.apply([Numbered(1, ItemHide(item_id=other))])
    found = recommender.rank(RankRequest.of(user_id=7, item_ids=[known, fresh, other]))
    assert [p.item_id for p in found.items] == [fresh]
    assert [(r.item_id, r.filters) for r in found.removed] == [
        (known, ("seen",)),
        (other, ("hidden",)),
    ]
    assert found.removed[0].reasons == ("seen",)
    assert "POST /v1/items/ID/show undoes it" in found.removed[1].reasons[0]


def test_a_boost_moves_a_given_item(recommender: Recommender) -> None:
    ids = [f"1{k:03}" for k in range(20, 30)]
    plain = recommender.rank(RankRequest.of(item_ids=ids))
    last = plain.items[-1]
    boost = [{"item_id": last.item_id, "factor": 1000}]
    first = recommender.rank(RankRequest.of(item_ids=ids, boost=boost)).items[0]
    assert (first.item_id, first.predictions) == (last.item_id, last.predictions)
    assert first.score == pytest.approx(1000 * last.score, rel=1e-6)


def test_a_failing_ranker_keeps_the_given_order(recommender: Recommender, monkeypatch) -> None:
    def broken(rows: object) -> None:
        raise ValueError("no such feature")

    monkeypatch.setattr(recommender.cascade.rank, "score_rows", broken)
    ids = ["1030", "1020", "1025"]
    found = recommender.rank(RankRequest.of(item_ids=ids))
    assert [p.item_id for p in found.items] == ids
    assert found.degraded == ("rank: ValueError: no such feature",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "item_ids"),
        ({"item_ids": []}, r"item_ids = \[\]: .*length >= 1"),
        ({"item_ids": "1001"}, "item_ids is the text '1001': give a list"),
        ({"item_ids": ["1001", " "]}, r"item_ids\[1\] = ' ': an id is not blank"),
        ({"item_ids": [1001, "1001.0"]}, "item_ids holds '1001' more than once"),
        ({"item_ids": [1], "n": 3}, "n: a request has no such field"),
    ],
)
def test_a_wrong_request_is_refused(
    recommender: Recommender, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        recommender.rank(RankRequest.of(**fields))


def test_similar_items_are_those_of_the_command_without_hidden_ones(numbered: Path) -> None:
    recommender = Recommender.open(numbered)
    stored = Similar.open(recommender._version).to_item("1005", 6)
    assert recommender.similar("1005", 6) == stored
    hidden = stored.items[0].item_id
    recommender.views.apply([Numbered(1, ItemHide(item_id=hidden))])
    now = recommender.similar(1005, 5)
    assert [i.item_id for i in now.items] == [i.item_id for i in stored.items[1:]]
    assert [i.score for i in now.items] == [i.score for i in stored.items[1:]]
    with pytest.raises(RequestError, match="item 'nobody' is not in the items' table") as error:
        recommender.similar("nobody")
    assert error.value.field == "item_id"


def test_similar_items_are_found_in_one_index_that_follows_changes(
    numbered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of a channel is built once; later it has the vectors that one built anew has."""
    recommender, built = Recommender.open(numbered), list[int]()
    build = VectorIndex.build
    monkeypatch.setattr(
        VectorIndex, "build", lambda unit, **o: (built.append(len(unit)), build(unit, **o))[1]
    )
    recommender.similar("1005", 6, by="two_tower")
    columns = recommender.parts.items.cells(recommender.parts.items.row("1005"))
    changed = {"genres": columns["genres"], "title": columns["title"]}
    entries = [ItemPut(item_id="twin", columns=changed), ItemPatch(item_id="1007", columns=changed)]
    recommender.views.apply([Numbered(k, entry) for k, entry in enumerate(entries, start=1)])
    found = recommender.similar("twin", 6, by="two_tower")
    assert built == [200]
    recommender.parts.item_indexes = ItemIndexes()
    anew = recommender.similar("twin", 6, by="two_tower")
    assert built == [200, 201]
    assert [i.item_id for i in found.items] == [i.item_id for i in anew.items]
    assert [i.score for i in found.items] == pytest.approx([i.score for i in anew.items], abs=1e-6)
    assert "twin" in {i.item_id for i in recommender.similar("1007", 6, by="two_tower").items}


def test_filters_do_not_get_hidden_items(recommender: Recommender) -> None:
    """Items that came after the version are hidden where a filter of one's own knows no row."""

    class KnowsFew:
        name = "few"

        def excluded(self, queries: Queries) -> Ragged:
            return Ragged.of([np.zeros(0, np.int32)])

        def keep(self, queries: Queries, candidates: Candidates) -> np.ndarray:
            return np.array([True, False, True])[candidates.item]  # IndexError beyond its rows

    cascade, parts = recommender.cascade, recommender.parts
    filters = {**cascade.retrieval.filters, "few": KnowsFew()}
    cascade = replace(cascade, retrieval=replace(cascade.retrieval, filters=filters))
    queries = parts.queries(np.array([0], np.int32), np.array([recommender.now()], np.int64))
    items = np.array([1, 9, 2], np.int32)
    order = rank_given(cascade, queries, items, hidden=np.array([9], np.int32))
    assert order.degraded == []
    assert order.removed["few"].tolist() == [True, False, False]
    assert 1 not in order.ranked.item.tolist()
