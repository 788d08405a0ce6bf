"""`tamis simulate`: a project whose tables come from a simulation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tamis.runtime import Progress
from tamis.service import CONFIG
from tamis.simulator import SimulationConfig, SimulationReport
from tamis.simulator import simulate as run


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
    progress: bool = False,
) -> Simulated:
    """Writes events, items and users, the true probabilities, and a `tamis.toml` into `out`.

    The same arguments give the same tables. `eagerness` is added to the log-odds of every action
    (see `SimulationConfig`). Raises a TamisError if an argument is out of range or `out` cannot be
    written.
    """
    out = Path(out)
    config = SimulationConfig(items=items, users=users, days=days, seed=seed, eagerness=eagerness)
    with Progress("simulate", progress) as shown:
        shown.begin(f"simulate {days} days")
        report = run(config, out, shown.update)
    template = files("tamis.jobs") / "templates" / "simulated.toml"
    (out / CONFIG).write_text(template.read_text("utf-8"), "utf-8")
    return Simulated(out, report)
