"""Small tables of real-world oddity, each with its right reading: values, rows used, reports.

Every case names the tables, what differs from the usual declaration, and the whole outcome: the
events, the columns of items and users, the report of rejected rows and values, and the notes. A
case fails if anything is read otherwise, or reported or not reported otherwise.
"""

import datetime as dt
import decimal
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, read_dataset
from tamis.schema import ConfigError, DataError, parse_config

NOW = 1_735_689_600_000  # 2025-01-01
ITEMS = "item_id,title\na,Alpha\nb,Beta\n"
LOG = "user_id,item_id,time\nu,a,2024-01-05\n"
"""One event, for cases about the other tables."""
ONE = [("u", "a", "2024-01-05")]
Content = str | bytes | pl.DataFrame
Event = tuple[str, str, str] | tuple[str, str, str, float | None]


@dataclass(frozen=True)
class Case:
    """A project and its right reading."""

    log: Content = LOG
    items: Content | None = ITEMS
    users: Content | None = None
    files: tuple[str, str, str] = ("log.csv", "items.csv", "users.csv")
    declare: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What differs from the declaration in `declaration`, by section."""
    events: Sequence[Event] = tuple(ONE)
    """(user, item, time, value if the log has values) of the events, in their order."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, Any])
    """Columns of the items, by name; `item_id` are the ids. Those of users as `users.NAME`."""
    rejects: Sequence[tuple[int, str, str | None]] = ()
    """Row, reason and value of what is rejected, of all files."""
    notes: Sequence[str] = ()
    """A part of the text of each note, in their order; a warning begins with `!`."""
    error: str = ""
    """A part of the message, where the tables are refused; all of it is shown if it fails."""


def declaration(case: Case) -> dict[str, Any]:
    log, items, users = case.files
    data: dict[str, Any] = {
        "name": "t",
        "events": {"path": log},
        "behaviours": {"act": {"positive": True}},
        "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
    }
    if case.items is not None:
        data["items"] = {"path": items, "id": "item_id"}
    if case.users is not None:
        data["users"] = {"path": users, "id": "user_id"}
    for section, entry in case.declare.items():
        merged = isinstance(entry, dict) and section not in ("behaviours",)
        data[section] = {**data.get(section, {}), **entry} if merged else entry
    return data


def write(case: Case, folder: Path) -> None:
    for file, content in zip(case.files, (case.log, case.items, case.users), strict=True):
        if isinstance(content, pl.DataFrame):
            content.write_parquet(folder / file)
        elif content is not None:
            data = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(data)


def events_of(data: Dataset) -> list[tuple[Any, ...]]:
    e, valued = data.events, not bool(np.isnan(data.events.value).all())
    rows: list[tuple[Any, ...]] = []
    for k in range(len(e)):
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int(e.time[k]))
        text = str(moment).removesuffix(" 00:00:00")
        row = (data.users.ids[int(e.user[k])], data.items.ids[int(e.item[k])], text)
        value = float(e.value[k])
        rows.append((*row, None if np.isnan(value) else round(value, 4)) if valued else row)
    return rows


def column_of(data: Dataset, name: str) -> list[Any]:
    table, name = (
        (data.users, name.removeprefix("users."))
        if name.startswith("users.")
        else (data.items, name)
    )
    if name in ("item_id", "user_id"):
        return table.ids.to_list()
    return table.frame[name].to_list()


def log(*rows: str, head: str = "user_id,item_id,time") -> str:
    return "\n".join([head, *rows]) + "\n"


def times(*values: str, head: str = "user_id,item_id,time", mark: str = ",") -> str:
    """A log with one event of user u and item a per time."""
    return "\n".join([head.replace(",", mark), *(mark.join(["u", "a", v]) for v in values)]) + "\n"


def at(*values: str) -> list[Event]:
    return [("u", "a", v) for v in values]


def price(*values: str, mark: str = ",") -> str:
    """An items' table with a column of prices; the first item is a."""
    ids = "abcdefghijklmnopqrstuvwxyz"
    rows = [mark.join([i, v]) for i, v in zip(ids, values, strict=False)]
    return "\n".join([f"item_id{mark}price", *rows]) + "\n"


def rated(*values: str, head: str = "user_id,item_id,time,rating", mark: str = ",") -> str:
    """A log with one rating of user u and item a per day from 2024-01-01 on."""
    rows = [mark.join(["u", "a", f"2024-01-{d:02}", v]) for d, v in enumerate(values, 1)]
    return "\n".join([head.replace(",", mark), *rows]) + "\n"


def rates(*values: float | None) -> list[Event]:
    return [("u", "a", f"2024-01-{d:02}", v) for d, v in enumerate(values, 1) if v != -99]


RATING = {"events": {"value": "rating"}}
GONE = -99.0
"""In `rates`: the row is rejected."""
MARKERS = "texts that are read as missing: "


