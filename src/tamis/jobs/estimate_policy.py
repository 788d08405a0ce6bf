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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis.cascade import RECALL_ORDER
from tamis.experiments import PolicyValue, policy_value
from tamis.jobs._drawn_slates import DrawnSlate, drawn_slates, rewards_of
from tamis.jobs._other_policy import OtherPolicy, PolicyValues, read_policy
from tamis.journal import JOURNAL, open_journal
from tamis.runtime import Float64, Int64
from tamis.schema import (
    ConfigError,
    DataError,
    MetricTerm,
    ProjectConfig,
    StoreError,
    find_metric,
)
from tamis.service import ProjectFolder

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
    left_out: Mapping[str, int]
    """Why answers do not count, in words → how many."""
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
    other = read_policy(config, root, Path(policy))
    term = _term(config, metric)
    if places is not None and places < 1:
        raise ConfigError(f"places = {places}: give at least 1, or leave it out for all")
    address = store or config.journal.store
    if not address and not (root / JOURNAL).exists():
        raise StoreError(f"{root} has no journal yet: start the service, or give its address")
    journal = open_journal(root, config.name, address)
    try:
        own = address == config.journal.store
        values = PolicyValues(other, root, journal, own=own)
        slates, left_out = drawn_slates(journal, config, other, values, places, most)
        doubts = _doubts(config, other, values)
        rewards = rewards_of(slates, root, journal, term)
    finally:
        journal.close()
    return _estimated(config, other, metric, slates, rewards, left_out, doubts, confidence)


def _term(config: ProjectConfig, metric: str) -> MetricTerm:
    terms = find_metric(metric, config.metrics, list(config.behaviours.values())).terms
    if len(terms) != 1 or terms[0].kind not in ("events", "values"):
        raise ConfigError(
            f"metric {metric!r}: an estimate counts the events that an answer led to, so give one "
            "term: a behaviour, or sum(behaviour)"
        )
    return terms[0]


def _estimated(
    config: ProjectConfig,
    other: OtherPolicy,
    metric: str,
    slates: Sequence[DrawnSlate],
    rewards: Float64,
    left_out: Mapping[str, int],
    doubts: Sequence[str],
    confidence: float,
) -> PolicyEstimate:
    ratio = [s.target / s.propensity for s in slates]
    weight = _joined([np.cumprod(one) for one in ratio])
    above = np.concatenate([np.cumprod([1.0, *one[:-1]]) for one in ratio])
    place = np.concatenate([np.arange(len(one)) for one in ratio])
    users = np.unique([s.user for s in slates], return_inverse=True)
    unit = np.repeat(users[1], [len(one) for one in ratio]).astype(np.int64)
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
    target = _joined([np.cumprod(s.target) for s in slates])
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
    notes = list(doubts)
    if agreement > _ACCURATE:
        notes.append(
            f"half of the logged probabilities differ by {agreement:.0%} or more from those that "
            "the rule `sample` of tamis.toml gives: it was changed since, or arms of experiments "
            "change it"
        )
    return PolicyEstimate(
        project=config.name,
        metric=metric,
        fusion=other.config.cascade.fusion,
        temperature=other.draw.temperature,
        answers=len(slates),
        places=per_answer,
        users=len(users[0]),
        left_out=left_out,
        agreement=agreement,
        logged=float(rewards.sum()) / len(slates),
        estimates=estimates,
        weights=list(_by_place(place, weight)),
        note="; ".join(notes),
    )


def _doubts(config: ProjectConfig, other: OtherPolicy, values: PolicyValues) -> list[str]:
    """What the estimate cannot see, in words."""
    found: list[str] = []
    rules = [n for n, stage in config.cascade.rerank.items() if (stage.use or n) != "sample"]
    if rules:
        found.append(
            f"the slates were drawn under the rules {', '.join(rules)}, so that the logged "
            "probabilities cannot be recomputed, and the policy has none of these rules: it also "
            "differs by them, and items that they kept out were never shown"
        )
    apart = sorted(
        order for order in values.orders if order.startswith("the channel") or order == RECALL_ORDER
    )
    if apart and not other.same_fusion:
        found.append(
            f"some or all answers are ordered by {' or '.join(apart)}, not by the ranker: there "
            "the fusion orders at most what the channel did not find"
        )
    return found


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
    slates: Sequence[DrawnSlate], rewards: Float64, place: Int64, unit: Int64
) -> tuple[Float64, Float64]:
    """(rows,) the expected reward of each placed item, and the mean over the policy's choices.

    A linear model of the predictions and of 1 / place, fitted on the other part of the users.
    """
    own = np.concatenate([s.inputs for s in slates])
    mean = np.concatenate([s.mean_inputs for s in slates])
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
