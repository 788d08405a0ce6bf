"""`tamis init` on logs whose times and ids are written in unusual ways."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from layouts import START, Case, Tables, check, date, log, pick, text

from tamis.data import read_dataset
from tamis.onboarding import guess_config
from tamis.schema import DataError, parse_config

IDS = {"user": "user_id", "item": "item_id"}
MONTHS = {
    "German": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "French": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "Spanish": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
}


def month(second: int) -> int:
    return int(date(second, "%m"))


def day(second: int) -> int:
    return int(date(second, "%d"))


def timed(write: Callable[[int], object], name: str = "time", days: int = 350) -> Tables:
    """A log with one column of times as `write` writes them."""
    rows = [(u, i, write(t)) for u, i, t in log(days=days)]
    return {"log.csv": text(f"user_id item_id {name}", rows, ";")}


def named(language: str, pattern: str) -> Callable[[int], str]:
    months = MONTHS[language].split()
    return lambda t: pattern.format(day(t), months[month(t) - 1], date(t, "%Y"))


def half(t: int, words: tuple[str, str], pattern: str) -> str:
    return date(t, pattern).replace("HALF", words[int(date(t, "%H")) >= 12])


EVIDENT: dict[str, tuple[Callable[[int], object], str]] = {
    "YYYYMM": (lambda t: date(t, "%Y%m"), "month"),
    "months": (lambda t: date(t, "%Y-%m"), "month"),
    "months by name": (lambda t: date(t, "%b %Y"), "period"),
    "weeks": (lambda t: date(t, "%G-W%V"), "week"),
    "quarters": (lambda t: f"{date(t, '%Y')}Q{(month(t) + 2) // 3}", "quarter"),
    "German months": (named("German", "{0}. {1} {2}"), "Datum"),
    "French months": (named("French", "{0} {1} {2}"), "date"),
    "Spanish months": (named("Spanish", "{0} de {1} de {2}"), "fecha"),
    "an era of Japan": (
        lambda t: f"令和{int(date(t, '%Y')) - 2018}年{month(t)}月{day(t)}日", "購入日",
    ),
    "Japanese clocks": (lambda t: date(t, "%Y年%m月%d日 %H時%M分"), "購入日時"),
    "Chinese halves of the day": (
        lambda t: half(t, ("上午", "下午"), "%Y/%m/%d HALF%I:%M:%S"), "时间",
    ),
    "Korean": (lambda t: half(t, ("오전", "오후"), "%Y년 %m월 %d일 HALF %I시 %M분"), "날짜"),
    "a word before the date": (lambda t: date(t, "Posted %B %d, %Y."), "posted"),
    "named zones": (lambda t: date(t, "%Y-%m-%d %H:%M:%S CET"), "time"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIDENT)
def test_times_that_tell_their_format_are_found(name: str, tmp_path: Path) -> None:
    write, column = EVIDENT[name]
    check(Case(lambda: timed(write, column), {**IDS, "time": column}, ["interaction"]), tmp_path)


UNITS: dict[str, tuple[Callable[[int], object], str, str, str]] = {
    "yymmddhh": (lambda t: date(t, "%y%m%d%H"), "hour", "read as YYMMDDHH", "2020-01-01"),
    "yymmdd": (lambda t: date(t, "%y%m%d"), "date", "read as YYMMDD", "2020-01-01"),
    "mmdd": (lambda t: int(date(t, "%m%d")), "time_stamp", "MMDD of one year", "2000-01-01"),
    "minutes": (lambda t: t // 60, "time", "minutes since 1970", "2020-01-01"),
    "hours": (lambda t: t // 3600, "ts", "hours since 1970", "2020-01-01"),
    "days": (lambda t: t // 86_400, "day", "days since 1970", "2020-01-01"),
    "weeks": (lambda t: (t - START) // 86_400, "week", "weeks since the start of", "1970-01-01"),
}


@pytest.mark.parametrize("unit", UNITS)
def test_units_of_numbers_are_written_down(unit: str, tmp_path: Path) -> None:
    write, column, note, start = UNITS[unit]
    case = Case(
        lambda: timed(write, column), {**IDS, "time": column, "time_unit": unit}, ["interaction"],
        notes=[note], used=pytest.approx(1.0, abs=0.05),  # type: ignore[arg-type]
    )  # fmt: skip
    check(case, tmp_path)
    guess = guess_config(tmp_path, "t")
    data, _ = read_dataset(parse_config(guess.data), tmp_path)
    first = pl.Series(data.events.time[:1]).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d")[0]
    assert first[:7] == start[:7]


CLOCKS: dict[str, tuple[str, Callable[[int], object], str]] = {
    "texts": ("time", lambda t: date(t, "%H:%M:%S"), ""),
    "AM and PM": ("clock", lambda t: date(t, "%I:%M %p"), ""),
    "HHMM": ("hourmin", lambda t: int(date(t, "%H%M")), "times of the day are read as HHMM"),
    "HHMMSS": ("time", lambda t: int(date(t, "%H%M%S")), "times of the day are read as HHMMSS"),
    "hours": ("hour", lambda t: int(date(t, "%H")), "times of the day are read as hours"),
    "shares of a day": ("time", lambda t: t % 86_400 / 86_400, "read as share of a day"),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_a_time_of_the_day_is_joined_to_the_date(name: str, tmp_path: Path) -> None:
    column, write, note = CLOCKS[name]
    rows = [(u, i, date(t, "%Y-%m-%d"), write(t)) for u, i, t in log()]
    case = Case(
        lambda: {"log.csv": text(f"user_id item_id date {column}", rows)},
        {**IDS, "time": "date", "time_of_day": column}, ["interaction"], notes=[note],
    )  # fmt: skip
    check(case, tmp_path)
    data, _ = read_dataset(parse_config(guess_config(tmp_path, "t").data), tmp_path)
    exact = {"hours": 3600, "HHMM": 60, "AM and PM": 60}.get(name, 1)
    assert data.events.time.tolist() == [t // exact * exact * 1000 for *_, t in log()]


def anonymous(value: str) -> Tables:
    rows = [(value if k % 3 == 0 else u + 1, i, t) for k, (u, i, t) in enumerate(log())]
    return {"log.csv": text("user_id item_id time", rows)}


def visitors(share: int) -> Tables:
    """Rows of sessions, of which `share` of 10 have no user."""
    rows = [(u * 50 + t // 86_400 % 50, "" if k % 10 < share else 100 + u, i, t)
            for k, (u, i, t) in enumerate(log(users=60))]  # fmt: skip
    return {"views.csv": text("session_id user_id item_id time", rows)}


def guests() -> Tables:
    rows = [(f"k{u}", "guest" if k % 2 else f"u{u}", i, t) for k, (u, i, t) in enumerate(log())]
    return {"log.csv": text("device_id user_id item_id time", rows)}


def avazu() -> Tables:
    rows = [(10_000_169_349_117_863_715 + k * 977, int(k % 6 == 0), date(t, "%y%m%d%H"), 1005,
             k % 2, f"{i * 7919 % 65_521:08x}", "28905ebd", "ecad2386",
             f"{u * 104_729 % 65_521:08x}", 1)
            for k, (u, i, t) in enumerate(log(users=60, items=40, days=10))]  # fmt: skip
    head = "id click hour C1 banner_pos site_id site_category app_id device_id device_type"
    return {"train.csv": text(head, rows)}


def criteo_attribution() -> Tables:
    rows = [(t - START, 20_073_966 + u, 22_589_171 + i * 77, int(k % 30 == 0),
             k if k % 30 == 0 else -1, int(k % 3 == 0), -1)
            for k, (u, i, t) in enumerate(log(users=60, items=40, days=30))]  # fmt: skip
    head = "timestamp uid campaign conversion conversion_id click click_pos"
    return {"attribution.tsv": text(head, rows, "\t")}


def movielens_1m() -> Tables:
    rows = [(u + 1, i + 1, 1 + k % 5, t) for k, (u, i, t) in enumerate(log(by_user=True))]
    users = [(u + 1, "F", 1 + u % 7, 10, "48067") for u in range(30)]
    return {"ratings.dat": text("", rows, "::"), "users.dat": text("", users, "::")}


def last_fm_360k() -> Tables:
    pairs = sorted({(u, i) for u, i, _ in log()})
    rows = [(f"{u * 7919:040x}", f"{i:08x}-5b1e", f"Artist {i}", 100 + u * i) for u, i in pairs]
    users = [(f"{u * 7919:040x}", "mf"[u % 2], 20 + u, "Peru", f"Feb {1 + u % 28}, 2007")
             for u in range(30)]  # fmt: skip
    return {"plays.tsv": text("", rows, "\t"), "usersha1-profile.tsv": text("", users, "\t")}


def tenrec() -> Tables:
    rows = [(u, i, 1, int(k % 90 == 0), int(k % 20 == 0), k % 4)
            for k, (u, i, _) in enumerate(log(items=60, by_user=True))]  # fmt: skip
    return {"QB-video.csv": text("user_id item_id click follow like watching_times", rows)}


def goodreads() -> Tables:
    form = "%a %b %d %H:%M:%S -0700 %Y"
    rows = [(f"{u:08x}", 900 + i, k % 6 if k % 3 else 0, date(t, form), date(t + 9_000_000, form),
             "" if k % 2 else date(t + 99_999, form))
            for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"log.csv": text("user_id book_id rating date_added date_updated read_at", rows)}


def shipped() -> Tables:
    rows = [(u, i, date(t, "%m/%d/%Y"), date(t + 200_000, "%m/%d/%Y")) for u, i, t in log()]
    return {"orders.csv": text("customer_id product_id order_date ship_date", rows)}


def one_time() -> Tables:
    return {
        "log.csv": text("user_id item_id time", [(u, i, START) for u, i, _ in log(by_user=True)])
    }


def phones() -> Tables:
    rows = [(f"+49 170 {u:07}", f"Pizza {i}", date(t, "%d.%m.%y %H:%M")) for u, i, t in log()]
    return {"log.csv": text("phone restaurant ordered", rows, ";")}


def client_ids() -> Tables:
    rows = [(t * 1_000_000, pick(k, ("view_item", 85), ("purchase", 15)), f"{1000 + u}.5{u % 7}",
             f"S{i}") for k, (u, i, t) in enumerate(log())]  # fmt: skip
    return {"ga.csv": text("event_timestamp event_name user_pseudo_id item_id", rows)}


CASES = {
    "users of -1": Case(
        lambda: anonymous("-1"), {**IDS, "time": "time", "anonymous": ["-1"]}, ["interaction"],
        used=0.67, notes=['`user_id` is "-1" in 33% of the rows: taken for unknown users'],
    ),
    "users of 0": Case(
        lambda: anonymous("0"), {**IDS, "time": "time", "anonymous": ["0"]}, ["interaction"],
        used=0.67, notes=["the user is anonymous 122"],
    ),
    "sessions, and few users": Case(
        lambda: visitors(7),
        {**IDS, "time": "time", "visitor": "session_id", "request": "session_id"}, ["interaction"],
    ),
    "sessions without any user": Case(
        lambda: visitors(10), {"user": "session_id", "item": "item_id", "time": "time"},
        ["interaction"], notes=["not used: `user_id`"],
    ),
    "guests with a cookie": Case(
        guests, {**IDS, "time": "time", "anonymous": ["guest"], "visitor": "device_id"},
        ["interaction"], notes=["`device_id` stands for the user there"],
    ),
    "avazu": Case(
        avazu, {"user": "device_id", "item": "site_id", "time": "hour", "time_unit": "yymmddhh"},
        ["click"], ["impression!"], notes=["`id`, `C1`"],
    ),
    "criteo attribution": Case(
        criteo_attribution,
        {"user": "uid", "item": "campaign", "time": "timestamp", "time_unit": "s",
         "request": "conversion_id"},
        ["conversion", "click"], ["impression!"],
    ),
    "movielens-1m, no headers, users with the numbers of items": Case(
        movielens_1m,
        {"user": "column_1", "item": "column_2", "time": "column_4", "value": "column_3"},
        ["like"], ["rate"], users="users.dat column_1",
    ),
    "last.fm 360k, no headers, no times": Case(
        last_fm_360k, {"user": "column_1", "item": "column_2", "untimed": "random"},
        ["interaction"], users="usersha1-profile.tsv column_1",
        notes=["it could be `column_3`", "no column of times"],
    ),
    "tenrec, a log of clicks": Case(
        tenrec, {**IDS, "untimed": "random"}, ["click", "follow", "like"],
        notes=["`click` is true in all rows: each row is a `click`"],
    ),
    "goodreads, several times": Case(
        goodreads,
        {"user": "user_id", "item": "book_id", "time": "date_added", "value": "rating"},
        ["like"], ["rate", "unrated"], notes=["`date_updated`, `read_at`"],
    ),
    "orders and their shipping": Case(
        shipped, {"user": "customer_id", "item": "product_id", "time": "order_date"},
        ["interaction"], notes=["not used: `ship_date`"],
    ),
    "one time in all rows": Case(
        one_time, {**IDS, "untimed": "random"}, ["interaction"],
        notes=['column `time` holds one time in all rows, "1577836800"', "no column of times"],
    ),
    "numbers of telephones": Case(
        phones, {"user": "phone", "item": "restaurant", "time": "ordered"}, ["interaction"],
    ),
    "ids with a dot": Case(
        client_ids,
        {"user": "user_pseudo_id", "item": "item_id", "time": "event_timestamp",
         "behaviour": "event_name"},
        ["view_item", "purchase"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_ids_and_times_are_found(name: str, tmp_path: Path) -> None:
    check(CASES[name], tmp_path)


def test_a_visitor_has_an_id_of_his_own(tmp_path: Path) -> None:
    rows: Sequence[Sequence[Any]] = [(7, 7, "a", 1), (7, None, "b", 2), (8, "guest", "c", 3)]
    (tmp_path / "log.csv").write_text(text("session user_id item_id time", rows))
    declared = {"path": "log.csv", "visitor": "session", "anonymous": ["guest"]}
    data, report = read_dataset(parse_config(_project(declared)), tmp_path)
    assert data.users.ids.to_list() == ["7", "session:7", "session:8"]
    assert len(report) == 0


def test_a_bad_time_of_the_day_leaves_the_date(tmp_path: Path) -> None:
    rows = [("u", "a", "2024-01-05", "13:05"), ("u", "b", "2024-01-06", "late"),
            ("u", "c", "2024-01-07", "")]  # fmt: skip
    (tmp_path / "log.csv").write_text(text("user_id item_id time clock", rows))
    declared = {"path": "log.csv", "time_of_day": "clock"}
    data, report = read_dataset(parse_config(_project(declared)), tmp_path)
    times = pl.Series(data.events.time).cast(pl.Datetime("ms")).dt.strftime("%m-%d %H:%M")
    assert times.to_list() == ["01-05 13:05", "01-06 00:00", "01-07 00:00"]
    assert report.frame.select("row", "reason", "value", "action").rows() == [
        (3, "not a time of the day: the date alone is taken", "late", "value left empty")
    ]


def _project(events: dict[str, Any]) -> dict[str, Any]:
    cascade = {"channels": {"hot": {}}, "rank": {"use": "lr"}}
    behaviours = {"act": {"positive": True}}
    return {"name": "t", "events": events, "behaviours": behaviours, "cascade": cascade}


def test_parts_of_dates_are_explained(tmp_path: Path) -> None:
    rows = [(u, i, date(t, "%Y"), month(t), day(t)) for u, i, t in log()]
    (tmp_path / "log.csv").write_text(text("user_id item_id year month day", rows))
    with pytest.raises(DataError, match="`year`, `month`, `day` hold parts of dates: to use them"):
        guess_config(tmp_path, "t")
