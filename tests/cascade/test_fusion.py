"""The fusion language: what it computes and what it refuses."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from tamis.cascade import Candidates, Fusion, value_of
from tamis.cascade.fusion import ranks
from tamis.data import Table
from tamis.schema import ConfigError, parse_config

P = {"click": np.array([0.5, 0.2], np.float32), "like": np.array([0.1, 0.4], np.float32)}
TASKS = ["click", "like"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", [0.5, 0.2]),
        ("like", [0.1, 0.4]),
        ("click + 2 * like", [0.7, 1.0]),
        ("click * (1 + 0.5 * like)", [0.525, 0.24]),
        ("click ** 2 * like ** 0.5", [0.25 * 0.1**0.5, 0.04 * 0.4**0.5]),
        ("-click + +like", [-0.4, 0.2]),
        ("click - like - like", [0.3, -0.6]),
        ("-click ** 2", [-0.25, -0.04]),
        ("2 ** -click", [2**-0.5, 2**-0.2]),
        ("click ** 2 ** 2", [0.5**4, 0.2**4]),
        ("1 / click / 2", [1.0, 2.5]),
        ("like / click", [0.2, 2.0]),
        ("max(click, like) - min(click, like)", [0.4, 0.2]),
        ("log1p(click)", np.log1p([0.5, 0.2])),
        ("exp(log(like)) + sqrt(click)", [0.1 + 0.5**0.5, 0.4 + 0.2**0.5]),
        ("rank(like)", [2, 1]),
        ("  click\n+ .5e0*like ", [0.55, 0.4]),
        ("`click` + 0", [0.5, 0.2]),
    ],
)
def test_values(text, want):
    got = Fusion(text, TASKS)(P)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)


def some(n=60, seed=0):
    random = np.random.default_rng(seed)
    names = ("click", "like", "cart", "purchase", "collect", "share")
    return {name: random.uniform(0.01, 0.99, n).round(2) for name in names}


def by_hand_ranks(score, indptr):
    parts = [rankdata(-score[a:b]) for a, b in pairwise(indptr)]
    return np.concatenate(parts)


def test_the_five_forms():
    """Of CASCADE §4, each against its formula written out."""
    p, indptr = some(), np.array([0, 7, 7, 40, 60])
    price, bid = np.linspace(1, 90, 60), np.linspace(3, 0.1, 60)
    given = {**p, "price": price, "bid": bid}
    numbers = {"price": (1.0, 90.0), "bid": (0.1, 3.0)}

    def value(text):
        return Fusion(text, list(p), columns=numbers)(given, indptr)

    def is_close(text, want):
        np.testing.assert_allclose(value(text), want, rtol=1e-5)

    click, like, cart, purchase, collect, share = p.values()
    is_close("click + 0.5*like + 2*collect + 3*share", click + 0.5 * like + 2 * collect + 3 * share)
    is_close(
        "click * (1 + 0.5*like + 2*collect + 3*share)",
        click * (1 + 0.5 * like + 2 * collect + 3 * share),
    )
    is_close(
        "(1 + 2*click)**0.8 * (1 + 3*like)**1.5 * (1 + share)**0.1",
        (1 + 2 * click) ** 0.8 * (1 + 3 * like) ** 1.5 * (1 + share) ** 0.1,
    )
    by_click, by_like = by_hand_ranks(click, indptr), by_hand_ranks(like, indptr)
    is_close(
        "1 / (rank(click)**0.6 + 10) + 2 / (rank(like)**0.9 + 5)",
        1 / (by_click**0.6 + 10) + 2 / (by_like**0.9 + 5),
    )
    is_close(
        "click**0.8 * cart**0.5 * purchase**1.2 * price**0.3",
        click**0.8 * cart**0.5 * purchase**1.2 * price**0.3,
    )
    is_close("bid * click", bid * click)


def test_the_forms_on_the_page_are_expressions():
    text = (Path(__file__).parents[2] / "docs" / "fusion.md").read_text("utf-8")
    forms = re.findall(
        r"^\| [^|]+ \| `([^`]+)` \|$", text.partition("## Common forms")[2], re.MULTILINE
    )
    assert len(forms) == 7
    names = ["click", "like", "collect", "share", "cart", "purchase", "watch"]
    numbers = {"price": (1.0, 9.0), "bid": (0.0, 2.0)}
    for form in forms:
        made = Fusion(form, names, columns=numbers, channels=["ease", "hot"])
        assert made.names <= set(names)


def test_ranks_are_within_a_request_and_ties_share_a_rank():
    score = np.array([0.3, 0.9, 0.3, 0.1, 0.5, 0.5, 0.5])
    assert ranks(score, np.array([0, 4, 4, 7])).tolist() == [2.5, 1, 2.5, 4, 2, 2, 2]
    assert ranks(np.array([np.nan, 1.0]), np.array([0, 2])).tolist() == [2, 1]
    assert ranks(np.zeros(0), np.array([0])).shape == (0,)
    assert ranks(np.zeros(0), np.array([0, 0, 0])).shape == (0,)
    assert ranks(np.array(3.0), np.array([0, 2, 3])).tolist() == [1.5, 1.5, 1]


@pytest.mark.parametrize("missing", [0, 0.5, 1])
def test_ranks_equal_those_of_scipy(missing):
    """With ties, with both infinities, and with scores that are not known, which rank last."""
    random = np.random.default_rng(0)
    indptr = np.array([0, 200, 200, 201, 500])
    score = random.normal(size=500).round(1)
    score[random.random(500) < 0.05] = np.inf
    score[random.random(500) < 0.05] = -np.inf
    score[random.random(500) < missing] = np.nan
    last = np.where(np.isnan(score), -np.inf, score)
    assert np.array_equal(ranks(score, indptr), by_hand_ranks(last, indptr))


def test_a_condition_is_part_of_its_name():
    names = ["click", "like|click", "like"]
    p = {"click": np.array([0.5]), "like|click": np.array([0.2]), "like": np.array([0.1])}
    for text in ("click * like|click", "like", "like | click * click"):
        np.testing.assert_allclose(Fusion(text, names)(p), [0.1], rtol=1e-6)
    assert Fusion("like | click", names).names == {"like|click"}
    with pytest.raises(ConfigError, match=r"unknown name 'lik\|click'; did you mean 'like|click'"):
        Fusion("lik|click", names)


def test_names_that_are_not_words_are_written_in_backquotes():
    assert Fusion("", ["add-to-cart"])({"add-to-cart": np.ones(2)}).tolist() == [1, 1]
    value = Fusion("2 * `add-to-cart`", ["add-to-cart"])
    assert value({"add-to-cart": np.ones(2)}).tolist() == [2, 2]


def test_names_used():
    made = Fusion("2 * like * price", TASKS, columns={"price": (0.0, 1.0), "age": (0.0, 1.0)})
    assert made.names == {"like"}
    assert made.columns == {"price"}


def test_no_candidates():
    none = {"click": np.zeros(0, np.float32), "like": np.zeros(0, np.float32)}
    assert Fusion("click + 1", TASKS)(none).shape == (0,)
    assert Fusion("rank(click)", TASKS)(none).shape == (0,)


def test_undefined_results_are_not_finite_and_do_not_warn():
    zeros = {"click": np.zeros(2), "like": np.zeros(2)}
    assert not np.isfinite(Fusion("log(click)", TASKS)(zeros)).any()
    assert not np.isfinite(Fusion("click / like", TASKS)(zeros)).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clik + like", r"\[cascade\] fusion = 'clik \+ like': at column 1.*did you mean 'click'"),
        ("click + share", "at column 9: unknown name 'share'.*Predictions: click, like"),
        ("click +", "at column 8: it ends where a number, a name or a bracket is expected"),
        ("click like", "at column 7: 'like' stands where an operator is expected"),
        ("(click", "it ends where a closing bracket is expected"),
        ("click)", r"'\)' stands where an operator"),
        ("lgo(click)", "unknown function 'lgo'; did you mean 'log'"),
        ("max(click)", "max takes 2 values, not 1"),
        ("rank()", "rank takes 1 value, not 0"),
        ("__import__('os').system('true')", 'column 12: "\'" is not allowed'),
        ("click.__class__", "is not allowed"),
        ("[c for c in click]", "not allowed"),
        ("click if like else 0", "'if' stands where an operator"),
        ("click > like", "column 7: '>' is not allowed; an expression has numbers, names"),
        ("lambda: click", "not allowed"),
        ("click[0]", "not allowed"),
        ("'click'", "not allowed"),
        ("True", "unknown name 'True'"),
        ("1j", "'1j' is neither a number nor a name"),
        ("click // like", "'/' stands where a number"),
        ("log(x=click)", "'=' is not allowed"),
        ("max(*click)", r"'\*' stands where"),
        ("-" * 120 + "click", "deeper"),
        ("click + " * 200 + "click", "more than 150 parts"),
        ("click + " * 400 + "click", "longer than"),
        ("(" * 900 + "click" + ")" * 900, "deeper"),
        ("click\x00", "not allowed"),
        ("3", "names no prediction.*every candidate would have the same value"),
        ("rank(3) + click", "rank of a number that is the same"),
        ("click / (2 - 2)", "column 7: divides by 0: no candidate"),
        ("log(-click)", "log of a number that is never above 0"),
        ("log1p(click - 2)", "log1p of a number that is never above -1"),
        ("sqrt(-1 - like)", "sqrt of a number that is always below 0"),
        ("(-1 - click) ** 0.5", "a negative number to the power of 0.5 is undefined"),
        ("9 ** 9 ** 9 ** 9 * click", "never a finite number"),
        ("1e999 * click", "never a finite number"),
        ("exp(1000 + click)", "never a finite number"),
        ("default(click, 1)", "unknown name 'click'"),
    ],
)
def test_errors_name_the_place_and_how_to_fix_it(text, message):
    with pytest.raises(ConfigError, match=message):
        Fusion(text, TASKS)


def test_no_task_at_all():
    with pytest.raises(ConfigError, match="declare"):
        Fusion("", [])


def project(fusion, **tasks):
    return parse_config(
        {
            "name": "shop",
            "events": {"path": "e.csv", "value": "value", "behaviour": "what"},
            "items": {"path": "i.csv", "id": "id"},
            "behaviours": {"click": {"positive": True}, "like": {}, "watch": {}},
            "tasks": tasks or {"click": {}, "like|click": {}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}, "fusion": fusion},
        }
    )


def items(**columns):
    frame = pl.DataFrame(columns)
    return Table("items", pl.Series("id", [str(k) for k in range(len(frame))]), frame)


SHOP = items(price=[4.0, 9.0, 16.0], bid=[1, None, 3], title=["a", "b", "c"])


def test_columns_of_items_are_names():
    value = value_of(project("like|click * sqrt(price)"), SHOP)
    asked = Candidates(np.array([0, 2, 3]), np.array([2, 0, 1], np.int32))
    given = {"like|click": np.array([0.5, 1.0, 1.0], np.float32)}
    np.testing.assert_allclose(value(asked, given), [2.0, 2.0, 3.0])


def test_a_column_with_missing_values_needs_a_default():
    with pytest.raises(ConfigError, match=r"1 of 3 items have no bid; give .* default\(bid, 1\)"):
        value_of(project("bid * click"), SHOP)
    value = value_of(project("default(bid, 2) * click"), SHOP)
    asked = Candidates(np.array([0, 3]), np.arange(3, dtype=np.int32))
    given = {"click": np.full(3, 0.5, np.float32)}
    np.testing.assert_allclose(value(asked, given), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(
        value_of(project("default(bid, -2) * click"), SHOP)(asked, given), [0.5, -1.0, 1.5]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("click * prize", "unknown name 'prize'; did you mean 'price'.*Items' columns: price, bid"),
        ("click * title", "unknown name 'title'"),
        ("default(prize, 1) * click", "unknown name 'prize'; did you mean 'price'"),
        ("default(price * 2, 1)", "takes an item's column or a channel and a number"),
        ("default(price, click)", "takes an item's column or a channel and a number"),
        ("log(-price) + click", "log of a number that is never above 0"),
        ("click + hot", r"column 9: the channel hot scores only the items .* default\(hot, 0\)"),
        ("rank(hat)", "unknown name 'hat'; did you mean 'hot'.*Channels: hot"),
        ("rank(-hot)", "the channel hot scores only the items that it recalled"),
    ],
)
def test_errors_of_item_columns(text, message):
    with pytest.raises(ConfigError, match=message):
        value_of(project(text), SHOP)


def test_without_the_items_their_columns_are_unknown():
    assert value_of(project("click")).columns == {}
    with pytest.raises(ConfigError, match="unknown name 'price'"):
        value_of(project("click * price"))


def test_channels_are_names_in_rank_and_default():
    value = value_of(project("1 / (rank(click) + 60) + 2 / (rank(hot) + 60)"), SHOP)
    assert value.fusion.channels == {"hot"}
    found = {"score:hot": np.array([np.nan, 7, 9, 3, np.nan], np.float32)}
    asked = Candidates(np.array([0, 3, 5]), np.array([2, 0, 1, 0, 1], np.int32), found)
    given = {"click": np.array([0.5, 0.2, 0.1, 0.3, 0.4], np.float32)}
    want = [1 / 61 + 2 / 63, 1 / 62 + 2 / 62, 1 / 63 + 2 / 61, 1 / 62 + 2 / 61, 1 / 61 + 2 / 62]
    np.testing.assert_allclose(value(asked, given), want, rtol=1e-6)
    filled = value_of(project("click + default(hot, -1)"), SHOP)
    np.testing.assert_allclose(filled(asked, given), [-0.5, 7.2, 9.1, 3.3, -0.6], rtol=1e-6)
    # a channel that failed has no column: it has recalled nothing
    failed = Candidates(asked.indptr, asked.item)
    np.testing.assert_allclose(filled(failed, given), given["click"] - 1, rtol=1e-6)


def test_a_prediction_takes_precedence_over_a_column_and_a_column_over_a_channel():
    assert value_of(project("rank(hot)"), items(hot=[1.0, 2.0])).columns.keys() == {"hot"}
    assert value_of(project("hot", hot={"behaviour": ["click"]}), SHOP).fusion.names == {"hot"}


def test_predictions_that_are_no_probabilities_have_their_own_range():
    watch = project("log(watch) + click", click={}, watch={"kind": "watch_time"})
    assert value_of(watch, SHOP).fusion.names == {"watch", "click"}
    stars = {"kind": "regression", "behaviour": ["watch"]}
    assert value_of(project("log(2 - stars)", stars=stars), SHOP).fusion.names == {"stars"}
