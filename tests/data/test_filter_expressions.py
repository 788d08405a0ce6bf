"""Conditions equal their evaluation row by row in Python, and faults name the place."""

import math
import operator

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import ExpressionError, FilterExpression, readable

NUMBERS = ("price", "stock", "user.budget", "request.limit")
TEXTS = ("brand", "`home city`", "user.city", "request.city")
FLAGS = ("sale", "user.member")
TEXT_LISTS = ("genres", "user.likes", "request.regions")
NUMBER_LISTS = ("sizes", "request.widths")
WORDS = ("FR", "be", 'a "b"', "")
SEVERAL = ("a", "be", "FR")


def key_of(name):
    scope, _, rest = name.rpartition(".")
    return scope or "item", rest.strip("`")


number = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.5, math.nan, 2.0]))
text = st.one_of(st.none(), st.sampled_from(WORDS))
few = st.one_of(st.none(), st.lists(st.sampled_from(SEVERAL), max_size=3))
several = st.one_of(st.none(), st.lists(st.sampled_from([-1.0, 0.5, 2.0]), max_size=3))
row = st.fixed_dictionaries(
    {
        **dict.fromkeys(NUMBERS, number),
        **dict.fromkeys(TEXTS, text),
        **dict.fromkeys(FLAGS, st.one_of(st.none(), st.booleans())),
        **dict.fromkeys(TEXT_LISTS, few),
        **dict.fromkeys(NUMBER_LISTS, several),
    }
)
TYPES = {
    **dict.fromkeys(NUMBERS, pl.Float64),
    **dict.fromkeys(TEXTS, pl.String),
    **dict.fromkeys(FLAGS, pl.Boolean),
    **dict.fromkeys(TEXT_LISTS, pl.List(pl.String)),
    **dict.fromkeys(NUMBER_LISTS, pl.List(pl.Float64)),
}
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def column(names):
    """(text, value of a row) of one of the columns; NaN is missing."""
    return st.sampled_from(names).map(
        lambda name: (
            name,
            lambda r: None if isinstance(r[name], float) and math.isnan(r[name]) else r[name],
        )
    )


def quoted(word):
    escaped = word.replace('"', '\\"')
    return f'"{escaped}"', lambda r: word


def arithmetic(parts):
    left, op, right = parts
    run = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divided}[op]

    def value(r):
        a, b = left[1](r), right[1](r)
        return None if a is None or b is None else run(float(a), float(b))

    return f"({left[0]} {op} {right[0]})", value


def _divided(a, b):
    if b:
        return a / b
    sign = math.copysign(1, b)
    return None if a == 0 else math.copysign(math.inf, a * sign)


constant = st.sampled_from([0, 1, 2.5, -2]).map(lambda v: (f"{v:g}", lambda r: v))
numbers = st.recursive(
    st.one_of(column(NUMBERS), constant),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(arithmetic),
    max_leaves=4,
)
texts = st.one_of(
    column(TEXTS),
    st.sampled_from(WORDS).map(quoted),
    column(TEXTS).map(
        lambda c: (f"lower({c[0]})", lambda r: None if c[1](r) is None else c[1](r).lower())
    ),
)
listed_texts = st.lists(st.sampled_from(WORDS), max_size=3).map(
    lambda words: ("[" + ", ".join(quoted(w)[0] for w in words) + "]", lambda r: words)
)
listed_numbers = st.lists(st.sampled_from([-1, 0.5, 2]), max_size=3).map(
    lambda values: ("[" + ", ".join(f"{v:g}" for v in values) + "]", lambda r: values)
)


def compared(parts):
    left, op, right = parts

    def met(r):
        a, b = left[1](r), right[1](r)
        return a is not None and b is not None and COMPARE[op](a, b)

    return f"{left[0]} {op} {right[0]}", met