def frame(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def excel(text: str) -> str:
    return text.replace("\n", "\r\n")


VALUES: dict[str, Case] = {
    "missing in numbers": Case(
        items=price("NULL", "3", "NA", "", "N/A", "\\N", "nan", "5"),
        columns={"price": [None, 3, None, None, None, None, None, 5]},
        notes=[MARKERS],
    ),
    "missing in texts": Case(
        items="item_id,brand\na,—\nb,Acme\nc,-\nd,None\ne, \nf,#N/A\n",
        columns={"brand": [None, "Acme", None, None, None, None]},
        notes=[MARKERS],
    ),
    "None is a brand": Case(
        items="item_id,brand\na,None\nb,Acme\nc,\n",
        declare={"items": {"missing": []}},
        columns={"brand": ["None", "Acme", None]},
    ),
    "missing only as declared": Case(
        items=price("-1", "3", "NA"),
        declare={"items": {"missing": ["-1"]}},
        columns={"price": [None, "3", "NA"]},
        notes=[MARKERS + '`price` "-1" 1'],
    ),
    "decimal commas": Case(
        items=price("1,5", "2", "0,25", mark=";"),
        columns={"price": [1.5, 2.0, 0.25]}, notes=["have a decimal comma"],
    ),
    "decimal commas and dots between thousands": Case(
        items=price("1.234,50", "99,90", "1.250", mark=";"),
        columns={"price": [1234.5, 99.9, 1250.0]},
        notes=["have a decimal comma", "dots between thousands"],
    ),
    "decimal commas with tabs": Case(
        items="item_id\tprice\na\t3,75\nb\t12,5\n", columns={"price": [3.75, 12.5]},
        notes=["have a decimal comma"],
    ),
    "commas between thousands": Case(
        items=price('"1,234.50"', '"2,000"', "7"),
        columns={"price": [1234.5, 2000.0, 7.0]}, notes=["have commas between thousands"],
    ),
    "a comma with two readings": Case(
        items=price('"1,234"', '"2,500"'), columns={"price": [1234, 2500]},
        notes=['!"1,234" is read as 1234', "have commas between thousands"],
    ),
    "a comma with two readings, and semicolons": Case(
        items=price("1,234", "2,500", mark=";"), columns={"price": [1.234, 2.5]},
        notes=['!"1,234" is read as 1.234', "have a decimal comma"],
    ),
    "a dot with two readings": Case(
        items=price("1.234", "2.500", mark=";"), columns={"price": [1.234, 2.5]},
        notes=['!"1.234" is read as 1.234'],
    ),
    "a dot with two readings, settled by another column": Case(
        items="item_id;price;weight\na;1.234;0,5\nb;2.500;1,25\n",
        columns={"price": [1234, 2500], "weight": [0.5, 1.25]},
        notes=["dots between thousands", "decimal comma"],
    ),
    "a dot with two readings, settled by the declaration": Case(
        items=price("1.234", "2.500", mark=";"), declare={"items": {"decimal": ","}},
        columns={"price": [1234, 2500]}, notes=["dots between thousands"],
    ),
    "a comma with two readings beside others, settled by the declaration": Case(
        items=price("1.5", '"1,234"'), declare={"items": {"decimal": ","}},
        columns={"price": [1.5, 1.234]}, notes=["have a decimal comma"],
    ),
    "dots and commas with two readings": Case(
        items=price(*(["1,5", "1.5"] * 10), "1.234", mark=";"),
        columns={"price": [1.5] * 20 + [None]},
        rejects=[(22, "not a number", "1.234")],
        notes=['!"1.234" has two readings', "have a decimal comma", "!a column of numbers"],
    ),
    "blanks between thousands": Case(
        items=price("1 234,5", "12\u00a0000", "1\u202f000\u202f000", mark=";"),
        columns={"price": [1234.5, 12000.0, 1000000.0]}, notes=["have a decimal comma"],
    ),
    "apostrophes between thousands": Case(
        items=price("1'234.50", "1’000"), columns={"price": [1234.5, 1000.0]},
    ),
    "lakhs": Case(
        items=price('"12,34,567"', '"5,00,000.50"'), columns={"price": [1234567.0, 500000.5]},
        notes=["have commas between thousands"],
    ),
    "dollars": Case(
        items=price(" $273.36", '"$1,286.00"', "$5", "-$7.50"),
        columns={"price": [273.36, 1286.0, 5.0, -7.5]},
        notes=["have commas between thousands", "the currency $ is left out"],
    ),
    "euros after the number": Case(
        items=price("5 €", "1.234,50 €", "7,99€", mark=";"),
        columns={"price": [5.0, 1234.5, 7.99]},
        notes=["have a decimal comma", "the currency € is left out"],
    ),
    "several currencies": Case(
        items=price("$5", "€6", "7 USD"), columns={"price": [5, 6, 7]},
        notes=["!amounts are in several currencies ($, USD, €)"],
    ),
    "percent": Case(
        items=price("12%", "3.5 %", "100%"), columns={"price": [0.12, 0.035, 1.0]},
        notes=["12 % is read as 0.12"],
    ),
    "negative amounts": Case(
        items=price("(5.00)", "-3", "−4", "2"), columns={"price": [-5.0, -3.0, -4.0, 2.0]},
        notes=["in brackets are read as negative"],
    ),
    "full-width digits": Case(items=price("１２", "３"), columns={"price": [12, 3]}),
    "scientific notation": Case(
        items=price("1.5e3", "2E-2", "7"), columns={"price": [1500.0, 0.02, 7.0]}
    ),
    "leading zeros are codes": Case(
        items=price("01234", "99999", "5"), columns={"price": ["01234", "99999", "5"]}
    ),
    "long numbers are codes": Case(
        items=price("12345678901234567890", "12345678901234567891"),
        columns={"price": ["12345678901234567890", "12345678901234567891"]},
    ),
    "addresses and versions are no numbers": Case(
        items="item_id,ip,version,phone\na,10.0.0.1,1.2.3,+49 170 12\nb,10.0.0.2,2.0.1,1-800\n",
        columns={"ip": ["10.0.0.1", "10.0.0.2"], "version": ["1.2.3", "2.0.1"],
                 "phone": ["+49 170 12", "1-800"]},
    ),
    "a few bad numbers": Case(
        items=price(*map(str, range(12)), "cheap"),
        columns={"price": [*range(12), None]}, rejects=[(14, "not a number", "cheap")],
        notes=["!a column of numbers: 1 other values are left empty"],
    ),
    "a sparse feature keeps them": Case(
        items=price(*map(str, range(12)), "cheap"),
        declare={"features": [{"kind": "sparse", "name": "price", "side": "item"}]},
        columns={"price": [*map(str, range(12)), "cheap"]},
    ),
    "a dense feature wants numbers": Case(
        items=price("1", "2", "cheap", "dear"),
        declare={"features": [{"kind": "dense", "name": "price", "side": "item"}]},
        columns={"price": [1.0, 2.0, None, None]},
        rejects=[(4, "not a number", "cheap"), (5, "not a number", "dear")],
    ),
    "codes with letters": Case(
        items=price(*map(str, range(10, 22)), "10A"),
        columns={"price": [*map(str, range(10, 22)), "10A"]},
        notes=['whole numbers and codes such as "10A" are read as texts'],
    ),
    "lists of codes": Case(
        items="item_id\ttags\n" + "".join(f"{i}\t{k},7\n" for k, i in enumerate("abcdefghijk"))
        + "l\t3,7,12\n",
        columns={"tags": [*(f"{k},7" for k in range(11)), "3,7,12"]},
    ),
    "yes and no": Case(
        items=price("yes", "No", "", "YES"), columns={"price": [True, False, None, True]}
    ),
    "T and F": Case(items=price("T", "F", "t"), columns={"price": [True, False, True]}),
    "F alone is a gender": Case(items=price("F", "F"), columns={"price": ["F", "F"]}),
    "no is a country": Case(items=price("no", "se"), columns={"price": ["no", "se"]}),
    "Chinese booleans": Case(items=price("是", "否"), columns={"price": [True, False]}),
    "0 and 1 stay numbers": Case(items=price("0", "1"), columns={"price": [0, 1]}),
    "lists as JSON": Case(
        items='item_id,tags\na,"[""x"",""y z""]"\nb,[]\nc,\n',
        columns={"tags": [["x", "y z"], [], None]},
    ),
    "lists as Python text": Case(
        items="item_id;tags\na;['x', \"it's\"]\nb;['it\\'s']\nc;[None, 'x']\n",
        columns={"tags": [["x", "it's"], ["it's"], ["x"]]},
    ),
    "lists of objects with a name": Case(
        items="item_id;genres\na;[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': \"Kid's\"}]\n"
        'b;[{"id": 18, "name": "Drama"}]\nc;[]\n',
        declare={"items": {"category": "genres"}},
        columns={"genres": [["Animation", "Kid's"], ["Drama"], []]},
    ),
    "lists with escapes": Case(
        items='item_id\ttags\na\t["\\u52a8\\u4f5c", "x\\"y"]\nb\t["z"]\n',
        columns={"tags": [["动作", 'x"y'], ["z"]]},
    ),
    "lists as databases and numpy write them": Case(
        items="item_id;pg;java;np;vector\na;{x,y};[x, y];['x' 'y'];[0.5 1.0]\n"
        "b;{z};[z];['z'];[1.5 2.0]\n",
        columns={"pg": [["x", "y"], ["z"]], "java": [["x", "y"], ["z"]],
                 "np": [["x", "y"], ["z"]], "vector": [[0.5, 1.0], [1.5, 2.0]]},
    ),
    "lists of numbers": Case(
        items='item_id,tags\na,"[1, 2]"\nb,"[3]"\n', columns={"tags": [[1, 2], [3]]}
    ),
    "titles are texts": Case(
        items="item_id,title\na,300\nb,1917\nc,NULL\n", declare={"items": {"title": "title"}},
        columns={"title": ["300", "1917", None]}, notes=[MARKERS + '`title` "NULL" 1'],
    ),
    "categories and authors are names": Case(
        items="item_id,kind,maker\na,1.0,7.0\nb,2.0,\nc, 1 ,7\n",
        declare={"items": {"category": "kind", "author": "maker"}},
        columns={"kind": ["1", "2", "1"], "maker": ["7", None, "7"]},
    ),
    "categories with a separator": Case(
        items='item_id,kind\na,"1,2"\nb,"3,4"\n',
        declare={"items": {"category": "kind", "category_separator": ","}},
        columns={"kind": ["1,2", "3,4"]},
    ),
    "places": Case(
        items="item_id;lat;lon\na;52,52;13,40\nb;north;13,41\n",
        declare={"items": {"latitude": "lat", "longitude": "lon"}},
        columns={"lat": [52.52, None], "lon": [13.40, 13.41]},
        rejects=[(3, "not a number", "north")],
        notes=["have a decimal comma", "have a decimal comma"],
    ),
    "types of Parquet": Case(
        items=frame(
            item_id=["a", "b"], price=[decimal.Decimal("5.00"), decimal.Decimal("7.00")],
            cost=[decimal.Decimal("1.25"), None], size=pl.Series(["S", "M"], dtype=pl.Categorical),
            score=[float("nan"), 2.0], raw=[b"x", None], code=["NULL", "12"],
            genres=[[{"id": 1, "name": "Drama"}], []],
        ),
        files=("log.csv", "items.parquet", ""),
        columns={"price": [5, 7], "cost": [1.25, None], "size": ["S", "M"], "score": [None, 2.0],
                 "raw": ["x", None], "code": [None, "12"], "genres": [["Drama"], []]},
        notes=[MARKERS + '`code` "NULL" 1'],
    ),
    "JSON lines with an object and numbers as texts": Case(
        items='{"item_id": 1, "price": "12.5", "tags": ["x"]}\n'
        '{"item_id": "2", "price": NaN, "tags": null}\n',
        log="user_id,item_id,time\nu,1,2024-01-05\nu,2,2024-01-05\n",
        files=("log.csv", "items.jsonl", ""),
        events=[("u", "1", "2024-01-05"), ("u", "2", "2024-01-05")],
        columns={"item_id": ["1", "2"], "price": ["12.5", None], "tags": [["x"], None]},
    ),
    "one JSON array": Case(
        items=json.dumps([{"item_id": "a", "price": 1}, {"item_id": "b", "price": 2}], indent=1),
        files=("log.csv", "items.json", ""), columns={"price": [1, 2]},
    ),
}  # fmt: skip

IDS: dict[str, Case] = {
    "1, 1.0 and blanks": Case(
        log=log("1.0,7.0,2024-01-05", " 1 ,7,2024-01-06", "1, 7.00,2024-01-07"),
        items="item_id,title\n7,Seven\n", users="user_id,age\n1,30\n",
        events=[("1", "7", "2024-01-05"), ("1", "7", "2024-01-06"), ("1", "7", "2024-01-07")],
    ),
    "floats of a column with gaps": Case(
        log=frame(user_id=[1.0, 2.0, None], item_id=["a"] * 3, time=["2024-01-05"] * 3),
        files=("log.parquet", "items.csv", ""),
        events=[("1", "a", "2024-01-05"), ("2", "a", "2024-01-05")],
        rejects=[(3, "empty user id", None)],
    ),
    "decimals of a database": Case(
        log=frame(user_id=[decimal.Decimal("7.0000000000")], item_id=[b"a"], time=["2024-01-05"]),
        files=("log.parquet", "items.csv", ""), events=[("7", "a", "2024-01-05")],
    ),
    "unsigned integers of 64 bits": Case(
        log=frame(user_id=pl.Series([2**63 + 5], dtype=pl.UInt64), item_id=["a"],
                  time=["2024-01-05"]),
        files=("log.parquet", "items.csv", ""), events=[(str(2**63 + 5), "a", "2024-01-05")],
    ),
    "leading zeros": Case(
        log=log("u,0108775015,2024-01-05", "u,108775015,2024-01-06"),
        items="item_id,title\n0108775015,Top\n108775015,Other\n",
        events=[("u", "0108775015", "2024-01-05"), ("u", "108775015", "2024-01-06")],
    ),
    "hexadecimal ids are no numbers": Case(
        log=log("1e5,00e1,2024-01-05", "1e5,0x1F,2024-01-06"), items=None,
        events=[("1e5", "00e1", "2024-01-05"), ("1e5", "0x1F", "2024-01-06")],
    ),
    "ids shortened by a spreadsheet": Case(
        log=log("1.23457E+17,a,2024-01-05", "1.23457E+17,b,2024-01-06"),
        events=[("1.23457E+17", "a", "2024-01-05"), ("1.23457E+17", "b", "2024-01-06")],
        notes=['!2 ids such as "1.23457E+17" were shortened by a spreadsheet'],
    ),
    "floats that have lost digits": Case(
        log=frame(user_id=[9007199254740993.0], item_id=["a"], time=["2024-01-05"]),
        files=("log.parquet", "items.csv", ""), events=[("9007199254740992", "a", "2024-01-05")],
        notes=["!1 ids are floats beyond 2^53"],
    ),
    "one id twice": Case(
        items="item_id,title\na,Alpha\n1,One\n1.0,Again\n",
        columns={"item_id": ["a", "1"]}, rejects=[(4, "duplicate id (the first one is kept)", "1")],
    ),
    "missing ids": Case(
        log=log("u,a,2024-01-05", "NULL,a,2024-01-05", "u,undefined,2024-01-05", ",a,2024-01-05"),
        rejects=[(3, "user id is a text that means a missing value", "NULL"),
                 (4, "item id is a text that means a missing value", "undefined"),
                 (5, "empty user id", None)],
    ),
    "NA is an id": Case(
        log=log("u,NA,2024-01-05"), items="item_id,title\nNA,Namibia\n",
        declare={"events": {"missing": []}, "items": {"missing": []}},
        events=[("u", "NA", "2024-01-05")],
    ),
    "dates as ids": Case(
        log=frame(user_id=[dt.date(2024, 1, 1)], item_id=["a"], time=["2024-01-05"]),
        users="user_id,age\n2024-01-01,3\n", files=("log.parquet", "items.csv", "users.csv"),
        events=[("2024-01-01", "a", "2024-01-05")],
    ),
    "labels of behaviours": Case(
        log="user_id,item_id,time,kind\nu,a,2024-01-05,1.0\nu,a,2024-01-06,2\nu,a,2024-01-07, 1 \n"
        "u,a,2024-01-08,\nu,a,2024-01-09,3\n",
        declare={"events": {"behaviour": "kind"},
                 "behaviours": {"buy": {"label": "1", "positive": True}, "view": {"label": "2"}}},
        events=at("2024-01-05", "2024-01-06", "2024-01-07"),
        rejects=[(5, "no behaviour is named", None),
                 (6, "behaviour is not declared in tamis.toml", "3")],
    ),
    "a label that looks missing": Case(
        log="user_id,item_id,time,kind\nu,a,2024-01-05,None\nu,a,2024-01-06,buy\n",
        declare={"events": {"behaviour": "kind"},
                 "behaviours": {"buy": {"positive": True}, "shown": {"label": "None"}}},
        events=at("2024-01-05", "2024-01-06"),
    ),
    "labels that are booleans": Case(
        log=frame(user_id=["u", "u"], item_id=["a", "a"], time=["2024-01-05", "2024-01-06"],
                  liked=[True, False]),
        files=("log.parquet", "items.csv", ""),
        declare={"events": {"behaviour": "liked"},
                 "behaviours": {"like": {"label": "True", "positive": True},
                                "not": {"label": "False"}}},
        events=at("2024-01-05", "2024-01-06"),
    ),
}  # fmt: skip

RATINGS: dict[str, Case] = {
    "a few bad ratings": Case(
        log=rated("5", "4.0", "bad", "", "NULL", "3", "inf"), declare=RATING,
        events=rates(5, 4, GONE, None, None, 3, GONE),
        rejects=[(4, "value is not a number", "bad"), (8, "value is infinite", "inf")],
        notes=[MARKERS + '"NULL" 1'],
    ),
    "ratings with a decimal comma": Case(
        log=rated("4,5", "3", mark=";"), declare=RATING, events=rates(4.5, 3),
        notes=["have a decimal comma"],
    ),
    "ratings that are booleans": Case(
        log=rated("True", "False", ""), declare=RATING, events=rates(1, 0, None)
    ),
    "a letter among ratings is no truth": Case(
        log=rated("5", "n", "4"), declare=RATING, events=rates(5, GONE, 4),
        rejects=[(3, "value is not a number", "n")],
    ),
    "missing ratings are not positive": Case(
        log=rated("5", "nan", "1"),
        declare=RATING | {"behaviours": {"like": {"positive": True, "min_value": 4},
                                         "rate": {}}},
        events=rates(5, None, 1),
    ),
    "prices with currencies": Case(
        log=rated("$5.50", '"$1,200"'), declare=RATING, events=rates(5.5, 1200),
        notes=["have commas between thousands", "the currency $ is left out"],
    ),
}  # fmt: skip

TIMES: dict[str, Case] = {
    "YYYYMMDD": Case(
        log=times("20231231", "20240105"), events=at("2023-12-31", "2024-01-05"),
        notes=["times are read as YYYYMMDD"],
    ),
    "YYYYMMDDHHMMSS": Case(
        log=times("20231231235959", "20240105130409"),
        events=at("2023-12-31 23:59:59", "2024-01-05 13:04:09"),
        notes=["times are read as YYYYMMDDHHMMSS"],
    ),
    "YYYYMMDDHH": Case(
        log=times("2023123123", "2024010513"),
        events=at("2023-12-31 23:00:00", "2024-01-05 13:00:00"),
        notes=["times are read as YYYYMMDDHH"],
    ),
    "a YYYYMMDD that does not exist": Case(
        log=times(*(f"202401{d:02}" for d in range(1, 26)), "20240230"),
        events=at(*(f"2024-01-{d:02}" for d in range(1, 26))),
        rejects=[(27, "time is not a time", "20240230")], notes=["times are read as YYYYMMDD"],
    ),
    "hours only": Case(
        log=times("2024-01-05 07", "2024-01-05 13"),
        events=at("2024-01-05 07:00:00", "2024-01-05 13:00:00"),
    ),
    "day first": Case(
        log=times("31/12/2023", "01/02/2024 13:05"),
        events=at("2023-12-31", "2024-02-01 13:05:00"),
        notes=['"31/12/2023" and the like are read with the day first: 1 of 2 values'],
    ),
    "month first": Case(
        log=times("12/31/2023", "01/02/2024"), events=at("2023-12-31", "2024-01-02"),
        notes=['"12/31/2023" and the like are read with the month first: 1 of 2 values'],
    ),
    "day or month first": Case(
        log=times("01/02/2024", "03/02/2024"), events=at("2024-01-02", "2024-03-02"),
        notes=['!"01/02/2024" and the like are read with the month first, though no value tells'],
    ),
    "day or month first, consecutive days": Case(
        log=times("01/02/2024", "02/02/2024", "03/02/2024"),
        events=at("2024-02-01", "2024-02-02", "2024-02-03"),
        notes=['!"01/02/2024" and the like are read with the day first, though no value tells'],
    ),
    "day or month first, with dots": Case(
        log=times("01.02.2024", "03.04.2024"), events=at("2024-02-01", "2024-04-03"),
        notes=['!"01.02.2024" and the like are read with the day first, though no value tells'],
    ),
    "day or month first, as declared": Case(
        log=times("01/02/2024", "03/02/2024"), declare={"events": {"day_first": True}},
        events=at("2024-02-01", "2024-02-03"),
    ),
    "both orders in one column": Case(
        log=times("31/12/2023", "12/31/2023", "30/12/2023"), events=at("2023-12-30", "2023-12-31"),
        rejects=[(3, "time is not a time", "12/31/2023")],
        notes=["!2 of 3 values exist only so, but 1 only the other way"],
    ),
    "two digits of the year": Case(
        log=times("31.12.99", "05.01.24"), events=at("1999-12-31", "2024-01-05"),
        notes=['"31.12.99" and the like are read with the day first'],
    ),
    "names of months": Case(
        log=times("Jan 5, 2024", "06-Feb-2024", "7th of March 2024 1:05 PM", mark=";"),
        events=at("2024-01-05", "2024-02-06", "2024-03-07 13:05:00"),
    ),
    "AM and PM": Case(
        log=times("2024-01-05 12:05 AM", "2024-01-05 12:05 PM", "2024-01-05 01:04:09 p.m."),
        events=at("2024-01-05 00:05:00", "2024-01-05 12:05:00", "2024-01-05 13:04:09"),
    ),
    "as Apache logs": Case(
        log=times("05/Jan/2024:13:04:09 +0100"), events=at("2024-01-05 12:04:09")
    ),
    "as Twitter": Case(
        log=times("Fri Jan 05 13:04:09 +0000 2024"), events=at("2024-01-05 13:04:09")
    ),
    "as mail": Case(
        log="user_id;item_id;time\nu;a;Fri, 05 Jan 2024 08:04:09 EST\n",
        events=at("2024-01-05 13:04:09"),
    ),
    "as Go and BigQuery": Case(
        log=times("2024-01-05 13:04:09 +0000 UTC", "2024-01-05 13:04:10.5 UTC"),
        events=at("2024-01-05 13:04:09", "2024-01-05 13:04:10.500000"),
    ),
    "as JavaScript and Java": Case(
        log=times("Fri Jan 05 2024 13:04:09 GMT+0100 (Central European Standard Time)",
                  "2024-01-05T13:04:09+01:00[Europe/Berlin]"),
        events=at("2024-01-05 12:04:09", "2024-01-05 12:04:09")[:1],
        rejects=[(3, "duplicate of an earlier row", None)],
    ),
    "basic ISO": Case(
        log=times("20240105T130409Z", "20240105T130410+0100"),
        events=at("2024-01-05 12:04:10", "2024-01-05 13:04:09"),
    ),
    "ISO in many ways": Case(
        log=times("2024-01-05T13:04:09.123456789Z", "2024/01/05 13:04", "2024-1-6", "2024.01.07"),
        events=at("2024-01-05 13:04:00", "2024-01-05 13:04:09.123000", "2024-01-06", "2024-01-07"),
    ),
    "Chinese dates": Case(
        log=times("2024年1月5日 13:04", "2024年01月06日"),
        events=at("2024-01-05 13:04:00", "2024-01-06"),
    ),
    "seconds as floats": Case(
        log=times("1704459849.0", "1704459850.25"),
        events=at("2024-01-05 13:04:09", "2024-01-05 13:04:10.250000"),
    ),
    "microseconds of BigQuery": Case(
        log=times("1704459849000000", "1704459850000000"),
        events=at("2024-01-05 13:04:09", "2024-01-05 13:04:10"),
    ),
    "days of a spreadsheet": Case(
        log=times("45296", "45297.5"), error='look like the days of a spreadsheet. Set `time_unit',
    ),
    "days of a spreadsheet, declared": Case(
        log=times("45296", "45297.5"), declare={"events": {"time_unit": "excel"}},
        events=at("2024-01-05", "2024-01-06 12:00:00"),
    ),
    "times shortened by a spreadsheet": Case(
        log=times("1.70446E+09", "1.70447E+09"),
        events=at("2024-01-05 13:06:40", "2024-01-05 15:53:20"),
        notes=['!2 times such as "1.70446E+09" were shortened by a spreadsheet'],
    ),
    "missing times": Case(
        log=times("0000-00-00", "NULL", "2024-01-05", "soon"), events=at("2024-01-05"),
        rejects=[(2, "no time (empty, or the row is cut short)", None),
                 (3, "no time (empty, or the row is cut short)", None),
                 (5, "time is not a time", "soon")],
    ),
    "seconds and milliseconds": Case(
        log=times("1704459849", "1704459850", "1704459851000"),
        events=at("2024-01-05 13:04:09", "2024-01-05 13:04:10"),
        rejects=[(4, "time in another unit than most rows (seconds)", "1704459851000")],
    ),
    "times of two columns in two formats": Case(
        log="user_id,item_id,time,seen\nu,a,1704459849,2024-01-06\n",
        declare={"events": {"arrival": "seen"}}, events=at("2024-01-05 13:04:09"),
    ),
    "years of publication": Case(
        items="item_id,year\na,1995\nb,2004\nc,\n", declare={"items": {"published": "year"}},
        columns={"year": [788_918_400_000, 1_072_915_200_000, None]},
        notes=["times are read as YYYY"],
    ),
    "publication before 1970": Case(
        items="item_id,born\na,1942-01-23\nb,Jun 1955\nc,01-Jan-1995\nd,1950s\n",
        declare={"items": {"published": "born"}},
        columns={"born": [-881_712_000_000, -460_339_200_000, 788_918_400_000, None]},
        rejects=[(5, "not a time", "1950s")],
    ),
}  # fmt: skip

TEXT = "user_id,item_id,time\nu,a,2024-01-05\nü,a,2024-01-06\n"
TWO = [("u", "a", "2024-01-05"), ("ü", "a", "2024-01-06")]
CHINESE = "item_id,title\na,动作片\nb,喜剧\n"


def rows_of(text: str) -> Sequence[Event]:
    """The events of lines "user item time"."""
    return [tuple(line.split()) for line in text.split("\n")]  # type: ignore[misc]


FILES: dict[str, Case] = {
    "byte-order mark": Case(log="\ufeff" + TEXT, events=TWO),
    "byte-order mark and quotation marks": Case(
        log='\ufeff"user_id","item_id","time"\n"u","a","2024-01-05"\n'
    ),
    "UTF-16": Case(
        log=TEXT.encode("utf-16"), events=TWO, notes=["the encoding is utf-16, by its first bytes"]
    ),
    "UTF-16 without a mark": Case(
        log=TEXT.encode("utf-16-le"), error='set `encoding = "utf-16-le"`'
    ),
    "Shift JIS with few kana": Case(
        items="\n".join(
            ["item_id,title,商品コード", *(f"A-{i:08},article {i:05},お茶" for i in range(30)), ""]
        ).encode("shift_jis"),
        error='set `encoding = "shift_jis"`',
    ),
    "GBK": Case(items=CHINESE.encode("gbk"), error='set `encoding = "gb18030"`'),
    "GBK, declared": Case(
        items=CHINESE.encode("gbk"), declare={"items": {"encoding": "gbk"}},
        columns={"title": ["动作片", "喜剧"]},
    ),
    "Latin-1": Case(log=TEXT.encode("latin-1"), error='set `encoding = "cp1252"`'),
    "Latin-1, declared": Case(
        log=TEXT.encode("latin-1"), declare={"events": {"encoding": "latin-1"}}, events=TWO
    ),
    "Latin-1, compressed and declared": Case(
        log=gzip.compress(TEXT.encode("latin-1")), files=("log.csv.gz", "items.csv", ""),
        declare={"events": {"encoding": "latin-1"}}, events=TWO,
    ),
    "Cyrillic": Case(
        items="item_id,title\na,Привет мир\n".encode("cp1251"), error='`encoding = "cp1251"`'
    ),
    "an encoding that it is not": Case(
        log=TEXT, declare={"events": {"encoding": "ascii"}},
        error='it is not in the encoding "ascii" (byte 36, about line 3',
    ),
    "an unknown encoding": Case(
        log=TEXT, declare={"events": {"encoding": "klingon"}}, error='"klingon" is not known'
    ),
    "lines of Windows": Case(
        log=excel('user_id,item_id,time\nu,a,2024-01-05\n\n"u","a",bad\n'),
        rejects=[(4, "time is not a time", "bad")],
    ),
    "lines of old Macs": Case(
        log=TEXT.replace("\n", "\r"), events=TWO, notes=["lines end with a carriage return alone"]
    ),
    "a stray quotation mark": Case(
        log=log('u,"a,2024-01-04', "u,a,2024-01-05", "v,b,2024-01-06"),
        events=rows_of("u a 2024-01-05\nv b 2024-01-06"),
        rejects=[(2, "a quotation mark is misplaced or never closed", 'u,"a,2024-01-04')],
    ),
    "two stray quotation marks take in no rows": Case(
        log=log('u1,a,"2024-01-03', "u2,a,2024-01-05", "u3,b,2024-01-06", 'u4,a,2024-01-07"',
                "u5,b,2024-01-08"),
        events=rows_of("u2 a 2024-01-05\nu3 b 2024-01-06\nu5 b 2024-01-08"),
        rejects=[(2, "a quotation mark is misplaced or never closed", 'u1,a,"2024-01-03'),
                 (5, "time is not a time", '2024-01-07"')],
    ),
    "text after a quoted field": Case(
        log=log("u,a,2024-01-05", "u,b,2024-01-06"),
        items='item_id,title\na,"Al"pha\nb,Beta\n', columns={"item_id": ["b", "a"]},
        events=rows_of("u a 2024-01-05\nu b 2024-01-06"),
        rejects=[(2, "a quotation mark is misplaced or never closed", 'a,"Al"pha')],
        notes=['1 items of 1 events are not in items.csv (such as "a")'],
    ),
    "inches": Case(
        items='item_id,title\na,17" screen\nb,5" x 6"\nc,"7"" , 8"""\n',
        columns={"title": ['17" screen', '5" x 6"', '7" , 8"']},
    ),
    "backslashes before quotation marks": Case(
        items='item_id,title\na,"say \\"hi\\", you"\nb,"C:\\"\n',
        columns={"title": ['say "hi", you', "C:\\"]},
    ),
    "line breaks in quotation marks": Case(
        items='item_id,title,year\na,"Al\n\npha, ""the"" 1st",1990\nb,Beta,xx\na,Again,1\n',
        declare={"features": [{"kind": "dense", "name": "year", "side": "item"}]},
        columns={"title": ['Al\n\npha, "the" 1st', "Beta"], "year": [1990.0, None]},
        rejects=[(5, "not a number", "xx"), (6, "duplicate id (the first one is kept)", "a")],
    ),
    "blank lines": Case(
        log="\nuser_id,item_id,time\n\nu,a,2024-01-05\n\nu,a,bad\n",
        rejects=[(6, "time is not a time", "bad")],
    ),
    "blanks before quotation marks": Case(
        items='item_id, "title"\na, "Alpha, the first"\nb, "Beta"\n',
        columns={"title": ["Alpha, the first", "Beta"]},
    ),
    "double colons": Case(log=LOG.replace(",", "::")),
    "bars": Case(log=LOG.replace(",", "|")),
    "control-A of Hive": Case(log=LOG.replace(",", "\x01")),
    "semicolons beside commas": Case(
        items="item_id;price, EUR\na;1,5\nb;2,5\n", columns={"price, EUR": [1.5, 2.5]},
        notes=["have a decimal comma"],
    ),
    "tabs and quotation marks": Case(
        items='item_id\ttitle\na\t"Great" Cats\nb\t"x\ty"\nc\t"Q\n',
        columns={"title": ['"Great" Cats', "x\ty", '"Q']},
    ),
    "lines that end with a separator": Case(
        log="user_id,item_id,time\nu,a,2024-01-05,\nu,b,2024-01-06,\n",
        events=rows_of("u a 2024-01-05\nu b 2024-01-06"),
    ),
    "all lines end with a separator": Case(
        log="user_id,item_id,time,\nu,a,2024-01-05,\nu,b,2024-01-06,\n",
        events=rows_of("u a 2024-01-05\nu b 2024-01-06"),
    ),
    "two columns of one name": Case(
        items="item_id,x,x\na,1,2\nb,3,4\n", columns={"x": [1, 3]},
        notes=["!2 columns are called `x`; the first of them is read"],
    ),
    "blanks around names": Case(log=" user_id , item_id ,time \nu,a,2024-01-05\n"),
    "the separator in the first line": Case(log="sep=;\n" + LOG.replace(",", ";")),
    "lines before the header": Case(
        log="Report of May\n\n" + log("u,a,2024-01-05", "u,a,bad"),
        rejects=[(5, "time is not a time", "bad")], notes=["2 lines before the header"],
    ),
    "short rows": Case(
        items="item_id,title,year\na,Alpha,1990\nb,Beta\n",
        columns={"title": ["Alpha", "Beta"], "year": [1990, None]},
        notes=["!1 rows have fewer than 3 fields (the first on line 3)"],
    ),
    "long rows": Case(
        log=log("u,a,2024-01-05", "u,a,b,2024-01-06,x", "v,a,2024-01-07"),
        events=rows_of("u a 2024-01-05\nv a 2024-01-07"),
        rejects=[(3, "more than the header's 3 fields", "u,a,b,2024-01-06,x")],
    ),
    "a footer": Case(
        log=LOG + "(1 row affected)\n",
        rejects=[(3, "empty item id", None)],
        notes=["!1 rows have fewer than 3 fields (the first on line 3)"],
    ),
    "row names of R": Case(
        items='"item_id" "title"\n"1" "a" "Alpha"\n"2" "b" "Beta"\n'.replace(" ", ","),
        columns={"title": ["Alpha", "Beta"]},
        notes=["the header has no name for the first column"],
    ),
    "the index of pandas": Case(
        items=",item_id,title\n0,a,Alpha\n1,b,Beta\n",
        columns={"title": ["Alpha", "Beta"], "column_1": [0, 1]},
    ),
    "a zip archive": Case(log=b"PK\x03\x04....", error="it is a zip archive or an Excel workbook"),
    "a web page": Case(log="<!DOCTYPE html><html>", error="it is a web page or XML"),
    "a pointer of Git LFS": Case(
        log="version https://git-lfs.github.com/spec/v1\noid sha256:1\n", error="run `git lfs pull`"
    ),
    "zero bytes in a text": Case(
        items="item_id,title\na,Al\x00pha\nb,Beta\n", columns={"title": ["Al\x00pha", "Beta"]}
    ),
    "a single column": Case(
        log="user_id item_id time\nu a 2024-01-05 13:00\n",
        error="It has a single column: separate the",
    ),
    "blanks as separators": Case(log="user_id  item_id time\n u a 2024-01-05\n"),
    "only a header": Case(log="user_id,item_id,time\n", error="the table is empty"),
    "nothing": Case(log="", error="the file is empty"),
    "a defective line of JSON": Case(
        log='{"user_id": "u", "item_id": "a", "time": "2024-01-05"}\n{"user_id": "u", "item\n',
        files=("log.jsonl", "items.csv", ""),
        rejects=[(2, "not a JSON object", '{"user_id": "u", "item')],
    ),
}  # fmt: skip

KEPT = "they are kept, with missing attributes"
UNKNOWN: dict[str, Case] = {
    "unknown ids are kept": Case(
        log=log("u,a,2024-01-05", "v,x,2024-01-06", "w,x,2024-01-07"), users="user_id,age\nu,30\n",
        events=rows_of("u a 2024-01-05\nv x 2024-01-06\nw x 2024-01-07"),
        columns={"item_id": ["a", "b", "x"], "title": ["Alpha", "Beta", None],
                 "users.user_id": ["u", "v", "w"], "users.age": [30, None, None]},
        notes=['1 items of 2 events are not in items.csv (such as "x"): ' + KEPT,
               '2 users of 2 events are not in users.csv (such as "v"): ' + KEPT],
    ),
    "unknown ids are dropped": Case(
        log=log("u,a,2024-01-05", "v,x,2024-01-06", "w,a,2024-01-07"), users="user_id,age\nu,30\n",
        declare={"items": {"unknown": "drop"}, "users": {"unknown": "drop"}},
        rejects=[(3, "unknown item: its id is not in the table of items", "x"),
                 (4, "unknown user: its id is not in the table of users", "w")],
    ),
    "lists of kept items are missing": Case(
        log=log("u,a,2024-01-05", "u,x,2024-01-06"), items="item_id;tags\na;['p', 'q']\n",
        events=rows_of("u a 2024-01-05\nu x 2024-01-06"), columns={"tags": [["p", "q"], None]},
        notes=["1 items of 1 events are not in items.csv"],
    ),
    "tables that share no id": Case(
        log=log("u,x,2024-01-05"),
        error="none of the item ids in `item_id` is in `item_id` of items.csv (here "
        '"x", there "a")',
    ),
    "no table of users": Case(
        log=log("v,a,2024-01-05", "u,a,2024-01-06"),
        events=rows_of("v a 2024-01-05\nu a 2024-01-06"), columns={"users.user_id": ["v", "u"]},
    ),
    "the option of earlier releases": Case(
        declare={"events": {"unknown": "add"}},
        error='`events.unknown` is no longer a key: set `unknown = "keep"` (the default) or "drop"',
    ),
}  # fmt: skip

CASES = {
    f"{kind}: {name}": case
    for kind, cases in (
        ("values", VALUES), ("ids", IDS), ("ratings", RATINGS), ("times", TIMES),
        ("files", FILES), ("unknown", UNKNOWN),
    )
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_right_reading(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    write(case, tmp_path)
    if case.error:
        with pytest.raises((DataError, ConfigError)) as caught:
            read_dataset(parse_config(declaration(case)), tmp_path, now=NOW)
        assert case.error in str(caught.value)
        return
    data, report = read_dataset(parse_config(declaration(case)), tmp_path, now=NOW)
    told = [("!" if note.doubtful else "") + note.what for note in report.notes]
    assert events_of(data) == list(case.events), (told, report.frame)
    read = {column: column_of(data, column) for column in case.columns}
    assert read == {column: list(values) for column, values in case.columns.items()}, told
    for column, values in read.items():  # 5 == 5.0 == True, so the types are compared as well
        assert list(map(type, values)) == list(map(type, case.columns[column])), column
    rejected = [tuple(row) for row in report.frame.select("row", "reason", "value").rows()]
    assert rejected == list(case.rejects), told
    assert len(told) == len(case.notes), told
    for text, part in zip(told, case.notes, strict=True):
        assert part.removeprefix("!") in text, told
        assert part.startswith("!") == text.startswith("!"), text
