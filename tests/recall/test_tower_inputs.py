"""What the sides of two_tower and fm read: ids, context, histories, statistics, vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext
from tamis.cascade.query_batches import at_end, context_before, queries_at
from tamis.data import EventContext, Table, Texts
from tamis.features import Histories, OfflineStatistics, OnlineStatistics
from tamis.recall import FM, TwoTower
from tamis.recall._common.moving_inputs import ItemMoments, MomentInputs
from tamis.recall._common.side_features import FIRST, side_inputs
from tamis.recall._common.user_item_examples import Likes, UserItemExamples
from tamis.recall.fm import fm as fm_module
from tamis.recall.two_tower import two_tower as two_tower_module
from tamis.schema import (
    ConfigError,
    DenseFeat,
    SparseFeat,
    TableConfig,
    TamisWarning,
    VarLenSparseFeat,
    VersionError,
)
from tamis.testing import check_channel, two_clans

FAST = {"embedding_dim": 8, "epochs": 2, "batch_size": 8, "learning_rate": 0.03}
MACHINE = {"embedding_dim": 8, "epochs": 2, "negatives": 20, "batch_size": 64}
DECLARED = (
    SparseFeat("user_id"),
    SparseFeat("item_id"),
    SparseFeat("taste"),
    SparseFeat("category"),
    SparseFeat("device"),
    SparseFeat("hour"),
    VarLenSparseFeat("liked", history=("like",), shares="item_id", max_len=4),
    VarLenSparseFeat("clicked", history=("click",), shares="item_id", max_len=3),
    VarLenSparseFeat("liked category", history=("like",), column="category", shares="category"),
    VarLenSparseFeat("liked author", history=("like", "click"), column="author", pooling="sum"),
)
ROLES = TableConfig(path="items.csv", id="item_id", category="category", author="author")


def with_context(users=24, items=16):
    """`two_clans`, more clicks, and a device per event."""
    data = two_clans(users, items)
    events = data.events
    clicks = np.arange(0, len(events), 3)
    more = replace(
        events.take(clicks),
        behaviour=np.ones(len(clicks), np.uint8),
        time=events.time[clicks] + 7,
        arrival=events.arrival[clicks] + 50_000_000,  # more than half a day late
    )
    joined = {
        name: np.concatenate([getattr(events, name), getattr(more, name)])
        for name in vars(events)
        if name not in ("context", "weights")
    }
    order = np.argsort(joined["time"], kind="stable")
    joined = {name: column[order] for name, column in joined.items()}
    device = Texts(pl.Series(["phone", "screen"]), (np.arange(len(order)) % 3).astype(np.int32))
    context = EventContext({"device": device})
    return replace(data, events=replace(events, **joined, context=context))


DATA = with_context()


def kept_models(monkeypatch):
    """The networks that fits of both channels train, in their order."""
    models = []
    for module in (two_tower_module, fm_module):
        served = module._served

        def keep(model, *rest, served=served):
            models.append(model)
            return served(model, *rest)

        monkeypatch.setattr(module, "_served", keep)
    return models


@pytest.mark.parametrize(
    "channel",
    [
        TwoTower(statistics="both", **FAST),
        TwoTower(network="mlp", statistics="user", histories="behaviours", **FAST),
        FM(statistics="both", **MACHINE),
    ],
    ids=["sum", "mlp", "fm"],
)
def test_a_request_computes_the_user_vector_of_training(channel, monkeypatch, tmp_path):
    models = kept_models(monkeypatch)
    channel.fit(DATA, FitContext(features=DECLARED, items=ROLES))
    model, moving = models[0].eval(), channel._moving
    likes = Likes.of(DATA)
    rows = np.arange(40, 90, 7)
    event = likes.event[rows]
    user, time = DATA.events.user[event], DATA.events.time[event]
    context = context_before(DATA, user, time)
    queries = queries_at(Histories.of(DATA), user, time, context=context)
    trained = MomentInputs(moving, DATA, likes.event)(rows)
    past = queries.history
    start = model.history_pad if isinstance(channel, TwoTower) else model.history_start
    history = np.full((len(rows), 4), start, np.int32)  # the max_len of `liked`
    for q in range(len(rows)):
        mine = slice(past.indptr[q], past.indptr[q + 1])
        liked = past.item[mine][past.behaviour[mine] == 0][::-1].tolist()
        found = list(dict.fromkeys(liked))[:4]
        history[q, : len(found)] = start + FIRST + np.array(found, np.int32)
    with torch.inference_mode():
        expected = model.users(
            torch.from_numpy(user.astype(np.int64)),
            torch.from_numpy(history),
            (torch.from_numpy(trained.ids), torch.from_numpy(trained.dense)),
        ).numpy()
    found = channel.user_vectors(queries)[:, : expected.shape[1]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 0.01
    # a loaded channel that gets a service's counters as of the request answers the same
    channel.save(tmp_path)
    opened = type(channel).load(tmp_path)
    for q in range(len(rows)):
        known = DATA.as_of(int(time[q]))
        opened.use_statistics(OnlineStatistics.of(known, moving.space.recipes))
        one = opened.user_vectors(queries.part(q, q + 1))
        np.testing.assert_allclose(one[0, : expected.shape[1]], expected[q], atol=1e-5)


def test_a_loaded_channel_without_counters_reads_the_statistics_at_the_end(tmp_path):
    channel = TwoTower(statistics="user", **FAST).fit(DATA, FitContext(features=DECLARED))
    queries = at_end(DATA, np.array([0, 5, -1], np.int32), exclude_seen=False)
    channel.save(tmp_path)
    opened = TwoTower.load(tmp_path)
    np.testing.assert_allclose(
        opened.user_vectors(queries), channel.user_vectors(queries), atol=1e-6
    )
    other = OnlineStatistics.of(DATA, windows=("1h",))
    opened.use_statistics(other)  # other windows: refused, and reported in the log
    np.testing.assert_allclose(
        opened.user_vectors(queries), channel.user_vectors(queries), atol=1e-6
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_inputs_of_a_moment_are_those_of_the_log_as_known_then(rows):
    inputs = side_inputs(DATA, DECLARED, None, False, statistics="user").moving
    likes = Likes.of(DATA)
    found = MomentInputs(inputs, DATA, likes.event)(np.array(rows))
    for k, row in enumerate(rows):
        event = likes.event[row]
        user, time = DATA.events.user[[event]], DATA.events.time[[event]]
        known = DATA.as_of(int(time[0]))
        then = replace(inputs, statistics=OfflineStatistics(known, inputs.space.recipes))
        context = context_before(known, user, time)
        queries = queries_at(Histories.of(known), user, time, context=context)
        expected = then.of(queries)
        np.testing.assert_array_equal(found.ids[k], expected.ids[0])
        np.testing.assert_allclose(found.dense[k], expected.dense[0], atol=1e-6)


def test_item_statistics_of_a_batch_are_older_than_its_moments():
    inputs = side_inputs(DATA, DECLARED, None, False, statistics="item")
    moments, likes = inputs.moments, Likes.of(DATA)
    space = inputs.space
    for p in (0, 3, len(moments.starts)):
        time = int(moments.starts[p]) if p < len(moments.starts) else DATA.end
        statistics = OfflineStatistics(DATA.as_of(time), space.recipes)
        np.testing.assert_allclose(
            moments.values[p], space.item_statistics(statistics, time), atol=1e-6
        )
    assert not np.allclose(moments.values[0], moments.values[-1])
    for kind in ("moments", "pairs"):
        examples = UserItemExamples(likes, 5, 9, 10, 0, kind, periods=moments)
        order = examples.order(6, torch.Generator().manual_seed(1))
        assert sorted(order.rows.tolist()) == list(range(len(examples)))
        periods = []
        for k in range(len(order)):
            rows = order.rows[order.bounds[k] : order.bounds[k + 1]]
            batch = examples.take(rows)
            cut = examples._drawn[rows.numpy()]
            assert (moments.period(likes.time[cut]) == batch.period).all()
            assert (likes.time[cut] >= moments.starts[batch.period]).all() or batch.period == 0
            periods.append(batch.period)
        assert len(set(periods)) > 4
        assert periods != sorted(periods)


def test_periods_divide_the_times_evenly():
    space = side_inputs(DATA, DECLARED, None, False, statistics="item").space
    statistics = OfflineStatistics(DATA, space.recipes)
    times = DATA.events.time[DATA.positive]
    found = ItemMoments.of(space, statistics, times, DATA.end)
    counts = np.bincount(found.period(times))
    assert len(counts) == 8
    assert counts.max() - counts.min() <= 2
    one = ItemMoments.of(space, statistics, times[:1], DATA.end)
    assert len(one.starts) == 1
    assert one.period(np.array([0, DATA.end])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "make", [lambda **o: TwoTower(**FAST, **o), lambda **o: FM(**MACHINE, **o)]
)
def test_every_declared_kind_changes_the_fit(make):
    """Ids, context and histories of [[features]], and each option, are read."""
    base = (SparseFeat("taste"), SparseFeat("category"))
    queries = at_end(DATA, np.arange(6, dtype=np.int32), exclude_seen=False)

    def vectors(features, **options):
        channel = make(**options).fit(DATA, FitContext(features=features, items=ROLES))
        return channel.user_vectors(queries), channel.item_vectors()

    plain = vectors(base)
    bare = vectors(base, histories="declared")[0]
    for feature in DECLARED:
        if feature.name in ("item_id", "taste", "category", "liked"):
            continue
        user = vectors((SparseFeat("item_id"), *base, feature), histories="declared")[0]
        assert not np.allclose(user, bare, atol=1e-3), feature.name
    for options in ({"statistics": "user"}, {"histories": "declared"}, {"user_id": True}):
        assert not np.allclose(vectors(base, **options)[0], plain[0], atol=1e-3), options
    assert not np.allclose(vectors(base, statistics="item")[1], plain[1], atol=1e-3)


def test_a_declared_history_of_the_likes_is_the_towers_own():
    inputs = side_inputs(DATA, DECLARED, None, False)
    assert inputs.liked == 4
    names = [c.name for c in inputs.user.ids]
    assert names == ["user", "taste", "device", "hour", "liked category", "liked author", "clicked"]
    tables = {c.name: c.table for c in inputs.user.ids}
    assert tables["clicked"] == "history"
    assert tables["liked category"] == "category"
    assert [c.name for c in inputs.item.ids] == ["item", "category"]
    kept = side_inputs(DATA, DECLARED, False, True, per_behaviour=True, roles=ROLES)
    assert [c.name for c in kept.user.ids][-2:] == ["clicked", "item_id of click"]
    assert {c.table for c in kept.user.ids[-2:]} == {"item"}


@pytest.mark.parametrize(
    "make", [lambda **o: TwoTower(**FAST, **o), lambda **o: FM(**MACHINE, **o)]
)
def test_histories_per_behaviour_are_the_default_where_items_have_categories(make):
    """Without a declared history, and if the log has an order."""

    def lists(data, roles, features=(), **options):
        channel = make(**options).fit(data, FitContext(items=roles, features=features))
        moving = channel._moving
        return [] if moving is None else [c.name for c in moving.space.user_layout.ids]

    bare = TableConfig(path="items.csv", id="item_id")
    assert {"category of like", "author of like"} < set(lists(DATA, ROLES))
    assert lists(DATA, ROLES) == lists(DATA, ROLES, histories="behaviours")
    assert not lists(DATA, bare)
    assert not lists(DATA, None)
    declared = lists(DATA, ROLES, (SparseFeat("category"),))
    assert "category of like" in declared
    assert "author of like" not in declared
    past = VarLenSparseFeat("past", history=("like",), column="category", shares="category")
    assert lists(DATA, ROLES, (SparseFeat("category"), past)) == ["past"]
    assert not lists(DATA, ROLES, histories="declared")
    flat = replace(DATA, events=replace(DATA.events, time=DATA.events.time * 0 + 5))
    assert not lists(flat, ROLES)


def test_a_log_without_order_reads_nothing_that_changes_with_time():
    flat = replace(DATA, events=replace(DATA.events, time=DATA.events.time * 0 + 5))
    with pytest.warns(TamisWarning, match="clicked, device, hour, .* no order"):
        channel = TwoTower(**FAST).fit(flat, FitContext(features=DECLARED))
    assert channel._moving is None
    assert [c["name"] for c in channel._facts["layout"]["ids"]] == ["user", "taste"]
    for options in ({"statistics": "user"}, {"histories": "behaviours"}):
        for make in (TwoTower, FM):
            with pytest.raises(ConfigError, match="no order"):
                make(**options).fit(flat, FitContext())
        with pytest.raises(ConfigError, match="needs examples other than"):
            TwoTower(examples="whole", **options)


def vectors_of_clans(data, width=6):
    """The items' table with a vector column that tells the clans apart."""
    noise = np.random.default_rng(0).normal(size=(len(data.items), width))
    noise[:, 0] += np.where(np.arange(len(data.items)) % 2 == 0, 4.0, -4.0)
    frame = pl.DataFrame({"vector": noise.tolist()})
    return replace(data, items=Table("items", data.items.ids, frame))


