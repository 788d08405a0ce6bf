"""Numbers from texts: decimal commas, thousands separators, currencies, percent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.booleans import truth_values
from tamis.data.missing import cleaned
from tamis.data.notes import Note
from tamis.data.text_form import PLAIN, Mark, TextForm

_CODES = (
    "USD|EUR|GBP|CNY|RMB|JPY|INR|RUB|BRL|CHF|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|TRY|MXN|KRW|HKD|"
    "SGD|TWD|THB|IDR|VND|ZAR|ILS|AED|SAR|EGP|UAH|RON"
)
_SIGNS = r"US\$|C\$|A\$|R\$|HK\$|NT\$|S\$|kr\.?|Kr\.?|zł|Kč|Rs\.?|元|円|원|руб\.?|\p{Sc}"
_CURRENCY = rf"(?:{_SIGNS}|{_CODES})"
_BLANKS = " \u00a0\u202f\u2009\t"
_GAP = f"[{_BLANKS}]*"
_NUMBER = (
    rf"^(?P<open>\()?{_GAP}(?P<sign>[-+−])?{_GAP}(?P<before>{_CURRENCY})?{_GAP}(?P<inner>[-+−])?"
    rf"{_GAP}(?P<digits>[.,]?\d[\d.,'’{_BLANKS}]*)(?P<unit>%|％|{_CURRENCY})?{_GAP}(?P<close>\))?$"
)
_BETWEEN = f"[{_BLANKS}'’]"
_WHOLE = rf"^\d+$|^\d{{1,3}}(?:{_BETWEEN}\d{{3}})+$"
_DOT = (  # one reading, with a dot as the decimal mark
    r"^\d{1,3}(?:,\d{3})+\.\d*$|^\d{1,2}(?:,\d{2})*,\d{3}\.\d*$"  # 1,234.5 and 12,34,567.5
    r"|^\d{1,3}(?:,\d{3}){2,}$|^\d{1,2}(?:,\d{2})+,\d{3}$"  # 1,234,567 and 12,34,567
    r"|^0*\.\d+$|^\d+\.$|^\d*\.\d{1,2}$|^\d*\.\d{4,}$|^0+\.\d{3}$|^\d{4,}\.\d{3}$"
    rf"|^\d{{1,3}}(?:{_BETWEEN}\d{{3}})+\.\d*$"  # 1 234.5
)
_COMMA = (
    r"^\d{1,3}(?:\.\d{3})+,\d*$"  # 1.234,5
    r"|^\d{1,3}(?:\.\d{3}){2,}$"  # 1.234.567
    r"|^0*,\d+$|^\d+,$|^\d*,\d{1,2}$|^\d*,\d{4,}$|^0+,\d{3}$|^\d{4,},\d{3}$"
    rf"|^\d{{1,3}}(?:{_BETWEEN}\d{{3}})+,\d*$"  # 1 234,5
)
_OPEN_COMMA = r"^[1-9]\d{0,2},\d{3}$"
"""`1,234`: a thousand, or a number between one and two."""
_OPEN_DOT = r"^[1-9]\d{0,2}\.\d{3}$"
_SCIENTIFIC = r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"
_FULL_WIDTH = dict(zip("０１２３４５６７８９．，－＋", "0123456789.,-+", strict=True))
SAMPLE = 1000
"""Values of a column at which its kind and the decimal mark of a table are looked up."""


@dataclass
class Numbers:
    """A column read as numbers."""

    values: pl.Series
    """(n,) Float64; null where missing or bad."""
    bad: NDArray[np.bool_]
    """(n,) a value that is not a number, or an infinite one."""
    markers: dict[str, int] = field(default_factory=dict[str, int])
    """Texts that were read as missing, and how often."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the texts were read, where it is not evident."""
    fractions: bool = False
    """Whether texts were written with a decimal mark, or as percent."""


def is_number(dtype: pl.DataType) -> bool:
    """Whether a column of this type holds numbers: integers, floats, decimals; not booleans."""
    return dtype.is_numeric()


def number_array(column: pl.Series) -> NDArray[np.float64]:
    """(n,) float64 of a column of numbers or booleans; NaN where missing.

    Raises TypeError for another type; `is_number` asks first.
    """
    if not (is_number(column.dtype) or column.dtype == pl.Boolean):
        raise TypeError(f"column {column.name!r} holds {column.dtype}, not numbers")
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64, copy=False)


