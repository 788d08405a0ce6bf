"""`tamis estimate`: what another fusion or temperature would have earned, from drawn slates.

The rule `sample` draws each place of a slate, and the journal keeps the probability of each choice
with the candidates and what the ranker said of them. An answer's place k weighs

    w_k = Π_{j ≤ k} q_j / p_j

with p_j the logged probability of the item at place j given those above it, and q_j that of the
other policy. The weights are not clipped. The reward of place k are the events on its item that the
answer led to, so that an item may do worse below others, and no effect of lower places on higher
ones is allowed for (McInerney et al. 2020).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError

from tamis.cascade import Fusion, RankedRecord, Record, value_of
from tamis.experiments import PolicyValue, SlatePolicy, policy_value
from tamis.journal import (
    JOURNAL,
    Journal,
    Recommendation,
    entry_blocks,
    open_journal,
)
from tamis.rerank import SampleConfig
from tamis.runtime import Float64, Int64
from tamis.schema import (
    CascadeConfig,
    ConfigError,
    DataError,
    MetricTerm,
    ProjectConfig,
    StageConfig,
    StoreError,
    find_metric,
    option_problems,
)
from tamis.service import ProjectFolder

PAGE = 200
"""Answers that are read at once: each has a trace."""
MOST = 20_000
FOLDS = 2
"""Of the reward model: each part of the users is predicted by a model of the others."""
_ACCURATE = 0.02
"""Relative difference of recomputed and logged probabilities, at the median, up to which values
that are recorded with two or three digits explain it."""


@dataclass(frozen=True)
class PlaceWeights:
    """The weights of one place."""

    place: int
    answers: int
    effective: float
    """Effective answers (Σw)² / Σw²."""
    mean_weight: float
    """About 1 where the log supports the policy."""


@dataclass(frozen=True)
class PolicyEstimate:
    """The result of `tamis estimate`."""

    project: str
    metric: str
    fusion: str
    temperature: float | None
    """None: the policy draws nothing."""
    answers: int
    places: float
    """Mean places of an answer that count."""
    users: int
    without_trace: int
    """Answers that were left out: they have no trace, or no probabilities."""
    agreement: float
    """Median relative difference of the logged probabilities and the same recomputed; NaN where
    other rules took part in the draw."""
    logged: float
    """The metric per answer, as logged."""
    estimates: Sequence[PolicyValue]
    """Per answer: IPS, SNIPS, doubly robust."""
    weights: Sequence[PlaceWeights]
    note: str
    """A doubt about the figures; empty: none."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def estimate_policy(
    project: Path | str,
    policy: Path | str,
    metric: str,
    *,
    places: int | None = None,
    most: int = MOST,
    confidence: float = 0.95,
    store: str = "",
) -> PolicyEstimate:
    """Estimates what another policy would have earned per answer.

    Args:
        policy: a file with `[cascade]`: its `fusion`, and `[cascade.rerank.sample]` or no rule of
            re-rank. A whole `tamis.toml` must be equal to the project's in the rest of `[cascade]`.
        metric: a metric of one term: events of a behaviour, or their values.
        places: first places that count; None: all. Each further place multiplies the weights.
        most: latest answers that are read.
        confidence: of the intervals, which are by user.
        store: address of the journal; "" for that of `tamis.toml`.

    Raises ConfigError for a policy that cannot be computed from the journal, StoreError without a
    journal, and DataError where the log does not support the policy: slates that were not drawn,
    items that were never shown, or fewer than 100 effective answers.
    """
    folder = ProjectFolder(Path(project))
    config, root = folder.config, folder.root
    other = _policy(config, Path(policy))
    term = _term(config, metric)
    if places is not None and places < 1:
        raise ConfigError(f"places = {places}: give at least 1, or leave it out for all")
    address = store or config.journal.store
    if not address and not (root / JOURNAL).exists():
        raise StoreError(f"{root} has no journal yet: start the service, or give its address")
    journal = open_journal(root, config.name, address)
    try:
        slates, left_out = _slates(journal, config, other, places, most)
        rewards = _rewards(root, journal, slates, term)
    finally:
        journal.close()
    return _estimated(config, other, metric, slates, rewards, left_out, confidence)


