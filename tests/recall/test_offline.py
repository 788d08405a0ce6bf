"""The offline channel fits, saves and explains like the channel whose lists it reads."""

from dataclasses import replace

import numpy as np
import pytest

from tamis.cascade import FitContext, Home
from tamis.data import Table
from tamis.recall import ItemCF, TwoTower
from tamis.schema import ChannelConfig, ConfigError, StoreError
from tamis.service import registry
from tamis.stores.embedded import EmbeddedRecall
from tamis.testing.channels import one_query, queries_of, two_clans

DATA = two_clans()


def declared(**options):
    return registry.build("recall", "near", ChannelConfig(use="offline", **options))


def home(folder, version="v1"):
    return Home(folder, "shop", version, DATA.users, DATA.items)


def test_without_a_store_it_recalls_like_the_inner_channel():
    offline = declared(of="itemcf", settings={"neighbours": 5}).fit(DATA, FitContext())
    online = ItemCF(neighbours=5).fit(DATA, FitContext())
    found, want = (channel.recall(queries_of(DATA), 4) for channel in (offline, online))
    np.testing.assert_array_equal(found.item, want.item)
    np.testing.assert_array_equal(found.score, want.score)


def test_missing_lists_are_reported_with_the_command_to_run(tmp_path):
    offline = declared(of="itemcf").fit(DATA, FitContext())
    offline.bind(home(tmp_path))
    with pytest.raises(StoreError, match=r"nothing is recalled for version v1.*tamis recall"):
        offline.recall(queries_of(DATA), 4)


def test_reasons_are_those_of_the_inner_channel(tmp_path):
    offline = declared(of="itemcf").fit(DATA, FitContext())
    queries = queries_of(DATA)
    query = one_query(queries, 0)
    item = int(offline.recall(query, 1).item[0, 0])
    assert offline.because(query, item) == offline.inner.because(query, item) is not None
    assert declared(of="hot").fit(DATA, FitContext()).because(query, item) is None


def test_a_saved_channel_is_loaded_with_the_options_of_the_inner_channel(tmp_path):
    config = ChannelConfig(use="offline", of="itemcf", settings={"neighbours": 5})
    registry.build("recall", "near", config).fit(DATA, FitContext()).save(tmp_path / "near")
    loaded = registry.load("recall", "near", config, tmp_path / "near")
    assert isinstance(loaded.inner, ItemCF)
    assert loaded.inner.config.neighbours == 5


def test_the_inner_channel_starts_warm_from_the_former_one():
    first = declared(of="two_tower").fit(DATA, FitContext())
    again = declared(of="two_tower").fit(DATA, FitContext(former=first))
    assert isinstance(again.inner, TwoTower)
    assert not first.inner._facts["warm"]
    assert again.inner._facts["warm"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "itemfc"}, r"cascade\.channels\.itemfc.*Did you mean `itemcf`"),
        ({"of": "itemcf", "settings": {"neighbors": 5}}, r"neighbors = 5: unknown option"),
        ({"of": "itemcf", "settings": {"quota": 5}}, r"quota = 5: unknown option"),
        ({"of": "cached"}, "cached reads a store itself"),
        ({"of": "offline"}, "offline reads a store itself"),
    ],
)
def test_wrong_options_of_the_inner_channel_are_reported(options, message):
    with pytest.raises(ConfigError, match=message):
        registry.resolve("recall", "near", ChannelConfig(use="offline", **options))


def test_a_deleted_user_who_comes_again_has_no_list(redis_like_store):
    offline, users, user = redis_like_store
    assert (offline.recall(one_query(queries_of(DATA), 0), 3).item >= 0).any()
    users.remove(0)
    row = int(users.add([user])[0])
    again = replace(one_query(queries_of(DATA), 0), user=np.array([row], np.int32))
    assert (offline.recall(again, 3).item == -1).all()


@pytest.fixture
def redis_like_store(tmp_path):
    """A channel that reads lists by external ids, its table of users, and the first user."""

    class ByIds(EmbeddedRecall):
        def lists(self, version, channel, users):
            ids = [table.id_of(row) if row >= 0 else "" for row in users.tolist()]
            rows = [held.index(user) if user in held else -1 for user in ids]
            return super().lists(version, channel, np.array(rows, np.int32))

    held = DATA.users.ids.to_list()
    table = Table("users", DATA.users.ids, DATA.users.frame)
    offline = declared(of="itemcf").fit(DATA, FitContext())
    found = offline.recall(queries_of(DATA), 3)
    store = ByIds(tmp_path / "recall", len(held), len(DATA.items))
    with store.write("v1") as draft:
        draft.lists("near", 0, found.item[: len(held)], found.score[: len(held)])
    offline.bind(Home(tmp_path, "shop", "v1", table, DATA.items))
    offline._lists = store
    return offline, table, held[0]
