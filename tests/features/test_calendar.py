"""Local time and holidays of requests, by zoneinfo, by hand, and by the package holidays."""

import builtins
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, Histories, LocalCalendar, default_features
from tamis.onboarding import examine
from tamis.schema import (
    ConfigError,
    MissingExtraError,
    ProjectConfig,
    SparseFeat,
    dump_config,
    parse_config,
)

HOUR, DAY = 3_600_000, 86_400_000


def config(**top):
    return parse_config(
        {
            "name": "test",
            **top,
            "events": {"path": "events.csv"},
            "behaviours": {"click": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
        },
        "tamis.toml",
    )


def ms(*parts: int, zone: str = "UTC") -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.fixture
def data():
    time = np.array([ms(2025, 9, 30, 20), ms(2025, 10, 2, 3)], np.int64)
    zeros = np.zeros(2, np.int32)
    events = Events(
        zeros, zeros, zeros.astype(np.uint8), time, time, np.full(2, np.nan, np.float32),
        np.full(2, -1, np.int64), np.zeros(2, np.int16),
    )  # fmt: skip
    users = Table("users", pl.Series("id", ["u"]), pl.DataFrame())
    items = Table("items", pl.Series("id", ["i"]), pl.DataFrame())
    return Dataset(users, items, events, tuple(config().behaviours.values()))


@pytest.mark.parametrize(
    "zone", ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]
)
def test_local_times_equal_those_of_zoneinfo(zone):
    # Half hours over two years, and the last milliseconds around a change of summer time.
    change = ms(2025, 3, 30, 1)
    time = np.concatenate(
        [ms(2011, 6, 1) + np.arange(20_000) * HOUR // 2, change + np.arange(-3, 3)]
    )
    calendar = LocalCalendar(zone)
    there = [datetime.fromtimestamp(t / 1000, UTC).astimezone(ZoneInfo(zone)) for t in time]
    assert calendar.value("hour", time).tolist() == [d.hour for d in there]
    assert calendar.value("weekday", time).tolist() == [d.weekday() for d in there]
    assert calendar.value("weekend", time).tolist() == [int(d.weekday() >= 5) for d in there]


def test_holidays_are_local_days():
    days = np.array([date(2026, 10, 1).toordinal() - date(1970, 1, 1).toordinal()], np.int32)
    calendar = LocalCalendar("Asia/Shanghai", days)
    first = ms(2026, 10, 1, zone="Asia/Shanghai")
    time = np.array([first - 1, first, first + DAY - 1, first + DAY])
    assert calendar.value("holiday", time).tolist() == [0, 1, 1, 0]


def test_dates_are_declared(data):
    declared = config(holidays=["2026-10-01", date(2025, 12, 24)], time_zone="Asia/Shanghai")
    calendar = LocalCalendar.of(declared, data)
    assert (calendar.holidays.astype("datetime64[D]").astype(str)).tolist() == [
        "2025-12-24",
        "2026-10-01",
    ]
    assert not calendar.is_default
    assert LocalCalendar.of(config(), data).is_default
    assert ProjectConfig.model_validate_json(declared.model_dump_json()) == declared
    assert 'holidays = ["2026-10-01", "2025-12-24"]' in dump_config(declared)


def test_holidays_of_a_country(data):
    calendar = LocalCalendar.of(config(holidays="CN"), data)
    days = calendar.holidays.astype("datetime64[D]").astype(str).tolist()
    assert "2025-10-01" in days  # the National Day
    assert days[0].startswith("2025")
    assert days[-1].startswith("2035")
    bavaria, germany = (LocalCalendar.of(config(holidays=c), data) for c in ("DE-BY", "DE"))
    assert set(germany.holidays) < set(bavaria.holidays)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("CHN-ZZ", "holidays = \"CHN-ZZ\": CHN has no part 'ZZ'"),
        ("ZZ", "holidays = \"ZZ\": the country 'ZZ' is not known"),
    ],
)
def test_unknown_countries_are_refused(data, code, message):
    with pytest.raises(ConfigError, match=message):
        LocalCalendar.of(config(holidays=code), data)


def test_without_the_package(data, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name == "holidays":
            raise ModuleNotFoundError("no holidays", name="holidays")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'tamis\[holidays\]'"):
        LocalCalendar.of(config(holidays="CN"), data)
    assert len(LocalCalendar.of(config(holidays=["2026-10-01"]), data).holidays) == 1


def test_an_unknown_zone_is_refused():
    with pytest.raises(ConfigError, match=r"Asia/Shanghia.*Did you mean `Asia/Shanghai`"):
        config(time_zone="Asia/Shanghia")


def test_the_doctor_reports_unknown_holidays(tmp_path):
    lines = ["user_id,item_id,time"] + [
        f"u{k % 3},i{k % 5},{1_600_000_000 + k * 3600}" for k in range(90)
    ]
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n")
    found = examine(config(holidays="Atlantis"), tmp_path)
    assert [f.severity for f in found if "Atlantis" in f.what] == ["error"]


def codes(rows, name):
    column = next(c for c in rows.layout.ids if c.name == name)
    ids = rows.take(torch.arange(len(rows))).ids[:, column.first]
    return (ids - rows.layout.table[column.table].start).tolist()


def test_features_follow_the_calendar_and_are_stored(data, tmp_path):
    declared = config(time_zone="Asia/Shanghai", holidays=["2025-10-01"], repeats=False)
    chosen = [f for f in default_features(data, declared) if f.side == "context"]
    assert [f.name for f in chosen] == ["holiday"]
    features = [SparseFeat(n) for n in ("hour", "weekday", "holiday", "item_id")]
    space = FeatureSpace.fit(data, features, config=declared, windows=())
    space.save(tmp_path / "space")
    opened = FeatureSpace.load(tmp_path / "space")
    users, time = np.zeros(2, np.int32), data.events.time
    history = Histories.of(data).at(users, time)
    for each in (space, opened):
        rows = each.user_rows(users, time, history)
        hours = sorted(str(hour) for hour in range(24))  # all as frequent: in the order of texts
        assert [hours[code - 2] for code in codes(rows, "hour")] == ["4", "11"]
        assert codes(rows, "weekday") == [2 + 2, 2 + 3]  # a Wednesday
        assert codes(rows, "holiday") == [2 + 1, 2 + 0]
    plain = FeatureSpace.fit(data, features[:2], config=config(repeats=False), windows=())
    assert (space.format, plain.format) == (2, 1)


def test_a_holiday_needs_holidays(data):
    with pytest.raises(ConfigError, match=r"no holidays are declared; write holidays = "):
        FeatureSpace.fit(data, [SparseFeat("holiday")], config=config(), windows=())
