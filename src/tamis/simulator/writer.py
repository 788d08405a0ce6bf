"""Writes the tables of a run in bounded memory."""

import json
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl

from tamis.simulator.columns import COLUMNS
from tamis.simulator.errors import SimulationOutputError
from tamis.simulator.event_stream import BEHAVIOURS, source_names
from tamis.simulator.external_ids import named
from tamis.simulator.population import Population

_PART_ROWS = 500_000


class TableWriter:
    """Collects batches in part files and joins them into one file per table at the end.

    Use as a context manager; on an error the folder is left empty, or with the tables of an
    earlier run.

    Raises:
        SimulationOutputError: ``out`` is a file.
    """

    def __init__(self, out: Path, population: Population) -> None:
        if out.exists() and not out.is_dir():
            raise SimulationOutputError(
                f"out = {out} is a file: give a folder, which is created if missing"
            )
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        self._population = population
        self._user_id = population.users.table["user_id"]
        self._item_id = population.items.table["item_id"]
        # On the disk of the result, so that finished files are moved rather than copied.
        self._scratch = Path(tempfile.mkdtemp(prefix=".simulation-", dir=out))
        self._waiting: dict[str, list[pl.DataFrame]] = {"events": [], "truth": []}
        self._parts = 0
        self._later: pl.DataFrame | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def add(self, events: pl.DataFrame, truth: pl.DataFrame, horizon: int) -> None:
        """Adds a batch. No later batch may hold an event before ``horizon`` (ms).

        Events before it are sorted and written; later ones are kept for the next batch.
        """
        if self._later is not None:
            events = pl.concat([self._later, events])
        self._later = events.filter(pl.col("time") >= horizon)
        ready = events.filter(pl.col("time") < horizon)
        self._enqueue("events", self._named_events(ready))
        self._enqueue("truth", self._named_truth(truth))

    def finish(self, description: dict[str, Any]) -> None:
        """Writes the remaining rows, joins the parts, and moves every file into place."""
        if self._later is not None:
            self._enqueue("events", self._named_events(self._later))
        for table in self._waiting:
            self._flush(table)
            self._join(table)
        self._population.items.table.write_parquet(self._scratch / "items.parquet")
        self._population.users.table.write_parquet(self._scratch / "users.parquet")
        np.save(self._scratch / "truth_items.npy", self._population.items.traits.latent)
        np.save(self._scratch / "truth_users.npy", self._population.users.traits.latent)
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        (self._scratch / "simulation.json").write_text(text, encoding="utf-8")
        for file in sorted(self._scratch.iterdir()):
            if file.is_file():
                file.replace(self._out / file.name)

    def _named_events(self, rows: pl.DataFrame) -> pl.DataFrame:
        ordered = rows.sort("time", "request_id", "position", "behaviour")
        return ordered.with_columns(
            user_id=self._user_id.gather(ordered["user"]),
            item_id=self._item_id.gather(ordered["item"]),
            behaviour=named(BEHAVIOURS, ordered["behaviour"].to_numpy()),
        ).select(list(COLUMNS["events"]))

    def _named_truth(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(
            user_id=self._user_id.gather(rows["user"]),
            item_id=self._item_id.gather(rows["item"]),
            source=named(source_names(), rows["source"].to_numpy()),
        ).select(list(COLUMNS["truth"]))

    def _enqueue(self, table: str, rows: pl.DataFrame) -> None:
        self._waiting[table].append(rows)
        if sum(map(len, self._waiting[table])) >= _PART_ROWS:
            self._flush(table)

    def _flush(self, table: str) -> None:
        if self._waiting[table]:
            folder = self._scratch / table
            folder.mkdir(exist_ok=True)
            pl.concat(self._waiting[table]).write_parquet(folder / f"{self._parts:08d}.parquet")
            self._parts += 1
            self._waiting[table] = []

    def _join(self, table: str) -> None:
        parts = sorted((self._scratch / table).glob("*.parquet"))
        pl.scan_parquet(parts).sink_parquet(self._scratch / f"{table}.parquet")
        shutil.rmtree(self._scratch / table)