def clan_of_cold_items(channel, data, cold):
    """Difference between the scores of the cold items of a user's own clan and of the other."""
    users = np.arange(len(data.users), dtype=np.int32)
    x = channel.user_vectors(at_end(data, users, exclude_seen=False))
    scores = x @ channel.item_vectors()[cold].T
    even = np.arange(len(data.items))[cold] % 2 == 0
    own = scores[:, even].mean(1) - scores[:, ~even].mean(1)
    return np.where(users % 2 == 0, own, -own)


@pytest.mark.parametrize("declared", [(), (DenseFeat("vector", width=6),)])
def test_vectors_of_items_are_inputs_declared_or_not(declared):
    data = vectors_of_clans(two_clans(24, 16))
    data = replace(data, events=data.events.take(data.events.item < 14))
    channel = TwoTower(**{**FAST, "epochs": 20}, start="random", item_id_dropout=0.5)
    channel.fit(data, FitContext(features=declared))
    assert (clan_of_cold_items(channel, data, slice(14, 16)) > 0).mean() > 0.9


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (TwoTower, FAST),
        (TwoTower, {**FAST, "full_below": 0, "negatives": 12}),
        (TwoTower, {**FAST, "network": "mlp"}),
        (FM, MACHINE),
    ],
)
def test_with_id_dropout_a_new_item_is_recalled_by_its_content(make, options):
    """Items without events, with the category of a popular group, reach the users of the group."""
    data = two_clans(24, 20)
    data = replace(data, events=data.events.take(data.events.item < 16))
    cold = slice(16, 20)
    settings = {**options, "epochs": 30, "item_id_dropout": 0.5}
    channel = make(**settings).fit(data, FitContext(features=(SparseFeat("category"),)))
    assert (clan_of_cold_items(channel, data, cold) > 0).all()
    queries = at_end(data, np.arange(24, dtype=np.int32), exclude_seen=False)
    found = channel.recall(queries, 10)
    for user in range(24):
        own = {16 + user % 2, 18 + user % 2}
        assert own & set(found.item[user].tolist()), user
    # the items of one category without likes have one and the same vector
    vectors = channel.item_vectors()
    np.testing.assert_allclose(vectors[16], vectors[18], atol=1e-6)
    assert not np.allclose(vectors[16], vectors[17], atol=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwoTower(statistics="both", histories="behaviours", **{**FAST, "epochs": 20}),
        lambda: FM(statistics="both", histories="behaviours", **{**MACHINE, "epochs": 6}),
    ],
)
def test_the_contract_holds_with_everything_on(make):
    check_channel(make)


def test_the_folder_of_moving_inputs_is_checked(tmp_path: Path):
    channel = TwoTower(**FAST).fit(DATA, FitContext(features=DECLARED))
    channel.save(tmp_path)
    (tmp_path / "moving" / "moving.json").write_text("{}")
    with pytest.raises(VersionError, match=r"moving\.json"):
        TwoTower.load(tmp_path)
