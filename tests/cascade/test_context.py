"""The context of requests: read with the events, as of any time, equal in training and online."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.cascade import Hydrate, context_before, impression_window, replay_window, user_queries
from tamis.cascade.candidates import Candidates
from tamis.cascade.query import Queries
from tamis.cascade.replay import join
from tamis.data import Context, EventContext, Ragged, Texts, read_dataset
from tamis.features import FeatureSpace, Histories, default_features
from tamis.schema import ConfigError, DataError, DenseFeat, SparseFeat, parse_config
from tamis.service import Request

DAY = 86_400_000
# user, item, behaviour, day, request, device, os
LOG = [
    ("u0", "a", "show", 1, 1, "ios", "17"),
    ("u0", "b", "show", 1, 1, "ios", "17"),
    ("u0", "a", "click", 1, 1, "ios", "17"),
    ("u0", "b", "show", 2, 2, "android", ""),
    ("u1", "a", "show", 2, 3, "", ""),
    ("u1", "b", "click", 3, 4, "web", ""),
    ("u0", "a", "show", 4, 5, "fridge", "17"),
    ("u0", "b", "show", 4, 5, "ios", "17"),
    ("u2", "a", "click", 5, 6, "", ""),
]
NAMES = ["user_id", "item_id", "behaviour", "day", "request", "device", "os"]


def config(context=("device", "os"), **more):
    events = {"path": "events.csv", "behaviour": "behaviour", "request": "request"}
    return parse_config(
        {
            "name": "test",
            "events": {**events, "context": list(context), **more},
            "behaviours": {"show": {"impression": True}, "click": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
        },
        "tamis.toml",
    )


@pytest.fixture
def folder(tmp_path):
    frame = pl.DataFrame(LOG, schema=NAMES, orient="row")
    frame.with_columns(time=(pl.col("day") + 19_000) * DAY).write_csv(tmp_path / "events.csv")
    return tmp_path


@pytest.fixture
def data(folder):
    return read_dataset(config(), folder)[0]


def values(context: Context, name: str) -> list[str | None]:
    return context.columns[name].values.to_list()


def of_day(days):
    return (np.array(days) + 19_000) * DAY


def device_codes(rows):
    column = next(c for c in rows.layout.ids if c.name == "device")
    found = rows.take(torch.arange(len(rows))).ids[:, column.first]
    return (found - rows.layout.table[column.table].start).tolist()


def test_columns_are_read_with_the_events(data):
    columns = data.events.context.columns
    assert columns["device"].names.to_list() == ["android", "fridge", "ios", "web"]
    assert columns["device"].code.dtype == np.uint8
    in_file_order = [event[5] or None for event in LOG]
    assert sorted(columns["device"].values, key=str) == sorted(in_file_order, key=str)
    assert columns["os"].values.drop_nulls().unique().to_list() == ["17"]
    some = data.events.take(data.events.user == 0)
    assert some.context.columns["device"].values.to_list()[:3] == ["ios"] * 3
    assert data.as_of(int(of_day(2))).events.context.columns["device"].values.to_list() == [
        "ios",
        "ios",
        "ios",
    ]


def test_without_declared_columns_there_is_no_context(folder):
    assert read_dataset(config(()), folder)[0].events.context is None


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (("device", "device"), r"events.context\[1\]` = \"device\" is given twice"),
        (("behaviour",), "is the column of `events.behaviour` already"),
        (("hour",), "has the name of a feature of the request's time"),
    ],
)
def test_impossible_columns_are_refused(context, message):
    with pytest.raises(ConfigError, match=message):
        config(context)


def test_a_missing_column_is_named(folder):
    with pytest.raises(DataError, match=r"events.context\[0\]` = \"devise\" is not .*`device`"):
        read_dataset(config(("devise",)), folder)


def test_the_last_context_known_before_a_time(data):
    users = np.array([0, 0, 0, 1, 1, 2, -1], np.int32)
    time = of_day([1, 2, 3, 3, 4, 9, 9])
    found = context_before(data, users, time)
    # Equal times count as not before; events without any context do not count.
    assert values(found, "device") == [None, "ios", "android", None, "web", None, None]
    # One event is the source of all columns: its missing ones stay missing.
    assert values(found, "os") == [None, "17", None, None, None, None, None]
    queries = user_queries(data.as_of(int(of_day(3))), np.array([0, 1], np.int32), of_day([3, 3]))
    assert values(queries.context, "device") == ["android", None]


def test_the_arrival_counts_not_the_time(folder):
    frame = pl.read_csv(folder / "events.csv")
    late = pl.when(pl.col("day") == 2).then(pl.col("time") + 5 * DAY).otherwise(pl.col("time"))
    frame.with_columns(arrival=late).write_csv(folder / "events.csv")
    data = read_dataset(config(arrival="arrival"), folder)[0]
    found = context_before(data, np.zeros(3, np.int32), of_day([3, 5, 8]))
    assert values(found, "device") == ["ios", "ios", "android"]


def test_impressions_have_their_own_context(data):
    window = (int(of_day(0)), data.end)
    replay = impression_window(config(), data, Histories.of(data), window, 100)
    shown = [
        (str(data.users.ids[int(user)]), device)
        for user, device in zip(
            replay.queries.user, values(replay.queries.context, "device"), strict=True
        )
    ]
    # The impressions of request 5 differ in the device, so they are two queries.
    expected = [("u0", "ios"), ("u0", "android"), ("u0", "fridge"), ("u0", "ios"), ("u1", None)]
    assert shown == expected
    both = join([replay, replay])
    assert values(both.queries.context, "device") == 2 * [device for _, device in expected]


class _Everything:
    """A retrieval that finds every item."""

    def candidates(self, queries):
        n = len(queries)
        return queries, Candidates(np.arange(n + 1) * 2, np.tile([0, 1], n).astype(np.int32))


def test_replayed_queries_have_the_last_context(data):
    window = (int(of_day(3)), int(of_day(6)))
    data.events.behaviour[-2:] = 1  # clicks of u0, who is then the only user who returns
    replay = replay_window(config(), data, Histories.of(data), _Everything(), window, 0)
    assert values(replay.queries.context, "device") == ["android"]


@pytest.fixture
def space(data):
    features = [SparseFeat("device"), SparseFeat("item_id")]
    return FeatureSpace.fit(data.as_of(int(of_day(4))), features, windows=())


def test_codes_missing_unseen_and_known(space, data):
    users = np.zeros(4, np.int32)
    time = np.full(4, data.end)
    given = pl.Series(["ios", "toaster", None, "fridge"])
    context = Context(
        *(np.full(4, np.nan),) * 2, (None,) * 4, ((),) * 4, {"device": Texts.of(given)}
    )
    rows = space.user_rows(users, time, Histories.of(data).at(users, time), context=context)
    # Of the events before day 4: ios three, android and web one each. fridge came later.
    assert device_codes(rows) == [2, 1, 0, 1]
    rows = space.user_rows(users, time, Histories.of(data).at(users, time))
    assert device_codes(rows) == [0, 0, 0, 0]


def test_training_and_requests_have_equal_rows(space, data, tmp_path):
    space.save(tmp_path / "space")
    opened = FeatureSpace.load(tmp_path / "space")
    assert opened.context_columns == ("device",)
    histories = Histories.of(data)
    replay = impression_window(config(), data, histories, (int(of_day(0)), data.end), 100)
    trained = Hydrate(space, None)(replay.queries, replay.candidates)
    batch = trained.take(torch.arange(len(trained)))
    for row, query in enumerate(replay.candidates.query):
        device = values(replay.queries.context, "device")[query]
        request = Request.of(context={"device": device})
        user, time = replay.queries.user[[query]], replay.queries.time[[query]]
        live = Queries(
            user, time, histories.at(user, time), Ragged.empty(1), request.context_for(("device",))
        )
        one = Candidates(np.array([0, 1]), replay.candidates.item[[row]])
        served = Hydrate(opened, None)(live, one).take(torch.arange(1))
        assert torch.equal(served.ids[0], batch.ids[row])
        assert torch.equal(served.dense[0], batch.dense[row])
    assert set(device_codes(trained)) == {0, 1, 2, 3}


def test_declared_columns_are_default_features(data):
    chosen = default_features(data, config())
    assert [f.name for f in chosen if f.side == "context"] == ["hour", "device"]


def test_a_column_of_context_is_an_id(data):
    with pytest.raises(
        ConfigError, match="'device' of the request is an id; declare it as a Sparse"
    ):
        FeatureSpace.fit(data, [DenseFeat("device")], windows=())
    with pytest.raises(ConfigError, match=r"no column 'devize'.*did you mean 'device'"):
        FeatureSpace.fit(data, [SparseFeat("devize", side="context")], windows=())


def test_texts_of_different_columns_are_joined_by_value():
    parts = [Texts.of(pl.Series(["b", None, "a"])), Texts.of(pl.Series(["c", "a"]))]
    joined = Texts.join(parts)
    assert joined.values.to_list() == ["b", None, "a", "c", "a"]
    assert joined.names.to_list() == ["a", "b", "c"]
    many = Texts.of(pl.Series([str(k) for k in range(70_000)]))
    assert many.code.dtype == np.int32
    assert many.values.to_list() == [str(k) for k in range(70_000)]


def test_no_events():
    empty = EventContext({"device": Texts.of(pl.Series([], dtype=pl.String))})
    assert values(empty.at(np.array([-1, -1])), "device") == [None, None]
