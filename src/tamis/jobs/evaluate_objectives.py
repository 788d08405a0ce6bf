"""`tamis evaluate objectives`: what each term of the re-rank rule `objective` costs the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tamis.bundle import Kind, Versions
from tamis.cascade import Candidates, FitContext, Queries, Reranker, arrange
from tamis.data import item_categories
from tamis.evaluate import (
    bootstrap_mean,
    coverage,
    diversity,
    ndcg,
    paired_bootstrap,
    plot_tradeoffs,
)
from tamis.jobs._true_worth import TrueWorth
from tamis.jobs.evaluate_cascade import BATCH, SLATE, CascadeEvaluator, category_codes, pick
from tamis.rerank import Objectives
from tamis.runtime import Float64, Int32, Progress
from tamis.schema import ConfigError, prediction_names
from tamis.service import ProjectFolder, Recommender

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
REQUESTS = 1_000
"""Users for whom slates are arranged, by default."""
MEAN = "term:"
"""Prefix of the columns that hold what each term adds at weight 1."""


@dataclass(frozen=True)
class ObjectiveTradeoffs:
    """The result of `tamis evaluate objectives`."""

    result: dict[str, Any]
    """The JSON of `--json`; docs/evaluation.md describes each key."""
    figure: Path

    def to_dict(self) -> dict[str, Any]:
        return self.result


def evaluate_objectives(
    project: Path | str,
    *,
    weights: Sequence[float] = WEIGHTS,
    requests: int = REQUESTS,
    figure: Path | str | None = None,
    progress: bool = False,
) -> ObjectiveTradeoffs:
    """Arranges the same ranked lists with each term of `objective` at several weights.

    The other terms keep the weights that the project declares, 0 without the rule. All weights of
    all terms arrange the same requests, at the test cut, so differences are paired by user.

    Args:
        project: folder with a `tamis.toml` and an evaluation version.
        weights: of each term; 0 is added, as all changes are from there.
        requests: users for whom slates are arranged; of more, so many are spread over all.
        figure: the image, `.svg` or `.png`; None for `objectives.svg` in the project.
        progress: whether progress is shown on standard error.

    Raises ConfigError for a weight that is negative, or where no term can be computed; VersionError
    if nothing was trained, DataError if no positive event is after the cut.
    """
    wrong = [w for w in weights if not (np.isfinite(w) and w >= 0)]
    if wrong or requests < 1:
        raise ConfigError(
            f"weights = {list(weights)}, requests = {requests}: give weights of at least 0, and at "
            "least 1 request"
        )
    found = ProjectFolder(Path(project))
    with Progress("evaluate", progress) as steps:
        steps.begin("open the evaluation version")
        recommender = Recommender(Versions(found.root).current(Kind.EVALUATION))
        result = _Sweep(found, recommender, steps).tradeoffs(
            sorted({0.0, *map(float, weights)}), requests
        )
        path = Path(figure) if figure is not None else found.root / "objectives.svg"
        plot_tradeoffs(result, path)
    return ObjectiveTradeoffs(result, path)


class _Sweep(CascadeEvaluator):
    """Ranks requests once, and arranges them with every weight."""

    def tradeoffs(self, weights: Sequence[float], requests: int) -> dict[str, Any]:
        held = self._held_out()
        rule, declared = self._rule()
        spread = np.linspace(0, len(held.users) - 1, min(requests, len(held.users)))
        chosen = np.unique(spread.astype(np.int64))
        users = held.users[chosen]
        positives = pick(held.positives, np.isin(np.arange(len(held.users)), chosen))
        self.steps.begin("rank the requests")
        parts = [users[at : at + BATCH] for at in range(0, len(users), BATCH)]
        ranked = [self._ranked(rule, part) for part in parts]
        terms: dict[str, list[dict[str, Any]]] = {}
        truth = TrueWorth(self.folder, self.parts, self.cut) if self._is_simulated else None
        for name in rule.terms:
            self.steps.begin(f"arrange slates with weights of {name}")
            rows: list[dict[str, Any]] = []
            first: Mapping[str, Float64] | None = None
            for weight in weights:
                rules = self._rules(rule, {**declared, name: weight})
                lists = [arrange(rules, q, c, SLATE).candidates for q, c in ranked]
                slates = np.concatenate([one.matrix(SLATE) for one in lists])
                values = self._values(lists, slates, rule)
                values[f"ndcg@{SLATE}"] = ndcg(slates, positives, SLATE)
                if truth is not None:
                    values["reward"] = truth.worth(users, slates)
                first = first or values
                rows.append(self._row(weight, values, first, slates))
            terms[name] = rows
        return {
            "project": self.config.name,
            "version": self.manifest.name,
            "requests": len(users),
            "slate": SLATE,
            "declared": declared,
            "terms": terms,
        }

    @property
    def _is_simulated(self) -> bool:
        return TrueWorth.known(self.folder)

    def _rule(self) -> tuple[Objectives, dict[str, float]]:
        """The rule with every term that the project's tables allow, at weight 1; and the weights
        that the project declares."""
        own = [r for r in self.cascade.rerank.values() if isinstance(r, Objectives)]
        config = own[-1].config if own else None
        options: dict[str, Any] = {"coverage": 1.0, "exposure": 1.0 if self.has_impressions else 0}
        if self._new_items() is not None or (config is not None and config.column):
            options["freshness"] = 1.0
            if config is not None:
                options |= {"half_life": config.half_life, "column": config.column}
        if config is not None and config.terms:
            options["terms"] = config.terms
        before = self.data.events.take(self.data.events.arrival < self.cut)
        context = FitContext(
            items=self.config.items, features=self.config.features, config=self.config
        )
        rule = Objectives(**options).fit(replace(self.data, events=before), context)
        declared = dict.fromkeys(rule.terms, 0.0)
        if config is not None:
            for name in rule.terms:
                declared[name] = 1.0 if name == "terms" else float(getattr(config, name))
        return rule, declared

    def _rules(self, rule: Objectives, weights: Mapping[str, float]) -> dict[str, Reranker]:
        """The cascade's rules with the objective at these weights; left out where all are 0."""
        some = any(weights.values())
        changed: dict[str, Reranker] = {}
        for name, one in self.cascade.rerank.items():
            if not isinstance(one, Objectives):
                changed[name] = one
            elif some:
                changed[name] = rule.with_weights(weights)
        if some and not any(isinstance(one, Objectives) for one in changed.values()):
            changed = {"objective": rule.with_weights(weights), **changed}
        return changed

    def _ranked(self, rule: Objectives, users: Int32) -> tuple[Queries, Candidates]:
        """The ranked lists of users, with what each term adds at weight 1."""
        outcome = self.cascade.run(self._queries(users), SLATE)
        columns = {
            f"{MEAN}{name}": rule.with_weights({name: 1.0}).added(outcome.queries, outcome.ranked)
            for name in rule.terms
        }
        return outcome.queries, outcome.ranked.with_columns(**columns)

    def _values(
        self, lists: Sequence[Candidates], slates: Int32, rule: Objectives
    ) -> dict[str, Float64]:
        """Measure → its value for each request (Q,): means over the slate."""
        columns = {f"{MEAN}{name}": name for name in rule.terms}
        found: dict[str, Float64] = {}
        for task in prediction_names(list(self.config.tasks.values())):
            if all(task in one.predictions for one in lists):
                found[task] = _means([(one, one.predictions[task]) for one in lists])
        for column, name in columns.items():
            found[name] = _means([(one, one.columns[column]) for one in lists])
        new = self._new_items()
        if new is not None:
            found["new_items"] = _means([(one, new[one.item]) for one in lists])
        items = self.config.items
        if items.category is not None:
            codes = category_codes(
                item_categories(self.parts.items, items.category, items.category_separator)
            )
            found["diversity"] = diversity(slates, codes, SLATE)
        return found

    def _row(
        self,
        weight: float,
        values: Mapping[str, Float64],
        first: Mapping[str, Float64],
        slates: Int32,
    ) -> dict[str, Any]:
        seed = self.config.seed
        return {
            "weight": weight,
            "catalogue_coverage": coverage(slates, len(self.parts.items), SLATE),
            "measures": {
                name: {
                    **bootstrap_mean(each, seed=seed).to_dict(),
                    "change": paired_bootstrap(each, first[name], seed=seed).to_dict(),
                }
                for name, each in values.items()
            },
        }


def _means(lists: Sequence[tuple[Candidates, Any]]) -> Float64:
    """(Q,) the mean of the candidates' values (n,) over each slate; NaN for an empty one."""
    sums, sizes = [], []
    for one, values in lists:
        size = len(one.indptr) - 1
        sums.append(np.bincount(one.query, np.asarray(values, np.float64), size))
        sizes.append(np.diff(one.indptr))
    total, count = np.concatenate(sums), np.concatenate(sizes)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
