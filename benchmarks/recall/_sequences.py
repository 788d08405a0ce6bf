"""A fit of a sequence channel that stops by the validation items, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from tamis.cascade import FitContext, valid_of
from tamis.evaluate import evaluate_channel
from tamis.splitting import Holdout

PROTOCOL = (
    "strict leave-one-out: trained on all but each user's last two events, stopped by NDCG@10 of "
    "the last but one (of 20,000 users at most), the last is predicted with the last but one in "
    "the history, but not trained on; full ranking, seen items masked"
)
KS = (5, 10, 20)


def evaluated(
    kind: type[Any],
    options: dict[str, Any],
    valid: Holdout,
    test: Holdout,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, float]:
    """Fits by the validation items and asks for the test items."""
    context = FitContext(seed=seed, valid=valid_of(valid))
    channel = kind(**options).fit(valid.train, context)
    fit = channel.result
    for epoch in fit.history:
        if epoch.metrics:
            say(
                f"  epoch {epoch.epoch:3} loss {epoch.loss:.4f} {epoch.seconds:5.1f} s  "
                + "  ".join(f"{name} {value:.4f}" for name, value in epoch.metrics.items())
            )
    found = evaluate_channel(channel, test, KS)
    say(
        f"{kind.__name__} {options or '(defaults)'}: hit@10 {found.metrics['hit@10']:.4f} "
        f"ndcg@10 {found.metrics['ndcg@10']:.4f}, best epoch {fit.best_epoch}, "
        f"fit {fit.seconds:.0f} s, {found.users_per_second:,.0f} users/s"
    )
    return {
        **found.metrics,
        "valid_ndcg@10": max(e.metrics.get("ndcg@10", 0.0) for e in fit.history),
        "best_epoch": float(fit.best_epoch),
        "fit_seconds": fit.seconds,
        "epoch_seconds": sum(e.seconds for e in fit.history) / len(fit.history),
        "users_per_second": found.users_per_second,
    }


def seconds_to(history: list[Any], ndcg: float) -> float:
    """Training seconds until a look found that NDCG@10; infinite where none did."""
    spent = accumulate(e.seconds for e in history)
    for epoch, total in zip(history, spent, strict=True):
        if epoch.metrics.get("ndcg@10", 0.0) >= ndcg:
            return total
    return float("inf")
