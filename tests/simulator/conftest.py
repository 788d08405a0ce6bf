"""A simulated log of medium size, shared by all tests of the package."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tamis.simulator import SimulationConfig, SimulationReport, simulate


@dataclass(frozen=True)
class Log:
    """Everything that a run wrote."""

    config: SimulationConfig
    out: Path
    report: SimulationReport
    items: pl.DataFrame
    users: pl.DataFrame
    events: pl.DataFrame
    truth: pl.DataFrame
    description: dict[str, Any]

    def of(self, behaviour: str) -> pl.DataFrame:
        """The events of one behaviour."""
        return self.events.filter(pl.col("behaviour") == behaviour)


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    out = tmp_path_factory.mktemp("simulated")
    config = SimulationConfig(
        items=5_000, users=3_000, days=10, requests_per_user_day=1.0, new_item_share=0.4, seed=11
    )
    report = simulate(config, out)
    tables = {
        name: pl.read_parquet(out / f"{name}.parquet")
        for name in ("items", "users", "events", "truth")
    }
    description = json.loads((out / "simulation.json").read_text(encoding="utf-8"))
    return Log(config=config, out=out, report=report, description=description, **tables)
