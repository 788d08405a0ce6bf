"""`tamis init`: the declarations proposed for tables of several shapes."""

from pathlib import Path

import polars as pl
import pytest

from tamis.data import read_dataset
from tamis.onboarding import guess_config, write_guess
from tamis.schema import DataError, VarLenSparseFeat, load_config


def put(folder: Path, **tables: str) -> Path:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


SHOP = {
    "orders": "customerId,sku,eventType,ts,price\n"
    + "".join(
        f"c{k % 7},p{k % 5},{('pv', 'cart', 'buy', 'exposure')[k % 4]},{1600000000000 + k},{k}\n"
        for k in range(40)
    ),
    "products": "sku,name,genre,price,seller_id,listed_at\n"
    + "".join(
        f"p{k},Thing {k},{'ab'[k % 2]}|x,{k}.5,s{k % 2},2020-01-0{k + 1}\n" for k in range(5)
    ),
    "customers": "customerId,city\n" + "".join(f"c{k},{'PQ'[k % 2]}\n" for k in range(7)),
}


def test_the_tables_of_a_shop_are_declared(tmp_path: Path) -> None:
    guess = guess_config(put(tmp_path, **SHOP), "shop")
    write_guess(guess, tmp_path / "tamis.toml")
    config = load_config(tmp_path)
    e = config.events
    assert (e.path, e.user, e.item, e.time, e.behaviour, e.value) == (
        "orders.csv", "customerId", "sku", "ts", "eventType", "price",
    )  # fmt: skip
    i = config.items
    assert (i.path, i.id, i.title, i.category, i.category_separator) == (
        "products.csv", "sku", "name", "genre", "|",
    )  # fmt: skip
    assert (i.author, i.published) == ("seller_id", "listed_at")
    assert config.users is not None
    assert config.users.id == "customerId"
    meant = {b.name: (b.positive, b.impression, b.weight) for b in config.behaviours.values()}
    assert meant == {
        "pv": (True, False, 1), "cart": (True, False, 2),
        "buy": (True, False, 3), "exposure": (False, True, 0),
    }  # fmt: skip
    assert {f.name for f in config.features} == {
        "customerId", "sku", "city", "genre", "price", "seller_id", "history",
    }  # fmt: skip
    history = config.features[-1]
    assert isinstance(history, VarLenSparseFeat)
    assert (set(history.history), history.shares) == ({"pv", "cart", "buy"}, "sku")
    data, rejects = read_dataset(config, tmp_path)
    assert (len(data.events), len(rejects)) == (40, 0)


@pytest.mark.parametrize(
    ("values", "bound"),
    [([1, 2, 3, 4, 5], 4.0), ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 5.0), ([0.5, 4, 4.5, 5], 4.0)],
)
def test_high_ratings_are_positive(tmp_path: Path, values: list[float], bound: float) -> None:
    log = "".join(f"u,{k},{v},16000000{k:02d}\n" for k, v in enumerate(values))
    items = "item_id,title\n" + "".join(f"{k},t{k}\n" for k in range(len(values)))
    put(tmp_path, ratings="user_id,item_id,rating,timestamp\n" + log, movies=items)
    guess = guess_config(tmp_path, "films")
    assert guess.data["behaviours"]["like"] == {"min_value": bound, "positive": True}
    assert "users" not in guess.data


def test_the_table_of_simulated_truth_is_not_taken_for_the_log(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "time": [1600000000000]})
    log.with_columns(behaviour=pl.lit("click")).write_parquet(tmp_path / "events.parquet")
    pl.concat([log, log]).write_parquet(tmp_path / "truth.parquet")
    vector = pl.Series("content", [[0.1, 0.2]], dtype=pl.Array(pl.Float32, 2))
    items = pl.DataFrame({"item_id": ["i"], "category": ["c"], "published": [1500000000000]})
    items.with_columns(vector).write_parquet(tmp_path / "items.parquet")
    guess = guess_config(tmp_path, "sim")
    assert guess.data["events"]["path"] == "events.parquet"
    assert guess.data["items"]["published"] == "published"
    dense = [f for f in guess.data["features"] if f["kind"] == "dense"]
    assert dense == [{"kind": "dense", "name": "content", "side": "item", "width": 2}]
    assert any(note.startswith("not used: truth.parquet") for note in guess.notes)


def test_without_a_log_the_error_lists_what_was_looked_for(tmp_path: Path) -> None:
    put(tmp_path, things="a,b\n1,2\n")
    with pytest.raises(
        DataError, match=r"event log, with (.|\n)*things\.csv: nothing found.*: a, b"
    ):
        guess_config(tmp_path, "x")


def test_without_a_table_of_items_they_are_those_of_the_events(tmp_path: Path) -> None:
    log = "".join(f"u{k % 7},i{k % 5},{1600000000 + k}\n" for k in range(35))
    put(tmp_path, events="user_id,item_id,time\n" + log)
    guess = guess_config(tmp_path, "x")
    write_guess(guess, tmp_path / "tamis.toml")
    assert not {"items", "users", "features"} & set(guess.data)
    assert any("no table of items: items are those of the events" in note for note in guess.notes)
    data, rejects = read_dataset(load_config(tmp_path), tmp_path)
    assert data.items.ids.to_list() == [f"i{k}" for k in range(5)]
    assert (len(data.events), len(rejects)) == (35, 0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no table of events: the folder is empty"):
        guess_config(tmp_path, "x")


def test_frequent_behaviours_after_clicks_become_conditional_tasks(tmp_path: Path) -> None:
    words = ["impression"] * 10 + ["click"] * 5 + ["like"] * 3 + ["cart"] * 2 + ["purchase"]
    events = "".join(
        f"u{k % 50},i{k % 20},{words[k % 21]},{1600000000000 + k}\n" for k in range(12_600)
    )
    items = "item_id,title\n" + "".join(f"i{k},T{k}\n" for k in range(20))
    put(tmp_path, events="user_id,item_id,behaviour,time\n" + events, items=items)
    guess = guess_config(tmp_path, "feed")
    write_guess(guess, tmp_path / "tamis.toml")
    config = load_config(tmp_path)
    assert list(config.tasks) == ["click", "like|click", "cart|click", "purchase|cart"]
    assert config.cascade.fusion == "click + 2 * like + 2 * cart + 3 * purchase"
    assert any("among the events of its condition" in note for note in guess.notes)
