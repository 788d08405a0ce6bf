"""Answers made of fewer candidates, for times of load; and how many each stage had."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from tamis.cascade import Cascade, Outcome


def lowered(cascade: Cascade, effort: float, n: int) -> Cascade:
    """The cascade with smaller quotas of the channels and fewer candidates for the ranker.

    Args:
        effort: share of both, above 0; from 1 on the cascade is unchanged.
        n: number of items wanted, which is the least of each.
    """
    if effort >= 1:
        return cascade
    config = cascade.config
    channels = {
        name: channel.model_copy(update={"quota": _part(channel.quota, effort, n)})
        for name, channel in config.channels.items()
    }
    keep = _part(config.prerank_keep, effort, n)
    config = config.model_copy(update={"channels": channels, "prerank_keep": keep})
    return replace(cascade, retrieval=replace(cascade.retrieval, config=config))


def _part(whole: int, effort: float, least: int) -> int:
    return min(whole, max(ceil(whole * effort), least))


def candidate_counts(outcome: Outcome) -> dict[tuple[str, str], int]:
    """(stage, "in" or "out") → candidates of one answer."""
    recalled, kept = len(outcome.recalled), len(outcome.kept)
    ranked = len(outcome.ranked)
    return {
        ("recall", "out"): recalled,
        ("filter", "in"): recalled,
        ("filter", "out"): kept,
        ("prerank", "in"): kept,
        ("prerank", "out"): len(outcome.preranked),
        ("rank", "in"): len(outcome.preranked),
        ("rank", "out"): ranked,
        ("rerank", "in"): ranked,
        ("rerank", "out"): len(outcome.slate),
    }