@dataclass(frozen=True)
class _OtherPolicy:
    """What is to be estimated."""

    config: ProjectConfig
    """The project's, with the other `[cascade]`."""
    draw: SlatePolicy
    fusion: Fusion | None
    """None: it is the project's own, which reads more than predictions."""

    def value(self, answer: Recommendation, ranked: RankedRecord) -> Float64 | None:
        """(n,) what orders the candidates; None where the journal does not tell."""
        own = self.fusion is None or ranked.fused_apart
        if own and (answer.arms or self.fusion is not None):
            return None
        if own or self.fusion is None:
            return ranked.value.astype(np.float64)
        whole = np.array([0, len(ranked.value)], np.int64)
        return self.fusion(dict(ranked.predictions), whole).astype(np.float64)


@dataclass(frozen=True)
class _Slate:
    """One logged answer."""

    answer: str
    user: str
    items: Sequence[str]
    """(places,)"""
    propensity: Float64
    """(places,)"""
    odds: Float64
    """(places, n) of the other policy."""
    supported: Float64
    """(places,) probability of the other policy on candidates that could be drawn."""
    again: Float64
    """(places,) the logged probabilities, recomputed."""
    inputs: Float64
    """(n, K) of the reward model: 1, and the candidates' predictions."""
    chosen: Int64
    """(places,) the candidates of the slate."""


def _policy(config: ProjectConfig, file: Path) -> _OtherPolicy:
    """The other policy of a file. Raises ConfigError naming what cannot be estimated."""
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as TOML: {error}") from error
    given = data.get("cascade")
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{file} has no [cascade]: give its `fusion`, and [cascade.rerank.sample] for another "
            "temperature"
        )
    own = config.cascade.model_dump()
    try:
        cascade = CascadeConfig.model_validate({**own, "rerank": {}, **given})
    except ValidationError as error:
        problems = "; ".join(option_problems(error, CascadeConfig.model_fields))
        raise ConfigError(f"{file}: [cascade] {problems}") from error
    changed = [
        key
        for key in CascadeConfig.model_fields
        if key not in ("fusion", "rerank") and getattr(cascade, key) != getattr(config.cascade, key)
    ]
    if changed:
        raise ConfigError(
            f"{file}: [cascade] changes {', '.join(changed)}, but the journal holds the candidates "
            "of the cascade as it is: only `fusion` and the rule `sample` can be estimated; "
            "compare others by an experiment"
        )
    rules = {name: stage.use or name for name, stage in cascade.rerank.items()}
    others = [name for name, use in rules.items() if use != "sample"]
    if others:
        raise ConfigError(
            f"{file}: [cascade.rerank.{others[0]}]: what this rule would choose cannot be computed "
            "from the journal: leave it out, or compare by an experiment"
        )
    draw = SlatePolicy(None)
    for name in rules:
        draw = _sample(cascade.rerank[name])
    changed_config = config.model_copy(update={"cascade": cascade})
    same = cascade.fusion == config.cascade.fusion
    return _OtherPolicy(changed_config, draw, _fusion(changed_config, same, file))


def _fusion(config: ProjectConfig, same: bool, file: Path) -> Fusion | None:
    """The fusion, where it reads predictions alone; None for the project's own that reads more."""
    try:
        fusion = value_of(config).fusion
    except ConfigError:  # it names item columns, or it is wrong
        if not same:
            raise
        return None
    if not fusion.channels:
        return fusion
    if same:
        return None
    raise ConfigError(
        f"{file}: fusion {config.cascade.fusion!r} reads the channels "
        f"{', '.join(fusion.channels)}: estimates read predictions of the ranker only; compare by "
        "an experiment"
    )


def _sample(stage: StageConfig) -> SlatePolicy:
    options = SampleConfig.model_validate(dict(stage.options))
    return SlatePolicy(options.temperature, options.top)


def _term(config: ProjectConfig, metric: str) -> MetricTerm:
    terms = find_metric(metric, config.metrics, list(config.behaviours.values())).terms
    if len(terms) != 1 or terms[0].kind not in ("events", "values"):
        raise ConfigError(
            f"metric {metric!r}: an estimate counts the events that an answer led to, so give one "
            "term: a behaviour, or sum(behaviour)"
        )
    return terms[0]