def inside(parts):
    element, negative, turned, among = parts

    def met(r):
        x, values = element[1](r), among[1](r)
        if x is None or values is None:
            return False
        found = any(v in values for v in x) if isinstance(x, list) else x in values
        return found != negative

    word = ("not " if negative else "") + ("contains" if turned else "in")
    ends = (among[0], element[0]) if turned else (element[0], among[0])
    return f"{ends[0]} {word} {ends[1]}", met


orders = st.sampled_from(list(COMPARE))
two = st.booleans()
conditions = st.recursive(
    st.one_of(
        st.tuples(numbers, orders, numbers).map(compared),
        st.tuples(texts, orders, texts).map(compared),
        st.tuples(column(FLAGS), st.sampled_from(["==", "!="]), column(FLAGS)).map(compared),
        st.tuples(texts, two, two, st.one_of(column(TEXT_LISTS), listed_texts)).map(inside),
        st.tuples(column(TEXT_LISTS), two, two, column(TEXT_LISTS)).map(inside),
        st.tuples(column(TEXT_LISTS), two, st.just(False), listed_texts).map(inside),
        st.tuples(numbers, two, two, st.one_of(column(NUMBER_LISTS), listed_numbers)).map(inside),
        column(FLAGS).map(lambda c: (c[0], lambda r: bool(c[1](r)))),
        column(NUMBERS + TEXTS + TEXT_LISTS).map(
            lambda c: (f"missing({c[0]})", lambda r: c[1](r) is None)
        ),
        st.tuples(numbers, orders, numbers, orders, numbers).map(
            lambda p: (
                f"{p[0][0]} {p[1]} {p[2][0]} {p[3]} {p[4][0]}",
                lambda r: compared(p[:3])[1](r) and compared(p[2:])[1](r),
            )
        ),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) and ({p[1][0]})", lambda r: p[0][1](r) and p[1][1](r))
        ),
        st.tuples(inner, inner).map(
            lambda p: (f"({p[0][0]}) or ({p[1][0]})", lambda r: p[0][1](r) or p[1][1](r))
        ),
        inner.map(lambda p: (f"not ({p[0]})", lambda r: not p[1](r))),
    ),
    max_leaves=5,
)


def columns_of(rows):
    return {
        key_of(name): readable(
            pl.Series([r[name] for r in rows], dtype=kind, strict=False), separator=None
        )
        for name, kind in TYPES.items()
    }


@settings(max_examples=250, deadline=None)
@given(conditions, st.lists(row, min_size=1, max_size=8))
def test_equals_the_evaluation_of_each_row(condition, rows):
    written, expected = condition
    found = FilterExpression.parse(written).holds(columns_of(rows), len(rows))
    assert found.tolist() == [expected(r) for r in rows], written


def met(condition, **columns):
    """Where a condition on item columns holds."""
    series = {("item", name): readable(pl.Series(v), None) for name, v in columns.items()}
    n = len(next(iter(columns.values())))
    return FilterExpression.parse(condition).holds(series, n).tolist()


def test_a_comparison_with_a_missing_value_is_false_and_not_turns_it_around():
    price = [1.0, None, 9.0]
    assert met("price < 5", price=price) == [True, False, False]
    assert met("price != 1", price=price) == [False, False, True]
    assert met("price not in [1]", price=price) == [False, False, True]
    assert met("not (price < 5)", price=price) == [False, True, True]
    assert met("missing(price) or price < 5", price=price) == [True, True, False]


def test_and_binds_stronger_than_or_and_not_stronger_than_and():
    columns = {"a": [True, True, False], "b": [False, True, False], "c": [True, False, False]}
    assert met("a or b and c", **columns) == [True, True, False]
    assert met("not a or b", **columns) == [False, True, True]
    assert met("not a and not b or c", **columns) == [True, False, True]


def test_whole_numbers_of_any_size_are_compared_exactly():
    big = 2**53 + 1
    assert met("a == b", a=[big, big], b=[big, big - 1]) == [True, False]


def test_times_and_texts_of_several_values_are_readable():
    times = pl.Series(["2024-01-02T00:00:00"]).str.to_datetime()
    assert readable(times, None).to_list() == [1_704_153_600_000]
    assert readable(pl.Series(["a| b|", None, ""]), "|").to_list() == [["a", "b"], None, []]
    with pytest.raises(ValueError, match="cannot read a column of type Struct"):
        readable(pl.Series([{"x": 1}]), None)


