"""Channels of a serving version are handed their home; what cannot be remembered is told."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tamis.bundle import Kind
from tamis.cascade import Candidates, Queries, Slates
from tamis.cascade.runner import Outcome
from tamis.data import Ragged, Table
from tamis.features._lists import History
from tamis.schema import StoreError
from tamis.service.online import bind, remember


class Reads:
    """A channel that uses a store and remembers, or cannot."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.homes, self.heard = fails, [], []

    def bind(self, home):
        self.homes.append(home)

    def remember(self, queries, ranked, slate):
        if self.fails:
            raise StoreError("the server is away")
        self.heard.append((queries, ranked, slate))


def version(kind):
    return SimpleNamespace(
        path=Path("shop/versions/v1"), name="v1", manifest=SimpleNamespace(kind=kind)
    )


def parts(**channels):
    table = Table("users", pl.Series("id", ["ann"]), pl.DataFrame())
    config = SimpleNamespace(name="my shop")
    return SimpleNamespace(config=config, users=table, items=table, channels=channels)


def outcome():
    some = Candidates(np.array([0, 1]), np.array([4], np.int32))
    none = Candidates(np.array([0, 0]), np.zeros(0, np.int32))
    queries = Queries(
        np.zeros(1, np.int32), np.zeros(1, np.int64), History.empty(1), Ragged.empty(1)
    )
    return Outcome(queries, none, {}, none, none, some, Slates(none, none.item))


def test_channels_of_a_serving_version_are_bound_to_their_store():
    channel = Reads()
    found = parts(plain=object(), reads=channel)
    bind(found, version(Kind.SERVING))
    (home,) = channel.homes
    assert (home.folder, home.project, home.version) == (Path("shop"), "my shop", "v1")
    assert home.users is found.users


def test_channels_of_an_evaluation_version_are_not_bound():
    channel = Reads()
    bind(parts(reads=channel), version(Kind.EVALUATION))
    assert channel.homes == []


def test_answers_are_stored_and_failures_reported(caplog: pytest.LogCaptureFixture):
    answered = outcome()
    hears, away = Reads(), Reads(fails=True)
    failed = remember({"plain": object(), "away": away, "hears": hears}, answered)
    assert failed == ["remember:away: StoreError: the server is away"]
    assert hears.heard == [(answered.queries, answered.ranked, answered.slate)]
    assert "away could not store an answer" in caplog.text
