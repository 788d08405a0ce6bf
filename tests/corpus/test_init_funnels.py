"""`tamis init` on logs of views, carts and purchases: tasks, objective and the filter `seen`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tamis.cascade import value_of
from tamis.onboarding import Guess, guess_config, write_guess
from tamis.schema import ProjectConfig, load_config

START = 1_577_836_800_000
HOUR = 3_600_000


def shop(
    folder: Path, steps: list[str], *, direct: float = 0.0, back: float = 0.0, seed: int = 0
) -> None:
    """A log of the labels `steps`: view, (favourite,) cart, purchase.

    direct: share of the purchases without a cart. back: share of the users who return days later
    for what they bought.
    """
    random = np.random.default_rng(seed)
    first, *middle, last = steps
    rows: list[tuple[int, int, str, int]] = []
    for user in range(200):
        items = random.choice(400, 40, replace=False)
        times = START + np.sort(random.integers(0, 60 * 24, 40)) * HOUR
        for item, time in zip(items.tolist(), times.tolist(), strict=True):
            rows.append((user, item, first, time))
            if random.random() < 0.3:
                skips = random.random() < direct
                rows += [] if skips else [(user, item, m, time + 60_000) for m in middle]
                if random.random() < 0.6:
                    rows.append((user, item, last, time + 120_000))
                    if random.random() < back:
                        again = time + 100 * HOUR
                        rows += [(user, item, first, again), (user, item, last, again + 60_000)]
    columns = zip(*sorted(rows, key=lambda row: row[3]), strict=True)
    names = ("user_id", "item_id", "event", "timestamp")
    pl.DataFrame(dict(zip(names, columns, strict=True))).write_csv(folder / "events.csv")


def proposed(folder: Path) -> tuple[ProjectConfig, Guess]:
    guess = guess_config(folder, "shop")
    write_guess(guess, folder / "tamis.toml")
    return load_config(folder), guess


@pytest.mark.parametrize(
    ("steps", "tasks", "fusion"),
    [
        (
            ["view", "addtocart", "transaction"],
            ["view", "addtocart|view", "transaction|addtocart"],
            "view + 2 * addtocart + 3 * transaction",
        ),
        (
            ["pv", "fav", "cart", "buy"],
            ["pv", "fav|pv", "cart|pv", "buy|cart"],
            "pv + 2 * fav + 2 * cart + 3 * buy",
        ),
        (
            ["page_view", "add-to-cart", "order"],
            ["page_view", "add-to-cart|page_view", "order|add-to-cart"],
            "page_view + 2 * `add-to-cart` + 3 * order",
        ),
        (
            ["view_item", "add_to_cart", "purchase"],
            ["view_item", "add_to_cart|view_item", "purchase|add_to_cart"],
            "view_item + 2 * add_to_cart + 3 * purchase",
        ),
        (
            ["click", "basket", "checkout"],
            ["click", "basket|click", "checkout|basket"],
            "click + 2 * basket + 3 * checkout",
        ),
        (
            ["浏览", "加购", "下单"],
            ["view", "cart|view", "purchase|cart"],
            "view + 2 * cart + 3 * purchase",
        ),
        (["clicks", "orders"], ["clicks", "orders|clicks"], "clicks + 3 * orders"),
    ],
)
def test_the_steps_of_a_funnel_are_tasks(steps, tasks, fusion, tmp_path):
    shop(tmp_path, steps)
    config, guess = proposed(tmp_path)
    assert list(config.tasks) == tasks
    assert config.cascade.fusion == fusion
    assert config.cascade.order == "auto"
    value_of(config)  # names, ranges and the grammar are right
    told = "\n".join(guess.notes)
    assert f"tasks {tasks[0]}, {', '.join(tasks[1:])}" in told


def test_purchases_without_a_cart_are_given_the_view(tmp_path):
    shop(tmp_path, ["view", "cart", "purchase"], direct=0.4)
    config, _ = proposed(tmp_path)
    assert list(config.tasks) == ["view", "cart|view", "purchase|view"]


def test_rare_steps_are_no_tasks(tmp_path):
    """Nothing can be learnt of fewer than 500 purchases."""
    shop(tmp_path, ["view", "cart", "purchase"])
    frame = pl.read_csv(tmp_path / "events.csv")
    rare = frame["event"] == "purchase"
    kept = (~rare) | (rare & (rare.cast(pl.Int32).cum_sum() <= 400))
    frame.filter(kept).write_csv(tmp_path / "events.csv")
    config, guess = proposed(tmp_path)
    assert list(config.tasks) == ["view", "cart|view"]
    assert config.cascade.fusion == "view + 2 * cart"
    about = [note for note in guess.notes if note.startswith("no task for")]
    assert about == ["no task for purchase: 400 events, 500 needed"]


def test_a_funnel_of_which_every_step_is_rare_says_so(tmp_path):
    rows = [
        f"u{k % 30},i{k % 50},{'purchase' if k % 5 == 0 else 'view'},{START + k * HOUR}\n"
        for k in range(1000)
    ]
    (tmp_path / "events.csv").write_text("user_id,item_id,event,timestamp\n" + "".join(rows))
    config, guess = proposed(tmp_path)
    assert not config.tasks
    assert "no task for purchase: 200 events, 500 needed" in guess.notes


def test_a_log_of_likes_alone_has_one_task(tmp_path):
    shop(tmp_path, ["like", "share"])
    config, _ = proposed(tmp_path)
    assert not config.tasks
    assert not config.cascade.fusion


@pytest.mark.parametrize(
    ("back", "again", "filters"),
    [(0.0, False, ()), (1.0, True, None)],
)
def test_seen_filters_only_what_users_do_not_come_back_to(back, again, filters, tmp_path):
    shop(tmp_path, ["view", "cart", "purchase"], back=back)
    config, guess = proposed(tmp_path)
    assert ("again" in config.cascade.channels) == again
    found = config.cascade.filters.get("seen")
    if filters is None:
        # Views and purchases come back; carts do not, but each purchase follows a cart.
        assert found is None or "purchase" not in found.options["behaviours"]
    else:
        assert found is not None
        assert tuple(found.options.get("behaviours", ())) == filters
    assert any("on items known by view" in note for note in guess.notes)


def test_bought_once_and_viewed_often(tmp_path):
    """Items are looked at for days before they are bought, and never afterwards."""
    random = np.random.default_rng(1)
    rows = []
    for user in range(200):
        for item in random.choice(300, 8, replace=False).tolist():
            start = START + int(random.integers(0, 40 * 24)) * HOUR
            rows += [(user, item, "view", start + k * 30 * HOUR) for k in range(3)]
            rows.append((user, item, "purchase", start + 61 * HOUR))
    columns = zip(*sorted(rows, key=lambda row: row[3]), strict=True)
    names = ("user_id", "item_id", "event", "timestamp")
    pl.DataFrame(dict(zip(names, columns, strict=True))).write_csv(tmp_path / "events.csv")
    config, guess = proposed(tmp_path)
    assert config.cascade.filters["seen"].options == {"behaviours": ["purchase"]}
    assert "again" in config.cascade.channels
    told = "\n".join(guess.notes)
    assert "`seen` filters by purchase only" in told