def _slates(
    journal: Journal, config: ProjectConfig, other: _OtherPolicy, places: int | None, most: int
) -> tuple[list[_Slate], int]:
    """The drawn slates of the latest answers, and how many answers were left out."""
    rules = {n: s for n, s in config.cascade.rerank.items() if (s.use or n) == "sample"}
    logging = _sample(next(iter(rules.values()))) if rules else None
    alone = logging is not None and len(config.cascade.rerank) == 1
    found: list[_Slate] = []
    left_out = 0
    for answer in _latest(journal, most):
        slate = _slate(answer, other, logging, alone, places)
        left_out += slate is None
        if slate is not None:
            found.append(slate)
    if not found:
        raise DataError(
            f"none of the {left_out:,} answers of the journal has a drawn slate with its trace: "
            "deterministic slates say nothing of what was not shown. Declare "
            "[cascade.rerank.sample] (and [answers] traces above 0), or compare by an experiment"
        )
    return found, left_out


def _latest(journal: Journal, most: int) -> Iterator[Recommendation]:
    after = max(journal.answers.head - most, 0)
    while page := journal.answers.read(after, PAGE):
        yield from (one.answer for one in page)
        after = page[-1].number


def _slate(
    answer: Recommendation,
    other: _OtherPolicy,
    logging: SlatePolicy | None,
    alone: bool,
    places: int | None,
) -> _Slate | None:
    """An answer whose slate was drawn; None for others."""
    shown = answer.slate[:places]
    if answer.trace is None or not shown or any(p.propensity is None for p in shown):
        return None
    if answer.request.get("arms") or answer.teams:
        return None
    ranked = Record.of(answer.trace).ranked
    chosen = ranked.slate[: len(shown)]
    value = other.value(answer, ranked)
    if len(chosen) < len(shown) or value is None:
        return None
    odds = other.draw.odds(value, chosen)
    before = (logging or SlatePolicy(None)).odds(ranked.value.astype(np.float64), chosen)
    shown_odds = before[np.arange(len(chosen)), chosen]
    again = shown_odds if alone else np.full(len(shown), np.nan)
    drawable = before > 0
    drawable[np.arange(len(chosen)), chosen] = True
    return _Slate(
        answer=answer.recommendation_id,
        user=answer.user_id or answer.recommendation_id,
        items=[place.item_id for place in shown],
        propensity=np.array([place.propensity for place in shown], np.float64),
        odds=odds,
        supported=(odds * drawable).sum(axis=1),
        again=again,
        inputs=_inputs(ranked),
        chosen=chosen,
    )


def _inputs(ranked: RankedRecord) -> Float64:
    """(n, K) what the reward model reads of each candidate."""
    columns = [np.nan_to_num(p.astype(np.float64)) for p in ranked.predictions.values()]
    return np.stack([np.ones(len(ranked.value)), *columns], axis=1)


def _rewards(root: Path, journal: Journal, slates: Sequence[_Slate], term: MetricTerm) -> Float64:
    """(rows,) the events, or their values, that each place of each answer led to."""
    answer = [slate.answer for slate in slates for _ in slate.items]
    item = [item for slate in slates for item in slate.items]
    placed = pl.DataFrame({"recommendation_id": answer, "item_id": item}).with_row_index("row")
    rewards = np.zeros(len(placed))
    for block in entry_blocks(root, journal):
        events = block.filter(
            (pl.col("kind") == "event") & pl.col("behaviour").is_in(list(term.behaviours))
        ).select("recommendation_id", "item_id", "value")
        hit = events.join(placed, on=["recommendation_id", "item_id"], how="inner")
        values = hit["value"].fill_null(0.0).fill_nan(0.0).to_numpy()
        np.add.at(rewards, hit["row"].to_numpy(), values if term.kind == "values" else 1.0)
    return rewards