@pytest.mark.parametrize(
    ("condition", "position", "message"),
    [
        ("price <", 8, "it ends where a column, a value or a bracket is expected"),
        ("price = 3", 7, "'=' is no comparison; write =="),
        ("price < 3 & stock", 11, "'&' is not allowed"),
        ("price 3", 7, "'3' stands where an operator is expected"),
        ("price + 1", 7, "the result is a number, not a condition; compare it"),
        ('"a" in [1, 2]', 5, '"a" is a text and the list a list of numbers'),
        ("brand in [a]", 11, "a list holds numbers or texts between quotation marks"),
        ('brand in [1, "a"]', 10, "the list holds values of several types"),
        ("upper(brand) == 3", 1, r"no function `upper`; there are missing\(column\) and lower"),
        ("missing(1)", 1, r"missing takes one column, as in missing\(price\)"),
        ("(missing(price)) + 1", 2, "missing is a condition of its own"),
        ("request. == 3", 10, "'==' stands where a name after `request.` is expected"),
        ("(price < 3", 11, "it ends where a closing bracket is expected"),
        ("not " * 101 + "a", 401, "nested deeper than 100 levels"),
        ("a" * 2001, 2001, "longer than 2000 characters"),
        ("", 1, "it ends where a column, a value or a bracket is expected"),
        ("__import__('os')", 1, "there is no function `__import__`"),
        ("a.b == 1", 2, "'.' stands where an operator is expected"),
    ],
)
def test_faults_of_the_text_name_the_place(condition, position, message):
    with pytest.raises(ExpressionError, match=message) as fault:
        FilterExpression.parse(condition)
    assert fault.value.column == position


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("price == 'x'", r"`price` is a number and \"x\" a text: `==` cannot compare them"),
        ("brand < 3", "`brand` is a text and 3 a number: `<` cannot compare"),
        ("genres == 'x'", "a list of texts and .* `==` cannot compare them; use `contains`"),
        ("'x' in brand", "`brand` is a text, and `in` looks into a list; .* their separator"),
        ("sale < sale", "true and false have no order for <"),
        ("price", "`price` is a number, not a condition; compare it"),
        ("brand + 1 > 2", "`brand` is a text; arithmetic needs numbers"),
        ("lower(price) == 'x'", "lower needs a text, and `price` is a number"),
        ("price in genres", "`price` is a number and `genres` a list of texts"),
    ],
)
def test_types_that_do_not_go_together_are_refused(condition, message):
    columns = {"price": [1], "brand": ["x"], "genres": [["x"]], "sale": [True]}
    series = {("item", name): pl.Series(v) for name, v in columns.items()}
    with pytest.raises(ExpressionError, match=message):
        FilterExpression.parse(condition).holds(series, 1)


def test_unknown_names_are_refused_with_the_nearest_one():
    known = {"item": ["price", "brand"], "user": ["budget"]}
    check = FilterExpression.parse("price < user.budget and request.any").check_names
    check(known)
    with pytest.raises(ExpressionError, match="`prise` is no column of the items"):
        FilterExpression.parse("prise < 3").check_names(known)
    with pytest.raises(ExpressionError, match=r"`user.bugdet` is no column of the users.*budget"):
        FilterExpression.parse("price < user.bugdet").check_names(known)
    with pytest.raises(ExpressionError, match='A text stands between quotation marks: "Drama"'):
        FilterExpression.parse("brand == Drama").check_names(known)


def test_names_come_once_and_in_order():
    found = FilterExpression.parse("b < a and `b` < user.b or a in request.x")
    assert found.keys == (("item", "b"), ("item", "a"), ("user", "b"), ("request", "x"))
    assert found.searched == {("request", "x")}
    assert np.array_equal(FilterExpression.parse("1 < 2").holds({}, 2), [True, True])
