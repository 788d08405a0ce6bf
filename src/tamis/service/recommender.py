"""The open version as a service: external ids in, an explained slate out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tamis.bundle import Kind, Manifest, Version, Versions
from tamis.cascade import Context, Found, Outcome, Queries, Trace, trace
from tamis.data import UNKNOWN, Ragged
from tamis.schema import ConfigError
from tamis.service import registry
from tamis.service.assembly import Parts
from tamis.service.online import bind, remember


@dataclass(frozen=True)
class Reason:
    """Why an item has its place, in the terms of a person and of the stages."""

    text: str
    channels: tuple[dict[str, Any], ...]
    """{channel, rank, score, because: title of the item in the user's history | None}."""
    prerank: dict[str, float | int | None]
    """{score, place}."""
    predictions: dict[str, float]
    """The ranker's prediction of each task."""
    value: float | None
    """The fused value, which the slate is ordered by before re-rank."""
    value_place: int | None
    rerank: dict[str, float]


@dataclass(frozen=True)
class Place:
    """One item of a slate."""

    item: str
    title: str
    place: int
    score: float
    reasons: Reason | None = None


@dataclass(frozen=True)
class WhyNot:
    """Where the cascade lost an item."""

    item: str
    title: str
    stage: str | None
    """not_recalled, filtered, prerank_cut, rank_cut, rerank_displaced; None = it is shown."""
    detail: str
    reasons: Reason | None = None


@dataclass(frozen=True)
class Answer:
    """What a request gets."""

    version: str
    user: str | None
    known: bool
    """False: the user is not in this version; the answer comes from what suits everybody."""
    items: tuple[Place, ...]
    took_ms: float
    degraded: tuple[str, ...] = ()
    why_not: WhyNot | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Per stage."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Recommender:
    """Answers requests from one version; opening it costs milliseconds, it is never changed."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self.parts = Parts.open(version)
        bind(self.parts, version)
        self.cascade = self.parts.cascade()

    @classmethod
    def open(cls, project: Path | str, kind: Kind = Kind.SERVING) -> Recommender:
        """The current version of a project. Raises VersionError where there is none."""
        registry.look_in(project)  # stages of the user's own lie beside tamis.toml
        return cls(Versions(Path(project)).current(kind))

    @property
    def version(self) -> str:
        return self._version.name

    @property
    def manifest(self) -> Manifest:
        """What is written of the version: kind, data range, settings, metrics."""
        return self._version.manifest

    def recommend(
        self,
        user: object = None,
        n: int | None = None,
        *,
        exclude: Sequence[object] = (),
        time: int | None = None,
        interests: Sequence[str] = (),
        latitude: float | None = None,
        longitude: float | None = None,
        city: str | None = None,
        explain: bool = False,
        why_not: object = None,
    ) -> Answer:
        """The slate for one user.

        user: external id; None or an unknown one gets what suits everybody. n: places, by default
        the configured slate. exclude: external item ids left out. time: ms, by default the end of
        the version's data; nothing that arrived later is used. interests: declared ones, in the
        words of the items' columns. latitude, longitude: degrees, both or neither. why_not: an item
        to ask after. What no stage of the version reads is told in `degraded`.
        Raises ConfigError where `n` is not positive, the place is none or `why_not` no item.
        """
        start = perf_counter()
        n = self.parts.config.cascade.slate if n is None else n
        if n < 1:
            raise ConfigError(f"n is {n}: ask for at least 1 item")
        row = UNKNOWN if user is None else self.parts.users.row(user)
        asked = None if why_not is None else self._item(why_not)
        context = _context(interests, latitude, longitude, city)
        query = replace(self._query(row, exclude, time), context=context)
        outcome = self.cascade.run(query, n)
        took = (perf_counter() - start) * 1000
        forgot = remember(self.parts.channels, outcome)
        return Answer(
            version=self.version,
            user=None if user is None else str(user),
            known=row != UNKNOWN,
            items=self._places(outcome, explain),
            took_ms=round(took, 3),
            degraded=(*outcome.degraded, *forgot, *self._unread(context)),
            why_not=None if asked is None else self._why_not(outcome, asked),
            seconds=outcome.seconds,
        )

    def _query(self, row: int, exclude: Sequence[object], time: int | None) -> Queries:
        moment = self._version.manifest.data_until if time is None else time
        queries = self.parts.queries(
            np.array([row], dtype=np.int32), np.array([moment], dtype=np.int64)
        )
        if not exclude:
            return queries
        rows = self.parts.items.rows(list(exclude))
        return queries.excluding(Ragged.of([np.unique(rows[rows != UNKNOWN])]))

    def _unread(self, context: Context | None) -> Iterator[str]:
        """What the request said and no stage of this version reads."""
        if context is None:
            return
        stages = [*self.parts.channels.values(), *self.parts.filters.values()]
        read = {word for stage in stages for word in getattr(stage, "reads", ())}
        said = {
            "interests": (any(context.interests), "channel", "declared interests"),
            "place": (bool(np.isfinite(context.latitude).any()), "channel", "latitude, longitude"),
            "city": (any(context.city), "channel or filter", "the request's city"),
        }
        for word, (given, stage, what) in said.items():
            if given and word not in read:
                yield f"{word}: no {stage} of this version reads {what}"

    def _item(self, external: object) -> int:
        row = self.parts.items.row(external)
        if row == UNKNOWN:
            raise ConfigError(
                f"item {external!r} is not in the items' table of version {self.version}: "
                "check the id (it is the text of the table's id column)"
            )
        return row

    def _places(self, outcome: Outcome, explain: bool) -> tuple[Place, ...]:
        slate = outcome.slate
        return tuple(
            Place(
                item=str(self.parts.items.ids[int(item)]),
                title=self.title(int(item)),
                place=place,
                score=float(value),
                reasons=self._reason(trace(self.cascade, outcome, int(item))) if explain else None,
            )
            for place, (item, value) in enumerate(
                zip(slate.item, slate.columns["value"], strict=True), start=1
            )
        )

    def _why_not(self, outcome: Outcome, item: int) -> WhyNot:
        found = trace(self.cascade, outcome, item)
        return WhyNot(
            item=str(self.parts.items.ids[item]),
            title=self.title(item),
            stage=found.lost,
            detail=found.detail,
            reasons=self._reason(found) if found.found else None,
        )

    def _reason(self, found: Trace) -> Reason:
        return Reason(
            text=self._sentence(found.found),
            channels=tuple(
                {
                    "channel": f.channel,
                    "rank": f.rank,
                    "score": f.score,
                    "because": None if f.because is None else self.title(f.because),
                }
                for f in found.found
            ),
            prerank={"score": found.prerank, "place": found.prerank_place},
            predictions=found.predictions,
            value=found.value,
            value_place=found.value_place,
            rerank=found.rerank,
        )

    def _sentence(self, found: Sequence[Found]) -> str:
        """The item of the past that the first channel able to name one names, or the channels."""
        because = next((f.because for f in found if f.because is not None), None)
        if because is not None:
            return f"because of {self.title(because)}"
        return "found by " + ", ".join(f.channel for f in found)

    def title(self, item: int) -> str:
        """What to show a person: the title column, or the id."""
        column = self.parts.config.items.title
        if column is None or column not in self.parts.items.frame.columns:
            return str(self.parts.items.ids[item])
        return str(self.parts.items.frame[column][item])


def _context(
    interests: Sequence[str], latitude: float | None, longitude: float | None, city: str | None
) -> Context | None:
    """Of one request; None where it says nothing. Raises ConfigError where the place is none."""
    if (latitude is None) != (longitude is None):
        given, other = ("latitude", "longitude") if longitude is None else ("longitude", "latitude")
        raise ConfigError(f"{given} is given without {other}: a place needs both, in degrees")
    for name, value, most in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if value is not None and not (isfinite(value) and abs(value) <= most):
            raise ConfigError(f"{name} is {value}: give degrees from -{most} to {most}")
    if isinstance(interests, str):
        raise ConfigError(f"interests is the text {interests!r}: give a list of texts")
    if latitude is None and not city and not interests:
        return None
    return Context(
        np.array([np.nan if latitude is None else latitude], dtype=np.float64),
        np.array([np.nan if longitude is None else longitude], dtype=np.float64),
        (city or None,),
        (tuple(interests),),
    )
