"""Texts as inputs of the item towers: new items are found by what their titles say."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end
from tamis.data import Dataset, Table, dataset_from_frame
from tamis.features import encoded, stored_vectors
from tamis.recall import FM, Content, TwoTower
from tamis.recall._common.side_features import side_inputs
from tamis.schema import DataError, DenseFeat, SparseFeat, TableConfig, TextConfig
from tamis.text import NGramEncoder

WORDS = (
    ["running", "shoe", "trail", "sprint", "marathon", "sole", "lace"],
    ["咖啡机", "espresso", "grinder", "filter", "roast", "咖啡杯", "barista"],
)
"""Words of the titles of two topics."""
OLD, NEW = 60, 20
TEXT = TextConfig(columns=("title",), width=16)
ROLES = TableConfig(path="items.csv", id="item_id", title="title", text=TEXT)


def topic(item: int) -> int:
    return item % 2


def made() -> Dataset:
    """Users who like the items of one topic; the last `NEW` items have no events."""
    random = np.random.default_rng(4)
    titles = [" ".join(random.choice(WORDS[topic(i)], 3, replace=False)) for i in range(OLD + NEW)]
    likes = [
        (f"u{u}", i, t)
        for u in range(60)
        for t, i in enumerate(random.choice(np.arange(u % 2, OLD, 2), 10, replace=False).tolist())
    ]
    frame = pl.DataFrame(likes, schema=["user_id", "item_id", "time"], orient="row")
    data = dataset_from_frame(frame, user="user_id", item="item_id", time="time")
    row = np.array([int(i) for i in data.items.ids.to_list()], np.int32)
    events = type(data.events)(**{**vars(data.events), "item": row[data.events.item]})
    ids = pl.Series([str(i) for i in range(OLD + NEW)])
    items = Table("items", ids, pl.DataFrame({"title": titles}))
    encoder = NGramEncoder(TEXT.ngram_options).fit(items.frame["title"])
    return Dataset(data.users, encoded(items, TEXT, encoder), events, data.behaviours)


DATA = made()
CHANNELS = {
    "two_tower": TwoTower(
        network="mlp", embedding_dim=8, epochs=20, batch_size=30, learning_rate=0.01,
        item_id_dropout=0.3,
    ),
    "fm": FM(embedding_dim=8, epochs=20, negatives=20, batch_size=60),
    "content": Content(),
}  # fmt: skip


def share_of_own_topic(channel, data: Dataset) -> float:
    """Of the new items, the share of a user's ten best that are of his topic."""
    users = np.arange(len(data.users), dtype=np.int32)
    vectors = channel.item_vectors()[OLD:]
    if isinstance(channel, Content):
        found = channel.recall(at_end(data, users), len(data.items)).item
        best = [[i for i in row if i >= OLD][:10] for row in found.tolist()]
    else:
        score = channel.user_vectors(at_end(data, users)) @ vectors.T
        best = (np.argsort(-score, axis=1)[:, :10] + OLD).tolist()
    own = [int(str(u).removeprefix("u")) % 2 for u in data.users.ids.to_list()]
    return float(np.mean([topic(i) == t for row, t in zip(best, own, strict=True) for i in row]))


@pytest.mark.parametrize("name", CHANNELS)
def test_new_items_are_found_by_their_texts(name):
    channel = CHANNELS[name]
    channel.fit(DATA, FitContext(items=ROLES))
    assert share_of_own_topic(channel, DATA) > 0.85


def test_without_texts_new_items_are_not_told_apart():
    bare = Table("items", DATA.items.ids, pl.DataFrame({"shop": ["x"] * len(DATA.items)}))
    data = Dataset(DATA.users, bare, DATA.events, DATA.behaviours)
    channel = TwoTower(CHANNELS["two_tower"].config).fit(data, FitContext())
    assert share_of_own_topic(channel, data) < 0.7


def test_declared_features_may_leave_the_vectors_out():
    with_text = (SparseFeat("item_id"), DenseFeat("text_vector", width=16, transform="none"))
    widths = [
        [d.width for d in side_inputs(DATA, f, None, False).item.dense]
        for f in (with_text, with_text[:1], ())
    ]
    assert widths == [[17], [], [17]]  # with an indicator of a missing text; guessed where omitted
    wrong = (DenseFeat("text_vector", width=8),)
    with pytest.raises(DataError, match=r"'text_vector'.*16 numbers where the feature"):
        TwoTower().fit(DATA, FitContext(features=wrong, items=ROLES))


def test_stored_vectors_are_those_of_the_encoder():
    items = Table("items", pl.Series(["a", "b", "c"]), pl.DataFrame({"title": ["x y", None, "y"]}))
    encoder = NGramEncoder(TEXT.ngram_options).fit(items.frame["title"])
    table = encoded(items, TEXT, encoder)
    vectors = encoder.encode(items.frame["title"])
    np.testing.assert_array_equal(stored_vectors(table, "text_vector"), vectors)
    assert table.frame["text_vector"].is_null().to_list() == [False, True, False]
    with pytest.raises(DataError, match=r'name = "text_vector": the items already have a column'):
        encoded(table, TEXT, encoder)


def test_texts_of_lists_and_of_several_columns():
    frame = pl.DataFrame(
        {"title": ["a", None, "b"], "tags": [["x", "y"], None, []], "year": [1, 2, 3]}
    )
    items = Table("items", pl.Series(["1", "2", "3"]), frame)
    from tamis.features import item_texts

    both = item_texts(items, TextConfig(columns=("title", "tags")))
    assert both.to_list() == ["a\nx y", None, "b\n"]
    assert item_texts(items, TextConfig(columns=("year",))).to_list() == ["1", "2", "3"]
    vectors = Table("items", items.ids, pl.DataFrame({"v": [[0.1], [0.2], [0.3]]}))
    with pytest.raises(DataError, match=r"columns: 'v' holds List\(Float64\), not texts"):
        item_texts(vectors, TextConfig(columns=("v",)))
