"""Place and city of requests: read with the events, and equal in training rows and requests."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.cascade import Candidates, Hydrate, Queries, impression_window
from tamis.data import Ragged, geohash_cells, geohash_text, kilometres, read_dataset
from tamis.features import FeatureSpace, Histories, default_features
from tamis.schema import ConfigError, SparseFeat, parse_config
from tamis.service import Request

DAY = 86_400_000
PARIS, TOKYO = (48.8566, 2.3522), (35.6762, 139.6503)
# user, item, behaviour, day, town, latitude, longitude
LOG = [
    ("u0", "a", "show", 1, "Paris", *PARIS),
    ("u0", "b", "show", 1, "Paris", *PARIS),
    ("u1", "a", "show", 2, "Tokyo", *TOKYO),
    ("u1", "b", "click", 3, "Tokyo", *TOKYO),
    ("u0", "b", "show", 4, None, 95.0, 2.0),
    ("u1", "a", "show", 5, "Lima", None, None),
]


def config(**events):
    declared = {"path": "events.csv", "behaviour": "behaviour"}
    place = {"city": "town", "latitude": "lat", "longitude": "lon"}
    return parse_config(
        {
            "name": "test",
            "events": declared | (place | events),
            "items": {
                "path": "items.csv",
                "id": "item_id",
                "latitude": "north",
                "longitude": "east",
            },
            "behaviours": {"show": {"impression": True}, "click": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
        },
        "tamis.toml",
    )


@pytest.fixture
def read(tmp_path):
    names = ["user_id", "item_id", "behaviour", "day", "town", "lat", "lon"]
    frame = pl.DataFrame(LOG, schema=names, orient="row")
    frame.with_columns(time=(pl.col("day") + 19_000) * DAY).write_csv(tmp_path / "events.csv")
    items = {
        "item_id": ["a", "b", "c"],
        "north": [48.85, 35.68, None],
        "east": [2.35, 139.69, None],
    }
    pl.DataFrame(items).write_csv(tmp_path / "items.csv")
    return read_dataset(config(), tmp_path)


@pytest.fixture
def data(read):
    return read[0]


@pytest.fixture
def space(data):
    features = [
        SparseFeat("city", side="context"),
        SparseFeat("geohash"),
        SparseFeat("wide", column="geohash", precision=1),
        SparseFeat("item_id"),
    ]
    return FeatureSpace.fit(data, features, config=config(), windows=())


def column(rows, name):
    found = next(c for c in rows.layout.ids if c.name == name)
    ids = rows.take(torch.arange(len(rows))).ids[:, found.first]
    return (ids - rows.layout.table[found.table].start).tolist()


def served(space, data, requests, item=0):
    """The rows of one candidate of each request, at the end of the data."""
    users, time = np.zeros(1, np.int32), np.full(1, data.end)
    history = Histories.of(data).at(users, time)
    one = Candidates(np.array([0, 1]), np.array([item], np.int32))
    context = [Request.of(**r).context_for(config().events.request_columns) for r in requests]
    queries = [Queries(users, time, history, Ragged.empty(1), c) for c in context]
    return [Hydrate(space, None)(q, one) for q in queries]


def test_the_log_holds_place_and_city(read):
    data, rejects = read
    context = data.events.context
    assert context.columns["city"].names.to_list() == ["Lima", "Paris", "Tokyo"]
    # A place out of range is left out, and reported.
    known = np.isfinite(context.latitude)
    assert known.tolist() == np.isfinite(context.longitude).tolist() == [True] * 4 + [False] * 2
    assert context.latitude.dtype == np.float32
    assert any("latitude is not within -90 to 90" in reason for _, reason, *_ in rejects.summary())
    queries = context.at(np.array([0, 3, -1]))
    assert queries.city == ("Paris", "Tokyo", None)
    assert queries.longitude[1] == np.float32(TOKYO[1])


def test_codes_of_cells_and_cities(space, data):
    paris = {"latitude": PARIS[0], "longitude": PARIS[1]}
    near = {"latitude": 48.0, "longitude": 1.0}  # another cell of five characters, the same of one
    rows = served(space, data, [paris, near, {}, {"city": "Tokyo"}, {"city": "Berlin"}])
    geohash = [column(r, "geohash")[0] for r in rows]
    wide = [column(r, "wide")[0] for r in rows]
    # Paris and Tokyo have two events each; of equally many, the first in the alphabet: u09, xn7.
    assert geohash == [2, 1, 0, 0, 0]
    assert wide == [2, 2, 0, 0, 0]
    assert [column(r, "city")[0] for r in rows] == [0, 0, 0, 3, 1]
    texts = geohash_text(geohash_cells(*np.array([PARIS, TOKYO]).T, 5), 5).to_list()
    vocabulary = space._fitted.encoders.vocabularies["geohash"].ids.to_list()
    assert sorted(vocabulary) == sorted(texts)


def test_training_and_requests_have_equal_rows(space, data, tmp_path):
    space.save(tmp_path / "space")
    opened = FeatureSpace.load(tmp_path / "space")
    assert opened.reads_place
    assert opened.context_columns == ("city",)
    window = (int(data.events.time[0]), data.end)
    replay = impression_window(config(), data, Histories.of(data), window, 100)
    trained = Hydrate(space, None)(replay.queries, replay.candidates)
    batch = trained.take(torch.arange(len(trained)))
    shown = [event for event in sorted(LOG, key=lambda e: (e[0], e[3])) if event[2] == "show"]
    for row, (user, item, _, day, city, north, east) in enumerate(shown):
        place = {} if north is None or north > 90 else {"latitude": north, "longitude": east}
        request = Request.of(city=city, **place)
        who, time = data.users.rows([user]), np.array([(day + 19_000) * DAY])
        context = request.context_for(config().events.request_columns)
        history = Histories.of(data).at(who, time)
        live = Queries(who, time, history, Ragged.empty(1), context)
        one = Candidates(np.array([0, 1]), data.items.rows([item]))
        found = Hydrate(opened, None)(live, one).take(torch.arange(1))
        assert torch.equal(found.ids[0], batch.ids[row])
        assert torch.equal(found.dense[0], batch.dense[row])


def test_distance_of_request_and_item(space, data):
    paris = {"latitude": PARIS[0], "longitude": PARIS[1]}
    assert kilometres(*PARIS, *TOKYO) == pytest.approx(9712, abs=10)
    assert kilometres(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.1)
    at = next(c for c in space.layout.dense if c.name == "distance").first
    far, near, unknown, nowhere = (
        served(space, data, [request], item)[0].take(torch.arange(1)).dense[0, at : at + 2].tolist()
        for request, item in ((paris, 1), (paris, 0), (paris, 2), ({}, 0))
    )
    assert far[1] == near[1] == 0
    assert unknown == nowhere == [0, 1]
    distance = space._fitted.distance
    np.testing.assert_allclose(
        (far[0] - near[0]) * distance.std,
        np.log1p(kilometres(*PARIS, 35.68, 139.69)) - np.log1p(kilometres(*PARIS, 48.85, 2.35)),
        rtol=1e-4,
    )


def test_default_features(data):
    chosen = [f for f in default_features(data, config()) if f.side == "context"]
    assert [f.name for f in chosen] == ["hour", "city", "geohash"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"longitude": None}, "`events.latitude` is given without `events.longitude`"),
        ({"context": ["city"]}, 'but the city of the request is `events.city` = "town"'),
        ({"context": ["town"]}, "is the column of `events.city` already"),
    ],
)
def test_impossible_declarations_are_refused(events, message):
    with pytest.raises(ConfigError, match=message):
        config(**events)


def test_only_a_geohash_has_a_precision():
    declared = config().model_dump(exclude_none=True)
    declared["features"] = [{"kind": "sparse", "name": "device", "precision": 4}]
    with pytest.raises(ConfigError, match="only the context feature `geohash` has a precision"):
        parse_config(declared, "tamis.toml")