def _estimated(
    config: ProjectConfig,
    other: _OtherPolicy,
    metric: str,
    slates: Sequence[_Slate],
    rewards: Float64,
    left_out: int,
    confidence: float,
) -> PolicyEstimate:
    at = [(np.arange(len(s.chosen)), s.chosen) for s in slates]
    ratio = [s.odds[where] / s.propensity for s, where in zip(slates, at, strict=True)]
    weight = _joined([np.cumprod(one) for one in ratio])
    above = np.concatenate([np.cumprod([1.0, *one[:-1]]) for one in ratio])
    place = np.concatenate([where[0] for where in at])
    users = np.unique([s.user for s in slates], return_inverse=True)
    unit = np.repeat(users[1], [len(s.chosen) for s in slates]).astype(np.int64)
    lost = np.concatenate([1 - s.supported for s in slates])
    missing = float((above * lost).sum() / max(above.sum(), 1e-300))
    model, model_value = _reward_model(slates, rewards, place, unit)
    propensity = _joined([np.cumprod(s.propensity) for s in slates])
    given: dict[str, Any] = {
        "unit": unit,
        "missing": missing if missing > 1e-9 else 0.0,
        "confidence": confidence,
    }
    per_answer = len(rewards) / len(slates)
    target = _joined([np.cumprod(s.odds[w]) for s, w in zip(slates, at, strict=True)])
    try:
        estimates = [
            _times(per_answer, policy_value("ips", rewards, propensity, target, **given)),
            _times(per_answer, policy_value("snips", rewards, propensity, target, **given)),
            _times(
                per_answer,
                policy_value(
                    "dr",
                    rewards,
                    propensity,
                    target,
                    model=model,
                    model_value=above * model_value,
                    **given,
                ),
            ),
        ]
    except DataError as error:
        raise DataError(
            f"{error}. {len(slates):,} drawn answers of {per_answer:.1f} places were read; fewer "
            "places (--places) need less"
        ) from error
    again = np.concatenate([s.again for s in slates])
    logged = np.concatenate([s.propensity for s in slates])
    known = bool(np.isfinite(again).all())
    agreement = float(np.median(np.abs(again / logged - 1))) if known else float("nan")
    note = ""
    if agreement > _ACCURATE:
        note = (
            f"half of the logged probabilities differ by {agreement:.0%} or more from those that "
            "the rule `sample` of tamis.toml gives: it was changed since, or arms of experiments "
            "change it"
        )
    elif not known:
        note = "the logged probabilities cannot be recomputed: other re-rank rules take part"
    return PolicyEstimate(
        project=config.name,
        metric=metric,
        fusion=other.config.cascade.fusion,
        temperature=other.draw.temperature,
        answers=len(slates),
        places=per_answer,
        users=len(users[0]),
        without_trace=left_out,
        agreement=agreement,
        logged=float(rewards.sum()) / len(slates),
        estimates=estimates,
        weights=list(_by_place(place, weight)),
        note=note,
    )


def _joined(parts: Sequence[Any]) -> Float64:
    """The arrays one after another."""
    return np.concatenate(parts).astype(np.float64)


def _times(factor: float, one: PolicyValue) -> PolicyValue:
    """Per answer, of a value per place."""
    return PolicyValue(
        one.method,
        one.value * factor,
        one.low * factor,
        one.high * factor,
        one.effective,
        one.missing,
    )


def _by_place(place: Int64, weight: Float64) -> Iterator[PlaceWeights]:
    for k in range(int(place.max()) + 1):
        own = weight[place == k]
        squares = float((own**2).sum())
        effective = float(own.sum()) ** 2 / squares if squares > 0 else 0.0
        yield PlaceWeights(k + 1, len(own), effective, float(own.mean()))


def _reward_model(
    slates: Sequence[_Slate], rewards: Float64, place: Int64, unit: Int64
) -> tuple[Float64, Float64]:
    """(rows,) the expected reward of each placed item, and the mean over the policy's choices.

    A linear model of the predictions and of 1 / place, fitted on the other part of the users.
    """
    own = np.concatenate([s.inputs[s.chosen] for s in slates])
    mean = np.concatenate([s.odds @ s.inputs for s in slates])  # of the policy's choices
    where = 1.0 / (1.0 + place)[:, None]
    own, mean = np.hstack([own, where]), np.hstack([mean, where])
    model, model_value = np.zeros(len(rewards)), np.zeros(len(rewards))
    for fold in range(FOLDS):
        held = unit % FOLDS == fold
        if held.all() or not held.any():
            continue
        weights = np.linalg.lstsq(own[~held], rewards[~held], rcond=None)[0]
        model[held], model_value[held] = own[held] @ weights, mean[held] @ weights
    return model, model_value