def read_numbers(column: pl.Series, form: TextForm = PLAIN) -> Numbers:
    """Reads a column (n,) that should hold numbers, of any type.

    Texts may have a decimal comma (`1,5`), thousands separators (`1,234.50`, `1.234,50`, `1 234`,
    `1'234`), a currency (`$5`, `5 EUR`), a percent sign (`12 %` is 0.12) or brackets (`(5)` is -5).
    Booleans are 1 and 0, and so are their texts (`true`, `no`) where no other number occurs.

    `1,234` and `1.234` have two readings. They follow the declared decimal mark, else the other
    values of the column, else the other columns, else the separator of the file: with `;` a comma
    is the decimal mark. If the column holds other values of both kinds, they are bad.
    """
    dtype = column.dtype
    if is_number(dtype) or dtype == pl.Boolean or dtype == pl.Null:
        return _typed(column.cast(pl.Float64))
    if isinstance(dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif dtype != pl.String:
        nothing = pl.Series(column.name, [None] * len(column), pl.Float64)
        return Numbers(nothing, column.is_not_null().to_numpy())
    cast = column.cast(pl.Float64, strict=False)
    clean = cast.null_count() == column.null_count()
    mark = form.decimal or form.usual
    unsure = mark == "," or (mark is None and form.separator == ";")
    if clean and not (unsure and _open_dots(column)):
        return _typed(cast)
    return _from_text(column, form)


def number_shaped(texts: pl.Series) -> pl.Series:
    """(n,) whether texts look like numbers that `read_numbers` reads."""
    return texts.str.contains(_NUMBER) | texts.str.contains(_SCIENTIFIC)


def decimal_mark(frame: pl.DataFrame) -> Mark | None:
    """The decimal mark that the text columns of a table show, None if none or both.

    Only values with one reading count (`1,5`, `1.234,50`, `0.25`), of the first `SAMPLE` distinct
    ones of each column in which nearly all values are numbers.
    """
    seen: set[Mark] = set()
    for column in frame:
        if column.dtype != pl.String:
            continue
        digits = _parts(cleaned(column.drop_nulls().head(SAMPLE)).values.drop_nulls())["digits"]
        if not len(digits) or digits.null_count() > 0.1 * len(digits):
            continue
        if digits.str.contains(_DOT).any():
            seen.add(".")
        if digits.str.contains(_COMMA).any():
            seen.add(",")
    return seen.pop() if len(seen) == 1 else None


def _typed(column: pl.Series) -> Numbers:
    infinite = column.is_infinite().fill_null(False)
    values = column.fill_nan(None)
    if infinite.any():
        values = values.to_frame().select(pl.when(~infinite).then(pl.first())).to_series()
    return Numbers(values, infinite.to_numpy())


def _open_dots(column: pl.Series) -> bool:
    """Whether there are dots, and all of them may separate thousands."""
    dotted = column.drop_nulls().unique()
    dotted = dotted.filter(dotted.str.contains(".", literal=True))
    return len(dotted) > 0 and bool(dotted.str.strip_chars("-+ ").str.contains(_OPEN_DOT).all())


def _from_text(column: pl.Series, form: TextForm) -> Numbers:
    clean = cleaned(column, form.missing)
    unique = clean.values.drop_nulls().unique(maintain_order=True)
    found = Numbers(clean.values, np.zeros(len(column), np.bool_), clean.markers)
    parts = _parts(unique)
    amount = _amounts(parts["digits"], form, found)
    frame = parts.with_columns(text=unique, amount=amount)
    minus = pl.any_horizontal(pl.col("sign", "inner").is_in(["-", "−"]).fill_null(False))
    bracket, close = pl.col("open").is_not_null(), pl.col("close").is_not_null()
    sign = pl.when(minus | bracket).then(-1.0).otherwise(1.0)
    percent = pl.col("unit").is_in(["%", "％"]).fill_null(False)
    amount = pl.col("amount") * sign / pl.when(percent).then(100.0).otherwise(1.0)
    frame = frame.with_columns(amount=pl.when((bracket == close) & ~(bracket & minus)).then(amount))
    scientific = pl.when(pl.col("text").str.contains(_SCIENTIFIC)).then(
        pl.col("text").cast(pl.Float64, strict=False)
    )
    frame = frame.with_columns(amount=pl.coalesce("amount", scientific))
    if frame["amount"].drop_nulls().is_in([0.0, 1.0]).all():  # else `n` is rather a missing number
        truth = truth_values(frame["text"].filter(frame["amount"].is_null()))
        values = pl.col("text").str.to_lowercase().replace_strict(truth, default=None)
        frame = frame.with_columns(amount=pl.coalesce("amount", values.cast(pl.Float64)))
    finite = pl.when(pl.col("amount").is_finite()).then(pl.col("amount"))
    table = frame.select("text", finite.alias("amount"))
    _note_units(frame, found)
    joined = pl.DataFrame({"text": clean.values}).join(
        table, on="text", how="left", maintain_order="left"
    )
    found.values = joined["amount"].alias(column.name)
    found.bad = (found.values.is_null() & clean.values.is_not_null()).to_numpy()
    return found


def _parts(texts: pl.Series) -> pl.DataFrame:
    """(n) rows of the parts of numbers: sign, digits with their marks, currency, percent."""
    plain = texts
    if texts.str.contains("[０-９]").any():
        plain = texts.str.replace_many(list(_FULL_WIDTH), list(_FULL_WIDTH.values()))
    parts = plain.str.extract_groups(_NUMBER).struct.unnest()
    return parts.with_columns(pl.col("digits").str.strip_chars(_BLANKS))


def _amounts(digits: pl.Series, form: TextForm, found: Numbers) -> pl.Series:
    """(n,) Float64 of texts of digits with their marks; null for those that are no number."""

    def matches(pattern: str) -> pl.Series:
        return digits.str.contains(pattern).fill_null(False)

    dot, comma, open_dot, open_comma = map(matches, (_DOT, _COMMA, _OPEN_DOT, _OPEN_COMMA))
    either = open_dot | open_comma
    if either.any():
        by_comma = _decide(digits, dot, comma, open_dot, open_comma, form, found)
        if by_comma is not None:
            comma, dot = comma | (either & by_comma), dot | (either & ~by_comma)
    with_comma = digits.str.contains(",", literal=True)
    with_dot = digits.str.contains(".", literal=True)
    found.fractions = bool(((comma & with_comma) | (dot & with_dot)).any())
    if (comma & with_comma).any():
        found.notes.append(Note("numbers have a decimal comma"))
    if (comma & ~with_comma).any():
        found.notes.append(Note("numbers have dots between thousands"))
    if (dot & with_comma).any():
        found.notes.append(Note("numbers have commas between thousands"))
    bare = pl.col("d").str.replace_all(f"[{_BLANKS}'’]", "")
    number = (
        pl.when("comma")
        .then(bare.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True))
        .otherwise(bare.str.replace_all(",", "", literal=True))
        .cast(pl.Float64, strict=False)
    )
    frame = pl.DataFrame({"d": digits, "comma": comma, "known": dot | comma | matches(_WHOLE)})
    return frame.select(pl.when("known").then(number)).to_series()


