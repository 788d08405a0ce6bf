"""`tamis simulate`: a project whose tables come from a simulation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from time import time_ns
from typing import Any

import polars as pl

from tamis.runtime import Progress
from tamis.service import CONFIG
from tamis.simulator import SimulationConfig, SimulationReport
from tamis.simulator import simulate as run

_SEEN = """[cascade.filters.seen]
"""
_DATA_CLOCK = """clock = "data"        # a static data set: "now" is the end of its events
"""
DAY_MS = 86_400_000
_AGAIN = """[cascade.channels.again]
quota = 200                  # no filter of seen items: users come back to what they bought
"""


@dataclass(frozen=True)
class Simulated:
    """The result of `tamis simulate`."""

    project: Path
    report: SimulationReport

    def to_dict(self) -> dict[str, Any]:
        report = asdict(self.report)
        return {**report, "out": str(self.report.out), "rates": self.report.rates}


def simulate(
    out: Path | str,
    *,
    items: int = 200_000,
    users: int = 50_000,
    days: int = 30,
    seed: int = 0,
    eagerness: float = 0.0,
    repeat_rate: float = 0.0,
    repeat_gap_days: float = 7.0,
    until_now: bool = False,
    progress: bool = False,
) -> Simulated:
    """Writes events, items and users, the true probabilities, and a `tamis.toml` into `out`.

    The same arguments give the same tables. `eagerness` is added to the log-odds of every action;
    with a `repeat_rate` above 0, users come back for consumables after about `repeat_gap_days` (see
    `SimulationConfig`), and the `tamis.toml` has the channel `again` and no filter of seen items.
    With `until_now` the log ends at this moment and the project's clock is the machine's, as a
    service needs it; the tables then differ from run to run.
    Raises a TamisError if an argument is out of range or `out` cannot be
    written.
    """
    out = Path(out)
    config = SimulationConfig(
        items=items,
        users=users,
        days=days,
        seed=seed,
        eagerness=eagerness,
        repeat_rate=repeat_rate,
        repeat_gap_days=repeat_gap_days,
        **({"start_time": _now() - days * DAY_MS} if until_now else {}),
    )
    with Progress("simulate", progress) as shown:
        shown.begin(f"simulate {days} days")
        report = run(config, out, shown.update)
    template = files("tamis.jobs") / "templates" / "simulated.toml"
    declared = template.read_text("utf-8")
    if repeat_rate > 0:
        declared = declared.replace(_SEEN, _AGAIN)
    if until_now:
        declared = declared.replace(_DATA_CLOCK, "")
        _only_arrived(out / "events.parquet", config.end_time)
    (out / CONFIG).write_text(declared, "utf-8")
    return Simulated(out, report)


def _now() -> int:
    """The time of this machine, in ms since 1970 UTC."""
    return time_ns() // 1_000_000


def _only_arrived(file: Path, end: int) -> None:
    """Keeps the events that had arrived at `end` (ms): nobody knows those on their way."""
    events = pl.read_parquet(file)
    events.filter(pl.col("arrival") < end).write_parquet(file)
