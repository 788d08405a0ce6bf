"""`tamis init` proposes the columns of the log that describe the request."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.data import read_dataset
from tamis.features import FeatureSpace
from tamis.onboarding import examine, guess_config, write_guess
from tamis.schema import load_config

ROWS = 2_000


def log(**columns) -> pl.DataFrame:
    random = np.random.default_rng(3)
    user = random.integers(60, size=ROWS)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{k}" for k in user],
            "item_id": [f"i{k}" for k in random.integers(40, size=ROWS)],
            "time": 1_600_000_000 + np.arange(ROWS) * 600,
            "event": random.choice(["impression", "click"], ROWS, p=[0.7, 0.3]),
        }
    )
    choices = {
        "device": random.choice(["ios", "android", "web"], ROWS),
        "os_version": random.choice([14, 15, 16], ROWS),
        "request_city": random.choice(["Paris", "Lima"], ROWS),
        "lat": random.uniform(40, 50, ROWS),
        "lng": random.uniform(0, 10, ROWS),
        "platform": [("ios", "web")[k % 2] for k in user],  # one value per user
        "device_id": [f"d{k}" for k in range(ROWS)],  # hardly repeats
        "colour": random.choice(["red", "blue"], ROWS),  # no usual name
        "network": ["wifi"] * ROWS,  # a single value
    }
    return frame.with_columns(pl.Series(name, choices[name]) for name in columns["names"])


def declared(folder: Path, *names: str, items: bool = False):
    log(names=names).write_csv(folder / "events.csv")
    if items:
        attributes = {"item_id": [f"i{k}" for k in range(40)], "city": ["Rome", "Oslo"] * 20}
        pl.DataFrame(attributes).write_csv(folder / "items.csv")
    guess = guess_config(folder, "shop")
    write_guess(guess, folder / "tamis.toml")
    return load_config(folder), guess.notes


def test_device_city_and_place_are_proposed(tmp_path):
    names = ("device", "os_version", "request_city", "lat", "lng")
    config, notes = declared(tmp_path, *names)
    events = config.events
    assert events.context == ("device", "os_version")
    assert (events.city, events.latitude, events.longitude) == ("request_city", "lat", "lng")
    told = [note for note in notes if note.startswith("describe the request")]
    assert len(told) == 1
    assert all(f"`{name}`" in told[0] for name in names)
    assert not any(note.startswith("not used") for note in notes)
    assert not [f for f in examine(config, tmp_path) if "looks like an outcome" in f.what]


def test_other_columns_are_listed_as_unused(tmp_path):
    names = ("platform", "device_id", "colour", "network", "lat")
    config, notes = declared(tmp_path, *names)
    assert config.events.context == ()
    assert (config.events.city, config.events.latitude) == (None, None)
    unused = " ".join(note for note in notes if note.startswith("not used"))
    assert all(f"`{name}`" in unused for name in names), unused
    assert "`platform` of events.csv, with one value per user" in unused


@pytest.mark.parametrize("items", [False, True])
def test_the_proposed_columns_are_features(tmp_path, items):
    config, _ = declared(tmp_path, "device", "request_city", "lat", "lng", items=items)
    features = {f.name: (f.source, f.side) for f in config.features}
    of_request = {name: source for name, (source, side) in features.items() if side == "context"}
    city = "request_city" if items else "city"
    assert of_request == {"device": "device", city: "city", "geohash": "geohash"}
    data, _ = read_dataset(config, tmp_path)
    space = FeatureSpace.fit(data, config.features, config=config)
    assert set(space.context_columns) == {"device", "city"}
