"""Local time of requests: hour, weekday, weekend and holiday in the time zone of the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from tamis.data import Dataset
from tamis.runtime import Int32, Int64
from tamis.schema import ConfigError, MissingExtraError, ProjectConfig, suggest

CONTEXTS = {"hour": 24, "weekday": 7, "weekend": 2, "holiday": 2}
"""Features of a request's time and the number of their values; weekday 0 is Monday."""
YEARS_AHEAD = 10
"""Years after the end of the data whose holidays are stored with a version."""
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


@dataclass(frozen=True, eq=False)
class LocalCalendar:
    """The time zone of a project and its holidays."""

    time_zone: str = "UTC"
    """Name of the IANA database."""
    holidays: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """(H,) local days since 1970, ascending."""

    @classmethod
    def of(cls, config: ProjectConfig | None, data: Dataset) -> LocalCalendar:
        """The calendar that `config` declares, from the start of `data` to years after its end.

        Raises ConfigError for a country without known holidays, MissingExtraError where their
        package is not installed.
        """
        if config is None:
            return cls()
        days: Sequence[date] = ()
        if isinstance(config.holidays, str):
            first = int(data.events.time.min()) if len(data.events) else 0
            last = max(data.end, first)
            years = range(_year(first), _year(last) + YEARS_AHEAD + 1)
            days = country_holidays(config.holidays, years)
        elif config.holidays is not None:
            days = config.holidays
        try:
            cls(config.time_zone).local(np.zeros(1, np.int64))
        except pl.exceptions.PolarsError as error:
            raise ConfigError(
                f'tamis.toml: time_zone = "{config.time_zone}" is not known here; give a zone of '
                'the IANA database, such as "Asia/Shanghai"'
            ) from error
        numbers = np.array(sorted({day.toordinal() for day in days}), np.int32)
        return cls(config.time_zone, numbers - np.int32(date(1970, 1, 1).toordinal()))

    @property
    def is_default(self) -> bool:
        """Whether times are UTC and no holidays are known."""
        return self.time_zone == "UTC" and not len(self.holidays)

    def local(self, time: Int64) -> Int64:
        """(Q,) times in ms since 1970 UTC as ms since 1970 on local clocks."""
        if self.time_zone == "UTC":
            return time
        moments = pl.Series(time).cast(pl.Datetime("ms", "UTC"))
        there = moments.dt.convert_time_zone(self.time_zone).dt.replace_time_zone(None)
        return there.cast(pl.Int64).to_numpy()

    def value(self, name: str, time: Int64) -> Int64:
        """(Q,) the value of the context feature `name` at times (Q,) in ms since 1970 UTC."""
        local = self.local(time)
        if name == "hour":
            return local // _HOUR_MS % 24
        day = local // _DAY_MS
        if name == "holiday":
            return np.isin(day, self.holidays).astype(np.int64)
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
        return weekday if name == "weekday" else (weekday >= 5).astype(np.int64)


def country_holidays(code: str, years: Sequence[int]) -> list[date]:
    """The public holidays of a country ("CN") or of a part of it ("DE-BY").

    Raises ConfigError for an unknown code, MissingExtraError where `holidays` is not installed.
    """
    try:
        import holidays
    except ModuleNotFoundError as error:
        if error.name != "holidays":
            raise
        raise MissingExtraError(
            f'tamis.toml: holidays = "{code}" needs the package holidays; install it with '
            "pip install 'tamis[holidays]', or list the dates"
        ) from error
    country, _, part = code.partition("-")
    try:
        return list(holidays.country_holidays(country, subdiv=part or None, years=years))
    except NotImplementedError as error:
        known = holidays.list_supported_countries()
        if country not in known:
            what = f"the country {country!r} is not known.{suggest(country, known, 0.5)}"
        else:
            what = (
                f"{country} has no part {part!r}; there are {', '.join(known[country]) or 'none'}"
            )
        raise ConfigError(f'tamis.toml: holidays = "{code}": {what}') from error


def _year(ms: int) -> int:
    return datetime.fromtimestamp(ms / 1000, UTC).year