def _decide(
    digits: pl.Series,
    dot: pl.Series,
    comma: pl.Series,
    open_dot: pl.Series,
    open_comma: pl.Series,
    form: TextForm,
    found: Numbers,
) -> pl.Series | None:
    """(n,) whether the comma is the decimal mark of each open value; None: it cannot be said."""
    some_dot, some_comma = bool(dot.any()), bool(comma.any())
    if form.decimal is None and some_dot and some_comma:
        example = digits.filter(open_dot | open_comma)[0]
        found.notes.append(
            Note(
                f'"{example}" has two readings, and the other values have decimal commas and dots: '
                "such values are left empty",
                "Write the numbers of the column in one way.",
                doubtful=True,
            )
        )
        return None
    shown: Mark | None = "," if some_comma else "." if some_dot else form.usual
    mark = form.decimal or shown
    if mark is None:
        if open_dot.any() and open_comma.any():
            found.notes.append(
                Note(
                    f'"{digits.filter(open_comma)[0]}" and "{digits.filter(open_dot)[0]}" have two '
                    "readings: such values are left empty",
                    'Set `decimal` of the table to "." or ",".',
                    doubtful=True,
                )
            )
            return None
        mark = "," if open_comma.any() and form.separator == ";" else "."
        example = str(digits.filter(open_dot | open_comma)[0])
        other: Mark = "." if mark == "," else ","
        plain = example.replace(other, "").replace(",", ".")
        found.notes.append(
            Note(
                f'"{example}" is read as {plain}',
                f'If that is wrong, set `decimal = "{other}"` for the table.',
                doubtful=True,
            )
        )
    return pl.Series([mark == ","] * len(digits), dtype=pl.Boolean)


def _note_units(frame: pl.DataFrame, found: Numbers) -> None:
    units = pl.concat([frame["before"], frame["unit"]]).drop_nulls().replace({"￥": "¥"})
    percent = units.is_in(["%", "％"])
    signs = sorted(units.filter(~percent).unique().to_list())
    if len(signs) > 1:
        found.notes.append(
            Note(
                f"amounts are in several currencies ({', '.join(signs[:5])}) and not converted",
                "Convert them to one currency where the table is written.",
                doubtful=True,
            )
        )
    elif signs:
        found.notes.append(Note(f"the currency {signs[0]} is left out"))
    if percent.any():
        found.fractions = True
        found.notes.append(Note("12 % is read as 0.12"))
        plain = frame["amount"].is_not_null() & frame["unit"].is_null()
        if plain.any():
            found.notes.append(
                Note(
                    "some values have a percent sign and others none",
                    "Write all of them as percent, or none.",
                    doubtful=True,
                )
            )
    if frame["open"].is_not_null().any():
        found.notes.append(Note("numbers in brackets are read as negative"))
