"""The diversity of a single request: the strength of the project's re-rank rules for it."""

from __future__ import annotations

from dataclasses import replace

from tamis.cascade import AdjustsDiversity, Cascade
from tamis.schema import RequestError


def diversified(cascade: Cascade, strength: float | None) -> Cascade:
    """The cascade with every rule of adjustable strength at `strength`, 0 to 1; None: unchanged.

    Raises RequestError where the project has no such rule.
    """
    if strength is None:
        return cascade
    rules = {
        name: rule.with_diversity(strength) if isinstance(rule, AdjustsDiversity) else rule
        for name, rule in cascade.rerank.items()
    }
    if not any(isinstance(rule, AdjustsDiversity) for rule in rules.values()):
        raise RequestError(
            f"diversity = {strength:g}: no re-rank rule of this project has a strength "
            f"({', '.join(rules) or 'it has no rules'}); leave it out, or add "
            "[cascade.rerank.mmr] to tamis.toml and train",
            "diversity",
        )
    return replace(cascade, rerank=rules)
